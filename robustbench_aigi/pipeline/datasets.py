"""Work on datasets: describe a source, build a perturbed set, generate images, audit."""

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
from robustbench_aigi.data.plusplus.storage import load_storage
from robustbench_aigi.data.prompts import load_prompts
from robustbench_aigi.detectors._support.fingerprint import Identities
from robustbench_aigi.errors import DataError
from robustbench_aigi.executors import Executor, InProcessExecutor, PoolExecutor
from robustbench_aigi.executors.process_costs import CpuTimer, follow_peak
from robustbench_aigi.io.files import write_text
from robustbench_aigi.io.locks import exclusive_lock
from robustbench_aigi.progress import Progress, Say, say_nothing, silent


def build(
    request: BuildRequest,
    out: Path,
    *,
    executor: Executor | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
    say: Say = say_nothing,
) -> pd.DataFrame:
    """Write a `++` set, and return its manifest.

    Args:
        request: what to build.
        out: folder of the set. Rerun with the same folder to resume.
        executor: of the attacks; None is a pool with one process per core.
        dry_run: return the plan, and write nothing but the list of skipped files.
        progress: called after each item.
        say: called with each line for the user.

    Raises:
        UserError: another process writes to the folder, or the request cannot be met.
    """
    with exclusive_lock(out):
        return _build(
            request, out, executor or PoolExecutor(os.cpu_count() or 1), dry_run, progress, say
        )


def _build(
    request: BuildRequest,
    out: Path,
    executor: Executor,
    dry_run: bool,
    progress: Progress,
    say: Say,
) -> pd.DataFrame:
    load_storage(request.shards)  # a wrong name is reported before the images are read
    timer = CpuTimer()
    skipped = out / "skipped.csv"
    made = plan_build(request, skipped, progress)
    identities = Identities()
    say(describe_counts(made.data, skipped))
    for line in overview(made.data.manifest, made.recipe, request.source, read_skipped(skipped)):
        say(line)
    for note in identities.notes(made.surrogates):
        say(note)
    follow_peak()
    expected = estimate_build(
        made.parts,
        made.suite,
        made.surrogates,
        out,
        identities,
        timer.seconds,
        request.shards,
    )
    has_pool = not isinstance(executor, InProcessExecutor)
    say(estimate_text(expected, executor.workers, has_pool=has_pool))
    if dry_run:
        return expected
    write_text(out / COMMAND_FILE, request.command_line(out))
    build_plusplus(
        made.parts,
        made.suite,
        made.surrogates,
        out,
        progress,
        executor,
        identities,
        request.shards,
    )
    write_jsonl(out)
    contact_sheets(out, out / "pictures")
    write_card(out, made.recipe, request.public_command)
    (out / COMMAND_FILE).unlink(missing_ok=True)
    return pd.read_parquet(out / "manifest.parquet")


def generate(prompts: str, out: Path, *, progress: Progress = silent) -> pd.DataFrame:
    """Generate the images of a prompt file, and return their manifest.

    Args:
        prompts: name or path of the prompt file.
        out: folder of the images. Those that are there are not generated again.
        progress: called after each image.

    Raises:
        UserError: another process writes to the folder, or a model is out of reach.
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
    """Check a dataset for shortcuts that a classifier could exploit, and write the findings.

    Args:
        dataset: a recipe, or a folder that :func:`build` wrote.
        out: folder of the findings.
        source: as in :func:`~robustbench_aigi.data.load_data`.
        limit: maximum number of images per split.
        convert: as in :func:`~robustbench_aigi.data.load_data`.
        progress: called after each image.

    Raises:
        DataError: the folder of an unfinished build, or a source that cannot be read.
        UserError: another process writes to ``out``.
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
    """Describe a source: how it would be read, what is in it, and what is skipped and why.

    Args:
        source: as in :func:`~robustbench_aigi.data.load_data`.
        dataset: recipe to read it by; None is ``folder``, or the first recipe that fits.
        convert: as in :func:`~robustbench_aigi.data.load_data`.
        progress: called after each file.

    Raises:
        DataError: no recipe reads it; the message lists what was found.
    """
    return describe_source(source, dataset, convert=convert, progress=progress)
