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
from robustbench_aigi.detectors._support.fingerprint import Identities
from robustbench_aigi.errors import UserError
from robustbench_aigi.evaluation.aimed import aimed
from robustbench_aigi.evaluation.run_plan import CellSpec, limited, plan_run
from robustbench_aigi.outcomes import Unavailable

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
TERMS_NOTICE = (
    "Images are sent to a third party: its terms must allow such a test, and the images must be"
    " yours to send. Make sure of both first."
)


def cell_requests(cell: CellSpec, detector: Detector, data: Dataset) -> dict[str, object]:
    """Return the row of the plan for a cell of a remote detector: the most requests it can take.

    Args:
        cell: of the plan; its images are scored once, or attacked.
        detector: which is asked.
        data: the clean images.
    """
    head: dict[str, object] = {"detector": cell.detector}
    if cell.mode == "white-box" and cell.row is not None:
        return head | attack_requests(detector, cell.mode, cell.row, data)
    images = data if cell.row is None else limited(data, cell.row)
    return head | _requests(detector, cell.mode, cell.attack, images, 1)


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
    detectors: Mapping[str, Detector | Unavailable],
    suite: Suite,
    data: Dataset,
    surrogates: Mapping[str, Detector],
) -> list[str]:
    """Return what is printed before images are sent to other machines; nothing where none is.

    Args:
        detectors: by name in the matrix.
        suite: the rows.
        data: the clean images.
        surrogates: detectors that shared images are made on.
    """
    ready = {name: d for name, d in detectors.items() if isinstance(d, Detector)}
    makers = dict(surrogates) | ready
    if not any(detector.remote for detector in makers.values()):
        return []
    plan = plan_run(ready, suite, data, makers, Identities())
    possible = [cell for cell in plan.cells if cell.unavailable is None]
    rows = [
        attack_requests(makers[str(row.surrogate)], mode, row, data)
        for mode, row in shared_rows(possible)
        if made_remotely(row, makers)
    ]
    rows += [
        cell_requests(cell, ready[cell.detector], data)
        for cell in possible
        if ready[cell.detector].remote
    ]
    return remote_lines(pd.DataFrame(rows)) if rows else []


def shared_rows(cells: Sequence[CellSpec]) -> list[tuple[str, SuiteRow]]:
    """Return the rows whose images all detectors are shown, by mode, each once.

    Args:
        cells: of a plan.
    """
    found = {cell.key: cell.row for cell in cells if cell.mode in ("static", "transfer")}
    return [(mode, row) for (mode, _), row in found.items() if row is not None]


def made_remotely(row: SuiteRow, makers: Mapping[str, Detector]) -> bool:
    """Return whether the images of a row are made by asking a detector on another machine."""
    return row.surrogate is not None and makers[row.surrogate].remote


def remote_lines(table: pd.DataFrame) -> list[str]:
    """Return a line per detector on another machine, then :data:`TERMS_NOTICE`.

    Nothing is returned if there are none.

    Args:
        table: with :data:`NO_REQUESTS`'s columns; ``service`` is empty where nothing is sent.
    """
    lines: list[str] = []
    for name, own in table[table["service"] != ""].groupby("service", sort=False):
        lines += _service_lines(str(name), own)
    return [*lines, TERMS_NOTICE] if lines else []


def _service_lines(name: str, own: pd.DataFrame) -> list[str]:
    facts = own.iloc[0]
    needed = float(own["requests"].sum())
    budget = float(facts["budget"])
    price = float(facts["price"])
    speed = float(facts["per_second"])
    sent = min(needed, budget)
    cost = f"{sent * price:.2f} {facts['currency']}"
    if math.isnan(price):
        cost = "a price that is not known (write price=)"
    pace = f"{sent / speed / 3600:.1f} hours at {speed:g} per second"
    if math.isnan(speed):
        pace = "no rate limit is set"
    lines = [f"{name}: at most {sent:.0f} requests, retries aside, {cost}; {pace}"]
    if needed > budget:
        why = f"up to {needed:.0f} are needed"
        if math.isinf(needed):
            why = "an attack of the suite has no bound"
        lines.append(
            f"{name}: {why}, and the budget of {budget:.0f} ends the run before. Raise it with"
            " budget=."
        )
    return lines
