"""What is sent, when, and how often: bodies, pauses, rates, polling, limits, secrets."""

import copy
import pickle
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any

import pytest
import torch
from torch import Tensor

from robustbench_aigi.detectors.external.http.endpoint import HTTPEndpoint
from robustbench_aigi.errors import LogitsError, UnavailableError, UserError
from tests.contract import built
from tests.endpoints import Reply, Seen, Server, brightness, decoded, serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with serving(lambda seen: Reply(200, {"score": brightness(seen.body)})) as made:
        yield made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses, which take no time: the monotonic clock runs by them alone."""
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    monkeypatch.setattr("time.monotonic", lambda: sum(pauses))
    return pauses


def asked(server: Server, **config: Any) -> HTTPEndpoint:
    detector = built(f"{server.base}/detect", **{"pause": 0.001, "timeout": 5.0} | config)
    assert isinstance(detector, HTTPEndpoint)
    return detector


def then(*replies: Reply) -> Callable[[Seen], Reply]:
    """These first, then the score."""
    left = list(replies)
    return lambda seen: left.pop(0) if left else Reply(200, {"score": 0.75})


def test_json_templates_hold_the_image_anywhere(server: Server, images: Tensor) -> None:
    def handle(seen: Seen) -> Reply:
        assert seen.headers["content-type"] == "application/json"
        assert seen.headers["x-kind"] == "m/1"
        kind, entries = seen.json
        assert kind == {"model": "m/1", "n": 3}
        assert entries[1].startswith("data:image/png;base64,")
        assert len(entries[2]) == 64
        return Reply(200, {"score": decoded(entries[0])})

    server.handle = handle
    template = [{"model": "{model}", "n": 3}, ["{base64}", "{data_uri}", "{sha256}"]]
    detector = asked(
        server, body="json", template=template, model="m/1", headers={"X-Kind": "{model}"}
    )
    torch.testing.assert_close(
        detector.logits(images), images.mean(dim=(1, 2, 3)).logit(), atol=1e-4, rtol=1e-4
    )


def test_retry_after_is_obeyed_in_seconds_and_as_a_date(
    server: Server, images: Tensor, clock: list[float]
) -> None:
    when = formatdate(time.time() + 30, usegmt=True)
    server.handle = then(
        Reply(429, None, {"Retry-After": "7"}),
        Reply(503, None, {"Retry-After": when}),
        Reply(503),
        Reply(500),
    )
    asked(server, pause=0.5).logits(images[:1])
    assert clock[0] == 7
    assert 25 <= clock[1] <= 31
    assert clock[2:] == [2.0, 4.0]
    server.handle = then(Reply(429, None, {"Retry-After": "900"}))
    with pytest.raises(UnavailableError, match=r"wait 900 seconds.*longest_pause=901"):
        asked(server).logits(images[:1])


def test_requests_keep_to_a_rate_and_to_a_budget_in_every_copy(
    server: Server, images: Tensor, clock: list[float]
) -> None:
    detector = asked(server, requests_per_second=2, budget=5)
    detector.logits(images[:3])
    assert clock == [0.5, 0.5]
    worker = pickle.loads(pickle.dumps(detector))
    twin = copy.deepcopy(detector)
    worker.logits(images.flip(3)[:1])
    twin.logits(images.flip(3)[1:2])
    assert clock == [0.5] * 4
    assert detector.sent == worker.sent == twin.sent == len(server.seen) == 5
    with pytest.raises(UnavailableError, match="budget of 5 requests"):
        detector.logits(images.flip(3)[2:])


POLL_ARGUMENTS = {
    "token_env": "MY_TOKEN",
    "authorization": "Token {token}",
    "score": "result.fake",
    "scale": "percent",
}


def poll_at(server: Server, **changes: Any) -> dict[str, Any]:
    """Return the entry ``poll`` of a service with jobs."""
    poll = {
        "url": f"{server.base}/jobs/{{path:data.id}}",
        "done": "state",
        "values": ["ready"],
        "failed": ["lost"],
    }
    return poll | changes


def test_an_answer_that_comes_later_is_polled_for(
    server: Server, images: Tensor, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "swordfish-123")
    means: dict[str, list[float]] = {}

    def handle(seen: Seen) -> Reply:
        assert seen.headers["authorization"] == "Token swordfish-123"
        if seen.method == "POST":
            means[f"job {len(means)}"] = [brightness(seen.body), 0]
            return Reply(202, {"data": {"id": f"job {len(means) - 1}"}})
        job = means[seen.path.removeprefix("/jobs/").replace("%20", " ")]
        job[1] += 1
        if job[1] == 1:
            return Reply(202)
        state = "ready" if job[1] == 3 else "busy"
        return Reply(200, {"state": state, "result": {"fake": 100 * job[0]}})

    server.handle = handle
    detector = asked(server, poll=poll_at(server, every=2), **POLL_ARGUMENTS)
    torch.testing.assert_close(
        detector.logits(images), images.mean(dim=(1, 2, 3)).logit(), atol=1e-4, rtol=1e-4
    )
    assert clock == [2.0] * 8
    assert detector.service.requests_per_image == 2


def test_an_answer_that_never_comes_is_an_error(
    server: Server, images: Tensor, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "swordfish-123")
    server.handle = lambda seen: Reply(200, {"data": {"id": "1"}, "state": "lost"})
    with pytest.raises(UnavailableError, match="state is 'lost'"):
        asked(server, poll=poll_at(server), **POLL_ARGUMENTS).logits(images)
    server.handle = lambda seen: Reply(200, {"data": {"id": "1"}, "state": "busy"})
    with pytest.raises(UnavailableError, match="no answer in 9 seconds"):
        asked(server, poll=poll_at(server, longest=9), **POLL_ARGUMENTS).logits(images)
    server.handle = lambda seen: Reply(202, {"id": 1})
    with pytest.raises(LogitsError, match="answer later"):
        asked(server).logits(images)


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"min_side": 33}, "a side of at least 33 pixels"),
        ({"max_side": 31}, "sides of at most 31 pixels"),
        ({"max_pixels": 1000}, "at most 1000 pixels"),
        ({"max_bytes": 100}, "at most 100 bytes"),
    ],
)
def test_an_image_outside_the_limits_is_not_sent(
    limit: dict[str, int], words: str, server: Server, images: Tensor
) -> None:
    with pytest.raises(UserError, match=f"takes images of {words}, got 32 x 32"):
        asked(server, **limit).logits(images)
    assert server.seen == []


@pytest.mark.parametrize(
    "given",
    [
        {"headers": {"X-Api-Key": "swordfish-123"}},
        {"body": "multipart", "form": {"api_secret": "swordfish-123"}},
        {"body": "json", "template": [{"a": {"token": "swordfish-123"}}, "{base64}"]},
        {"authorization": "Bearer swordfish-123"},
        {"url": "https://host.example/x?api_key=swordfish-123"},
        {"login": {"url": "https://host.example/x", "template": {"password": "swordfish-123"}}},
    ],
)
def test_a_secret_that_is_written_out_is_refused(given: dict[str, Any], server: Server) -> None:
    with pytest.raises(UserError, match="holds a secret") as caught:
        asked(server, **given)
    assert "swordfish" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"body": "json", "template": {"x": 1}}, "must hold the image"),
        ({"body": "json", "template": {"x": "{bas64}"}}, "placeholder {bas64}"),
        ({"headers": {"X\nY": "1"}}, "plain ASCII text"),
        ({"headers": {"X": "1\r\nY: 2"}}, "plain ASCII text"),
        ({"authorization": "Bearer {token}", "headers": {"X": "{token}"}}, "token_env"),
        ({"scale": "percentage"}, "scale"),
        ({"score": "[label=a|b].score", "scale": "logit"}, "several labels"),
        ({"url": "https://{model}.example/x"}, "Write it in full"),
        ({"fake_index": 2}, "fake_index must be 0 or 1"),
    ],
)
def test_descriptions_that_cannot_be_are_told(
    given: dict[str, Any], words: str, server: Server
) -> None:
    with pytest.raises(UserError, match=words):
        asked(server, **given)


def test_secrets_of_any_place_travel_encrypted_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "swordfish-123")
    for given in (
        {"headers": {"X-Api-Key": "{env:MY_KEY}"}},
        {"url": "http://host.example/?key={env:MY_KEY}"},
    ):
        with pytest.raises(UserError, match="unencrypted"):
            built(**{"address": "http://host.example/x"} | given)


def test_what_is_asked_for_costs_is_known_without_asking(server: Server) -> None:
    service = asked(server, price=0.002, currency="EUR", requests_per_second=4, budget=50).service
    assert service == (1, 0.002, "EUR", 4, 50)
    assert server.seen == []
    assert HTTPEndpoint.remote
    assert (
        {"budget", "price"}
        <= HTTPEndpoint.operational
        <= set(HTTPEndpoint("http://127.0.0.1:1/x").config)
    )


def test_what_cannot_change_an_answer_is_no_part_of_what_a_detector_is(server: Server) -> None:
    one = asked(server).fingerprint_parts()
    for same in ({"budget": 7}, {"price": 1}, {"tries": 9}, {"requests_per_second": 3}):
        assert asked(server, **same).fingerprint_parts() == one
    given: dict[str, Any]
    for given in (
        {"score": "x"},
        {"revision": "v2"},
        {"headers": {"X": "1"}},
        {"abstain_as": "fake"},
    ):
        assert asked(server, **given).fingerprint_parts() != one
