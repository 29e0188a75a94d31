"""Anyone's detectors, named by where they are: ``hf:REPO``, ``timm:NAME``, ``onnx:PATH``, ``https://HOST/PATH``,
``endpoint:NAME``."""

from typing import Any

from robustbench_aigi.detectors.base import Detector


def addressed(name: str, **config: Any) -> Detector | None:
    """The detector at an address, in evaluation mode; None if ``name`` is no address of these kinds.

    Args:
        name: ``hf:`` and a hub id or a folder, ``timm:`` and a model's name, ``onnx:`` and a file, a URL, or
            ``endpoint:`` and the name of a preset or the path of its description.
        config: arguments of the detector, such as ``fake_index=0``.
    """
    scheme, _, place = name.partition(":")
    if scheme == "hf":
        from robustbench_aigi.detectors.anyone.hf import HFModel

        return HFModel(place, **config).eval()
    if scheme == "timm":
        from robustbench_aigi.detectors.anyone.timm_model import TimmModel

        return TimmModel(place, **config).eval()
    if scheme == "onnx":
        from robustbench_aigi.detectors.anyone.onnx_model import OnnxModel

        return OnnxModel(place, **config).eval()
    if scheme in ("http", "https", "endpoint"):
        from robustbench_aigi.detectors.anyone.http_endpoint import HTTPEndpoint

        return HTTPEndpoint(name, **config).eval()
    return None
