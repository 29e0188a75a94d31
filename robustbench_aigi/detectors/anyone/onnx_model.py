"""A network in an ONNX file as a detector: ``onnx:PATH``."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_aigi.detectors.anyone.ends import Scale, check_ends, one_logit, optional, slug
from robustbench_aigi.detectors.base import Card, Detector, Normalise
from robustbench_aigi.detectors.resizing import resize
from robustbench_aigi.errors import BadCheckpoint, UserError
from robustbench_aigi.hashing import file_digest

TYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}


def session(model: str | bytes, who: str) -> Any:
    """An ONNX Runtime session on the CPU, with as many threads as torch has.

    Args:
        model: a file's path, or its bytes. who: what it is, for messages.

    Raises:
        Unavailable: ONNX Runtime is not installed. BadCheckpoint: it cannot read the model.
    """
    runtime = optional("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class in common
        raise BadCheckpoint(f"ONNX Runtime cannot read {who}: {error}. Give what an ONNX exporter wrote.") from error


@final
class OnnxModel(Detector):
    """A black box in an ONNX file: no gradient, one or two outputs.

    The layout (channels first or last), the batch size and the input size are read from the graph.

    Args:
        path: the file. sha256: of the file, to refuse another one; a saved detector has it.
        fake_index: the output that means AI-generated. With one output: 1 if high means AI-generated, 0 if real.
        scale: ``logit``, or ``probability`` if a sigmoid or a softmax is in the graph.
        mean, std: what is subtracted from, and then divides, the channels of images in [0, 1].
        size: side in pixels, where the graph leaves it open.

    Raises:
        Unavailable: ONNX Runtime is not installed. BadCheckpoint: no such file, or not an ONNX file.
    """

    default_card = Card(
        name="onnx",
        source="an ONNX file",
        code_licence="as its maker says",
        weights_licence="as its maker says",
        base_licence="as its maker says",
        commercial=False,
        gradient="none",
    )

    def __init__(
        self,
        path: str,
        fake_index: int = 1,
        scale: Scale = "logit",
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        size: int | None = None,
        sha256: str | None = None,
    ) -> None:
        digest = _checked_digest(Path(path), sha256)
        numbers: dict[str, Any] = {"fake_index": fake_index, "scale": scale, "mean": [*mean], "std": [*std]}
        super().__init__(path=path, **numbers, size=size, sha256=digest)
        check_ends(fake_index, scale)
        self.fake_index, self.scale = fake_index, scale
        self.normalise = Normalise(tuple(mean), tuple(std))
        self._session = session(path, path)
        self._read_input(size)
        facts = {
            "name": slug(f"onnx:{path.removesuffix('.onnx')}"),
            "source": f"ONNX file {Path(path).name}, sha256:{digest}",
            "summary": f"a black box; input normalised by mean {list(mean)}, std {list(std)}",
            "orientation": f"output {fake_index} is AI-generated, as a {scale}",
            "input_size": self.size[0],
            "weights": f"sha256:{digest}",
        }
        self.card = self.card.model_copy(update=facts)

    def fingerprint_parts(self) -> dict[str, Any]:
        """The arguments, with the bytes of the file, and of those that hold its weights, in the place of its path."""
        path = Path(self.config["path"])
        named = external_files(path.read_bytes()) if path.is_file() else []
        beside = {name: file_digest(path.parent / name) for name in named if (path.parent / name).is_file()}
        return {"config": self.config | {"path": ""}, "beside": beside, "normalise": self.normalise}

    def _read_input(self, size: int | None) -> None:
        wanted, *others = self._session.get_inputs()
        shape = wanted.shape
        if others or len(shape) != 4 or 3 not in (shape[1], shape[3]) or wanted.type not in TYPES:
            raise UserError(
                f"{self.config['path']} must take one float input of shape (N, 3, H, W) or (N, H, W, 3), got "
                f"{wanted.type} {shape}{' and more inputs' if others else ''}. Export it with images alone."
            )
        self.input, self.dtype, self.channels_last = wanted.name, TYPES[wanted.type], shape[1] != 3
        self.batch = shape[0] if isinstance(shape[0], int) else None
        sides = shape[1:3] if self.channels_last else shape[2:]
        height, width = (side if isinstance(side, int) else size for side in sides)
        if height is None or width is None:
            raise UserError(f"{self.config['path']} leaves its input size open. Write the side in pixels, size=224.")
        self.size = (height, width)

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]; the logits have no gradient."""
        inputs = self.normalise(resize(images, self.size, "bilinear")).cpu().to(self.dtype)
        if self.channels_last:
            inputs = inputs.permute(0, 2, 3, 1)
        outputs = torch.cat([self._run(part) for part in inputs.split(self.batch or len(inputs))])
        return one_logit(outputs.float(), self.fake_index, self.scale, self.card.name).to(images)

    def _run(self, inputs: Tensor) -> Tensor:
        """Outputs of a batch, filled up where the graph has a batch size of its own."""
        missing = (self.batch or len(inputs)) - len(inputs)
        full = F.pad(inputs, (0, 0, 0, 0, 0, 0, 0, missing)).contiguous().numpy()
        return torch.from_numpy(self._session.run(None, {self.input: full})[0])[: len(inputs)]


def external_files(model: bytes) -> list[str]:
    """The files beside an ONNX file that hold tensors of it, as large models have them, sorted.

    They are named in the graph by entries ``location: NAME`` of protocol buffers, which are found as bytes: no package
    is needed, and a text that only looks like one names no file.
    """
    found = set()
    for entry in re.finditer(rb"\x0a\x08location\x12([\x80-\xff]?)([\x00-\x7f])", model):
        low, high = (entry[1][0] & 0x7F, entry[2][0] << 7) if entry[1] else (entry[2][0], 0)  # a length below 2 ** 14
        found.add(model[entry.end() : entry.end() + low + high].decode(errors="replace"))
    return sorted(found)


def _checked_digest(path: Path, expected: str | None) -> str:
    if not path.is_file():
        raise BadCheckpoint(f"no ONNX file at {path}. Write onnx: and the file's path.")
    digest = file_digest(path)
    if expected not in (None, digest):
        raise BadCheckpoint(f"{path} has changed: sha256 {digest}, expected {expected}. Give the file that was saved.")
    return digest
