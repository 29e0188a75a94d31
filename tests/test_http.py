import io
import json
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from robustbench_aigi.detectors import save_detector
from robustbench_aigi.detectors.external import load_external
from robustbench_aigi.detectors.external.http.endpoint import HTTPEndpoint
from robustbench_aigi.errors import LogitsError, UnavailableError, UserError
from robustbench_aigi.imaging.pixels import to_bytes
from tests.contract import built, check_contract

SECRET_TOKEN = "swordfish-123"
Reply = tuple[int, bytes]


class Service:
    """An endpoint on this machine: answers with the mean brightness, unless there are ``replies``
    to give first.
    """

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.answer: Callable[[float], Any] = lambda mean: {"score": mean}
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                service.headers.append(dict(self.headers))
                service.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                mean = float(np.asarray(Image.open(io.BytesIO(service.bodies[-1]))).mean()) / 255
                status, text = (
                    service.replies.pop(0)
                    if service.replies
                    else (200, json.dumps(service.answer(mean)).encode())
                )
                if status == 0:
                    self.close_connection = True
                    return
                self.send_response(status, SECRET_TOKEN if status >= 400 else None)
                self.send_header("Content-Length", str(len(text)))
                if 300 <= status < 400:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                with suppress(ConnectionError):  # of one who would wait no longer
                    self.wfile.write(text)

            def log_message(self, format: str, *args: Any) -> None:
                """Keep the test's output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/detect"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("no_proxy", "*")
    made = Service()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def asked(service: Service, **config: Any) -> HTTPEndpoint:
    detector = built(service.url, **{"pause": 0.001, "timeout": 5.0} | config)
    assert isinstance(detector, HTTPEndpoint)
    return detector


def test_http_sends_png_and_keeps_the_contract(
    service: Service, images: Tensor, tmp_path: Path
) -> None:
    detector = asked(service)
    expected = images.mean(dim=(1, 2, 3))
    torch.testing.assert_close(detector.logits(images), expected.logit(), atol=1e-4, rtol=1e-4)
    sent = np.asarray(Image.open(io.BytesIO(service.bodies[0])))
    assert np.array_equal(sent, to_bytes(images[0]).permute(1, 2, 0).numpy())
    assert service.headers[0]["Content-Type"] == "image/png"
    assert "Authorization" not in service.headers[0]
    check_contract(detector, images, tmp_path)
    torch.testing.assert_close(
        asked(service, fake_index=0).logits(images), -expected.logit(), atol=1e-4, rtol=1e-4
    )


def test_http_reads_a_dotted_path_and_logits(service: Service, images: Tensor) -> None:
    service.answer = lambda mean: {"data": [{"raw": 7 * mean}]}
    detector = asked(service, score="data.0.raw", scale="logit")
    torch.testing.assert_close(
        detector.logits(images), 7 * images.mean(dim=(1, 2, 3)), atol=1e-4, rtol=1e-4
    )
    with pytest.raises(LogitsError, match="no 'score'"):
        asked(service).logits(images)
    with pytest.raises(LogitsError, match="no probability"):
        asked(service, score="data.0.raw").logits(images)


@pytest.mark.parametrize("value", ["0.9", True, None, [0.9]])
def test_http_takes_numbers_only(value: object, service: Service, images: Tensor) -> None:
    service.answer = lambda mean: {"score": value}
    with pytest.raises(LogitsError, match="no number"):
        asked(service).logits(images)


def test_http_asks_about_an_image_once(service: Service, images: Tensor) -> None:
    detector = asked(service)
    first = detector.logits(torch.cat([images, images]))
    assert torch.equal(
        detector.logits(images + 1e-4), first[:4]
    )  # the same image on the 8-bit grid
    assert detector.sent == len(service.bodies) == 4
    detector.logits(images.transpose(2, 3))
    assert detector.sent == 8


@pytest.mark.parametrize("status", [429, 500, 503, 0])
def test_http_tries_again(status: int, service: Service, images: Tensor) -> None:
    service.replies = [(status, b""), (status, b"")]
    detector = asked(service, tries=3)
    assert detector.logits(images[:1]).isfinite().all()
    assert detector.sent == 3


def test_http_tries_again_after_silence(service: Service, images: Tensor) -> None:
    waiting = threading.Event()
    answers: list[Callable[[], bool]] = [lambda: waiting.wait(5), lambda: True]

    def answer(mean: float) -> dict[str, float]:
        answers.pop(0)()
        return {"score": mean}

    service.answer = answer
    detector = asked(service, timeout=0.2)
    assert detector.logits(images[:1]).isfinite().all()
    assert detector.sent == 2
    waiting.set()


def test_http_pauses_grow(
    service: Service, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    service.replies = [(500, b"")] * 4
    with pytest.raises(UnavailableError, match="no answer in 4 tries, the last time status 500"):
        asked(service, tries=4, pause=0.5).logits(images)
    assert pauses == [0.5, 1.0, 2.0]


def test_http_gives_up_at_once_where_trying_again_is_vain(service: Service, images: Tensor) -> None:
    for status, words in ((401, "Check the token"), (404, "Check the URL"), (302, "redirects")):
        service.replies = [(status, b"")]
        detector = asked(service)
        with pytest.raises(UnavailableError, match=words):
            detector.logits(images)
        assert detector.sent == 1
    service.replies = [(200, b"<html>")]
    with pytest.raises(LogitsError, match="no JSON"):
        asked(service).logits(images)


def test_http_keeps_to_its_budget(service: Service, images: Tensor) -> None:
    service.replies = [(500, b"")]
    detector = asked(service, budget=3)
    with pytest.raises(UnavailableError, match="budget of 3 requests"):
        detector.logits(images)
    assert len(service.bodies) == 3
    assert detector.logits(images[:2]).isfinite().all()  # what was paid for is still known


def test_http_secret_reaches_the_service_and_nothing_else(
    service: Service,
    images: Tensor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MY_TOKEN", f"{SECRET_TOKEN}\n")
    detector = asked(service, token_env="MY_TOKEN")
    detector.logits(images)
    assert service.headers[0]["Authorization"] == f"Bearer {SECRET_TOKEN}"
    save_detector(detector, tmp_path / "saved.safetensors")
    written = (tmp_path / "saved.safetensors").read_bytes().decode("latin-1")
    texts = [
        written,
        repr(detector),
        str(vars(detector)),
        detector.card.model_dump_json(),
        json.dumps(detector.config),
    ]
    for status in (401, 500):
        service.replies = [(status, SECRET_TOKEN.encode())] * 5
        try:
            detector.logits(images / 2)
        except UnavailableError:
            texts.append(traceback.format_exc())
    assert len(texts) == 7
    assert not any(SECRET_TOKEN in text for text in [*texts, *capfd.readouterr()])


def test_http_refuses_what_would_give_a_secret_away(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in (
        "https://me:pass@host.example/x",
        "https://host.example/x?api_key=1",
        "https://host.example/?Token=",
    ):
        with pytest.raises(UserError, match="token_env='NAME'"):
            load_external(url)
    with pytest.raises(UnavailableError) as caught:
        load_external(service.url, token_env=SECRET_TOKEN)  # the token itself, instead of a name
    assert SECRET_TOKEN not in str(caught.value)
    monkeypatch.setenv("MY_TOKEN", SECRET_TOKEN)
    with pytest.raises(UserError, match="unencrypted"):
        load_external("http://host.example/x", token_env="MY_TOKEN")
    with pytest.raises(UserError, match="Write it in full"):
        load_external("https://")
    with pytest.raises(UserError, match="too low"):
        load_external(service.url, tries=0)


def test_http_that_is_not_there_is_unavailable(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(UnavailableError, match="ConnectionRefusedError"):
        built("http://127.0.0.1:9/x", tries=2, pause=0.001).logits(images)
