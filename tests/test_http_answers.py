"""What is read in an answer: a class by its name, never by its place; scales; words."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from robustbench_aigi.detectors.external.http.answer import number_at
from robustbench_aigi.detectors.external.http.endpoint import HTTPEndpoint
from robustbench_aigi.detectors.external.http.path import parse_path
from robustbench_aigi.errors import LogitsError, UserError
from tests.contract import built
from tests.endpoints import Reply, Seen, Server, brightness, serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with serving(lambda seen: Reply(500)) as made:
        yield made


def asked(server: Server, **config: Any) -> HTTPEndpoint:
    detector = built(f"{server.base}/detect", **{"pause": 0.001, "timeout": 5.0} | config)
    assert isinstance(detector, HTTPEndpoint)
    return detector


def grey(*shares: float) -> Tensor:
    """Images of one grey, ``(N, 3, 8, 8)``."""
    levels = torch.tensor([round(share * 255) / 255 for share in shares])
    return levels.view(-1, 1, 1, 1).expand(-1, 3, 8, 8).clone()


def ranked(seen: Seen) -> Reply:
    """What an image classifier answers: labels sorted by score."""
    mean = brightness(seen.body)
    pairs = sorted([("artificial", mean), ("human", 1 - mean)], key=lambda pair: -pair[1])
    return Reply(200, [{"label": label, "score": score} for label, score in pairs])


def test_the_top_of_a_sorted_list_is_refused_and_a_label_is_chosen_by_name(server: Server) -> None:
    """A9: ``score='0.score'`` was the top label's score whichever label it was, so every image was
    above 0.5.
    """
    server.handle = ranked
    with pytest.raises(
        LogitsError,
        match=r"'\[label=NAME\]\.score'; the answer has artificial, human|human, artificial",
    ):
        asked(server, score="0.score").logits(grey(0.2, 0.9))
    logits = asked(server, score="[label=artificial].score").logits(grey(0.2, 0.9))
    torch.testing.assert_close(
        logits, grey(0.2, 0.9).mean(dim=(1, 2, 3)).logit(), atol=1e-4, rtol=1e-4
    )
    with pytest.raises(LogitsError, match=r"no label 'fake'.*artificial"):
        asked(server, score="[label=fake].score").logits(grey(0.9))


SAMPLE_ANSWER = {
    "output": [{"classes": [{"class": "dalle", "value": 0.25}, {"class": "sd", "value": 0.5}]}],
    "scores": [0.1, 0.9],
    "twice": [{"name": "a", "x": 1}, {"name": "a", "x": 2}],
    "deep": {"a": [{"raw": 7}]},
    "files": [{"name": "image.png", "score": 0.3}],
    "huge": 10**400,
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("output.0.classes[class=sd].value", 0.5),
        ("output[0].classes[class=dalle|sd].value", 0.75),
        ("scores.1", 0.9),
        ("deep.a.0.raw", 7),
        ("files.0.score", 0.3),  # one entry, with the name of the file
    ],
)
def test_paths_are_read(path: str, value: float) -> None:
    assert number_at(SAMPLE_ANSWER, path, "it") == value


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("output.0.classes.1.value", "whichever class is number 1"),
        ("output.0.classes[class=flux|sd].value", "no class 'flux'"),
        ("twice[name=a].x", "several entries"),
        ("scores[label=a].x", "no list of such entries"),
        ("scores.5", "no '5'"),
        ("deep.b", "no 'b'.*only a"),
        ("deep.a", "is list, no number"),
        ("twice.0.x", "whichever name is number 0"),
        ("huge", "NaN or infinite"),
    ],
)
def test_paths_that_lead_nowhere_are_told(path: str, words: str) -> None:
    with pytest.raises(LogitsError, match=words):
        number_at(SAMPLE_ANSWER, path, "it")


@pytest.mark.parametrize("path", ["", "a..b", "a[b", "a[=c]", "[a=b][c=d]", ".a", "a]"])
def test_paths_that_are_none_are_refused(path: str) -> None:
    with pytest.raises(UserError, match="no path"):
        parse_path(path)


@pytest.mark.parametrize(
    ("scale", "high", "factor"), [("percent", "fake", 100), ("percent", "human", 100)]
)
def test_percentages_of_fake_and_of_human(
    server: Server, scale: str, high: str, factor: float
) -> None:
    server.handle = lambda seen: Reply(200, {"score": factor * brightness(seen.body)})
    sign = 1 if high == "fake" else -1
    logits = asked(server, scale=scale, high=high, score_threshold=90).logits(grey(0.2, 0.9))
    torch.testing.assert_close(
        logits, sign * grey(0.2, 0.9).mean(dim=(1, 2, 3)).logit(), atol=1e-4, rtol=1e-4
    )
    limit = asked(server, scale=scale, high=high, score_threshold=90).threshold
    assert limit == pytest.approx(sign * torch.tensor(0.9).logit().item())


def test_a_number_outside_its_scale_is_told_with_the_likely_one(server: Server) -> None:
    for value, scale, words in (
        (93, "probability", "scale='percent'"),
        (-3.2, "probability", "scale='logit'"),
    ):
        server.handle = lambda seen, value=value: Reply(200, {"score": value})  # type: ignore[misc]
        with pytest.raises(LogitsError, match=f"no probability.*{words}"):
            asked(server, scale=scale).logits(grey(0.5))
    server.handle = lambda seen: Reply(200, {"score": 130})
    with pytest.raises(LogitsError, match="no percentage"):
        asked(server, scale="percent").logits(grey(0.5))
    server.handle = lambda seen: Reply(200, {"score": float("nan")})
    with pytest.raises(LogitsError, match="NaN"):
        asked(server).logits(grey(0.5))


def test_probabilities_read_as_percent_are_noted(server: Server) -> None:
    server.handle = lambda seen: Reply(200, {"score": brightness(seen.body)})
    detector = asked(server, scale="percent")
    detector.logits(grey(*(k / 10 for k in range(7))))
    assert detector.answer_notes == []
    detector.logits(grey(0.9))
    (note,) = detector.answer_notes
    assert "scale='probability'" in note


WORD_VERDICTS = {"ai": 1, "human": 0, "inconclusive": "abstain"}


def judged(seen: Seen) -> Reply:
    mean = brightness(seen.body)
    verdict = "inconclusive"
    if mean > 0.7:
        verdict = "ai"
    elif mean < 0.3:
        verdict = "human"
    return Reply(200, {"verdict": verdict})


def test_verdicts_are_labels_and_no_verdict_counts_as_said(server: Server) -> None:
    server.handle = judged
    for abstain_as, middle in (("real", -1.0), ("fake", 1.0)):
        detector = asked(server, score="verdict", verdicts=WORD_VERDICTS, abstain_as=abstain_as)
        assert detector.logits(grey(0.9, 0.5, 0.1)).tolist() == [1.0, middle, -1.0]
        assert detector.abstained == 1
        assert any(f"count as {abstain_as}" in note for note in detector.answer_notes)
        assert detector.card.score_step == detector.measured_step() == 1.0
        assert "inconclusive = abstain" in detector.card.orientation
    with pytest.raises(LogitsError, match="no verdict"):
        asked(server, score="verdict", verdicts=WORD_VERDICTS, abstain_as="error").logits(grey(0.5))
    with pytest.raises(LogitsError, match="verdicts known are yes"):
        asked(server, score="verdict", verdicts={"yes": 1}).logits(grey(0.9))


def sure(seen: Seen) -> Reply:
    """How sure it is of its label, whichever that is."""
    mean = brightness(seen.body)
    return Reply(
        200, {"label": "fake" if mean > 0.5 else "real", "confidence": max(mean, 1 - mean)}
    )


def test_the_confidence_in_a_label_is_noted_and_can_be_read(server: Server) -> None:
    """A9, as a dictionary: the confidence in whichever label was given is never below one half."""
    server.handle = sure
    images = grey(*(k / 10 for k in range(1, 10)))
    detector = asked(server, score="confidence")
    detector.logits(images)
    (note,) = detector.answer_notes
    assert "labels fake, real beside it" in note
    given = {
        "score": "label",
        "verdicts": {"fake": 1, "real": 0, "?": "abstain"},
        "confidence": "confidence",
    }
    detector = asked(server, **given)
    torch.testing.assert_close(
        detector.logits(images), images.mean(dim=(1, 2, 3)).logit(), atol=1e-4, rtol=1e-4
    )
    assert detector.answer_notes == []
    assert detector.card.score_step == 0.0
    server.handle = lambda seen: Reply(200, {"label": "?", "confidence": 0.6})
    for abstain_as, fake in (("real", False), ("fake", True)):
        assert bool(asked(server, abstain_as=abstain_as, **given).logits(grey(0.5)) > 0) is fake
    for wrong, words in (
        ({"confidence": "x"}, "of a verdict"),
        (given | {"high": "human"}, "says itself"),
    ):
        with pytest.raises(UserError, match=words):
            asked(server, **wrong)


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_the_step_of_the_answers_is_measured(digits: int, server: Server) -> None:
    """A9: nothing recorded that a score had one digit."""
    server.handle = lambda seen: Reply(200, {"score": round(brightness(seen.body), digits)})
    shares = torch.linspace(0.02, 0.98, 40).tolist()
    detector = asked(server)
    detector.logits(grey(*shares))
    assert detector.measured_step() == pytest.approx(10.0**-digits)
    server.handle = lambda seen: Reply(
        200, {"score": round(100 * brightness(seen.body), digits - 1)}
    )
    percent = asked(server, scale="percent")
    percent.logits(grey(*shares))
    assert percent.measured_step() == pytest.approx(10.0 ** -(digits + 1))
    server.handle = lambda seen: Reply(200, {"score": brightness(seen.body)})
    exact = asked(server)
    exact.logits(
        torch.randint(0, 256, (20, 3, 8, 8), generator=torch.Generator().manual_seed(0)) / 255
    )
    assert exact.measured_step() == 0.0


def test_a_server_that_sends_a_secret_back_gets_no_place_for_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "swordfish-123")
    server.handle = lambda seen: Reply(200, {seen.headers["authorization"].split()[1]: 1})
    with pytest.raises(LogitsError) as caught:
        asked(server, token_env="MY_TOKEN").logits(grey(0.5))
    assert "swordfish" not in str(caught.value)
