"""Many runs as one page: detectors ranked by their worst case, ties where intervals overlap."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from robustbench_aigi.errors import DataError
from robustbench_aigi.io.files import write_text
from robustbench_aigi.io.markdown import escaped, table_row
from robustbench_aigi.report.html.rendering import rendered
from robustbench_aigi.report.schema import MatrixFile, MatrixRow, Of


class LeaderboardEntry(NamedTuple):
    """A detector in a run; accuracies in [0, 1] with 95% intervals, None where there is none.

    ``rank`` is one more than the number of entries that are better beyond doubt, those whose
    interval lies above this one's; entries that overlap may share it. None without a worst case.
    """

    rank: int | None
    detector: str
    clean: MatrixRow | None
    static: MatrixRow | None
    worst: MatrixRow | None
    file: str


class Board(NamedTuple):
    """Entries that may be compared: one suite on the same images."""

    of: Of
    entries: list[LeaderboardEntry]


def boards(folder: Path) -> list[Board]:
    """Every board of the ``matrix.json`` files in a folder, and in folders in it.

    Raises:
        DataError: there is none, or one does not fit the schema.
    """
    paths = sorted(folder.rglob("matrix.json")) or sorted(folder.glob("*.json"))
    if not paths:
        raise DataError(f"{folder} holds no matrix.json. Put the --out folders of runs into it.")
    grouped: dict[tuple[object, ...], tuple[Of, list[LeaderboardEntry]]] = {}
    for path in paths:
        try:
            file = MatrixFile.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise DataError(
                f"{path} does not fit the schema: {where}: {first['msg']}. Write it again: "
                f"`robustbench-aigi report {path.parent}`."
            ) from error
        key = (file.of.suite, file.of.suite_version, file.of.data_key)
        _, entries = grouped.setdefault(key, (file.of, []))
        entries += _entries(file, str(path.relative_to(folder)))
    return [Board(of, _ranked(entries)) for of, entries in grouped.values()]


def _entries(file: MatrixFile, name: str) -> list[LeaderboardEntry]:
    both = {
        (r.detector, r.mode, r.attack): r
        for r in file.rows
        if r.direction == "both" and r.accuracy is not None
    }
    return [
        LeaderboardEntry(
            None,
            detector,
            both.get((detector, "clean", "clean")),
            both.get((detector, "static", "worst-case")),
            both.get((detector, "white-box", "worst-case")),
            name,
        )
        for detector in dict.fromkeys(row.detector for row in file.rows)
    ]


def _ranked(entries: Sequence[LeaderboardEntry]) -> list[LeaderboardEntry]:
    ready = [(entry, entry.worst) for entry in entries if entry.worst is not None]
    ordered = sorted(ready, key=lambda pair: (-(pair[1].accuracy or 0), pair[0].detector))
    ranked = [
        entry._replace(rank=1 + sum((other.low or 0) > (worst.high or 0) for _, other in ordered))
        for entry, worst in ordered
    ]
    return ranked + [entry for entry in entries if entry.worst is None]


def to_markdown(board: Board) -> str:
    """A table; a rank that several share is marked with =."""
    shared = [entry.rank for entry in board.entries]
    lines = [
        f"{escaped(board.of.title)}\n",
        "| rank | detector | clean | static, worst | on itself, worst | file |",
        "|---:|---|---:|---:|---:|---|",
    ]
    for entry in board.entries:
        rank = "" if entry.rank is None else str(entry.rank)
        if rank and shared.count(entry.rank) > 1:
            rank += "="
        cells = [shown(row) for row in (entry.clean, entry.static, entry.worst)]
        lines.append(table_row([rank, entry.detector, *cells, entry.file]))
    return "\n".join(lines)


def shown(row: MatrixRow | None) -> str:
    """Accuracy in percent with its interval."""
    if row is None or row.accuracy is None:
        return "n/a"
    doubt = "*" if row.flags or row.status != "ok" else ""
    return (
        f"{100 * row.accuracy:.1f} [{100 * (row.low or 0):.1f}, {100 * (row.high or 0):.1f}]{doubt}"
    )


def write_page(found: Sequence[Board], path: Path) -> None:
    """Write the boards as one self-contained page."""
    write_text(path, rendered("leaderboard.html", boards=found, shown=shown))
