"""Detectors that a user lists in a TOML file: a name, an address, and arguments.

    [mine]
    address = "hf:org/repo"
    fake_index = 1

Paths in the file are relative to its folder. Every command takes the names of ``./detectors.toml``;
``FILE.toml#mine`` names one detector of another file, and ``FILE.toml`` all of them.
"""

import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from robustbench_aigi.detectors._support.addresses.address import (
    URL_SCHEMES,
    Address,
    is_weights_path,
    parse,
)
from robustbench_aigi.detectors._support.addresses.arguments import EncodedValue
from robustbench_aigi.errors import ConfigError, UserError

LOCAL_LIST = Path("detectors.toml")
PATH_ARGUMENTS = ("weights", "processor", "path")
"""Arguments whose text may be a path."""
ENTRY_EXAMPLE = '[mine]\naddress = "hf:org/repo"\nfake_index = 1'


def expand_address(text: str, taken: Collection[str]) -> list[Address]:
    """Return the addresses that a text stands for: its own, one of a list, or a whole list.

    Args:
        text: an address, a name in ``./detectors.toml``, ``FILE.toml#NAME`` or ``FILE.toml``.
        taken: names of registered and shipped detectors, which no listed one may have.

    Raises:
        ConfigError: the file, or an entry of it, cannot be used.
        UserError: the file has no such entry.
    """
    address = parse(text)
    file, _, name = address.place.partition("#")
    if not file.endswith(".toml"):
        found = {}
        if address.is_bare and LOCAL_LIST.is_file():
            found = read_list(LOCAL_LIST, taken)
        entry = found.get(address.place)
        return [address] if entry is None else [_merged(entry, address)]
    found = read_list(Path(file), taken)
    if name and name not in found:
        raise UserError(
            f"{file} has no detector called {name!r}. It has: {', '.join(found) or 'none'}."
        )
    chosen = [found[name]] if name else list(found.values())
    if len(chosen) > 1 and (address.alias or address.arguments):
        raise UserError(
            f"{text} stands for {len(chosen)} detectors. Choose one: {file}#{next(iter(found))}."
        )
    return [_merged(one, address) for one in chosen]


def single_address(text: str, taken: Collection[str]) -> Address:
    """Return the one address that a text stands for.

    Args:
        text: see :func:`expand_address`.
        taken: see :func:`expand_address`.

    Raises:
        UserError: the text stands for several detectors, or none.
    """
    found = expand_address(text, taken)
    if len(found) != 1:
        names = ", ".join(address.alias or str(address) for address in found) or "none"
        raise UserError(
            f"one detector is wanted, and {text} has {len(found)} ({names}). Write {text}#NAME."
        )
    return found[0]


def _merged(entry: Address, typed: Address) -> Address:
    """Return an entry with the arguments and the alias that were typed beside its name."""
    return Address(
        entry.place,
        {**entry.arguments, **typed.arguments},
        typed.alias or entry.alias,
        entry.has_separate_query,
    )


def read_list(path: Path, taken: Collection[str] = ()) -> dict[str, Address]:
    """Read a file that lists detectors.

    Args:
        path: the TOML file.
        taken: names that no entry may have.

    Returns:
        The addresses by the names of their entries.

    Raises:
        ConfigError: the file, or an entry of it, cannot be used.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"no file at {path}. Write one with entries such as:\n{ENTRY_EXAMPLE}"
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read as TOML: {error}. An entry is:\n{ENTRY_EXAMPLE}"
        ) from error
    return {name: _entry(path, name, fields, taken) for name, fields in table.items()}


def _entry(path: Path, name: str, fields: Any, taken: Collection[str]) -> Address:
    who = f"{path}, entry {name!r}"
    _check_name(name, who, taken)
    if not isinstance(fields, dict) or not isinstance(fields.get("address"), str):
        raise ConfigError(f"{who}: it needs an address. Write it as:\n{ENTRY_EXAMPLE}")
    address = parse(fields["address"])
    if address.place.partition("#")[0].endswith(".toml"):
        raise ConfigError(
            f"{who}: its address is another list, {address.place}. Write the detector's own"
            " address."
        )
    own = {
        key: EncodedValue.of(_settled(path, key, value))
        for key, value in fields.items()
        if key != "address"
    }
    twice = sorted(own.keys() & address.arguments.keys())
    if twice:
        raise ConfigError(f"{who}: {', '.join(twice)} is in the address, too. Give it once.")
    return Address(
        _place(path, address.place),
        _settled_arguments(path, address.arguments) | own,
        name,
        address.has_separate_query or bool(own),
    )


def _check_name(name: str, who: str, taken: Collection[str]) -> None:
    """Raise ``ConfigError`` for a name that has other characters, or that a detector has."""
    if not re.fullmatch(r"[\w+-]+(\.[\w+-]+)*", name) or name.endswith((".toml", ".safetensors")):
        raise ConfigError(
            f"{who}: a name is made of letters, digits and . _ + -. Write [mine], for example."
        )
    if name in taken:
        raise ConfigError(
            f"{who}: there is a detector of that name. Call it [my-{name}], for example."
        )


def _place(path: Path, place: str) -> str:
    """Return the place of an entry; a path in it is relative to the file's folder."""
    scheme = next((start for start in ("onnx:", "hf:") if place.startswith(start)), "")
    rest = place.removeprefix(scheme)
    if place.startswith(URL_SCHEMES) or ":" in rest:
        return place
    return f"{scheme}{_beside(path, rest)}"


def _beside(path: Path, name: str) -> str:
    """Return a name as a path beside the list's file, if it is meant as a path."""
    beside = path.parent / name
    is_path = beside.exists() or name.startswith(("./", "../")) or is_weights_path(name)
    return str(beside) if is_path else name


def _settled(path: Path, key: str, value: Any) -> Any:
    return _beside(path, value) if key in PATH_ARGUMENTS and isinstance(value, str) else value


def _settled_arguments(path: Path, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {key: EncodedValue(_settled(path, key, value)) for key, value in arguments.items()}
