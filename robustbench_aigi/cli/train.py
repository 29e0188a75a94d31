"""The command that trains a detector."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from robustbench_aigi.cli.options import (
    IMAGES_PANEL,
    STRESS_TEST_PANEL,
    Convert,
    Limit,
    Source,
    shown_progress,
)
from robustbench_aigi.cli.places import COMMAND_PLACES
from robustbench_aigi.errors import UserError

app = typer.Typer()
Checkpoint = Annotated[
    Path,
    typer.Option(
        parser=COMMAND_PLACES.file_to_write,
        metavar="PLACE",
        help="Checkpoint to write, ending in .safetensors; a path or URL.",
    ),
]
Start = Annotated[
    str | None,
    typer.Option(
        parser=COMMAND_PLACES.detector,
        metavar="PLACE",
        help="Checkpoint to fine-tune, or a dataset whose weights of this detector ship.",
    ),
]
Method = Annotated[
    str, typer.Option(help="plain, static, pgd, trades, fast, mixed, fare, tecoa or adapt.")
]
Epochs = Annotated[int | None, typer.Option(min=1, help="Those of the training plan if omitted.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--config", help="Training setting as KEY=VALUE, such as eps=4. Can be repeated."),
]
TrainingImages = Annotated[
    str,
    typer.Option(
        "--data", help="Recipe, or a folder that build wrote.", rich_help_panel=IMAGES_PANEL
    ),
]
Rehearse = Annotated[
    str | None,
    typer.Option(
        help="For the method adapt: the old images, as RECIPE?source=PLACE or a folder.",
        rich_help_panel=IMAGES_PANEL,
    ),
]


@app.command(rich_help_panel=STRESS_TEST_PANEL)
def train(
    detector: Annotated[
        str, typer.Argument(help="Registered name or timm:NAME; arguments as ?KEY=VALUE&...")
    ],
    out: Checkpoint,
    method: Method = "plain",
    epochs: Epochs = None,
    start: Start = None,
    config: Settings = None,
    data: TrainingImages = "mini",
    source: Source = None,
    limit: Limit = None,
    convert: Convert = False,
    rehearse: Rehearse = None,
) -> None:
    """Train a detector, plainly or against attacks."""
    from robustbench_aigi.pipeline.train import train as train_one

    if out.suffix != ".safetensors":
        raise UserError(
            f"--out must end in .safetensors, got {out}. Write --out"
            f" {out.with_suffix('.safetensors')}."
        )
    numbers = dict(_setting(text) for text in config or [])
    with shown_progress() as screen:
        train_one(
            detector,
            data,
            out,
            source=source,
            limit=limit,
            method=method,
            epochs=epochs,
            start=start,
            numbers=numbers,
            replay=None if rehearse is None else _recipe_and_source(rehearse),
            convert=convert,
            progress=screen.progress,
            say=screen.say,
        )
    typer.echo(f"checkpoint: {COMMAND_PLACES.display_path(out)}")


def _setting(text: str) -> tuple[str, Any]:
    """Return name and value of ``KEY=VALUE``; a value that is JSON is read as such."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UserError(f"--config must be KEY=VALUE, got {text!r}. Write --config eps=4.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _recipe_and_source(text: str) -> tuple[str, str | None]:
    """Return the parts of ``RECIPE?source=PLACE``."""
    recipe, _, query = text.partition("?")
    if query and not query.startswith("source="):
        raise UserError(
            f"--rehearse takes one argument, source, got {query!r}. Write --rehearse"
            f" '{recipe}?source=PLACE'."
        )
    return recipe, query.removeprefix("source=") or None
