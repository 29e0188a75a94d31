"""The shapes in the annotations of public tensors hold: attacks, detectors and a training run."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from jaxtyping import Float, jaxtyped
from torch import Tensor

from tests.shapes import checked

ROOT_FOLDER = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "chosen",
    [
        ("tests/test_attacks.py", "test_contract and True and not launder"),
        ("tests/test_detectors.py", "test_contract and (cifake or tinyvit-5m or clip-mlp)"),
        ("tests/test_perturbations.py", "test_any_size and (jpeg or resize or noise)"),
        ("tests/test_training.py", "fit_learns or fare or changed or augment"),
    ],
)
def test_annotated_shapes_hold(chosen: tuple[str, str]) -> None:
    path, names = chosen
    command = [sys.executable, "-m", "tests.shapes", "-q", "-x", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, path, "-k", names], capture_output=True, text=True, check=False, cwd=ROOT_FOLDER
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "[100%]" in done.stdout


def test_a_wrong_shape_is_found() -> None:
    @jaxtyped(typechecker=checked)
    def logits(images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        return images.mean(dim=(1, 2, 3))[:1]

    logits(torch.zeros(1, 3, 4, 4))
    with pytest.raises(TypeError, match="return value"):
        logits(torch.zeros(2, 3, 4, 4))
    with pytest.raises(TypeError, match=r"u8\[1,3,4,4\]"):
        logits(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
