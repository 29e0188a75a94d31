"""How well does a detector of AI-generated images hold up under attack? See README.md and the names
in ``__all__``.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robustbench_aigi.attacks import Attack, Suite, load_attack, load_suite
    from robustbench_aigi.attacks.result import Result
    from robustbench_aigi.data import Dataset, load_data
    from robustbench_aigi.detectors import Card, Detector, load_detector, save_detector, wrap
    from robustbench_aigi.detectors._support.faster import faster
    from robustbench_aigi.pipeline.evaluate import evaluate
    from robustbench_aigi.report import Matrix

    __version__: str

_HOMES = {
    "Attack": "attacks",
    "Card": "detectors",
    "Dataset": "data",
    "Detector": "detectors",
    "Matrix": "report",
    "Result": "attacks",
    "Suite": "attacks",
    "evaluate": "pipeline.evaluate",
    "faster": "detectors._support.faster",
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
    "Suite",
    "evaluate",
    "faster",
    "load_attack",
    "load_data",
    "load_detector",
    "load_suite",
    "save_detector",
    "wrap",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used, so that ``--help`` need not wait for
        torch.
        """
        import importlib
        from importlib import metadata

        if name == "__version__":
            return metadata.version("robustbench-aigi")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """Public names, and those that every module has."""
    return sorted({*globals(), *__all__, "__version__"})
