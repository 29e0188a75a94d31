"""What is done to a shard of images: scored as they are, or attacked through the detector."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from robustbench_aigi.attacks import Attack
from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.result import FRESH_DRAWS, Result
from robustbench_aigi.data import Batch, Dataset
from robustbench_aigi.data.decoding import encode_pngs
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.freezing import frozen
from robustbench_aigi.detectors._support.placement import placed
from robustbench_aigi.detectors._support.randomness import is_random, seeded
from robustbench_aigi.evaluation.cells import SHARD_SIZE, TABLE_COLUMNS, Work
from robustbench_aigi.imaging.pixels import MAX_LEVEL, to_bytes
from robustbench_aigi.imaging.quality import psnr_from_l2
from robustbench_aigi.io.hashing import digest


def scored(detector: Detector, originals: Mapping[str, float] | None) -> Work:
    """Work that only scores: clean images, or a static set (``originals``: each parent's clean
    logit).
    """

    def work(shard: Dataset) -> pd.DataFrame:
        drawn = []
        sizes: list[int] = []
        for batch in shard.batches(SHARD_SIZE):
            drawn.append(_drawn(placed(detector), batch))
            sizes += [batch.images[0].numel()] * len(batch.ids)
        rows = shard.manifest
        scores = torch.cat(drawn, dim=1).double()
        logits = scores[0].tolist()
        ids = rows["id"] if originals is None else rows["source"]
        clean = logits if originals is None else [originals.get(i, float("nan")) for i in ids]
        table = pd.DataFrame(
            {
                "id": ids,
                "label": rows["label"],
                "generator": rows["generator"],
                "clean_logit": clean,
            }
        )
        table["logit"] = logits
        fresh = (scores > detector.threshold) != torch.tensor(rows["label"].to_numpy() == 1)
        table = table.assign(**_verdicts(fresh, fresh[0]))
        for column in ("linf", "l2", "l0"):
            table[column] = rows.get(column, 0)
        table["psnr"] = [
            psnr_from_l2(l2, size) for l2, size in zip(table["l2"], sizes, strict=True)
        ]
        return table.assign(forwards=1, backwards=0)[list(TABLE_COLUMNS)]

    return work


def attacked(
    detector: Detector,
    attack: Attack,
    seed: int,
    originals: Mapping[str, float] | None,
    *,
    keep_images: bool,
    full: bool = False,
) -> Work:
    """Work that attacks the detector itself (``originals``: clean logits, which it asks for where
    they are None).

    Images are encoded while the next ones are attacked.

    ``full``: continue at full strength once the detector is fooled, and attack what it is wrong on
        already.
    """

    def work(shard: Dataset) -> pd.DataFrame:
        tables = []
        files: list[Future[list[bytes]]] = []
        with ThreadPoolExecutor(1) as encoder:
            for images, labels, ids in shard.batches(SHARD_SIZE):
                pixels = to_bytes(images)
                del images  # a float32 photograph, which the attack does not need
                clean = None if originals is None else _clean_logits(ids, originals)
                result = attack(
                    placed(detector),
                    pixels,
                    labels,
                    ids=ids,
                    seed=seed,
                    full=full,
                    clean_logits=clean,
                )
                tables.append(_table(result, ids, labels))
                if keep_images:
                    files.append(encoder.submit(encode_pngs, to_bytes(result.images)))
                del result
        table = pd.concat(tables, ignore_index=True).assign(
            generator=shard.manifest["generator"].to_numpy()
        )[list(TABLE_COLUMNS)]
        if not keep_images:
            return table
        return table.assign(png=[file for encoded in files for file in encoded.result()])

    return work


def _drawn(detector: Detector, batch: Batch) -> Tensor:
    """Logits ``(K, N)`` of a batch: one draw, or as many as of an attack's final images where the
    scores are random.
    """
    levels = batch.images.mul(MAX_LEVEL).round()
    with frozen(detector):
        at_random = is_random(detector, batch.images)
    if not at_random:
        with Oracle(detector, levels, batch.labels, full=True) as oracle:
            return oracle.clean_logits[None]
    with (
        seeded(int(digest("scored", batch.ids)[:8], 16)),
        Oracle(detector, levels, batch.labels, full=True) as oracle,
    ):
        return oracle.fresh_logits(FRESH_DRAWS)


def _verdicts(fresh: Tensor, kept: Tensor) -> dict[str, list[Any]]:
    """Columns of a table. ``fresh``: ``(K, N)``, whether scores are wrong. ``kept``: ``(N,)``, in
    the attack.
    """
    half = fresh[: len(fresh) // 2]
    return {
        "fooled": fresh[0].tolist(),
        "draws": [len(fresh)] * fresh.shape[1],
        "wrong": fresh.sum(dim=0).tolist(),
        "wrong_half": half.sum(dim=0).tolist(),
        "kept": kept.tolist(),
    }


def _clean_logits(ids: Sequence[str], originals: Mapping[str, float]) -> Tensor:
    return torch.tensor([originals[identity] for identity in ids], dtype=torch.float32)


def _table(result: Result, ids: Sequence[str], labels: Tensor) -> pd.DataFrame:
    size = result.images[0].numel()
    return pd.DataFrame(
        {
            "id": ids,
            "label": labels,
            "clean_logit": result.clean_logits.double(),
            "logit": result.logits.double(),
            "linf": result.linf,
            "l2": result.l2,
            "l0": result.l0,
            "psnr": [psnr_from_l2(l2, size) for l2 in result.l2.tolist()],
            "forwards": result.forwards,
            "backwards": result.backwards,
        }
        | _verdicts(result.fresh, result.kept)
    )
