"""How well does a detector of AI-generated images hold up under attack? See README.md and the names in ``__all__``."""

import importlib
from typing import Any

_HOMES = {
    "Attack": "attacks",
    "Card": "detectors",
    "Dataset": "data",
    "Detector": "detectors",
    "Matrix": "report",
    "Result": "attacks.base",
    "evaluate": "harness",
    "faster": "detectors.faster",
    "load_attack": "attacks",
    "load_data": "data",
    "load_detector": "detectors",
    "load_suite": "attacks",
    "save_detector": "detectors",
    "wrap": "detectors",
}

__all__ = [
    "Attack",
    "Card",
    "Dataset",
    "Detector",
    "Matrix",
    "Result",
    "evaluate",
    "faster",
    "load_attack",
    "load_data",
    "load_detector",
    "load_suite",
    "save_detector",
    "wrap",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``--help`` need not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
