"""Text-to-image pipelines of the study's families, tiny and with random weights, as diffusers keeps
them in folders.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

WORDS = ("<pad>", "</s>", "<unk>", "a", "an", "photograph", "of", "cat", "dog", "airplane")
NUMBERS: dict[str, dict[str, Any]] = {
    "stable-diffusion": {},
    "pixart": {"clean_caption": False, "use_resolution_binning": False},
    "flux": {"max_sequence_length": 8},
    "stable-diffusion-3": {"max_sequence_length": 8},
}
"""Family to the arguments of its call."""


def save(family: str, folder: Path) -> str:
    """Write a pipeline to a folder; its path. Seeded by the family alone."""
    torch.manual_seed(0)
    BUILDERS[family]().save_pretrained(folder)
    return str(folder)


def level(a: Tensor, b: Tensor) -> int:
    """The largest difference in grey levels."""
    return int((a.int() - b.int()).abs().max())


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word."""
    own = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    own.pre_tokenizer = pre_tokenizers.Whitespace()
    named = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=own, model_max_length=8, **named)


def autoencoder() -> AutoencoderKL:
    """Halves the sides once."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
        shift_factor=0.0,
    )


def clip(cls: Any = CLIPTextModel) -> Any:
    """A text tower of one layer."""
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    marks = {"bos_token_id": 3, "eos_token_id": 1, "pad_token_id": 0}
    return cls(
        CLIPTextConfig(
            vocab_size=len(WORDS), max_position_embeddings=8, projection_dim=16, **sizes, **marks
        )
    )


def t5() -> T5EncoderModel:
    """An encoder of one layer."""
    return T5EncoderModel(
        T5Config(vocab_size=len(WORDS), d_model=32, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    )


def noise() -> DDPMScheduler:
    """Draws noise at every step, so that each image needs its own generator throughout."""
    return DDPMScheduler(steps_offset=1, clip_sample=False)


def stable_diffusion() -> StableDiffusionPipeline:
    """The family of Stable Diffusion 2."""
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=4,
    )
    parts = (autoencoder(), clip(), tokenizer(), unet, noise())
    return StableDiffusionPipeline(*parts, None, None, requires_safety_checker=False)


def pixart() -> PixArtAlphaPipeline:
    """The family of PixArt."""
    transformer = PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        out_channels=8,
        num_layers=1,
        sample_size=8,
        cross_attention_dim=16,
        caption_channels=32,
        use_additional_conditions=False,
    )
    return PixArtAlphaPipeline(tokenizer(), t5(), autoencoder(), transformer, noise())


def flux() -> FluxPipeline:
    """The family of Flux-dev."""
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        guidance_embeds=True,
        axes_dims_rope=(4, 4, 8),
    )
    steps = FlowMatchEulerDiscreteScheduler()
    return FluxPipeline(steps, autoencoder(), clip(), tokenizer(), t5(), tokenizer(), transformer)


def stable_diffusion_3() -> StableDiffusion3Pipeline:
    """The family of Stable Diffusion 3.5."""
    transformer = SD3Transformer2DModel(
        sample_size=16,
        in_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
        out_channels=4,
    )
    towers = [part for _ in range(2) for part in (clip(CLIPTextModelWithProjection), tokenizer())]
    steps = FlowMatchEulerDiscreteScheduler()
    return StableDiffusion3Pipeline(transformer, steps, autoencoder(), *towers, t5(), tokenizer())


BUILDERS = {
    "stable-diffusion": stable_diffusion,
    "pixart": pixart,
    "flux": flux,
    "stable-diffusion-3": stable_diffusion_3,
}
