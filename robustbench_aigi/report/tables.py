"""The matrix as a table: long form in CSV and JSON, a readable form in Markdown."""

from pathlib import Path
from typing import Any

import pandas as pd

from robustbench_aigi.attacks.suites import SURROGATE_SEPARATOR
from robustbench_aigi.evaluation.metrics import GENERATOR_COLUMNS, by_generator
from robustbench_aigi.evaluation.run_plan import read_run_plan
from robustbench_aigi.executors.unsendable import read_unsendable
from robustbench_aigi.io.files import write_text
from robustbench_aigi.io.markdown import escaped, table_head, table_row
from robustbench_aigi.outcomes import CellStatus
from robustbench_aigi.report.html.headline import alarms
from robustbench_aigi.report.matrix_file import as_stored, records_of, to_csv
from robustbench_aigi.report.run_results import RunResults
from robustbench_aigi.report.schema import MatrixFile, Of


def columns_of(matrix: pd.DataFrame) -> list[tuple[str, str]]:
    """(mode, attack) pairs in the order they were run: clean first, then static, then white-box; no
    transfer.
    """
    ok = matrix[matrix["attack"].notna() & (matrix["mode"] != "transfer")]
    pairs = list(dict.fromkeys(zip(ok["mode"], ok["attack"], strict=True)))
    order = {"clean": 0, "static": 1, "white-box": 2}
    return sorted(pairs, key=lambda pair: order[pair[0]])


def to_markdown(matrix: pd.DataFrame, direction: str = "both") -> str:
    """Return accuracies in percent with 95% intervals, one row per detector, for one direction."""
    pairs = columns_of(matrix)
    lines = table_head(
        ["detector", *(a if m == "clean" else f"{a}, {m}" for m, a in pairs)], numbers=len(pairs)
    )
    part = matrix[matrix["direction"].isin([direction]) | matrix["direction"].isna()]
    for detector in dict.fromkeys(part["detector"]):
        own = part[part["detector"] == detector].set_index(["mode", "attack"])
        lines.append(table_row([detector, *(_shown(own, pair) for pair in pairs)]))
    return "\n".join(lines)


def _shown(own: pd.DataFrame, pair: tuple[str, str]) -> str:
    if pair not in own.index:
        return "unavailable"
    row = own.loc[[pair]].iloc[0]
    if pd.isna(row["accuracy"]):
        return absence(row)
    words = [
        word
        for word, said in (
            ("incomplete", row["status"] != "ok"),
            ("flagged", pd.notna(row["flags"])),
            ("seen", pd.notna(row["seen"]) and bool(row["seen"])),
        )
        if said
    ]
    number = f"{100 * row['accuracy']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
    return f"{number} ({', '.join(words)})" if words else number


def transfer_tables(matrix: pd.DataFrame, direction: str = "both") -> dict[str, pd.DataFrame]:
    """For each attack that was made on every detector, its rows of accuracies: judged by, in
    columns made on.
    """
    part = matrix[(matrix["mode"] == "transfer") & (matrix["direction"] == direction)]
    if part.empty:
        return {}
    split = part["attack"].str.split(SURROGATE_SEPARATOR, n=1, expand=True)
    tables: dict[str, pd.DataFrame] = {}
    for attack in dict.fromkeys(split[0]):
        own = part.assign(source=split[1])[split[0] == attack]
        names = list(dict.fromkeys(own["source"]))
        wide = own.pivot(index="detector", columns="source", values="accuracy")
        tables[attack] = wide.reindex(index=list(dict.fromkeys(own["detector"])), columns=names)
    return tables


def _transfer_markdown(table: pd.DataFrame) -> str:
    lines = table_head(
        ["judged by", *(f"made on {name}" for name in table.columns)], numbers=table.shape[1]
    )
    for detector, row in table.iterrows():
        lines.append(
            table_row([detector, *(f"{100 * x:.1f}" if pd.notna(x) else "n/a" for x in row)])
        )
    return "\n".join(lines)


def absence(row: "pd.Series[Any]") -> str:
    """Return the word shown instead of a missing number: the status, or n/a."""
    word = str(row["status"]).partition(":")[0]
    return "n/a" if word == CellStatus.OK else word


def missing(matrix: pd.DataFrame) -> list[str]:
    """A line for each row that is not ``ok``: what it is of, and why."""
    named = ["detector", "mode", "attack"]
    rows = matrix[matrix["status"] != "ok"].drop_duplicates(named)
    return [
        f"{', '.join(str(row[key]) for key in named if pd.notna(row[key]))}: {row['status']}"
        for row in rows.to_dict("records")
    ]


def alarm_lines(finished: RunResults) -> list[str]:
    """A line for each reason why no number of a detector means anything: what a report begins
    with.
    """
    names = dict.fromkeys(finished.matrix["detector"])
    return [
        f"{name}: {message}"
        for name in names
        for message in alarms(str(name), finished.flags or ())
    ]


def note_lines(finished: RunResults) -> list[str]:
    """A line for each note on how a run was made: what the first look saw, what is never reused,
    what ran where.
    """
    lines = []
    for name, unknown in finished.facts.get("not_reused", {}).items():
        lines.append(
            f"{name}: results are computed again in every run, because {'; '.join(unknown)} cannot"
            " be compared."
        )
    for run in finished.runs:
        plan = read_run_plan(run.folder)
        unsendable = read_unsendable(run.folder)
        for name, spec in ({} if plan is None else plan.detectors).items():
            lines += [f"{run.called(name)}: {note}" for note in spec.notes]
            if spec.channels_last:
                lines.append(
                    f"{run.called(name)}: it ran in the memory format channels_last, which a trial"
                    " found quicker; logits differ in their last digits. `--no-speedups` turns"
                    " this off."
                )
            if spec.half_gradients:
                lines.append(
                    f"{run.called(name)}: white-box attacks took gradients in bfloat16; every score"
                    " is in the detector's own precision. `--no-speedups` turns this off."
                )
        lines += [
            f"{run.called(name)}: evaluated in one process ({reason})."
            for name, reason in unsendable.items()
        ]
    return lines


def flag_lines(finished: RunResults) -> list[str]:
    """A line for each adequacy flag, or one that says why there are none."""
    if finished.flags is None:
        return [
            "not looked for: the run was stopped before its end. Run its command again to resume."
        ]
    return [
        f"{f.detector}{f', {f.attack}' if f.attack else ''}: {f.kind}. {f.message}"
        for f in finished.flags
    ]


def generators(finished: RunResults) -> pd.DataFrame:
    """Fakes recognised by what made them, a row a finished cell and generator; see
    ``metrics.by_generator``.
    """
    tables = [
        by_generator(finished.cells.numbers(key, GENERATOR_COLUMNS)).assign(
            detector=key[0], mode=key[1], attack=key[2]
        )
        for key in finished.cells
    ]
    columns = ["detector", "mode", "attack", "generator", "n", "accuracy", "low", "high"]
    return pd.concat(tables)[columns] if tables else pd.DataFrame(columns=columns)


def _listed(lines: list[str]) -> str:
    return "\n".join(f"- {' '.join(line.split())}" for line in lines) or "none"


def write_tables(finished: RunResults, out: Path) -> None:
    """Write the matrix as CSV, JSON and Markdown, and ``generators.csv``, to ``out``, each whole or
    not at all.
    """
    matrix = as_stored(finished.matrix)
    write_text(out / "matrix.csv", to_csv(matrix))
    write_text(out / "matrix.json", to_json(matrix, finished.facts))
    write_text(out / "generators.csv", to_csv(generators(finished)))
    text = ["# Accuracy in percent, with 95% Wilson intervals"]
    first = alarm_lines(finished)
    text += ["\n**Before any number below:**\n", _listed(first)] if first else []
    titles = {
        "both": "Both directions together",
        "evasion": "Evasion: AI-generated images made to pass as real",
        "framing": "Framing: real images made to look AI-generated",
    }
    for direction, title in titles.items():
        text += [f"\n## {title}\n", to_markdown(matrix, direction)]
    for attack, table in transfer_tables(matrix).items():
        text += [
            f"\n## Transfer of {escaped(attack)}: accuracy on images made on one detector, judged"
            " by another\n"
        ]
        text += [_transfer_markdown(table)]
    text += ["\n## Flags: numbers not to be trusted as they stand\n", _listed(flag_lines(finished))]
    text += ["\n## Missing or incomplete\n", _listed(missing(matrix))]
    text += ["\n## Notes\n", _listed(note_lines(finished))]
    write_text(out / "matrix.md", "\n".join(text) + "\n")


def to_json(matrix: pd.DataFrame, facts: dict[str, Any]) -> str:
    """Return JSON by the schema that ``report --format schema`` prints.

    Args:
        matrix: as it is stored.
        facts: what ``run.json`` says; may be empty.
    """
    of = Of()
    if facts:
        suite = facts["suite"]
        data = facts["data"]
        of = Of(
            suite=suite["name"],
            suite_version=suite["version"],
            data=data["name"],
            data_key=data["key"],
            images=data["images"],
        )
    file = MatrixFile.model_validate({"of": of, "rows": records_of(matrix)})
    return file.model_dump_json(by_alias=True, indent=1)
