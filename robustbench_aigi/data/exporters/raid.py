"""RAID's layout: ``{original,epsilonN}/{real,gen_k}``, eps in grey levels. Source: the RAID
dataset, arXiv 2506.03988.

``original`` holds the clean and the generated images. An ``epsilonN`` is one attack in the L-inf
ball of N grey levels, the first of the suite; what keeps another budget, or none, has no place in
the layout. With several splits each has a layout of its own, in a folder of its name.
``generators.json`` says which generator each ``gen_k`` is.
"""

import json
from collections import Counter
from pathlib import Path, PurePosixPath

from robustbench_aigi.data.plusplus.budgets import budgets
from robustbench_aigi.data.plusplus.reader import Built, ManifestRow
from robustbench_aigi.io.files import write_text
from robustbench_aigi.progress import Progress


def write(built: Built, out: Path, progress: Progress, shard_bytes: int) -> dict[str, int]:
    """Write the files with their own bytes; returns the images of each attack that was left out."""
    folders, attacks = _folders(built), {row.id for row in built.suite().rows}
    made_by = built.table("generator", "label").to_pandas().query("label == 1")["generator"]
    generators = {name: f"gen_{k}" for k, name in enumerate(sorted(made_by.unique()))}
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
    write_text(
        out / "generators.json",
        json.dumps({number: name for name, number in generators.items()}, indent=2),
    )
    return dict(left_out)


def _folders(built: Built) -> dict[str, str]:
    """Attack to folder, of the first attack of each L-inf budget."""
    first: dict[str, str] = {}
    for attack, budget in budgets(built.suite()).items():
        if budget.linf is not None:
            first.setdefault(f"epsilon{budget.linf:g}", attack)
    return {attack: folder for folder, attack in first.items()}


def _name(row: ManifestRow, generators: dict[str, str]) -> str:
    path = PurePosixPath(row["path"])
    return f"{generators[row['generator']] if row['label'] else 'real'}/{path.name}"
