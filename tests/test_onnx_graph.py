"""The outputs, the layout and the files of an ONNX graph."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from cloudpickle import dumps  # type: ignore[import-untyped]
from torch import Tensor

from robustbench_aigi.detectors._support.faster import copy_detector
from robustbench_aigi.detectors._support.resizing import resize
from robustbench_aigi.detectors.external.onnx_graph import checked_digest, weight_files
from robustbench_aigi.errors import CheckpointError, UserError
from tests.contract import built
from tests.test_onnx import write_onnx


def output_nodes(helper: Any, name: str, kind: str, columns: int) -> list[Any]:
    """Return the nodes from ``raw`` to one output of :func:`outputs_onnx`."""
    negative = f"{name}-neg"
    positive = f"{name}-pos"
    joined = [positive] * columns
    if columns < 3:
        joined = [negative, positive][2 - columns :]
    last = {"label": "ArgMax", "flag": "Greater", "probability": "Sigmoid"}.get(kind, "Identity")
    extra = {"axis": 1, "keepdims": 0} if kind == "label" else {}
    inputs = [f"{name}-all", "zero"] if kind == "flag" else [f"{name}-all"]
    return [
        helper.make_node("Neg", ["raw"], [negative]),
        helper.make_node("Identity", ["raw"], [positive]),
        helper.make_node("Concat", joined, [f"{name}-all"], axis=1),
        helper.make_node(last, inputs, [name], **extra),
    ]


def outputs_onnx(path: Path, outputs: dict[str, tuple[str, int]], shape: list[int | str]) -> Tensor:
    """Write a graph with outputs by name, each of a kind and columns; return the score's weight.

    Kinds: ``score`` and ``features`` (float), ``probability`` (float, a sigmoid), ``label``
        (int64), ``flag`` (bool).
    """
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper = onnx.helper
    kinds = onnx.TensorProto
    weight = torch.randn(3 * 16 * 16, 1, generator=torch.Generator().manual_seed(0)) / 30
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["raw"]),
    ]
    ends = []
    for name, (kind, columns) in outputs.items():
        nodes += output_nodes(helper, name, kind, columns)
        held = {"label": kinds.INT64, "flag": kinds.BOOL}.get(kind, kinds.FLOAT)
        sizes = ["n"] if kind == "label" else ["n", columns]
        ends.append(helper.make_tensor_value_info(name, held, sizes))
    start = helper.make_tensor_value_info("x", kinds.FLOAT, shape)
    constants = [
        onnx.numpy_helper.from_array(weight.numpy(), "w"),
        helper.make_tensor("zero", kinds.FLOAT, [], [0.0]),
    ]
    graph = helper.make_graph(nodes, "net", [start], ends, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return weight


@pytest.mark.parametrize(
    ("outputs", "taken"),
    [
        ({"label": ("label", 2), "probabilities": ("probability", 2)}, "probabilities"),
        ({"flag": ("flag", 1), "anything": ("score", 1)}, "anything"),
        ({"embedding": ("features", 12), "score": ("score", 2), "label": ("label", 2)}, "score"),
        ({"aux": ("score", 2), "logits": ("score", 2)}, "logits"),
        ({"logits": ("score", 1), "probabilities": ("probability", 1)}, "logits"),
        ({"probabilities": ("probability", 1), "logits": ("score", 1)}, "logits"),
    ],
)
def test_scores_are_told_from_labels(
    outputs: dict[str, tuple[str, int]], taken: str, images: Tensor, tmp_path: Path
) -> None:
    """A8: the first output, an int64 label, was taken for a logit."""
    weight = outputs_onnx(tmp_path / "net.onnx", outputs, ["n", 3, 16, 16])
    scale = "probability" if taken == "probabilities" else "logit"
    detector = built(f"onnx:{tmp_path / 'net.onnx'}", scale=scale)
    raw = (resize(images, (16, 16), "bilinear").flatten(1) @ weight)[:, 0]
    kind, columns = outputs[taken]
    expected = 2 * raw
    if columns == 1:
        expected = raw
    elif kind != "score":
        expected = raw.sigmoid().log() - (-raw).sigmoid().log()
    torch.testing.assert_close(detector.logits(images), expected, rtol=1e-3, atol=1e-3)
    assert f"scores are the output {taken!r}" in detector.card.summary


def test_outputs_that_are_not_clear_are_asked_for(images: Tensor, tmp_path: Path) -> None:
    """A8: by name, and never an integer one."""
    path = tmp_path / "net.onnx"
    weight = outputs_onnx(
        path, {"a": ("score", 1), "b": ("features", 2), "label": ("label", 2)}, ["n", 3, 16, 16]
    )
    with pytest.raises(
        UserError, match=r"several outputs.*a tensor\(float\).*label tensor\(int64\).*\?output=a`"
    ):
        built(f"onnx:{path}")
    raw = (resize(images, (16, 16), "bilinear").flatten(1) @ weight)[:, 0]
    torch.testing.assert_close(
        built(f"onnx:{path}", output="a").logits(images), raw, rtol=1e-3, atol=1e-3
    )
    for name in ("label", "c"):
        with pytest.raises(
            UserError, match=f"output '{name}' of .* is no float tensor.*output='a'"
        ):
            built(f"onnx:{path}", output=name)
    outputs_onnx(path, {"label": ("label", 2), "flag": ("flag", 1)}, ["n", 3, 16, 16])
    with pytest.raises(UserError, match=r"no output of .* may hold one score.*zipmap"):
        built(f"onnx:{path}")
    outputs_onnx(path, {"scores": ("features", 3)}, ["n", 3, 16, 16])
    share = torch.stack([raw, raw, raw], 1).softmax(1)[:, [0, 2]].sum(1)
    torch.testing.assert_close(
        built(f"onnx:{path}", fake_index=[0, 2]).logits(images), share.logit()
    )


def test_a_map_of_probabilities_is_refused_with_what_to_export(tmp_path: Path) -> None:
    """A8: scikit-learn's models end in a ZipMap, a sequence of maps, unless that is off."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper = onnx.helper
    kinds = onnx.TensorProto
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["raw"]),
        helper.make_node(
            "ZipMap", ["raw"], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=[0, 1]
        ),
    ]
    held = onnx.numpy_helper.from_array(torch.ones(12, 2).numpy(), "w")
    start = helper.make_tensor_value_info("x", kinds.FLOAT, ["n", 3, 2, 2])
    element = helper.make_map_type_proto(
        kinds.INT64, helper.make_tensor_type_proto(kinds.FLOAT, [])
    )
    end = helper.make_value_info("probabilities", helper.make_sequence_type_proto(element))
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("ai.onnx.ml", 1)]
    model = helper.make_model(
        helper.make_graph(nodes, "net", [start], [end], [held]), opset_imports=opsets, ir_version=8
    )
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(
        UserError, match=r"probabilities seq\(map\(int64,tensor\(float\)\)\).*'zipmap': False"
    ):
        built(f"onnx:{tmp_path / 'net.onnx'}")


@pytest.mark.parametrize(
    ("shape", "given", "last"),
    [
        (["batch_size", "num_channels", "height", "width"], None, False),
        (["batch", "height", "width", "channels"], None, True),
        (["a", "b", "c", "d"], None, False),
        (["a", "b", "c", "d"], True, True),
        (["a", 16, "c", "d"], None, True),
        (["a", "b", "c", 16], None, False),
        ([1, "b", "c", "d"], None, False),
    ],
)
def test_onnx_with_all_axes_open_needs_a_size_alone(
    shape: list[int | str], given: bool | None, last: bool, images: Tensor, tmp_path: Path
) -> None:
    """B2: as optimum writes it; rejected, also with ``size=``."""
    path = tmp_path / "net.onnx"
    weight = outputs_onnx(path, {"logits": ("score", 2)}, shape)
    with pytest.raises(UserError, match=rf"onnx:{path}\?size=224"):
        built(f"onnx:{path}", channels_last=given)
    detector = built(f"onnx:{path}", size=16, channels_last=given)
    inputs = resize(images, (16, 16), "bilinear")
    raw = (inputs.permute(0, 2, 3, 1) if last else inputs).flatten(1) @ weight
    torch.testing.assert_close(detector.logits(images), 2 * raw[:, 0], rtol=1e-3, atol=1e-3)
    assert f"channels taken to be {'last' if last else 'first'}" in detector.card.summary


def test_onnx_refuses_what_does_not_fit_its_graph(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    outputs_onnx(path, {"logits": ("score", 2)}, ["n", 3, 16, 16])
    assert "taken to be" not in built(f"onnx:{path}", size=16).card.summary
    for wrong, message in (
        ({"size": 32}, "takes images of 16 x 16 pixels"),
        ({"channels_last": True}, "channels_last=True"),
        ({"mean": (123.675, 116.28, 103.53), "std": (58.4, 57.1, 57.4)}, "divide them by 255"),
        ({"scale": "prob"}, "scale must be logit, probability, percent"),
    ):
        with pytest.raises(UserError, match=message):
            built(f"onnx:{path}", **wrong)
    outputs_onnx(path, {"logits": ("score", 2)}, ["n", 3, "h", "w"])
    assert built(f"onnx:{path}", size=[8, 32]).size == (8, 32)


def test_onnx_threshold_is_on_its_scale(tmp_path: Path) -> None:
    write_onnx(tmp_path / "net.onnx", ["n", 3, 16, 16], 1, "Sigmoid")
    detector = built(f"onnx:{tmp_path / 'net.onnx'}", scale="percent", threshold=70)
    assert detector.threshold == pytest.approx(0.8473, abs=1e-4)


def test_onnx_models_are_copied_and_sent(images: Tensor, tmp_path: Path) -> None:
    """B1: an inference session can be neither deep-copied nor pickled."""
    pytest.importorskip("onnxruntime")
    path = tmp_path / "net.onnx"
    write_onnx(path, ["n", 3, 16, 16], 2)
    detector = built(f"onnx:{path}")
    detector.card = detector.card.model_copy(update={"name": "other"})
    detector.at_once = 7
    expected = detector.logits(images)
    for twin in (copy_detector(detector), pickle.loads(dumps(detector))):
        assert torch.equal(twin.logits(images), expected)
        assert (twin.card.name, twin.at_once) == ("other", 7)
    sent = dumps(detector)
    write_onnx(path, ["n", 3, 16, 16], 1)
    with pytest.raises(CheckpointError, match="has changed"):
        pickle.loads(sent).logits(images)
    assert torch.equal(detector.logits(images), expected)


def test_weights_beside_an_onnx_file_are_part_of_its_digest(tmp_path: Path) -> None:
    """A2's kind: torch's exporter writes the weights of large models to a file of their own."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    write_onnx(tmp_path / "whole.onnx", ["n", 3, 16, 16], 2)
    assert weight_files(tmp_path / "whole.onnx") == []
    long = f"{'weights-' * 20}.bin"  # a name whose length takes two bytes
    for name in ("net.data", long):
        model = onnx.load(tmp_path / "whole.onnx")
        onnx.save_model(
            model,
            tmp_path / "net.onnx",
            save_as_external_data=True,
            location=name,
            size_threshold=0,
        )
        assert weight_files(tmp_path / "net.onnx") == [name]
        before = built(f"onnx:{tmp_path / 'net.onnx'}").config["sha256"]
        content = bytearray((tmp_path / name).read_bytes())
        content[0] ^= 1
        (tmp_path / name).write_bytes(content)
        assert checked_digest(tmp_path / "net.onnx") != before
        with pytest.raises(CheckpointError, match="has changed"):
            built(f"onnx:{tmp_path / 'net.onnx'}", sha256=before)


def test_weights_that_are_listed_as_inputs_are_no_inputs(images: Tensor, tmp_path: Path) -> None:
    """B2's kind: exporters before IR version 4 list every weight among the inputs."""
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "net.onnx"
    weight = write_onnx(path, ["n", 3, 16, 16], 1)
    model = onnx.load(path)
    model.ir_version = 3
    model.graph.input.append(
        onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [*weight.shape])
    )
    path.write_bytes(model.SerializeToString())
    raw = resize(images, (16, 16), "bilinear").flatten(1) @ weight
    torch.testing.assert_close(
        built(f"onnx:{path}").logits(images), raw[:, 0], rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("kind", ["FLOAT16", "DOUBLE"])
def test_onnx_of_another_number_format(kind: str, images: Tensor, tmp_path: Path) -> None:
    """B4 for ``onnx:``."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper = onnx.helper
    held = getattr(onnx.TensorProto, kind)
    nodes = [helper.make_node("ReduceMean", ["x"], ["logits"], axes=[1, 2, 3], keepdims=0)]
    start = helper.make_tensor_value_info("x", held, ["n", 3, 16, 16])
    end = helper.make_tensor_value_info("logits", held, ["n"])
    graph = helper.make_graph(nodes, "net", [start], [end])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    logits = built(f"onnx:{tmp_path / 'net.onnx'}").logits(images)
    expected = resize(images, (16, 16), "bilinear").mean(dim=(1, 2, 3))
    torch.testing.assert_close(logits, expected, rtol=1e-2, atol=1e-2)
