"""Probes: short attacks on a few images whose only use is to tell whether a detector's numbers can
be trusted.
"""

from dataclasses import replace

import pandas as pd
import torch
from torch import Tensor

from robustbench_aigi.attacks import Suite
from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.gradient.pgd import PGDLinf
from robustbench_aigi.attacks.score.random_linf import RandomLinf
from robustbench_aigi.data import Dataset
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.placement import placed
from robustbench_aigi.errors import LogitsError
from robustbench_aigi.evaluation.cell_runner import CellJob
from robustbench_aigi.evaluation.cells import SHARD_SIZE, Work
from robustbench_aigi.evaluation.shard_work import attacked
from robustbench_aigi.evaluation.speedups import gradient_format
from robustbench_aigi.imaging.pixels import MAX_LEVEL

PROBE_IMAGES = 64
HUGE_STEPS = 40
"""Least steps at eps 255. They are small and begin at the clean image: large ones leap over what
there is to find.
"""


def probed(suite: Suite) -> tuple[str, PGDLinf]:
    """The attack that is probed and its row's id: ``pgd-linf`` with the suite's largest eps, or ""
    and the default.
    """
    rows = [
        (row.id, row.built)
        for row in suite.rows
        if isinstance(row.built, PGDLinf) and row.built.eps >= 1
    ]
    name, attack = max(rows, key=lambda row: row[1].eps, default=("", PGDLinf()))
    return name, replace(attack, restarts=1)


def describe(probe: PGDLinf | RandomLinf) -> str:
    """A few words for a sentence."""
    if isinstance(probe, RandomLinf):
        return f"uniform noise of eps {probe.eps:g} drawn {probe.looks} times"
    return f"PGD with eps {probe.eps:g} and steps {probe.steps}"


def probes(attack: PGDLinf) -> dict[str, PGDLinf | RandomLinf]:
    """What is tried beside the attack at its own numbers (``own``), by name."""
    eps = attack.eps
    steps = attack.steps

    def sized(other: float) -> PGDLinf:
        """Another ball, crossed in as many steps."""
        step = min(max(1.0, round(attack.step * other / eps)), MAX_LEVEL)
        return replace(attack, eps=other, step=step)

    return {
        "eps-zero": sized(0),
        "eps-half": sized(eps / 2 if eps >= 2 else 0),  # between 0 and 1 there is no grey level
        "own": attack,
        "eps-double": sized(min(2 * eps, MAX_LEVEL)),
        "eps-huge": replace(
            attack, eps=MAX_LEVEL, steps=max(4 * steps, HUGE_STEPS), random_start=False
        ),
        "steps-one": replace(attack, step=float(int(eps)), steps=1, random_start=False),
        "steps-double": replace(attack, steps=2 * steps),
        "noise": RandomLinf(eps=eps, looks=steps + 1),
    }


def probe_jobs(detector: Detector, suite: Suite, data: Dataset) -> list[CellJob]:
    """The probes as cells to compute, by name; none of a black box. ``gradient`` has a column
    ``max_abs_gradient``.
    """
    if detector.card.gradient == "none":
        return []
    sample = data.limit(PROBE_IMAGES)
    own = probed(suite)[1]
    looked = gradient_format(detector, own)
    jobs = [CellJob("probe", "gradient", sample, slopes(detector), gradients=looked)]
    for name, attack in probes(own).items():
        work = attacked(detector, attack, suite.seed, keep_images=False)
        gradients = gradient_format(detector, attack)
        jobs.append(CellJob("probe", name, sample, work, (repr(attack), suite.seed), gradients))
    return jobs


def slopes(detector: Detector) -> Work:
    """Work that finds the largest slope of the logit along a pixel value: 0 without a gradient, nan
    if not finite.
    """

    def work(shard: Dataset) -> pd.DataFrame:
        tables = []
        for images, labels, ids in shard.batches(SHARD_SIZE):
            levels = images.mul_(MAX_LEVEL).round_()
            with Oracle(placed(detector), levels, labels, full=True) as oracle:
                max_abs_gradient = _max_abs_gradients(oracle, levels)
            tables.append(pd.DataFrame({"id": ids, "max_abs_gradient": max_abs_gradient}))
        return pd.concat(tables, ignore_index=True)

    return work


def _max_abs_gradients(oracle: Oracle, levels: Tensor) -> Tensor:
    """Return the largest slope of each image: 0 without a gradient, nan if it is not finite."""
    try:
        _, slope = oracle.submit_with_gradient(levels, torch.arange(len(levels)))
    except LogitsError:  # The clean logits were good, so it is the slope that is missing.
        return torch.zeros(len(levels), dtype=torch.float64)
    largest = slope.flatten(1).abs_().amax(dim=1).double()
    return largest.masked_fill(largest.isinf(), torch.nan)
