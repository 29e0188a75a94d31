"""Where a detector looks: Grad-CAM before and after an attack, for the cases worth looking at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_aigi.data import Dataset
from robustbench_aigi.data.decoding import encode_png
from robustbench_aigi.detectors import Detector
from robustbench_aigi.evaluation.examples.selection import cases, image_of
from robustbench_aigi.imaging.pixels import from_bytes, to_bytes
from robustbench_aigi.io.files import atomic_write, describe_read_errors

MAPS_FILE = "maps.parquet"
"""In a white-box cell's folder: ``id``, ``clean`` and ``attacked`` (PNG), and ``similarity``."""


def grad_cam(detector: Detector, images: Tensor, labels: Tensor) -> Tensor | None:
    """What speaks for the right answer, ``(N, H, W)`` in [0, 1], in ``(N, 3, H, W)`` images; None
    if none can tell.

    That is where pytorch-grad-cam is not installed, the card names no part, or there is no
    gradient. Source: Selvaraju et al., Grad-CAM, ICCV 2017.
    """
    try:
        from pytorch_grad_cam import GradCAM  # seconds, and an extra
    except ImportError:
        return None
    if not detector.card.cam or detector.card.gradient == "none":
        return None
    part = detector.get_submodule(detector.card.cam)
    with GradCAM(model=detector, target_layers=[part], reshape_transform=_as_map) as cam:
        maps = cam(
            input_tensor=images.clone().requires_grad_(True),
            targets=[_answer(int(label)) for label in labels],
        )
    return torch.from_numpy(maps).clamp(0, 1)


def _answer(label: int) -> Callable[[Tensor], Tensor]:
    return lambda logit: logit if label else -logit


def _as_map(features: Any) -> Tensor:
    """Channels first: from tokens ``(N, T, C)``, without those before the grid, or from ``(N, H, W,
    C)``.
    """
    tensor: Tensor = features[0] if isinstance(features, tuple) else features
    if tensor.ndim == 3:
        side = int(tensor.shape[1] ** 0.5)
        grid: Tensor = tensor[:, tensor.shape[1] - side * side :].unflatten(1, (side, side))
        return grid.permute(0, 3, 1, 2)
    swapped = tensor.shape[1] == tensor.shape[2] != tensor.shape[3]
    return tensor.permute(0, 3, 1, 2) if swapped else tensor


def similarity(first: Tensor, second: Tensor) -> float:
    """Cosine of two maps ``(H, W)``; 0 where one is empty."""
    return float(F.cosine_similarity(first.flatten(), second.flatten(), dim=0))


class ImagePair(NamedTuple):
    """A case: ``images`` uint8 ``(2, 3, H, W)``, clean and attacked."""

    id: str
    label: int
    images: Tensor


def mapped(folder: Path) -> bool:
    """Whether a cell's maps are there, and as new as it is."""
    kept = folder / MAPS_FILE
    shards = folder.glob("shard-*.parquet")
    return kept.is_file() and all(kept.stat().st_mtime >= shard.stat().st_mtime for shard in shards)


def pairs_of(data: Dataset, folder: Path, threshold: float) -> list[ImagePair]:
    """A white-box cell's cases, of a detector with this threshold."""
    pairs = []
    found = cases(folder, threshold).to_dict("records")
    known = data.with_values("id", {str(row["id"]) for row in found})
    clean = dict(zip(known.rows.values("id"), known.pixels(), strict=True))
    for row in found:
        both = [clean[row["id"]], image_of(str(row["shard"]), str(row["id"]))]
        pairs.append(ImagePair(str(row["id"]), int(row["label"]), torch.stack(both)))
    return pairs


@dataclass(frozen=True)
class GradCamWorker:
    """What an executor's workers hold: the maps of cases, as the rows that :func:`write_maps`
    takes.
    """

    detector: Detector

    def __call__(self, pairs: Sequence[ImagePair]) -> pd.DataFrame:
        """Empty if no map can be made."""
        rows = []
        for pair in pairs:
            maps = grad_cam(self.detector, from_bytes(pair.images), torch.tensor([pair.label] * 2))
            if maps is None:
                break
            clean, attacked = (encode_png(to_bytes(one.expand(3, -1, -1))) for one in maps)
            rows.append(
                {
                    "id": pair.id,
                    "clean": clean,
                    "attacked": attacked,
                    "similarity": similarity(*maps),
                }
            )
        return pd.DataFrame(rows)


def write_maps(table: pd.DataFrame, folder: Path) -> None:
    """Keep maps beside their cell."""
    if len(table):
        atomic_write(folder / MAPS_FILE, lambda temporary: table.to_parquet(temporary, index=False))


def read_maps(folder: Path) -> dict[str, tuple[bytes, bytes, float]]:
    """Maps of a cell's cases, clean and attacked, and their similarity, by id."""
    path = folder / MAPS_FILE
    if not path.is_file():
        return {}
    with describe_read_errors(path):
        table = pd.read_parquet(path)
        return {
            r["id"]: (r["clean"], r["attacked"], r["similarity"]) for r in table.to_dict("records")
        }
