"""One page per detector: what it is, its card, its licences and its arguments."""

import inspect
import typing

import markdown_text as md
from attack_pages import type_name
from docstrings import docstring_of

from robustbench_aigi.detectors import Card, Detector, detectors, shipped_names

GRADIENT_CLASSES = {
    "full": "full: differentiable from end to end",
    "eot": "eot: stochastic, so an attack averages over draws",
    "bpda": "bpda: a step without a gradient is given that of the identity",
    "none": "none: only attacks by scores apply",
}


def detector_pages() -> dict[str, str]:
    """Return the index and one page per registered detector, by path below ``docs/``."""
    names = detectors.names()
    pages = {f"detectors/{name}.md": detector_page(name) for name in names}
    return {"detectors/index.md": index_page(names), **pages}


def index_page(names: list[str]) -> str:
    """Return the page that lists all detectors.

    Args:
        names: of registered detectors.
    """
    rows = []
    for name in names:
        card = detectors.get(name).default_card
        rows.append(
            (
                f"[{name}]({name}.md)",
                card.summary,
                card.input_size,
                yes_or_no(name in shipped_names()),
                yes_or_no(card.commercial),
            )
        )
    head = ["detector", "what it is", "input, pixels", "weights ship", "commercial use"]
    other = sorted(set(shipped_names()) - set(names))
    return md.page(
        "Detectors",
        f"This page lists the {len(names)} detectors that come with the package. Each links to a"
        " page with its card: source, licences, size, gradient and arguments.",
        md.table(head, rows),
        "Trained weights also ship under the names "
        + ", ".join(f"`{name}`" for name in other)
        + "."
        if other
        else "",
        "Any other network is named by an address, such as `hf:ORG/MODEL` or `onnx:PATH`: see"
        " [your own detector](../guides/your-detector.md).",
    )


def yes_or_no(holds: bool) -> str:
    """Return a word for a truth value."""
    return "yes" if holds else "no"


def detector_page(name: str) -> str:
    """Return the page of one detector.

    Args:
        name: of a registered detector.
    """
    cls = detectors.get(name)
    about = docstring_of(cls)
    return md.page(
        name,
        f"This page describes the detector `{name}`: what it is, what its card states, and the"
        " arguments that it takes.",
        about.text,
        "## Card",
        md.table(["property", "value"], card_rows(cls.default_card)),
        "## Licences",
        md.table(["part", "licence"], licence_rows(cls.default_card)),
        "## Arguments",
        arguments_table(cls, about.parameters),
        "## Use",
        *examples_of(name),
    )


def card_rows(card: Card) -> list[tuple[str, str]]:
    """Return what a card states of a detector, without licences."""
    rows = [
        ("source", card.source),
        ("size", card.summary),
        ("input", f"{card.input_size} pixels a side"),
        ("resizing", card.resize),
        ("gradient", GRADIENT_CLASSES[card.gradient]),
        ("scores at random", yes_or_no(card.stochastic)),
        ("threshold", f"a logit of {card.threshold:g}"),
        ("published results", card.published),
        ("trained on", card.trained_on),
        ("module for Grad-CAM", f"`{card.cam}`" if card.cam else ""),
    ]
    return [row for row in rows if row[1]]


def licence_rows(card: Card) -> list[tuple[str, str]]:
    """Return the licences on a card."""
    return [
        ("code", card.code_licence),
        ("weights", card.weights_licence),
        ("weights that it starts from", card.base_licence),
        ("commercial use, by all of these", "permitted" if card.commercial else "not cleared"),
    ]


def arguments_table(cls: type[Detector], meanings: dict[str, str]) -> str:
    """Return the table of a detector's arguments.

    Args:
        cls: the detector.
        meanings: what an argument means, by its name.
    """
    hints = typing.get_type_hints(cls.__init__)
    rows = []
    for name, parameter in list(inspect.signature(cls.__init__).parameters.items())[1:]:
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        default = "" if parameter.default is parameter.empty else md.code(parameter.default)
        shown = type_name(hints.get(name, parameter.annotation))
        rows.append((f"`{name}`", shown, default, meanings.get(name, "")))
    if not rows:
        return "It takes no argument but `threshold`, a logit, which every detector takes."
    every = "Every detector also takes `threshold`, a logit."
    return md.table(["name", "type", "default", "meaning"], rows) + f"\n\n{every}"


def examples_of(name: str) -> list[str]:
    """Return an example in Python and one on the command line, of a detector's trained weights."""
    load = "import robustbench_aigi as rb\n\n"
    if name in shipped_names():
        return [
            "Trained weights ship:",
            md.fenced("python", f'{load}detector = rb.load_detector("{name}", weights="cifake")'),
            md.fenced("bash", f"robustbench-aigi evaluate {name} --data mini --out runs/{name}"),
        ]
    return [
        "No trained weights ship. Train it, or give a checkpoint with `?weights=FILE`:",
        md.fenced(
            "bash",
            f"robustbench-aigi train {name} --data mini --out runs/{name}.safetensors\n"
            f"robustbench-aigi evaluate runs/{name}.safetensors --data mini --out runs/{name}",
        ),
    ]
