"""Reading the description of an HTTP endpoint, and merging arguments into it."""

from inspect import Parameter, Signature, signature
from typing import Literal
from urllib.parse import urlsplit

from pydantic import ValidationError

from robustbench_aigi import catalogue
from robustbench_aigi.detectors.external.http.spec import EndpointSpec
from robustbench_aigi.errors import UserError


def read_spec(name: str) -> EndpointSpec:
    """Read a description.

    Args:
        name: of a preset, or the path of a file ending in ``.toml``.

    Raises:
        UnknownNameError: there is none.
        ConfigError: it cannot be read.
    """
    return catalogue.read("endpoints", name, EndpointSpec)


def merge_spec(
    spec: EndpointSpec | None, given: dict[str, object], base: str | None = None
) -> EndpointSpec:
    """Return a description with arguments instead of its own entries.

    Args:
        spec: the description; None if there are only arguments.
        given: arguments by the names of entries.
        base: ``scheme://host`` that replaces that of every URL: a gateway, or a server for a
            trial.

    Raises:
        UserError: an argument that is not known, or of the wrong type.
    """
    own = spec.model_dump(exclude_unset=True) if spec else {}
    try:
        new = EndpointSpec.model_validate(own | given)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, f['loc']))}: {f['msg'].lower()}" for f in error.errors()
        )
        raise UserError(
            f"the description of the endpoint does not fit: {faults}. Its entries are "
            f"{', '.join(EndpointSpec.model_fields)}."
        ) from None  # pydantic's own text shows what was given, which may be a secret
    if base is None:
        return new
    changed: dict[str, object] = {"url": rebased(new.url, base)}
    if new.login is not None:
        changed["login"] = new.login.model_copy(update={"url": rebased(new.login.url, base)})
    if new.poll is not None:
        changed["poll"] = new.poll.model_copy(update={"url": rebased(new.poll.url, base)})
    return new.model_copy(update=changed)


def rebased(url: str, base: str) -> str:
    """Return a URL at another host.

    Args:
        url: a whole URL.
        base: the other ``scheme://host``.

    Example:
        >>> rebased("https://api.example.com/detect?a=1", "http://localhost:8000")
        'http://localhost:8000/detect?a=1'
    """
    parts = urlsplit(url)
    return base.rstrip("/") + url.removeprefix(f"{parts.scheme}://{parts.netloc}")


def entries_signature() -> Signature:
    """Return the signature of a detector's constructor: one parameter per entry, and more."""
    first = Parameter(
        "address", Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=str | None
    )
    base = Parameter("base", Parameter.KEYWORD_ONLY, default=None, annotation=str | None)
    index = Parameter(
        "fake_index", Parameter.KEYWORD_ONLY, default=None, annotation=Literal[0, 1] | None
    )
    return Signature([first, base, index, *signature(EndpointSpec).parameters.values()])
