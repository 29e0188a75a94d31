"""The commands about finished runs: report, gate, leaderboard, status, plan."""

import json
from pathlib import Path
from typing import Annotated

import typer

from robustbench_aigi.cli.data import DETECTORS, Convert, Limit, Source, showing
from robustbench_aigi.cli.places import PLACES
from robustbench_aigi.errors import UserError

Run = Annotated[
    Path,
    typer.Argument(
        parser=PLACES.to_read, metavar="RUN", help="The --out place of run or evaluate."
    ),
]
Base = Annotated[
    Path | None,
    typer.Option(
        parser=PLACES.to_read,
        metavar="RUN",
        help="An earlier run, of the same images, to compare with.",
    ),
]

app = typer.Typer()


@app.command()
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            parser=PLACES.to_write,
            metavar="RUN",
            help="The --out places of run or evaluate; several become one report.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=PLACES.to_write,
            metavar="PLACE",
            help="Where to write to; to the run if left out.",
        ),
    ] = None,
    compare: Base = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help="A gate's policy, whose verdict stands first on the page; the suite's if left out."
        ),
    ] = None,
    form: Annotated[
        str | None, typer.Option(help="Print one form alone: latex, wide, model-index, ...")
    ] = None,
) -> None:
    """Write the report of runs again, or print it in another form; of a stopped run it says what is
    missing.
    """
    from robustbench_aigi.io.locks import exclusive_lock
    from robustbench_aigi.report import read_runs, to_markdown, write_report
    from robustbench_aigi.report.compare import compare as held_against
    from robustbench_aigi.report.compare import to_markdown as shown
    from robustbench_aigi.report.formats import in_form

    finished = read_runs(runs)
    if compare is not None:
        typer.echo(shown(held_against(finished, read_runs([compare]))))
    elif form is not None:
        typer.echo(in_form(form, finished), nl=False)
    else:
        if out is None and len(runs) > 1:
            raise UserError("several runs need a folder of their own. Write --out runs/together.")
        folder = out or runs[0]
        with exclusive_lock(folder):
            write_report(finished, folder, policy)
        typer.echo(to_markdown(finished.matrix))
        typer.echo(f"\nreport: {PLACES.told(folder / 'report.html')}")


@app.command()
def gate(
    policy: Annotated[
        str,
        typer.Argument(help="Policy: release, quick, no-regression, or a path ending in .toml."),
    ],
    run_folder: Run,
    base: Base = None,
    junit: Annotated[Path | None, typer.Option(help="Also write JUnit XML here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check a run against a release policy.

    Exit code 0: passed. 1: failed. 2: the command, the policy or the run is wrong. 3: undecided,
    because a rule cannot be judged.
    """
    from robustbench_aigi.io.files import write_text
    from robustbench_aigi.report import read_runs
    from robustbench_aigi.report.formats import to_junit
    from robustbench_aigi.report.gate import EXIT_CODES, judge, load_policy, verdict

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


@app.command()
def leaderboard(
    runs: Annotated[
        Path,
        typer.Argument(
            parser=PLACES.to_read,
            metavar="PLACE",
            help="A folder of runs, or of their matrix.json files.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            parser=PLACES.file_to_write, metavar="PLACE", help="The page to write, ending in .html."
        ),
    ],
) -> None:
    """Rank the detectors of many runs by their worst case, ties where intervals overlap."""
    from robustbench_aigi.report.leaderboard import boards, to_markdown, write_page

    found = boards(runs)
    write_page(found, out)
    typer.echo("\n\n".join(to_markdown(board) for board in found))
    typer.echo(f"\npage: {PLACES.told(out)}")


@app.command()
def status(
    run_folder: Run,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a line a cell.")] = False,
) -> None:
    """Show how far a run is: cells done, missing, failed, and the time left."""
    from robustbench_aigi.evaluation.status import status as standing
    from robustbench_aigi.evaluation.status import to_text

    found = standing(run_folder)
    if as_json:
        for place in found.cell_states:
            own = place.cell.model_dump(include={"detector", "mode", "attack", "images"})
            typer.echo(
                json.dumps(own | {"state": place.state, "done": place.done, "why": place.why})
            )
    else:
        typer.echo(to_text(PLACES.told(run_folder), found))


@app.command()
def plan(
    detectors: Annotated[list[str] | None, DETECTORS] = None,
    data: Annotated[str, typer.Option(help="Recipe.")] = "mini",
    source: Source = None,
    limit: Limit = None,
    attacks: Annotated[
        str, typer.Option(help="Suite by name, or a path ending in .toml.")
    ] = "quick",
    workers: Annotated[int, typer.Option(min=1, help="Processes of one thread each.")] = 1,
    width: Annotated[
        str | None, typer.Option(help="Width of the 95% interval that is wanted, such as 2%.")
    ] = None,
    convert: Convert = False,
    share: Annotated[
        str, typer.Option(help="The accuracy or success rate expected; 50% needs the most images.")
    ] = "50%",
) -> None:
    """Say what an evaluation will take; with --width, how many images make an interval as narrow as
    wanted.
    """
    if width is not None:
        from robustbench_aigi.evaluation.intervals import images_for

        wide, around = _fraction("--width", width), _fraction("--share", share)
        typer.echo(
            f"{images_for(wide, around)} images in each direction: --limit"
            f" {2 * images_for(wide, around)}"
        )
    if detectors:
        from robustbench_aigi.evaluation.costs import to_text
        from robustbench_aigi.pipeline.plan import plan_evaluation

        with showing() as screen:
            asked = (detectors, attacks, data, source, limit)
            table, held = plan_evaluation(
                *asked, progress=screen.progress, say=screen.say, convert=convert
            )
        typer.echo(to_text(table, workers, held))
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
