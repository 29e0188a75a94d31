"""Count a run's accuracies again from its saved PNG files, with nothing of the evaluation code.

    python -m tests.recount RUN [CHECKPOINT ...]

Prints each cell's own count beside the matrix and exits with 1 if any differs.
"""

import csv
import io
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image

from robustbench_aigi.detectors import Detector, load_detector


def read(content: bytes) -> torch.Tensor:
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), dtype=np.float32)
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()) / 255


def accuracy(detector: Detector, contents: list[bytes], labels: list[int]) -> float:
    right = 0
    for start in range(0, len(contents), 100):
        with torch.no_grad():
            logits = detector.logits(torch.stack([read(c) for c in contents[start : start + 100]]))
        called = (logits > detector.threshold).long().tolist()
        right += sum(a == b for a, b in zip(called, labels[start : start + 100], strict=True))
    return right / len(contents)


def recount(run: Path, name: str, detector: Detector) -> dict[tuple[str, str], float]:
    """Accuracy of each (mode, attack) of one detector."""
    sets: dict[tuple[str, str], tuple[list[bytes], list[int]]] = defaultdict(lambda: ([], []))
    for row in pq.read_table(run / "plusplus" / "manifest.parquet").to_pylist():
        mode = "clean" if row["attack"] == "clean" else "static"
        contents, labels = sets[mode, row["attack"]]
        contents.append((run / "plusplus" / row["path"]).read_bytes())
        labels.append(row["label"])
    for folder in sorted((run / "cells" / name).glob("white-box-*")):
        contents, labels = sets["white-box", folder.name.removeprefix("white-box-")]
        for shard in sorted(folder.glob("shard-*.parquet")):
            table = pq.read_table(shard, columns=["png", "label"])
            contents += table.column("png").to_pylist()
            labels += table.column("label").to_pylist()
    return {cell: accuracy(detector, *pair) for cell, pair in sets.items()}


def main(run: Path, checkpoints: list[Path]) -> int:
    with (run / "matrix.csv").open() as file:
        cells = {
            (r["detector"], r["mode"], r["attack"]): r
            for r in csv.DictReader(file)
            if r["direction"] == "both"
        }
    differ = 0
    for checkpoint in checkpoints or sorted((run / "detectors").glob("*.safetensors")):
        detector = load_detector(str(checkpoint))
        for (mode, attack), value in recount(run, detector.card.name, detector).items():
            cell = cells[detector.card.name, mode, attack]["accuracy"]
            differ += f"{value:.6f}" != cell
            sys.stdout.write(
                f"{detector.card.name:22} {mode:10} {attack:14} counted {value:.6f} matrix {cell}\n"
            )
    sys.stdout.write(f"{differ} cells differ\n")
    return 1 if differ else 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), [Path(p) for p in sys.argv[2:]]))
