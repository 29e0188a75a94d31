"""Which files are images: by the ending of their names and by their first bytes."""

from robustbench_aigi.imaging.png import PNG_SIGNATURE

PILLOW_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""Formats that are read, whatever the file is called; some others of Pillow start programs."""
READ_EXTENSIONS = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".pjpeg",
        ".pjp",
        ".png",
        ".apng",
        ".webp",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
    }
)
RAW_EXTENSIONS = frozenset(
    {
        ".dng",
        ".nef",
        ".cr2",
        ".cr3",
        ".arw",
        ".orf",
        ".rw2",
        ".raf",
    }
)
"""Raw camera files, in which Pillow would find a preview."""
UNREAD_EXTENSIONS = frozenset(
    {
        ".avif",
        ".heic",
        ".heif",
        ".jp2",
        ".jxl",
        ".ppm",
        ".pgm",
        ".psd",
        ".tga",
    }
)
IMAGE_EXTENSIONS = READ_EXTENSIONS | UNREAD_EXTENSIONS | RAW_EXTENSIONS
"""Endings that promise an image; one that cannot be read is reported."""
OTHER_EXTENSIONS = frozenset(
    {
        ".txt",
        ".csv",
        ".tsv",
        ".json",
        ".jsonl",
        ".md",
        ".rst",
        ".html",
        ".htm",
        ".xml",
        ".yaml",
        ".yml",
        ".toml",
        ".ini",
        ".log",
        ".py",
        ".ipynb",
        ".sh",
        ".db",
        ".npy",
        ".npz",
        ".pt",
        ".pth",
        ".pkl",
        ".safetensors",
        ".onnx",
        ".h5",
        ".hdf5",
        ".parquet",
        ".arrow",
        ".feather",
        ".zip",
        ".gz",
        ".tgz",
        ".bz2",
        ".xz",
        ".7z",
        ".rar",
        ".tar",
        ".pdf",
        ".xls",
        ".xlsx",
        ".svg",
        ".cls",
        ".mp4",
        ".mov",
        ".avi",
        ".mkv",
        ".webm",
        ".mp3",
        ".wav",
        ".lock",
        ".tmp",
    }
)
"""Endings of files that are not images; of files with any other ending the first bytes decide."""
IMAGE_STARTS = (b"\xff\xd8\xff", PNG_SIGNATURE, b"GIF87a", b"GIF89a")
TIFF_STARTS = (b"II*\0", b"MM\0*")
SNIFFED_BYTES = 16
"""Bytes at the start of a file that are enough for :func:`looks_like_image`."""


def looks_like_image(start: bytes) -> bool:
    """Return whether a file begins as one of :data:`PILLOW_FORMATS` does, TIFF left out.

    Raw camera files begin like TIFF files.

    Args:
        start: the first :data:`SNIFFED_BYTES` of the file.

    Example:
        >>> looks_like_image(b"GIF89a...")
        True
        >>> looks_like_image(b"id,label")
        False
    """
    is_bitmap = start[:2] == b"BM" and start[6:10] == b"\0\0\0\0"
    is_webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    return start.startswith(IMAGE_STARTS) or is_bitmap or is_webp
