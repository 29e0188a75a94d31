"""Placeholders in an endpoint's description, filled when a request is sent."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from robustbench_aigi.errors import UnavailableError, UserError

Values = Mapping[str, Callable[[], str]]
"""What makes the text of each placeholder."""
PLACEHOLDER_PATTERN = re.compile(r"\{(?:(env|path):([^{}]+)|([a-z][a-z0-9_]*))\}")
PLACEHOLDER_NAMES = (
    "base64",
    "data_uri",
    "image_url",
    "label",
    "model",
    "sha256",
    "token",
    "uuid",
)
"""Placeholders besides ``{env:NAME}`` and, in the URL to poll, ``{path:...}``."""
VARIABLE_PATTERN = re.compile(r"[A-Z]+(_[A-Z0-9]+)*")
"""Names of variables that may be shown; any other text may be a secret instead of a name."""


def texts(template: object) -> Iterator[str]:
    """Yield every string in a JSON value, keys included.

    Args:
        template: a JSON value.

    Example:
        >>> list(texts({"a": ["b", 1]}))
        ['a', 'b']
    """
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
    """Return the names of the environment variables that a template needs.

    Args:
        template: a JSON value.

    Example:
        >>> variables({"key": "{env:MY_KEY}"})
        ['MY_KEY']
    """
    found = (match for text in texts(template) for match in PLACEHOLDER_PATTERN.finditer(text))
    return [match[2] for match in found if match[1] == "env"]


def uses(template: object, name: str) -> bool:
    """Return whether a template has a placeholder.

    Args:
        template: a JSON value.
        name: of the placeholder, without braces.
    """
    return any(f"{{{name}}}" in text for text in texts(template))


def check_placeholders(template: object, where: str, *, path: bool = False) -> None:
    """Raise ``UserError`` for a placeholder that is not known.

    Args:
        template: a JSON value.
        where: the entry of the description, for messages.
        path: whether ``{path:...}`` is allowed.
    """
    for text in texts(template):
        for match in PLACEHOLDER_PATTERN.finditer(text):
            is_unknown = bool(match[3]) and match[3] not in PLACEHOLDER_NAMES
            if is_unknown or (match[1] == "path" and not path):
                known = ", ".join(f"{{{name}}}" for name in PLACEHOLDER_NAMES)
                raise UserError(
                    f"{where} has the placeholder {match[0]}, which is not known there. Write"
                    f" {{env:NAME}} or one of {known}."
                )


def _unchanged(text: str) -> str:
    return text


def fill(template: object, values: Values, encode: Callable[[str], str] = _unchanged) -> Any:
    """Fill the placeholders of a JSON value.

    Args:
        template: a JSON value.
        values: what makes the text of each placeholder; keys of ``{path:...}`` are written with
            their ``path:``.
        encode: applied to every text that is filled in, such as percent-encoding in a URL.

    Raises:
        UnavailableError: an environment variable is not set.

    Example:
        >>> fill({"image": "{sha256}.png"}, {"sha256": lambda: "00ff"})
        {'image': '00ff.png'}
    """

    def filled(match: re.Match[str]) -> str:
        if match[1] == "env":
            return encode(read_secret(match[2]))
        return encode(values[match[0][1:-1]]())

    if isinstance(template, str):
        return PLACEHOLDER_PATTERN.sub(filled, template)
    if isinstance(template, Mapping):
        return {key: fill(value, values, encode) for key, value in template.items()}
    if isinstance(template, list):
        return [fill(value, values, encode) for value in template]
    return template


def fill_text(template: str, values: Values, encode: Callable[[str], str] = _unchanged) -> str:
    """Fill the placeholders of a text.

    Args:
        template: the text.
        values: see :func:`fill`.
        encode: see :func:`fill`.

    Raises:
        UnavailableError: an environment variable is not set.
    """
    return str(fill(template, values, encode))


def read_secret(name: str) -> str:
    """Return the secret in an environment variable.

    Args:
        name: of the variable.

    Raises:
        UnavailableError: it is not set; the message never shows a secret.
    """
    found = os.environ.get(name, "").strip()
    if found and found.isascii() and found.isprintable():
        return found
    shown = "NAME"
    which = "the one given is"
    if VARIABLE_PATTERN.fullmatch(name):
        shown = name
        which = f"the environment variable {name} is"
    raise UnavailableError(
        "a secret is read from the environment: token_env and {env:NAME} take the NAME of a"
        f" variable, and {which} not set or holds no printable ASCII text. Type `export"
        f" {shown}=...` in the shell."
    )


def redacted(text: str, names: list[str]) -> str:
    """Return a text without secrets, which a server may have sent back.

    Args:
        text: such as an error message.
        names: of the environment variables that hold the secrets.
    """
    for name in names:
        value = os.environ.get(name, "").strip()
        text = text.replace(value, "***") if value else text
    return text
