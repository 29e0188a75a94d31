"""The commands about datasets: inspect, build, generate, verify, audit, export."""

import os
from pathlib import Path
from typing import Annotated

import typer

from robustbench_aigi.cli.options import (
    SOURCE_ARGUMENT,
    AsJson,
    BuiltFolder,
    Convert,
    ExecutorName,
    Limit,
    Out,
    Source,
    Surrogates,
    Workers,
    shown_progress,
)
from robustbench_aigi.cli.places import COMMAND_PLACES

COMMAND_PANEL = "Build and check datasets"
app = typer.Typer()


@app.command(rich_help_panel=COMMAND_PANEL)
def inspect(
    source: Annotated[str, SOURCE_ARGUMENT],
    data: Annotated[
        str | None, typer.Option(help="Recipe to read it by; one that fits if omitted.")
    ] = None,
    convert: Convert = False,
    as_json: AsJson = False,
) -> None:
    """Describe a source before it is used: layout, splits, classes, sizes, and what is left out."""
    from robustbench_aigi.data.description.text import to_json, to_text
    from robustbench_aigi.pipeline import datasets as data_pipeline

    with shown_progress() as screen:
        found = data_pipeline.inspect(source, data, convert=convert, progress=screen.progress)
    typer.echo(to_json(found) if as_json else COMMAND_PLACES.display_path(to_text(found)))


@app.command(rich_help_panel=COMMAND_PANEL)
def build(
    dataset: Annotated[
        str, typer.Argument(help="Recipe: cifakepp, mini, cifake, or a path ending in .toml.")
    ],
    out: Out,
    source: Source = None,
    limit: Limit = None,
    attacks: Annotated[
        str | None, typer.Option(help="Suite; the recipe's own, or cifakepp, if omitted.")
    ] = None,
    surrogates: Surrogates = None,
    samples: Annotated[
        int | None, typer.Option(min=0, help="Diffusion-generated images to add to each split.")
    ] = None,
    generated: Annotated[
        Path | None, typer.Option(help="Folder that generate wrote, to add the images of.")
    ] = None,
    convert: Convert = False,
    shards: Annotated[
        str | None,
        typer.Option(help="Archives instead of one file per image: parquet or webdataset."),
    ] = None,
    workers: Workers = None,
    executor: ExecutorName = None,
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
        shards=shards,
    )
    with shown_progress() as screen:
        manifest = data_pipeline.build(
            order,
            out,
            executor=load_executor(executor or "pool", workers or os.cpu_count()),
            dry_run=dry_run,
            progress=screen.progress,
            say=screen.say,
        )
    if dry_run:
        return
    typer.echo(
        manifest.groupby(["split", "attack", "label"]).size().unstack(fill_value=0).to_string()
    )
    typer.echo(f"\nmanifest: {COMMAND_PLACES.display_path(out / 'manifest.parquet')}")


@app.command(rich_help_panel=COMMAND_PANEL)
def generate(
    prompts: Annotated[
        str, typer.Argument(help="Prompt file: cifakepp, mini, or a path ending in .toml.")
    ],
    out: Out,
) -> None:
    """Generate images with text-to-image models; add them with `build --generated`."""
    from robustbench_aigi.pipeline import datasets as data_pipeline

    with shown_progress() as screen:
        made = data_pipeline.generate(prompts, out, progress=screen.progress)
    typer.echo(made.groupby(["split", "generator"]).size().to_string())
    typer.echo(f"\nmanifest: {COMMAND_PLACES.display_path(out / 'manifest.parquet')}")


@app.command(rich_help_panel=COMMAND_PANEL)
def verify(built: BuiltFolder) -> None:
    """Check a built set against its manifest: hashes, budgets, labels.

    Exits 1 if any file differs.
    """
    from robustbench_aigi.data.plusplus.verify import verify as offenders_in

    with shown_progress() as screen:
        offenders = offenders_in(built, screen.progress)
    for offender in offenders:
        typer.echo(f"{offender.path}: {offender.reason}")
    typer.echo(f"{len(offenders)} offenders in {COMMAND_PLACES.display_path(built)}")
    if offenders:
        raise typer.Exit(1)


@app.command(rich_help_panel=COMMAND_PANEL)
def audit(
    dataset: Annotated[str, typer.Argument(help="Recipe, or a folder that build wrote.")],
    out: Annotated[
        Path,
        typer.Option(
            parser=COMMAND_PLACES.to_write,
            metavar="PLACE",
            help="Folder or URL for audit.md, audit.json and pictures.",
        ),
    ],
    source: Source = None,
    limit: Limit = None,
    convert: Convert = False,
) -> None:
    """Check for shortcuts that a classifier could exploit, such as file formats or duplicates.

    Exits 1 if any is found.
    """
    from robustbench_aigi.pipeline import datasets as data_pipeline

    with shown_progress() as screen:
        result = data_pipeline.audit(
            dataset, out, source=source, limit=limit, convert=convert, progress=screen.progress
        )
    for finding in result.findings:
        typer.echo(f"{finding.level}: {finding.check}: {finding.message}")
    typer.echo(
        f"{'passed' if result.passed else 'a classifier could cheat'}:"
        f" {COMMAND_PLACES.display_path(out / 'audit.md')}"
    )
    if not result.passed:
        raise typer.Exit(1)


@app.command(rich_help_panel=COMMAND_PANEL)
def export(
    built: BuiltFolder,
    form: Annotated[str, typer.Argument(help="imagefolder, parquet, webdataset, raid or npz.")],
    out: Annotated[
        Path,
        typer.Option(
            parser=COMMAND_PLACES.to_write,
            metavar="PLACE",
            help="An empty folder or URL, or one that is not there yet.",
        ),
    ],
) -> None:
    """Write a built set in a form that other tools read."""
    from robustbench_aigi.data.exporters import export as exported

    with shown_progress() as screen:
        result = exported(built, form, out, screen.progress)
    left = ", ".join(f"{count} of {attack}" for attack, count in result.left_out.items())
    typer.echo(
        f"{result.images} images in {COMMAND_PLACES.display_path(out)}"
        + (f"; {form} has no place for {left}" if left else "")
    )
