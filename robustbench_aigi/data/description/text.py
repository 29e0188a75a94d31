"""A description of a source as text and as JSON."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from robustbench_aigi.data.description.counts import Reason
from robustbench_aigi.data.description.describe import Description

Shares = dict[str, dict[str, int]]
SHOWN = 12
"""Lines of a table, at most."""


def to_json(found: Description) -> str:
    """All of a description."""
    return json.dumps(asdict(found), ensure_ascii=True)


def to_text(found: Description) -> str:
    """A description in lines."""
    return "\n".join(_lines(found))


def _lines(found: Description) -> Iterator[str]:
    yield layout_line(found.source, found.recipe, found.layout, found.shown, found.why)
    if found.looked_at:
        yield (
            f"images: {found.images}; headers read of {found.looked_at}, pixels of {found.decoded}"
        )
    else:
        yield f"images: {found.images}"
    yield from shares_lines(found.classes, found.generators, ())
    if found.sizes:
        small, middle, large = (
            " x ".join(map(str, found.sizes[name])) for name in ("smallest", "median", "largest")
        )
        spread = f"{small} to {large}, median {middle}, {found.distinct_sizes} different"
        yield f"sizes (width x height): {f'all {small}' if found.distinct_sizes == 1 else spread}"
    yield from _table("formats", found.formats)
    yield from _table("colour modes", found.modes)
    yield from (f"converted: {count} {name}" for name, count in found.conversions.items())
    yield from _reasons(found.left_out)
    if found.passed_over:
        passed_over = [f"{count} {name}" for name, count in found.passed_over.items()]
        yield f"passed over: {', '.join(passed_over[:SHOWN])}"
    yield from (f"note: {note}" for note in found.notes)


def layout_line(source: str, recipe: str, layout: str, shown: str, why: str) -> str:
    """How a source is read."""
    by = f"read by the recipe {recipe} as " if recipe else ""
    return f"{source}: {by}{shown} (layout {layout}: {why})"


def shares_lines(classes: Shares, generators: Shares, left_out: Sequence[Reason]) -> Iterator[str]:
    """Classes by split, generators, and what is left out and why."""
    yield from _table("splits", classes)
    yield from _table("generators", generators)
    yield from _reasons(left_out)


def _table(title: str, counts: Shares) -> Iterator[str]:
    """Counts by class; a name on each line, the largest first."""
    if not counts:
        return
    yield f"{title}:"
    ordered = (
        sorted(counts.items(), key=lambda pair: -sum(pair[1].values()))
        if title != "splits"
        else counts.items()
    )
    for name, by_class in [*ordered][:SHOWN]:
        yield (
            f"  {_plain(name)}:"
            f" {', '.join(f'{count} {word}' for word, count in by_class.items() if count)}"
        )
    if len(counts) > SHOWN:
        yield f"  and {len(counts) - SHOWN} more"


def _reasons(left_out: Sequence[Reason]) -> Iterator[str]:
    if left_out:
        yield f"left out: {sum(one.count for one in left_out)}"
    for one in left_out[:SHOWN]:
        more = ", ..." if one.count > len(one.examples) else ""
        yield f"  {one.count} x {_plain(one.reason)} ({', '.join(map(_plain, one.examples))}{more})"


def _plain(text: str) -> str:
    """Text of one line, whatever a file is called."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
