"""Anyone's class, function or object at ``module:NAME`` as a detector, whether or not it derives
from ours.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import ModuleType
from typing import Any, Self, final, get_type_hints

from torch import Tensor, nn

from robustbench_aigi.detectors._support.addresses.address import constructed
from robustbench_aigi.detectors._support.addresses.arguments import typed
from robustbench_aigi.detectors.base import Card, Detector
from robustbench_aigi.detectors.external.outputs import SCALES, Ends, threshold_logit
from robustbench_aigi.detectors.external.returned import as_tensor
from robustbench_aigi.detectors.external.wrapped import GIVEN, card_with, wrap
from robustbench_aigi.errors import ConfigError, UserError

OUTPUTS = frozenset({"fake_index", "scale", "output"})
OURS = OUTPUTS | {"threshold", "name"}
"""Arguments of an address that are ours where what is there does not take them."""
OF_NETWORKS = frozenset({"input_size", "mean", "std"})
"""Arguments that a network without ``logits`` takes besides."""


@final
class PlainDetector(Detector):
    """Anything with a method ``logits(images)``: torch images in; a tensor, an array or numbers
    out.

    An answer in numpy or numbers has no gradient, and the card says so from the first one on.

    Args:
        inner: the object. Networks that it holds are put into evaluation mode, count among the
            weights, and stay on their device.
    """

    default_card = Card(name="plain", source=GIVEN)
    restorable = False

    def __init__(self, inner: Any, card: Card, ends: Ends) -> None:
        super().__init__(fake_index=ends.fake_index, scale=ends.scale, output=ends.output)
        self.inner = inner
        self.card = card
        self.ends = ends
        if not isinstance(inner, nn.Module):
            self.parts = nn.ModuleList(networks_in(inner))

    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]; the object gets a copy of them, which it may
        overwrite.
        """
        returned = self._answer(images)
        black_box = not isinstance(returned, Tensor) and as_tensor(returned) is not None
        if black_box and self.card.gradient != "none":
            self.describe(gradient="none")
        return self.ends(returned, images, self.card.name)

    def _answer(self, images: Tensor) -> Any:
        try:
            return self.inner.logits(images.clone())
        except RuntimeError as error:
            if "numpy()" not in str(error) or not images.requires_grad:
                raise
        return self.inner.logits(
            images.detach().clone()
        )  # it makes arrays of them, which have no gradient

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move a network; an object that only holds networks has put them where it looks for
        them.
        """
        return super()._apply(fn, recurse) if isinstance(self.inner, nn.Module) else self  # type: ignore[no-untyped-call]


def adapted(address: str, found: Any, config: Mapping[str, Any]) -> Detector:
    """The detector at an address, in evaluation mode.

    Args:
        address: ``module:NAME``, for messages and for the card.
        found: what is there: a class, a function that returns a detector, or an object.
        config: given to the class or function as far as it takes them. Of the rest, ``fake_index``,
            ``scale``, ``output``, ``threshold`` and ``name`` are ours; so are ``input_size``,
            ``mean`` and ``std`` for a network without a method ``logits``.

    Raises:
        ConfigError: an argument that nobody takes. UserError: what is there cannot score images.
    """
    ready, ours = _made(address, found, config)
    scores = isinstance(ready, Detector) or callable(getattr(ready, "logits", None))
    if scores and ours.keys() & OF_NETWORKS:
        unused = ", ".join(sorted(ours.keys() & OF_NETWORKS))
        raise ConfigError(
            f"{address} prepares images in its own method logits, so {unused} has no use. Leave it"
            " out."
        )
    if isinstance(ready, Detector) and not ours.keys() & OUTPUTS:
        ready.card = _card(ready.card, ours)
        return ready.eval()
    name = getattr(found, "__name__", type(ready).__name__)
    if scores:
        stated = getattr(ready, "scale", None)
        if isinstance(stated, str) and "scale" not in ours:
            ours |= {"scale": _checked_scale(stated, address)}
        base = getattr(ready, "card", None)
        if not isinstance(base, Card):
            base = Card(
                name=name, source=address, weights=GIVEN, input_size=0, resize="inside the detector"
            )
        ends = Ends(**{key: ours[key] for key in OUTPUTS & ours.keys()})
        return PlainDetector(ready, _card(base, ours), ends).eval()
    if not isinstance(ready, nn.Module):
        raise UserError(
            f"{address} is of type {type(ready).__name__}, which has no method logits(images). Give"
            " it one, from (N, 3, H, W) images in [0, 1] to (N,) logits, above 0 for AI-generated."
        )
    if "input_size" not in ours:
        raise UserError(
            f"{address} is a network without a method logits, so the size of its images must be"
            f" given. Write {address}?input_size=224 with its size, and mean and std if it has any."
        )
    arguments: dict[str, Any] = {"name": name, "source": address} | ours
    return wrap(ready, **arguments)


def networks_in(holder: object, depth: int = 3) -> Iterator[nn.Module]:
    """Networks that an object holds: as attributes, and in lists, dicts and objects to a depth;
    each once.
    """
    waiting, seen = [(holder, depth)], set[int]()
    while waiting:
        value, left = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, nn.Module):
            yield value
        elif left and not isinstance(value, ModuleType | type | Tensor):
            held = value if isinstance(value, list | tuple) else getattr(value, "__dict__", value)
            parts = (
                held.values()
                if isinstance(held, Mapping)
                else held
                if isinstance(held, list | tuple)
                else ()
            )
            waiting += [(part, left - 1) for part in parts]


def _made(address: str, found: Any, config: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """What is there, called with the arguments that it takes if it is to be called, and the
    arguments left for us.
    """
    builds = inspect.isclass(found) or inspect.isroutine(found) or isinstance(found, partial)
    taken = inspect.signature(found).parameters if builds else {}
    anything = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in taken.values())
    reserved = OURS | OF_NETWORKS
    theirs = {
        key: value
        for key, value in config.items()
        if key in taken or (anything and key not in reserved)
    }
    ours = {key: value for key, value in config.items() if key not in theirs}
    try:
        if ours.keys() - reserved:
            raise TypeError(
                f"got an unexpected argument {', '.join(sorted(ours.keys() - reserved))}"
            )
        if builds:
            inspect.signature(found).bind(**theirs)
    except TypeError as error:
        raise ConfigError(
            f"{address}: {error}. It takes {', '.join(taken) or 'no argument'}, and every detector"
            f" takes {', '.join(sorted(OURS))}. Write {address}?NAME=VALUE."
        ) from error
    hints = get_type_hints(wrap)
    ours = {
        key: typed(value, hints.get(key, Any), f"{address}: {key}") for key, value in ours.items()
    }
    return constructed(found, address, theirs) if builds else found, ours


def _card(base: Card, ours: Mapping[str, Any]) -> Card:
    """A card with the name and the threshold that the address gives."""
    fields: dict[str, Any] = {"name": str(ours["name"])} if "name" in ours else {}
    if "threshold" in ours:
        fields["threshold"] = threshold_logit(ours["threshold"], ours.get("scale", "logit"))
    return card_with(fields, base) if fields else base


def _checked_scale(stated: str, address: str) -> str:
    if stated not in SCALES:
        raise UserError(
            f"the attribute scale of {address} is {stated!r}, and must be one of"
            f" {', '.join(SCALES)}. Give the attribute another name if it says something else, or"
            f" write {address}?scale=logit."
        )
    return stated
