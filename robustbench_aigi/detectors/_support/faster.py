"""Faster views of a detector on the CPU: compiled by torch, or run by ONNX Runtime."""

import copy
import os
import pickle
import shutil
from textwrap import shorten
from typing import Any, Literal, cast, final

import torch
from torch import Tensor, nn

from robustbench_aigi.detectors.base import Card, Detector
from robustbench_aigi.detectors.external.onnx_graph import open_session
from robustbench_aigi.detectors.external.outputs import import_optional
from robustbench_aigi.errors import UnavailableError, UserError

By = Literal["compile", "onnx"]
MAX_DIFFERENCE = 1e-2
"""Largest difference of an ONNX logit from torch's, relative above 1; more is a wrong export."""


def faster(detector: Detector, by: By = "compile") -> Detector:
    """Return a faster view of a detector with (nearly) the same logits; its card names the view.

    Args:
        detector: in evaluation mode.
        by: ``compile`` (torch.compile, differentiable; the first call takes a minute) or ``onnx``
            (ONNX Runtime). The latter is a black box and a copy of the present weights: for
            scoring, not for attacks by gradient. Measure with ``python -m
            tests.benchmarks.latency``.

    Raises:
        UserError: no such view, or the detector cannot be copied.
        UnavailableError: a compiler or a package is missing.
    """
    if by not in KNOWN_VIEWS:
        raise UserError(f"no faster view called {by!r}. Write by= one of {', '.join(KNOWN_VIEWS)}.")
    return KNOWN_VIEWS[by](detector).eval()


def copy_detector(detector: Detector) -> Detector:
    """Return a copy of a detector in evaluation mode.

    Training mode is set for the copy, because timm then drops a cache that cannot be copied.

    Args:
        detector: in any mode, which it keeps.

    Raises:
        UserError: something in the detector cannot be copied, such as a lock or an open file.
    """
    modes = [(module, module.training) for module in detector.modules()]
    try:
        detector.train()
        with torch.no_grad():  # a TorchScript module's copy would be part of a graph
            return copy.deepcopy(detector).eval()
    except (TypeError, RuntimeError, NotImplementedError, pickle.PicklingError) as error:
        raise UserError(
            f"{detector.card.name} cannot be copied: {shorten(str(error), 200)}. It can be"
            " evaluated; to train it or to make it faster, give it a method __deepcopy__."
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode


def _view_card(detector: Detector, by: By, what: str) -> Card:
    """Return the detector's card, stating how it is run."""
    old = detector.card
    facts = {
        "name": f"{old.name}-{by}",
        "summary": f"{old.summary}; {what}".removeprefix("; "),
        "cam": "",
    }
    if by != "compile":
        facts["gradient"] = "none"
    return old.model_copy(update=facts)


@final
class Compiled(Detector):
    """A detector through ``torch.compile``, compiled once for each image size.

    Source: Ansel et al., PyTorch 2, ASPLOS 2024.
    """

    default_card = Card(name="compiled", source="torch.compile")
    restorable = False

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        compiler = os.environ.get("CXX", "g++")
        if shutil.which(compiler) is None and shutil.which("clang++") is None:
            raise UnavailableError(
                f"torch.compile needs a C++ compiler, and there is no {compiler}. Install g++"
                " (`apt-get install g++`), or write by='onnx'."
            )
        self.net = cast("nn.Module", torch.compile(detector))
        self.card = _view_card(detector, "compile", "compiled by torch")

    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]."""
        return cast("Tensor", self.net(images))


@final
class InOnnxRuntime(Detector):
    """A detector with its preprocessing in ONNX Runtime, as one graph for each image size."""

    default_card = Card(name="in-onnx-runtime", source="ONNX Runtime", gradient="none")
    restorable = False
    net: Detector

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        import_optional("onnxruntime", "onnx")
        import_optional("onnxscript", "onnx")
        self.net = copy_detector(detector)
        self._graphs: dict[tuple[int, int], Any] = {}
        self.card = _view_card(detector, "onnx", "in ONNX Runtime")

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]; the logits have no gradient."""
        size = (images.shape[-2], images.shape[-1])
        if size not in self._graphs:
            self._graphs[size] = self._exported(*size)
        return self._run(self._graphs[size], images).to(images)

    def fingerprint_parts(self) -> dict[str, Any]:
        """Return the detector inside, of which all graphs are made."""
        return {"net": self.net}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the sessions, which cannot be copied or sent; a copy exports its own graphs."""
        return self.__dict__ | {"_graphs": {}}

    def _exported(self, height: int, width: int) -> Any:
        """Return the session of a graph for one size.

        Raises:
            UnavailableError: torch cannot export the detector, or the graph has other logits.
        """
        example = torch.linspace(0, 1, 2 * 3 * height * width).view(2, 3, height, width)
        # scored before the export, which cannot handle a cache that a first call fills
        wanted = self.net.logits(example)
        shapes = ({0: torch.export.Dim("images")},)
        try:
            program = torch.onnx.export(
                self.net, (example,), dynamo=True, dynamic_shapes=shapes, verbose=False
            )
        except (torch.onnx.OnnxExporterError, RuntimeError, ValueError) as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise UnavailableError(
                f"torch cannot export {self.card.name}: {reason}. Write by='compile'."
            ) from error
        model = cast("torch.onnx.ONNXProgram", program).model_proto
        graph = open_session(model.SerializeToString(), self.card.name)
        difference = ((self._run(graph, example) - wanted).abs() / (1 + wanted.abs())).max()
        if not float(difference) <= MAX_DIFFERENCE:
            raise UnavailableError(
                f"{self.card.name} differs from torch by {float(difference):.2g} at {height} x"
                f" {width}, more than {MAX_DIFFERENCE}. Write by='compile'."
            )
        return graph

    @staticmethod
    def _run(graph: Any, images: Tensor) -> Tensor:
        name = graph.get_inputs()[0].name
        return torch.from_numpy(graph.run(None, {name: images.float().cpu().numpy()})[0])


KNOWN_VIEWS: dict[By, type[Compiled] | type[InOnnxRuntime]] = {
    "compile": Compiled,
    "onnx": InOnnxRuntime,
}
