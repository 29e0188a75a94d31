"""Labels, published facts and pinned revisions of models on the hub (case B14)."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from robustbench_aigi.detectors.external.hf.labels import LabelGroups, group_labels
from robustbench_aigi.detectors.external.hf.models import (
    HubModel,
    hub_models,
    logit,
    published_facts,
)
from robustbench_aigi.errors import UserError
from tests.contract import built
from tests.hugging_face import COMMIT, on_the_hub, save_tiny_vit

OWN_MODEL = "me/mine"


@pytest.mark.parametrize(
    ("fake", "real"),
    [
        ("FAKE", "REAL"),
        ("artificial", "human"),
        ("ai", "real"),
        ("AI-generated", "Human made"),
        ("AIGenerated", "RealPhoto"),
        ("synthetic image", "nature"),
        ("ai", "hum"),
        ("Deepfake", "Realism"),
        ("synthetic", "authentic"),
        ("ai", "photo"),
        ("Fake", "Original"),
        ("ai_gen", "not_ai_gen"),
        ("ai", "not ai"),
        ("AI-generated", "human-generated"),
        ("ai", "human generated"),
        ("generated", "original"),
        ("generated", "photo"),
        ("AI photo", "photo"),
        ("fakes", "reals"),
        ("fake", "non-fake"),
        ("not real", "real"),
        ("non-human", "human"),
        ("Fake Image", "Real Image"),
        ("machine-generated", "human-made"),
        ("deep fakes", "originals"),
        ("AIGC", "camera photos"),
        ("aigenerated", "genuine"),
    ],
)
def test_words_of_two_labels_tell_which_is_fake(fake: str, real: str) -> None:
    assert group_labels({0: fake, 1: real}, OWN_MODEL) == LabelGroups((0,), (1,))
    assert group_labels({0: real, 1: fake}, OWN_MODEL) == LabelGroups((1,), (0,))
    assert group_labels({0: real, 1: fake}, OWN_MODEL, fake_index=0) == LabelGroups((0,), (1,))


@pytest.mark.parametrize(
    "labels",
    [
        ("LABEL_0", "LABEL_1"),
        ("0", "1"),
        ("not fake", "real"),
        ("fake", "deepfake"),
        ("original", "real"),
        ("photo", "real"),
        ("realistic", "fake"),
        ("generated human", "real human"),
        ("AI human", "human"),
        ("real generated", "real"),
        ("not ai", "not real"),
        ("not not fake", "fake"),
        ("photo", "painting"),
        ("pseudo-real", "ai"),
        ("real or fake", "fake"),
        ("unreal", "real"),
        ("positive", "negative"),
    ],
)
def test_words_that_do_not_tell_are_refused(labels: tuple[str, str]) -> None:
    with pytest.raises(UserError, match=r"hf:me/mine\?fake_index=0 .*fake_index=1 .*load_detector"):
        group_labels(dict(enumerate(labels)), OWN_MODEL)


def test_three_labels_whose_words_all_tell_are_grouped() -> None:
    labels = {0: "AI", 1: "Deepfake", 2: "Real"}
    groups = group_labels(labels, OWN_MODEL)
    assert groups == LabelGroups((0, 1), (2,))
    assert (
        groups.describe(labels)
        == "log-sum-exp of the logits of 'AI', 'Deepfake' minus logit of 'Real'"
    )


@pytest.mark.parametrize(
    "labels", [("dalle", "sd", "real"), ("real", "ai", "edited"), ("ai", "deepfake", "not ai")]
)
def test_three_labels_of_which_one_does_not_tell_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="fake_labels=LABEL,LABEL"):
        group_labels(dict(enumerate(labels)), OWN_MODEL)
    with pytest.raises(UserError, match="3 labels"):
        group_labels(dict(enumerate(labels)), OWN_MODEL, fake_index=1)


@pytest.mark.parametrize("given", [["dalle", "sd"], ("sd", "dalle"), "dalle,sd", "DALLE, SD"])
def test_fake_labels_are_a_group(given: list[str] | str) -> None:
    assert group_labels(
        {0: "dalle", 1: "real", 2: "sd"}, OWN_MODEL, fake_labels=given
    ) == LabelGroups((0, 2), (1,))


def test_fake_labels_that_do_not_fit_are_refused() -> None:
    labels = {0: "dalle", 1: "real", 2: "sd, or alike"}
    assert group_labels(labels, OWN_MODEL, fake_labels="sd, or alike").fake == (2,)
    with pytest.raises(UserError, match=r"no label 'midjourney'. Its labels are dalle, real, sd"):
        group_labels(labels, OWN_MODEL, fake_labels=["midjourney"])
    for given in ([], list(labels.values())):
        with pytest.raises(UserError, match="some of the labels"):
            group_labels(labels, OWN_MODEL, fake_labels=given)
    with pytest.raises(UserError, match="Give one of them"):
        group_labels(labels, OWN_MODEL, 1, ["dalle"])
    with pytest.raises(UserError, match="fake_index must be 0 or 1"):
        group_labels({0: "a", 1: "b"}, OWN_MODEL, 2)


def test_one_output_is_never_guessed() -> None:
    assert group_labels({0: "fake"}, OWN_MODEL) == LabelGroups((0,), ())
    assert group_labels({0: "authentic"}, OWN_MODEL) == LabelGroups((), (0,))
    assert group_labels({0: "LABEL_0"}, OWN_MODEL, fake_index=0) == LabelGroups((), (0,))
    with pytest.raises(UserError, match=r"\?fake_index=1 if a high output means AI-generated"):
        group_labels({0: "LABEL_0"}, OWN_MODEL)


def test_the_logit_of_a_group_is_that_of_its_probability() -> None:
    outputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(0)) * 5
    share = outputs.softmax(dim=1)[:, [0, 3]].sum(dim=1)
    torch.testing.assert_close(LabelGroups((0, 3), (1, 2)).logit(outputs).sigmoid(), share)
    assert torch.equal(LabelGroups((1,), (0,)).logit(outputs), outputs[:, 1] - outputs[:, 0])
    assert torch.equal(LabelGroups((), (0,)).logit(outputs), -outputs[:, 0])


def an_id(name: str) -> str:
    return name.replace("*", "x")


@pytest.mark.parametrize("name", hub_models())
def test_known_models_are_resolved_from_a_config_with_their_labels(
    name: str, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = published_facts(an_id(name))
    assert facts is not None
    assert set(facts.fake) < set(facts.labels) or not facts.labels
    folder = save_tiny_vit(
        on_the_hub(monkeypatch, tmp_path, an_id(name)), facts.labels or ["LABEL_0"]
    )
    detector = built(f"hf:{an_id(name)}")
    fake = [index for index, label in enumerate(facts.labels) if label in facts.fake]
    if facts.labels:
        same = built(f"hf:{folder}", fake_labels=facts.fake)
        outputs = torch.log_softmax(same.net(pixel_values=same.processing(images)).logits, dim=1)  # type: ignore[operator]
        share = outputs[:, fake].exp().sum(dim=1)
        torch.testing.assert_close(detector.logits(images).sigmoid(), share)
        if len(facts.labels) == 2:
            by_words = group_labels(dict(enumerate(facts.labels)), OWN_MODEL)
            assert by_words.fake == tuple(fake)
    else:
        assert torch.equal(
            detector.logits(images), built(f"hf:{folder}", fake_index=1).logits(images)
        )
    assert detector.card.source == f"hf:{an_id(name)}@{COMMIT}"
    assert detector.card.commercial == facts.commercial
    assert detector.card.threshold == (logit(facts.threshold) if facts.threshold else 0)


@pytest.mark.parametrize(
    ("model", "labels"),
    [
        ("Organika/sdxl-detector", ("human", "artificial")),
        ("Organika/sdxl-detector", ("artificial", "real")),
        ("prithivMLmods/AI-vs-Deepfake-vs-Real", ("AI", "Real")),
        ("buildborderless/CommunityForensics-DeepfakeDet-ViT", ("real", "fake")),
    ],
)
def test_a_config_that_contradicts_the_table_is_refused(
    model: str, labels: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tiny_vit(on_the_hub(monkeypatch, tmp_path, model), labels)
    with pytest.raises(UserError, match=r"published were .*may have changed.*fake_index=1"):
        built(f"hf:{model}")
    assert (
        built(f"hf:{model}", fake_index=1).card.orientation
        == f"logit of {labels[1]!r} minus logit of {labels[0]!r}"
    )


def test_a_branch_is_noted_with_the_commit_to_pin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tiny_vit(on_the_hub(monkeypatch, tmp_path, OWN_MODEL), ["real", "ai"])
    (note,) = built(f"hf:{OWN_MODEL}").notes
    assert (
        note == f"revision 'main' of {OWN_MODEL} may move; to pin what was loaded now write"
        f" hf:{OWN_MODEL}?revision={COMMIT}"
    )
    pinned = built(f"hf:{OWN_MODEL}", revision=COMMIT)
    assert pinned.notes == ()
    assert pinned.card.source == f"hf:{OWN_MODEL}@{COMMIT}"


def test_the_revision_of_the_table_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {
        OWN_MODEL: HubModel(
            labels=("x", "y"), fake=("x",), revision=COMMIT, licence="MIT", commercial=True
        )
    }
    monkeypatch.setattr("robustbench_aigi.detectors.external.hf.models.hub_models", lambda: rows)
    save_tiny_vit(on_the_hub(monkeypatch, tmp_path, OWN_MODEL), ["x", "y"])
    detector = built(f"hf:{OWN_MODEL}")
    assert detector.notes == ()
    assert (detector.card.weights_licence, detector.card.commercial) == ("MIT", True)
    assert detector.card.orientation == "logit of 'x' minus logit of 'y'"


def test_a_published_threshold_is_a_logit_on_the_card(tmp_path: Path) -> None:
    folder = save_tiny_vit(
        tmp_path / "vit", ["fake", "real"], custom_ensemble_info={"threshold": 0.58}
    )
    detector = built(f"hf:{folder}")
    assert detector.threshold == pytest.approx(logit(0.58))
    assert "0.58" in detector.notes[0]
    assert "custom_ensemble_info" in detector.notes[0]
    assert built(f"hf:{folder}", threshold=0.0).threshold == 0
    assert built(f"hf:{folder}", threshold=0.0).notes == ()


def test_what_is_known_of_a_model_is_in_the_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = "NYUAD-ComNets/NYUAD_AI-generated_images_detector"
    folder = save_tiny_vit(
        on_the_hub(monkeypatch, tmp_path / "hub", model), ["dalle", "real", "sd"]
    )
    (tmp_path / "other").mkdir()
    (folder / "preprocessor_config.json").rename(tmp_path / "other" / "preprocessor_config.json")
    with pytest.raises(
        UserError, match=r"no image processor is beside its weights: give the one .*\?processor="
    ):
        built(f"hf:{model}")
    borrowed = built(f"hf:{model}", processor=str(tmp_path / "other"))
    assert (
        borrowed.card.orientation
        == "log-sum-exp of the logits of 'dalle', 'sd' minus logit of 'real'"
    )
