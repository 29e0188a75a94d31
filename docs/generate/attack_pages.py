"""One page per attack: what it does, what it needs, its numbers and its cost."""

import dataclasses
import typing
from typing import Any

import markdown_text as md
from docstrings import Docstring, docstring_of

from robustbench_aigi.attacks import Attack, Perturbation, attacks
from robustbench_aigi.config.quantity import Quantity, quantities
from robustbench_aigi.testing import probe_detector, probe_images

EXAMPLE_SIDE = 32
"""Height and width in pixels of the image whose cost is stated."""
COUNTED_SIDE = 16
"""Height and width in pixels of the images on which passes are counted."""
NEEDED_ACCESS = {
    "none": "nothing: it is the same for every detector",
    "scores": "scores: it asks the detector about images and needs no gradient",
    "gradients": "gradients: the detector must be differentiable",
}
ACCESS_TITLES = {
    "gradients": "By gradients",
    "scores": "By scores or verdicts",
    "none": "Without a model",
}
"""Access to the title of its part of the index, in order."""
NORM_UNITS = {
    "linf": "{} grey levels of 255 (L-inf)",
    "l2": "{} in the L2 norm over pixels in [0, 1]",
    "l0": "pixels (L0): {}",
}


def attack_pages() -> dict[str, str]:
    """Return the index and one page per registered attack, by path below ``docs/``."""
    names = attacks.names()
    pages = {f"attacks/{name}.md": attack_page(name) for name in names}
    return {"attacks/index.md": index_page(names), **pages}


def names_by_access() -> dict[str, list[str]]:
    """Return the names of attacks under the titles of what they need."""
    return {
        title: [name for name in attacks.names() if attacks.get(name).access == access]
        for access, title in ACCESS_TITLES.items()
    }


def index_page(names: list[str]) -> str:
    """Return the page that lists all attacks.

    Args:
        names: of registered attacks.
    """
    parts = [
        f"This page lists the {len(names)} attacks that come with the package. Each links to a page"
        " with its numbers, units, ranges and cost. The same names stand in a suite, in"
        " `rb.load_attack` and in `robustbench-aigi list attacks`.",
    ]
    for title, members in names_by_access().items():
        rows = [(f"[{name}]({name}.md)", first_sentence(name)) for name in members]
        parts += [f"## {title}", md.table(["attack", "what it does"], rows)]
    parts += [
        "## From other libraries",
        "`torchattacks:NAME` and `art:NAME` run the attacks of torchattacks and of the Adversarial"
        " Robustness Toolbox under the same budget checks. An attack of your own is named"
        " `module:Class`: see [your own attack](../guides/your-attack.md).",
    ]
    return md.page("Attacks", *parts)


def first_sentence(name: str) -> str:
    """Return what an attack does, in its first sentence."""
    text = docstring_of(attacks.get(name)).text.partition("\n")[0].partition(". ")[0]
    return text if text.endswith((".", "?")) else f"{text}."


def attack_page(name: str) -> str:
    """Return the page of one attack.

    Args:
        name: of a registered attack.
    """
    cls = attacks.get(name)
    attack = cls()
    about = docstring_of(cls)
    facts = [("needs of a detector", NEEDED_ACCESS[cls.access])]
    facts += [("changes at most", limit) for limit in limits_of(attack)]
    facts += [("costs", cost_of(attack))]
    facts += [("source", about.source)] if about.source else []
    return md.page(
        name,
        f"This page describes the attack `{name}`: what it changes, what it needs of a detector,"
        " and the numbers that it takes.",
        about.text,
        md.table(["property", "value"], facts),
        "## Numbers",
        numbers_table(cls, about),
        *severities_of(cls),
        "## Use",
        *examples_of(name, attack),
    )


def limits_of(attack: Attack) -> list[str]:
    """Return the budget of an attack, in words with units."""
    budget = attack.budget()
    sizes = {norm: getattr(budget, norm) for norm in NORM_UNITS}
    limits = [
        NORM_UNITS[norm].format(f"{size:g}") for norm, size in sizes.items() if size is not None
    ]
    if attack.minimises:
        return [f"no budget: it looks for the smallest change in the {attack.minimises} norm"]
    return limits or ["no norm: the change is that of everyday processing"]


def cost_of(attack: Attack) -> str:
    """Return the passes that an attack takes of the detector, for one image, in words.

    What no budget bounds is counted on a small network, at full strength.
    """
    if isinstance(attack, Perturbation):
        return "one forward pass per image, to score the result"
    most = attack.most_queries(EXAMPLE_SIDE, EXAMPLE_SIDE)
    if most is not None:
        return (
            f"at most {most} scores per image of {EXAMPLE_SIDE} x {EXAMPLE_SIDE} pixels, with the"
            " default numbers"
        )
    images, labels = probe_images(COUNTED_SIDE)
    result = attack(probe_detector(), images, labels, full=True)
    forwards = int(result.forwards.double().mean().round())
    backwards = int(result.backwards.double().mean().round())
    return (
        f"about {forwards} forward and {backwards} backward passes per image, at full strength with"
        " the default numbers; fewer where an image is fooled early"
    )


def numbers_table(cls: type[Attack], about: Docstring) -> str:
    """Return the table of an attack's numbers: type, default, unit and range.

    Args:
        cls: the attack.
        about: its docstring, which says what the numbers mean.
    """
    fields = dataclasses.fields(cls)
    if not fields:
        return "It takes no number."
    known = quantities(cls)
    rows = []
    for field in fields:
        quantity = known.get(field.name)
        rows.append(
            (
                f"`{field.name}`",
                type_name(field.type),
                md.code(default_of(field)),
                quantity.unit if quantity else "",
                range_of(quantity),
                about.parameters.get(field.name, ""),
            )
        )
    return md.table(["name", "type", "default", "unit", "range", "meaning"], rows)


def default_of(field: "dataclasses.Field[Any]") -> Any:
    """Return the default of a field of an attack; every field has one."""
    if field.default is not dataclasses.MISSING:
        return field.default
    factory: Any = field.default_factory
    return factory()


def range_of(quantity: Quantity | None) -> str:
    """Return the range of a number in words, without its unit; empty for what is not a number."""
    if quantity is None:
        return ""
    return dataclasses.replace(quantity, unit="").range


def type_name(annotation: Any) -> str:
    """Return the type of a field as a reader knows it.

    Example:
        >>> type_name(typing.Annotated[float, "unit"])
        'float'
    """
    if typing.get_origin(annotation) is typing.Annotated:
        return type_name(typing.get_args(annotation)[0])
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    members = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return " or ".join(map(md.code, members))
    text = annotation if isinstance(annotation, str) else str(annotation)
    return text.replace("typing.", "").replace("collections.abc.", "").replace("NoneType", "None")


def severities_of(cls: type[Attack]) -> list[str]:
    """Return the table of a perturbation's severities; nothing for an attack without them."""
    table = cls.severities if issubclass(cls, Perturbation) else {}
    if not table:
        return []
    count = len(next(iter(table.values())))
    rows = [(f"`{number}`", *values) for number, values in table.items()]
    return [
        "## Severities",
        "`severity` fills these numbers in, 1 the mildest.",
        md.table(["number", *map(str, range(1, count + 1))], rows),
    ]


def examples_of(name: str, attack: Attack) -> list[str]:
    """Return an example in Python and one in a suite.

    Args:
        name: of the attack.
        attack: with its default numbers, which the examples show.
    """
    numbers = {
        field.name: getattr(attack, field.name)
        for field in dataclasses.fields(attack)
        if isinstance(getattr(attack, field.name), int | float | str)
    }
    shown = dict(list(numbers.items())[:3])
    call = ", ".join([repr(name), *(f"{key}={value!r}" for key, value in shown.items())])
    call = call.replace("'", '"')
    row = ", ".join(f"{key} = {toml_value(value)}" for key, value in shown.items())
    suite = f'[[attacks]]\nid = "{name}"\nattack = "{name}"\n'
    suite += f"with = {{ {row} }}\n" if row else ""
    python = f"import robustbench_aigi as rb\n\nattack = rb.load_attack({call})"
    return [
        md.fenced("python", python),
        "In a suite:",
        md.fenced("toml", suite),
    ]


def toml_value(value: object) -> str:
    """Return a number, a truth value or a text as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
