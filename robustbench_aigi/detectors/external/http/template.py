"""Placeholders in an endpoint's description, such as ``{env:NAME}`` and ``{base64}``, filled when a
request is sent.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from robustbench_aigi.errors import UnavailableError, UserError

PLACEHOLDER = re.compile(r"\{(?:(env|path):([^{}]+)|([a-z][a-z0-9_]*))\}")
KNOWN_NAMES = ("base64", "data_uri", "image_url", "label", "model", "sha256", "token", "uuid")
"""Placeholders besides ``{env:NAME}`` and, in the URL to poll, ``{path:...}`` of the first answer.
"""
PLAIN_NAME = re.compile(r"[A-Z]+(_[A-Z0-9]+)*")
"""Names of variables that may be shown: one that is not of this form may be a secret in the place
of a name.
"""


def texts(template: object) -> Iterator[str]:
    """Yield every string in a JSON value, keys included."""
    if isinstance(template, str):
        yield template
    elif isinstance(template, Mapping):
        for key, value in template.items():
            yield key
            yield from texts(value)
    elif isinstance(template, list):
        for value in template:
            yield from texts(value)


def variables(template: object) -> list[str]:
    """Return the names of the environment variables that a template needs."""
    found = (match for text in texts(template) for match in PLACEHOLDER.finditer(text))
    return [match[2] for match in found if match[1] == "env"]


def uses(template: object, name: str) -> bool:
    """Return whether a template has the placeholder ``{name}``."""
    return any(f"{{{name}}}" in text for text in texts(template))


def check_placeholders(template: object, where: str, *, path: bool = False) -> None:
    """Raise ``UserError`` for a placeholder that is not known; ``path`` allows ``{path:...}``."""
    for text in texts(template):
        for match in PLACEHOLDER.finditer(text):
            if (match[3] and match[3] not in KNOWN_NAMES) or (match[1] == "path" and not path):
                raise UserError(
                    f"{where} has the placeholder {match[0]}, which is not known there. Write"
                    f" {{env:NAME}} or one of {', '.join(f'{{{name}}}' for name in KNOWN_NAMES)}."
                )


def fill(
    template: object,
    values: Mapping[str, Callable[[], str]],
    encode: Callable[[str], str] = lambda text: text,
) -> Any:
    """Fill the placeholders of a JSON value.

    Args:
        values: what makes the text of each placeholder; keys of ``{path:...}`` are written with
            their ``path:``.
        encode: applied to every text that is filled in, such as percent-encoding in a URL.

    Raises:
        UnavailableError: an environment variable is not set.
    """

    def filled(match: re.Match[str]) -> str:
        if match[1] == "env":
            return encode(secret(match[2]))
        return encode(values[match[0][1:-1]]())

    if isinstance(template, str):
        return PLACEHOLDER.sub(filled, template)
    if isinstance(template, Mapping):
        return {key: fill(value, values, encode) for key, value in template.items()}
    if isinstance(template, list):
        return [fill(value, values, encode) for value in template]
    return template


def fill_text(
    template: str,
    values: Mapping[str, Callable[[], str]],
    encode: Callable[[str], str] = lambda text: text,
) -> str:
    """Fill the placeholders of a text, as :func:`fill` does."""
    return str(fill(template, values, encode))


def secret(name: str) -> str:
    """Return the secret in an environment variable. Raises ``UnavailableError``, which never shows
    the secret.
    """
    found = os.environ.get(name, "").strip()
    if not (found and found.isascii() and found.isprintable()):
        named = name if PLAIN_NAME.fullmatch(name) else "NAME"
        which = f"the environment variable {named} is" if named == name else "the one given is"
        raise UnavailableError(
            "a secret is read from the environment: token_env and {env:NAME} take the NAME of a"
            f" variable, and {which} not set or holds no printable ASCII text. Type `export"
            f" {named}=...` in the shell."
        )
    return found


def redacted(text: str, names: list[str]) -> str:
    """Return a text without the secrets of these environment variables, which a server may have
    sent back.
    """
    for name in names:
        value = os.environ.get(name, "").strip()
        text = text.replace(value, "***") if value else text
    return text
