"""Fingerprints: all that can change a logit, the same in every process (case A2 of what
people do).
"""

import functools
import io
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data import Dataset, load_data
from robustbench_aigi.detectors import Detector, load_detector, save_detector, wrap
from robustbench_aigi.detectors._support.faster import faster
from robustbench_aigi.detectors._support.fingerprint import (
    Fingerprint,
    Identities,
    Unknown,
    fingerprint,
    reuse_note,
)
from robustbench_aigi.detectors.base import Card, Normalise
from robustbench_aigi.detectors.external.onnx_model import external_files
from robustbench_aigi.pipeline.evaluate import evaluate


def flat(seed: int = 0, outputs: int = 1) -> nn.Module:
    """A linear network on 8 x 8 pixels."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, outputs))


def wrapped(net: nn.Module | None = None, **numbers: Any) -> Detector:
    return wrap(flat() if net is None else net, **({"input_size": 8} | numbers))


def of(net: nn.Module | None = None, **numbers: Any) -> str:
    """The digest of a wrapped network that can be fingerprinted as a whole."""
    found = fingerprint(wrapped(net, **numbers))
    assert found.unknown == ()
    return found.digest


class Prepared(nn.Module):
    """A network behind a step of its user's."""

    def __init__(self, step: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.step, self.net = step, flat()

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.net(self.step(images))
        return outputs


def times(factor: Any) -> Callable[[Tensor], Tensor]:
    return lambda images: images * factor


def test_two_detectors_alike_have_one_fingerprint_and_words_on_the_card_do_not_count() -> None:
    assert of() == of() == of(name="other", summary="a few words", code_licence="none")
    noticed = wrapped()
    noticed.train()
    noticed.at_once = 3
    for parameter in noticed.parameters():
        parameter.requires_grad_(False)
    assert fingerprint(noticed).digest == of()


@pytest.mark.parametrize(
    "numbers",
    [
        {"fake_index": 0},
        {"mean": (0.5, 0.5, 0.5)},
        {"std": (0.5, 0.5, 0.5)},
        {"threshold": 0.25},
        {"input_size": 16},
        {"stochastic": True},
        {"gradient": "bpda"},
    ],
    ids=str,
)
def test_every_argument_counts(numbers: dict[str, Any]) -> None:
    assert of(**numbers) != of()


def test_weights_buffers_hooks_and_replaced_methods_count() -> None:
    known = {of(), of(flat(1))}
    net = flat()
    net.register_buffer("offset", torch.zeros(1), persistent=False)
    known.add(of(net))
    net.get_buffer("offset").fill_(1)
    known.add(of(net))
    net.register_forward_hook(lambda module, inputs, output: -output)
    known.add(of(net))
    other = flat()
    forward = other.forward
    other.forward = lambda images: -forward(images)
    known.add(of(other))
    normed = flat()
    nn.utils.parametrizations.weight_norm(normed.get_submodule("1"))
    known.add(of(normed))
    bounded = flat()
    nn.utils.parametrizations.spectral_norm(bounded.get_submodule("1"))
    known.add(of(bounded))
    assert len(known) == 8


def test_a_closure_is_fingerprinted_by_what_it_holds() -> None:
    assert of(Prepared(times(0.5))) == of(Prepared(times(0.5))) != of(Prepared(times(0.25)))
    table, other = np.ones(3), np.zeros(3)
    assert of(Prepared(times(table))) != of(Prepared(times(other)))
    half, quarter = (functools.partial(torch.mul, other=factor) for factor in (0.5, 0.25))
    assert of(Prepared(half)) != of(Prepared(quarter))
    assert of(Prepared(lambda images: images + 1)) != of(Prepared(lambda images: images + 2))


@pytest.mark.parametrize("kind", ["file", "connection", "generator", "memory"])
def test_state_that_no_hash_can_hold_is_named(kind: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("")
    with (tmp_path / "log").open() as file, socket.socket() as plug:
        held = {
            "file": file,
            "connection": plug,
            "generator": (number for number in range(2)),
            "memory": memoryview(b"x"),
        }
        found = fingerprint(wrapped(Prepared(times(held[kind]))))
    words = {
        "file": "an open file",
        "connection": "a connection (socket.socket)",
        "generator": "a generator",
    }
    assert len(found.unknown) == 1
    assert found.unknown[0].startswith(
        f"a closure over {words.get(kind, 'an object of builtins.memoryview')}"
    )
    assert found.unknown[0].endswith("in net.step")
    note = reuse_note("mine", found)
    assert note.startswith("results of mine are not reused from an earlier run")
    assert found.unknown[0] in note
    assert reuse_note("mine", Fingerprint("0")) == ""


def test_locks_and_loggers_are_no_state() -> None:
    assert of(Prepared(times(threading.Lock()))) == of(Prepared(times(threading.Lock())))


class Asking(nn.Module):
    """It asks a server about each image."""

    def forward(self, images: Tensor) -> Tensor:
        from urllib.request import urlopen

        with urlopen("http://localhost/") as answer:
            return images.mean(dim=(1, 2, 3)) + len(answer.read())


class Reading(nn.Module):
    """It reads a file at each call."""

    def forward(self, images: Tensor) -> Tensor:
        with open("factor.txt") as file:  # noqa: PTH123
            return images.mean(dim=(1, 2, 3)) * float(file.read())


class ReadOnce(nn.Module):
    """It reads a file when it is built: what it read is walked itself."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.factor = self._read(path)

    def _read(self, path: Path) -> float:
        with open(path) as file:  # noqa: PTH123
            return float(file.read())

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(1, 2, 3)) * self.factor


def test_code_that_asks_outside_while_it_scores_is_named(tmp_path: Path) -> None:
    assert "urllib.request" in fingerprint(wrapped(Asking())).unknown[0]
    assert "a file that is opened at every call" in fingerprint(wrapped(Reading())).unknown[0]
    path = tmp_path / "factor.txt"
    path.write_text("1")
    first = of(ReadOnce(path))
    path.write_text("2")
    assert of(ReadOnce(path)) != first


@pytest.mark.filterwarnings(
    "ignore:.*torch.jit.*:FutureWarning", "ignore:.*torch.jit.*:DeprecationWarning"
)
def test_compiled_parallel_and_scripted_networks(images: Tensor) -> None:
    net = flat()
    assert of(torch.compile(net)) == of(nn.DataParallel(net)) == of(net)  # type: ignore[arg-type]
    for form in (
        torch.jit.script,
        lambda n: torch.jit.trace(n, images[:, :, :8, :8]),
        torch.fx.symbolic_trace,
    ):
        assert of(form(flat())) == of(form(flat())) != of(form(flat(1)))
    assert fingerprint(wrapped(nn.Sequential(nn.Flatten(), nn.LazyLinear(1)))).unknown


class Declared(nn.Module):
    """It says itself what counts."""

    def __init__(self, revision: str, secret: object) -> None:
        super().__init__()
        self.revision, self.secret = revision, secret

    def fingerprint_parts(self) -> dict[str, Any]:
        """See Detector."""
        return {"revision": self.revision}

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(1, 2, 3))


def test_a_class_that_knows_better_declares_its_parts() -> None:
    assert (
        of(Declared("a", iter([1]))) == of(Declared("a", iter([2]))) != of(Declared("b", iter([1])))
    )
    endpoint = load_detector("http://localhost:1/score")
    assert fingerprint(endpoint).unknown == ("the service behind http://localhost:1/score",)
    assert fingerprint(wrapped(Prepared(Unknown("the weather")))).unknown == ("the weather",)  # type: ignore[arg-type]


def test_views_follow_the_detector_that_they_are_of() -> None:
    one, other = load_detector("cifake-cnn", "cifake"), load_detector("cifake-cnn", "cifake")
    with torch.no_grad():
        next(other.parameters()).add_(1)
    first, again, second = (fingerprint(faster(d, "int8")) for d in (one, one, other))
    assert first == again != second
    assert first.unknown == ()


def test_an_onnx_file_counts_by_its_bytes_and_arguments(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from tests.test_onnx import write_onnx

    digests = []
    for name, outputs in (("a", 1), ("b", 1), ("c", 2)):
        write_onnx(tmp_path / f"{name}.onnx", [1, 3, 8, 8], outputs)
        digests.append(fingerprint(load_detector(f"onnx:{tmp_path / name}.onnx")))
    assert digests[0] == digests[1] != digests[2]
    assert digests[0].unknown == ()
    turned = load_detector(f"onnx:{tmp_path / 'a.onnx'}", fake_index=0)
    assert fingerprint(turned).digest != digests[0].digest


def test_weights_beside_an_onnx_file_are_found(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    value = onnx.numpy_helper.from_array(np.ones((64, 64), dtype=np.float32), "w")
    node = onnx.helper.make_node("Identity", ["w"], ["y"])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [64, 64])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], [out], [value]))
    onnx.save_model(
        model,
        str(tmp_path / "a.onnx"),
        save_as_external_data=True,
        location="a.data",
        size_threshold=0,
    )
    assert external_files((tmp_path / "a.onnx").read_bytes()) == ["a.data"]


MODULE = """
import torch
from torch import Tensor
import helper_of_mine
from robustbench_aigi.detectors import Card, Detector

SCALE = {scale}

def stretched(images):
    return images * SCALE + helper_of_mine.offset()

class Mine(Detector):
    default_card = Card(name="mine", source="tests")

    def logits(self, images):
        return stretched(images).mean(dim=(1, 2, 3)) - 0.5
"""
HELPER = "OFFSET = {offset}\n\ndef offset():\n    return OFFSET\n"
PRINT = """
import json, torch
from robustbench_aigi.detectors import load_detector
from robustbench_aigi.detectors._support.fingerprint import fingerprint
torch.manual_seed(0)
names = ["module_of_mine:Mine", "cifake-cnn", "dire", "clip-mlp", "tinyvit-5m"]
print(json.dumps({name: fingerprint(load_detector(name)).digest for name in names}))
"""


def in_a_process(
    folder: Path, seed: str, scale: float = 1.0, offset: float = 0.0
) -> dict[str, str]:
    """Digests found by another process, where a module of the user's is in the current folder."""
    (folder / "module_of_mine.py").write_text(MODULE.format(scale=scale))
    (folder / "helper_of_mine.py").write_text(HELPER.format(offset=offset))
    path = os.pathsep.join([str(folder), *sys.path])
    variables = os.environ | {
        "PYTHONHASHSEED": seed,
        "PYTHONPATH": path,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", PRINT], env=variables, capture_output=True, text=True, check=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_the_same_in_every_process_and_another_after_an_edit_of_the_users_module(
    tmp_path: Path,
) -> None:
    first = in_a_process(tmp_path, "1")
    assert in_a_process(tmp_path, "2") == first
    mine = "module_of_mine:Mine"
    scaled, moved = in_a_process(tmp_path, "3", scale=0.5), in_a_process(tmp_path, "4", offset=0.5)
    assert len({first[mine], scaled[mine], moved[mine]}) == 3
    assert first | {mine: ""} == scaled | {mine: ""} == moved | {mine: ""}


def test_two_loads_of_a_file_have_one_fingerprint_and_use_changes_nothing(
    images: Tensor, tmp_path: Path
) -> None:
    detector = load_detector("tinyvit-5m", "cifake")
    save_detector(detector, tmp_path / "a.safetensors")
    one, other = (
        load_detector(str(tmp_path / "a.safetensors")),
        load_detector(str(tmp_path / "a.safetensors")),
    )
    found = fingerprint(one)
    one.logits(images)
    assert fingerprint(one) == fingerprint(other) == found == fingerprint(detector)


def test_numbers_that_a_process_draws_do_not_count() -> None:
    """Members of a set come in another order in every process, ids of objects too."""
    assert of(Prepared(times({"a", "b", "c"}))) == of(Prepared(times({"c", "b", "a"})))
    assert of(Prepared(times({"a"}))) != of(Prepared(times({"b"})))
    net = flat()
    net.get_submodule("1").register_forward_hook(
        Normalise((0.0,), (1.0,))
    )  # hooks are counted in a process
    again = flat()
    again.get_submodule("1").register_forward_hook(Normalise((0.0,), (1.0,)))
    assert of(net) == of(again)


class Brightness(Detector):
    """The mean brightness, with an open file beside it where it is asked for."""

    default_card = Card(name="mine", source="tests")

    def __init__(self, level: float, log: io.IOBase | None = None) -> None:
        super().__init__()
        self.level, self.log = level, log

    def logits(self, images: Tensor) -> Tensor:
        return 8 * (images.mean(dim=(1, 2, 3)) - self.level)

    def __deepcopy__(self, memo: dict[int, object]) -> "Brightness":
        return Brightness(self.level, self.log)

    def __reduce__(self) -> tuple[Any, ...]:
        return Brightness, (self.level,)


SUITE = Suite.model_validate(
    {
        "name": "s",
        "version": 1,
        "seed": 0,
        "attacks": [
            {
                "id": "pgd",
                "attack": "pgd-linf",
                "with": {"eps": 8, "step": 4, "steps": 2},
                "surrogate": "maker",
            }
        ],
    }
)


@pytest.fixture(scope="module")
def data(tiny_recipe: str) -> Dataset:
    return load_data(tiny_recipe, split="test")


def clean(detector: Detector, data: Dataset, out: Path, **given: Any) -> float:
    matrix = evaluate([detector], SUITE, data, out, **given)
    return float(matrix.cell(detector.card.name, "clean", "clean")["accuracy"])


def stamps(out: Path) -> dict[str, int]:
    return {p.relative_to(out).as_posix(): p.stat().st_mtime_ns for p in out.rglob("*.parquet")}


def test_the_same_folder_with_a_turned_detector_gives_fresh_numbers(
    data: Dataset, tmp_path: Path
) -> None:
    """A2: fake_index=1, then fake_index=0, in one folder."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    with torch.no_grad():
        middle = float(wrapped(net).logits(data.arrays()[0].float() / 255).median())
    for index in (1, 0):
        own = wrapped(net, fake_index=index, threshold=middle if index else -middle)
        fresh, again = clean(own, data, tmp_path / str(index)), clean(own, data, tmp_path / "one")
        assert again == fresh
    assert fresh == pytest.approx(
        1 - clean(wrapped(net, threshold=middle), data, tmp_path / "one"), abs=0.1
    )


def test_what_did_not_change_is_reused(data: Dataset, tmp_path: Path) -> None:
    maker = {"maker": wrapped(flat(3))}
    clean(wrapped(), data, tmp_path, surrogates=maker)
    before, facts = stamps(tmp_path), json.loads((tmp_path / "run.json").read_text())
    assert facts["fingerprints"]["mine"] == fingerprint(wrapped()).digest
    assert set(facts["fingerprints"]) == {"mine", "maker"}
    assert facts["not_reused"] == {}
    clean(wrapped(summary="more words"), data, tmp_path, surrogates={"maker": wrapped(flat(3))})
    after = stamps(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {"plusplus/manifest.parquet"}


def test_images_made_on_another_surrogate_are_made_anew(data: Dataset, tmp_path: Path) -> None:
    """A2: the same weights behind another preprocessing made the earlier images."""
    for mean in ((0.0,) * 3, (0.5,) * 3):
        clean(
            wrapped(),
            data,
            tmp_path,
            surrogates={"maker": wrapped(flat(3), mean=mean, std=(0.1, 0.2, 0.3))},
        )
    assert len(list((tmp_path / "plusplus" / "parts").glob("test-pgd-*"))) == 2


def test_what_cannot_be_fingerprinted_is_never_reused_and_says_why(
    data: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "log").write_text("")
    said: list[str] = []
    with (tmp_path / "log").open() as file:
        detector = Brightness(0.5, file)
        clean(detector, data, tmp_path / "run", say=said.append)
        before = stamps(tmp_path / "run" / "cells")
        clean(detector, data, tmp_path / "run", say=said.append)
    after = stamps(tmp_path / "run" / "cells")
    assert all(before[name] != after[name] for name in before)
    assert (
        said
        == [
            "results of mine are not reused from an earlier run, and a stopped run starts again: "
            "an open file in log cannot be fingerprinted"
        ]
        * 2
    )
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["not_reused"] == {"mine": ["an open file in log"]}


def test_an_identity_is_one_within_a_run_and_another_in_the_next_where_something_is_unknown() -> (
    None
):
    endpoint, known = load_detector("http://localhost:1/score"), wrapped()
    one, other = Identities(), Identities()
    assert one.of(endpoint) == one.of(endpoint) != other.of(endpoint)
    assert one.of(known) == other.of(known) == fingerprint(known).digest
