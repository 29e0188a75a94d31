"""Reading and checking the description of an HTTP endpoint."""

from inspect import Parameter, Signature, signature
from typing import Literal
from urllib.parse import urlsplit

from pydantic import ValidationError

from robustbench_aigi import catalogue
from robustbench_aigi.detectors.external.http.spec import EndpointSpec
from robustbench_aigi.detectors.external.http.template import check_placeholders, secret, uses
from robustbench_aigi.detectors.external.http.url import check_no_literal_secret, checked_url
from robustbench_aigi.errors import UserError


def read_spec(name: str) -> EndpointSpec:
    """Read a preset by name, or a file ending in ``.toml``. Raises ``UnknownNameError`` or
    ``ConfigError``.
    """
    return catalogue.read("endpoints", name, EndpointSpec)


def merged(
    spec: EndpointSpec | None, given: dict[str, object], base: str | None = None
) -> EndpointSpec:
    """Return a description with arguments in the place of its own entries.

    Args:
        base: ``scheme://host``, put in the place of that of every URL: a gateway, or a server for a
            trial.

    Raises:
        UserError: an argument that is not known, or of the wrong type.
    """
    try:
        new = EndpointSpec.model_validate(
            (spec.model_dump(exclude_unset=True) if spec else {}) | given
        )
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
    """Return a URL at another ``scheme://host``."""
    parts = urlsplit(url)
    return base.rstrip("/") + url.removeprefix(f"{parts.scheme}://{parts.netloc}")


def check_spec(spec: EndpointSpec) -> None:
    """Raise ``UserError`` for a description that cannot be used, ``UnavailableError`` for a secret
    that is not set.
    """
    for where in ("url", "form", "template", "headers", "image_url", "authorization", "score"):
        check_placeholders(getattr(spec, where), where)
    if spec.poll is not None:
        check_placeholders(spec.poll.url, "poll.url", path=True)
    if spec.login is not None:
        check_placeholders([spec.login.url, spec.login.template], "login")
    hidden = bool(spec.secrets) or spec.login is not None
    for url in spec.urls or [""]:
        checked_url(url, secured=hidden)
    check_no_literal_secret(spec.headers | {"Authorization": spec.authorization}, "headers")
    check_no_literal_secret(spec.form, "form")
    check_no_literal_secret(spec.template, "template")
    check_no_literal_secret(spec.login.template if spec.login else None, "login.template")
    if spec.budget < 1 or spec.tries < 1 or spec.pause < 0 or spec.timeout <= 0:
        raise UserError(
            f"budget, tries, pause or timeout is too low: {spec.budget}, {spec.tries},"
            f" {spec.pause}, {spec.timeout}. Write budget and tries of at least 1, a pause of at"
            " least 0 and a timeout above 0."
        )
    _check_entries(spec)
    for name in spec.secrets:
        secret(name)


def _check_entries(spec: EndpointSpec) -> None:
    """Entries that only mean something together."""
    who = spec.title or "the endpoint"
    for name in ("model", "label"):
        if uses([spec.sent, spec.score], name) and not getattr(spec, name):
            meant = "the label that means AI-generated" if name == "label" else "the model to ask"
            raise UserError(f"{who} needs {name}, {meant}. Write {name}='NAME'.")
    needs_url = uses(spec.sent, "image_url")
    if needs_url and not (spec.image_url and spec.upload_folder):
        raise UserError(
            f"{who} takes no image, only the URL of one. Write"
            " image_url='https://HOST/{sha256}.png' and upload_folder='FOLDER', a folder of that"
            " host where the files are to be written."
        )
    if needs_url and not uses(spec.image_url, "sha256"):
        raise UserError("image_url must tell images apart. Write {sha256} in it.")
    if spec.body == "json" and not any(
        uses(spec.template, name) for name in ("base64", "data_uri", "image_url")
    ):
        raise UserError(
            "a JSON template must hold the image. Write {base64}, {data_uri} or {image_url} in it."
        )
    names = [spec.image_field, spec.file_name, *spec.form, *spec.headers]
    plain = [*names, *spec.headers.values(), spec.authorization, spec.model, spec.label]
    if (
        not all(names)
        or '"' in "".join(names)
        or not all(text.isascii() and text.isprintable() for text in plain)
    ):
        raise UserError(
            "headers, authorization, model, label and the names of form fields and files must be"
            " plain ASCII text. Leave out line breaks, and quotes in names."
        )
    if uses([spec.headers, spec.form, spec.template], "token") and not (
        spec.login or spec.token_env
    ):
        raise UserError("{token} is the one of token_env or of a login. Write token_env='NAME'.")


def check_limits(spec: EndpointSpec, height: int, width: int, size: int, who: str) -> None:
    """Raise ``UserError`` for an image that the service would not take, before it is sent."""
    faults = {
        f"a side of at least {spec.min_side} pixels": min(height, width) < spec.min_side,
        f"sides of at most {spec.max_side} pixels": (
            max(height, width) > (spec.max_side or height + width)
        ),
        f"at most {spec.max_pixels} pixels": height * width > (spec.max_pixels or height * width),
        f"at most {spec.max_bytes} bytes": size > (spec.max_bytes or size),
    }
    for wanted, broken in faults.items():
        if broken:
            raise UserError(
                f"{who} takes images of {wanted}, got {width} x {height} pixels in {size} bytes."
                " Nothing was sent. Give images that it takes: resizing them here would change"
                " what is judged."
            )


def entries_signature() -> Signature:
    """Return what a detector's constructor takes: a parameter per entry of a description, and how
    to find one.
    """
    first = Parameter(
        "address", Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=str | None
    )
    base = Parameter("base", Parameter.KEYWORD_ONLY, default=None, annotation=str | None)
    index = Parameter(
        "fake_index", Parameter.KEYWORD_ONLY, default=None, annotation=Literal[0, 1] | None
    )
    return Signature([first, base, index, *signature(EndpointSpec).parameters.values()])
