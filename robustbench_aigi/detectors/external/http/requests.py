"""The HTTP requests that are sent about an image."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote
from urllib.request import Request

from robustbench_aigi.detectors.external.http.spec import EndpointSpec
from robustbench_aigi.detectors.external.http.template import Values, fill, fill_text


@dataclass(frozen=True)
class Content:
    """The body of a request.

    Attributes:
        data: its bytes.
        media_type: for the header Content-Type.
    """

    data: bytes
    media_type: str


def image_request(spec: EndpointSpec, png: bytes, values: Values) -> Request:
    """Return the request about an image.

    Args:
        spec: the endpoint.
        png: the image as a PNG file.
        values: of the placeholders.
    """
    url = fill_text(spec.url, values, quote_part)
    return endpoint_request(spec, url, _image_content(spec, png, values), values, "POST")


def _image_content(spec: EndpointSpec, png: bytes, values: Values) -> Content:
    if spec.body == "raw":
        return Content(png, "image/png")
    if spec.body == "json":
        return Content(json.dumps(fill(spec.template, values)).encode(), "application/json")
    boundary = uuid.uuid4().hex
    form = {name: fill_text(text, values) for name, text in spec.form.items()}
    data = multipart(form, (spec.image_field, spec.file_name, png), boundary)
    return Content(data, f"multipart/form-data; boundary={boundary}")


def multipart(form: Mapping[str, str], file: tuple[str, str, bytes], boundary: str) -> bytes:
    """Return a form with a PNG file, as ``multipart/form-data``.

    Args:
        form: text by field.
        file: field, file name and bytes.
        boundary: between the parts; it must not occur in them.
    """
    field, name, png = file
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{text}\r\n'.encode()
        for key, text in form.items()
    ]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
        "Content-Type: image/png\r\n\r\n"
    )
    return b"".join([*parts, head.encode(), png, f"\r\n--{boundary}--\r\n".encode()])


def endpoint_request(
    spec: EndpointSpec,
    url: str,
    content: Content | None,
    values: Values,
    method: Literal["GET", "POST"],
) -> Request:
    """Return a request with the endpoint's headers, which do not follow a redirect.

    Args:
        spec: the endpoint.
        url: with placeholders filled.
        content: the body; None for a request without one.
        values: of the placeholders in the headers.
        method: of HTTP.
    """
    request = Request(url, data=content.data if content else None, method=method)
    headers = {"Accept": "application/json"}
    if content is not None:
        headers["Content-Type"] = content.media_type
    headers |= {name: fill_text(text, values) for name, text in spec.headers.items()}
    if spec.token_env or spec.login:
        headers["Authorization"] = fill_text(spec.authorization, values)
    for name, text in headers.items():
        request.add_unredirected_header(name, text)
    return request


def json_request(url: str, body: object) -> Request:
    """Return a POST request with a JSON body and no headers of the endpoint's own.

    Args:
        url: where it is sent to.
        body: a JSON value.
    """
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    return Request(url, data=json.dumps(body).encode(), headers=headers, method="POST")


def quote_part(text: str) -> str:
    """Percent-encode a text for one part of a URL, but no slash, as in a model's name on a hub.

    Args:
        text: any text.

    Example:
        >>> quote_part("org/a b")
        'org/a%20b'
    """
    return quote(text, safe="/")
