"""A description of a source as text and as JSON."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from robustbench_aigi.data.description.result import CountsByClass, Description, Reason

MAX_LINES = 12
"""Lines of a table; of more, their number is given."""


def to_json(description: Description) -> str:
    """Return all of a description as JSON."""
    return json.dumps(asdict(description), ensure_ascii=True)


def to_text(description: Description) -> str:
    """Return a description in lines."""
    return "\n".join(_lines(description))


def layout_line(source: str, recipe: str, layout: str, shown: str, why: str) -> str:
    """Return how a source is read, on one line.

    Args:
        source: where it is.
        recipe: name of the recipe; empty for a built set.
        layout: its name.
        shown: how messages show it.
        why: what the choice rests on.

    Example:
        >>> layout_line("x.tar", "folder", "webdataset", "WebDataset tar files", "1 .tar file")
        'x.tar: read by the recipe folder as WebDataset tar files (layout webdataset: 1 .tar file)'
    """
    by = f"read by the recipe {recipe} as " if recipe else ""
    return f"{source}: {by}{shown} (layout {layout}: {why})"


def shares_lines(
    classes: CountsByClass, generators: CountsByClass, left_out: Sequence[Reason]
) -> Iterator[str]:
    """Yield the lines of images by split, by generator, and of what is left out.

    Args:
        classes: split to images by class.
        generators: generator to images by class.
        left_out: reasons.
    """
    yield from _table("splits", list(classes.items()))
    yield from _table("generators", _largest_first(generators))
    yield from _reasons(left_out)


def _lines(description: Description) -> Iterator[str]:
    yield layout_line(
        description.source,
        description.recipe,
        description.layout,
        description.shown,
        description.why,
    )
    images = f"images: {description.images}"
    if description.looked_at:
        images += f"; headers read of {description.looked_at}, pixels of {description.decoded}"
    yield images
    yield from shares_lines(description.classes, description.generators, ())
    if description.sizes:
        yield _sizes(description)
    yield from _table("formats", _largest_first(description.formats))
    yield from _table("colour modes", _largest_first(description.modes))
    yield from (f"converted: {count} {name}" for name, count in description.conversions.items())
    yield from _reasons(description.left_out)
    if description.passed_over:
        passed_over = [f"{count} {name}" for name, count in description.passed_over.items()]
        yield f"passed over: {', '.join(passed_over[:MAX_LINES])}"
    yield from (f"note: {note}" for note in description.notes)


def _sizes(description: Description) -> str:
    texts = {
        name: " x ".join(map(str, description.sizes[name]))
        for name in ("smallest", "median", "largest")
    }
    if description.distinct_sizes == 1:
        return f"sizes (width x height): all {texts['smallest']}"
    return (
        f"sizes (width x height): {texts['smallest']} to {texts['largest']}, median"
        f" {texts['median']}, {description.distinct_sizes} different"
    )


def _largest_first(counts: CountsByClass) -> list[tuple[str, dict[str, int]]]:
    return sorted(counts.items(), key=lambda pair: -sum(pair[1].values()))


def _table(title: str, counts: Sequence[tuple[str, dict[str, int]]]) -> Iterator[str]:
    """Yield counts by class, one line per name."""
    if not counts:
        return
    yield f"{title}:"
    for name, by_class in counts[:MAX_LINES]:
        parts = [f"{count} {word}" for word, count in by_class.items() if count]
        yield f"  {_on_one_line(name)}: {', '.join(parts)}"
    if len(counts) > MAX_LINES:
        yield f"  and {len(counts) - MAX_LINES} more"


def _reasons(left_out: Sequence[Reason]) -> Iterator[str]:
    if left_out:
        yield f"left out: {sum(one.count for one in left_out)}"
    for one in left_out[:MAX_LINES]:
        more = ", ..." if one.count > len(one.examples) else ""
        examples = ", ".join(map(_on_one_line, one.examples))
        yield f"  {one.count} x {_on_one_line(one.reason)} ({examples}{more})"


def _on_one_line(text: str) -> str:
    """Return a text without characters that are not printed, whatever a file is called."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
