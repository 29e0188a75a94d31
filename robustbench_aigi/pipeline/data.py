"""The jobs about datasets: describe a source, build a perturbed set, draw images, audit any."""

import os
from pathlib import Path

import pandas as pd

from robustbench_aigi.data import describe_counts, load_data
from robustbench_aigi.data.audit import Audit, write_audit
from robustbench_aigi.data.audit import audit as audit_dataset
from robustbench_aigi.data.description.describe import describe_source, overview
from robustbench_aigi.data.description.result import Description
from robustbench_aigi.data.listing import read_skipped
from robustbench_aigi.data.plusplus.build import build_plusplus, load_plusplus
from robustbench_aigi.data.plusplus.card import write_card
from robustbench_aigi.data.plusplus.contact_sheets import contact_sheets
from robustbench_aigi.data.plusplus.estimate import estimate_build, estimate_text
from robustbench_aigi.data.plusplus.jsonl import write_jsonl
from robustbench_aigi.data.plusplus.reader import COMMAND_FILE, describe_unfinished
from robustbench_aigi.data.plusplus.request import BuildRequest, plan_build
from robustbench_aigi.data.plusplus.samples import make_samples
from robustbench_aigi.data.prompts import load_prompts
from robustbench_aigi.detectors._support.fingerprint import Identities
from robustbench_aigi.errors import DataError
from robustbench_aigi.executors import Executor, PoolExecutor
from robustbench_aigi.io.files import write_text
from robustbench_aigi.io.locks import exclusive_lock
from robustbench_aigi.progress import Progress, Say, say_nothing, silent


def build(
    order: BuildRequest,
    out: Path,
    *,
    executor: Executor | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
    say: Say = say_nothing,
) -> pd.DataFrame:
    """Write a `++` set under ``out`` and return its manifest, or with ``dry_run`` the plan alone.

    Args:
        executor: who does the work; a pool of as many processes as there are cores if None.
    """
    with exclusive_lock(out):
        return _build(
            order, out, executor or PoolExecutor(os.cpu_count() or 1), dry_run, progress, say
        )


def _build(
    order: BuildRequest, out: Path, executor: Executor, dry_run: bool, progress: Progress, say: Say
) -> pd.DataFrame:
    made, identities = plan_build(order, out / "skipped.csv", progress), Identities()
    say(describe_counts(made.data, out / "skipped.csv"))
    for line in overview(
        made.data.manifest, made.recipe, order.source, read_skipped(out / "skipped.csv")
    ):
        say(line)
    for note in identities.notes(made.surrogates):
        say(note)
    expected = estimate_build(
        made.parts, made.suite, made.surrogates, out, executor.workers, identities
    )
    say(estimate_text(expected, executor.workers))
    if dry_run:
        return expected
    write_text(out / COMMAND_FILE, order.command_line(out))
    build_plusplus(made.parts, made.suite, made.surrogates, out, progress, executor, identities)
    write_jsonl(out)
    contact_sheets(out, out / "pictures")
    write_card(out, made.recipe, order.public_command)
    (out / COMMAND_FILE).unlink(missing_ok=True)
    return pd.read_parquet(out / "manifest.parquet")


def generate(prompts: str, out: Path, *, progress: Progress = silent) -> pd.DataFrame:
    """Draw the images of a prompt file into ``out`` and return their manifest; what is there is
    kept.
    """
    with exclusive_lock(out):
        return make_samples(load_prompts(prompts), out, progress)


def audit(
    dataset: str,
    out: Path,
    *,
    source: str | None = None,
    limit: int | None = None,
    convert: bool = False,
    progress: Progress = silent,
) -> Audit:
    """Look for what would let a classifier cheat in a dataset, and write the findings to ``out``.

    Args:
        dataset: a recipe, or a folder that :func:`build` wrote.
        convert: as in :func:`~robustbench_aigi.data.load_data`.

    Raises:
        UserError: such as ``DataError`` for the folder of a build that is not finished.
    """
    built = Path(dataset)
    unfinished = describe_unfinished(built)
    if unfinished is not None:
        raise DataError(unfinished)
    with exclusive_lock(out):
        if (built / "manifest.parquet").is_file():
            data = load_plusplus(built)
        else:
            data = load_data(dataset, source, None, limit, out / "skipped.csv", progress, convert)
        result = audit_dataset(data, progress)
        write_audit(result, out)
        return result


def inspect(
    source: str, dataset: str | None = None, *, convert: bool = False, progress: Progress = silent
) -> Description:
    """Describe a source before it is used: how it would be read, what is in it, what is left out
    and why.

    Args:
        source: as in :func:`~robustbench_aigi.data.load_data`.
        dataset: the recipe to read it by; if None ``folder``, or the first one that fits.
        convert: as in :func:`~robustbench_aigi.data.load_data`.

    Raises:
        DataError: no recipe reads it; the message says what was found.
    """
    return describe_source(source, dataset, convert=convert, progress=progress)
