"""TOML files by name or path, in a checkout and in an installed wheel: suites, recipes, training
plans, policies, endpoints.
"""

import tomllib
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from robustbench_aigi.config.errors import describe_faults
from robustbench_aigi.errors import ConfigError, UnknownNameError
from robustbench_aigi.registry import unknown

M = TypeVar("M", bound=BaseModel)

PACKAGE_FOLDER = Path(__file__).parent
WEIGHTS_FOLDER = PACKAGE_FOLDER / "weights"
"""Trained weights that ship with the package."""
PACKAGED_KINDS = ("training_plans", "policies", "endpoints")
"""Kinds of files whose folder is in the package, in a checkout too."""
KIND_NOUNS = MappingProxyType(
    {
        "attacks": "suite",
        "datasets": "recipe",
        "training_plans": "training plan",
        "policies": "policy",
        "endpoints": "endpoint",
    }
)
"""Kind of file, which is the name of its folder, to what messages call one."""


def folder(kind: str) -> Path:
    """The folder of a kind of file; that of suites, or recipes, is beside the package in a
    checkout, else inside it.
    """
    if kind in PACKAGED_KINDS:
        return PACKAGE_FOLDER / kind
    checkout = PACKAGE_FOLDER.parent
    return (
        checkout / kind
        if (checkout / "pyproject.toml").is_file()
        else PACKAGE_FOLDER / "_catalogue" / kind
    )


def names(kind: str) -> list[str]:
    """Names of the files of a kind, sorted."""
    return sorted(path.stem for path in folder(kind).glob("*.toml"))


def find(kind: str, name: str) -> Path:
    """Return the path of a file.

    Args:
        kind: folder of the file, such as ``policies``.
        name: without its ending; or a path that ends in ``.toml``.

    Raises:
        UnknownNameError: there is no such file.
    """
    noun = KIND_NOUNS[kind]
    path = Path(name) if name.endswith(".toml") else folder(kind) / f"{name}.toml"
    if path.is_file():
        return path
    if name.endswith(".toml"):
        raise UnknownNameError(
            f"no {noun} file at {name!r}. Names without .toml are looked up:"
            f" {', '.join(names(kind))}."
        )
    raise UnknownNameError(unknown(noun, name, names(kind)))


def read(kind: str, name: str, model: type[M]) -> M:
    """Read and check the file called ``name``, or the file at that path when ``name`` ends in
    ``.toml``.

    Raises:
        UnknownNameError: there is no such file.
        ConfigError: it is not TOML, or does not fit ``model``.
    """
    path = find(kind, name)
    example = folder(kind) / f"{names(kind)[0]}.toml"
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not valid TOML: {error}. Compare it with {example}."
        ) from error
    try:
        return model.model_validate(given)
    except ValidationError as error:
        faults = describe_faults(error, model, given)
        raise ConfigError(
            f"{path} does not fit. {faults} Compare it with the files in {folder(kind)}."
        ) from error
