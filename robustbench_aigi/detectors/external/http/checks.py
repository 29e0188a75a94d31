"""Checks of an endpoint's description, and of images before they are sent."""

from robustbench_aigi.detectors.external.http.spec import EndpointSpec
from robustbench_aigi.detectors.external.http.template import (
    check_placeholders,
    read_secret,
    uses,
)
from robustbench_aigi.detectors.external.http.url import check_no_literal_secret, checked_url
from robustbench_aigi.errors import UserError


def check_spec(spec: EndpointSpec) -> None:
    """Check that a description can be used.

    Args:
        spec: with arguments merged.

    Raises:
        UserError: an entry cannot be used, or entries contradict each other.
        UnavailableError: a secret is not set.
    """
    for where in ("url", "form", "template", "headers", "image_url", "authorization", "score"):
        check_placeholders(getattr(spec, where), where)
    if spec.poll is not None:
        check_placeholders(spec.poll.url, "poll.url", path=True)
    if spec.login is not None:
        check_placeholders([spec.login.url, spec.login.template], "login")
    has_secrets = bool(spec.secrets) or spec.login is not None
    for url in spec.urls or [""]:
        checked_url(url, secured=has_secrets)
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
    _check_names(spec)
    _check_image_is_sent(spec)
    _check_plain_text(spec)
    has_token = spec.login is not None or spec.token_env
    if uses([spec.headers, spec.form, spec.template], "token") and not has_token:
        raise UserError("{token} is the one of token_env or of a login. Write token_env='NAME'.")
    for name in spec.secrets:
        read_secret(name)


def _check_names(spec: EndpointSpec) -> None:
    """Raise ``UserError`` where a placeholder needs an entry that is empty."""
    meanings = {"model": "the model to ask", "label": "the label that means AI-generated"}
    for name, meaning in meanings.items():
        if uses([spec.sent, spec.score], name) and not getattr(spec, name):
            who = spec.title or "the endpoint"
            raise UserError(f"{who} needs {name}, {meaning}. Write {name}='NAME'.")


def _check_image_is_sent(spec: EndpointSpec) -> None:
    """Raise ``UserError`` for a request without the image, or without its URL where that is due."""
    needs_url = uses(spec.sent, "image_url")
    if needs_url and not (spec.image_url and spec.upload_folder):
        raise UserError(
            f"{spec.title or 'the endpoint'} takes no image, only the URL of one. Write"
            " image_url='https://HOST/{sha256}.png' and upload_folder='FOLDER', a folder of that"
            " host where the files are to be written."
        )
    if needs_url and not uses(spec.image_url, "sha256"):
        raise UserError("image_url must tell images apart. Write {sha256} in it.")
    holders = ("base64", "data_uri", "image_url")
    if spec.body == "json" and not any(uses(spec.template, name) for name in holders):
        raise UserError(
            "a JSON template must hold the image. Write {base64}, {data_uri} or {image_url} in it."
        )


def _check_plain_text(spec: EndpointSpec) -> None:
    """Raise ``UserError`` for texts that cannot stand in a header or in a form."""
    names = [spec.image_field, spec.file_name, *spec.form, *spec.headers]
    plain = [*names, *spec.headers.values(), spec.authorization, spec.model, spec.label]
    are_names = all(names) and '"' not in "".join(names)
    if not are_names or not all(text.isascii() and text.isprintable() for text in plain):
        raise UserError(
            "headers, authorization, model, label and the names of form fields and files must be"
            " plain ASCII text. Leave out line breaks, and quotes in names."
        )


def check_limits(spec: EndpointSpec, height: int, width: int, size: int, who: str) -> None:
    """Raise ``UserError`` for an image that the service would not take, before it is sent.

    Args:
        spec: has the limits.
        height: of the image in pixels.
        width: of the image in pixels.
        size: of the PNG file in bytes.
        who: the detector's name, for messages.
    """
    checks = {
        f"a side of at least {spec.min_side} pixels": min(height, width) < spec.min_side,
        f"sides of at most {spec.max_side} pixels": _exceeds(max(height, width), spec.max_side),
        f"at most {spec.max_pixels} pixels": _exceeds(height * width, spec.max_pixels),
        f"at most {spec.max_bytes} bytes": _exceeds(size, spec.max_bytes),
    }
    broken = [limit for limit, is_broken in checks.items() if is_broken]
    if broken:
        raise UserError(
            f"{who} takes images of {broken[0]}, got {width} x {height} pixels in {size} bytes."
            " Nothing was sent. Give images that it takes: resizing them here would change"
            " what is judged."
        )


def _exceeds(value: int, limit: int | None) -> bool:
    return limit is not None and value > limit
