"""GAPL: an image's CLIP feature, seen through prototypes of real and of AI-generated images."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_aigi.detectors._support.resizing import centre_crop, fit_size
from robustbench_aigi.detectors.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    OWN_CODE,
    Card,
    Detector,
    Labelled,
    Normalise,
    detectors,
)
from robustbench_aigi.detectors.clip_mlp import TINY, clip_tower
from robustbench_aigi.detectors.spai import rated
from robustbench_aigi.errors import CheckpointError, DataError, UserError
from robustbench_aigi.imaging.pixels import from_bytes

HEADS = 4


@detectors.add("gapl")
@final
class GAPL(Detector):
    """Generator-aware prototypes on a CLIP image tower, trained in two stages. Source: GAPL, CVPR
    2026.

    ``train gapl`` trains stage 1: a linear projection of the frozen tower's pooled feature, and a
    linear score. ``train gapl --start STAGE1`` takes the principal components of the projected
    features of real and of AI-generated training images as fixed prototypes, then trains stage 2:
    LoRA on q, k and v of every attention of the tower, the projection, attention from the feature
    to the prototypes, and a fresh score. A checkpoint knows its stage.

    The authors' tower is ``model="ViT-L-14-quickgelu"``, with ``pretrained="openai"`` to train on
    it; their ``checkpoint.pt`` brings its own and loads with ``weights=PATH,
    model="ViT-L-14-quickgelu"``.

    Args:
        model, pretrained: a CLIP vision transformer, as in :func:`clip_tower`; the tiny one is
            shipped.
        prototypes: half of them of real images, half of AI-generated ones.
        features: width of the projection. rank, alpha, dropout: of LoRA.
        crop: take the middle, with zeros around smaller images, as its authors do; False resizes
            the whole image.
    """

    default_card = Card(
        name="gapl",
        source=(
            "GAPL, Scaling Up AI-Generated Image Detection with Generator-Aware Prototypes, CVPR"
            " 2026"
        ),
        summary="tiny CLIP (ours; it stands in for OpenAI's ViT-L/14) with LoRA and 64 prototypes",
        code_licence=OWN_CODE,
        weights_licence="MIT (tiny-clip; the authors' checkpoint.pt)",
        base_licence="MIT",
        commercial=True,
        resize="middle crop to the input size, zeros around smaller images; no resize",
        cam="tower.transformer.resblocks.3.ln_1",
        published="mean accuracy 90.4; GenImage 96.7, ForenSynths 97.2, Chameleon 71",
    )
    small = MappingProxyType({"prototypes": 16, "rank": 4})

    stage: Tensor
    prototypes: Tensor

    def __init__(
        self,
        model: str = TINY,
        pretrained: str | None = None,
        prototypes: int = 64,
        features: int = 128,
        rank: int = 16,
        alpha: float = 32,
        dropout: float = 0.1,
        crop: bool = True,
    ) -> None:
        tower = {
            "model": model,
            "pretrained": pretrained,
            "rank": rank,
            "alpha": alpha,
            "dropout": dropout,
        }
        super().__init__(**tower, prototypes=prototypes, features=features, crop=crop)
        if prototypes % 2 or not 2 <= prototypes <= 2 * features:
            raise UserError(
                f"prototypes must be even, from 2 to twice the features ({2 * features}), got"
                f" {prototypes}. Write 64."
            )
        self.tower, self.size, width, self.adapted = adapted_tower(
            model, pretrained, lambda attention: LoRAAttention(attention, rank, alpha, dropout)
        )
        self.crop = crop
        self.foren_proj = nn.Linear(width, features, bias=False)
        self.cross_attention = nn.MultiheadAttention(features, HEADS, batch_first=True)
        self.fc = nn.Linear(features, 1, bias=False)
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)
        self.register_buffer("prototypes", torch.zeros(prototypes, features))
        self.register_buffer("stage", torch.tensor(0))
        cam = f"tower.transformer.resblocks.{len(self.adapted) - 1}.ln_1"
        self.card = self.card.model_copy(update={"input_size": self.size, "cam": cam})

    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]."""
        feature = self.feature(images)
        if self.stage == 2:
            known = self.prototypes.expand(len(images), -1, -1)
            feature = self.cross_attention(feature[:, None], known, known, need_weights=False)[0][
                :, 0
            ]
        return cast("Tensor", self.fc(feature)).squeeze(1)

    def feature(self, images: Tensor) -> Tensor:
        """Projected feature ``(N, D)`` of length 1."""
        fitted = (
            centre_crop(images, (self.size, self.size))
            if self.crop
            else fit_size(images, self.size)
        )
        return F.normalize(self.foren_proj(self.tower(self.normalise(fitted))), dim=1)

    def parts_to_train(self) -> nn.Module:
        """Projection and score, in stage 2 LoRA and the attention to the prototypes too; the tower
        stays frozen.
        """
        second, changes = bool(self.stage == 2), [attention.lora for attention in self.adapted]
        for change in changes:
            change.requires_grad_(second)  # in stage 1 no gradient need pass through the tower
        return nn.ModuleList(
            [self.foren_proj, self.fc, *([self.cross_attention, *changes] if second else [])]
        )

    def parameter_groups(self, decay: float) -> list[dict[str, Any]]:
        """LoRA at a fifth of the plan's rate; the rest at 20 times it, because features of length 1
        part slowly.
        """
        return rated(super().parameter_groups(decay), self.tower, inside=0.2, outside=20.0)

    def prepare(self, train: Labelled, validation: Labelled) -> None:
        """Enter stage 1, or from stage 1 stage 2 with prototypes of the training images; in stage 2
        they stay.

        Raises:
            DataError: too few images of a class for its prototypes.
        """
        if self.stage == 1:
            self.prototypes.copy_(torch.cat([self._components(train, label) for label in (0, 1)]))
            self.fc.reset_parameters()
        self.stage.fill_(min(2, int(self.stage) + 1))

    @torch.no_grad()
    def _components(self, data: Labelled, label: int) -> Tensor:
        """Principal directions ``(K, D)`` of a class's features, their largest entry positive."""
        count, training = len(self.prototypes) // 2, self.training
        images = data.images[data.labels == label]
        if len(images) <= count:
            raise DataError(
                f"stage 2 of gapl needs over {count} images of each class, got {len(images)} with"
                f" label {label}. Give more training images, or train with fewer prototypes."
            )
        self.eval()
        features = torch.cat([self.feature(from_bytes(part)) for part in images.split(500)])
        self.train(training)
        directions = torch.linalg.svd(features - features.mean(dim=0), full_matrices=False).Vh[
            :count
        ]
        largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
        turned: Tensor = directions * largest.sign()
        return turned

    def adopted(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """From the authors' names: a Hugging Face tower with PEFT's LoRA, and the prototypes saved
        beside it.
        """
        given = {name.removeprefix("_orig_mod."): value for name, value in tensors.items()}
        prototypes = given.pop("prototype", given.pop("propVec", None))
        if prototypes is None:
            raise CheckpointError(
                "this checkpoint of gapl has no prototypes. Put the tensor of pca_3type_num64.pt"
                " under the name 'prototype' into the file, beside the network's tensors."
            )
        tower = {
            name: value for name, value in given.items() if name.startswith("feature_extractor.")
        }
        rest = {name: value for name, value in given.items() if name not in tower}
        return (
            rest | {"prototypes": prototypes, "stage": torch.tensor(2)} | from_hugging_face(tower)
        )


class LoRA(nn.Module):
    """A linear change of low rank that is zero at first. Source: Hu et al., ICLR 2022."""

    def __init__(self, width: int, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.drop = nn.Dropout(dropout)
        self.down, self.up = nn.Linear(width, rank, bias=False), nn.Linear(rank, width, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        """The change of ``(..., D)`` inputs' projection."""
        changed: Tensor = self.up(self.down(self.drop(inputs)))
        return self.scale * changed


class LoRAAttention(nn.Module):
    """Frozen self-attention with LoRA on its q, k and v; stands in for
    ``nn.MultiheadAttention``.
    """

    def __init__(
        self, attention: nn.MultiheadAttention, rank: int, alpha: float, dropout: float
    ) -> None:
        super().__init__()
        self.attention = attention.requires_grad_(False)
        self.lora = nn.ModuleList(LoRA(attention.embed_dim, rank, alpha, dropout) for _ in range(3))

    def forward(self, inputs: Tensor, *same: Tensor, **unused: Any) -> tuple[Tensor, None]:
        """Attend from ``(N, T, D)`` tokens to themselves; a CLIP image tower has no mask."""
        frozen = F.linear(inputs, self.attention.in_proj_weight, self.attention.in_proj_bias)
        joined = frozen + torch.cat([change(inputs) for change in self.lora], dim=-1)
        q, k, v = joined.unflatten(-1, (3, self.attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.attention.out_proj(mixed), None


def adapted_tower(
    model: str, pretrained: str | None, adapt: Callable[[nn.MultiheadAttention], LoRAAttention]
) -> tuple[nn.Module, int, int, list[LoRAAttention]]:
    """A frozen CLIP tower without its last projection, its input size, its width, and its
    attentions, adapted.
    """
    tower: Any
    tower, size, _ = clip_tower(model, pretrained)
    blocks = getattr(getattr(tower, "transformer", None), "resblocks", None)
    if blocks is None or not all(isinstance(block.attn, nn.MultiheadAttention) for block in blocks):
        raise UserError(
            f"gapl needs a vision transformer of open_clip, got {model}. Write"
            " model='ViT-L-14-quickgelu'."
        )
    tower.requires_grad_(False)
    tower.proj = None
    for block in blocks:
        block.attn = adapt(block.attn)
    return tower, size, tower.ln_post.normalized_shape[0], [block.attn for block in blocks]


PARTS = MappingProxyType(
    {
        "embeddings.class_embedding": "class_embedding",
        "embeddings.patch_embedding.": "conv1.",
        "embeddings.position_embedding.weight": "positional_embedding",
        "pre_layrnorm.": "ln_pre.",
        "post_layernorm.": "ln_post.",
        "encoder.layers.": "transformer.resblocks.",
        ".layer_norm1.": ".ln_1.",
        ".layer_norm2.": ".ln_2.",
        ".mlp.fc1.": ".mlp.c_fc.",
        ".mlp.fc2.": ".mlp.c_proj.",
        ".self_attn.out_proj.": ".attn.attention.out_proj.",
    }
)
"""Parts of Hugging Face's names of a CLIP vision transformer, and of open_clip's."""


def from_hugging_face(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A tower's state dict from Hugging Face's names with PEFT's: q, k and v are joined, LoRA's
    matrices are not.
    """
    made = {}
    for name, value in tensors.items():
        name = name.replace("feature_extractor.", "tower.").replace(".base_layer.", ".")
        for theirs, ours in PARTS.items():
            name = name.replace(theirs, ours)
        for place, letter in enumerate("qkv"):
            own = f".attn.lora.{place}."
            name = name.replace(f".self_attn.{letter}_proj.lora_A.default.", f"{own}down.")
            name = name.replace(f".self_attn.{letter}_proj.lora_B.default.", f"{own}up.")
        made[name] = value
    made.pop("tower.embeddings.position_ids", None)
    for name in [name for name in made if ".self_attn.q_proj." in name]:
        joined = torch.cat([made.pop(name.replace("q_proj", f"{letter}_proj")) for letter in "qkv"])
        made[name.replace(".self_attn.q_proj.", ".attn.attention.in_proj_")] = joined
    return made
