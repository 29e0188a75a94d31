"""What cannot be sent to other processes, and who does the work instead."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

from cloudpickle import Pickler  # type: ignore[import-untyped]

from robustbench_aigi.executors.local import InProcessExecutor
from robustbench_aigi.io.files import describe_read_errors, write_text

BOUND_FILE = "in_process.json"
"""In a run's folder, where an executor could not be given all detectors: the others, and why."""
LOG = logging.getLogger("robustbench_aigi")


def find_unsendable(
    executor: object, things: Mapping[str, Any], consequence: str
) -> dict[str, str]:
    """The things that cannot be sent to an executor's workers, and why; each is logged with what
    follows from it.
    """
    if isinstance(executor, InProcessExecutor):
        return {}
    reasons = {name: why_unsendable(thing) for name, thing in things.items()}
    bound = {name: reason for name, reason in reasons.items() if reason}
    for name, reason in bound.items():
        LOG.warning(
            "%s cannot be sent to other processes (%s); %s in this one.", name, reason, consequence
        )
    return bound


def write_unsendable(bound: Mapping[str, str], out: Path) -> None:
    """Keep in a run's folder what :func:`find_unsendable` found; no file if that is nothing."""
    (out / BOUND_FILE).unlink(missing_ok=True)
    if bound:
        write_text(
            out / BOUND_FILE, json.dumps({"schema": 1, "in_this_process": dict(bound)}, indent=1)
        )


def read_unsendable(out: Path) -> dict[str, str]:
    """What :func:`write_unsendable` kept in a run's folder: detectors evaluated in one process,
    and why.
    """
    path = out / BOUND_FILE
    if not path.is_file():
        return {}
    with describe_read_errors(path):
        return {
            str(name): str(why)
            for name, why in json.loads(path.read_text())["in_this_process"].items()
        }


def why_unsendable(thing: Any) -> str:
    """Why something cannot be pickled; empty if it can."""
    try:
        Pickler(_Nowhere()).dump(thing)
    except Exception as error:  # whatever an object's own __reduce__ raises
        return shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
    return ""


class _Nowhere:
    """A file that keeps nothing, so that something large is not held in memory a second time."""

    def write(self, data: Any) -> int:
        """Forget the bytes."""
        return len(data)
