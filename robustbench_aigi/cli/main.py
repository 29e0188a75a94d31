"""The commands. Results go to standard output, progress to standard error; heavy imports wait
inside the handlers.
"""

import json
import sys
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import robustbench_aigi
from robustbench_aigi.cli import data as data_commands
from robustbench_aigi.cli import detect as detect_command
from robustbench_aigi.cli import names as list_command
from robustbench_aigi.cli import report as report_commands
from robustbench_aigi.cli.data import (
    DETECTORS,
    OUT,
    Address,
    By,
    Convert,
    Gpus,
    Limit,
    Source,
    Surrogates,
    Workers,
    showing,
)
from robustbench_aigi.cli.places import PLACES
from robustbench_aigi.config.process import tune_process
from robustbench_aigi.errors import RobustbenchError, UserError

if TYPE_CHECKING:
    from robustbench_aigi.report import Matrix

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
DEBUG = False

Out = Annotated[Path, typer.Option(parser=PLACES.to_write, metavar="PLACE", help=OUT)]
Checkpoint = Annotated[
    Path,
    typer.Option(
        parser=PLACES.file_to_write,
        metavar="PLACE",
        help="Checkpoint to write, ending in .safetensors; a path or URL.",
    ),
]
Start = Annotated[
    str | None,
    typer.Option(
        parser=PLACES.detector,
        metavar="PLACE",
        help="Checkpoint to fine-tune, or a name that ships; cifake: its own.",
    ),
]
Suite = Annotated[str, typer.Option("--attacks", help="Suite by name, or a path ending in .toml.")]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"robustbench-aigi {robustbench_aigi.__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """How well does a detector of AI-generated images hold up under attack?"""
    global DEBUG
    DEBUG = debug


app.add_typer(list_command.app)


@app.command()
def run(
    dataset: Annotated[
        str, typer.Argument(help="Recipe: mini, cifake, or a path ending in .toml.")
    ],
    source: Source = None,
    limit: Limit = None,
    convert: Convert = False,
    attacks: Suite = "quick",
    out: Annotated[
        Path | None,
        typer.Option(
            parser=PLACES.to_write, metavar="PLACE", help=f"{OUT} runs/DATASET if left out."
        ),
    ] = None,
    workers: Workers = None,
    by: By = None,
    address: Address = None,
    gpus: Gpus = 0,
) -> None:
    """Do the main job: fit, build the ++ set, fine-tune against attacks, evaluate, report."""
    from robustbench_aigi.executors import load_executor
    from robustbench_aigi.pipeline.run import run as run_pipeline

    folder = out or Path("runs") / Path(dataset).stem
    with showing() as screen:
        matrix = run_pipeline(
            dataset,
            folder,
            source=source,
            limit=limit,
            attacks=attacks,
            convert=convert,
            executor=load_executor(by, workers, address, gpus),
            progress=screen.progress,
            say=screen.say,
        )
    _show(matrix, folder)


app.add_typer(data_commands.app)
app.add_typer(report_commands.app)


@app.command()
def train(
    detector: Annotated[
        str,
        typer.Argument(help="A registered detector or timm:NAME, with ?KEY=VALUE&... if wanted."),
    ],
    out: Checkpoint,
    data: Annotated[
        str, typer.Option(help="Recipe, or a folder that build wrote, as static wants.")
    ] = "mini",
    source: Source = None,
    limit: Limit = None,
    convert: Convert = False,
    method: Annotated[
        str, typer.Option(help="Training method; `list methods` shows all of them.")
    ] = "plain",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="The recipe's number if left out.")
    ] = None,
    start: Start = None,
    arguments: Annotated[
        str, typer.Option("--with", help="Arguments of the detector, such as '{\"size\": 224}'.")
    ] = "{}",
    plan: Annotated[
        str, typer.Option(help='Numbers of the training, such as \'{"eps": 4, "awp": 0.005}\'.')
    ] = "{}",
    rehearse: Annotated[
        str | None,
        typer.Option(
            help="For the method adapt: what the detector was trained on, a recipe or a folder."
        ),
    ] = None,
    rehearse_source: Annotated[
        str | None, typer.Option(help="Where the images to rehearse are.")
    ] = None,
) -> None:
    """Fit a detector, plainly or against attacks."""
    from robustbench_aigi.pipeline.train import train as train_one

    if out.suffix != ".safetensors":
        raise UserError(
            f"--out must end in .safetensors, got {out}. Write --out"
            f" {out.with_suffix('.safetensors')}."
        )
    config, numbers = (
        _json("--with", arguments, '{"size": 224}'),
        _json("--plan", plan, '{"eps": 4}'),
    )
    with showing() as screen:
        train_one(
            detector,
            data,
            out,
            source=source,
            limit=limit,
            method=method,
            epochs=epochs,
            start=start,
            config=config,
            numbers=numbers,
            replay=(rehearse, rehearse_source) if rehearse else None,
            convert=convert,
            progress=screen.progress,
            say=screen.say,
        )
    typer.echo(f"checkpoint: {PLACES.told(out)}")


def _json(option: str, text: str, example: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise UserError(
            f"{option} must be a JSON object, got {text!r}. Write {option} '{example}'."
        )
    return given


@app.command()
def evaluate(
    detectors: Annotated[list[str], DETECTORS],
    out: Out,
    data: Annotated[str, typer.Option(help="Recipe.")] = "mini",
    source: Source = None,
    limit: Limit = None,
    convert: Convert = False,
    attacks: Suite = "quick",
    surrogates: Surrogates = None,
    workers: Workers = None,
    by: By = None,
    address: Address = None,
    gpus: Gpus = 0,
) -> None:
    """Attack detectors and write the matrix and the report."""
    from robustbench_aigi.attacks import load_suite
    from robustbench_aigi.data import counts, load_data
    from robustbench_aigi.data.plusplus.surrogates import load_surrogates
    from robustbench_aigi.executors import load_executor
    from robustbench_aigi.io.files import check_writable
    from robustbench_aigi.pipeline.detectors import load_detectors
    from robustbench_aigi.pipeline.evaluate import evaluate_loaded

    check_writable(out)
    by_whom = load_executor(by, workers, address, gpus)
    suite, named = load_suite(attacks), load_detectors(detectors)
    makers = load_surrogates(suite, surrogates or [])
    with showing() as screen:
        for note in chain.from_iterable(getattr(ready, "notes", ()) for ready in named.values()):
            screen.say(note)
        images = load_data(
            data, source, "test", limit, out / "skipped.csv", screen.progress, convert
        )
        screen.say(counts(images, out / "skipped.csv"))
        matrix = evaluate_loaded(
            named,
            suite,
            images,
            out,
            surrogates=makers,
            executor=by_whom,
            progress=screen.progress,
            say=screen.say,
        )
    _show(matrix, out)


app.add_typer(detect_command.app)


def _show(matrix: "Matrix", out: Path) -> None:
    """Print a run's matrix; what speaks against every number of a detector comes before it."""
    from robustbench_aigi.report import RunResults, to_markdown
    from robustbench_aigi.report.tables import alarm_lines

    for line in alarm_lines(RunResults.of(out, matrix)):
        typer.echo(f"warning: {line}\n")
    typer.echo(to_markdown(matrix))
    typer.echo(f"\nreport: {PLACES.told(out / 'report.html')}")


def main() -> None:
    """Run a command. Exit codes: 0 done, 1 the answer is no, 2 the request cannot be met, 3 a gate
    is undecided.
    """
    tune_process()
    try:
        with PLACES:
            app()
    except RobustbenchError as error:
        if DEBUG:
            raise
        sys.stderr.write(f"error: {PLACES.told(str(error))}\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        sys.stderr.write("stopped; repeat the command to go on.\n")
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
