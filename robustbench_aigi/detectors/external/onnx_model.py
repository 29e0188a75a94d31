"""A network in an ONNX file as a detector: ``onnx:PATH``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from robustbench_aigi.detectors._support.resizing import resize
from robustbench_aigi.detectors.base import Card, Detector, Normalise
from robustbench_aigi.detectors.external.inputs import checked_size, checked_statistics
from robustbench_aigi.detectors.external.onnx_graph import (
    FLOAT_TYPES,
    checked_digest,
    is_channels_last,
    open_session,
    score_output,
    weight_digests,
)
from robustbench_aigi.detectors.external.output_spec import threshold_logit
from robustbench_aigi.detectors.external.outputs import (
    PROBABILITY_CLIP,
    FakeIndex,
    Scale,
    check_output_spec,
    slug,
    to_binary_logit,
)
from robustbench_aigi.detectors.external.returned import score_rows
from robustbench_aigi.errors import UserError


@final
class OnnxModel(Detector):
    """A black box in an ONNX file: no gradient, one or two outputs.

    The layout (channels first or last), the batch size, the input size and the output that holds
    scores are read from the graph, as far as it states them.

    Args:
        path: the file.
        fake_index: the output that means AI-generated. With one output: 1 if high means
            AI-generated, 0 if real. With three or more: a list of all that mean AI-generated.
        scale: ``logit``; ``probability`` if a sigmoid or a softmax is in the graph; or ``percent``.
        mean: of each channel of images in [0, 1]; it is subtracted.
        std: of each channel of images in [0, 1]; images are divided by it.
        size: side in pixels, or ``[height, width]``, where the graph leaves it open.
        output: the name of the output that holds scores, where several may.
        channels_last: whether images are (N, H, W, 3), where the graph leaves it open.
        threshold: above it an image is called AI-generated, on the scale of the outputs; 0 or even
            odds if None.
        sha256: of the file, to reject another one; a saved detector has it.

    Raises:
        UnavailableError: ONNX Runtime is not installed.
        CheckpointError: no such file, or not an ONNX file.
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
        config: dict[str, Any] = {
            "fake_index": fake_index,
            "scale": scale,
            "mean": [*means],
            "std": [*stds],
            "size": size,
            "output": output,
            "channels_last": channels_last,
            "threshold": threshold,
        }
        super().__init__(path=path, **config, sha256=digest)
        self.fake_index = fake_index
        self.scale = scale
        self.normalise = Normalise(means, stds)
        self._file = Path(path).absolute()
        self._threads = torch.get_num_threads()
        self._session: Any = open_session(path, path)
        self._read_input(sides, channels_last)
        is_list = not isinstance(fake_index, int)
        self.output = score_output(self._session.get_outputs(), output, scale, path, many=is_list)
        summary = f"a black box; input normalised by mean {list(mean)}, std {list(std)}"
        facts = {
            "name": slug(f"onnx:{path.removesuffix('.onnx')}"),
            "source": f"ONNX file {Path(path).name}, sha256:{digest}",
            "summary": summary + self._assumptions(),
            "orientation": f"output {fake_index} is AI-generated, as a {scale}",
            "input_size": self.size[0],
            "threshold": threshold_logit(threshold, scale),
            "weights": f"sha256:{digest}",
        }
        self.describe(**facts)

    def fingerprint_parts(self) -> dict[str, Any]:
        """Return the arguments, with the digests of the files with weights instead of the path."""
        beside = weight_digests(self._file) if self._file.is_file() else {}
        return {"config": self.config | {"path": ""}, "beside": beside, "normalise": self.normalise}

    def _read_input(self, size: tuple[int, int] | None, channels_last: bool | None) -> None:
        """Read layout, batch size, number format and size of the input from the graph."""
        wanted, *others = self._session.get_inputs()
        shape = wanted.shape
        path = self.config["path"]
        if others or len(shape) != 4 or wanted.type not in FLOAT_TYPES:
            raise UserError(
                f"{path} must take one float input of shape (N, 3, H, W) or (N, H, W, 3), got"
                f" {wanted.type} {shape}{' and more inputs' if others else ''}. Export it with"
                " images alone."
            )
        self.channels_last = is_channels_last(shape, channels_last, path)
        self.layout_stated = 3 in (shape[1], shape[3])
        self.input = wanted.name
        self.dtype = FLOAT_TYPES[wanted.type]
        self.batch = shape[0] if isinstance(shape[0], int) else None
        self.size = self._input_size(shape, size)

    def _input_size(self, shape: Sequence[Any], asked: tuple[int, int] | None) -> tuple[int, int]:
        """Return ``(height, width)``: the graph's own, or what was asked for where it is open."""
        path = self.config["path"]
        sides = shape[1:3] if self.channels_last else shape[2:]
        stated = [side if isinstance(side, int) else None for side in sides]
        if None in stated and asked is None:
            raise UserError(
                f"{path} leaves its input size open, {shape}. Write the side in pixels, as in"
                f" size=224 or `onnx:{path}?size=224`."
            )
        height, width = (own or given for own, given in zip(stated, asked or (0, 0), strict=True))
        if asked not in (None, (height, width)):
            raise UserError(
                f"{path} takes images of {height} x {width} pixels, got size={asked}. Leave size"
                " out."
            )
        return int(height or 0), int(width or 0)

    def _assumptions(self) -> str:
        """Return what the graph does not state, for the card."""
        text = ""
        if not self.layout_stated:
            text += f"; channels taken to be {'last' if self.channels_last else 'first'}"
        if len(self._session.get_outputs()) > 1:
            text += f"; scores are the output {self.output!r}"
        return text

    @torch.no_grad()
    def logits(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Score ``(N, 3, H, W)`` images in [0, 1]; the logits have no gradient."""
        inputs = self.normalise(resize(images, self.size, "bilinear")).cpu().to(self.dtype)
        if self.channels_last:
            inputs = inputs.permute(0, 2, 3, 1)
        outputs = torch.cat([self._run(part) for part in inputs.split(self.batch or len(inputs))])
        return to_binary_logit(
            outputs.float(), self.fake_index, self.scale, self.card.name, PROBABILITY_CLIP
        ).to(images)

    def _run(self, inputs: Tensor) -> Tensor:
        """Return the outputs of a batch, padded where the graph has a fixed batch size."""
        missing = (self.batch or len(inputs)) - len(inputs)
        padded = F.pad(inputs, (0, 0, 0, 0, 0, 0, 0, missing)).contiguous()
        (scores,) = self._current_session().run([self.output], {self.input: padded.numpy()})
        rows = score_rows(torch.from_numpy(np.asarray(scores)), len(padded), self.card.name)
        return rows[: len(inputs)]

    def _current_session(self) -> Any:
        """Return the session; a new one after a copy, or where torch has other threads by now."""
        if self._session is None or self._threads != torch.get_num_threads():
            checked_digest(self._file, self.config["sha256"])
            self._session = open_session(str(self._file), self.config["path"])
            self._threads = torch.get_num_threads()
        return self._session

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the session, which cannot be copied or sent; a copy opens the file itself."""
        return self.__dict__ | {"_session": None}
