"""A detector behind an HTTP endpoint that answers in JSON: ``https://HOST/PATH``, ``endpoint:NAME``."""

import hashlib
import io
from inspect import Parameter, Signature, signature
from typing import Any, ClassVar, Literal, final

import torch
from PIL import Image
from torch import Tensor

from robustbench_aigi.detectors.anyone.endpoint_spec import EndpointSpec, check_spec, merged, read_spec
from robustbench_aigi.detectors.anyone.ends import check_ends, one_logit, slug
from robustbench_aigi.detectors.anyone.http_answer import checked_number, number_at, outcome, parsed, verdict_at
from robustbench_aigi.detectors.anyone.http_session import Session
from robustbench_aigi.detectors.anyone.http_template import fill_text, redacted, uses
from robustbench_aigi.detectors.anyone.http_url import checked_url
from robustbench_aigi.detectors.base import Card, Detector, Service
from robustbench_aigi.detectors.score_step import score_step, step_of_logits
from robustbench_aigi.errors import BadLogits, UserError
from robustbench_aigi.grid import to_bytes

MIN_ANSWERS = 8
"""Answers without which nothing is noted about them."""


@final
class HTTPEndpoint(Detector):
    """A black box that is asked over HTTP, one image per request.

    Without a description of its own an endpoint is sent ``POST url`` with the image's PNG bytes as the body,
    ``Content-Type: image/png`` and ``Accept: application/json``; with ``token_env`` also ``Authorization: Bearer
    TOKEN``. The answer is JSON with a number in it. Images are sent at their own size, as PNG, and asked about once:
    answers are kept in memory by the SHA-256 of the pixels, so that of a service that draws at random the first draw
    counts. Status 429, 5xx and a broken or late connection are tried again, after the pause that ``Retry-After`` asks
    for, or else twice the one before. Redirects are not followed. Secrets are read from the environment when a request
    is sent and are stored nowhere.

    Args:
        url: of the endpoint, without secrets in it.
        endpoint: the name of a preset (``robustbench-aigi list endpoints``), or a description's path ending in .toml.
        base: ``scheme://host`` in the place of that of every URL of the description.
        fake_index: 1 if a high number means AI-generated, 0 if it means real; the same as ``high``.
        fields: entries of :class:`EndpointSpec`, such as ``score``, ``scale``, ``token_env``, ``budget``; they replace
            those of the description.

    Raises:
        UserError: an entry that cannot be used. Unavailable: a secret is not set, or later no answer or no budget.
        BadLogits: later, an answer without the number.
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
        {"budget", "tries", "pause", "longest_pause", "timeout", "requests_per_second", "price", "currency"}
        | {"description", "documentation", "terms", "upload_folder", "token_env"}
    )
    __signature__: ClassVar[Signature]

    def __init__(
        self,
        url: str | None = None,
        endpoint: str | None = None,
        base: str | None = None,
        fake_index: Literal[0, 1] | None = None,
        **fields: Any,
    ) -> None:
        if fake_index is not None:
            check_ends(fake_index, "logit")
            fields["high"] = ("human", "fake")[fake_index]
        if url is not None:
            fields["url"] = url
        self_spec = merged(read_spec(endpoint) if endpoint else None, fields, base)
        check_spec(self_spec)
        super().__init__(**self_spec.model_dump(mode="json"))
        self.spec = self_spec
        _check_score(self_spec)
        self._path = fill_text(self_spec.score, {"label": lambda: self_spec.label})
        self._known: dict[str, float] = {}
        self.card = self.card.model_copy(update=_facts(self_spec, self._path))
        self._session = Session(self_spec, self.card.source)

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1], rounded to 8 bits; the logits have no gradient."""
        values = torch.tensor([self._value(pixels) for pixels in to_bytes(images)], dtype=torch.float64)
        return _logits(values, self.spec, self.card.name).to(images)

    @property
    def service(self) -> Service:
        """What asking it takes."""
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
    def notes(self) -> list[str]:
        """What is noteworthy about the answers of this process so far."""
        found, values = [], list(self._known.values())
        if self.abstained:
            found.append(
                f"{self.card.name} gave no verdict on {self.abstained} images, which count as {self.spec.abstain_as}."
            )
        if self.spec.scale == "percent" and len(values) >= MIN_ANSWERS and max(values) <= 1 and not self.spec.verdicts:
            found.append(
                f"all {len(values)} answers of {self.card.name} lie from 0 to 1, read as percent: if they are "
                "probabilities, write scale='probability'."
            )
        return found

    def measured_step(self) -> float:
        """The step of the scores seen so far, on the probability scale; 1.0 for words, 0.0 if none is seen."""
        values = list(self._known.values())
        if self.spec.verdicts:
            return 1.0
        if self.spec.scale == "logit":
            return step_of_logits(torch.tensor(values, dtype=torch.float64))
        return score_step([value / 100 if self.spec.scale == "percent" else value for value in values])

    def _value(self, pixels: Tensor) -> float:
        """The number for a uint8 ``(3, H, W)`` image, as the service gave it; 1 or 0 for a verdict."""
        array = pixels.permute(1, 2, 0).contiguous().numpy()
        key = hashlib.sha256(f"{array.shape}".encode() + array.tobytes()).hexdigest()
        if key not in self._known:
            file = io.BytesIO()
            Image.fromarray(array).save(file, format="PNG")
            _check_limits(self.spec, pixels.shape[-2], pixels.shape[-1], len(file.getvalue()), self.card.name)
            answer = self._session.ask(file.getvalue())
            try:
                self._known[key] = self._read(answer)
            except BadLogits as error:  # what a server sends back may be what was sent to it
                raise BadLogits(redacted(str(error), self.spec.secrets)) from None
        return self._known[key]

    def _read(self, answer: Any) -> float:
        who, spec = self.card.name, self.spec
        if not spec.verdicts:
            return checked_number(number_at(answer, self._path, who), spec.scale, who)
        verdict = verdict_at(answer, self._path, spec.verdicts, who)
        if verdict == "abstain":
            verdict = outcome(spec.abstain_as, who)
            self._session.transport.ledger.add("abstained")
        return float(verdict)


def _logits(values: Tensor, spec: EndpointSpec, who: str) -> Tensor:
    """Float64 ``(N,)`` logits of scores as the service gives them; +1 and -1 of verdicts."""
    if spec.verdicts:
        return 2 * values - 1
    scores, scale = (values / 100, "probability") if spec.scale == "percent" else (values, spec.scale)
    return one_logit(scores, 1 if spec.high == "fake" else 0, scale, who)


def _facts(spec: EndpointSpec, path: str) -> dict[str, Any]:
    """What the card says of an endpoint."""
    place = checked_url(spec.url.replace("{model}", spec.model), secured=False)
    where = f"{place.scheme}://{place.netloc}{place.path}"
    name = f"{spec.title}-{spec.model}" if spec.title and uses(spec.url, "model") else spec.title
    kind, high = f"a {spec.scale}", "AI-generated" if spec.high == "fake" else "real"
    told = f"{path} in the answer is {kind}; high means {high}"
    if spec.verdicts:
        table = ", ".join(f"{word} = {value}" for word, value in spec.verdicts.items())
        told = f"{path} in the answer is a verdict ({table}); no verdict counts as {spec.abstain_as}"
    summary = "; ".join(text for text in (spec.description, spec.documentation, spec.terms) if text)
    facts = {"name": slug(name or where), "source": where, "orientation": told}
    facts |= {"summary": summary} if summary else {}
    if spec.threshold is not None and not spec.verdicts:
        value = torch.tensor([checked_number(spec.threshold, spec.scale, "threshold")], dtype=torch.float64)
        facts["threshold"] = float(_logits(value, spec, "threshold"))
    return facts | ({"score_step": 1.0} if spec.verdicts else {})


def _check_score(spec: EndpointSpec) -> None:
    """Raise ``UserError`` for a path that cannot be read, or that adds what cannot be added."""
    several = any(len(part.labels) > 1 for part in parsed(spec.score.replace("{label}", spec.label)))
    if several and (spec.scale == "logit" or spec.verdicts):
        raise UserError(f"{spec.score!r} names several labels, and only probabilities can be added. Name one.")


def _check_limits(spec: EndpointSpec, height: int, width: int, size: int, who: str) -> None:
    """Raise ``UserError`` for an image that the service would not take, before it is sent."""
    faults = {
        f"a side of at least {spec.min_side} pixels": min(height, width) < spec.min_side,
        f"sides of at most {spec.max_side} pixels": max(height, width) > (spec.max_side or height + width),
        f"at most {spec.max_pixels} pixels": height * width > (spec.max_pixels or height * width),
        f"at most {spec.max_bytes} bytes": size > (spec.max_bytes or size),
    }
    for wanted, broken in faults.items():
        if broken:
            raise UserError(
                f"{who} takes images of {wanted}, got {width} x {height} pixels in {size} bytes. Nothing was sent. "
                "Give images that it takes: resizing them here would change what is judged."
            )


def _signature() -> Signature:
    """What the constructor takes, one parameter per entry of a description."""
    own = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in (("endpoint", str | None), ("base", str | None), ("fake_index", int | None))
    ]
    entries = signature(EndpointSpec).parameters
    first = entries["url"].replace(kind=Parameter.POSITIONAL_OR_KEYWORD)
    return Signature([first, *own, *(parameter for name, parameter in entries.items() if name != "url")])


HTTPEndpoint.__signature__ = _signature()
