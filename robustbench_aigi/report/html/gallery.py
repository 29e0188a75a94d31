"""Pictures for reports: clean, attacked and ten times their difference, as data addresses."""

import base64
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from robustbench_aigi.data.decoding import encode_png
from robustbench_aigi.data.plusplus.build import load_plusplus
from robustbench_aigi.data.plusplus.contact_sheets import times_ten
from robustbench_aigi.errors import DataError
from robustbench_aigi.evaluation.cells import Cell
from robustbench_aigi.evaluation.examples.grad_cam import read_maps
from robustbench_aigi.evaluation.examples.selection import cases, image_of
from robustbench_aigi.evaluation.run_plan import read_run_plan
from robustbench_aigi.evaluation.run_state import read_cells
from robustbench_aigi.imaging.quality import psnr_from_l2, rms_of_psnr
from robustbench_aigi.report.run_results import RunFolder, RunResults


@dataclass(frozen=True)
class Picture:
    """One attacked image beside its clean one. Images are ``data:`` addresses of PNG files.

    ``maps`` are Grad-CAM before and after, None where there are none; ``similarity`` is their
    cosine.
    """

    detector: str
    attack: str
    identity: str
    kind: str
    label: str
    clean_logit: float
    logit: float
    fooled: bool
    size: str
    clean: str
    attacked: str
    difference: str
    maps: tuple[str, str] | None
    similarity: float


def gallery(finished: RunResults) -> list[Picture]:
    """For every finished white-box cell its strongest cases and its weakest, by choice: see
    :func:`cases`.
    """
    return [
        picture
        for run in finished.runs
        if (run.folder / "plusplus" / "manifest.parquet").is_file()
        for picture in _of_run(run)
    ]


def _of_run(run: RunFolder) -> Iterator[Picture]:
    clean = load_plusplus(run.folder / "plusplus", "test", "clean")
    grid = read_run_plan(run.folder)
    subjects = {} if grid is None else grid.detectors
    for detector, mode, attack in read_cells(run.folder):
        if mode != "white-box":
            continue
        folder = Cell(detector, mode, attack).folder(run.folder)
        maps = read_maps(folder)
        found = cases(folder, subjects[detector].threshold).to_dict("records")
        known = clean.with_values("source", {str(row["id"]) for row in found})
        originals = dict(zip(known.rows.values("source"), known.pixels(), strict=True))
        for row in found:
            if row["id"] not in originals:
                raise DataError(
                    f"{row['shard']} is of an image that the run has not, {row['id']!r}. Delete it"
                    " and repeat the command that wrote it, which makes it again."
                )
            original = originals[row["id"]]
            attacked = image_of(str(row["shard"]), str(row["id"]))
            named = (run.called(detector), attack)
            yield _picture(named, row, original, attacked, maps.get(str(row["id"])))


def _picture(
    named: tuple[str, str],
    row: dict[Hashable, Any],
    original: Tensor,
    attacked: Tensor,
    maps: tuple[bytes, bytes, float] | None,
) -> Picture:
    before, after, alike = maps if maps is not None else (b"", b"", 0.0)
    return Picture(
        detector=named[0],
        attack=named[1],
        identity=str(row["id"]),
        kind=str(row["kind"]),
        label="AI-generated" if row["label"] else "real",
        clean_logit=float(str(row["clean_logit"])),
        logit=float(str(row["logit"])),
        fooled=bool(row["fooled"]),
        size=_size_text(row, original.numel()),
        clean=address(encode_png(original)),
        attacked=address(encode_png(attacked)),
        difference=address(encode_png(times_ten(attacked, original))),
        maps=(address(before), address(after)) if maps is not None else None,
        similarity=alike,
    )


def _size_text(row: dict[Hashable, Any], values: int) -> str:
    """Return the norms of a change, and its RMS, which is comparable between image sizes."""
    l2 = float(str(row["l2"]))
    rms = rms_of_psnr(psnr_from_l2(l2, values))
    return f"L-inf {row['linf']} levels, L2 {l2:.2f} (RMS {rms:.1f} levels), {row['l0']} pixels"


def address(png: bytes) -> str:
    """A ``data:`` address of a PNG file."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
