"""Hashes of files, weights and settings, and the random generators seeded by them."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor


def digest(*parts: object) -> str:
    """Return the SHA-256 of the ``parts`` as JSON text, in hexadecimal: the same on every machine.

    Example:
        >>> digest("pgd-linf", 8)[:12]
        '7d3ba739ca3b'
    """
    return hashlib.sha256(_ENCODER.encode(parts).encode()).hexdigest()


def text_digest(pieces: Iterable[str]) -> str:
    """Return :func:`digest` of one text that is given in ``pieces``, without joining them.

    Example:
        >>> text_digest(["pgd-", "linf"]) == digest("pgd-linf")
        True
    """
    total = hashlib.sha256(b'["')
    for piece in pieces:
        total.update(_ENCODER.encode(piece)[1:-1].encode())
    total.update(b'"]')
    return total.hexdigest()


def choice_rank(identity: str) -> str:
    """Return what images are ordered by when some of them are chosen: a hash of the id."""
    return digest("choose", identity)


_ENCODER = json.JSONEncoder(sort_keys=True, default=str)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of the bytes of the file at ``path``, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_digest(tensors: Mapping[str, Any]) -> str:
    """Return the SHA-256 of named tensors: names, shapes and bytes, in name order.

    Args:
        tensors: a state dictionary. That of a quantised network also holds tuples of quantised
            tensors, and number formats.
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
        if tensor.numel():
            total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())


def rng_for(*parts: Any) -> torch.Generator:
    """Return a CPU generator seeded by ``parts``, such as ``(run seed, attack, image id)``."""
    return torch.Generator().manual_seed(int(digest(*parts)[:15], 16))


def rngs_for(seed: int, purpose: str, ids: Sequence[str]) -> list[torch.Generator]:
    """Return one generator per image: draws do not depend on batch, order, worker or device.

    Args:
        seed: of the run.
        purpose: what is drawn, such as an attack's name.
        ids: of the images.
    """
    return [rng_for(seed, purpose, identity) for identity in ids]


class Draws(Sequence[torch.Generator]):
    """Generators of a batch, one per image, each created when it is first used.

    Args:
        seed: of the run.
        purpose: what is drawn, such as an attack's name.
        ids: of the images.
    """

    def __init__(self, seed: int, purpose: str, ids: Sequence[str]) -> None:
        self.seed = seed
        self._purpose = purpose
        self.ids = ids
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
        """Return the same images' generators for another ``purpose``, such as an attack's part."""
        return Draws(self.seed, purpose, self.ids)
