"""Objects that cannot be sent to other processes, and are used in this one instead."""

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
"""File in a run's folder with the detectors that an executor could not be given, and why."""
MAX_REASON = 200
"""Characters of a reason."""
PACKAGE_LOG = logging.getLogger("robustbench_aigi")


def find_unsendable(
    executor: object, things: Mapping[str, Any], consequence: str
) -> dict[str, str]:
    """Return, by name, why some objects cannot be sent to an executor's workers.

    Each is logged as a warning.

    Args:
        executor: one that works in this process can be given anything.
        things: objects by name.
        consequence: what follows, for the warning, such as "it is evaluated".
    """
    if isinstance(executor, InProcessExecutor):
        return {}
    reasons = {name: unsendable_reason(thing) for name, thing in things.items()}
    bound = {name: reason for name, reason in reasons.items() if reason is not None}
    for name, reason in bound.items():
        PACKAGE_LOG.warning(
            "%s cannot be sent to other processes (%s); %s in this one.", name, reason, consequence
        )
    return bound


def write_unsendable(bound: Mapping[str, str], out: Path) -> None:
    """Write what :func:`find_unsendable` returned into a run's folder; no file if that is empty.

    Args:
        bound: reasons by name.
        out: folder of the run.
    """
    (out / BOUND_FILE).unlink(missing_ok=True)
    if bound:
        content = {"schema": 1, "in_this_process": dict(bound)}
        write_text(out / BOUND_FILE, json.dumps(content, indent=1))


def read_unsendable(out: Path) -> dict[str, str]:
    """Return what :func:`write_unsendable` wrote: reasons by name.

    Args:
        out: folder of the run.

    Raises:
        DataError: the file is damaged.
    """
    path = out / BOUND_FILE
    if not path.is_file():
        return {}
    with describe_read_errors(path):
        found = json.loads(path.read_text())["in_this_process"]
        return {str(name): str(reason) for name, reason in found.items()}


def unsendable_reason(thing: Any) -> str | None:
    """Return why an object cannot be pickled; None if it can.

    Args:
        thing: any object.

    Example:
        >>> unsendable_reason([1, 2]) is None
        True
    """
    try:
        Pickler(_NullFile()).dump(thing)
    except Exception as error:  # whatever the object's own __reduce__ raises
        return shorten(f"{type(error).__name__}: {error}", MAX_REASON, placeholder=" ...")
    return None


class _NullFile:
    """File that stores nothing, so that a large object is not in memory a second time."""

    def write(self, data: Any) -> int:
        """Discard the bytes."""
        return len(data)
