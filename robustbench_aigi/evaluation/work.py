"""What is done to a shard of images: scored as they are, or attacked through the detector."""

import math
from collections.abc import Mapping

import pandas as pd
import torch

from robustbench_aigi.attacks import Attack
from robustbench_aigi.attacks.base import Result
from robustbench_aigi.attacks.oracle import Oracle
from robustbench_aigi.data import Batch, Dataset
from robustbench_aigi.data.images import encode_png
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors.base import placed
from robustbench_aigi.evaluation.cells import SHARD, TABLE, Work
from robustbench_aigi.grid import LEVELS, to_bytes


def scored(detector: Detector, originals: Mapping[str, float] | None) -> Work:
    """Work that only scores: clean images, or a static set (``originals``: each parent's clean logit)."""

    def work(shard: Dataset) -> pd.DataFrame:
        logits, sizes = [], []
        for batch in shard.batches(SHARD):
            with Oracle(placed(detector), batch.images.mul(LEVELS).round(), batch.labels, full=True) as oracle:
                logits += oracle.clean_logits.double().tolist()
            sizes += [batch.images[0].numel()] * len(batch.ids)
        rows = shard.manifest
        ids = rows["id"] if originals is None else rows["source"]
        clean = logits if originals is None else [originals.get(i, float("nan")) for i in ids]
        table = pd.DataFrame({"id": ids, "label": rows["label"], "generator": rows["generator"], "clean_logit": clean})
        table["logit"] = logits
        table["fooled"] = (table["logit"] > detector.threshold) != (table["label"] == 1)
        for column in ("linf", "l2", "l0"):
            table[column] = rows.get(column, 0)
        table["psnr"] = [psnr(l2, size) for l2, size in zip(table["l2"], sizes, strict=True)]
        return table.assign(forwards=1, backwards=0)[list(TABLE)]

    return work


def attacked(
    detector: Detector, attack: Attack, seed: int, originals: Mapping[str, float] | None, *, keep_images: bool
) -> Work:
    """Work that attacks the detector itself (``originals``: clean logits, which it asks for where they are None)."""

    def work(shard: Dataset) -> pd.DataFrame:
        tables = []
        for batch in shard.batches(SHARD):
            clean = None if originals is None else torch.tensor([originals[i] for i in batch.ids], dtype=torch.float32)
            result = attack(placed(detector), batch.images, batch.labels, ids=batch.ids, seed=seed, clean_logits=clean)
            tables.append(_table(result, batch, keep_images))
        table = pd.concat(tables, ignore_index=True).assign(generator=shard.manifest["generator"].to_numpy())
        return table[[*TABLE, "png"] if keep_images else list(TABLE)]

    return work


def psnr(l2: float, values: int) -> float:
    """Peak signal-to-noise ratio in dB from the [0, 1]-norm of a change to ``values`` numbers; inf if none."""
    return -20 * math.log10(l2 / math.sqrt(values)) if l2 > 0 else math.inf


def _table(result: Result, batch: Batch, keep_images: bool) -> pd.DataFrame:
    size = batch.images[0].numel()
    table = pd.DataFrame(
        {
            "id": batch.ids,
            "label": batch.labels,
            "clean_logit": result.clean_logits.double(),
            "logit": result.logits.double(),
            "fooled": result.fooled,
            "linf": result.linf,
            "l2": result.l2,
            "l0": result.l0,
            "psnr": [psnr(l2, size) for l2 in result.l2.tolist()],
            "forwards": result.forwards,
            "backwards": result.backwards,
        }
    )
    return table.assign(png=[encode_png(p) for p in to_bytes(result.images)]) if keep_images else table
