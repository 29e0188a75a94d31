"""What a fingerprint counts: all that can change a logit, and nothing else."""

import functools
import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustbench_aigi.detectors import load_detector
from robustbench_aigi.detectors._support.faster import faster
from robustbench_aigi.detectors._support.fingerprint import (
    Fingerprint,
    Unknown,
    fingerprint,
    reuse_note,
)
from tests.fingerprints import Prepared, flat, of, times, wrapped


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
    assert of(Prepared(times(np.ones(3)))) != of(Prepared(times(np.zeros(3))))
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
        self.revision = revision
        self.secret = secret

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
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    one = load_detector("cifake-cnn", "cifake")
    other = load_detector("cifake-cnn", "cifake")
    with torch.no_grad():
        next(other.parameters()).add_(1)
    first, again, second = (fingerprint(faster(d, "onnx")) for d in (one, one, other))
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
