"""Prompts: what text-to-image models are asked for and how it is stored, read from
``datasets/prompts/*.toml``.
"""

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
        size: pixels a side that it makes; its own default if None.
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
        template: the prompt, with ``{}`` where the words of a class go.
        classes: category to its words.
        images: split to images a class, of each model.
        size: pixels a side stored; ``filter`` is the antialiased Pillow filter that reduces to it.
        encoding: as the rest of the set, so that the file does not tell the class.
        quality: of JPEG, chroma halved.
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
    def _has_a_place(cls, template: str) -> str:
        if template.count("{}") != 1:
            raise ValueError("the template must have one {} for the words of the class")
        return template

    @field_validator("models")
    @classmethod
    def _distinct(cls, models: tuple[Model, ...]) -> tuple[Model, ...]:
        if len({model.slug for model in models}) < len(models):
            raise ValueError("the last parts of the models' ids must be distinct")
        return models


def prompt_names() -> list[str]:
    """Names of the prompt files that come with the package, sorted."""
    return sorted(path.stem for path in (catalogue.folder("datasets") / "prompts").glob("*.toml"))


def load_prompts(name: str) -> Prompts:
    """Read a prompt file by name or path. Raises ``UnknownNameError`` or ``ConfigError``."""
    folder = catalogue.folder("datasets") / "prompts"
    if not name.endswith(".toml") and not (folder / f"{name}.toml").is_file():
        raise UnknownNameError(unknown("prompt file", name, prompt_names()))
    return catalogue.read(
        "datasets", name if name.endswith(".toml") else str(folder / f"{name}.toml"), Prompts
    )
