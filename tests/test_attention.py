"""Grad-CAM of every detector that names a part, and the cases that a gallery shows."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data import load_data
from robustbench_aigi.detectors import detectors
from robustbench_aigi.evaluation.examples.grad_cam import MAPS_FILE, grad_cam, read_maps, similarity
from robustbench_aigi.evaluation.examples.selection import cases, right_before, strongest
from robustbench_aigi.executors import InProcessExecutor, PoolExecutor
from robustbench_aigi.pipeline.evaluate import evaluate
from robustbench_aigi.report import read_runs
from robustbench_aigi.report.html.gallery import gallery
from tests.finished_run import detector

pytest.importorskip("pytorch_grad_cam")


@pytest.mark.parametrize(
    "name", [n for n in detectors.names() if detectors.get(n).default_card.cam]
)
def test_maps_fit_the_image_and_differ_from_place_to_place(name: str) -> None:
    torch.manual_seed(0)
    kind = detectors.get(name)
    made = kind(**kind.small).eval()
    images = torch.rand(2, 3, made.card.input_size, made.card.input_size)
    before = {key: value.clone() for key, value in made.state_dict().items()}
    maps = grad_cam(made, images, torch.tensor([0, 1]))
    if made.card.gradient == "none":
        assert maps is None
        return
    assert maps is not None
    assert maps.shape == (2, *images.shape[2:])
    assert bool(((maps >= 0) & (maps <= 1)).all())
    assert all(torch.equal(value, before[key]) for key, value in made.state_dict().items())


def test_a_map_is_bright_where_the_evidence_is() -> None:
    """A network that adds up the brightness of the left half looks left."""

    class Left(detectors.get("cifake-cnn")):  # type: ignore[misc]
        def logits(self, images: torch.Tensor) -> torch.Tensor:
            features = self.net[0](images)
            return torch.Tensor.sum(features * self.side, dim=(1, 2, 3))

    torch.manual_seed(0)
    made = Left().eval()
    made.net[0] = torch.nn.Conv2d(3, 1, 1, bias=False)
    torch.nn.init.ones_(made.net[0].weight)
    made.side = torch.ones(32)
    made.describe(cam="net.0")
    images = torch.zeros(1, 3, 32, 32)
    images[..., :16] = 1.0
    maps = grad_cam(made, images, torch.tensor([1]))
    assert maps is not None
    assert float(maps[0, :, :14].mean()) > 0.9
    assert float(maps[0, :, 18:].mean()) < 0.1
    against = grad_cam(made, images, torch.tensor([0]))
    assert against is not None
    assert float(against.max()) == 0  # nothing there speaks for real
    assert similarity(maps[0], maps[0]) == pytest.approx(1.0)
    assert similarity(maps[0], maps[0].flip(1)) < 0.2


ROW = {"id": "pgd-4", "attack": "pgd-linf", "with": {"eps": 4, "step": 1, "steps": 5}}
SUITE = Suite.model_validate({"name": "x", "version": 1, "seed": 0, "attacks": [ROW]})


def test_maps_are_the_same_whoever_makes_them(tmp_path: Path, tiny_recipe: str) -> None:
    data, found = load_data(tiny_recipe, split="test"), []
    for name, executor in (("here", InProcessExecutor(1)), ("pool", PoolExecutor(2))):
        evaluate([detector("good")], SUITE, data, tmp_path / name, executor=executor)
        found.append(
            (tmp_path / name / "cells" / "good" / "white-box-pgd-4" / MAPS_FILE).read_bytes()
        )
    assert found[0] == found[1]


def test_maps_that_cannot_be_made_leave_a_note_and_the_cell(
    tmp_path: Path, tiny_recipe: str
) -> None:
    lost = detector("good")
    lost.describe(cam="nowhere")
    matrix = evaluate([lost], SUITE, load_data(tiny_recipe, split="test"), tmp_path)
    folder = tmp_path / "cells" / "good" / "white-box-pgd-4"
    assert "nowhere" in (folder / "maps-error.txt").read_text()
    assert not (folder / MAPS_FILE).exists()
    assert set(matrix["status"]) == {"ok"}


def test_cases_are_the_strongest_and_the_weakest(tmp_path: Path, tiny_recipe: str) -> None:
    evaluate([detector("good")], SUITE, load_data(tiny_recipe, split="test"), tmp_path)
    folder = tmp_path / "cells" / "good" / "white-box-pgd-4"
    chosen, table = cases(folder, 0.0), pd.read_parquet(folder / "shard-0000.parquet")
    turned = table[table["fooled"] & (table["forwards"] + table["backwards"] > 1)]
    assert chosen.loc[chosen["kind"] == "strongest", "l2"].tolist() == sorted(turned["l2"])[:2]
    weakest = chosen[chosen["kind"] == "weakest"].iloc[0]
    held = table[~table["fooled"]]
    most = held["logit"].abs().max() if len(held) else None
    assert weakest["l2"] == turned["l2"].max() if most is None else abs(weakest["logit"]) == most
    assert set(read_maps(folder)) == set(chosen["id"])
    page = (tmp_path / "report.html").read_text()
    assert ("Grad-CAM of the attacked image" in page) == (
        tmp_path / "plusplus" / "manifest.parquet"
    ).is_file()


def test_images_wrong_before_the_attack_are_not_shown(tmp_path: Path, tiny_recipe: str) -> None:
    """A12: with the wrong ``fake_index``, or a threshold that calls everything real, "fooled" was
    said of them all.
    """
    data = load_data(tiny_recipe, split="test")
    for name, threshold in (("good", 0.0), ("shifted", 3.0), ("fakes-only", -1e6)):
        evaluate([detector(name, threshold)], SUITE, data, tmp_path / name)
        chosen = cases(tmp_path / name / "cells" / name / "white-box-pgd-4", threshold)
        assert len(chosen)
        assert ((chosen["clean_logit"] > threshold) == (chosen["label"] == 1)).all()
        assert chosen.loc[chosen["fooled"], "l2"].gt(0).all()
        pictures = gallery(read_runs([tmp_path / name]))
        assert all(
            (picture.clean_logit > threshold) == (picture.label == "AI-generated")
            for picture in pictures
        )
    reversed_labels = chosen.assign(label=1 - chosen["label"])
    assert not right_before(reversed_labels, threshold).any()
    table = pd.DataFrame(
        {
            "id": list("abc"),
            "label": 1,
            "clean_logit": [9.0, 9.0, 9.0],
            "logit": [5.0, 2.5, 4.0],
            "fooled": False,
            "l2": 1.0,
        }
    )
    assert strongest(table, 3.0)["id"].tolist() == [
        "b",
        "c",
    ]  # by the distance to the threshold, not to 0
