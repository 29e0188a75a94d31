"""Images to judge: files, and folders of files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from robustbench_aigi.data.decoding import ImageError, decode
from robustbench_aigi.data.sources.survey import image_files
from robustbench_aigi.errors import DataError


class Skipped(NamedTuple):
    """An image that was not judged.

    Attributes:
        image: its path.
        error: why.
    """

    image: str
    error: str


def find_images(places: Sequence[Path]) -> Iterator[Path | Skipped]:
    """Yield files as they are given, and all images in and below each folder.

    Args:
        places: files and folders.

    Raises:
        DataError: a place does not exist, or a folder has no image.
    """
    for place in places:
        if place.is_file():
            yield place
        elif place.is_dir():
            found = list(image_files(place))
            if not found:
                raise DataError(
                    f"{place} holds no image. Give the path of an image, or of a folder of images."
                )
            for file in found:
                yield Skipped(str(file.path), file.fault) if file.fault else file.path
        else:
            raise DataError(
                f"no file at {place}. Give the path of an image, or of a folder of images."
            )


def read_image(path: Path, *, convert: bool = False) -> Tensor:
    """Decode an image file to uint8 ``(3, H, W)``.

    Args:
        path: of the file.
        convert: read CMYK, 16-bit and transparent images and colour profiles too, see
            :func:`decode`.

    Raises:
        DataError: it cannot be read, or not without ``convert``.
    """
    try:
        return decode(path.read_bytes(), convert=convert)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}. Give the path of an image."
        ) from error
    except ImageError as reason:
        raise DataError(
            f"{path} cannot be judged: {reason}. Give an 8-bit RGB image without transparency."
        ) from reason
