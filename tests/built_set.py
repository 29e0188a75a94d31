"""A small built `++` set."""

from pathlib import Path

import torch

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data import load_data
from robustbench_aigi.data.plusplus.build import build_plusplus
from robustbench_aigi.data.plusplus.parts import Part
from robustbench_aigi.executors import InProcessExecutor
from robustbench_aigi.io.files import write_text
from robustbench_aigi.progress import silent
from tests.conftest import Linear
from tests.test_data import folder

TINY_SUITE = {
    "name": "tiny",
    "version": 1,
    "seed": 0,
    "attacks": [
        {
            "id": "pgd-linf-8",
            "attack": "pgd-linf",
            "with": {"eps": 8, "steps": 2},
            "surrogate": "linear",
        },
        {
            "id": "pgd-l2-1",
            "attack": "pgd-l2",
            "with": {"eps": 1.0, "steps": 2},
            "surrogate": "linear",
        },
        {
            "id": "pgd-linf-8-again",
            "attack": "pgd-linf",
            "with": {"eps": 8, "steps": 1},
            "surrogate": "linear",
        },
        {
            "id": "pixels",
            "attack": "pgd-l0",
            "with": {"pixels": 3, "steps": 2},
            "surrogate": "linear",
            "limit": 4,
        },
        {"id": "jpeg-75", "attack": "jpeg"},
    ],
}


def make(root: Path, samples: int = 2) -> Path:
    """A `++` set of 28 images of 32 x 32 in three splits, their perturbations and some samples."""
    data = load_data("cifake", str(folder(root / "source", count=7)))
    suite = Suite.model_validate(TINY_SUITE)
    surrogates = {"linear": Linear(torch.randn(3, 32, 32), 0.1)}
    parts = {
        split: Part(data.split(split), True, samples) for split in ("train", "validation", "test")
    }
    build_plusplus(parts, suite, surrogates, root / "built", silent, InProcessExecutor(1))
    write_text(root / "built" / "suite.json", suite.model_dump_json(by_alias=True))
    return root / "built"


def contents(root: Path) -> dict[str, bytes]:
    return {
        p.relative_to(root).as_posix(): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file()
    }
