"""RAID's layout: ``{original,epsilonN}/{real,gen_k}``, eps in grey levels.

``original`` holds the clean and the generated images. An ``epsilonN`` is one attack in the L-inf
ball of N grey levels, the first of the suite; an attack with another budget, or none, has no place
in the layout. With several splits each has a layout of its own, in a folder of its name.
``generators.json`` says which generator each ``gen_k`` is.
"""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import final

from robustbench_aigi.data.exporters.base import ExportFormat, export_formats
from robustbench_aigi.data.plusplus.budgets import budgets
from robustbench_aigi.data.plusplus.reader import BuiltDataset, Record
from robustbench_aigi.io.files import write_text
from robustbench_aigi.progress import Progress


@export_formats.add("raid")
@final
class Raid(ExportFormat):
    """Folders ``{original,epsilonN}/{real,gen_k}``. Source: the RAID dataset, arXiv 2506.03988."""

    def write(
        self, built: BuiltDataset, out: Path, progress: Progress, shard_bytes: int
    ) -> Mapping[str, int]:
        """Write the files with their own bytes; ``shard_bytes`` has no meaning here."""
        folders = _folders(built)
        attacks = {row.id for row in built.suite().rows}
        generators = _generator_folders(built)
        splits = built.counts()
        left_out: Counter[str] = Counter()
        for split in splits:
            root = out / split if len(splits) > 1 else out
            for item in built.items(split, progress):
                attack = item.row["attack"]
                if attack in attacks and attack not in folders:
                    left_out[attack] += 1
                    continue
                place = root / folders.get(attack, "original") / _name(item.row, generators)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(item.content)
        names = {folder: name for name, folder in generators.items()}
        write_text(out / "generators.json", json.dumps(names, indent=2))
        return dict(left_out)


def _folders(built: BuiltDataset) -> dict[str, str]:
    """Return attack to folder, for the first attack of each L-inf budget."""
    first: dict[str, str] = {}
    for attack, budget in budgets(built.suite()).items():
        if budget.linf is not None:
            first.setdefault(f"epsilon{budget.linf:g}", attack)
    return {attack: folder for folder, attack in first.items()}


def _generator_folders(built: BuiltDataset) -> dict[str, str]:
    """Return generator to folder, in order of name."""
    rows = built.table("generator", "label").to_pandas().query("label == 1")
    return {name: f"gen_{k}" for k, name in enumerate(sorted(rows["generator"].unique()))}


def _name(row: Record, generators: Mapping[str, str]) -> str:
    folder = generators[row["generator"]] if row["label"] else "real"
    return f"{folder}/{PurePosixPath(row['path']).name}"
