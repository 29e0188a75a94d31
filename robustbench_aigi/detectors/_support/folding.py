"""Folding batch norms into the convolutions before them while weights do not change.

The logits are the same up to rounding, and are computed faster.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from robustbench_aigi.detectors._support.placement import on_device
from robustbench_aigi.detectors.base import Detector

MAX_DIFFERENCE = 1e-4
"""Largest difference of a folded logit, relative above 1; more means that folding was wrong."""


class FoldablePair(NamedTuple):
    """Dotted names of a convolution, and of the batch norm that alone takes its output."""

    convolution: str
    norm: str


_known: WeakKeyDictionary[Detector, tuple[FoldablePair, ...]] = WeakKeyDictionary()


@contextmanager
def folded(detector: Detector, images: Tensor) -> Iterator[None]:
    """Fold a detector's batch norms inside the context, and restore them afterwards.

    One forward pass shows which norm follows which convolution. Nothing is folded where that would
    change the logits.

    Args:
        detector: in evaluation mode.
        images: ``(N, 3, H, W)`` in [0, 1]; a few, to try folding on when a detector is first met.
    """
    if detector not in _known and len(images):
        _known[detector] = _tried(detector, images)
    with _applied(detector, _known.get(detector, ())):
        yield


def _tried(detector: Detector, images: Tensor) -> tuple[FoldablePair, ...]:
    """Return the pairs to fold; none for a compiled network, which would be compiled again."""
    kinds = {type(module) for module in detector.modules()}
    if nn.BatchNorm2d not in kinds or any(kind.__name__ == "OptimizedModule" for kind in kinds):
        return ()
    with torch.no_grad():
        watched = _Watched()
        own = watched.logits(detector, images)
        pairs = watched.pairs(detector)
        with _applied(detector, pairs):
            other = on_device(detector, images)
    is_same = bool(((own - other).abs() <= MAX_DIFFERENCE * (1 + own.abs())).all())
    return pairs if is_same else ()


@dataclass
class _Watched:
    """What hooks see of one forward pass.

    Attributes:
        outputs: the output of each call of a convolution, with the convolution.
        sources: for each batch norm, which convolution made the input of each of its calls.
    """

    outputs: list[tuple[Tensor, nn.Module]] = field(default_factory=list)
    sources: dict[nn.Module, list[nn.Module | None]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def logits(self, detector: Detector, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Return the logits of a pass, during which the hooks watch.

        Args:
            detector: in evaluation mode.
            images: ``(N, 3, H, W)`` in [0, 1].
        """
        hooks = [
            module.register_forward_hook(self._after_convolution)
            for module in detector.modules()
            if type(module) is nn.Conv2d and _has_own_weight(module)
        ]
        hooks += [
            module.register_forward_pre_hook(self._before_norm)
            for module in detector.modules()
            if type(module) is nn.BatchNorm2d
        ]
        try:
            return on_device(detector, images)
        finally:
            for hook in hooks:
                hook.remove()

    def pairs(self, detector: Detector) -> tuple[FoldablePair, ...]:
        """Return the pairs that can be folded, after the pass.

        Args:
            detector: the one that was watched.
        """
        names: dict[nn.Module, list[str]] = defaultdict(list)
        for name, module in detector.named_modules(remove_duplicate=False):
            names[module].append(name)
        calls = [convolution for _, convolution in self.outputs]
        found = []
        for norm, makers in self.sources.items():
            convolution = makers[0]
            if convolution is None or norm.running_var is None:
                continue
            is_only_maker = set(makers) == {convolution}
            is_only_user = calls.count(convolution) == len(makers)
            if is_only_maker and is_only_user and len(names[norm]) == 1:
                found.append(FoldablePair(names[convolution][0], names[norm][0]))
        return tuple(found)

    def _after_convolution(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self.outputs.append((output, module))

    def _before_norm(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        makers = (maker for output, maker in self.outputs if output is inputs[0])
        self.sources[module].append(next(makers, None))


def _has_own_weight(convolution: nn.Conv2d) -> bool:
    """Return whether its weight is a parameter, and not computed again at every call."""
    return not convolution._forward_pre_hooks and "weight" in convolution._parameters


@contextmanager
def _applied(detector: Detector, pairs: tuple[FoldablePair, ...]) -> Iterator[None]:
    """Fold the pairs that are not folded already."""
    with ExitStack() as undo:
        for pair in pairs:
            convolution = detector.get_submodule(pair.convolution)
            norm = detector.get_submodule(pair.norm)
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                undo.callback(_restore, detector, pair, convolution.weight, convolution.bias, norm)
                _fold(convolution, norm)
                detector.set_submodule(pair.norm, nn.Identity())
        yield


@torch.no_grad()
def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    # torch's fuse_conv_bn_weights rounds the bias otherwise, which would change attacked images
    mean = cast("Tensor", norm.running_mean)
    variance = cast("Tensor", norm.running_var)
    scale = (variance + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight)
    shift = scale * ((0 if convolution.bias is None else convolution.bias) - mean)
    bias = shift if norm.bias is None else shift + norm.bias
    convolution.weight = nn.Parameter(
        convolution.weight * scale.view(-1, 1, 1, 1), requires_grad=False
    )
    convolution.bias = nn.Parameter(bias, requires_grad=False)


def _restore(
    detector: Detector, pair: FoldablePair, weight: Tensor, bias: Tensor | None, norm: nn.Module
) -> None:
    convolution = cast("nn.Conv2d", detector.get_submodule(pair.convolution))
    convolution.weight = weight
    convolution.bias = bias
    detector.set_submodule(pair.norm, norm)
