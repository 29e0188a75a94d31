"""Options and arguments that several commands share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustbench_aigi.cli.places import COMMAND_PLACES
from robustbench_aigi.io.mirror import is_url

if TYPE_CHECKING:
    from robustbench_aigi.cli.progress_bars import Screen

STRESS_TEST_PANEL = "Stress-test a detector"
IMAGES_PANEL = "Images"
WORK_PANEL = "Work"
OUT_HELP = "Output folder or URL (s3://...). Rerun with the same value to resume."


def _local_source(place: str) -> str:
    return str(COMMAND_PLACES.to_read(place)) if is_url(place) else place


Out = Annotated[Path, typer.Option(parser=COMMAND_PLACES.to_write, metavar="PLACE", help=OUT_HELP)]
Data = Annotated[
    str, typer.Option(help="Recipe, or a path ending in .toml.", rich_help_panel=IMAGES_PANEL)
]
SOURCE_ARGUMENT = typer.Argument(
    parser=_local_source, metavar="PLACE", help="Folder, URL, Parquet or tar file, or hub id."
)
Source = Annotated[
    str | None,
    typer.Option(
        parser=_local_source,
        metavar="PLACE",
        help="Folder, URL (s3://...), Parquet files or hub id to read.",
        rich_help_panel=IMAGES_PANEL,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        min=2,
        help="Maximum number of images per split (class-balanced).",
        rich_help_panel=IMAGES_PANEL,
    ),
]
Convert = Annotated[
    bool,
    typer.Option(
        "--convert",
        help="Convert CMYK, 16-bit and transparent images, and apply colour profiles.",
        rich_help_panel=IMAGES_PANEL,
    ),
]
Speedups = Annotated[
    bool,
    typer.Option(
        "--speedups/--no-speedups",
        help="Use channels_last and bfloat16 gradients where a trial finds them quicker.",
        rich_help_panel=WORK_PANEL,
    ),
]
Suite = Annotated[str, typer.Option("--attacks", help="Suite by name, or a path ending in .toml.")]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, help="Number of single-threaded worker processes.", rich_help_panel=WORK_PANEL
    ),
]
ExecutorName = Annotated[
    str | None,
    typer.Option(
        "--executor",
        help="Executor: local, pool, ray, or a Ray cluster as in 'ray:HOST:6379?gpus=1'.",
        rich_help_panel=WORK_PANEL,
    ),
]
DETECTORS_ARGUMENT = typer.Argument(
    parser=COMMAND_PLACES.detector,
    metavar="DETECTOR",
    help="Shipped names, checkpoints (paths or URLs), hf:, timm:, onnx:, https:, endpoint:,"
    " module:Class, or lists (FILE.toml, FILE.toml#NAME). NEW= before one renames it; arguments"
    " follow it as ?KEY=VALUE&... (after a # for https:).",
)
Surrogates = Annotated[
    list[str] | None,
    typer.Option(
        "--surrogate",
        parser=COMMAND_PLACES.detector,
        metavar="PLACE",
        help="Checkpoint of a surrogate, to make shared images on. Can be repeated.",
    ),
]
BuiltFolder = Annotated[
    Path,
    typer.Argument(parser=COMMAND_PLACES.to_read, metavar="PLACE", help="Folder that build wrote."),
]
RunFolder = Annotated[
    Path,
    typer.Argument(
        parser=COMMAND_PLACES.to_read, metavar="RUN", help="Output folder of run or evaluate."
    ),
]
BaseRun = Annotated[
    Path | None,
    typer.Option(
        parser=COMMAND_PLACES.to_read,
        metavar="RUN",
        help="An earlier run of the same images to compare.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def shown_progress() -> "Iterator[Screen]":
    """Yield a screen for progress and messages."""
    from robustbench_aigi.cli.progress_bars import Screen

    with Screen() as screen:
        yield screen
