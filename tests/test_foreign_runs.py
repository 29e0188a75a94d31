"""Detectors of every make go through a whole evaluation of the suite ``quick``, by whatever
executor.
"""

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from robustbench_aigi.attacks import load_suite
from robustbench_aigi.data import load_data
from robustbench_aigi.data.plusplus.build import build_plusplus, load_plusplus
from robustbench_aigi.data.plusplus.parts import Part
from robustbench_aigi.detectors import Detector, load_detector, wrap
from robustbench_aigi.detectors.external.python_object import adapt_object
from robustbench_aigi.executors import IN_PROCESS, Executor, InProcessExecutor, PoolExecutor
from tests.endpoints import serving
from tests.foreign import SIDE, SURROGATE, Brightness, check_run, evaluated, images_in
from tests.hugging_face import save_tiny_vit
from tests.test_endpoints import SERVICE_KEY, SERVICE_PRESETS, Preset, winston


def write_onnx(path: Path) -> Path:
    """:class:`Brightness` as an ONNX file of one matrix product."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper = onnx.helper
    held = onnx.numpy_helper.from_array
    values = 3 * SIDE * SIDE
    weight = held(torch.full((values, 1), 20 / values).numpy(), "w")
    bias = held(torch.tensor([-10.0]).numpy(), "b")
    nodes = [
        ("Flatten", ["x"], "flat"),
        ("MatMul", ["flat", "w"], "product"),
        ("Add", ["product", "b"], "logits"),
    ]
    made = [helper.make_node(kind, inputs, [output]) for kind, inputs, output in nodes]
    kind = onnx.TensorProto.FLOAT
    start = helper.make_tensor_value_info("x", kind, ["n", 3, SIDE, SIDE])
    end = helper.make_tensor_value_info("logits", kind, ["n", 1])
    graph = helper.make_graph(made, "net", [start], [end], [weight, bias])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def scripted(folder: Path) -> Detector:
    """A network from a TorchScript file."""
    torch.jit.save(torch.jit.trace(Brightness(), torch.rand(2, 3, SIDE, SIDE)), folder / "net.pt")
    net: nn.Module = torch.jit.load(folder / "net.pt")
    return wrap(net, input_size=SIDE, name=SURROGATE)


def compiled(folder: Path) -> Detector:
    """A network that ``torch.compile`` has compiled, for any number of images at once."""
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler")
    torch.compiler.reset()
    return wrap(torch.compile(Brightness(), dynamic=True), input_size=SIDE, name=SURROGATE)


def parallel(folder: Path) -> Detector:
    """A network in ``DataParallel``."""
    return wrap(nn.DataParallel(Brightness()), input_size=SIDE, name=SURROGATE)


class Holder:
    """A plain class with a network and a lock in it, which has probabilities and squeezes them."""

    scale = "probability"

    def __init__(self) -> None:
        self.net = Brightness().half()
        self.lock = threading.Lock()

    def logits(self, images: Tensor) -> Tensor:
        """``(N, 3, H, W)`` to ``(N,)``, 0-d for one image."""
        with self.lock:
            scores: Tensor = self.net(images.half()).float().sigmoid().squeeze()
        return scores


def plain(folder: Path) -> Detector:
    """A plain class that can be neither copied nor sent to another process."""
    return adapt_object("tests:Holder", Holder, {"name": SURROGATE})


@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated")
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor"
)  # torch's compiler, of its own tensors
@pytest.mark.parametrize("made", [scripted, compiled, parallel, plain])
def test_detectors_of_every_make_are_evaluated(
    made: Callable[[Path], Detector], tmp_path: Path
) -> None:
    """B1 to B5: before, a traceback instead of the matrix, or errors instead of its numbers."""
    check_run(evaluated(made(tmp_path), tmp_path), tmp_path)


@pytest.mark.parametrize("executor", [IN_PROCESS, PoolExecutor(2)], ids=["here", "pool"])
def test_onnx_files_are_evaluated(executor: Executor, tmp_path: Path) -> None:
    """B1: a traceback of ``copy.deepcopy``, and no matrix."""
    address = f"{SURROGATE}=onnx:{write_onnx(tmp_path / 'net.onnx')}"
    check_run(evaluated(address, tmp_path, executor), tmp_path, gradients=False)
    assert not (tmp_path / "run" / "in_process.json").exists()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated")
@pytest.mark.parametrize("made", [scripted, plain])
def test_what_cannot_be_sent_to_a_pool_is_evaluated_here(
    made: Callable[[Path], Detector], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """B1's kind: "cannot pickle" ended the run; the numbers are those of a pool, at one thread."""
    detector = made(tmp_path)
    matrix = evaluated(detector, tmp_path, PoolExecutor(2))
    check_run(matrix, tmp_path)
    assert f"{SURROGATE} cannot be sent to other processes" in caplog.text
    assert (
        SURROGATE
        in json.loads((tmp_path / "run" / "in_process.json").read_text())["in_this_process"]
    )
    again = evaluated(detector, tmp_path / "again", InProcessExecutor(1))
    assert matrix.to_csv() == again.to_csv()
    assert not (tmp_path / "again" / "run" / "in_process.json").exists()


def test_sets_are_built_with_a_surrogate_that_cannot_be_sent(tmp_path: Path) -> None:
    suite = load_suite("quick")
    one = suite.model_copy(
        update={"rows": tuple(row for row in suite.rows if row.id == "pgd-linf-8")}
    )
    part = Part(images_in(tmp_path / "data"), all_rows=True, samples=0)
    made = {SURROGATE: plain(tmp_path)}
    build_plusplus(
        {"test": part}, one, made, tmp_path / "set", lambda task, done, total: None, PoolExecutor(2)
    )
    assert len(load_plusplus(tmp_path / "set", "test", "pgd-linf-8")) == 10
    assert len(load_data("folder", str(tmp_path / "data"), split="test")) == 10


@pytest.mark.parametrize("name", [*SERVICE_PRESETS, "winston"])
def test_services_are_evaluated(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A9's kind: each preset through a whole evaluation, against a server that answers as the
    service does.
    """
    upload = tmp_path / "upload"
    upload.mkdir()
    where = {"image_url": "https://files.example.org/{sha256}.png", "upload_folder": str(upload)}
    own = Preset(winston(upload), {"WINSTON_API_KEY": SERVICE_KEY}, where)
    preset = own if name == "winston" else SERVICE_PRESETS[name]
    for variable, value in ({"no_proxy": "*"} | preset.secrets).items():
        monkeypatch.setenv(variable, value)
    with serving(preset.handle) as server:
        address = f"{SURROGATE}=endpoint:{name}"
        detector = load_detector(address, base=server.base, pause=0.001, min_side=0, **preset.given)
        matrix = evaluated(detector, tmp_path, each=1)
    check_run(matrix, tmp_path, gradients=False)
    status = matrix.query("attack == 'pgd-linf-8' and mode == 'white-box'")["status"].iloc[0]
    assert (
        status == f"unavailable: pgd-linf needs gradients, and {SURROGATE} has none (a black box)"
    )
    written = "".join(path.read_text() for path in (tmp_path / "run").rglob("*.json"))
    assert SERVICE_KEY not in written


def test_a_folder_of_transformers_is_evaluated(tmp_path: Path) -> None:
    """A4's kind: a classifier that ``save_pretrained`` wrote, its weights set so that it tells dark
    from bright.
    """
    save_tiny_vit(tmp_path / "vit", ["artificial", "human"])
    matrix = evaluated(f"mine=hf:{tmp_path / 'vit'}", tmp_path, each=3)
    rows = matrix[(matrix["direction"] == "both") & (matrix["mode"] != "static")].set_index(
        "attack"
    )
    assert (rows["status"] == "ok").all()
    assert {"clean", "pgd-linf-8", "pgd-l2-1", "one-pixel", "worst-case"} <= set(rows.index)
    assert rows["accuracy"].notna().all()
