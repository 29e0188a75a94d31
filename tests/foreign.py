"""Anyone's detectors go through a whole evaluation: a few images, the real suite ``quick``, a tiny
network.
"""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

import robustbench_aigi as rb
from robustbench_aigi.data import Dataset
from robustbench_aigi.detectors import Detector
from robustbench_aigi.executors import IN_PROCESS, Executor
from robustbench_aigi.report import Matrix

SIDE = 32
SURROGATE = "cifake-cnn"
"""The name that the suite's shared rows ask for: a detector that has it makes their images itself.
"""


class Brightness(nn.Module):
    """One logit, above 0 for images that are brighter than grey; a convolution and a batch norm
    before it.
    """

    def __init__(self, slope: float = 20.0) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 1, 1, bias=False)
        nn.init.constant_(self.mix.weight, 1 / 3)
        self.norm = nn.BatchNorm2d(1)
        self.slope = slope
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """``(N, 3, H, W)`` to ``(N, 1)``."""
        means: Tensor = self.norm(self.mix(images)).mean(dim=(2, 3))
        return self.slope * (means - 0.5)


def images_in(folder: Path, each: int = 5) -> Dataset:
    """A folder of dark photographs called real and bright ones called fake, ``each`` of either, as
    a dataset.
    """
    rng = torch.Generator().manual_seed(0)
    for name, low in (("real", 83), ("fake", 93)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            pixels = torch.randint(low, low + 80, (SIDE, SIDE, 3), generator=rng, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(folder / name / f"{number}.png")
    data: Dataset = rb.load_data("folder", str(folder), split="test")
    return data


def evaluated(
    detector: Detector | str, folder: Path, executor: Executor = IN_PROCESS, *, each: int = 5
) -> Matrix:
    """The matrix of the suite ``quick`` for a detector, with data and results below ``folder``.

    A detector that is called :data:`SURROGATE` is attacked for the shared rows, too; else these are
    unavailable.
    """
    matrix: Matrix = rb.evaluate(
        [detector], "quick", images_in(folder / "data", each), folder / "run", executor=executor
    )
    return matrix


def check_run(matrix: Matrix, folder: Path, *, gradients: bool = True) -> None:
    """Check a run of :class:`Brightness` as :data:`SURROGATE`, in whatever form it came.

    It is right on all clean images; an attack by gradients turns all of them, and one by scores has
    a number, also on the shared images; a page and maps are written. Rows by gradient have no
    number where there are no gradients.
    """
    first = matrix.drop_duplicates(["mode", "attack", "direction"]).query("direction == 'both'")
    accuracy = {(row["mode"], row["attack"]): row["accuracy"] for row in first.to_dict("records")}
    assert accuracy["clean", "clean"] == 1
    assert {
        ("static", attack) for attack in ("one-pixel", "dct-noise-15", "jpeg-50", "resize-50")
    } <= accuracy.keys()
    assert ("white-box", "one-pixel") in accuracy
    for mode in ("static", "white-box") if gradients else ():
        assert accuracy[mode, "pgd-linf-8"] == 0
        assert (mode, "pgd-l2-1") in accuracy
    assert SURROGATE in (folder / "run" / "report.html").read_text()
    notes = [
        note.read_text()
        for name in ("error.txt", "maps-error.txt")
        for note in (folder / "run").rglob(name)
    ]
    assert all("needs gradients" in note for note in notes), notes
    assert not (gradients and notes)
