"""A detector behind an HTTP endpoint that answers in JSON."""

import hashlib
import io
from inspect import Signature
from typing import Any, ClassVar, Literal, final

import torch
from PIL import Image
from torch import Tensor

from robustbench_aigi.detectors._support.fingerprint.core import Unknown
from robustbench_aigi.detectors._support.score_step import score_step, step_of_logits
from robustbench_aigi.detectors.base import Card, Detector, Service
from robustbench_aigi.detectors.external.http.answer import (
    SCALE_RANGES,
    checked_number,
    label_without_verdict,
    number_at,
    verdict_at,
)
from robustbench_aigi.detectors.external.http.card import card_facts, check_score, score_logits
from robustbench_aigi.detectors.external.http.checks import check_limits, check_spec
from robustbench_aigi.detectors.external.http.path import MAX_SHOWN_CHARACTERS, label_beside
from robustbench_aigi.detectors.external.http.reading import (
    entries_signature,
    merge_spec,
    read_spec,
)
from robustbench_aigi.detectors.external.http.scale_notes import scale_notes
from robustbench_aigi.detectors.external.http.session import Session
from robustbench_aigi.detectors.external.http.template import fill_text, redacted
from robustbench_aigi.detectors.external.outputs import check_output_spec
from robustbench_aigi.errors import LogitsError
from robustbench_aigi.imaging.pixels import to_bytes

MIN_ANSWERS = 8
"""Answers below which nothing is noted about them."""
TIE_MARGIN = 1e-6
"""How far the score of an image without a verdict is above even odds, where it counts as fake."""


@final
class HTTPEndpoint(Detector):
    """A black box that is asked over HTTP, one image per request.

    Without a description of its own an endpoint is sent ``POST url`` with the image's PNG bytes as
    the body, ``Content-Type: image/png`` and ``Accept: application/json``; with ``token_env`` also
    ``Authorization: Bearer TOKEN``. The answer is JSON with a number in it. Images are sent at
    their own size, as PNG, and asked about once: answers are kept in memory by the SHA-256 of the
    pixels, so that of a service that draws at random the first draw counts. Status 429, 5xx and a
    broken or late connection are tried again, after the pause that ``Retry-After`` asks for, or
    else twice the one before. Redirects are not followed. Secrets are read from the environment
    when a request is sent and are stored nowhere.

    Args:
        address: the URL of the endpoint, without secrets in it; or the name of a preset
            (``robustbench-aigi list endpoints``), or a description's path ending in .toml.
        base: ``scheme://host`` that replaces that of every URL of the description.
        fake_index: 1 if a high number means AI-generated, 0 if it means real; the same as ``high``.
        fields: entries of :class:`EndpointSpec`, such as ``score``, ``scale``, ``token_env``,
            ``budget``; they replace those of the description.

    Raises:
        UserError: an entry cannot be used.
        UnavailableError: a secret is not set; or later there is no answer, or no budget.
        LogitsError: later, an answer is without the number.
    """

    default_card = Card(
        name="http",
        source="an HTTP endpoint",
        summary="a black box asked over HTTP",
        code_licence="the service's own terms",
        weights_licence="the service's own terms",
        base_licence="the service's own terms",
        commercial=False,
        input_size=0,
        resize="none here: the image is sent at its own size",
        gradient="none",
        weights="behind the endpoint",
    )
    remote = True
    operational = frozenset(
        """
        budget tries pause longest_pause timeout requests_per_second price currency description
        documentation terms upload_folder token_env
        """.split()
    )
    __signature__: ClassVar[Signature]

    def __init__(
        self,
        address: str | None = None,
        base: str | None = None,
        fake_index: Literal[0, 1] | None = None,
        **fields: Any,
    ) -> None:
        if fake_index is not None:
            check_output_spec(fake_index, "logit")
            fields["high"] = ("human", "fake")[fake_index]
        place = (address or "").removeprefix("endpoint:")
        described = None
        if place.startswith(("http:", "https:")):
            fields = {"url": place} | fields
        elif place:
            described = read_spec(place)
        spec = merge_spec(described, fields, base)
        check_spec(spec)
        super().__init__(**spec.model_dump(mode="json"))
        self.spec = spec
        check_score(spec)
        self._path = fill_text(spec.score, {"label": lambda: spec.label})
        self._known: dict[str, float] = {}
        self._labels: set[str] = set()
        self.describe(**card_facts(spec, self._path))
        self._session = Session(spec, self.card.source)

    def fingerprint_parts(self) -> dict[str, Any]:
        """Return the description, without what cannot change an answer.

        A service without a revision may change, so that it is added as unknown.
        """
        parts: dict[str, Any] = {
            key: value for key, value in self.config.items() if key not in self.operational
        }
        if not self.spec.revision:
            parts["service"] = Unknown(f"the service behind {self.card.source}")
        return parts

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Score images rounded to 8 bits; the logits have no gradient.

        Args:
            images: ``(N, 3, H, W)`` in [0, 1].
        """
        values = [self._value(pixels) for pixels in to_bytes(images)]
        scores = torch.tensor(values, dtype=torch.float64)
        return score_logits(scores, self.spec, self.card.name).to(images)

    @property
    def service(self) -> Service:
        """What asking the service takes."""
        spec = self.spec
        each = 1 if spec.poll is None else 2
        return Service(each, spec.price, spec.currency, spec.requests_per_second, spec.budget)

    @property
    def sent(self) -> int:
        """Requests sent so far, those of copies in other processes included."""
        return self._session.transport.ledger.read("sent")

    @property
    def abstained(self) -> int:
        """Images that the service gave no verdict on; they count as ``abstain_as`` says."""
        return self._session.transport.ledger.read("abstained")

    @property
    def answer_notes(self) -> list[str]:
        """What is noteworthy about the answers of this process so far."""
        found = []
        if self.abstained:
            found.append(
                f"{self.card.name} gave no verdict on {self.abstained} images, which count as"
                f" {self.spec.abstain_as}."
            )
        if len(self._known) >= MIN_ANSWERS and not self.spec.verdicts:
            values = list(self._known.values())
            found += scale_notes(self.card.name, self.spec, self._path, values, self._labels)
        return found

    def measured_step(self) -> float:
        """Return the step of the scores seen so far, on the probability scale.

        Returns:
            The step; 1.0 for words, 0.0 if none is seen.
        """
        values = list(self._known.values())
        if self.spec.labels_only:
            return 1.0
        if self.spec.scale == "logit":
            return step_of_logits(torch.tensor(values, dtype=torch.float64))
        if self.spec.scale == "percent":
            values = [value / 100 for value in values]
        return score_step(values)

    def _value(self, pixels: Tensor) -> float:
        """Return the number for an image, asking the service once; 1 or 0 for a verdict.

        Args:
            pixels: uint8 ``(3, H, W)``.
        """
        array = pixels.permute(1, 2, 0).contiguous().numpy()
        key = hashlib.sha256(f"{array.shape}".encode() + array.tobytes()).hexdigest()
        if key not in self._known:
            file = io.BytesIO()
            Image.fromarray(array).save(file, format="PNG")
            png = file.getvalue()
            check_limits(self.spec, array.shape[0], array.shape[1], len(png), self.card.name)
            answer = self._session.ask(png)
            try:
                self._known[key] = self._read(answer)
            except LogitsError as error:  # what a server sends back may be what was sent to it
                raise LogitsError(redacted(str(error), self.spec.secrets)) from None
        return self._known[key]

    def _read(self, answer: Any) -> float:
        """Return the number that an answer holds, or that its word stands for."""
        if self.spec.verdicts:
            return self._read_verdict(answer)
        value = self._number(answer, self._path)
        if label := label_beside(answer, self._path):
            self._labels.add(redacted(label[:MAX_SHOWN_CHARACTERS], self.spec.secrets))
        return value

    def _read_verdict(self, answer: Any) -> float:
        """Return the number that a word stands for, from its confidence where that is given."""
        spec = self.spec
        lowest, highest = SCALE_RANGES[spec.scale]
        total = 0.0 if spec.scale == "logit" else lowest + highest
        verdict = verdict_at(answer, self._path, spec.verdicts, self.card.name)
        if verdict == "abstain":
            label = label_without_verdict(spec.abstain_as, self.card.name)
            self._session.transport.ledger.add("abstained")
            if spec.labels_only:
                return float(label)
            return total / 2 + (TIE_MARGIN if label else 0.0)
        if spec.labels_only:
            return float(verdict)
        confidence = self._number(answer, spec.confidence)
        return confidence if verdict else total - confidence

    def _number(self, answer: Any, path: str) -> float:
        value = number_at(answer, path, self.card.name)
        return checked_number(value, self.spec.scale, self.card.name)


HTTPEndpoint.__signature__ = entries_signature()
vars(HTTPEndpoint)["__init__"].__annotations__.update(
    {
        name: parameter.annotation
        for name, parameter in HTTPEndpoint.__signature__.parameters.items()
    }
)
