"""Detectors that a user lists in a TOML file: a name, an address, and arguments.

    [mine]
    address = "hf:org/repo"
    fake_index = 1

Paths in it are relative to its folder. The names in ``./detectors.toml`` stand for their detectors
in every command; ``FILE.toml#mine`` names one of another file, and ``FILE.toml`` all of them.
"""

import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from robustbench_aigi.detectors._support.addresses.address import FILES, URLS, Address, parse
from robustbench_aigi.detectors._support.addresses.arguments import Written
from robustbench_aigi.errors import ConfigError, UserError

LOCAL = Path("detectors.toml")
PATHS = ("weights", "processor", "path")
"""Arguments whose text may be a path."""
FORM = '[mine]\naddress = "hf:org/repo"\nfake_index = 1'


def expanded(text: str, taken: Collection[str]) -> list[Address]:
    """The addresses that a text stands for: its own, a listed detector's, or those of a whole file.

    Args:
        taken: names of registered and shipped detectors, which no listed one may have.

    Raises:
        ConfigError: the file or an entry of it cannot be used. UserError: it has no such entry.
    """
    address = parse(text)
    file, _, name = address.place.partition("#")
    if not file.endswith(".toml"):
        found = read(LOCAL, taken) if address.is_bare and LOCAL.is_file() else {}
        return [_merged(found[address.place], address)] if address.place in found else [address]
    found = read(Path(file), taken)
    if name and name not in found:
        raise UserError(
            f"{file} has no detector called {name!r}. It has: {', '.join(found) or 'none'}."
        )
    chosen = [found[name]] if name else list(found.values())
    if len(chosen) > 1 and (address.new or address.arguments):
        raise UserError(
            f"{text} stands for {len(chosen)} detectors. Choose one: {file}#{next(iter(found))}."
        )
    return [_merged(one, address) for one in chosen]


def one_of(text: str, taken: Collection[str]) -> Address:
    """The one address that a text stands for; see :func:`expanded`. Raises ``UserError`` if there
    are several.
    """
    found = expanded(text, taken)
    if len(found) != 1:
        names = ", ".join(address.new for address in found) or "none"
        raise UserError(
            f"one detector is wanted, and {text} has {len(found)} ({names}). Write {text}#NAME."
        )
    return found[0]


def _merged(entry: Address, typed: Address) -> Address:
    """An entry with what was typed beside its name."""
    return Address(
        entry.place, {**entry.arguments, **typed.arguments}, typed.new or entry.new, entry.apart
    )


def read(path: Path, taken: Collection[str] = ()) -> dict[str, Address]:
    """The detectors of a file, by name; see :func:`expanded`."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(f"no file at {path}. Write one with entries such as:\n{FORM}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read as TOML: {error}. An entry is:\n{FORM}"
        ) from error
    return {name: _entry(path, name, fields, taken) for name, fields in table.items()}


def _entry(path: Path, name: str, fields: Any, taken: Collection[str]) -> Address:
    who = f"{path}, entry {name!r}"
    if not re.fullmatch(r"[\w+-]+(\.[\w+-]+)*", name) or name.endswith((".toml", ".safetensors")):
        raise ConfigError(
            f"{who}: a name is made of letters, digits and . _ + -. Write [mine], for example."
        )
    if name in taken:
        raise ConfigError(
            f"{who}: there is a detector of that name. Call it [my-{name}], for example."
        )
    if not isinstance(fields, dict) or not isinstance(fields.get("address"), str):
        raise ConfigError(f"{who}: it needs an address. Write it as:\n{FORM}")
    address = parse(fields["address"])
    if address.place.partition("#")[0].endswith(".toml"):
        raise ConfigError(
            f"{who}: its address is another list, {address.place}. Write the detector's own"
            " address."
        )
    own = {
        key: Written.of(_settled(path, key, value))
        for key, value in fields.items()
        if key != "address"
    }
    twice = sorted(own.keys() & address.arguments.keys())
    if twice:
        raise ConfigError(f"{who}: {', '.join(twice)} is in the address, too. Give it once.")
    return Address(
        _place(path, address.place),
        _paths(path, address.arguments) | own,
        name,
        address.apart or bool(own),
    )


def _place(path: Path, place: str) -> str:
    """The place of an entry: a path in it is relative to the file's folder."""
    scheme, mark, rest = (
        place.partition(":") if place.startswith(("onnx:", "hf:")) else ("", "", place)
    )
    if place.startswith(URLS) or ":" in rest:
        return place
    return f"{scheme}{mark}{_beside(path, rest)}"


def _beside(path: Path, name: str) -> str:
    beside = path.parent / name
    return (
        str(beside)
        if beside.exists() or name.startswith(("./", "../")) or name.endswith(FILES)
        else name
    )


def _settled(path: Path, key: str, value: Any) -> Any:
    return _beside(path, value) if key in PATHS and isinstance(value, str) else value


def _paths(path: Path, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {key: Written(_settled(path, key, value)) for key, value in arguments.items()}
