"""What a run takes besides its cells: start, checks, Grad-CAM maps and the report."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd
import torch

from robustbench_aigi.data import Dataset
from robustbench_aigi.data.decoding import decode, encode_png
from robustbench_aigi.data.trials import WORKER_START, WorkCost, table_size, try_work
from robustbench_aigi.detectors import Detector
from robustbench_aigi.evaluation.adequacy.preflight import look_at
from robustbench_aigi.evaluation.batching import set_batches
from robustbench_aigi.evaluation.cells import capture_failure
from robustbench_aigi.evaluation.examples.grad_cam import GradCamWorker, ImagePair
from robustbench_aigi.evaluation.examples.selection import MAX_STRONGEST, MAX_WEAKEST
from robustbench_aigi.evaluation.speedups import choose_speedups
from robustbench_aigi.executors.process_costs import CpuTimer, peak_memory
from robustbench_aigi.outcomes import Failed

CASES_PER_CELL = MAX_STRONGEST + MAX_WEAKEST
"""Images of a white-box cell that the report shows."""
CASE_SAMPLE = 8
"""Images of which the cases' mean size is taken."""
PICTURES_PER_CASE = 3
"""The clean image, the attacked one and their difference."""
TEXT_BYTES = 4 / 3
"""Bytes of base64 text per byte of an image file."""
RUN_BYTES = 250_000
"""Bytes of a run's other files: the report without its pictures, the matrix, the plan."""


def start_rows(starting: float, loading: float) -> list[dict[str, Any]]:
    """Return the rows of the command's start and of that of a worker process.

    Args:
        starting: CPU seconds that a process takes to import the package and to end.
        loading: CPU seconds that loading the detectors and reading the images took.
    """
    return [
        _row("start", "command", WorkCost(seconds=starting + loading)),
        _row("start", WORKER_START, WorkCost(seconds=starting)),
    ]


def check_cost(detectors: Mapping[str, Detector], data: Dataset) -> dict[str, Any]:
    """Check detectors and set their batches and speed-ups as a run does; return the row of it.

    Args:
        detectors: by name; those on other machines are not asked.
        data: the clean images.
    """
    timer = CpuTimer()
    set_batches(detectors.values(), data)
    own = [detector for detector in detectors.values() if not detector.remote]
    for detector in own:
        look_at(detector, data)
    for detector in own:
        choose_speedups(detector, data)
    return _row("start", "checks", WorkCost(seconds=timer.seconds))


def map_cost(detector: Detector, data: Dataset, cells: int) -> WorkCost:
    """Return the cost of the Grad-CAM maps of a detector.

    Args:
        detector: one that raises has no maps, in a run either.
        data: the clean images.
        cells: white-box cells of the detector.
    """
    if not cells:
        return WorkCost()
    sample = data.limit(CASE_SAMPLE)
    one = Dataset(data.name, sample.manifest.tail(1))
    first = capture_failure("grad-cam", lambda: _mapped(one, detector))
    if isinstance(first, Failed) or first.empty:
        return WorkCost()
    cost = try_work(partial(_mapped, detector=detector), sample, table_size)
    return cost.of_images(cells * min(CASES_PER_CELL, len(data)))


def page_cost(rows: pd.DataFrame, data: Dataset) -> dict[str, Any]:
    """Return the row of the report, whose pictures are those of the white-box cells.

    Args:
        rows: the costs of all cells.
        data: the clean images.
    """
    own = rows[rows["mode"] == "white-box"]
    cases = len(own) * min(CASES_PER_CELL, len(data))
    sample = data.limit(CASE_SAMPLE)
    cost = try_work(_pictured, sample).of_images(cases)
    each = (own["megabytes"] / own["images"].clip(lower=1)).mean() if cases else 0.0
    size = RUN_BYTES / 1e6 + cases * each * PICTURES_PER_CASE * TEXT_BYTES
    return _row("report", "page", cost._replace(megabytes=size))


def _mapped(shard: Dataset, detector: Detector) -> pd.DataFrame:
    """Return the maps of images, each beside itself."""
    labels = shard.manifest["label"]
    pairs = [
        ImagePair(str(name), int(label), torch.stack([pixels, pixels]))
        for name, label, pixels in zip(shard.manifest["id"], labels, shard.pixels(), strict=True)
    ]
    return GradCamWorker(detector)(pairs)


def _pictured(shard: Dataset) -> pd.DataFrame:
    """Encode the pictures of images, as the report does."""
    for pixels in shard.pixels():
        for _ in range(PICTURES_PER_CASE):
            decode(encode_png(pixels))
    return shard.manifest


def _row(mode: str, attack: str, cost: WorkCost) -> dict[str, Any]:
    head = {"detector": "", "mode": mode, "attack": attack}
    return head | cost._asdict() | {"memory": peak_memory()}
