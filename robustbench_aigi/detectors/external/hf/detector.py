"""Image classifiers of the transformers library as detectors: ``hf:REPO_ID`` or ``hf:FOLDER``."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple, cast, final

from jaxtyping import Float
from torch import Tensor

from robustbench_aigi.detectors.base import FRESH_WEIGHTS, Card, Detector
from robustbench_aigi.detectors.external.hf.labels import LabelGroups, group_labels
from robustbench_aigi.detectors.external.hf.loading import load_network
from robustbench_aigi.detectors.external.hf.models import HubModel, logit, published_facts
from robustbench_aigi.detectors.external.hf.network import HubNetwork
from robustbench_aigi.detectors.external.hf.processing import processing_of
from robustbench_aigi.detectors.external.outputs import slug
from robustbench_aigi.errors import UserError


@final
class HFModel(Detector):
    """An image classifier of transformers: its logit of AI-generated minus its logit of real.

    Groups of labels are joined by their log-sum-exp. What the image processor does happens inside,
    differentiably. Code that a repository brings is never run. Facts of popular models come from
    :mod:`~robustbench_aigi.detectors.external.hf.models`; arguments take precedence.

    Args:
        model: a hub id such as ``Organika/sdxl-detector``, or a folder that ``save_pretrained``
            wrote.
        revision: branch, tag or commit on the hub.
        fake_index: of one or two outputs the one that means AI-generated (with one: 1 if high means
            AI-generated, 0 if it means real); None reads it from the words of the labels.
        fake_labels: the labels that mean AI-generated, such as ``["dalle", "sd"]``, or these joined
            by commas.
        processor: hub id or folder of an image processor to borrow, where none is beside the
            weights.
        threshold: the operating threshold, a logit; None takes the published one, or 0.
        pretrained: False leaves the weights fresh, for a checkpoint of ours to fill.

    Raises:
        UnavailableError: it is not on this machine and no hub can be reached, or it would have to
            run its own code.
        CheckpointError: its weights are not those of the network in its config, or cannot be read.
        UserError: its labels do not tell which mean AI-generated, or its image processor is missing
            or does something that is not known here.
    """

    default_card = Card(
        name="hf",
        source="a hub of transformers models",
        code_licence="Apache-2.0 (transformers)",
        weights_licence="as the model's own card says",
        base_licence="as the model's own card says",
        commercial=False,
    )

    def __init__(
        self,
        model: str,
        revision: str = "main",
        fake_index: int | None = None,
        fake_labels: Sequence[str] | str | None = None,
        processor: str | None = None,
        threshold: float | None = None,
        pretrained: bool = True,
    ) -> None:
        names = fake_labels
        if fake_labels is not None and not isinstance(fake_labels, str):
            names = list(fake_labels)
        super().__init__(
            model=model,
            revision=revision,
            fake_index=fake_index,
            fake_labels=names,
            processor=processor,
            threshold=threshold,
            pretrained=pretrained,
        )
        facts = published_facts(model)
        if facts is not None and facts.revision and revision == "main":
            revision = facts.revision
        borrowed = processor or (facts.processor if facts else None)
        hint = facts.note if facts else ""
        loaded = load_network(model, revision, pretrained=pretrained, processor=borrowed, hint=hint)
        self.net = loaded.net
        self.groups = _groups(loaded.labels, model, fake_index, names, facts)
        self.processing = processing_of(loaded.processor, model)
        loaded.check_outputs(self.processing, model)
        notes = [*loaded.notes, *_score_notes(loaded, model, threshold)]
        if threshold is None:
            published = _published_threshold(loaded.config, facts)
            if published is not None:
                threshold = published.logit
                notes.append(published.note)
        notes += _revision_notes(model, revision, loaded.commit)
        self.notes = tuple(notes)
        self.describe(**self._card_facts(loaded, facts), threshold=threshold or 0.0)

    def _card_facts(self, loaded: HubNetwork, facts: HubModel | None) -> dict[str, Any]:
        """Return the fields of the card, apart from the threshold."""
        model = self.config["model"]
        source = f"hf:{model}" + (f"@{loaded.commit}" if loaded.commit else "")
        licence: dict[str, Any] = {}
        if facts and facts.licence != "unknown":
            licence = {"weights_licence": facts.licence, "commercial": facts.commercial}
        return {
            "name": slug(f"hf:{model}"),
            "source": source,
            "orientation": self.groups.describe(loaded.labels),
            "resize": f"{self.processing}, inside the detector",
            "input_size": self.processing.side,
            "weights": source if self.config["pretrained"] else FRESH_WEIGHTS,
        } | licence

    def logits(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Score ``(N, 3, H, W)`` images in [0, 1]."""
        return self.groups.logit(cast("Any", self.net)(pixel_values=self.processing(images)).logits)


def _groups(
    labels: dict[int, str],
    model: str,
    fake_index: int | None,
    fake_labels: Sequence[str] | str | None,
    facts: HubModel | None,
) -> LabelGroups:
    """Return the groups of labels: as the user said, else as published, else by their words."""
    if facts is None or fake_index is not None or fake_labels is not None:
        return group_labels(labels, model, fake_index, fake_labels)
    facts.check(labels, model)
    return group_labels(labels, model, None, facts.fake) if facts.fake else LabelGroups((0,), ())


def _score_notes(loaded: HubNetwork, model: str, threshold: float | None) -> list[str]:
    """Return notes on outputs that are no logits of a softmax.

    Raises:
        UserError: the output is of a regression, and nothing says where its threshold is.
    """
    kind = getattr(loaded.config, "problem_type", None)
    if kind == "regression" and threshold is None:
        raise UserError(
            f"{model} was trained by regression: its output is near the numbers of the classes, and"
            " no logit. If 0 was real and 1 AI-generated, write"
            f" hf:{model}?fake_index=1&threshold=0.5; if the other way round,"
            f" hf:{model}?fake_index=0&threshold=-0.5."
        )
    if kind == "multi_label_classification" and len(loaded.labels) > 1:
        return [
            f"{model} has independent labels; the logit is the difference of its outputs, not its"
            " log-odds"
        ]
    return []


class _Threshold(NamedTuple):
    """A published threshold as a logit, and a note on where it is from."""

    logit: float
    note: str


def _published_threshold(config: Any, facts: HubModel | None) -> _Threshold | None:
    """Return the threshold that the authors publish; None without one."""
    own = getattr(config, "custom_ensemble_info", None)
    probability = own.get("threshold") if isinstance(own, dict) else None
    where = "custom_ensemble_info of its config"
    if probability is None and facts is not None:
        probability = facts.threshold
        where = "the table of known models"
    if not isinstance(probability, float) or not 0 < probability < 1:
        return None
    threshold = logit(probability)
    return _Threshold(
        threshold,
        f"the threshold is the published probability of AI-generated, {probability:g} (a logit of"
        f" {threshold:.4f}), from {where}; threshold=0 takes 0.5 instead",
    )


def _revision_notes(model: str, revision: str, commit: str | None) -> list[str]:
    """Return a note where the revision is a branch or a tag, which may move."""
    if commit is None or re.fullmatch(r"[0-9a-f]{40}", revision):
        return []
    return [
        f"revision {revision!r} of {model} may move; to pin what was loaded now write"
        f" hf:{model}?revision={commit}"
    ]
