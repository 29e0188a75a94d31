"""The commands about datasets: inspect, build, generate, verify, audit, export."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustbench_aigi.cli.places import PLACES
from robustbench_aigi.io.mirror import is_url

if TYPE_CHECKING:
    from robustbench_aigi.cli.progress_bars import Screen

OUT = "Folder or URL (s3://...) to write to; a killed run goes on here."
Source = Annotated[
    str | None,
    typer.Option(
        parser=lambda place: str(PLACES.to_read(place)) if is_url(place) else place,
        metavar="PLACE",
        help="Folder, URL (s3://...), Parquet files or hub id to read.",
    ),
]
Limit = Annotated[
    int | None, typer.Option(min=2, help="At most this many images a split, classes balanced.")
]
Convert = Annotated[
    bool,
    typer.Option(
        "--convert",
        help=(
            "Take CMYK, 16-bit and transparent images and apply colour profiles"
            " (datasets/README.md)."
        ),
    ),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes of one thread each.")]
By = Annotated[str | None, typer.Option("--executor", help="Executor: local, pool or ray.")]
Address = Annotated[
    str | None, typer.Option(help="Of a Ray cluster; one is started here if left out.")
]
Gpus = Annotated[float, typer.Option(min=0, help="GPUs of each of Ray's workers.")]
DETECTORS = typer.Argument(
    parser=PLACES.detector,
    metavar="DETECTOR",
    help=(
        "Names that ship, checkpoints (paths or URLs), hf:, timm:, onnx:, https:, module:Class, or"
        " lists (FILE.toml, FILE.toml#NAME). NEW= before one renames it; after it come arguments,"
        " ?KEY=VALUE&... (of https: after a #)."
    ),
)
Surrogates = Annotated[
    list[str] | None,
    typer.Option(
        "--surrogate",
        parser=PLACES.detector,
        metavar="PLACE",
        help="Checkpoint of a surrogate, to make shared images on; may be repeated.",
    ),
]
Built = Annotated[
    Path, typer.Argument(parser=PLACES.to_read, metavar="PLACE", help="Folder that build wrote.")
]

app = typer.Typer()


@contextmanager
def showing() -> "Iterator[Screen]":
    """A screen for progress and messages."""
    from robustbench_aigi.cli.progress_bars import Screen

    with Screen() as screen:
        yield screen


@app.command()
def inspect(
    source: Annotated[
        str,
        typer.Argument(
            parser=lambda place: str(PLACES.to_read(place)) if is_url(place) else place,
            metavar="PLACE",
            help="Folder, URL, Parquet or tar file, or hub id.",
        ),
    ],
    data: Annotated[
        str | None, typer.Option(help="Recipe to read it by; one that fits if left out.")
    ] = None,
    convert: Convert = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Describe a source before it is used: layout, splits, classes, generators, sizes, and what is
    left out and why.
    """
    from robustbench_aigi.data.description.text import to_json, to_text
    from robustbench_aigi.pipeline import datasets as data_pipeline

    with showing() as screen:
        found = data_pipeline.inspect(source, data, convert=convert, progress=screen.progress)
    typer.echo(to_json(found) if as_json else PLACES.told(to_text(found)))


@app.command()
def build(
    dataset: Annotated[
        str, typer.Argument(help="Recipe: cifakepp, mini, cifake, or a path ending in .toml.")
    ],
    out: Annotated[Path, typer.Option(parser=PLACES.to_write, metavar="PLACE", help=OUT)],
    source: Source = None,
    limit: Limit = None,
    attacks: Annotated[
        str | None, typer.Option(help="Suite; the recipe's own, or cifakepp, if left out.")
    ] = None,
    surrogates: Surrogates = None,
    samples: Annotated[
        int | None, typer.Option(min=0, help="Diffusion-generated images to add to each split.")
    ] = None,
    generated: Annotated[
        Path | None, typer.Option(help="Folder that generate wrote, to add the images of.")
    ] = None,
    convert: Convert = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; one a core if left out.")
    ] = None,
    by: By = None,
    address: Address = None,
    gpus: Gpus = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
) -> None:
    """Write a perturbed (++) dataset: PNG files and a Parquet manifest."""
    from robustbench_aigi.data.plusplus.request import BuildRequest
    from robustbench_aigi.executors import load_executor
    from robustbench_aigi.pipeline import datasets as data_pipeline

    order = BuildRequest(
        dataset=dataset,
        source=source,
        limit=limit,
        attacks=attacks,
        surrogates=surrogates or [],
        samples=samples,
        generated=generated,
        convert=convert,
    )
    with showing() as screen:
        manifest = data_pipeline.build(
            order,
            out,
            executor=load_executor(
                by or ("ray" if address else "pool"), workers or os.cpu_count(), address, gpus
            ),
            dry_run=dry_run,
            progress=screen.progress,
            say=screen.say,
        )
    if dry_run:
        return
    typer.echo(
        manifest.groupby(["split", "attack", "label"]).size().unstack(fill_value=0).to_string()
    )
    typer.echo(f"\nmanifest: {PLACES.told(out / 'manifest.parquet')}")


@app.command()
def generate(
    prompts: Annotated[
        str, typer.Argument(help="Prompt file: cifakepp, mini, or a path ending in .toml.")
    ],
    out: Annotated[Path, typer.Option(parser=PLACES.to_write, metavar="PLACE", help=OUT)],
) -> None:
    """Let text-to-image models draw images, to be added to a built set with build --generated."""
    from robustbench_aigi.pipeline import datasets as data_pipeline

    with showing() as screen:
        made = data_pipeline.generate(prompts, out, progress=screen.progress)
    typer.echo(made.groupby(["split", "generator"]).size().to_string())
    typer.echo(f"\nmanifest: {PLACES.told(out / 'manifest.parquet')}")


@app.command()
def verify(built: Built) -> None:
    """Read a built set again: hashes, budgets, labels; exit code 1 if anything is not as its
    manifest says.
    """
    from robustbench_aigi.data.plusplus.verify import verify as offenders_in

    with showing() as screen:
        offenders = offenders_in(built, screen.progress)
    for offender in offenders:
        typer.echo(f"{offender.path}: {offender.reason}")
    typer.echo(f"{len(offenders)} offenders in {PLACES.told(built)}")
    if offenders:
        raise typer.Exit(1)


@app.command()
def audit(
    dataset: Annotated[str, typer.Argument(help="Recipe, or a folder that build wrote.")],
    out: Annotated[
        Path,
        typer.Option(
            parser=PLACES.to_write,
            metavar="PLACE",
            help="Folder or URL for audit.md, audit.json and pictures.",
        ),
    ],
    source: Source = None,
    limit: Limit = None,
    convert: Convert = False,
) -> None:
    """Look for what would let a classifier cheat; exit code 1 if something would."""
    from robustbench_aigi.pipeline import datasets as data_pipeline

    with showing() as screen:
        result = data_pipeline.audit(
            dataset, out, source=source, limit=limit, convert=convert, progress=screen.progress
        )
    for finding in result.findings:
        typer.echo(f"{finding.level}: {finding.check}: {finding.message}")
    typer.echo(
        f"{'passed' if result.passed else 'a classifier could cheat'}:"
        f" {PLACES.told(out / 'audit.md')}"
    )
    if not result.passed:
        raise typer.Exit(1)


@app.command()
def export(
    built: Built,
    form: Annotated[str, typer.Argument(help="imagefolder, parquet, webdataset, raid or npz.")],
    out: Annotated[
        Path,
        typer.Option(
            parser=PLACES.to_write,
            metavar="PLACE",
            help="An empty folder or URL, or one that is not there yet.",
        ),
    ],
) -> None:
    """Write a built set in a form that other tools read."""
    from robustbench_aigi.data.exporters import export as exported

    with showing() as screen:
        result = exported(built, form, out, screen.progress)
    left = ", ".join(f"{count} of {attack}" for attack, count in result.left_out.items())
    typer.echo(
        f"{result.images} images in {PLACES.told(out)}"
        + (f"; {form} has no place for {left}" if left else "")
    )
