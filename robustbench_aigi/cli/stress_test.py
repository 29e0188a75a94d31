"""The commands that attack detectors: evaluate, run, plan."""

import json
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustbench_aigi.cli.options import (
    DETECTORS_ARGUMENT,
    OUT_HELP,
    STRESS_TEST_PANEL,
    AsJson,
    Convert,
    Data,
    ExecutorName,
    Limit,
    Out,
    Source,
    Speedups,
    Suite,
    Surrogates,
    Workers,
    shown_progress,
)
from robustbench_aigi.cli.places import COMMAND_PLACES
from robustbench_aigi.errors import UserError

if TYPE_CHECKING:
    from robustbench_aigi.report import Matrix

app = typer.Typer()


@app.command(rich_help_panel=STRESS_TEST_PANEL)
def evaluate(
    detectors: Annotated[list[str], DETECTORS_ARGUMENT],
    out: Out,
    attacks: Suite = "quick",
    surrogates: Surrogates = None,
    data: Data = "mini",
    source: Source = None,
    limit: Limit = None,
    convert: Convert = False,
    speedups: Speedups = True,
    workers: Workers = None,
    executor: ExecutorName = None,
) -> None:
    """Attack detectors and write the matrix and the report."""
    from robustbench_aigi.attacks import load_suite
    from robustbench_aigi.data import describe_counts, load_data
    from robustbench_aigi.data.plusplus.surrogates import load_surrogates
    from robustbench_aigi.executors import load_executor
    from robustbench_aigi.io.files import check_writable
    from robustbench_aigi.pipeline.detectors import load_detectors
    from robustbench_aigi.pipeline.evaluate import evaluate_loaded

    check_writable(out)
    by = load_executor(executor, workers)
    suite = load_suite(attacks)
    named = load_detectors(detectors)
    makers = load_surrogates(suite, surrogates or [])
    with shown_progress() as screen:
        for note in chain.from_iterable(getattr(ready, "notes", ()) for ready in named.values()):
            screen.say(note)
        images = load_data(
            data, source, "test", limit, out / "skipped.csv", screen.progress, convert
        )
        screen.say(describe_counts(images, out / "skipped.csv"))
        matrix = evaluate_loaded(
            named,
            suite,
            images,
            out,
            surrogates=makers,
            speedups=speedups,
            executor=by,
            progress=screen.progress,
            say=screen.say,
        )
    _print_matrix(matrix, out)


@app.command(rich_help_panel=STRESS_TEST_PANEL)
def run(
    dataset: Annotated[str, typer.Argument(help="Recipe: mini, cifake, or a path to a .toml.")],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=COMMAND_PLACES.to_write,
            metavar="PLACE",
            help=f"{OUT_HELP} runs/DATASET if omitted.",
        ),
    ] = None,
    attacks: Suite = "quick",
    training_plan: Annotated[
        str | None,
        typer.Option(help="Training plan by name, or a path ending in .toml; else the recipe's."),
    ] = None,
    source: Source = None,
    limit: Limit = None,
    convert: Convert = False,
    speedups: Speedups = True,
    workers: Workers = None,
    executor: ExecutorName = None,
) -> None:
    """Run the full pipeline.

    Train, build the perturbed set, adversarially fine-tune, evaluate, report.
    """
    from robustbench_aigi.executors import load_executor
    from robustbench_aigi.pipeline.run import run as run_pipeline

    folder = out or Path("runs") / Path(dataset).stem
    with shown_progress() as screen:
        matrix = run_pipeline(
            dataset,
            folder,
            source=source,
            limit=limit,
            attacks=attacks,
            training_plan=training_plan,
            convert=convert,
            speedups=speedups,
            executor=load_executor(executor, workers),
            progress=screen.progress,
            say=screen.say,
        )
    _print_matrix(matrix, folder)


@app.command(rich_help_panel=STRESS_TEST_PANEL)
def plan(
    detectors: Annotated[list[str] | None, DETECTORS_ARGUMENT] = None,
    attacks: Suite = "quick",
    data: Data = "mini",
    source: Source = None,
    limit: Limit = None,
    convert: Convert = False,
    workers: Workers = None,
    width: Annotated[
        str | None, typer.Option(help="Wanted width of the 95% interval, such as 2%.")
    ] = None,
    share: Annotated[
        str, typer.Option(help="Expected accuracy or success rate; 50% needs the most images.")
    ] = "50%",
    as_json: AsJson = False,
) -> None:
    """Estimate the cost of an evaluation.

    With --width, the sample size for a 95% interval of that width.
    """
    if width is not None:
        from robustbench_aigi.evaluation.intervals import images_for

        images = images_for(_fraction("--width", width), _fraction("--share", share))
        typer.echo(f"{images} images in each direction: --limit {2 * images}", err=as_json)
    if detectors:
        from robustbench_aigi.evaluation.cost_text import to_json, to_text
        from robustbench_aigi.pipeline.plan import plan_evaluation

        with shown_progress() as screen:
            table, held = plan_evaluation(
                detectors,
                attacks,
                data,
                source,
                limit,
                progress=screen.progress,
                say=screen.say,
                convert=convert,
            )
        found = json.dumps(to_json(table, workers or 1), indent=1) if as_json else None
        typer.echo(found or to_text(table, workers or 1, held))
    if width is None and not detectors:
        raise UserError("nothing to plan. Name detectors, as for evaluate, or write --width 2%.")


def _fraction(option: str, text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise UserError(
            f"{option} must be more than 0% and less than 100%, got {text!r}. Write {option} 2%."
        )
    return value


def _print_matrix(matrix: "Matrix", out: Path) -> None:
    """Print a run's matrix, after what makes every number of a detector meaningless."""
    from robustbench_aigi.report import RunResults, to_markdown
    from robustbench_aigi.report.tables import alarm_lines

    for line in alarm_lines(RunResults.of(out, matrix)):
        typer.echo(f"warning: {line}\n")
    typer.echo(to_markdown(matrix))
    typer.echo(f"\nreport: {COMMAND_PLACES.display_path(out / 'report.html')}")
