"""Estimate what an evaluation costs."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from robustbench_aigi.attacks import Suite, load_suite
from robustbench_aigi.data import load_data
from robustbench_aigi.detectors import Detector
from robustbench_aigi.errors import UnavailableError
from robustbench_aigi.evaluation import costs
from robustbench_aigi.executors.process_costs import CpuTimer, start_seconds
from robustbench_aigi.outcomes import Unavailable
from robustbench_aigi.pipeline.detectors import available, load_detectors
from robustbench_aigi.progress import Progress, Say, say_nothing, silent

STARTED_MODULES = ("robustbench_aigi.pipeline.evaluate", "pytorch_grad_cam")
"""What an evaluation and its workers import."""


def plan_evaluation(
    detectors: Sequence[Detector | str | Path],
    attacks: str | Suite,
    dataset: str,
    source: str | None = None,
    limit: int | None = None,
    progress: Progress = silent,
    say: Say = say_nothing,
    convert: bool = False,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Estimate what :func:`~robustbench_aigi.pipeline.evaluate.evaluate` takes.

    Args:
        detectors: as in ``evaluate``; an unavailable one is left out.
        attacks: a suite, or its name or path.
        dataset: recipe of the images.
        source: where they are; None where the recipe says.
        limit: maximum number of images.
        progress: called after each image that is read.
        say: called with the reason for each detector that is left out.
        convert: as in :func:`~robustbench_aigi.data.load_data`.

    Returns:
        A table with one row per cell, and the peak memory in bytes by detector, as in
        :func:`~robustbench_aigi.evaluation.costs.estimate`.

    Raises:
        UnavailableError: no detector is available.
    """
    timer = CpuTimer()
    suite = load_suite(attacks) if isinstance(attacks, str) else attacks.checked()
    loaded = load_detectors(detectors)
    ready = available(loaded)
    reasons = [
        f"{name} is not in the plan: {why.reason}"
        for name, why in loaded.items()
        if isinstance(why, Unavailable)
    ]
    if not ready:
        raise UnavailableError(
            " ".join(reasons) or "no detector to plan for. Name one, as for evaluate."
        )
    for reason in reasons:
        say(reason)
    data = load_data(dataset, source, "test", limit, progress=progress, convert=convert)
    loading = timer.seconds
    starting = start_seconds(*STARTED_MODULES)
    return costs.estimate(ready, suite, data, starting=starting, loading=loading)
