"""Batch norms folded into the convolutions before them, for as long as weights stand still: the
same logits, sooner.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from robustbench_aigi.detectors._support.placement import on_device
from robustbench_aigi.detectors.base import Detector

CLOSE = 1e-4
"""How far a folded logit may be from the detector's own, beside its size; further means that
folding was wrong.
"""


class FoldablePair(NamedTuple):
    """Names of a convolution, and of the batch norm that alone takes its output."""

    convolution: str
    norm: str


_known: WeakKeyDictionary[Detector, tuple[FoldablePair, ...]] = WeakKeyDictionary()


@contextmanager
def folded(detector: Detector, images: Tensor) -> Iterator[None]:
    """Fold a detector that is in evaluation mode, and put everything back at the end.

    Which norm follows which convolution is seen in a pass, and folding is given up where logits
    change by it.

    Args:
        images: a few, ``(N, 3, H, W)`` in [0, 1], to try it on when a detector is first met.
    """
    if detector not in _known and len(images):
        _known[detector] = _tried(detector, images)
    with _applied(detector, _known.get(detector, ())):
        yield


def _tried(detector: Detector, images: Tensor) -> tuple[FoldablePair, ...]:
    """The pairs to fold; none in what torch has compiled, which would be compiled anew."""
    kinds = {type(module) for module in detector.modules()}
    if nn.BatchNorm2d not in kinds or any(kind.__name__ == "OptimizedModule" for kind in kinds):
        return ()
    with torch.no_grad():
        pairs, own = _watched(detector, images)
        with _applied(detector, pairs):
            other = on_device(detector, images)
    return pairs if bool(((own - other).abs() <= CLOSE * (1 + own.abs())).all()) else ()


def _watched(detector: Detector, images: Tensor) -> tuple[tuple[FoldablePair, ...], Tensor]:
    """The pairs that a pass shows, and its logits."""
    outputs: list[tuple[Tensor, nn.Module]] = []
    sources: dict[nn.Module, list[nn.Module | None]] = defaultdict(list)

    def convolved(module: nn.Module, inputs: Any, output: Tensor) -> None:
        outputs.append((output, module))

    def normed(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sources[module].append(
            next((maker for output, maker in outputs if output is inputs[0]), None)
        )

    hooks = [
        m.register_forward_hook(convolved)
        for m in detector.modules()
        if type(m) is nn.Conv2d and _plain(m)
    ]
    hooks += [
        m.register_forward_pre_hook(normed) for m in detector.modules() if type(m) is nn.BatchNorm2d
    ]
    try:
        logits = on_device(detector, images)
    finally:
        for hook in hooks:
            hook.remove()
    calls, names = [maker for _, maker in outputs], defaultdict(list)
    for name, module in detector.named_modules(remove_duplicate=False):
        names[module].append(name)
    pairs = (
        FoldablePair(names[makers[0]][0], names[norm][0])
        for norm, makers in sources.items()
        if makers[0] is not None
        and norm.running_var is not None
        and set(makers) == {makers[0]}
        and calls.count(makers[0]) == len(makers)
        and len(names[norm]) == 1
    )
    return tuple(pairs), logits


def _plain(convolution: nn.Conv2d) -> bool:
    """Whether its weight is its own, and not made anew at every call."""
    return not convolution._forward_pre_hooks and "weight" in convolution._parameters


@contextmanager
def _applied(detector: Detector, pairs: tuple[FoldablePair, ...]) -> Iterator[None]:
    """Fold the pairs that are not folded already."""
    with ExitStack() as undo:
        for pair in pairs:
            convolution, norm = (detector.get_submodule(name) for name in pair)
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                undo.callback(_put_back, detector, pair, convolution.weight, convolution.bias, norm)
                _fold(convolution, norm)
                detector.set_submodule(pair.norm, nn.Identity())
        yield


@torch.no_grad()
def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    mean, variance = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
    scale = (variance + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight)
    shift = scale * ((0 if convolution.bias is None else convolution.bias) - mean)
    bias = shift if norm.bias is None else shift + norm.bias
    convolution.weight = nn.Parameter(
        convolution.weight * scale.view(-1, 1, 1, 1), requires_grad=False
    )
    convolution.bias = nn.Parameter(bias, requires_grad=False)


def _put_back(
    detector: Detector, pair: FoldablePair, weight: Tensor, bias: Tensor | None, norm: nn.Module
) -> None:
    convolution = cast("nn.Conv2d", detector.get_submodule(pair.convolution))
    convolution.weight, convolution.bias = weight, bias
    detector.set_submodule(pair.norm, norm)
