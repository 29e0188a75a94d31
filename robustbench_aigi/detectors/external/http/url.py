"""Checks of what an endpoint's description gives away: URLs, and secrets that are written out in
it.
"""

import re
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qsl, urlsplit

from robustbench_aigi.detectors.external.http.template import PLACEHOLDER
from robustbench_aigi.errors import UserError

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
SECRET_NAME = re.compile(r"key|token|secret|password|auth|signature", re.IGNORECASE)


def checked_url(url: str, *, secured: bool) -> SplitResult:
    """Return a URL in parts.

    Args:
        url: with placeholders, but none in its host.
        secured: a secret is sent to it.

    Raises:
        UserError: it is no URL, holds a secret, or would send one unencrypted.
    """
    place = urlsplit(url)
    if place.scheme not in ("http", "https") or not place.hostname or "{" in place.netloc:
        raise UserError(
            "the endpoint must be a URL such as https://api.example.com/detect. Write it in full."
        )
    pairs = parse_qsl(place.query, keep_blank_values=True)
    if "@" in place.netloc or any(
        SECRET_NAME.search(key) and not filled_in(value) for key, value in pairs
    ):
        raise UserError(
            f"the URL of {place.hostname} holds a secret, which would end in results. Put it into"
            " an environment variable, and write token_env='NAME', or {env:NAME} in its place."
        )
    if secured and place.scheme == "http" and place.hostname not in LOOPBACK_HOSTS:
        raise UserError(
            f"a token would travel to {place.hostname} unencrypted. Write https:// instead of"
            " http://."
        )
    return place


def filled_in(text: str) -> bool:
    """Return whether a text takes its value from a placeholder."""
    return PLACEHOLDER.search(text) is not None


def check_no_literal_secret(template: object, where: str) -> None:
    """Raise ``UserError`` for an entry that is called a secret and is written out; its value is not
    shown.
    """
    pairs = template.items() if isinstance(template, Mapping) else ()
    for key, value in pairs:
        if isinstance(value, str) and value and SECRET_NAME.search(key) and not filled_in(value):
            raise UserError(
                f"{key} in {where} of the endpoint holds a secret, which would end in results. Put"
                " it into an environment variable, and write {env:NAME} in its place."
            )
    for value in (
        [value for _, value in pairs] if pairs else template if isinstance(template, list) else ()
    ):
        check_no_literal_secret(value, where)
