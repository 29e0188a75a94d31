"""A network of the transformers library with its image processor, and a check of its outputs."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from robustbench_aigi.errors import CheckpointError, UserError

MAX_LOAD_DIFFERENCE = 1e-3
"""Largest difference of the logits of two loads, absolute or relative: far above rounding."""
PROBE_SIDE = 256
"""Side in pixels of the image that two loads are compared on."""


@dataclass(frozen=True, kw_only=True)
class HubNetwork:
    """A network with its image processor and config.

    Attributes:
        net: in evaluation mode.
        processor: the image processor.
        config: of the network.
        commit: the commit on the hub that was loaded; None for a folder.
        notes: what a user should know of the load, one sentence each.
        reload: loads the network a second time; None for fresh weights.
    """

    net: nn.Module
    processor: Any
    config: Any
    commit: str | None
    notes: tuple[str, ...]
    reload: Callable[[], nn.Module] | None

    @property
    def labels(self) -> dict[int, str]:
        """Names of the outputs, by their index."""
        return {int(index): str(label) for index, label in sorted(self.config.id2label.items())}

    def check_outputs(self, processing: nn.Module, model: str) -> None:
        """Score one image with this load and with a second one.

        Args:
            processing: what the image processor does.
            model: the address after ``hf:``, for messages.

        Raises:
            UserError: the network does not take what its image processor gives.
            CheckpointError: the two loads differ, or there is not one output for each label.
        """
        image = torch.linspace(0, 1, 3 * PROBE_SIDE**2).view(1, 3, PROBE_SIDE, PROBE_SIDE)
        with torch.no_grad():
            inputs = processing(image)
            try:
                first = _outputs(self.net, inputs)
            except (RuntimeError, ValueError) as error:
                raise UserError(
                    f"the network of {model} does not take what its image processor gives,"
                    f" {tuple(inputs.shape)}: {first_line(error)}. Borrow another: write"
                    f" hf:{model}?processor=REPO_OR_FOLDER."
                ) from error
            second = first if self.reload is None else _outputs(self.reload(), inputs)
        count = len(self.labels)
        if first.shape != (1, count) or list(self.labels) != list(range(count)):
            raise CheckpointError(
                f"{model} has outputs of shape {tuple(first.shape)} for the labels {self.labels}."
                " Its config is of another network: give the two that belong together."
            )
        if not torch.allclose(first, second, rtol=MAX_LOAD_DIFFERENCE, atol=MAX_LOAD_DIFFERENCE):
            raise CheckpointError(
                f"two loads of {model} give one image different logits, {first[0].tolist()} and"
                f" {second[0].tolist()}: a part of the network is not in its weights. Give the"
                " weights that belong to its config."
            )


def _outputs(net: nn.Module, inputs: Tensor) -> Tensor:
    return cast("Tensor", cast("Any", net)(pixel_values=inputs).logits)


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, without colours and the full stop.

    Args:
        error: of transformers or torch.
    """
    lines = re.sub(r"\x1b\[[\d;]*m", "", str(error)).strip().splitlines()
    return lines[0].rstrip(". ") if lines else type(error).__name__
