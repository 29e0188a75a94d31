"""The commands about finished runs: report, gate, leaderboard, status."""

import json
from pathlib import Path
from typing import Annotated

import typer

from robustbench_aigi.cli.options import AsJson, BaseRun, RunFolder
from robustbench_aigi.cli.places import COMMAND_PLACES
from robustbench_aigi.errors import UserError

COMMAND_PANEL = "Report and decide"
app = typer.Typer()


@app.command(rich_help_panel=COMMAND_PANEL)
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            parser=COMMAND_PLACES.to_write,
            metavar="RUN",
            help="The --out places of run or evaluate; several become one report.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=COMMAND_PLACES.to_write,
            metavar="PLACE",
            help="Where to write to; to the run if left out.",
        ),
    ] = None,
    compare: BaseRun = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help="A gate's policy, whose verdict stands first on the page; the suite's if left out."
        ),
    ] = None,
    report_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="Print this format instead: latex, wide, model-index, ... (`list formats`).",
        ),
    ] = None,
) -> None:
    """Write the report of one or more runs, or print it in another format."""
    from robustbench_aigi.io.locks import exclusive_lock
    from robustbench_aigi.report import read_runs, to_markdown, write_report
    from robustbench_aigi.report.compare import compare as held_against
    from robustbench_aigi.report.compare import to_markdown as shown
    from robustbench_aigi.report.formats import render

    finished = read_runs(runs)
    if compare is not None:
        typer.echo(shown(held_against(finished, read_runs([compare]))))
    elif report_format is not None:
        typer.echo(render(report_format, finished), nl=False)
    else:
        if out is None and len(runs) > 1:
            raise UserError("several runs need a folder of their own. Write --out runs/together.")
        folder = out or runs[0]
        with exclusive_lock(folder):
            write_report(finished, folder, policy)
        typer.echo(to_markdown(finished.matrix))
        typer.echo(f"\nreport: {COMMAND_PLACES.display_path(folder / 'report.html')}")


@app.command(rich_help_panel=COMMAND_PANEL)
def gate(
    policy: Annotated[
        str,
        typer.Argument(help="Policy: release, quick, no-regression, or a path ending in .toml."),
    ],
    run_folder: RunFolder,
    base: BaseRun = None,
    junit: Annotated[Path | None, typer.Option(help="Also write JUnit XML here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check a run against a release policy.

    Exit code 0: passed. 1: failed. 2: the command, the policy or the run is wrong. 3: undecided,
    because a rule cannot be judged.
    """
    from robustbench_aigi.io.files import write_text
    from robustbench_aigi.report import read_runs
    from robustbench_aigi.report.gate import EXIT_CODES, judge, load_policy, verdict
    from robustbench_aigi.report.junit import to_junit

    rules = load_policy(policy)
    found = judge(rules, read_runs([run_folder]), base)
    if junit is not None:
        write_text(junit, to_junit(rules.name, found))
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "policy": rules.name,
                    "verdict": verdict(found),
                    "rules": [j._asdict() for j in found],
                }
            )
        )
    else:
        for judgement in found:
            typer.echo(
                f"{judgement.verdict:9}  {judgement.detector}: {judgement.rule}:"
                f" {judgement.evidence}"
            )
        typer.echo(f"{rules.name}: {verdict(found)}")
    raise typer.Exit(EXIT_CODES[verdict(found)])


@app.command(rich_help_panel=COMMAND_PANEL)
def leaderboard(
    runs: Annotated[
        Path,
        typer.Argument(
            parser=COMMAND_PLACES.to_read,
            metavar="PLACE",
            help="A folder of runs, or of their matrix.json files.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            parser=COMMAND_PLACES.file_to_write,
            metavar="PLACE",
            help="The page to write, ending in .html.",
        ),
    ],
) -> None:
    """Rank the detectors of many runs by their worst case, ties where intervals overlap."""
    from robustbench_aigi.report.leaderboard import boards, to_markdown, write_page

    found = boards(runs)
    write_page(found, out)
    typer.echo("\n\n".join(to_markdown(board) for board in found))
    typer.echo(f"\npage: {COMMAND_PLACES.display_path(out)}")


@app.command(rich_help_panel=COMMAND_PANEL)
def status(
    run_folder: RunFolder,
    as_json: AsJson = False,
) -> None:
    """Show run progress: cells done, missing, failed, and estimated time remaining."""
    from robustbench_aigi.evaluation.status import status as standing
    from robustbench_aigi.evaluation.status import to_text

    found = standing(run_folder)
    if as_json:
        for place in found.cell_states:
            own = place.cell.model_dump(include={"detector", "mode", "attack", "images"})
            why = "" if place.why is None else str(place.why)
            typer.echo(json.dumps(own | {"state": place.state, "done": place.done, "why": why}))
    else:
        typer.echo(to_text(COMMAND_PLACES.display_path(run_folder), found))
