"""A detector behind an HTTP endpoint that answers in JSON: ``https://HOST/PATH``."""

import hashlib
import io
import json
import os
import re
import time
from email.message import Message
from http.client import HTTPException
from typing import IO, Any, Literal, final
from urllib.error import HTTPError
from urllib.parse import SplitResult, parse_qsl, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

import torch
from PIL import Image
from torch import Tensor

from robustbench_aigi.detectors.anyone.ends import Scale, check_ends, one_logit, slug
from robustbench_aigi.detectors.base import Card, Detector
from robustbench_aigi.detectors.fingerprint.core import Unknown
from robustbench_aigi.errors import BadLogits, Unavailable, UserError
from robustbench_aigi.grid import to_bytes

LONGEST = 2**20
"""Bytes of an answer that are read."""
HERE = ("localhost", "127.0.0.1", "::1")
SECRET = re.compile(r"key|token|secret|password|auth|signature", re.IGNORECASE)


@final
class HTTPEndpoint(Detector):
    """A black box that is asked over HTTP, an image a request.

    A request is ``POST url`` with the image's PNG bytes as its body, ``Content-Type: image/png`` and
    ``Accept: application/json``; with ``token_env`` also ``Authorization: Bearer TOKEN``. The answer is JSON with a
    number in it. Images are sent at their own size and asked about once: answers are kept in memory by the SHA-256 of
    the pixels. Status 429, 5xx and a broken or late connection are tried again, each pause twice the one before.
    Redirects are not followed. The token is read when a request is sent and is kept nowhere.

    Args:
        url: of the endpoint, without secrets in it.
        score: dotted path of the number in the answer, such as ``result.0.score``.
        scale: ``probability`` for a number from 0 to 1, or ``logit``.
        fake_index: 1 if a high number means AI-generated, 0 if it means real.
        token_env: the NAME of the environment variable that holds the token; None sends none.
        budget: most requests to send, tries included.
        tries: most times to send one image. pause: seconds before the second try. timeout: seconds to wait.

    Raises:
        UserError: an argument that cannot be used. Unavailable: no token, or later no answer or no budget left.
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

    def __init__(
        self,
        url: str,
        score: str = "score",
        scale: Scale = "probability",
        fake_index: Literal[0, 1] = 1,
        token_env: str | None = None,
        budget: int = 10_000,
        tries: int = 5,
        pause: float = 1.0,
        timeout: float = 30.0,
    ) -> None:
        place = checked_url(url, secured=token_env is not None)
        token_in(token_env)
        asked: dict[str, Any] = {"score": score, "scale": scale, "fake_index": fake_index, "token_env": token_env}
        super().__init__(url=url, **asked, budget=budget, tries=tries, pause=pause, timeout=timeout)
        check_ends(fake_index, scale)
        if budget < 1 or tries < 1 or pause < 0 or timeout <= 0:
            raise UserError(
                f"budget, tries, pause or timeout is too low: {budget}, {tries}, {pause}, {timeout}. "
                "Write budget and tries of at least 1, a pause of at least 0 and a timeout above 0."
            )
        self.sent = 0
        self._opener = opener()
        self._known: dict[str, float] = {}
        where = f"{place.scheme}://{place.netloc}{place.path}"
        high = "AI-generated" if fake_index == 1 else "real"
        facts = {
            "name": slug(where),
            "source": where,
            "orientation": f"{score} in the answer is a {scale}; high means {high}",
        }
        self.card = self.card.model_copy(update=facts)

    def fingerprint_parts(self) -> dict[str, Any]:
        """The arguments, and a service that may answer otherwise tomorrow."""
        return {"config": self.config, "service": Unknown(f"the service behind {self.card.source}")}

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1], rounded to 8 bits; the logits have no gradient."""
        values = torch.tensor([self._value(pixels) for pixels in to_bytes(images)], dtype=torch.float64)
        return one_logit(values, self.config["fake_index"], self.config["scale"], self.card.name).to(images)

    def _value(self, pixels: Tensor) -> float:
        """The number for a uint8 ``(3, H, W)`` image."""
        array = pixels.permute(1, 2, 0).contiguous().numpy()
        key = hashlib.sha256(f"{array.shape}".encode() + array.tobytes()).hexdigest()
        if key not in self._known:
            file = io.BytesIO()
            Image.fromarray(array).save(file, format="PNG")
            self._known[key] = number_at(self._answer(file.getvalue()), self.config["score"], self.card.name)
        return self._known[key]

    def _answer(self, png: bytes) -> Any:
        """The endpoint's answer to one image; what a server writes about an error is left out of messages."""
        trouble = ""
        for attempt in range(self.config["tries"]):
            if attempt:
                time.sleep(self.config["pause"] * 2 ** (attempt - 1))
            self._charge()
            try:
                with self._opener.open(self._request(png), timeout=self.config["timeout"]) as answer:
                    text = answer.read(LONGEST)
                break
            except HTTPError as error:
                error.close()
                trouble = f"status {error.code}"
                if error.code != 429 and error.code < 500:
                    raise Unavailable(refusal(self.card.source, error.code)) from None
            except (OSError, HTTPException) as error:
                trouble = type(getattr(error, "reason", error)).__name__
        else:
            raise Unavailable(
                f"{self.card.source} gave no answer in {self.config['tries']} tries, the last time {trouble}. "
                "Look whether it runs, or give it longer: timeout=60, tries=8."
            )
        try:
            return json.loads(text)
        except ValueError:
            raise BadLogits(f"{self.card.source} answered with something that is no JSON. Look at the URL.") from None

    def _charge(self) -> None:
        if self.sent >= self.config["budget"]:
            raise Unavailable(
                f"the budget of {self.config['budget']} requests to {self.card.source} is spent. "
                f"Ask about fewer images, or write budget={2 * self.config['budget']}."
            )
        self.sent += 1

    def _request(self, png: bytes) -> Request:
        headers = {"Content-Type": "image/png", "Accept": "application/json"}
        request = Request(self.config["url"], data=png, headers=headers, method="POST")
        secret = token_in(self.config["token_env"])
        if secret:
            request.add_unredirected_header("Authorization", f"Bearer {secret}")
        return request


def token_in(name: str | None) -> str:
    """The secret in an environment variable; empty if none is asked for. Raises ``Unavailable``, showing neither."""
    secret = os.environ.get(name, "").strip() if name else ""
    if name and not (secret and secret.isascii() and secret.isprintable()):
        raise Unavailable(
            "token_env must be the NAME of an environment variable that holds the token, and the one given is not set "
            "or holds no token. Type `export NAME=...` in the shell, and write token_env='NAME'."
        )
    return secret


def checked_url(url: str, *, secured: bool) -> SplitResult:
    """A URL in parts. Raises ``UserError`` if it is none, holds a secret, or would send one unencrypted."""
    place = urlsplit(url)
    if place.scheme not in ("http", "https") or not place.hostname:
        raise UserError("the endpoint must be a URL such as https://api.example.com/detect. Write it in full.")
    if "@" in place.netloc or any(SECRET.search(key) for key, _ in parse_qsl(place.query, keep_blank_values=True)):
        raise UserError(
            f"the URL of {place.hostname} holds a secret, which would end in results. Put it into an environment "
            "variable, and write token_env='NAME'."
        )
    if secured and place.scheme == "http" and place.hostname not in HERE:
        raise UserError(f"a token would travel to {place.hostname} unencrypted. Write https:// instead of http://.")
    return place


def number_at(answer: Any, path: str, who: str) -> float:
    """The number at a dotted path of a JSON value. Raises ``BadLogits`` naming the part that is missing."""
    found = answer
    for part in path.split("."):
        if isinstance(found, dict) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            raise BadLogits(f"the answer of {who} has no {part!r} of {path!r}. Say where the number is: score='a.0.b'.")
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise BadLogits(f"{path!r} in the answer of {who} is {type(found).__name__}, no number. Write another path.")
    return float(found)


def refusal(source: str, status: int) -> str:
    """What to do about a status that trying again does not mend."""
    if status in (401, 403):
        return f"{source} refused with status {status}. Check the token in the variable that token_env names."
    if 300 <= status < 400:
        return f"{source} redirects (status {status}), which is not followed. Write the URL it redirects to."
    return f"{source} refused with status {status}. Check the URL, and that it takes PNG bytes by POST."


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str) -> None:
        """Never: a token must not follow to another host."""


def opener() -> OpenerDirector:
    """What sends requests, without following redirects."""
    return build_opener(_NoRedirect)
