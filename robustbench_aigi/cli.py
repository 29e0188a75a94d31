"""The commands. Results go to standard output, progress to standard error; heavy imports wait inside the handlers."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from robustbench_aigi import cli_data, cli_report
from robustbench_aigi.cli_data import (
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
from robustbench_aigi.cli_places import PLACES
from robustbench_aigi.errors import UserError
from robustbench_aigi.memory import keep_freed_memory

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
    typer.Option(parser=PLACES.detector, metavar="PLACE", help="Checkpoint to fine-tune; cifake: the shipped one."),
]
Suite = Annotated[str, typer.Option("--attacks", help="Suite by name, or a path ending in .toml.")]


@app.callback()
def options(debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False) -> None:
    """How well does a detector of AI-generated images hold up under attack?"""
    global DEBUG
    DEBUG = debug


@app.command("list")
def list_names(
    kind: Annotated[
        str | None, typer.Argument(help="detectors, attacks, suites, recipes or policies; all if left out.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what there is."""
    from robustbench_aigi import catalogue
    from robustbench_aigi.attacks import attacks
    from robustbench_aigi.detectors import detectors

    known = {
        "detectors": detectors.names(),
        "attacks": attacks.names(),
        "suites": catalogue.names("attacks"),
        "recipes": catalogue.names("datasets"),
        "policies": catalogue.names("policies"),
    }
    if kind is not None and kind not in known:
        raise UserError(f"nothing of the kind {kind!r} to list. Write one of {', '.join(known)}.")
    shown = {k: v for k, v in known.items() if kind in (None, k)}
    if as_json:
        typer.echo(json.dumps(shown))
        return
    width = max(map(len, known["detectors"]))
    cards = {name: detectors.get(name).default_card for name in known["detectors"]}
    notes = {
        name: card.summary + ("" if card.commercial else "; not for commercial use") for name, card in cards.items()
    }
    for name, members in shown.items():
        lines = [f"  {m:{width}}  {notes[m]}" if name == "detectors" else f"  {m}" for m in members]
        typer.echo("\n".join([f"{name}:", *lines]))


@app.command()
def run(
    dataset: Annotated[str, typer.Argument(help="Recipe: mini, cifake, or a path ending in .toml.")],
    source: Source = None,
    limit: Limit = None,
    convert: Convert = False,
    attacks: Suite = "quick",
    out: Annotated[
        Path | None, typer.Option(parser=PLACES.to_write, metavar="PLACE", help=f"{OUT} runs/DATASET if left out.")
    ] = None,
    workers: Workers = None,
    by: By = None,
    address: Address = None,
    gpus: Gpus = 0,
) -> None:
    """Do the main job: fit, build the ++ set, fine-tune against attacks, evaluate, report."""
    from robustbench_aigi import harness
    from robustbench_aigi.executors import executor
    from robustbench_aigi.report import to_markdown

    folder = out or Path("runs") / Path(dataset).stem
    with showing() as screen:
        matrix = harness.run(
            dataset,
            folder,
            source=source,
            limit=limit,
            attacks=attacks,
            convert=convert,
            executor=executor(by, workers, address, gpus),
            progress=screen.progress,
            say=screen.say,
        )
    typer.echo(to_markdown(matrix))
    typer.echo(f"\nreport: {PLACES.told(folder / 'report.html')}")


app.add_typer(cli_data.app)
app.add_typer(cli_report.app)


@app.command()
def train(
    detector: Annotated[str, typer.Argument(help="A registered detector, or timm:NAME.")],
    out: Checkpoint,
    data: Annotated[str, typer.Option(help="Recipe, or a folder that build wrote, as static wants.")] = "mini",
    source: Source = None,
    limit: Limit = None,
    convert: Convert = False,
    method: Annotated[
        str, typer.Option(help="plain, static, pgd, trades, fast, mixed, fare, tecoa or adapt.")
    ] = "plain",
    epochs: Annotated[int | None, typer.Option(min=1, help="The recipe's number if left out.")] = None,
    start: Start = None,
    arguments: Annotated[
        str, typer.Option("--with", help="Arguments of the detector, such as '{\"size\": 224}'.")
    ] = "{}",
    plan: Annotated[str, typer.Option(help='Numbers of the training, such as \'{"eps": 4, "awp": 0.005}\'.')] = "{}",
    rehearse: Annotated[
        str | None, typer.Option(help="For the method adapt: what the detector was trained on, a recipe or a folder.")
    ] = None,
    rehearse_source: Annotated[str | None, typer.Option(help="Where the images to rehearse are.")] = None,
) -> None:
    """Fit a detector, plainly or against attacks."""
    from robustbench_aigi import harness

    if out.suffix != ".safetensors":
        raise UserError(f"--out must end in .safetensors, got {out}. Write --out {out.with_suffix('.safetensors')}.")
    config, numbers = _json("--with", arguments, '{"size": 224}'), _json("--plan", plan, '{"eps": 4}')
    with showing() as screen:
        harness.train(
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
            rehearse=(rehearse, rehearse_source) if rehearse else None,
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
        raise UserError(f"{option} must be a JSON object, got {text!r}. Write {option} '{example}'.")
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
    from robustbench_aigi import harness
    from robustbench_aigi.attacks import load_suite
    from robustbench_aigi.data import counts, load_data
    from robustbench_aigi.data.surrogates import makers_of
    from robustbench_aigi.executors import executor
    from robustbench_aigi.report import to_markdown

    harness.writable(out)
    by_whom = executor(by, workers, address, gpus)
    suite, named = load_suite(attacks), harness.named(detectors)
    makers = makers_of(suite, surrogates or [])
    with showing() as screen:
        images = load_data(data, source, "test", limit, out / "skipped.csv", screen.progress, convert)
        screen.say(counts(images, out / "skipped.csv"))
        matrix = harness.evaluate_named(
            named, suite, images, out, surrogates=makers, executor=by_whom, progress=screen.progress
        )
    typer.echo(to_markdown(matrix))
    typer.echo(f"\nreport: {PLACES.told(out / 'report.html')}")


@app.command()
def detect(
    image: Annotated[Path, typer.Argument(help="An image file.")],
    detector: Annotated[
        str, typer.Option(parser=PLACES.detector, metavar="DETECTOR", help="Checkpoint or shipped detector.")
    ] = "tinyvit-5m",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say whether one image looks AI-generated."""
    from robustbench_aigi.harness import detect as judge

    verdict = judge(image, detector)
    if as_json:
        typer.echo(json.dumps(verdict))
        return
    typer.echo(f"{verdict['verdict']}, confidence {verdict['confidence']:.1%} (logit {verdict['logit']:.3f})")
    typer.echo(f"loaded: {verdict['detector']}, {verdict['weights']}, trained on {verdict['trained_on']}")


def main() -> None:
    """Run a command. Exit code 2 with one message when the request cannot be met."""
    keep_freed_memory()
    try:
        with PLACES:
            app()
    except UserError as error:
        if DEBUG:
            raise
        sys.stderr.write(f"error: {PLACES.told(str(error))}\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        sys.stderr.write("stopped; repeat the command to go on.\n")
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
