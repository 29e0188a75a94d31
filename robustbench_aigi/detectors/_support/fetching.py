"""Whether networks that are being built fetch their public weights from a hub.

They do not while a checkpoint is read, because the checkpoint holds all weights.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_is_fetching: ContextVar[bool] = ContextVar("_is_fetching", default=True)


def is_fetching_weights() -> bool:
    """Return whether a network built now should fetch the weights that its arguments name."""
    return _is_fetching.get()


@contextmanager
def without_pretrained_weights() -> Iterator[None]:
    """Keep networks that are built inside the context fresh, whatever their arguments name."""
    token = _is_fetching.set(False)
    try:
        yield
    finally:
        _is_fetching.reset(token)
