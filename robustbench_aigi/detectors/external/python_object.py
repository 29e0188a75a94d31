"""A class, function or object at ``module:NAME`` as a detector, derived from ours or not."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import ModuleType
from typing import Any, Self, final, get_type_hints

from jaxtyping import Float
from torch import Tensor, nn

from robustbench_aigi.detectors._support.addresses.address import construct
from robustbench_aigi.detectors._support.addresses.arguments import decode
from robustbench_aigi.detectors.base import GIVEN_WEIGHTS, Card, Detector
from robustbench_aigi.detectors.external.output_spec import OutputSpec, threshold_logit
from robustbench_aigi.detectors.external.outputs import SCALE_NAMES
from robustbench_aigi.detectors.external.returned import as_tensor
from robustbench_aigi.detectors.external.wrapped import card_with, wrap
from robustbench_aigi.errors import ConfigError, UserError

OUTPUT_ARGUMENTS = frozenset({"fake_index", "scale", "output"})
OWN_ARGUMENTS = OUTPUT_ARGUMENTS | {"threshold", "name"}
"""Arguments of an address that this package uses where the object does not take them."""
NETWORK_ARGUMENTS = frozenset({"input_size", "mean", "std"})
"""Arguments that this package uses for a network without a method ``logits``."""


@final
class PlainDetector(Detector):
    """An object with a method ``logits(images)``: torch images in; a tensor, array or numbers out.

    An answer in NumPy or numbers has no gradient, and the card states that from the first one on.

    Args:
        inner: the object. Networks that it holds are put into evaluation mode, count among the
            weights, and stay on their device.
        card: of the detector.
        output_spec: what the outputs mean.
    """

    default_card = Card(name="plain", source=GIVEN_WEIGHTS)
    restorable = False

    def __init__(self, inner: Any, card: Card, output_spec: OutputSpec) -> None:
        super().__init__(
            fake_index=output_spec.fake_index, scale=output_spec.scale, output=output_spec.output
        )
        self.inner = inner
        self.card = card
        self.output_spec = output_spec
        if not isinstance(inner, nn.Module):
            self.parts = nn.ModuleList(networks_in(inner))

    def logits(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Score images; the object gets a copy of them, which it may overwrite.

        Args:
            images: ``(N, 3, H, W)`` in [0, 1].
        """
        returned = self._returned(images)
        is_black_box = not isinstance(returned, Tensor) and as_tensor(returned) is not None
        if is_black_box and self.card.gradient != "none":
            self.describe(gradient="none")
        return self.output_spec.logits_from(returned, images, self.card.name)

    def _returned(self, images: Tensor) -> Any:
        """Return what the object returns; of one that uses NumPy, for images without gradient."""
        try:
            return self.inner.logits(images.clone())
        except RuntimeError as error:
            if "numpy()" not in str(error) or not images.requires_grad:
                raise
        return self.inner.logits(images.detach().clone())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move a network; an object that only holds networks looks for them on their device."""
        if isinstance(self.inner, nn.Module):
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


def adapt_object(address: str, found: Any, config: Mapping[str, Any]) -> Detector:
    """Make a detector of any Python object, in evaluation mode.

    Args:
        address: ``module:NAME``, for messages and for the card.
        found: what is there: a class, a function that returns a detector, or an object.
        config: given to the class or function as far as it takes them. Of the rest, ``fake_index``,
            ``scale``, ``output``, ``threshold`` and ``name`` are this package's; so are
            ``input_size``, ``mean`` and ``std`` for a network without a method ``logits``.

    Raises:
        ConfigError: an argument that nothing takes.
        UserError: what is there cannot score images.
    """
    ready, own = _constructed(address, found, config)
    has_logits = isinstance(ready, Detector) or callable(getattr(ready, "logits", None))
    if has_logits and own.keys() & NETWORK_ARGUMENTS:
        unused = ", ".join(sorted(own.keys() & NETWORK_ARGUMENTS))
        raise ConfigError(
            f"{address} prepares images in its own method logits, so {unused} has no use. Leave it"
            " out."
        )
    if isinstance(ready, Detector) and not own.keys() & OUTPUT_ARGUMENTS:
        ready.card = _card_of(ready.card, own)
        return ready.eval()
    name = getattr(found, "__name__", type(ready).__name__)
    if has_logits:
        return _plain(address, ready, name, own)
    if not isinstance(ready, nn.Module):
        raise UserError(
            f"{address} is of type {type(ready).__name__}, which has no method logits(images). Give"
            " it one, from (N, 3, H, W) images in [0, 1] to (N,) logits, above 0 for AI-generated."
        )
    if "input_size" not in own:
        raise UserError(
            f"{address} is a network without a method logits, so the size of its images must be"
            f" given. Write {address}?input_size=224 with its size, and mean and std if it has any."
        )
    arguments: dict[str, Any] = {"name": name, "source": address} | own
    return wrap(ready, **arguments)


def _plain(address: str, ready: Any, name: str, own: dict[str, Any]) -> Detector:
    """Make a detector of an object with a method ``logits``."""
    stated = getattr(ready, "scale", None)
    if isinstance(stated, str) and "scale" not in own:
        own = own | {"scale": _checked_scale(stated, address)}
    base = getattr(ready, "card", None)
    if not isinstance(base, Card):
        base = Card(
            name=name,
            source=address,
            weights=GIVEN_WEIGHTS,
            input_size=0,
            resize="inside the detector",
        )
    spec = OutputSpec(**{key: own[key] for key in OUTPUT_ARGUMENTS & own.keys()})
    return PlainDetector(ready, _card_of(base, own), spec).eval()


def networks_in(holder: object, depth: int = 3) -> Iterator[nn.Module]:
    """Yield the networks that an object holds: as attributes, in lists, dicts and objects.

    Args:
        holder: the object.
        depth: containers in containers that are searched.

    Yields:
        Each network once.
    """
    waiting = [(holder, depth)]
    seen: set[int] = set()
    while waiting:
        value, left = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, nn.Module):
            yield value
        elif left and not isinstance(value, ModuleType | type | Tensor):
            waiting += [(part, left - 1) for part in _parts_of(value)]


def _parts_of(value: object) -> Iterable[object]:
    """Return the members of a list or tuple, or the values of a mapping or of an object."""
    if isinstance(value, list | tuple):
        return value
    held = getattr(value, "__dict__", value)
    return held.values() if isinstance(held, Mapping) else ()


def _constructed(address: str, found: Any, config: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Call a class or function with the arguments that it takes.

    Returns:
        The result, or the object itself if it is not to be called; and the other arguments.
    """
    is_callable = inspect.isclass(found) or inspect.isroutine(found) or isinstance(found, partial)
    taken = inspect.signature(found).parameters if is_callable else {}
    takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in taken.values())
    reserved = OWN_ARGUMENTS | NETWORK_ARGUMENTS
    theirs = {
        key: value
        for key, value in config.items()
        if key in taken or (takes_any and key not in reserved)
    }
    own = {key: value for key, value in config.items() if key not in theirs}
    unexpected = sorted(own.keys() - reserved)
    try:
        if unexpected:
            raise TypeError(f"got an unexpected argument {', '.join(unexpected)}")
        if is_callable:
            inspect.signature(found).bind(**theirs)
    except TypeError as error:
        raise ConfigError(
            f"{address}: {error}. It takes {', '.join(taken) or 'no argument'}, and every detector"
            f" takes {', '.join(sorted(OWN_ARGUMENTS))}. Write {address}?NAME=VALUE."
        ) from error
    hints = get_type_hints(wrap)
    own = {
        key: decode(value, hints.get(key, Any), f"{address}: {key}") for key, value in own.items()
    }
    return construct(found, address, theirs) if is_callable else found, own


def _card_of(base: Card, own: Mapping[str, Any]) -> Card:
    """Return a card with the name and the threshold that the address gives."""
    fields: dict[str, Any] = {}
    if "name" in own:
        fields["name"] = str(own["name"])
    if "threshold" in own:
        fields["threshold"] = threshold_logit(own["threshold"], own.get("scale", "logit"))
    return card_with(fields, base) if fields else base


def _checked_scale(stated: str, address: str) -> str:
    if stated not in SCALE_NAMES:
        raise UserError(
            f"the attribute scale of {address} is {stated!r}, and must be one of"
            f" {', '.join(SCALE_NAMES)}. Give the attribute another name if it means something"
            f" else, or write {address}?scale=logit."
        )
    return stated
