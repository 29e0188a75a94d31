"""The command that judges single images."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustbench_aigi.cli.options import STRESS_TEST_PANEL, Convert
from robustbench_aigi.cli.places import COMMAND_PLACES
from robustbench_aigi.errors import DataError, LogitsError

if TYPE_CHECKING:
    from robustbench_aigi.detectors import Detector
    from robustbench_aigi.judging import Judgement, Skipped

app = typer.Typer()


@app.command(rich_help_panel=STRESS_TEST_PANEL)
def detect(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE...", help="Image files, or folders of them; those below too."
        ),
    ],
    detector: Annotated[
        list[str] | None,
        typer.Option(
            parser=COMMAND_PLACES.detector,
            metavar="DETECTOR",
            help=(
                "Checkpoint, address or shipped detector; may be repeated. tinyvit-5m if left out."
            ),
        ),
    ] = None,
    convert: Convert = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print JSON: one line per image and detector, or per image left out."
        ),
    ] = False,
) -> None:
    """Judge whether images look AI-generated: real, AI-generated or unsure, by each detector.

    A verdict is unsure if it flips when the image is saved again, resized, cropped or captured from
    a screen, if it is near the threshold, or if the image is of a size that the detector did not
    learn from.
    """
    from robustbench_aigi.detectors import load_trained
    from robustbench_aigi.detectors.loading import addresses_of
    from robustbench_aigi.judging import Skipped, find_images

    found = list(find_images(images))
    judges = [
        load_trained(one) for name in detector or ["tinyvit-5m"] for one in addresses_of(name)
    ]
    judged = 0
    for image in found:
        results = (
            [image]
            if isinstance(image, Skipped)
            else _judged(image, judges, convert=convert, alone=len(found) == 1)
        )
        for result in results:
            _show(result, as_json)
            judged += not isinstance(result, Skipped)
    if not judged:
        raise DataError(f"none of {len(found)} images could be judged; the reasons are above.")


def _judged(
    path: Path, judges: "list[Detector]", *, convert: bool, alone: bool
) -> "Iterator[Judgement | Skipped]":
    """Yield a verdict from each detector; in its place the reason, where one of many images cannot
    be judged.
    """
    from robustbench_aigi.judging import Skipped, judge, read_image

    pixels = None
    for one in judges:
        try:
            pixels = read_image(path, convert=convert) if pixels is None else pixels
            yield judge(pixels, one, str(path))
        except (DataError, LogitsError) as error:
            if alone:
                raise
            yield Skipped(str(path), str(error))
            if pixels is None:
                return


def _show(result: "Judgement | Skipped", as_json: bool) -> None:
    from robustbench_aigi.judging import Skipped, to_json, to_text

    if as_json:
        typer.echo(json.dumps(to_json(result)))
    elif isinstance(result, Skipped):
        sys.stderr.write(f"left out: {result.image}: {result.error}\n")
    else:
        typer.echo(to_text(result))
