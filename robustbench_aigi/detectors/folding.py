"""Batch norms folded into the convolutions before them, for as long as weights stand still: the same logits, sooner."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from robustbench_aigi.detectors.base import Detector

CLOSE = 1e-4
"""How far a folded logit may be from the detector's own, beside its size; further means that folding was wrong."""


class Pair(NamedTuple):
    """A convolution, the batch norm that alone takes its output, and where that norm hangs."""

    convolution: nn.Conv2d
    norm: nn.BatchNorm2d
    parent: nn.Module
    name: str


_known: WeakKeyDictionary[nn.Module, tuple[Pair, ...]] = WeakKeyDictionary()


@contextmanager
def folded(detector: Detector, images: Tensor) -> Iterator[None]:
    """Fold a detector that is in evaluation mode, and put everything back at the end.

    Which norm follows which convolution is seen in a pass, and folding is given up where logits change by it.

    Args:
        images: a few, ``(N, 3, H, W)`` in [0, 1], to try it on when a detector is first met.
    """
    if detector not in _known and len(images):
        _known[detector] = _tried(detector, images)
    with _applied(_known.get(detector, ())):
        yield


def _tried(detector: Detector, images: Tensor) -> tuple[Pair, ...]:
    """The pairs to fold; none in what torch has compiled, which would be compiled anew."""
    kinds = {type(module) for module in detector.modules()}
    if nn.BatchNorm2d not in kinds or any(kind.__name__ == "OptimizedModule" for kind in kinds):
        return ()
    with torch.no_grad():
        pairs, own = _watched(detector, images)
        with _applied(pairs):
            other = detector.logits(images)
    return pairs if bool(((own - other).abs() <= CLOSE * (1 + own.abs())).all()) else ()


def _watched(detector: Detector, images: Tensor) -> tuple[tuple[Pair, ...], Tensor]:
    """The pairs that a pass shows, and its logits."""
    outputs: list[tuple[Tensor, nn.Conv2d]] = []
    sources: dict[nn.BatchNorm2d, list[nn.Conv2d | None]] = defaultdict(list)

    def convolved(module: nn.Module, inputs: Any, output: Tensor) -> None:
        outputs.append((output, cast("nn.Conv2d", module)))

    def normed(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        maker = next((conv for output, conv in outputs if output is inputs[0]), None)
        sources[cast("nn.BatchNorm2d", module)].append(maker)

    hooks = [m.register_forward_hook(convolved) for m in detector.modules() if type(m) is nn.Conv2d and _plain(m)]
    hooks += [m.register_forward_pre_hook(normed) for m in detector.modules() if type(m) is nn.BatchNorm2d]
    try:
        logits = detector.logits(images)
    finally:
        for hook in hooks:
            hook.remove()
    calls = [conv for _, conv in outputs]
    places: dict[nn.Module, list[tuple[nn.Module, str]]] = defaultdict(list)
    for parent in detector.modules():
        for name, child in parent.named_children():
            places[child].append((parent, name))
    pairs = (
        Pair(makers[0], norm, *places[norm][0])
        for norm, makers in sources.items()
        if makers[0] is not None
        and norm.running_var is not None
        and set(makers) == {makers[0]}
        and calls.count(makers[0]) == len(makers)
        and len(places[norm]) == 1
    )
    return tuple(pairs), logits


def _plain(convolution: nn.Conv2d) -> bool:
    """Whether its weight is its own, and not made anew at every call."""
    return not convolution._forward_pre_hooks and "weight" in convolution._parameters


@contextmanager
def _applied(pairs: tuple[Pair, ...]) -> Iterator[None]:
    """Fold the pairs that are not folded already."""
    with ExitStack() as undo:
        for pair in pairs:
            if pair.parent._modules[pair.name] is pair.norm:
                undo.callback(_put_back, pair, pair.convolution.weight, pair.convolution.bias)
                _fold(pair)
        yield


@torch.no_grad()
def _fold(pair: Pair) -> None:
    convolution, norm = pair.convolution, pair.norm
    mean, variance = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
    scale = (variance + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight)
    shift = scale * ((0 if convolution.bias is None else convolution.bias) - mean)
    bias = shift if norm.bias is None else shift + norm.bias
    convolution.weight = nn.Parameter(convolution.weight * scale.view(-1, 1, 1, 1), requires_grad=False)
    convolution.bias = nn.Parameter(bias, requires_grad=False)
    setattr(pair.parent, pair.name, nn.Identity())


def _put_back(pair: Pair, weight: Tensor, bias: Tensor | None) -> None:
    pair.convolution.weight, pair.convolution.bias = weight, bias
    setattr(pair.parent, pair.name, pair.norm)
