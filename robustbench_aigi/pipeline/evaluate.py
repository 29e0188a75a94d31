"""Evaluate detectors: attack them, and write the matrix and the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from robustbench_aigi.attacks import Suite, load_suite
from robustbench_aigi.data import Dataset
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.fingerprint import Identities
from robustbench_aigi.evaluation import evaluate as evaluate_cells
from robustbench_aigi.evaluation.provenance import write_provenance
from robustbench_aigi.evaluation.remote_costs import remote_notice
from robustbench_aigi.executors import IN_PROCESS, Executor
from robustbench_aigi.io.files import check_writable
from robustbench_aigi.io.locks import exclusive_lock
from robustbench_aigi.outcomes import Unavailable
from robustbench_aigi.pipeline.detectors import available, fresh_warnings, load_detectors
from robustbench_aigi.progress import Progress, Say, say_nothing, silent
from robustbench_aigi.report import Matrix, RunResults, write_report


def evaluate(
    detectors: Sequence[Detector | str | Path],
    attacks: str | Suite,
    data: Dataset,
    out: str | Path,
    *,
    surrogates: Mapping[str, Detector] = MappingProxyType({}),
    speedups: bool = True,
    executor: Executor = IN_PROCESS,
    progress: Progress = silent,
    say: Say = say_nothing,
) -> Matrix:
    """Attack every detector with every row of a suite, and write the matrix and the report.

    Args:
        detectors: detectors, or addresses as a command takes them: names that ship, checkpoints,
            ``hf:REPO``, ...; an unavailable one becomes an ``unavailable`` row.
        attacks: a suite, or its name or path.
        data: the images to attack, such as ``load_data("mini", split="test")``.
        out: folder of the results. Rerun with the same folder to resume.
        surrogates: by name, what shared images are made on, besides the detectors themselves.
        speedups: let a trial decide for each detector on ``channels_last`` and on gradients in
            bfloat16. Every score that counts is in the detector's own precision.
        executor: of the attacks, such as ``PoolExecutor(2)`` of ``robustbench_aigi.executors``.
        progress: called after each shard.
        say: called with each note, such as why results are not reused, or what is sent to other
            machines.

    Raises:
        UserError: another process writes to the folder, nothing can be written there, or a name is
            unknown.
    """
    check_writable(Path(out))
    suite = load_suite(attacks) if isinstance(attacks, str) else attacks.checked()
    return evaluate_loaded(
        load_detectors(detectors),
        suite,
        data,
        Path(out),
        surrogates=surrogates,
        speedups=speedups,
        executor=executor,
        progress=progress,
        say=say,
    )


def evaluate_loaded(
    detectors: Mapping[str, Detector | Unavailable],
    suite: Suite,
    data: Dataset,
    out: Path,
    *,
    surrogates: Mapping[str, Detector] = MappingProxyType({}),
    speedups: bool = True,
    executor: Executor = IN_PROCESS,
    progress: Progress = silent,
    say: Say = say_nothing,
) -> Matrix:
    """Evaluate detectors that are loaded already, so that a wrong name fails before data is read.

    Args:
        detectors: what :func:`~robustbench_aigi.pipeline.detectors.load_detectors` returned.
        suite: attacks to run.
        data: as in :func:`evaluate`.
        out: as in :func:`evaluate`.
        surrogates: as in :func:`evaluate`.
        speedups: as in :func:`evaluate`.
        executor: as in :func:`evaluate`.
        progress: as in :func:`evaluate`.
        say: as in :func:`evaluate`.

    Raises:
        UserError: another process writes to the folder.
    """
    for line in remote_notice(detectors, suite, data, surrogates):
        say(line)
    with exclusive_lock(out):
        identities = Identities()
        everything = {**surrogates, **detectors}
        for note in [*fresh_warnings(everything), *identities.notes(everything)]:
            say(note)
        write_provenance(out, detectors, surrogates, suite, data, identities)
        rows = evaluate_cells(
            detectors,
            suite,
            data,
            out,
            surrogates=surrogates,
            speedups=speedups,
            executor=executor,
            progress=progress,
            identities=identities,
            say=say,
        )
        matrix = Matrix(rows)
        write_report(RunResults.of(out, matrix), out)
    for detector in available(detectors).values():
        for note in detector.answer_notes:
            say(note)
    return matrix
