"""The contract of an export format, and the registry of all of them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from robustbench_aigi.data.plusplus.reader import BuiltDataset
from robustbench_aigi.progress import Progress
from robustbench_aigi.registry import Registry


class ExportFormat(ABC):
    """A format that a built set can be written in.

    Register a subclass with :data:`export_formats`, or by an entry point of the group
    ``robustbench_aigi.data.exporters``. The first line of its docstring is its description.
    """

    @abstractmethod
    def write(
        self, built: BuiltDataset, out: Path, progress: Progress, shard_bytes: int
    ) -> Mapping[str, int]:
        """Write a set into an empty folder; equal sets must give equal bytes.

        Args:
            built: the set.
            out: an empty folder.
            progress: to be called while images are read.
            shard_bytes: about how many bytes of images go into one file, where a file holds many.

        Returns:
            Number of images of each attack that the format has no place for.

        Raises:
            DataError: the format cannot hold the set.
        """


export_formats: Registry[ExportFormat] = Registry("export format", __package__)
