"""Hashes of files, weights and settings, and the random generators seeded by them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor


def digest(*parts: object) -> str:
    """SHA-256 of the parts' JSON text, in hexadecimal: the same on every machine."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_digest(tensors: Mapping[str, Any]) -> str:
    """SHA-256 of named tensors: names, shapes and bytes, in name order.

    The state of a quantised network has tuples of quantised tensors as well, and number formats by
    name.
    """
    total = hashlib.sha256()
    for name in sorted(tensors):
        _add(total, name, tensors[name])
    return total.hexdigest()


def _add(total: "hashlib._Hash", name: str, value: Any) -> None:
    if isinstance(value, tuple | list):
        for place, part in enumerate(value):
            _add(total, f"{name}.{place}", part)
    elif not isinstance(value, Tensor):
        total.update(f"{name}{value!r}".encode())
    elif value.is_quantized:
        total.update(f"{name}{value.qscheme()}{value.dtype}".encode())
        _add(total, f"{name}.integers", value.int_repr())
        _add(total, f"{name}.values", value.dequantize())
    else:
        tensor = value.detach().cpu().contiguous()
        total.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        total.update(
            tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        )


def rng_for(*parts: Any) -> torch.Generator:
    """A CPU generator seeded by what it is for, such as ``(run seed, attack, image id)``."""
    return torch.Generator().manual_seed(int(digest(*parts)[:15], 16))


def rngs_for(seed: int, purpose: str, ids: Sequence[str]) -> list[torch.Generator]:
    """One generator per image, so that draws do not depend on batch, order, worker or device."""
    return [rng_for(seed, purpose, identity) for identity in ids]


class Draws(Sequence[torch.Generator]):
    """The generators of a batch, one an image, made when first asked for; :meth:`of` gives those of
    another purpose.
    """

    def __init__(self, seed: int, purpose: str, ids: Sequence[str]) -> None:
        self.seed, self._purpose, self.ids = seed, purpose, ids
        self._made: dict[int, torch.Generator] = {}

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, place: int) -> torch.Generator: ...
    @overload
    def __getitem__(self, place: slice) -> list[torch.Generator]: ...
    def __getitem__(self, place: int | slice) -> torch.Generator | list[torch.Generator]:
        if isinstance(place, slice):
            return [self[i] for i in range(len(self))[place]]
        if place not in self._made:
            self._made[place] = rng_for(self.seed, self._purpose, self.ids[place])
        return self._made[place]

    def of(self, purpose: str) -> "Draws":
        """The same images' generators for another purpose, such as a member of an ensemble run
        alone.
        """
        return Draws(self.seed, purpose, self.ids)
