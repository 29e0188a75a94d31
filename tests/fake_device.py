"""A device that computes on the processor and rejects tensors that are not on it.

An accelerator raises an error where tensors of two devices meet, which a test without one cannot
see. Here a tensor moved to :data:`FAKE` keeps its values, and an operation that mixes it with a
tensor of the processor raises, as on a GPU. Numbers and tensors without dimensions may be mixed.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

FAKE = torch.device("meta")
"""The device's name: the one that torch knows and that no code runs on."""


class OnFake(Tensor):
    """A tensor on the fake device; ``held`` has its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "OnFake":
        made: OnFake = Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), dtype=held.dtype, device=FAKE
        )
        made.held = held
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnFake({self.held})"

    def tolist(self) -> Any:
        """Return the values: torch has this for its own tensors alone."""
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(operation, args, kwargs or {}, Counter())


class _Mode(TorchDispatchMode):
    def __init__(self, transfers: "Counter[str]") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.transfers = transfers

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(operation, args, kwargs or {}, self.transfers)


def _run(
    operation: Callable[..., Any], args: Any, kwargs: dict[str, Any], transfers: "Counter[str]"
) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    on_fake = [tensor for tensor in tensors if isinstance(tensor, OnFake)]
    name = str(operation)
    wants = kwargs.get("device")
    is_wanted = wants is not None and torch.device(wants) == FAKE
    moves = "_to_copy" in name and wants is not None
    if on_fake and not moves and "copy_" not in name:
        strangers = [t for t in tensors if not isinstance(t, OnFake) and t.dim() > 0]
        if strangers:
            raise RuntimeError(f"{name}: expected all tensors on one device, got {tensors}")
    if moves and is_wanted != bool(on_fake):
        transfers["to" if is_wanted else "from"] += sum(t.numel() > 1 for t in tensors)
    plain = tree_map(lambda leaf: leaf.held if isinstance(leaf, OnFake) else leaf, (args, kwargs))
    inner_args, inner_kwargs = plain
    if is_wanted:
        inner_kwargs["device"] = torch.device("cpu")
    result = operation(*inner_args, **inner_kwargs)
    stays = is_wanted or (bool(on_fake) and not (moves and not is_wanted))
    if not stays:
        return result
    if name.startswith("aten.") and name.split(".")[1].endswith("_") and on_fake:
        return args[0]  # in place
    return tree_map(lambda leaf: OnFake(leaf) if isinstance(leaf, Tensor) else leaf, result)


@contextmanager
def fake_device() -> Iterator["Counter[str]"]:
    """Let :data:`FAKE` be a device; yields the number of tensors that moved to it and from it."""
    transfers: Counter[str] = Counter()
    with _Mode(transfers):
        yield transfers
