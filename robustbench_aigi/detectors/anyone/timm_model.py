"""Any model of timm as a detector: ``timm:NAME``."""

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Literal, cast, final

import timm
import torch
from torch import Tensor, nn

from robustbench_aigi.detectors.anyone.ends import slug
from robustbench_aigi.detectors.backbone import one_row
from robustbench_aigi.detectors.base import Card, Detector, Normalise
from robustbench_aigi.detectors.resizing import resize
from robustbench_aigi.detectors.trunks import timm_trunk
from robustbench_aigi.errors import BadCheckpoint, UnknownName

PERMISSIVE = ("apache", "mit", "bsd", "cc0", "cc-by-4")


@final
class TimmModel(Detector):
    """A timm model with one fresh output, in the input size, kernel and normalisation its weights were made for.

    Args:
        model: timm's name, with or without the tag of the weights, such as ``resnet18.a1_in1k``.
        pretrained: fetch the weights; the output stays fresh.
        fake_index: the output of a two-class checkpoint that means AI-generated; it is never guessed.

    Raises:
        UnknownName: timm has no such model. Unavailable: the weights are not here and no hub can be reached.
    """

    default_card = Card(name="timm", source="timm", code_licence="Apache-2.0 (timm)")
    small = MappingProxyType({"model": "test_resnet"})

    def __init__(self, model: str, pretrained: bool = False, fake_index: Literal[0, 1] | None = None) -> None:
        super().__init__(model=model, pretrained=pretrained, fake_index=fake_index)
        if not timm.is_model(model):
            near = get_close_matches(model, [*timm.list_models(), *timm.list_pretrained()], n=3)
            hint = f"Did you mean {' or '.join(near)}?" if near else "timm.list_models() has all names."
            raise UnknownName(f"timm has no model called {model!r}. {hint}")
        self.net = timm_trunk(model, pretrained=pretrained, num_classes=1).to(memory_format=torch.channels_last)
        made_for = cast("dict[str, Any]", self.net.pretrained_cfg)
        _, height, width = made_for["input_size"]
        self.size = (height, width)
        named = made_for.get("classifier") or ()
        self._heads = tuple(f"net.{name}." for name in ((named,) if isinstance(named, str) else named))
        self.last_layer = self._heads[0].removesuffix(".") if self._heads else ""
        self.kernel = "bilinear" if made_for["interpolation"] == "bilinear" else "bicubic"
        self.normalise = Normalise(made_for["mean"], made_for["std"])
        facts = {
            "name": slug(f"timm:{model}"),
            "source": f"timm:{model}",
            "input_size": height,
            "resize": f"{self.kernel} with antialiasing to {height} x {width}, inside the detector",
            "cam": last_stage(self.net),
            "summary": "weights of timm below a fresh last layer" if pretrained else "",
        }
        self.card = self.card.model_copy(update=facts | (licences(made_for) if pretrained else {}))

    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]."""
        inputs = self.normalise(resize(images, self.size, self.kernel)).contiguous(memory_format=torch.channels_last)
        return cast("Tensor", self.net(inputs)).squeeze(1)

    def adopted(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """A plain file of timm below ``net``; two classes become one logit, more give way to the last layer there is.

        Raises ``BadCheckpoint`` for two classes of which nobody said which means AI-generated.
        """
        own, state = self.state_dict(), {}
        for name, value in tensors.items():
            place = name if name in own or name.startswith("net.") else f"net.{name}"
            if not place.startswith(self._heads) or len(value) == 1:
                state[place] = value
            elif len(value) > 2:
                state[place] = own.get(place, value)
            elif self.config["fake_index"] is None:
                raise BadCheckpoint(
                    f"the file for {self.card.source} has two classes, and nothing says which of them means "
                    "AI-generated. Say it: fake_index=0 or fake_index=1, as in 'timm:NAME?weights=FILE&fake_index=1'."
                )
            else:
                state[place] = one_row(value, self.config["fake_index"])
        return state


def licences(made_for: dict[str, Any]) -> dict[str, Any]:
    """Fields of a card for pretrained weights; only licences known to permit commercial use are taken to."""
    stated = made_for.get("license") or "not stated; see the model's card"
    free = str(stated).lower().startswith(PERMISSIVE)
    return {"base_licence": stated, "weights_licence": stated, "commercial": free}


def last_stage(net: nn.Module) -> str:
    """The dotted name of the last part that timm takes features from, which Grad-CAM can weigh; empty if unknown."""
    stages = list(getattr(net, "feature_info", ()))
    name = stages[-1].get("module", "") if stages else ""
    return f"net.{name}" if name and name in dict(net.named_modules()) else ""
