"""A quicker view of a detector on the CPU: compiled, in ONNX Runtime, or with its linear layers in
8-bit integers.
"""

import copy
import os
import pickle
import shutil
from textwrap import shorten
from typing import Any, Literal, cast, final

import torch
from torch import Tensor, nn

from robustbench_aigi.detectors.base import Card, Detector
from robustbench_aigi.detectors.external.onnx_graph import session
from robustbench_aigi.detectors.external.outputs import optional
from robustbench_aigi.errors import UnavailableError, UserError

By = Literal["compile", "onnx", "int8"]
FEWEST = 8
"""Outputs below which a linear layer stays in floating point: it costs nothing, and a head decides.
"""
ROWS = 256
FAITHFUL = 1e-2
"""How far a logit of ONNX Runtime may be from torch's, beside its own size: more is a fault of the
export.
"""


def faster(detector: Detector, by: By = "compile") -> Detector:
    """A quicker view of a detector, which gives (nearly) the same logits; its card says what it is.

    Args:
        by: ``compile`` (torch.compile, differentiable; the first call takes a minute), ``onnx``
            (ONNX Runtime) or ``int8`` (linear layers in 8-bit integers; many times slower where the
            processor has no instructions for their products). The last two are black boxes and
            copies of the weights as they are now: for scoring, not for attacks by gradient. Measure
            with ``python -m tests.benchmarks.latency``.

    Raises:
        UserError: no such way, or nothing in the detector to quicken. UnavailableError: a compiler
            or a package is missing.
    """
    if by not in VIEWS:
        raise UserError(f"no faster path called {by!r}. Write one of {', '.join(VIEWS)}.")
    return VIEWS[by](detector).eval()


def card_of(detector: Detector, by: By, what: str) -> Card:
    """The detector's card, saying how it is run."""
    old = detector.card
    changed = {
        "name": f"{old.name}-{by}",
        "summary": f"{old.summary}; {what}".removeprefix("; "),
        "cam": "",
    }
    return old.model_copy(update=changed | ({} if by == "compile" else {"gradient": "none"}))


def copied(detector: Detector) -> Detector:
    """A copy in evaluation mode; training mode first drops what timm caches as part of a graph,
    which has no copy.

    Raises ``UserError`` if there is something in the detector that cannot be copied, such as a lock
    or an open file.
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


@final
class Compiled(Detector):
    """A detector through ``torch.compile``; it is compiled anew for a new image size. Source: Ansel
    et al., 2024.
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
        self.card = card_of(detector, "compile", "compiled by torch")

    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]."""
        return cast("Tensor", self.net(images))


@final
class InOnnxRuntime(Detector):
    """A detector, its preprocessing included, as an ONNX graph for each image size met, run by ONNX
    Runtime.
    """

    default_card = Card(name="in-onnx-runtime", source="ONNX Runtime", gradient="none")
    restorable = False
    net: Detector

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        optional("onnxruntime", "onnx")
        optional("onnxscript", "onnx")
        self.net = copied(detector)
        self._graphs: dict[tuple[int, int], Any] = {}
        self.card = card_of(detector, "onnx", "in ONNX Runtime")

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]; the logits have no gradient."""
        size = (images.shape[-2], images.shape[-1])
        if size not in self._graphs:
            self._graphs[size] = self._exported(*size)
        return self._run(self._graphs[size], images).to(images)

    def fingerprint_parts(self) -> dict[str, Any]:
        """The detector inside; graphs are made of it when a size is first met."""
        return {"net": self.net}

    def __getstate__(self) -> dict[str, Any]:
        """A copy, here or in another process, makes its graphs anew: a session can be neither
        copied nor sent.
        """
        return self.__dict__ | {"_graphs": {}}

    def _exported(self, height: int, width: int) -> Any:
        """The graph for a size. Raises ``UnavailableError`` if torch cannot export it, or what it
        exports is unfaithful.
        """
        example = torch.linspace(0, 1, 2 * 3 * height * width).view(2, 3, height, width)
        wanted = self.net.logits(
            example
        )  # before the export, which takes no cache that a first call fills
        shapes = ({0: torch.export.Dim("images")},)
        try:
            program = torch.onnx.export(
                self.net, (example,), dynamo=True, dynamic_shapes=shapes, verbose=False
            )
        except (torch.onnx.OnnxExporterError, RuntimeError, ValueError) as error:
            raise UnavailableError(
                f"torch cannot export {self.card.name}:"
                f" {str(error.__cause__ or error).splitlines()[0]}. Write by='compile'."
            ) from error
        graph = session(
            cast("torch.onnx.ONNXProgram", program).model_proto.SerializeToString(), self.card.name
        )
        furthest = float(((self._run(graph, example) - wanted).abs() / (1 + wanted.abs())).max())
        if not furthest <= FAITHFUL:
            raise UnavailableError(
                f"{self.card.name} differs from torch by {furthest:.2g} at {height} x {width}, more"
                f" than {FAITHFUL}. Write by='compile'."
            )
        return graph

    @staticmethod
    def _run(graph: Any, images: Tensor) -> Tensor:
        return torch.from_numpy(
            graph.run(None, {graph.get_inputs()[0].name: images.float().cpu().numpy()})[0]
        )


@final
class InInt8(Detector):
    """A detector whose linear layers multiply 8-bit integers; the rest stays in floating point."""

    default_card = Card(name="in-int8", source="dynamic quantisation", gradient="none")
    restorable = False
    net: Detector

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.net = copied(detector)
        layers = [
            (parent, name, layer)
            for parent in self.net.modules()
            for name, layer in parent.named_children()
            if type(layer) is nn.Linear and layer.out_features >= FEWEST
        ]
        if not layers:
            raise UserError(
                f"{detector.card.name} has no linear layer to put into 8 bits. Write by='compile'"
                " or by='onnx'."
            )
        for parent, name, layer in layers:
            setattr(parent, name, Int8Linear(layer))
        self.card = card_of(detector, "int8", f"{len(layers)} linear layers in 8-bit integers")

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]; the logits have no gradient."""
        return self.net.logits(images)


@final
class Int8Linear(nn.Module):
    """A linear layer in 8-bit integers: weights scaled by output, inputs by row as they come.

    A scale for each row, and none for a whole batch, keeps an image's logit the same, to within a
    rounding of 8 bits, whatever is scored beside it.
    """

    integers: Tensor
    scales: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        integers, scales = in_8_bits(layer.weight.detach())
        self.register_buffer("integers", integers.t().contiguous())
        self.register_buffer("scales", scales.squeeze(1))
        self.bias = layer.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """``(..., in)`` to ``(..., out)``, a few rows at a time, so that they stay in the
        processor's cache.
        """
        parts = inputs.reshape(-1, inputs.shape[-1]).split(ROWS)
        return torch.cat([self._multiplied(rows) for rows in parts]).view(*inputs.shape[:-1], -1)

    def _multiplied(self, rows: Tensor) -> Tensor:
        integers, scales = in_8_bits(rows)
        outputs = (
            torch._int_mm(integers, self.integers).to(rows.dtype).mul_(scales).mul_(self.scales)
        )
        return outputs if self.bias is None else outputs.add_(self.bias)


def in_8_bits(rows: Tensor) -> tuple[Tensor, Tensor]:
    """``(N, D)`` int8 values and ``(N, 1)`` scales whose product is nearest to the rows; the
    largest becomes 127.
    """
    largest = torch.linalg.vector_norm(rows, torch.inf, dim=1, keepdim=True)
    scales = largest.clamp_min(127 * torch.finfo(rows.dtype).tiny) / 127
    return (rows / scales).round_().to(torch.int8), scales


VIEWS: dict[By, type[Compiled] | type[InOnnxRuntime] | type[InInt8]] = {
    "compile": Compiled,
    "onnx": InOnnxRuntime,
    "int8": InInt8,
}
