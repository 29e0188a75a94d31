import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data import Dataset
from robustbench_aigi.data.decoding import encode_png
from robustbench_aigi.detectors import Card, Detector
from robustbench_aigi.evaluation import evaluate
from robustbench_aigi.evaluation.adequacy.detector_flags import DETECTOR_FLAGS
from robustbench_aigi.evaluation.adequacy.flags import Flag, crashed, weaker
from robustbench_aigi.evaluation.adequacy.judge import read_flags
from robustbench_aigi.outcomes import Failed, Unavailable
from robustbench_aigi.report import Matrix, RunResults, read_runs, write_report
from tests.conftest import Linear

SIDE = 8
PGD8: dict[str, Any] = {
    "id": "pgd-linf-8",
    "attack": "pgd-linf",
    "with": {"eps": 8, "step": 2, "steps": 10},
    "surrogate": "honest",
}
SQUARE8: dict[str, Any] = {
    "id": "square-linf-8",
    "attack": "square-linf",
    "with": {"eps": 8, "queries": 300},
    "surrogate": "honest",
}
JPEG: dict[str, Any] = {"id": "jpeg-50", "attack": "jpeg", "with": {"quality": 50}}


def brightness(images: Tensor) -> Tensor:
    """Mean grey level above 128: what the images of :func:`bright` are distinguished by."""
    return images.mean(dim=(1, 2, 3)) * 255 - 128


def bright(folder: Path, least: float = 1, most: float = 30, count: float = 64) -> Dataset:
    """Flat images, ``least`` to ``most`` grey levels brighter (fakes) or darker (reals) than
    128.
    """
    rows = []
    folder.mkdir(parents=True, exist_ok=True)
    for i, shift in enumerate(torch.linspace(least, most, int(count)).tolist()):
        level = 128 + (shift if i % 2 else -shift)
        dither = torch.arange(3 * SIDE * SIDE).view(3, SIDE, SIDE) / (3 * SIDE * SIDE)
        content = encode_png((level + dither).floor().to(torch.uint8))
        (folder / f"{i}.png").write_bytes(content)
        name = {
            "id": str(i),
            "label": i % 2,
            "split": "test",
            "generator": "g",
            "category": "c",
            "parent": str(i),
        }
        rows.append(
            name
            | {
                "sha256": hashlib.sha256(content).hexdigest(),
                "path": str(folder / f"{i}.png"),
                "row": -1,
            }
        )
    return Dataset("bright", pd.DataFrame(rows))


class Made(Detector):
    """A detector of one function."""

    default_card = Card(name="made", source="tests")

    def __init__(self, function: Callable[[Tensor], Tensor], **card: str) -> None:
        super().__init__()
        self.function = function
        self.card = Card.model_validate({"name": "made", "source": "tests", **card})

    def logits(self, images: Tensor) -> Tensor:
        return self.function(images)


def honest() -> Detector:
    return Linear(torch.full((3, SIDE, SIDE), 255 / (3 * SIDE * SIDE)), -128.0)


def suite(*rows: dict[str, Any]) -> Suite:
    return Suite.model_validate({"name": "s", "version": 1, "seed": 0, "attacks": rows})


def flags(
    function: Callable[[Tensor], Tensor], out: Path, *rows: dict[str, Any], **data: float
) -> dict[tuple[str, str], Flag]:
    """Flags of a made detector by attack and kind, checked against the file and the matrix."""
    detector, images = Made(function), bright(out / "images", **data)
    matrix = evaluate(
        {"made": detector}, suite(*(rows or (PGD8,))), images, out, surrogates={"honest": honest()}
    )
    found = read_flags(out)
    assert found is not None
    worst = matrix[(matrix["mode"] == "white-box") & (matrix["attack"] == "worst-case")]
    shown = set() if worst["flags"].isna().all() else set(worst["flags"].iloc[0].split(","))
    assert shown == {flag.kind for flag in found}
    others = matrix.loc[matrix["mode"] != "white-box", "flags"].dropna()
    assert {kind for kinds in others for kind in kinds.split(",")} <= DETECTOR_FLAGS
    assert all(flag.detector == "made" and flag.message for flag in found)
    return {(flag.attack, flag.kind): flag for flag in found}


def test_an_honest_detector_has_no_flag(tmp_path: Path) -> None:
    assert flags(brightness, tmp_path, PGD8, SQUARE8, JPEG) == {}
    assert json.loads((tmp_path / "adequacy.json").read_text()) == {"schema": 1, "flags": []}


def rounded(images: Tensor) -> Tensor:
    return brightness((images * 255).round() / 255)


def test_zero_gradient_and_all_that_it_hides(tmp_path: Path) -> None:
    found = flags(rounded, tmp_path, PGD8, SQUARE8, most=8)
    assert found["", "zero-gradient"].evidence == {"images": 64, "zero": 64, "not_finite": 0}
    assert "64 of 64 images" in found["", "zero-gradient"].message
    assert found["", "huge-eps-not-zero"].evidence["left"] > 32
    transfer = found["pgd-linf-8", "weaker-than-transfer"]
    assert transfer.evidence["accuracy"] > transfer.evidence["other"] + 0.1
    assert "pgd-linf-8 made on honest" in transfer.message
    assert "square-linf-8" in found["pgd-linf-8", "weaker-than-black-box"].message


@pytest.mark.parametrize(
    "function",
    [
        lambda images: brightness(images.detach()),
        lambda images: torch.tanh(1e4 * brightness(images)),
        lambda images: brightness(images) + (brightness(images) - brightness(images)).abs().sqrt(),
    ],
    ids=["detached", "saturated", "nan"],
)
def test_gradients_that_are_missing_saturated_or_no_number(
    function: Callable[[Tensor], Tensor], tmp_path: Path
) -> None:
    evidence = flags(function, tmp_path)["", "zero-gradient"].evidence
    assert evidence["zero"] + evidence["not_finite"] == 64


def test_a_random_detector_differs_at_eps_zero(tmp_path: Path) -> None:
    torch.manual_seed(0)
    found = flags(lambda images: brightness(images) + torch.randn(len(images)), tmp_path)
    assert found["", "eps-zero-not-clean"].evidence["differ"] > 50


def test_a_detector_blind_to_its_input_survives_a_huge_eps(tmp_path: Path) -> None:
    found = flags(lambda images: 1e-9 * images.sum(dim=(1, 2, 3)) + 1, tmp_path)
    assert found["", "huge-eps-not-zero"].evidence == {"images": 64, "left": 32}
    assert ("", "zero-gradient") not in found


def test_gradients_lost_far_from_clean_images_break_the_order_of_eps(tmp_path: Path) -> None:
    def masked(images: Tensor) -> Tensor:
        seen = brightness(images)
        return torch.where(images.std(dim=(1, 2, 3)) * 255 > 7, seen.detach(), seen)

    found = flags(masked, tmp_path)
    assert "eps 16" in found["pgd-linf-8", "eps-not-monotone"].message
    rows = [
        {**PGD8, "id": f"pgd-linf-{eps}", "with": {**PGD8["with"], "eps": eps}} for eps in (8, 16)
    ]
    found = flags(masked, tmp_path / "both", *rows)
    assert "pgd-linf-8" in found["pgd-linf-16", "eps-not-monotone"].message


def waves(images: Tensor) -> Tensor:
    seen = brightness(images)
    return seen + 1.9 * torch.sin(seen * torch.pi / 2)


def test_local_minima_make_one_step_beat_many(tmp_path: Path) -> None:
    found = flags(waves, tmp_path, least=3, most=7.5)
    assert "steps 1 " in found["pgd-linf-8", "steps-not-monotone"].message
    assert ("pgd-linf-8", "weaker-than-transfer") in found
    fgsm = {"id": "fgsm-8", "attack": "fgsm", "with": {"eps": 8}, "surrogate": "honest"}
    found = flags(waves, tmp_path / "both", PGD8, fgsm, least=3, most=7.5)
    assert "fgsm-8" in found["pgd-linf-8", "steps-not-monotone"].message


def test_noise_beats_an_attack_that_shattered_gradients_hold(tmp_path: Path) -> None:
    def shattered(images: Tensor) -> Tensor:
        levels = (images[:, 0, 0, 0] * 255).round() - (images[:, 0, 0, 1] * 255).round()
        return brightness(images).sign() * torch.cos(2 * levels) + 0 * images.sum(dim=(1, 2, 3))

    found = flags(shattered, tmp_path)
    evidence = found["pgd-linf-8", "weaker-than-noise"].evidence
    assert evidence["other"] < 0.1 < evidence["accuracy"]
    assert evidence["p"] < 0.01


def test_too_few_steps_are_seen(tmp_path: Path) -> None:
    found = flags(brightness, tmp_path, {**PGD8, "with": {"eps": 8, "step": 1, "steps": 3}})
    assert set(found) == {("pgd-linf-8", "not-converged"), ("pgd-linf-8", "steps-not-monotone")}
    evidence = found["pgd-linf-8", "not-converged"].evidence
    assert evidence["start"] > evidence["steps"] > evidence["double"]


def test_a_crash_is_flagged_and_no_result(tmp_path: Path) -> None:
    def out_of_memory(images: Tensor) -> Tensor:
        if images.requires_grad:
            raise MemoryError("not enough memory for the backward pass")
        return brightness(images)

    found = flags(out_of_memory, tmp_path, PGD8, SQUARE8)
    assert "pgd-linf-8: MemoryError: not enough memory" in found["pgd-linf-8", "crashed"].message
    assert found["", "crashed"].evidence == {"crashed": 8, "tried": 9}
    assert ("square-linf-8", "crashed") not in found


def test_a_black_box_is_not_probed_by_gradients(tmp_path: Path) -> None:
    box = Made(lambda images: brightness(images.detach()), gradient="none")
    evaluate(
        {"box": box},
        suite(PGD8, SQUARE8),
        bright(tmp_path / "i"),
        tmp_path,
        surrogates={"honest": honest()},
    )
    found = read_flags(tmp_path)
    assert found is not None
    assert found == []
    assert not list(tmp_path.glob("cells/box/probe-*"))


def test_chance_raises_no_flag() -> None:
    def table(fooled: str) -> pd.DataFrame:
        return pd.DataFrame(
            {"id": [str(i) for i in range(len(fooled))], "fooled": [c == "x" for c in fooled]}
        )

    own, other = table("." * 20), table("x" * 6 + "." * 14)
    assert weaker("d", "a", "weaker-than-noise", ("a", own), ("b", other)) is None
    flag = weaker("d", "a", "weaker-than-noise", ("a", own), ("b", table("x" * 7 + "." * 13)))
    assert flag is not None
    assert flag.evidence["p"] == pytest.approx(2**-7)
    assert weaker("d", "a", "weaker-than-noise", ("a", other), ("b", own)) is None
    assert weaker("d", "a", "weaker-than-noise", ("a", Failed("x")), ("b", own)) is None
    assert crashed("d", "a", {"a": Unavailable("x")}) is None


def test_flags_and_probes_are_kept_and_the_same_again(tmp_path: Path) -> None:
    data, detector = bright(tmp_path / "images", count=80), Made(rounded)

    def run() -> tuple[bytes, ...]:
        matrix = evaluate(
            {"made": detector}, suite(PGD8), data, tmp_path, surrogates={"honest": honest()}
        )
        write_report(RunResults.of(tmp_path, Matrix(matrix)), tmp_path)
        names = ("adequacy.json", "matrix.csv", "matrix.json", "matrix.md", "report.html")
        return tuple((tmp_path / name).read_bytes() for name in names)

    first = run()
    probes = sorted(tmp_path.glob("cells/made/probe-*/*.parquet"))
    assert len(probes) == 9
    assert pd.read_parquet(probes[0])["label"].value_counts().to_dict() == {0: 32, 1: 32}
    times = {path: path.stat().st_mtime_ns for path in probes}
    probes[3].unlink()
    assert run() == first
    assert [path for path in probes if path.stat().st_mtime_ns != times[path]] == [probes[3]]
    write_report(read_runs([tmp_path]), tmp_path)
    assert (tmp_path / "matrix.json").read_bytes() == first[2]
    for name in ("matrix.md", "report.html"):
        text = (tmp_path / name).read_text()
        assert "made: zero-gradient. On 64 of 64 images" in text
        assert (
            "made, pgd-linf-8: weaker-than-transfer. Under pgd-linf-8 through its gradients" in text
        )
    assert "(flagged)" in (tmp_path / "matrix.md").read_text()
