"""Any model of timm as a detector: ``timm:NAME``."""

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Literal, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from robustbench_aigi.detectors._support.backbone import below_net
from robustbench_aigi.detectors._support.resizing import resize
from robustbench_aigi.detectors._support.timm_backbones import timm_backbone
from robustbench_aigi.detectors.base import FROM_SCRATCH, NO_WEIGHTS, Card, Detector, Normalise
from robustbench_aigi.detectors.external.outputs import slug
from robustbench_aigi.errors import UnknownNameError

PERMISSIVE_LICENCES = ("apache", "mit", "bsd", "cc0", "cc-by-4")
"""Beginnings, in lower case, of the names of licences that permit commercial use."""


@final
class TimmModel(Detector):
    """A timm model with one fresh output, with the input size and normalisation of its weights.

    Args:
        model: timm's name, with or without the tag of the weights, such as ``resnet18.a1_in1k``.
        pretrained: fetch the weights; the output stays fresh.
        fake_index: for a checkpoint whose head has one or two outputs: the one that means
            AI-generated.

    Raises:
        UnknownNameError: timm has no such model.
        UnavailableError: the weights are not here and no hub can be reached.
    """

    default_card = Card(
        name="timm",
        source="timm",
        code_licence="Apache-2.0 (timm)",
        weights_licence=NO_WEIGHTS,
        base_licence=FROM_SCRATCH,
        commercial=True,
    )
    small = MappingProxyType({"model": "test_resnet"})

    def __init__(
        self, model: str, pretrained: bool = False, fake_index: Literal[0, 1] | None = None
    ) -> None:
        import timm  # takes seconds

        super().__init__()
        if not timm.is_model(model):
            raise UnknownNameError(_unknown_model(model))
        self.net = timm_backbone(model, pretrained=pretrained, num_classes=1).to(
            memory_format=torch.channels_last
        )
        made_for = cast("dict[str, Any]", self.net.pretrained_cfg)
        _, height, width = made_for["input_size"]
        self.size = (height, width)
        heads = made_for.get("classifier") or ()
        self._heads = (heads,) if isinstance(heads, str) else tuple(heads)
        self.last_layer = f"net.{self._heads[0]}" if self._heads else ""
        self.kernel = "bilinear" if made_for["interpolation"] == "bilinear" else "bicubic"
        self.normalise = Normalise(made_for["mean"], made_for["std"])
        facts = {
            "name": slug(f"timm:{model}"),
            "source": f"timm:{model}",
            "input_size": height,
            "resize": f"{self.kernel} with antialiasing to {height} x {width}, inside the detector",
            "cam": last_stage(self.net),
        }
        if pretrained:
            facts["summary"] = "weights of timm below a fresh last layer"
            facts |= licence_facts(made_for)
        self.describe(**facts)

    def adopted(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return a timm checkpoint's tensors as this detector's state dict.

        Args:
            tensors: under timm's names. A head of one or two outputs becomes the logit; a head of
                more is replaced by the fresh one.
        """
        return below_net(tensors, self.state_dict(), self._heads, self.config["fake_index"])

    def logits(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Score ``(N, 3, H, W)`` images in [0, 1]."""
        inputs = self.normalise(resize(images, self.size, self.kernel)).contiguous(
            memory_format=torch.channels_last
        )
        return cast("Tensor", self.net(inputs)).squeeze(1)


def _unknown_model(model: str) -> str:
    import timm

    near = get_close_matches(model, [*timm.list_models(), *timm.list_pretrained()], n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else "timm.list_models() has all names."
    return f"timm has no model called {model!r}. {hint}"


def licence_facts(made_for: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a card on the licence of pretrained weights.

    Args:
        made_for: timm's ``pretrained_cfg``. A licence that is not known to be permissive counts as
            not permitting commercial use.

    Example:
        >>> licence_facts({"license": "cc-by-nc-4.0"})["commercial"]
        False
    """
    stated = made_for.get("license") or "not stated; see the model's card"
    is_permissive = str(stated).lower().startswith(PERMISSIVE_LICENCES)
    return {"base_licence": stated, "weights_licence": stated, "commercial": is_permissive}


def last_stage(net: nn.Module) -> str:
    """Return the dotted name of the last part that timm takes features from; empty if unknown.

    Args:
        net: a timm model, held as ``net`` by the detector.
    """
    stages = list(getattr(net, "feature_info", ()))
    name = stages[-1].get("module", "") if stages else ""
    return f"net.{name}" if name and name in dict(net.named_modules()) else ""
