"""The jobs about datasets: build a perturbed set, audit any."""

import os
from pathlib import Path

import pandas as pd

from robustbench_aigi.data import counts, load_data
from robustbench_aigi.data.assembly import Order, assemble, planned
from robustbench_aigi.data.audit import Audit
from robustbench_aigi.data.audit import audit as audited
from robustbench_aigi.data.builder import build_plusplus, plan, plusplus
from robustbench_aigi.data.card import write_card
from robustbench_aigi.data.exporters import write_jsonl
from robustbench_aigi.data.pictures import contact_sheets
from robustbench_aigi.detectors.fingerprint import Identities
from robustbench_aigi.executors import Executor, Pool
from robustbench_aigi.files import alone
from robustbench_aigi.harness import Progress, Say, silent, writable


def build(
    order: Order,
    out: Path,
    *,
    executor: Executor | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
    say: Say = lambda line: None,
) -> pd.DataFrame:
    """Write a `++` set under ``out`` and return its manifest, or with ``dry_run`` the plan alone.

    Args:
        executor: who does the work; a pool of as many processes as there are cores if None.
    """
    with alone(out):
        return _build(order, out, executor or Pool(os.cpu_count() or 1), dry_run, progress, say)


def _build(order: Order, out: Path, executor: Executor, dry_run: bool, progress: Progress, say: Say) -> pd.DataFrame:
    made, identities = assemble(order, out / "skipped.csv", progress), Identities()
    say(counts(made.data, out / "skipped.csv"))
    for note in identities.notes(made.surrogates):
        say(note)
    expected = plan(made.parts, made.suite, made.surrogates, out, executor.workers, identities)
    say(planned(expected, executor.workers))
    if dry_run:
        return expected
    build_plusplus(made.parts, made.suite, made.surrogates, out, progress, executor, identities)
    write_jsonl(out)
    contact_sheets(out, out / "pictures")
    write_card(out, made.recipe, order.command)
    return pd.read_parquet(out / "manifest.parquet")


def audit(
    dataset: str, out: Path, *, source: str | None = None, limit: int | None = None, progress: Progress = silent
) -> Audit:
    """Look for what would let a classifier cheat in a dataset, and write the findings to ``out``.

    Args:
        dataset: a recipe, or a folder that :func:`build` wrote.
    """
    writable(out)
    built = Path(dataset)
    if (built / "manifest.parquet").is_file():
        return audited(plusplus(built), out, progress)
    data = load_data(dataset, source, limit=limit, skipped=out / "skipped.csv", progress=progress)
    return audited(data, out, progress)
