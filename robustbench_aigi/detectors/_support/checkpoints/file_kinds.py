"""The real kind of a file of weights, by its first bytes, whatever its name says."""

import json
import zipfile
from pathlib import Path

from robustbench_aigi.errors import CheckpointError

FIRST_BYTES = (
    (b"version https://git-lfs", "lfs"),
    (b"\x89HDF", "hdf5"),
    (b"GGUF", "gguf"),
    (b"\x1f\x8b", "archive"),
    (b"BZh", "archive"),
    (b"\xfd7zXZ", "archive"),
    (b"7z\xbc\xaf", "archive"),
    (b"Rar!", "archive"),
    (b"\x28\xb5\x2f\xfd", "archive"),
    (b"\x89PNG", "image"),
    (b"\xff\xd8\xff", "image"),
    (b"RIFF", "image"),
    (b"\x80", "torch"),
)
"""First bytes and the kind of file that has them; torch before version 1.6 wrote a pickle."""
HEAD_BYTES = 4096
"""Bytes that are read to tell the kind of a file."""
MIN_TEXT = 16
"""Bytes below which a file is not called a text."""

REJECTED_KINDS = {
    "lfs": (
        "a Git LFS pointer: the weights themselves were not downloaded. Type `git lfs pull` in its"
        " repository."
    ),
    "empty": "an empty file. Download it or save it again.",
    "page": "a web page: the download ended at a login or an error. Download the file itself.",
    "index": (
        "the index of weights that are split over several files. Give the folder: hf:{folder}."
    ),
    "json": (
        "JSON text, not weights. Give the file of weights (.safetensors or .pth) that it"
        " belongs to."
    ),
    "text": "text, not weights. Give the file of weights (.safetensors or .pth).",
    "torchscript": (
        "a TorchScript archive: a network and its code, not a state dict. In Python write "
        "rb.wrap(torch.jit.load({path!r}), input_size=...)."
    ),
    "export": (
        "an archive of torch.export: a network, not a state dict. Save its tensors alone: "
        "torch.save(torch.export.load({path!r}).state_dict, 'weights.pth')."
    ),
    "npz": (
        "an archive of NumPy arrays. Save them as tensors: torch.save(state_dict, 'weights.pth')."
    ),
    "zip": "a zip archive that torch did not write. Unpack it, and give the file of weights in it.",
    "archive": "a packed archive. Unpack it, and give the file of weights in it.",
    "hdf5": "an HDF5 file, as Keras writes. Export the network to ONNX, and write onnx:PATH.",
    "gguf": (
        "a GGUF file, for language models. Give .safetensors or a state dict that torch.save wrote."
    ),
    "onnx": "an ONNX file. Write onnx:{path}.",
    "image": "an image. Give the file of weights (.safetensors or .pth).",
}
"""What each kind is called, and what the user should do about it."""


def file_kind(path: Path) -> str:
    """Return the kind of a file, without unpickling anything in it.

    Args:
        path: the file; its ending only tells ONNX files, which have no first bytes of their own.

    Returns:
        ``safetensors``, ``torch``, a key of :data:`REJECTED_KINDS`, or ``unknown``.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        return "empty"
    if head.startswith(b"PK\x03\x04"):
        return _zip_kind(path)
    header_length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and 2 <= header_length <= path.stat().st_size - 8:
        return "safetensors"
    for first_bytes, kind in FIRST_BYTES:
        if head.startswith(first_bytes):
            return kind
    if path.suffix == ".onnx":
        return "onnx"
    if head[257:262] == b"ustar":
        return "archive"
    return _text_kind(path, head)


def check_is_weights(path: Path) -> str:
    """Return the kind of a file that may hold weights.

    Args:
        path: the file.

    Raises:
        CheckpointError: the file cannot be read, or is of another kind, which the message names.
    """
    try:
        kind = file_kind(path)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror}. Give a file that may be read."
        ) from error
    if kind in REJECTED_KINDS:
        advice = REJECTED_KINDS[kind].format(path=str(path), folder=path.parent)
        raise CheckpointError(f"{path} is no checkpoint: it is {advice}")
    return kind


def _zip_kind(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "torch"  # cut short: torch's own error says so
    if any(name.endswith("/constants.pkl") for name in names):
        return "torchscript"
    exported = ("/archive_format", "serialized_exported_program.json")
    if any(name.endswith(exported) for name in names):
        return "export"
    if any(name.endswith("/data.pkl") for name in names):
        return "torch"
    return "npz" if names and all(name.endswith(".npy") for name in names) else "zip"


def _text_kind(path: Path, head: bytes) -> str:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "page"
    if b"\0" in head or len(head) < MIN_TEXT:
        return "unknown"
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # more than a character cut in two at the end
            return "unknown"
    if not start.startswith((b"{", b"[")):
        return "text"
    try:
        return "index" if "weight_map" in json.loads(path.read_bytes()) else "json"
    except ValueError:
        return "text"
