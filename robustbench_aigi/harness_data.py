"""The jobs about datasets: build a perturbed set, audit any."""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from robustbench_aigi.data import counts, load_data
from robustbench_aigi.data.assembly import assemble, command_of, planned
from robustbench_aigi.data.audit import Audit
from robustbench_aigi.data.audit import audit as audited
from robustbench_aigi.data.builder import build_plusplus, plan, plusplus
from robustbench_aigi.data.card import write_card
from robustbench_aigi.data.exporters import write_jsonl
from robustbench_aigi.data.pictures import contact_sheets
from robustbench_aigi.harness import Progress, Say, silent, writable


def build(
    dataset: str,
    out: Path,
    *,
    source: str | None = None,
    limit: int | None = None,
    attacks: str | None = None,
    surrogates: Sequence[str] = (),
    samples: int | None = None,
    generated: Path | None = None,
    workers: int | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
    say: Say = lambda line: None,
) -> pd.DataFrame:
    """Write a `++` set under ``out`` and return its manifest, or with ``dry_run`` the plan alone.

    Args:
        dataset: a recipe of a `++` set, or of a dataset to make one of.
        attacks: a suite; the recipe's own if None, and ``cifakepp`` for a dataset.
        surrogates: checkpoints of the detectors that the suite's rows name, in the place of the recipe's.
        samples: diffusion-generated images to add to each split; the recipe's own counts if None, else 100.
        generated: a folder that ``generate`` wrote, to add the images of.
        workers: processes of one thread each; as many as there are cores if None.
    """
    writable(out)
    made = assemble(dataset, source, limit, attacks, surrogates, samples, generated, out / "skipped.csv", progress)
    say(counts(made.data, out / "skipped.csv"))
    workers = workers or os.cpu_count() or 1
    expected = plan(made.parts, made.suite, made.surrogates, out, workers)
    say(planned(expected, workers))
    if dry_run:
        return expected
    build_plusplus(made.parts, made.suite, made.surrogates, out, progress, workers)
    write_jsonl(out)
    contact_sheets(out, out / "pictures")
    write_card(out, made.recipe, command_of(dataset, source, limit, attacks, surrogates, samples, generated))
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
