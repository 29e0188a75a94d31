"""GAPL: an image's CLIP feature, seen through prototypes of real and of AI-generated images."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_aigi.detectors._support.clip_encoder import TINY_CLIP
from robustbench_aigi.detectors._support.lora_encoder import (
    LoRAAttention,
    from_peft_names,
    load_adapted_encoder,
)
from robustbench_aigi.detectors._support.parameter_groups import split_rates
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
from robustbench_aigi.errors import CheckpointError, DataError, UserError
from robustbench_aigi.imaging.pixels import from_bytes

ATTENTION_HEADS = 4
"""Heads of the attention from a feature to the prototypes."""
FEATURE_BATCH = 500
"""Images in one pass when features are collected."""


@detectors.add("gapl")
@final
class GAPL(Detector):
    """Generator-aware prototypes on a CLIP image encoder, trained in two stages.

    ``train gapl`` trains stage 1: a linear projection of the frozen encoder's pooled feature, and a
    linear score. ``train gapl --start STAGE1`` takes the principal components of the projected
    features of real and of AI-generated training images as fixed prototypes, then trains stage 2:
    LoRA on query, key and value of every attention of the encoder, the projection, attention from
    the feature to the prototypes, and a fresh score. A checkpoint stores its stage.

    The authors' encoder is ``model="ViT-L-14-quickgelu"``, with ``pretrained="openai"`` to train on
    it; their ``checkpoint.pt`` brings its own and loads with ``weights=PATH,
    model="ViT-L-14-quickgelu"``. Source: GAPL, CVPR 2026.

    Args:
        model: a CLIP vision transformer, as in
            :func:`~robustbench_aigi.detectors._support.clip_encoder.load_clip`.
        pretrained: its tag, likewise.
        prototypes: number of prototypes, half of them of real images.
        features: dimensions of the projected feature.
        rank: rank of LoRA.
        alpha: LoRA is scaled by ``alpha / rank``.
        dropout: dropout of LoRA.
        crop: crop the centre, with zeros around smaller images, as its authors do; False resizes
            the whole image.

    Raises:
        UnavailableError: the encoder is not on this machine and no hub can be reached.
        UserError: a number of prototypes that is odd or too large, or an encoder that is no vision
            transformer.
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
    config_first = ("model", "pretrained", "rank", "alpha", "dropout")

    stage: Tensor
    prototypes: Tensor

    def __init__(
        self,
        model: str = TINY_CLIP,
        pretrained: str | None = None,
        prototypes: int = 64,
        features: int = 128,
        rank: int = 16,
        alpha: float = 32,
        dropout: float = 0.1,
        crop: bool = True,
    ) -> None:
        super().__init__()
        if prototypes % 2 or not 2 <= prototypes <= 2 * features:
            raise UserError(
                f"prototypes must be even, from 2 to twice the features ({2 * features}), got"
                f" {prototypes}. Write 64."
            )
        self.tower, self.size, width, self.adapted = load_adapted_encoder(
            model, pretrained, lambda attention: LoRAAttention(attention, rank, alpha, dropout)
        )
        self.crop = crop
        self.foren_proj = nn.Linear(width, features, bias=False)
        self.cross_attention = nn.MultiheadAttention(features, ATTENTION_HEADS, batch_first=True)
        self.fc = nn.Linear(features, 1, bias=False)
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)
        self.register_buffer("prototypes", torch.zeros(prototypes, features))
        self.register_buffer("stage", torch.tensor(0))
        last_block = f"tower.transformer.resblocks.{len(self.adapted) - 1}"
        self.describe(input_size=self.size, cam=f"{last_block}.ln_1")

    def logits(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Score ``images``, ``(N, 3, H, W)`` in [0, 1]."""
        feature = self.feature(images)
        if self.stage == 2:
            known = self.prototypes.expand(len(images), -1, -1)
            attended, _ = self.cross_attention(feature[:, None], known, known, need_weights=False)
            feature = attended[:, 0]
        return cast("Tensor", self.fc(feature)).squeeze(1)

    def feature(self, images: Tensor) -> Tensor:
        """Return the projected features of images.

        Args:
            images: float batch in [0, 1], ``(N, 3, H, W)``.

        Returns:
            Features ``(N, D)`` of length 1.
        """
        fitted = (
            centre_crop(images, (self.size, self.size))
            if self.crop
            else fit_size(images, self.size)
        )
        return F.normalize(self.foren_proj(self.tower(self.normalise(fitted))), dim=1)

    def parts_to_train(self) -> nn.Module:
        """Return projection and score; in stage 2 also LoRA and the attention to the prototypes."""
        is_second = bool(self.stage == 2)
        updates = [attention.lora for attention in self.adapted]
        for update in updates:
            update.requires_grad_(is_second)  # stage 1 needs no backward pass through the encoder
        more = [self.cross_attention, *updates] if is_second else []
        return nn.ModuleList([self.foren_proj, self.fc, *more])

    def parameter_groups(self, decay: float) -> list[dict[str, Any]]:
        """Return groups with LoRA at a fifth of the learning rate, and the rest at 20 times.

        Features of length 1 move apart slowly, which the high rate makes up for.

        Args:
            decay: weight decay of matrices.
        """
        return split_rates(super().parameter_groups(decay), self.tower, inside=0.2, outside=20.0)

    def prepare(self, train: Labelled, validation: Labelled) -> None:
        """Enter the next stage; stage 2 begins with prototypes of the training images.

        Args:
            train: training images.
            validation: not used.

        Raises:
            DataError: a class has too few images for its prototypes.
        """
        if self.stage == 1:
            self.prototypes.copy_(torch.cat([self._components(train, label) for label in (0, 1)]))
            self.fc.reset_parameters()
        self.stage.fill_(min(2, int(self.stage) + 1))

    @torch.no_grad()
    def _components(self, data: Labelled, label: int) -> Tensor:
        """Return principal directions ``(K, D)`` of a class, their largest entry positive."""
        count = len(self.prototypes) // 2
        images = data.images[data.labels == label]
        if len(images) <= count:
            raise DataError(
                f"stage 2 of gapl needs over {count} images of each class, got {len(images)} with"
                f" label {label}. Give more training images, or train with fewer prototypes."
            )
        was_training = self.training
        self.eval()
        parts = images.split(FEATURE_BATCH)
        features = torch.cat([self.feature(from_bytes(part)) for part in parts])
        self.train(was_training)
        _, _, directions = torch.linalg.svd(features - features.mean(dim=0), full_matrices=False)
        directions = directions[:count]
        largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
        turned: Tensor = directions * largest.sign()
        return turned

    def adopted(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Rename the authors' tensors: Hugging Face's names, PEFT's LoRA, and the prototypes.

        Args:
            tensors: tensors under their authors' names.

        Raises:
            CheckpointError: the prototypes are missing.
        """
        given = {name.removeprefix("_orig_mod."): value for name, value in tensors.items()}
        prototypes = given.pop("prototype", given.pop("propVec", None))
        if prototypes is None:
            raise CheckpointError(
                "this checkpoint of gapl has no prototypes. Put the tensor of pca_3type_num64.pt"
                " under the name 'prototype' into the file, beside the network's tensors."
            )
        encoder = {
            name: value for name, value in given.items() if name.startswith("feature_extractor.")
        }
        rest = {name: value for name, value in given.items() if name not in encoder}
        own = {"prototypes": prototypes, "stage": torch.tensor(2)}
        return rest | own | from_peft_names(encoder)
