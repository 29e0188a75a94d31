"""What an evaluation will ask of detectors on other machines, from the attacks' own budgets:
nothing is sent for it.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pandas as pd

from robustbench_aigi.attacks import Suite, SuiteRow
from robustbench_aigi.data import Dataset
from robustbench_aigi.detectors import Detector
from robustbench_aigi.errors import UserError
from robustbench_aigi.evaluation.aimed import aimed, not_aimed
from robustbench_aigi.evaluation.run_plan import limited, transferred

NO_REQUESTS: Mapping[str, object] = MappingProxyType(
    {
        "service": "",
        "requests": 0.0,
        "price": math.nan,
        "currency": "",
        "per_second": math.nan,
        "budget": math.nan,
    }
)
"""Columns about the requests of a row, for one that sends none: the detector asked, and the price
of a request.
"""
TERMS = (
    "Images are sent to a third party: its terms must allow such a test, and the images must be"
    " yours to send. Make sure of both first."
)
Shared = Sequence[tuple[str, SuiteRow]]
"""Rows whose images are made once and shown to all detectors, by mode."""


def can_ask(row: SuiteRow, detector: Detector) -> bool:
    """Return whether an attack asks a detector and can attack this one: a black box gives no
    gradients.
    """
    return row.built.access != "none" and not not_aimed(row, detector)


def shared_rows(
    suite: Suite,
    detectors: Mapping[str, Detector],
    surrogates: Mapping[str, Detector] = MappingProxyType({}),
) -> Shared:
    """Return the rows whose images all detectors are shown, without those that their surrogate
    cannot make.
    """
    makers = dict(surrogates) | dict(detectors)
    rows = [
        ("static", row) for row in suite.rows if row.shared and row.surrogate in (None, *makers)
    ]
    rows += [("transfer", row) for row in transferred(suite, detectors)]
    return [
        (mode, row)
        for mode, row in rows
        if row.surrogate is None or can_ask(row, makers[row.surrogate])
    ]


def requests_of(
    name: str, detector: Detector, suite: Suite, data: Dataset, shared: Shared
) -> list[dict[str, object]]:
    """Return a remote detector's rows of the plan: one per cell, with the most requests that the
    cell can take.
    """
    cells = [_requests(detector, "clean", "clean", data, 1)]
    cells += [_requests(detector, mode, row.id, limited(data, row), 1) for mode, row in shared]
    cells += [
        attack_requests(detector, "white-box", row, data)
        for row in suite.rows
        if can_ask(row, detector)
    ]
    return [{"detector": name} | cell for cell in cells]


def attack_requests(
    detector: Detector, mode: str, row: SuiteRow, data: Dataset
) -> dict[str, object]:
    """Return the row of the plan for an attack on a remote detector; infinite requests where
    nothing bounds them.
    """
    height, width = next(iter(data.pixels())).shape[-2:]
    queries = aimed(row, detector).most_queries(height, width)
    return _requests(
        detector, mode, row.id, limited(data, row), math.inf if queries is None else queries
    )


def _requests(
    detector: Detector, mode: str, attack: str, images: Dataset, queries: float
) -> dict[str, object]:
    service = detector.service
    if service is None:
        raise UserError(
            f"{detector.card.name} is remote and does not say what asking it takes. Give it a"
            " service."
        )
    requests = len(images) * queries * service.requests_per_image
    speed = service.requests_per_second or math.nan
    return {
        "mode": mode,
        "attack": attack,
        "images": len(images),
        "passes": len(images) * queries,
        "seconds": 0.0 if math.isnan(speed) else requests / speed,
        "megabytes": 0.0,
        "service": detector.card.name,
        "requests": requests,
        "price": math.nan if service.price is None else service.price / service.requests_per_image,
        "currency": service.currency,
        "per_second": speed,
        "budget": service.budget,
    }


def remote_notice(
    detectors: Mapping[str, Detector | str],
    suite: Suite,
    data: Dataset,
    surrogates: Mapping[str, Detector],
) -> list[str]:
    """Return what is printed before images are sent to other machines; nothing where none
    will be.
    """
    ready = {
        name: detector for name, detector in detectors.items() if isinstance(detector, Detector)
    }
    makers = dict(surrogates) | ready
    shared = shared_rows(suite, ready, surrogates)
    rows = [
        attack_requests(makers[str(row.surrogate)], mode, row, data)
        for mode, row in shared
        if made_remotely(row, makers)
    ]
    for name, detector in ready.items():
        rows += requests_of(name, detector, suite, data, shared) if detector.remote else []
    return remote_lines(pd.DataFrame(rows)) if rows else []


def made_remotely(row: SuiteRow, makers: Mapping[str, Detector]) -> bool:
    """Return whether the images of a row are made by asking a detector on another machine."""
    return row.surrogate is not None and makers[row.surrogate].remote


def remote_lines(table: pd.DataFrame) -> list[str]:
    """Return a line per detector on another machine, then :data:`TERMS`; nothing if there are none.

    Args:
        table: with :data:`NO_REQUESTS`'s columns; ``service`` is empty where nothing is sent.
    """
    lines = []
    for name, own in table[table["service"] != ""].groupby("service", sort=False):
        facts, needed = own.iloc[0], float(own["requests"].sum())
        budget, price, speed = (
            float(facts[column]) for column in ("budget", "price", "per_second")
        )
        most = min(needed, budget)
        cost = (
            "a price that is not known (write price=)"
            if math.isnan(price)
            else f"{most * price:.2f} {facts['currency']}"
        )
        pace = (
            "no rate limit is set"
            if math.isnan(speed)
            else f"{most / speed / 3600:.1f} hours at {speed:g} per second"
        )
        lines.append(f"{name}: at most {most:.0f} requests, retries aside, {cost}; {pace}")
        if needed > budget:
            why = (
                f"up to {needed:.0f} are needed"
                if math.isfinite(needed)
                else "an attack of the suite has no bound"
            )
            lines.append(
                f"{name}: {why}, and the budget of {budget:.0f} ends the run before. Raise it with"
                " budget=."
            )
    return [*lines, TERMS] if lines else []
