"""Addresses and their arguments (case B2 of what people do)."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from robustbench_aigi.cli.places import Places
from robustbench_aigi.detectors import (
    load_detector,
    load_trained,
    save_detector,
)
from robustbench_aigi.detectors._support.addresses.address import Address, construct, parse
from robustbench_aigi.detectors._support.addresses.arguments import EncodedValue, decode
from robustbench_aigi.detectors.loading import taken_names
from robustbench_aigi.errors import ConfigError
from tests.addresses import Level


@pytest.mark.parametrize(
    ("text", "place", "arguments", "new"),
    [
        ("tinyvit-21m?size=224", "tinyvit-21m", {"size": "224"}, None),
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
            None,
        ),
        (
            "onnx:a.onnx?size=224&scale=probability",
            "onnx:a.onnx",
            {"size": "224", "scale": "probability"},
            None,
        ),
        ("my.module:Class?level=%2C%26", "my.module:Class", {"level": "%2C%26"}, None),
        (
            "https://h/p?x=1#score=a.b&scale=logit",
            "https://h/p?x=1",
            {"score": "a.b", "scale": "logit"},
            None,
        ),
        ("mine=https://h/p?scale=1#", "https://h/p?scale=1", {}, "mine"),
        ("a.safetensors", "a.safetensors", {}, None),
        ("runs/a.safetensors?", "runs/a.safetensors", {}, None),
    ],
)
def test_an_address_has_a_place_arguments_and_perhaps_a_new_name(
    text: str, place: str, arguments: dict[str, str], new: str | None
) -> None:
    found = parse(text)
    assert (found.place, dict(found.arguments), found.alias) == (place, arguments, new)


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
    ("text", "message"), [("x?fresh", "KEY=VALUE, got 'fresh'"), ("x?a=1&a=2", "a is given twice")]
)
def test_arguments_that_cannot_be_read_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
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
    found = decode(EncodedValue(text), hint, "x: key")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "hint", "message"),
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
def test_values_of_a_wrong_type_are_refused(text: str, hint: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        decode(EncodedValue(text), hint, "x: key")


def test_values_of_python_stay_as_they_are() -> None:
    assert decode("1.5", int, "x: key") == "1.5"


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


def test_arguments_of_a_class_are_its_own_whatever_they_are_called() -> None:
    found = load_trained(
        "tests.addresses:Level?level=0.5&weights=there&threshold=7&other=1&name=low"
    )
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

    assert construct(make, "x", {"size": EncodedValue("5")}, "p") == ("p", 5)


def test_addresses_are_shown_as_they_are_typed() -> None:
    for text in (
        "tinyvit-5m?size=224&weights=a%20b.pth",
        "https://h/p?x=1#score=a.b",
        "cifake-cnn",
    ):
        assert str(parse(text)) == text
    assert str(Address("x", {"a": 1})) == "x?a=1"
    assert {"resnet50", "robust-tinyvit-5m"} <= taken_names()
