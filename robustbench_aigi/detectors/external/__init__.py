"""Anyone's detectors, named by where they are: ``hf:REPO``, ``timm:NAME``, ``onnx:PATH``,
``https://HOST/PATH``, ``endpoint:NAME``.
"""

import importlib
import inspect
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from robustbench_aigi.detectors._support.addresses.address import constructed
from robustbench_aigi.detectors.base import Detector
from robustbench_aigi.errors import ConfigError

KINDS = {
    "hf": ("hf.detector", "HFModel"),
    "timm": ("timm_model", "TimmModel"),
    "onnx": ("onnx_model", "OnnxModel"),
    "http": ("http.endpoint", "HTTPEndpoint"),
    "https": ("http.endpoint", "HTTPEndpoint"),
    "endpoint": ("http.endpoint", "HTTPEndpoint"),
}
"""Module and class of each scheme; imported when first asked for."""


def addressed(name: str, /, **config: Any) -> Detector | None:
    """The detector at an address, in evaluation mode; None if ``name`` is no address of these
    kinds.

    Args:
        name: ``hf:`` and a hub id or a folder, ``timm:`` and a model's name, ``onnx:`` and a file,
            a URL, or ``endpoint:`` and the name of a preset or the path of its description.
        config: arguments of the detector, such as ``fake_index=0``.

    Raises:
        ConfigError: it does not take these arguments.
    """
    scheme, _, place = name.partition(":")
    cls = class_at(name)
    if cls is None:
        return None
    return constructed(cls, name, config, name if scheme in ("http", "https") else place).eval()


def class_at(name: str) -> type[Detector] | None:
    """The class of what is at an address; None if ``name`` is no address of these kinds."""
    scheme, colon, _ = name.partition(":")
    if not colon or scheme not in KINDS:
        return None
    module, called = KINDS[scheme]
    cls: type[Detector] = getattr(importlib.import_module(f"{__name__}.{module}"), called)
    return cls


def check_query(url: str) -> None:
    """Raise ``ConfigError`` if the query of a URL has what may be meant as an argument here."""
    from robustbench_aigi.detectors.external.http.endpoint import HTTPEndpoint

    query = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    meant = sorted(
        query.keys()
        & ({*inspect.signature(HTTPEndpoint).parameters, "threshold", "name"} - {"url"})
    )
    if meant:
        place = url.partition("?")[0]
        told = "&".join(f"{key}={query[key]}" for key in meant)
        raise ConfigError(
            f"{', '.join(meant)} in the query of {place} may be the endpoint's own, or an argument"
            f" here. Write arguments after a #, as in '{place}#{told}'; a # at the end of the URL"
            " leaves its query to the endpoint."
        )
