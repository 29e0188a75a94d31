"""Prompts: what text-to-image models are asked for, read from ``datasets/prompts/*.toml``."""

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator

from robustbench_aigi import catalogue
from robustbench_aigi.errors import UnknownNameError
from robustbench_aigi.generators.pipelines import Precision
from robustbench_aigi.registry import unknown


class Model(BaseModel, frozen=True, extra="forbid"):
    """A text-to-image model and the numbers it is run with.

    Attributes:
        id: hub id, local folder, or ``mini-diffusion``; the name of the generator in manifests.
        licence: of its weights.
        revision: commit on the hub; the newest if None. What was used is in the manifest.
        steps: of the sampler.
        guidance: weight of the prompt.
        size: pixels per side that it makes; its own default if None.
        dtype: precision on a GPU.
        more: further arguments of the pipeline's call, written ``with``.
    """

    id: str
    licence: str
    revision: str | None = None
    steps: int = Field(default=50, ge=1)
    guidance: float = Field(default=7.5, ge=0)
    size: int | None = Field(default=None, ge=8)
    dtype: Precision = "bfloat16"
    more: dict[str, Any] = Field(default_factory=dict, alias="with")

    @property
    def slug(self) -> str:
        """The last part of the id, fit for the name of a folder."""
        return re.sub(r"[^a-z0-9.]+", "-", Path(self.id).name.lower()).strip("-.")


class Prompts(BaseModel, frozen=True, extra="forbid"):
    """What is drawn, by which models, and how it is stored.

    Attributes:
        name: as the file is called.
        version: raised with every change of the images.
        seed: of all draws.
        template: the prompt, with ``{}`` where the words of a class go.
        size: pixels per side stored.
        filter: the antialiased Pillow filter that reduces to ``size``.
        encoding: as the rest of the set, so that the format does not reveal the class.
        quality: of JPEG, chroma halved.
        images: split to images per class, of each model.
        classes: category to its words.
        models: those that draw.
    """

    name: str
    version: int = Field(ge=1)
    seed: int = Field(default=0, ge=0)
    template: str = "{}"
    size: int = Field(default=32, ge=1)
    filter: Literal["box", "bilinear", "hamming", "bicubic", "lanczos"] = "bicubic"
    encoding: Literal["png", "jpeg"] = "png"
    quality: int = Field(default=75, ge=1, le=100)
    images: dict[str, int]
    classes: dict[str, str] = Field(min_length=1)
    models: tuple[Model, ...] = Field(min_length=1)

    @field_validator("template")
    @classmethod
    def _check_template(cls, template: str) -> str:
        if template.count("{}") != 1:
            raise ValueError("the template must have one {} for the words of the class")
        return template

    @field_validator("models")
    @classmethod
    def _check_distinct(cls, models: tuple[Model, ...]) -> tuple[Model, ...]:
        if len({model.slug for model in models}) < len(models):
            raise ValueError("the last parts of the models' ids must be distinct")
        return models


def prompt_names() -> list[str]:
    """Return the names of the prompt files that come with the package, sorted."""
    return sorted(path.stem for path in _prompt_folder().glob("*.toml"))


def load_prompts(name: str) -> Prompts:
    """Read a prompt file.

    Args:
        name: of a shipped file, or a path that ends in ``.toml``.

    Raises:
        UnknownNameError: there is no such file.
        ConfigError: it is not TOML, or does not fit.
    """
    if name.endswith(".toml"):
        return catalogue.read("datasets", name, Prompts)
    path = _prompt_folder() / f"{name}.toml"
    if not path.is_file():
        raise UnknownNameError(unknown("prompt file", name, prompt_names()))
    return catalogue.read("datasets", str(path), Prompts)


def _prompt_folder() -> Path:
    return catalogue.folder("datasets") / "prompts"
