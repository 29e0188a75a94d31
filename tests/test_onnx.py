import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.detectors._support.resizing import resize
from robustbench_aigi.detectors.external import load_external
from robustbench_aigi.errors import CheckpointError, UnavailableError, UserError
from robustbench_aigi.extras import install_command
from tests.contract import built, check_contract


def write_onnx(path: Path, shape: list[int | str], outputs: int, tail: str = "") -> Tensor:
    """A graph that multiplies the flat image by a matrix, which is returned, ``(values,
    outputs)``.
    """
    onnx = pytest.importorskip("onnx")
    sides = [n if isinstance(n, int) else 16 for n in shape[1:]]
    weight = (
        torch.randn(
            sides[0] * sides[1] * sides[2], outputs, generator=torch.Generator().manual_seed(0)
        )
        / 30
    )
    nodes = [
        onnx.helper.make_node("Flatten", ["x"], ["flat"]),
        onnx.helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    if tail:
        nodes.append(onnx.helper.make_node(tail, ["y"], ["z"]))
    end = onnx.helper.make_tensor_value_info(
        "z" if tail else "y", onnx.TensorProto.FLOAT, [shape[0], outputs]
    )
    start = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)
    held = onnx.numpy_helper.from_array(weight.numpy(), "w")
    graph = onnx.helper.make_graph(nodes, "net", [start], [end], [held])
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8
    )
    path.write_bytes(model.SerializeToString())
    return weight


@pytest.mark.parametrize("batch", ["n", 1, 3])
@pytest.mark.parametrize("last", [False, True])
def test_onnx_reads_its_graph(batch: int | str, last: bool, images: Tensor, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "net.onnx"
    weight = write_onnx(path, [batch, 16, 16, 3] if last else [batch, 3, 16, 16], 2)
    detector = built(f"onnx:{path}", mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.2])
    inputs = (
        resize(images, (16, 16), "bilinear") - torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)
    ) / 0.2
    inputs = inputs.permute(0, 2, 3, 1) if last else inputs
    raw = inputs.flatten(1) @ weight
    torch.testing.assert_close(detector.logits(images), raw[:, 1] - raw[:, 0], atol=1e-4, rtol=1e-4)
    assert detector.card.gradient == "none"
    assert detector.card.input_size == 16
    check_contract(detector, images, tmp_path)


@pytest.mark.parametrize(("outputs", "tail"), [(1, "Sigmoid"), (2, "Softmax")])
def test_onnx_probabilities_are_those_that_are_said_to_be(
    outputs: int, tail: str, images: Tensor, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    weight = write_onnx(tmp_path / "net.onnx", ["n", 3, "h", "w"], outputs, tail)
    detector = built(f"onnx:{tmp_path / 'net.onnx'}", scale="probability", fake_index=0, size=16)
    raw = resize(images, (16, 16), "bilinear").flatten(1) @ weight
    expected = -raw[:, 0] if outputs == 1 else raw[:, 0] - raw[:, 1]
    torch.testing.assert_close(detector.logits(images), expected, atol=1e-3, rtol=1e-3)


def test_onnx_is_attacked_by_scores_alone(images: Tensor, labels: Tensor, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    write_onnx(tmp_path / "net.onnx", ["n", 3, 16, 16], 1)
    detector = built(f"onnx:{tmp_path / 'net.onnx'}")
    ids = [str(i) for i in range(4)]
    with pytest.raises(UserError, match="black box"):
        load_attack("pgd-linf")(detector, images, labels, ids=ids, seed=0)
    result = load_attack("square-linf", queries=20)(
        detector, images, labels, ids=ids, seed=0, full=True
    )
    assert (result.logits != result.clean_logits).any()


def test_onnx_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "net.onnx"
    with pytest.raises(CheckpointError, match="no ONNX file"):
        load_external(f"onnx:{path}")
    path.write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="cannot read"):
        load_external(f"onnx:{path}")
    write_onnx(path, ["n", 3, "h", "w"], 1)
    with pytest.raises(UserError, match="size=224"):
        load_external(f"onnx:{path}")
    write_onnx(path, ["n", 4, 16, 16], 1)
    with pytest.raises(UserError, match="one float input"):
        load_external(f"onnx:{path}")
    write_onnx(path, ["n", 3, 16, 16], 3)
    with pytest.raises(UserError, match="1 or 2 outputs"):
        built(f"onnx:{path}").logits(torch.zeros(1, 3, 16, 16))
    saved = built(f"onnx:{path}")
    write_onnx(path, ["n", 3, 16, 16], 2)
    with pytest.raises(CheckpointError, match="has changed"):
        type(saved)(**saved.config)


def test_onnx_runtime_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "net.onnx").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(UnavailableError, match=re.escape(install_command("onnx"))):
        load_external(f"onnx:{tmp_path / 'net.onnx'}")
