"""What a bare name means, and where fresh weights are allowed (case A5 of what people do)."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from robustbench_aigi.attacks import load_suite
from robustbench_aigi.data.plusplus.surrogates import load_surrogates
from robustbench_aigi.detectors import (
    detectors,
    load_detector,
    load_trained,
    save_detector,
    wrap,
)
from robustbench_aigi.detectors.loading import begun_from
from robustbench_aigi.errors import CheckpointError, UnknownNameError
from robustbench_aigi.io.hashing import weights_digest
from robustbench_aigi.pipeline.detectors import load_detectors
from robustbench_aigi.pipeline.evaluate import evaluate
from robustbench_aigi.training import TrainingJob, train_detector
from robustbench_aigi.training.arrays import Arrays
from tests.addresses import Level
from tests.test_cli import command_here


@pytest.mark.parametrize("name", ["cifake-cnn", "robust-tinyvit-5m"])
def test_a_bare_name_means_the_weights_that_ship(name: str) -> None:
    found = load_trained(name)
    assert found.card.weights.startswith("sha256:")
    assert weights_digest(found.state_dict()) == weights_digest(
        load_detector(name, "cifake").state_dict()
    )
    assert list(load_detectors([name])) == [found.card.name]


def test_a_bare_name_stays_one_beside_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cifake-cnn").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_trained("cifake-cnn").card.weights.startswith("sha256:")
    assert load_trained("cifake-cnn?threshold=1").threshold == 1
    with pytest.raises(UnknownNameError):
        load_trained("x" * 5000)


@pytest.mark.parametrize(
    "name", ["resnet50", "timm:test_resnet", "timm:test_resnet?pretrained=false", "rigid"]
)
def test_what_was_not_trained_is_refused_where_a_trained_detector_is_wanted(name: str) -> None:
    place = name.partition("?")[0]
    for ask in (
        load_trained,
        lambda text: load_detectors([text]),
        lambda text: load_surrogates(load_suite("quick"), [text]),
    ):
        with pytest.raises(
            CheckpointError, match=rf"{place} is not trained: .*train .*{place}.*weights=fresh"
        ):
            ask(name)


def test_commands_in_the_refusal_work_when_typed() -> None:
    with pytest.raises(CheckpointError) as caught:
        load_trained("timm:test_resnet?pretrained=false")
    message = str(caught.value)
    words = shlex.split(re.findall("`robustbench-aigi (.*?)`", message)[0])
    assert words == [
        "train",
        "timm:test_resnet?pretrained=false",
        "--out",
        "test_resnet.safetensors",
    ]
    place, start, config = begun_from(words[1], None, {})
    assert (place, start) == ("timm:test_resnet", None)
    assert load_detector(place, start, **config).config["pretrained"] is False
    fresh = shlex.split(message.rpartition(" are ")[2].removesuffix("."))[0]
    assert load_trained(fresh).card.weights == "fresh"


def test_fresh_weights_are_taken_where_they_are_asked_for() -> None:
    for found in (
        load_trained("cifake-cnn?weights=fresh"),
        load_detector("cifake-cnn", weights="fresh"),
        load_detector("cifake-cnn"),
        load_trained("timm:test_resnet?weights=fresh"),
    ):
        assert found.card.weights == "fresh"


def test_an_unknown_name_is_told_the_nearest_that_ships() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean robust-tinyvit-5m"):
        load_trained("robust-tinyvit5m")


def test_cards_say_fresh_exactly_where_nothing_was_trained(images: Tensor, tmp_path: Path) -> None:
    assert wrap(nn.Flatten(), input_size=8).card.weights == "given by the user"
    assert Level(0.5).card.weights == "given by the user"
    for name in ("rigid", "aeroblade", "dire"):
        assert (
            detectors.get(name)(**detectors.get(name).small).card.weights
            == "training-free, not calibrated"
        )
    assert load_detector("dire", head="cnn", steps=1).card.weights == "fresh"
    fresh = load_detector("cifake-cnn")
    assert fresh.card.weights == "fresh"
    fresh.load_state_dict(load_detector("cifake-cnn", "cifake").state_dict())
    assert fresh.card.weights == "given by the user"
    assert load_detector("http://localhost:1/x").card.weights == "behind the endpoint"
    labels = torch.arange(64) % 2
    data = Arrays(
        (images.repeat(16, 1, 1, 1) * 100 + labels.view(-1, 1, 1, 1) * 120).to(torch.uint8), labels
    )
    made, _ = train_detector(TrainingJob(detector="cifake-cnn", epochs=4), data, data)
    assert made.card.weights == "trained in this process"
    measured, _ = train_detector(TrainingJob(detector="rigid", epochs=1), data, data)
    assert measured.card.weights.startswith("training-free, calibrated")
    save_detector(measured, tmp_path / "rigid.safetensors")
    assert load_trained(str(tmp_path / "rigid.safetensors")).card.weights.startswith("sha256:")


def test_evaluate_takes_names_as_commands_do_and_warns_of_fresh_weights(
    tiny_recipe: str, tmp_path: Path
) -> None:
    from robustbench_aigi.attacks import Suite
    from robustbench_aigi.data import load_data

    suite = Suite.model_validate(
        {
            "name": "s",
            "version": 1,
            "seed": 0,
            "attacks": [{"id": "jpeg", "attack": "jpeg", "with": {"quality": 50}}],
        }
    )
    said: list[str] = []
    data = load_data(tiny_recipe, split="test")
    names = ["cifake-cnn", "new=cifake-cnn?weights=fresh"]
    matrix = evaluate(names, suite, data, tmp_path, say=said.append)
    assert set(matrix["detector"]) == {"cifake-cnn", "new"}
    assert [line.partition(":")[0] for line in said if "weights" in line] == [
        "new has fresh weights"
    ]
    facts = json.loads((tmp_path / "run.json").read_text())["detectors"]
    assert facts["new"]["weights"] == "fresh"
    assert facts["cifake-cnn"]["weights"].startswith("sha256:")


def test_commands_refuse_take_and_mark_alike(tiny_recipe: str, tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    Image.fromarray(np.zeros((32, 32, 3), dtype=np.uint8)).save(image)
    for words in (
        ["evaluate", "resnet50", "--out", "x"],
        ["plan", "timm:test_resnet"],
        ["detect", str(image), "--detector", "timm:test_resnet"],
    ):
        done = command_here(*words, cwd=tmp_path)
        assert done.returncode == 2
        assert "is not trained" in done.stderr
        assert "Traceback" not in done.stderr
    done = command_here(
        "detect", str(image), "--detector", "cifake-cnn?weights=fresh", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "unsure (fresh weights" in done.stdout
    (tmp_path / "detectors.toml").write_text("[mine]\naddress = 'cifake-cnn'\nthreshold = 1e9\n")
    done = command_here("detect", str(image), "--detector", "mine", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert (verdict["verdict"], verdict["detector"]) == ("real", "mine")
    assert verdict["weights"].startswith("sha256:")


def test_the_list_of_detectors_says_which_ship() -> None:
    lines = command_here("list", "detectors").stdout.splitlines()
    marked = {line.split()[0] for line in lines if "trained weights ship" in line}
    assert marked == {"cifake-cnn", "resnet18-c32", "tinyvit-5m", "clip-mlp"} & set(
        detectors.names()
    )
