"""Whether networks ask a hub for their weights: not while a checkpoint is read, which holds them
all.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_wanted: ContextVar[bool] = ContextVar("_wanted", default=True)


def weights_wanted() -> bool:
    """Whether a network that is built now should fetch the weights that its arguments name."""
    return _wanted.get()


@contextmanager
def weights_follow() -> Iterator[None]:
    """Networks that are built inside stay fresh, whatever their arguments name."""
    token = _wanted.set(False)
    try:
        yield
    finally:
        _wanted.reset(token)
