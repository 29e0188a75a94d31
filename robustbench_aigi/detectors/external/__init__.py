"""Detectors from elsewhere by address: ``hf:``, ``timm:``, ``onnx:``, ``https:``, ``endpoint:``."""

import importlib
import inspect
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from robustbench_aigi.detectors._support.addresses.address import construct
from robustbench_aigi.detectors.base import Detector
from robustbench_aigi.errors import ConfigError

SCHEME_CLASSES = {
    "hf": ("hf.detector", "HFModel"),
    "timm": ("timm_model", "TimmModel"),
    "onnx": ("onnx_model", "OnnxModel"),
    "http": ("http.endpoint", "HTTPEndpoint"),
    "https": ("http.endpoint", "HTTPEndpoint"),
    "endpoint": ("http.endpoint", "HTTPEndpoint"),
}
"""Module and class of each scheme; imported when first asked for."""


def load_external(name: str, /, **config: Any) -> Detector | None:
    """Build the detector at an address, in evaluation mode.

    Args:
        name: ``hf:`` and a hub id or a folder, ``timm:`` and a model's name, ``onnx:`` and a file,
            a URL, or ``endpoint:`` and the name of a preset or the path of its description.
        config: arguments of the detector, such as ``fake_index=0``.

    Returns:
        The detector; None if ``name`` has none of these schemes.

    Raises:
        ConfigError: the detector does not take these arguments.
    """
    cls = class_at(name)
    if cls is None:
        return None
    scheme, _, place = name.partition(":")
    target = name if scheme in ("http", "https") else place
    return construct(cls, name, config, target).eval()


def class_at(name: str) -> type[Detector] | None:
    """Return the class of the detector at an address; None for any other name.

    Args:
        name: see :func:`load_external`.
    """
    scheme, colon, _ = name.partition(":")
    if not colon or scheme not in SCHEME_CLASSES:
        return None
    module, class_name = SCHEME_CLASSES[scheme]
    cls: type[Detector] = getattr(importlib.import_module(f"{__name__}.{module}"), class_name)
    return cls


def check_query(url: str) -> None:
    """Raise ``ConfigError`` if the query of a URL has what may be meant as an argument.

    Args:
        url: of an endpoint, without a ``#``.
    """
    from robustbench_aigi.detectors.external.http.endpoint import HTTPEndpoint

    query = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    arguments = {*inspect.signature(HTTPEndpoint).parameters, "threshold", "name"} - {"url"}
    meant = sorted(query.keys() & arguments)
    if meant:
        place = url.partition("?")[0]
        suggestion = "&".join(f"{key}={query[key]}" for key in meant)
        raise ConfigError(
            f"{', '.join(meant)} in the query of {place} may be the endpoint's own, or an argument"
            f" here. Write arguments after a #, as in '{place}#{suggestion}'; a # at the end of the"
            " URL leaves its query to the endpoint."
        )
