"""Image classifiers of the transformers library as detectors: ``hf:REPO_ID`` or ``hf:FOLDER``."""

import re
from collections.abc import Mapping
from typing import Any, cast, final

import torch
from PIL import Image
from torch import Tensor, nn

from robustbench_aigi.detectors.anyone.ends import check_ends, optional, slug
from robustbench_aigi.detectors.base import FRESH, Card, Detector, Normalise
from robustbench_aigi.detectors.fetching import weights_wanted
from robustbench_aigi.detectors.resizing import centre_crop, resize, short_side
from robustbench_aigi.errors import Unavailable, UserError
from robustbench_aigi.grid import from_bytes

FAKE = frozenset({"fake", "deepfake", "ai", "aigc", "artificial", "generated", "synthetic"})
REAL = frozenset({"real", "human", "hum", "nature", "natural", "camera"})
NOT = frozenset({"no", "not", "non"})
KERNELS = {0: "nearest-exact", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of its resampling kernels."""


@final
class HFModel(Detector):
    """A two-class image classifier: its logit of AI-generated minus its logit of real.

    What its image processor does happens inside, differentiably. Code that a repository brings is never run.

    Args:
        model: a hub id such as ``Organika/sdxl-detector``, or a folder that ``save_pretrained`` wrote.
        revision: branch, tag or commit on the hub.
        fake_index: the label that means AI-generated; None reads it from the words of the labels.
        pretrained: False leaves the weights fresh, for a checkpoint of ours to fill.

    Raises:
        Unavailable: it is not on this machine and no hub can be reached, or it would have to run its own code.
        UserError: it has not two labels, their words do not tell which is which, or its image processor does
            something that is not known here.
    """

    default_card = Card(
        name="hf",
        source="a hub of transformers models",
        code_licence="Apache-2.0 (transformers)",
        weights_licence="as the model's own card says",
        base_licence="as the model's own card says",
        commercial=False,
    )

    def __init__(
        self, model: str, revision: str = "main", fake_index: int | None = None, pretrained: bool = True
    ) -> None:
        super().__init__(model=model, revision=revision, fake_index=fake_index, pretrained=pretrained)
        self.net, processor = fetched(model, revision, pretrained)
        labels = {int(index): str(label) for index, label in cast("Any", self.net).config.id2label.items()}
        self.fake_index = fake_of(labels, model, fake_index)
        self.processing = Processing(processor.to_dict())
        self.processing.check(processor, model)
        commit = getattr(cast("Any", self.net).config, "_commit_hash", None)
        facts = {
            "name": slug(f"hf:{model}"),
            "source": f"hf:{model}" + (f"@{commit}" if commit else ""),
            "orientation": f"logit of {labels[self.fake_index]!r} minus logit of {labels[1 - self.fake_index]!r}",
            "resize": f"{self.processing}, inside the detector",
            "input_size": self.processing.side,
            "weights": f"hf:{model}" + (f"@{commit}" if commit else "") if pretrained else FRESH,
        }
        self.card = self.card.model_copy(update=facts)

    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]."""
        outputs = cast("Any", self.net)(pixel_values=self.processing(images)).logits
        return cast("Tensor", outputs[:, self.fake_index] - outputs[:, 1 - self.fake_index])


def fetched(model: str, revision: str, pretrained: bool) -> tuple[nn.Module, Any]:
    """Network and image processor. Raises ``Unavailable``: out of reach, or it would have to run its own code."""
    transformers = optional("transformers", "diffusion")
    # left unset, transformers asks at the keyboard whether to run a repository's code
    where = {"revision": revision, "trust_remote_code": False}
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(model, **where)
        if pretrained and weights_wanted():
            return transformers.AutoModelForImageClassification.from_pretrained(model, **where), processor
        config = transformers.AutoConfig.from_pretrained(model, **where)
        return transformers.AutoModelForImageClassification.from_config(config, trust_remote_code=False), processor
    except (OSError, ValueError) as error:
        raise Unavailable(
            f"transformers cannot load {model!r}: {str(error).strip().splitlines()[0]}. Reach the hub once so that "
            "HF_HOME holds it, or write hf: and a folder that save_pretrained wrote (model and image processor)."
        ) from error


def fake_of(labels: Mapping[int, str], model: str, given: int | None = None) -> int:
    """Which of two labels means AI-generated. Raises ``UserError`` if there are not two, or their words do not tell.

    Args:
        given: the answer, where the user has it.
    """
    if len(labels) != 2:
        raise UserError(
            f"{model} has {len(labels)} labels, and a detector needs two. Give a model of two classes, or wrap its "
            "network with rb.wrap(module, input_size=...) so that it has one or two outputs."
        )
    if given is not None:
        check_ends(given, "logit")
        return given
    fakes = [index for index, label in labels.items() if _says(label, FAKE, REAL)]
    reals = [index for index, label in labels.items() if _says(label, REAL, FAKE)]
    if len(fakes) != 1 or len(reals) != 1:
        raise UserError(
            f"the labels of {model} are {dict(labels)}, and their words do not tell which means AI-generated. "
            "Say it: load_detector(..., fake_index=0) or fake_index=1."
        )
    return fakes[0]


def _says(label: str, words: frozenset[str], others: frozenset[str]) -> bool:
    found = {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", label)}
    return bool(found & words) and not found & (others | NOT)


@final
class Processing(nn.Module):
    """What an image processor does to an image: resize, centre crop, channel order, normalise; differentiable.

    Args:
        settings: the image processor as a dictionary.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.size: dict[str, int] = dict(settings.get("size") or {}) if settings.get("do_resize") else {}
        self.crop_share: float | None = settings.get("crop_pct")
        crop = settings.get("crop_size") if settings.get("do_center_crop") else None
        self.crop = (int(crop["height"]), int(crop["width"])) if crop else None
        self.flip = bool(settings.get("do_flip_channel_order"))
        code = settings.get("resample")
        self.kernel = KERNELS.get(2 if code is None else int(code), f"Pillow's kernel {code}")
        scale = 255 * settings["rescale_factor"] if settings.get("do_rescale") else 255.0
        moved = settings.get("do_normalize")
        mean = settings["image_mean"] if moved else (0.0, 0.0, 0.0)
        std = settings["image_std"] if moved else (1.0, 1.0, 1.0)
        self.normalise = Normalise(tuple(m / scale for m in mean), tuple(s / scale for s in std))

    @property
    def side(self) -> int:
        """Height in pixels of what the network sees; 0 if it depends on the image."""
        return self.crop[0] if self.crop else self.size.get("height", self.size.get("shortest_edge", 0))

    def __str__(self) -> str:
        """The steps in words, for the card."""
        return f"{self.kernel} to {self.size or 'the same size'}, centre crop {self.crop or 'none'}"

    def forward(self, images: Tensor) -> Tensor:
        """``(N, 3, H, W)`` images in [0, 1] as the network wants them."""
        images = self._resized(images)
        if self.crop is not None:
            images = centre_crop(images, self.crop, down=True)
        return cast("Tensor", self.normalise(images.flip(1) if self.flip else images))

    def _resized(self, images: Tensor) -> Tensor:
        if "shortest_edge" not in self.size:
            return resize(images, (self.size["height"], self.size["width"]), self.kernel) if self.size else images
        edge = self.size["shortest_edge"]
        if self.crop_share is None:
            return resize(images, short_side(images, edge), self.kernel)
        if edge >= 384:  # ConvNeXt's processor squeezes large inputs and crops small ones
            return resize(images, (edge, edge), self.kernel)
        images = resize(images, short_side(images, int(edge / self.crop_share)), self.kernel)
        return centre_crop(images, (edge, edge), down=True)

    def check(self, processor: Any, model: str) -> None:
        """Compare with the image processor itself on a picture. Raises ``UserError`` if they differ beyond rounding."""
        ramp = torch.linspace(0, 255, 320)
        planes = (ramp.expand(256, -1), ramp.flip(0).expand(256, -1), ramp[:256, None].expand(-1, 320) / 2)
        picture = torch.stack(planes).round().to(torch.uint8)
        theirs = processor(Image.fromarray(picture.permute(1, 2, 0).numpy()), return_tensors="pt")["pixel_values"]
        try:
            ours = self(from_bytes(picture[None]))
        except (KeyError, NotImplementedError) as error:
            raise UserError(f"the image processor of {model} resizes in an unknown way: {self}. {HINT}") from error
        if ours.shape != theirs.shape or float((ours - theirs).abs().mean()) > 0.05 * float(theirs.std()):
            raise UserError(f"the image processor of {model} does more than is known here: {self}. {HINT}")


HINT = "Wrap its network instead: rb.wrap(module, input_size=..., mean=..., std=...)."
