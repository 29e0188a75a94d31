"""The presets, each against a small server that answers as the service's public documentation
says.
"""

import json
import traceback
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from robustbench_aigi import catalogue
from robustbench_aigi.detectors import load_detector, save_detector
from robustbench_aigi.detectors.external.http.endpoint import HTTPEndpoint
from robustbench_aigi.detectors.external.http.reading import read_spec
from robustbench_aigi.detectors.external.http.spec import EndpointSpec
from robustbench_aigi.errors import (
    ConfigError,
    LogitsError,
    UnavailableError,
    UnknownNameError,
    UserError,
)
from robustbench_aigi.imaging.pixels import snap
from tests.contract import built
from tests.endpoints import Reply, Seen, brightness, decoded, serving

SERVICE_KEY = "swordfish-123"
UNAUTHORISED_REPLY = Reply(401, {"error": "no valid key"})


def hive(seen: Seen) -> Reply:
    assert seen.path == "/api/v3/hive/ai-generated-and-deepfake-content-detection"
    if seen.headers.get("authorization") != f"Bearer {SERVICE_KEY}":
        return UNAUTHORISED_REPLY
    (entry,) = seen.json["input"]
    mean = decoded(entry["media_base64"])
    classes = [
        ("not_ai_generated", 1 - mean),
        ("dalle", 0.1),
        ("ai_generated", mean),
        ("deepfake", 0.01),
    ]
    classes.sort(key=lambda pair: -pair[1])  # in no fixed order
    entries = [{"class": name, "value": value} for name, value in classes]
    return Reply(200, {"task_id": "1", "output": [{"time": 0, "classes": entries}]})


def sightengine(seen: Seen) -> Reply:
    assert seen.path == "/1.0/check.json"
    form = seen.form
    if (form.get("api_user"), form.get("api_secret")) != (b"12345", SERVICE_KEY.encode()):
        return UNAUTHORISED_REPLY
    assert form["models"] == b"genai"
    assert form["media:type"] == b"image/png"
    return Reply(200, {"status": "success", "type": {"ai_generated": brightness(form["media"])}})


def ai_or_not(seen: Seen) -> Reply:
    assert seen.path == "/v2/image/sync?only=ai_generated"
    if seen.headers.get("authorization") != f"Bearer {SERVICE_KEY}":
        return UNAUTHORISED_REPLY
    mean = brightness(seen.form["image"])
    human = {"is_detected": mean <= 0.5, "confidence": 1 - mean}
    report = {
        "verdict": "ai",
        "ai": {"is_detected": mean > 0.5, "confidence": mean},
        "human": human,
    }
    return Reply(200, {"id": "1", "report": {"ai_generated": report}})


def hugging_face(seen: Seen) -> Reply:
    assert seen.path == "/hf-inference/models/Organika/sdxl-detector"
    if seen.headers.get("authorization") != f"Bearer {SERVICE_KEY}":
        return UNAUTHORISED_REPLY
    assert seen.headers["content-type"] == "image/png"
    mean = brightness(seen.body)
    pairs = sorted([("artificial", mean), ("human", 1 - mean)], key=lambda pair: -pair[1])
    return Reply(200, [{"label": label, "score": score} for label, score in pairs])


def copyleaks() -> Callable[[Seen], Reply]:
    """It gives tokens out, and takes each three times."""
    tokens: dict[str, int] = {}

    def handle(seen: Seen) -> Reply:
        if seen.path == "/v3/account/login/api":
            if seen.json != {"email": "me@example.org", "key": SERVICE_KEY}:
                return UNAUTHORISED_REPLY
            tokens[f"issued-{len(tokens)}-{SERVICE_KEY}"] = 3
            return Reply(200, {"access_token": list(tokens)[-1]})
        _, version, what, identity, verb = seen.path.split("/")
        assert (version, what, verb) == ("v1", "ai-image-detector", "check")
        assert len(identity) == 36
        token = seen.headers.get("authorization", "").removeprefix("Bearer ")
        if not tokens.get(token):
            return UNAUTHORISED_REPLY
        tokens[token] -= 1
        form = seen.form
        assert (form["filename"], form["model"], form["sandbox"]) == (
            b"image.png",
            b"ai-image-1-ultra",
            b"false",
        )
        mean = brightness(form["image"])
        return Reply(
            200,
            {"model": "ai-image-1-ultra", "summary": {"human": 1 - mean, "ai": mean}, "mask": {}},
        )

    return handle


class Preset(NamedTuple):
    """A service: how it answers, the secrets it reads, and its other arguments."""

    handle: Callable[[Seen], Reply]
    secrets: dict[str, str]
    given: dict[str, Any]
    large: bool = False


SERVICE_PRESETS = {
    "hive-v3": Preset(hive, {"HIVE_API_KEY": SERVICE_KEY}, {}),
    "sightengine": Preset(
        sightengine, {"SIGHTENGINE_API_USER": "12345", "SIGHTENGINE_API_SECRET": SERVICE_KEY}, {}
    ),
    "ai-or-not": Preset(ai_or_not, {"AIORNOT_API_KEY": SERVICE_KEY}, {}),
    "hugging-face": Preset(
        hugging_face,
        {"HF_TOKEN": SERVICE_KEY},
        {"model": "Organika/sdxl-detector", "label": "artificial"},
    ),
    "copyleaks": Preset(
        copyleaks(),
        {"COPYLEAKS_EMAIL": "me@example.org", "COPYLEAKS_API_KEY": SERVICE_KEY},
        {},
        large=True,
    ),
}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def endpoint(address: str, **config: Any) -> HTTPEndpoint:
    detector = built(address, **{"pause": 0.001, "timeout": 5.0} | config)
    assert isinstance(detector, HTTPEndpoint)
    return detector


def sized(images: Tensor, preset: Preset) -> Tensor:
    return snap(interpolate(images, size=(512, 512))) if preset.large else images


@pytest.mark.parametrize("name", list(SERVICE_PRESETS))
def test_preset_reads_what_the_service_answers(
    name: str,
    images: Tensor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    preset = SERVICE_PRESETS[name]
    images = sized(images * torch.tensor([0.3, 0.8, 1.0, 1.4]).view(-1, 1, 1, 1), preset).clamp(
        0, 1
    )
    for variable, value in preset.secrets.items():
        monkeypatch.setenv(variable, value)
    with serving(preset.handle) as server:
        detector = endpoint(f"endpoint:{name}", base=server.base, **preset.given)
        expected = snap(images).mean(dim=(1, 2, 3)).logit()
        assert expected.min() < 0 < expected.max()
        torch.testing.assert_close(detector.logits(images), expected, atol=1e-4, rtol=1e-4)
        assert detector.card.name.startswith(name)
        assert "terms must allow" in detector.card.summary
        save_detector(detector, tmp_path / "saved.safetensors")
        again = load_detector(str(tmp_path / "saved.safetensors"))
        assert torch.equal(again.logits(images[:1]), detector.logits(images[:1]))
        texts = [
            (tmp_path / "saved.safetensors").read_bytes().decode("latin-1"),
            repr(detector),
            str(vars(detector)),
        ]
        texts += [detector.card.model_dump_json(), json.dumps(detector.config), *capfd.readouterr()]
        monkeypatch.setenv(list(preset.secrets)[-1], "another-secret")
        try:
            endpoint(f"endpoint:{name}", base=server.base, **preset.given).logits(images[:1])
        except UnavailableError:
            texts.append(traceback.format_exc())
            assert "status 401" in texts[-1]
        assert len(texts) == 8
        assert not any(SERVICE_KEY in text or "another-secret" in text for text in texts)


@pytest.mark.parametrize("name", list(SERVICE_PRESETS))
def test_preset_names_the_secret_that_is_not_set(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = SERVICE_PRESETS[name]
    for variable in preset.secrets:
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(UnavailableError, match=f"export ({'|'.join(preset.secrets)})="):
        endpoint(f"endpoint:{name}", **preset.given)


def winston(folder: Path) -> Callable[[Seen], Reply]:
    """It fetches images from where their URLs say, here a folder."""

    def handle(seen: Seen) -> Reply:
        assert seen.path == "/v2/image-detection"
        if seen.headers.get("authorization") != f"Bearer {SERVICE_KEY}":
            return UNAUTHORISED_REPLY
        place = folder / seen.json["url"].removeprefix("https://files.example.org/")
        mean = brightness(place.read_bytes())  # as the service would fetch it
        return Reply(
            200, {"score": 100 * (1 - mean), "human_probability": 1 - mean, "ai_probability": mean}
        )

    return handle


def test_winston_is_given_urls_of_published_files(
    images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINSTON_API_KEY", SERVICE_KEY)
    with pytest.raises(UserError, match="upload_folder"):
        endpoint("endpoint:winston")

    with serving(winston(tmp_path)) as server:
        where = {
            "image_url": "https://files.example.org/{sha256}.png",
            "upload_folder": str(tmp_path),
        }
        detector = endpoint("endpoint:winston", base=server.base, **where)
        torch.testing.assert_close(
            detector.logits(images), images.mean(dim=(1, 2, 3)).logit(), atol=1e-4, rtol=1e-4
        )
    assert not list(tmp_path.iterdir())


def test_every_preset_loads_and_says_what_it_was_written_from() -> None:
    names = catalogue.names("endpoints")
    assert set(names) == {*SERVICE_PRESETS, "winston"}
    for name in names:
        spec = read_spec(name)
        assert spec.title == name
        assert spec.url.startswith("https://")
        assert "read in 20" in spec.documentation
        assert "terms must allow" in spec.terms
        assert spec.secrets


def test_a_description_is_read_from_a_file_and_arguments_replace_it(
    images: Tensor, tmp_path: Path
) -> None:
    place = tmp_path / "mine.toml"
    place.write_text(
        'title = "mine"\nurl = "http://127.0.0.1:1/x"\nscore = "a"\nscale = "percent"\n'
    )
    detector = endpoint(f"endpoint:{place}", score="b")
    assert (detector.card.name, detector.spec.score, detector.spec.scale) == (
        "mine",
        "b",
        "percent",
    )
    assert (
        endpoint(f"endpoint:{place}", url="http://127.0.0.1:2/y").card.source
        == "http://127.0.0.1:2/y"
    )
    place.write_text('url = "http://127.0.0.1:1/x"\nscoer = "a"\n')
    with pytest.raises(ConfigError, match="scoer"):
        endpoint(f"endpoint:{place}")
    with pytest.raises(UserError, match="scoer"):
        endpoint("http://127.0.0.1:1/x", scoer="a")
    with pytest.raises(UnknownNameError, match="hive-v3"):
        endpoint("endpoint:hive")


def test_the_constructor_shows_each_entry_of_a_description() -> None:
    taken = signature(HTTPEndpoint).parameters
    assert set(taken) == {*EndpointSpec.model_fields, "address", "base", "fake_index"}
    hints = get_type_hints(HTTPEndpoint.__init__)
    for annotation in (taken["budget"].annotation, hints["budget"]):
        assert annotation is int
    assert next(iter(taken)) == "address"


def test_hugging_face_label_that_is_not_there_is_named(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", SERVICE_KEY)
    given = {"model": "Organika/sdxl-detector"}
    with pytest.raises(UserError, match="label"):
        endpoint("endpoint:hugging-face", **given)
    with serving(hugging_face) as server:
        detector = endpoint("endpoint:hugging-face", base=server.base, label="fake", **given)
        with pytest.raises(LogitsError, match="artificial"):
            detector.logits(images)
