"""Addresses with arguments, lists of detectors, and what a bare name means (cases A5, B2 and B16 of
what people do).
"""

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from robustbench_aigi.attacks import load_suite
from robustbench_aigi.cli.places import Places
from robustbench_aigi.data.plusplus.surrogates import load_surrogates
from robustbench_aigi.detectors import (
    Card,
    Detector,
    detectors,
    load_detector,
    load_trained,
    save_detector,
    wrap,
)
from robustbench_aigi.detectors._support.addresses.address import Address, constructed, parse
from robustbench_aigi.detectors._support.addresses.arguments import Written, typed
from robustbench_aigi.detectors.loading import addresses_of, begun_from, taken_names
from robustbench_aigi.errors import CheckpointError, ConfigError, UnknownNameError, UserError
from robustbench_aigi.io.hashing import weights_digest
from robustbench_aigi.pipeline.detectors import load_detectors
from robustbench_aigi.pipeline.evaluate import evaluate
from robustbench_aigi.pipeline.train import train
from robustbench_aigi.training import TrainingJob, train_detector
from robustbench_aigi.training.arrays import Arrays
from tests.test_cli import command


@pytest.mark.parametrize(
    ("text", "place", "arguments", "new"),
    [
        ("tinyvit-21m?size=224", "tinyvit-21m", {"size": "224"}, ""),
        (
            "new=tinyvit-21m?size=224&weights=a.pth",
            "tinyvit-21m",
            {"size": "224", "weights": "a.pth"},
            "new",
        ),
        (
            "hf:org/repo?fake_labels=dalle,sd&revision=v1",
            "hf:org/repo",
            {"fake_labels": "dalle,sd", "revision": "v1"},
            "",
        ),
        (
            "onnx:a.onnx?size=224&scale=probability",
            "onnx:a.onnx",
            {"size": "224", "scale": "probability"},
            "",
        ),
        ("my.module:Class?level=%2C%26", "my.module:Class", {"level": "%2C%26"}, ""),
        (
            "https://h/p?x=1#score=a.b&scale=logit",
            "https://h/p?x=1",
            {"score": "a.b", "scale": "logit"},
            "",
        ),
        ("mine=https://h/p?scale=1#", "https://h/p?scale=1", {}, "mine"),
        ("a.safetensors", "a.safetensors", {}, ""),
        ("runs/a.safetensors?", "runs/a.safetensors", {}, ""),
    ],
)
def test_an_address_has_a_place_arguments_and_perhaps_a_new_name(
    text: str, place: str, arguments: dict[str, str], new: str
) -> None:
    found = parse(text)
    assert (found.place, dict(found.arguments), found.new) == (place, arguments, new)


@pytest.mark.parametrize(
    "name", ["a?b.safetensors", "a=b.safetensors", "x=a?threshold=9.safetensors"]
)
def test_a_file_that_is_called_like_an_address_is_the_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_detector(load_detector("cifake-cnn", "cifake"), Path(name))
    assert load_detector(name).card.threshold == 0.0
    for text in (f"{name}?threshold=0.5", f"{tmp_path / name}?threshold=0.5"):
        assert load_detector(text).card.threshold == 0.5
    assert load_detector(f"other={name}?threshold=-1").card.name == "other"


@pytest.mark.parametrize(
    ("text", "told"), [("x?fresh", "KEY=VALUE, got 'fresh'"), ("x?a=1&a=2", "a is given twice")]
)
def test_arguments_that_cannot_be_read_are_refused(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        parse(text)


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("3", int, 3),
        ("-0.5", float, -0.5),
        ("1e-3", float, 0.001),
        ("true", bool, True),
        ("no", bool, False),
        ("a%20b%2Cc", str, "a b,c"),
        ("1", str, "1"),
        ("none", int | None, None),
        ("7", int | None, 7),
        ("", str | None, None),
        ("0", Literal[0, 1], 0),
        ("probability", Literal["logit", "probability"], "probability"),
        ("0.5,0.25", Sequence[float], [0.5, 0.25]),
        ("0.5,0.25", tuple[float, ...], (0.5, 0.25)),
        ("[0.5, 1]", list[float], [0.5, 1.0]),
        ("8,16", tuple[int, int], (8, 16)),
        ("dalle,sd", list[str], ["dalle", "sd"]),
        ("a%2Cb,c", list[str], ["a,b", "c"]),
        ("", list[str], []),
        ("one", str | Sequence[str], "one"),
        ("one,two", str | Sequence[str], ["one", "two"]),
        ("8", int | tuple[int, int], 8),
        ("8,9", int | tuple[int, int], (8, 9)),
        ('{"a": 1}', dict[str, int], {"a": 1}),
        ("0.5", Any, 0.5),
        ("half", Any, "half"),
        ("a/b.pth", Path, Path("a/b.pth")),
    ],
)
def test_values_are_what_the_constructor_asks_for(text: str, hint: Any, value: Any) -> None:
    found = typed(Written(text), hint, "x: key")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "hint", "told"),
    [
        ("1.5", int, "x: key must be a whole number, got '1.5'. Write key=1."),
        ("nan", float, "must be a number"),
        ("maybe", bool, "must be true or false, got 'maybe'. Write key=true."),
        ("2", Literal[0, 1], "must be 0 or 1, got '2'. Write key=0."),
        ("a,b", tuple[float, ...], "must be values with commas between them (a number each)"),
        ("1,2,3", tuple[int, int], "must be values with commas"),
        ("1", dict[str, int], "must be a JSON object"),
        ("x", int | None, "must be a whole number or none"),
    ],
)
def test_values_of_a_wrong_type_are_refused(text: str, hint: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        typed(Written(text), hint, "x: key")


def test_values_of_python_stay_as_they_are() -> None:
    assert typed("1.5", int, "x: key") == "1.5"


def test_unknown_arguments_are_refused_with_what_there_is() -> None:
    with pytest.raises(
        ConfigError,
        match=r"'sise'. It takes .*size.*every detector takes weights, threshold, name. Did you",
    ):
        load_detector("tinyvit-5m?sise=224")
    with pytest.raises(ConfigError, match="tinyvit-5m: size must be a whole number, got 'big'"):
        load_detector("tinyvit-5m?size=big")
    with pytest.raises(ConfigError, match="Did you mean fake_index"):
        load_detector("http://localhost:1/x#fake_indx=1")


class Level(Detector):
    """Brightness above a level; weights and threshold are its own arguments."""

    default_card = Card(name="level", source="tests")

    def __init__(
        self, level: float, weights: str = "here", threshold: int = 3, **more: Any
    ) -> None:
        super().__init__(level=level, weights=weights, threshold=threshold)
        self.level, self.more = level, more

    def logits(self, images: Tensor) -> Tensor:
        return images.mean(dim=(1, 2, 3)) - self.level


def test_arguments_of_a_class_are_its_own_whatever_they_are_called() -> None:
    found = load_trained(f"{__name__}:Level?level=0.5&weights=there&threshold=7&other=1&name=low")
    assert isinstance(found, Level)
    assert (found.config, found.more) == (
        {"level": 0.5, "weights": "there", "threshold": 7},
        {"other": 1},
    )
    assert found.card.name == "low"
    assert found.card.threshold == 0.0
    assert found.card.weights == "given by the user"


def test_every_detector_takes_threshold_name_and_weights(images: Tensor, tmp_path: Path) -> None:
    made = load_detector("cifake-cnn", "cifake")
    save_detector(made, tmp_path / "a.safetensors")
    found = load_trained(
        f"cifake-cnn?weights={tmp_path / 'a.safetensors'}&threshold=0.25&name=mine"
    )
    assert (found.card.name, found.threshold) == ("mine", 0.25)
    assert torch.equal(found.logits(images), made.logits(images))
    assert load_detector("cifake-cnn", "cifake", threshold=-2.0).threshold == -2.0
    with pytest.raises(ConfigError, match="threshold must be a number, got 'half'"):
        load_trained("cifake-cnn?threshold=half")
    with pytest.raises(ConfigError, match=r"letters, digits and"):
        load_trained("cifake-cnn?name=../up")
    with pytest.raises(ConfigError, match="brings its own weights"):
        load_trained(f"{tmp_path / 'a.safetensors'}?weights=cifake")


def test_arguments_of_an_endpoint_stand_after_a_mark_that_is_never_sent() -> None:
    found = load_trained(
        "https://localhost:1/detect?model=a#score=a.b&scale=logit&fake_index=0&threshold=0.5&name=far"
    )
    assert found.config["url"] == "https://localhost:1/detect?model=a"
    assert (found.config["score"], found.config["scale"], found.config["high"]) == (
        "a.b",
        "logit",
        "human",
    )
    assert (found.threshold, found.card.name) == (0.5, "far")
    with pytest.raises(
        ConfigError,
        match=r"fake_index in the query of .*Write arguments after a #.*detect#fake_index=0",
    ):
        load_trained("https://localhost:1/detect?fake_index=0")
    for text in (
        "https://localhost:1/detect?scale=2#",
        "https://localhost:1/detect?scale=2#score=a",
    ):
        assert load_trained(text).config["url"] == "https://localhost:1/detect?scale=2"
    assert (
        load_detector("https://localhost:1/detect?scale=2", score="a").config["scale"]
        == "probability"
    )


def test_an_onnx_file_takes_its_size_in_the_address(images: Tensor, tmp_path: Path) -> None:
    """B2: all axes dynamic, as optimum writes it."""
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    sum_up = onnx.helper.make_node("ReduceMean", ["x"], ["y"], axes=[1, 2, 3], keepdims=0)
    start = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, "h", "w"])
    end = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n"])
    opset = [onnx.helper.make_opsetid("", 13)]
    graph = onnx.helper.make_graph([sum_up], "g", [start], [end])
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), str(tmp_path / "a.onnx")
    )
    found = load_trained(f"onnx:{tmp_path / 'a.onnx'}?size=32&mean=0.5,0.5,0.5&std=0.5,0.5,0.5")
    torch.testing.assert_close(
        found.logits(images), (images * 2 - 1).mean(dim=(1, 2, 3)), atol=1e-5, rtol=0
    )


# A bare name (A5)


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
    with pytest.raises(CheckpointError) as refused:
        load_trained("timm:test_resnet?pretrained=false")
    told = str(refused.value)
    words = shlex.split(re.findall("`robustbench-aigi (.*?)`", told)[0])
    assert words == [
        "train",
        "timm:test_resnet?pretrained=false",
        "--out",
        "test_resnet.safetensors",
    ]
    place, start, config = begun_from(words[1], None, {})
    assert (place, start) == ("timm:test_resnet", None)
    assert load_detector(place, start, **config).config["pretrained"] is False
    fresh = shlex.split(told.rpartition(" are ")[2].removesuffix("."))[0]
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


# Files (B6, B16)


@pytest.mark.parametrize("end", [".pth", ".pt", ".bin", ".ckpt", ".safetensors"])
def test_a_file_that_does_not_say_its_detector_is_told_how_to_be_named(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"a{end}"
    state = timm.create_model("tiny_vit_5m_224", num_classes=1).state_dict()
    torch.save(state, path) if end != ".safetensors" else save_file(state, path)
    with pytest.raises(
        CheckpointError, match=rf"does not say which detector .*weights={re.escape(str(path))}'"
    ):
        load_trained(str(path))
    assert load_trained(f"tinyvit-5m?size=224&weights={path}").card.weights.startswith("sha256:")
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_trained(f"none{end}")


def test_a_network_file_without_its_scheme_is_told_the_scheme(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=rf"Write onnx:{re.escape(str(tmp_path / 'a.onnx'))}"):
        load_trained(str(tmp_path / "a.onnx"))


def timm_file(folder: Path, classes: int, model: str = "test_resnet") -> tuple[nn.Module, Path]:
    torch.manual_seed(1)
    net: nn.Module = timm.create_model(model, num_classes=classes).eval()
    torch.save(net.state_dict(), folder / f"{classes}.pth")
    return net, folder / f"{classes}.pth"


def outputs_of(net: nn.Module, detector: Detector, images: Tensor) -> Tensor:
    from robustbench_aigi.detectors._support.resizing import resize

    inputs = resize(images, detector.size, detector.kernel)  # type: ignore[arg-type]
    outputs: Tensor = net(detector.get_submodule("normalise")(inputs))
    return outputs


def test_a_plain_file_of_timm_loads(images: Tensor, tmp_path: Path) -> None:
    """B16: "Missing key net.conv_stem.weight"."""
    net, path = timm_file(tmp_path, 1)
    with pytest.raises(
        CheckpointError, match=r"fake_index=1 .*fake_index=0"
    ):  # which way its output points is not said
        load_trained(f"timm:test_resnet?weights={path}")
    detector = load_trained(f"timm:test_resnet?weights={path}&fake_index=1")
    with torch.no_grad():
        torch.testing.assert_close(
            detector.logits(images), outputs_of(net, detector, images)[:, 0], atol=1e-5, rtol=0
        )


def test_two_classes_of_timm_are_never_guessed(images: Tensor, tmp_path: Path) -> None:
    net, path = timm_file(tmp_path, 2)
    with pytest.raises(CheckpointError, match=r"fake_index=1 .*fake_index=0"):
        load_trained(f"timm:test_resnet?weights={path}")
    detector = load_trained(f"timm:test_resnet?weights={path}&fake_index=0")
    with torch.no_grad():
        outputs = outputs_of(net, detector, images)
        torch.testing.assert_close(
            detector.logits(images), outputs[:, 0] - outputs[:, 1], atol=1e-5, rtol=0
        )
    save_detector(detector, tmp_path / "own.safetensors")
    assert torch.equal(
        load_trained(str(tmp_path / "own.safetensors")).logits(images), detector.logits(images)
    )


@pytest.mark.parametrize(
    "name", ["timm:test_resnet", "timm:deit_tiny_distilled_patch16_224", "resnet50"]
)
def test_a_file_without_a_last_layer_for_two_classes_is_for_training_alone(
    name: str, tmp_path: Path
) -> None:
    _, path = timm_file(tmp_path, 1000, name.removeprefix("timm:"))
    with pytest.raises(
        CheckpointError,
        match=rf"not trained: .*no last layer .*train {name} --start {re.escape(str(path))}",
    ):
        load_trained(f"{name}?weights={path}")
    place, start, config = begun_from(name, str(path), {})
    assert load_detector(place, start, **config).card.weights == "fresh"


def test_a_training_begins_from_such_a_file_and_says_so(tiny_recipe: str, tmp_path: Path) -> None:
    _, path = timm_file(tmp_path, 1000)
    said: list[str] = []
    place = tmp_path / "out.safetensors"
    train(f"timm:test_resnet?weights={path}", tiny_recipe, place, epochs=8, say=said.append)
    assert any("brings no last layer" in line for line in said)
    assert load_trained(str(place)).card.weights.startswith("sha256:")


def test_a_checkpoint_of_another_network_of_timm_is_refused(tmp_path: Path) -> None:
    save_detector(load_detector("timm:test_resnet"), tmp_path / "a.safetensors")
    with pytest.raises(
        CheckpointError, match="holds weights of timm:test_resnet, but timm:test_vit was asked for"
    ):
        load_detector("timm:test_vit", tmp_path / "a.safetensors")


@pytest.mark.parametrize("start", ["tinyvit-5m", "robust-tinyvit-5m", "cifake"])
def test_a_training_starts_from_a_name_that_ships(start: str) -> None:
    place, weights, config = begun_from("tinyvit-5m", start, {})
    shipped = "tinyvit-5m" if start == "cifake" else start
    found = load_detector(place, weights, **config)
    assert weights_digest(found.state_dict()) == weights_digest(load_trained(shipped).state_dict())


def test_a_training_does_not_start_from_a_name_without_weights() -> None:
    with pytest.raises(CheckpointError, match="resnet50 is not trained"):
        begun_from("resnet50", "resnet50", {})
    with pytest.raises(UnknownNameError, match="Did you mean resnet50"):
        begun_from("resnet50", "resnet5", {})
    with pytest.raises(UserError, match="threshold is said when a detector is loaded"):
        begun_from("cifake-cnn?threshold=1", None, {})
    assert begun_from("cifake-cnn", "fresh", {}) == ("cifake-cnn", None, {})


# Lists of detectors


LIST = """
[mine]
address = "sub/a.safetensors"
threshold = 0.5

[level]
address = "tests.test_addresses:Level?other=2"
level = 0.25

[far]
address = "https://localhost:1/x?scale=9"
score = "a.b"
fake_index = 0
"""


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    save_detector(load_detector("cifake-cnn", "cifake"), tmp_path / "sub" / "a.safetensors")
    (tmp_path / "detectors.toml").write_text(LIST)
    return tmp_path / "detectors.toml"


def test_a_list_gives_names_to_addresses_and_arguments(listed: Path) -> None:
    found = load_detectors([str(listed)])
    assert list(found) == ["mine", "level", "far"]
    mine, level, far = (d for d in found.values() if isinstance(d, Detector))
    assert mine.threshold == 0.5
    assert isinstance(level, Level)
    assert (level.level, level.more) == (0.25, {"other": 2})
    assert (far.config["score"], far.config["high"]) == ("a.b", "human")
    one = load_trained(f"low={listed}#mine?threshold=0.75")
    assert (one.card.name, one.threshold) == ("low", 0.75)


def test_names_of_the_list_in_the_current_folder_are_names_everywhere(
    listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(listed.parent)
    assert load_trained("mine").threshold == 0.5
    assert load_trained("mine?threshold=0.1").threshold == 0.1
    assert list(load_surrogates(load_suite("quick"), ["cifake-cnn=mine"])) == ["cifake-cnn"]
    assert begun_from("cifake-cnn", "mine", {})[1] == "sub/a.safetensors"
    assert load_trained("cifake-cnn").threshold == 0.0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[cifake-cnn]\naddress = 'a'", "entry 'cifake-cnn': there is a detector of that name"),
        ("[robust-tinyvit-5m]\naddress = 'a'", "there is a detector of that name"),
        ("[mine]\nadress = 'a'", "entry 'mine': it needs an address"),
        ("mine = 'a'", "entry 'mine': it needs an address"),
        ("['a/b']\naddress = 'a'", "entry 'a/b': a name is made of"),
        ("[mine]\naddress = 'x.toml#a'", "its address is another list"),
        ("[mine]\naddress = 'a?size=1'\nsize = 2", "size is in the address, too"),
        ("[mine", "cannot be read as TOML"),
    ],
)
def test_lists_that_cannot_be_used_are_refused_by_file_and_entry(
    text: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("detectors.toml").write_text(text)
    for name in ("cifake-cnn", "detectors.toml"):
        with pytest.raises(ConfigError, match=rf"detectors\.toml.*{re.escape(told)}"):
            addresses_of(name)


def test_wrong_arguments_of_an_entry_and_wrong_names_are_refused(listed: Path) -> None:
    listed.write_text(
        "[mine]\naddress = 'cifake-cnn'\nfilters = 'many'\n[b]\naddress = 'cifake-cnn'\nfilter = 1"
    )
    with pytest.raises(ConfigError, match="filters must be"):
        load_trained(f"{listed}#mine")
    with pytest.raises(ConfigError, match="Did you mean filters"):
        load_trained(f"{listed}#b")
    with pytest.raises(UserError, match=r"has no detector called 'c'\. It has: mine, b"):
        load_trained(f"{listed}#c")
    with pytest.raises(UserError, match=r"one detector is wanted, and .* has 2 \(mine, b\)"):
        load_trained(str(listed))
    with pytest.raises(UserError, match="stands for 2 detectors"):
        addresses_of(f"new={listed}")
    with pytest.raises(ConfigError, match="no file at"):
        addresses_of("nowhere.toml")


def test_places_leave_arguments_as_they_were_typed() -> None:
    for text in (
        "onnx:a.onnx?size=224&scale=probability",
        "new=hf:org/repo?x=%2F",
        "a.safetensors?threshold=1",
        "https://h/p?x=1#score=a.b",
        "d.toml#mine?threshold=1",
        "tinyvit-5m?weights=a.pth",
    ):
        assert Places().detector(text) == text


def test_a_constructor_without_readable_annotations_still_gets_its_arguments() -> None:
    def make(path: str, size: "NoSuchType" = 3) -> tuple[str, object]:  # type: ignore[name-defined]  # noqa: F821
        return path, size

    assert constructed(make, "x", {"size": Written("5")}, "p") == ("p", 5)


def test_addresses_are_shown_as_they_are_typed() -> None:
    for text in (
        "tinyvit-5m?size=224&weights=a%20b.pth",
        "https://h/p?x=1#score=a.b",
        "cifake-cnn",
    ):
        assert str(parse(text)) == text
    assert str(Address("x", {"a": 1})) == "x?a=1"
    assert {"resnet50", "robust-tinyvit-5m"} <= taken_names()


# Commands


def test_commands_refuse_take_and_mark_alike(tiny_recipe: str, tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    Image.fromarray(np.zeros((32, 32, 3), dtype=np.uint8)).save(image)
    for words in (
        ["evaluate", "resnet50", "--out", "x"],
        ["plan", "timm:test_resnet"],
        ["detect", str(image), "--detector", "timm:test_resnet"],
    ):
        done = command(*words, cwd=tmp_path)
        assert done.returncode == 2
        assert "is not trained" in done.stderr
        assert "Traceback" not in done.stderr
    done = command("detect", str(image), "--detector", "cifake-cnn?weights=fresh", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "unsure (fresh weights" in done.stdout
    (tmp_path / "detectors.toml").write_text("[mine]\naddress = 'cifake-cnn'\nthreshold = 1e9\n")
    done = command("detect", str(image), "--detector", "mine", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert (verdict["verdict"], verdict["detector"]) == ("real", "mine")
    assert verdict["weights"].startswith("sha256:")


def test_the_list_of_detectors_says_which_ship() -> None:
    lines = command("list", "detectors").stdout.splitlines()
    marked = {line.split()[0] for line in lines if "trained weights ship" in line}
    assert marked == {"cifake-cnn", "resnet18-c32", "tinyvit-5m", "clip-mlp"} & set(
        detectors.names()
    )
