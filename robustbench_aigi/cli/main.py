"""The command ``robustbench-aigi``: results on standard output, progress on standard error."""

import sys
from typing import Annotated

import typer

import robustbench_aigi
from robustbench_aigi.cli import data, detect, names, report, stress_test, train
from robustbench_aigi.cli.places import COMMAND_PLACES
from robustbench_aigi.config.process import tune_process
from robustbench_aigi.errors import RobustbenchError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
for group in (stress_test, train, data, report, detect, names):
    app.add_typer(group.app)


class _Debug:
    """Whether ``--debug`` was given."""

    is_on = False


def _print_version(is_asked: bool) -> None:
    if is_asked:
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
    _Debug.is_on = debug


def main() -> None:
    """Run a command.

    Exit codes: 0 done, 1 the answer is no, 2 the request cannot be met, 3 a gate is undecided.
    """
    tune_process()
    try:
        with COMMAND_PLACES:
            app()
    except RobustbenchError as error:
        if _Debug.is_on:
            raise
        sys.stderr.write(f"error: {COMMAND_PLACES.display_path(str(error))}\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. Run the same command again to resume.\n")
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
