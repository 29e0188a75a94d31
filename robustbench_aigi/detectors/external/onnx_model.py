"""A network in an ONNX file as a detector: ``onnx:PATH``."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_aigi.detectors._support.resizing import resize
from robustbench_aigi.detectors.base import Card, Detector, Normalise
from robustbench_aigi.detectors.external.inputs import checked_size, checked_statistics
from robustbench_aigi.detectors.external.onnx_graph import (
    TYPES,
    checked_digest,
    layout_of,
    score_output,
    session,
)
from robustbench_aigi.detectors.external.outputs import (
    CLIP,
    FakeIndex,
    Scale,
    check_output_spec,
    slug,
    threshold_logit,
    to_binary_logit,
)
from robustbench_aigi.detectors.external.returned import columns
from robustbench_aigi.errors import UserError
from robustbench_aigi.io.hashing import file_digest


@final
class OnnxModel(Detector):
    """A black box in an ONNX file: no gradient, one or two outputs.

    The layout (channels first or last), the batch size, the input size and the output that holds
    scores are read from the graph, as far as it states them.

    Args:
        path: the file. sha256: of the file, to refuse another one; a saved detector has it.
        fake_index: the output that means AI-generated. With one output: 1 if high means
            AI-generated, 0 if real. With three or more: a list of all that mean AI-generated.
        scale: ``logit``; ``probability`` if a sigmoid or a softmax is in the graph; or ``percent``.
        mean, std: what is subtracted from, and then divides, the channels of images in [0, 1].
        size: side in pixels, or ``[height, width]``, where the graph leaves it open.
        output: the name of the output that holds scores, where several may.
        channels_last: whether images are (N, H, W, 3), where the graph leaves it open.
        threshold: above it an image is called AI-generated, on the scale of the outputs; 0 or even
            odds if None.

    Raises:
        UnavailableError: ONNX Runtime is not installed. CheckpointError: no such file, or not an
            ONNX file.
        UserError: the graph leaves something open, or an argument does not fit it.
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
        fake_index: FakeIndex = 1,
        scale: Scale = "logit",
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        size: int | Sequence[int] | None = None,
        output: str | None = None,
        channels_last: bool | None = None,
        threshold: float | None = None,
        sha256: str | None = None,
    ) -> None:
        check_output_spec(fake_index, scale)
        means, stds = checked_statistics(mean, std)
        sides = None if size is None else checked_size(size, "size")
        digest = checked_digest(Path(path), sha256)
        numbers: dict[str, Any] = {
            "fake_index": fake_index,
            "scale": scale,
            "mean": [*means],
            "std": [*stds],
        }
        where = {
            "size": size,
            "output": output,
            "channels_last": channels_last,
            "threshold": threshold,
        }
        super().__init__(path=path, **numbers, **where, sha256=digest)
        self.fake_index, self.scale = fake_index, scale
        self.normalise = Normalise(means, stds)
        self._file, self._threads = Path(path).absolute(), torch.get_num_threads()
        self._session: Any = session(path, path)
        self._read_input(sides, channels_last)
        many = not isinstance(fake_index, int)
        self.output = score_output(self._session.get_outputs(), output, scale, path, many=many)
        facts = {
            "name": slug(f"onnx:{path.removesuffix('.onnx')}"),
            "source": f"ONNX file {Path(path).name}, sha256:{digest}",
            "summary": (
                f"a black box; input normalised by mean {list(mean)}, std"
                f" {list(std)}{self._assumed()}"
            ),
            "orientation": f"output {fake_index} is AI-generated, as a {scale}",
            "input_size": self.size[0],
            "threshold": threshold_logit(threshold, scale),
            "weights": f"sha256:{digest}",
        }
        self.describe(**facts)

    def fingerprint_parts(self) -> dict[str, Any]:
        """The arguments, with the bytes of the file, and of those that hold its weights, in the
        place of its path.
        """
        named = external_files(self._file.read_bytes()) if self._file.is_file() else []
        places = {name: self._file.parent / name for name in named}
        beside = {name: file_digest(place) for name, place in places.items() if place.is_file()}
        return {"config": self.config | {"path": ""}, "beside": beside, "normalise": self.normalise}

    def _read_input(self, size: tuple[int, int] | None, channels_last: bool | None) -> None:
        wanted, *others = self._session.get_inputs()
        shape, path = wanted.shape, self.config["path"]
        if others or len(shape) != 4 or wanted.type not in TYPES:
            raise UserError(
                f"{path} must take one float input of shape (N, 3, H, W) or (N, H, W, 3), got"
                f" {wanted.type} {shape}{' and more inputs' if others else ''}. Export it with"
                " images alone."
            )
        self.channels_last = layout_of(shape, channels_last, path)
        self.layout_stated = 3 in (shape[1], shape[3])
        self.input, self.dtype = wanted.name, TYPES[wanted.type]
        self.batch = shape[0] if isinstance(shape[0], int) else None
        sides = tuple(
            side if isinstance(side, int) else None
            for side in (shape[1:3] if self.channels_last else shape[2:])
        )
        if None in sides and size is None:
            raise UserError(
                f"{path} leaves its input size open, {shape}. Write the side in pixels, as in"
                f" size=224 or `onnx:{path}?size=224`."
            )
        height, width = (own or given for own, given in zip(sides, size or (0, 0), strict=True))
        if size not in (None, (height, width)):
            raise UserError(
                f"{path} takes images of {height} x {width} pixels, got size={size}. Leave size"
                " out."
            )
        self.size = (int(height or 0), int(width or 0))

    def _assumed(self) -> str:
        """What the graph does not state, for the card."""
        several = len(self._session.get_outputs()) > 1
        layout = (
            f"; channels taken to be {'last' if self.channels_last else 'first'}"
            if not self.layout_stated
            else ""
        )
        return layout + (f"; scores are the output {self.output!r}" if several else "")

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]; the logits have no gradient."""
        inputs = self.normalise(resize(images, self.size, "bilinear")).cpu().to(self.dtype)
        if self.channels_last:
            inputs = inputs.permute(0, 2, 3, 1)
        outputs = torch.cat([self._run(part) for part in inputs.split(self.batch or len(inputs))])
        return to_binary_logit(
            outputs.float(), self.fake_index, self.scale, self.card.name, CLIP
        ).to(images)

    def _run(self, inputs: Tensor) -> Tensor:
        """Outputs of a batch, filled up where the graph has a batch size of its own."""
        missing = (self.batch or len(inputs)) - len(inputs)
        full = F.pad(inputs, (0, 0, 0, 0, 0, 0, 0, missing)).contiguous()
        (scores,) = self._graph().run([self.output], {self.input: full.numpy()})
        return columns(torch.from_numpy(np.asarray(scores)), len(full), self.card.name)[
            : len(inputs)
        ]

    def _graph(self) -> Any:
        """The session, made anew after a copy, or where torch has another number of threads
        by now.
        """
        if self._session is None or self._threads != torch.get_num_threads():
            checked_digest(self._file, self.config["sha256"])
            self._session, self._threads = (
                session(str(self._file), self.config["path"]),
                torch.get_num_threads(),
            )
        return self._session

    def __getstate__(self) -> dict[str, Any]:
        """A copy, here or in another process, opens the file itself: a session can be neither
        copied nor sent.
        """
        return self.__dict__ | {"_session": None}


def external_files(model: bytes) -> list[str]:
    """The files beside an ONNX file that hold tensors of it, as large models have them, sorted.

    They are named in the graph by entries ``location: NAME`` of protocol buffers, which are found
    as bytes: no package is needed, and a text that only looks like one names no file.
    """
    found = set()
    for entry in re.finditer(rb"\x0a\x08location\x12([\x80-\xff]?)([\x00-\x7f])", model):
        low, high = (
            (entry[1][0] & 0x7F, entry[2][0] << 7) if entry[1] else (entry[2][0], 0)
        )  # a length below 2 ** 14
        found.add(model[entry.end() : entry.end() + low + high].decode(errors="replace"))
    return sorted(found)
