"""Checks that an endpoint's description gives no secret away, in URLs or elsewhere."""

import re
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qsl, urlsplit

from robustbench_aigi.detectors.external.http.template import PLACEHOLDER_PATTERN
from robustbench_aigi.errors import UserError

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
"""Hosts to which a secret may travel unencrypted."""
SECRET_NAME = re.compile(r"key|token|secret|password|auth|signature", re.IGNORECASE)
"""What the name of an entry contains that may hold a secret."""


def checked_url(url: str, *, secured: bool) -> SplitResult:
    """Return a URL in parts.

    Args:
        url: with placeholders, but none in its host.
        secured: whether a secret is sent to it.

    Raises:
        UserError: it is no URL, holds a secret, or would send one unencrypted.

    Example:
        >>> checked_url("https://api.example.com/detect", secured=True).hostname
        'api.example.com'
    """
    place = urlsplit(url)
    if place.scheme not in ("http", "https") or not place.hostname or "{" in place.netloc:
        raise UserError(
            "the endpoint must be a URL such as https://api.example.com/detect. Write it in full."
        )
    query = parse_qsl(place.query, keep_blank_values=True)
    if "@" in place.netloc or any(_is_literal_secret(key, value) for key, value in query):
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


def check_no_literal_secret(template: object, where: str) -> None:
    """Raise ``UserError`` for an entry that is called a secret and is written out.

    Args:
        template: a JSON value; the value of such an entry is not shown.
        where: the entry of the description, for messages.
    """
    if isinstance(template, list):
        for value in template:
            check_no_literal_secret(value, where)
    if not isinstance(template, Mapping):
        return
    for key, value in template.items():
        if isinstance(value, str) and value and _is_literal_secret(key, value):
            raise UserError(
                f"{key} in {where} of the endpoint holds a secret, which would end in results. Put"
                " it into an environment variable, and write {env:NAME} in its place."
            )
    for value in template.values():
        check_no_literal_secret(value, where)


def _is_literal_secret(key: str, value: str) -> bool:
    """Return whether an entry is called a secret, and its value comes from no placeholder."""
    return SECRET_NAME.search(key) is not None and PLACEHOLDER_PATTERN.search(value) is None
