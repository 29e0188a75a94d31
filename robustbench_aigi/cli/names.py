"""The command that lists names: of detectors, attacks, and the files that come with the package."""

import json
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from robustbench_aigi.errors import UserError

if TYPE_CHECKING:
    from robustbench_aigi.registry import Registry

LISTED_KINDS = (
    "detectors",
    "attacks",
    "suites",
    "recipes",
    "training-plans",
    "policies",
    "prompts",
    "rules",
    "formats",
    "exports",
    "layouts",
    "endpoints",
    "executors",
    "methods",
)

app = typer.Typer()


@app.command("list", rich_help_panel="Look around")
def list_names(
    kind: Annotated[
        str | None, typer.Argument(help=f"{', '.join(LISTED_KINDS)}; all if left out.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: each kind with its names.")
    ] = False,
) -> None:
    """List detectors, attacks, training methods, and the files that come with the package."""
    if kind is not None and kind not in LISTED_KINDS:
        known = ", ".join(LISTED_KINDS)
        raise UserError(f"nothing of the kind {kind!r} to list. Write one of {known}.")
    shown = {name: names for name, names in _known().items() if kind in (None, name)}
    if as_json:
        typer.echo(json.dumps(shown))
    else:
        for name, members in shown.items():
            typer.echo(
                "\n".join(
                    [f"{name}:", *(line for member in members for line in NAME_LINES[name](member))]
                )
            )
    for name in shown:
        for module, why in _broken(name).items():
            sys.stderr.write(f"warning: {name}: {module} failed to import: {why}\n")


def _known() -> Mapping[str, list[str]]:
    """Kind to its names."""
    from robustbench_aigi import catalogue
    from robustbench_aigi.attacks import attacks
    from robustbench_aigi.data.exporters import export_formats
    from robustbench_aigi.data.prompts import prompt_names
    from robustbench_aigi.data.sources.recognise import layout_names
    from robustbench_aigi.detectors import detectors
    from robustbench_aigi.executors import executors
    from robustbench_aigi.report.formats import report_formats
    from robustbench_aigi.report.rules import policy_rules
    from robustbench_aigi.training.methods import methods

    return {
        "detectors": detectors.names(),
        "attacks": attacks.names(),
        "suites": catalogue.names("attacks"),
        "recipes": catalogue.names("datasets"),
        "training-plans": catalogue.names("training_plans"),
        "policies": catalogue.names("policies"),
        "prompts": prompt_names(),
        "rules": policy_rules.names(),
        "formats": report_formats.names(),
        "exports": export_formats.names(),
        "layouts": sorted(layout_names()),
        "endpoints": catalogue.names("endpoints"),
        "executors": executors.names(),
        "methods": methods.names(),
    }


def _broken(kind: str) -> Mapping[str, str]:
    """What of a kind could not be imported, with the error."""
    from robustbench_aigi.attacks import attacks
    from robustbench_aigi.data.exporters import export_formats
    from robustbench_aigi.data.sources.layouts import folder_layouts
    from robustbench_aigi.detectors import detectors
    from robustbench_aigi.executors import executors
    from robustbench_aigi.report.formats import report_formats
    from robustbench_aigi.report.rules import policy_rules
    from robustbench_aigi.training.methods import methods

    tables: Mapping[str, Registry[object]] = {
        "detectors": detectors,  # type: ignore[dict-item]
        "attacks": attacks,  # type: ignore[dict-item]
        "rules": policy_rules,  # type: ignore[dict-item]
        "formats": report_formats,  # type: ignore[dict-item]
        "exports": export_formats,  # type: ignore[dict-item]
        "layouts": folder_layouts,  # type: ignore[dict-item]
        "executors": executors,  # type: ignore[dict-item]
        "methods": methods,  # type: ignore[dict-item]
    }
    return tables[kind].broken() if kind in tables else {}


def _plain(name: str) -> list[str]:
    return [f"  {name}"]


def _detector(name: str) -> list[str]:
    from robustbench_aigi.detectors import detectors, shipped_names

    card = detectors.get(name).default_card
    ships = "trained weights ship: " if name in shipped_names() else ""
    return [
        f"  {name:20}  {ships}{card.summary}"
        + ("" if card.commercial else "; not for commercial use")
    ]


def _attack(name: str) -> list[str]:
    """What an attack does, by the first line of its docstring; what it needs of a detector, and its
    numbers.
    """
    from robustbench_aigi.attacks.loading import describe_attack

    about = describe_attack(name)
    takes = [f"{key}={value!r}" for key, value in about.numbers.items()]
    takes += [f"severity=1 to {about.severities}"] if about.severities else []
    needs = "" if about.access == "none" else f"asks for {about.access}; "
    return [
        f"  {name:20}  {about.summary}",
        f"  {'':20}  {needs}takes {', '.join(takes) or 'no number'}",
    ]


def _method(name: str) -> list[str]:
    from robustbench_aigi.training.methods import methods

    return [f"  {name:20}  {methods.get(name).summary}"]


def _training_plan(name: str) -> list[str]:
    """Return what a plan trains."""
    from robustbench_aigi.training.plans import load_training_plan

    return [f"  {name:20}  {', '.join(job.name for job in load_training_plan(name).jobs)}"]


NAME_LINES: Mapping[str, Callable[[str], list[str]]] = dict.fromkeys(LISTED_KINDS, _plain) | {
    "detectors": _detector,
    "attacks": _attack,
    "methods": _method,
    "training-plans": _training_plan,
}
"""Kind to what prints one of its names, in lines."""
