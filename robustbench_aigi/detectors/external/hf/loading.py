"""Networks of the transformers library, loaded so that no layer is left fresh without a word."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import huggingface_hub
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from robustbench_aigi.detectors._support.checkpoints.file_kinds import check_is_weights
from robustbench_aigi.detectors._support.checkpoints.tensors import first_three
from robustbench_aigi.detectors._support.fetching import weights_wanted
from robustbench_aigi.detectors.external.outputs import optional
from robustbench_aigi.errors import CheckpointError, UnavailableError, UserError

AGREEMENT = 1e-3
"""Largest difference of the logits of two loads, as a share of the logit or absolutely: far above
rounding.
"""


@dataclass(frozen=True, kw_only=True)
class HubNetwork:
    """A network with its image processor and config.

    Attributes:
        commit: the commit on the hub that was loaded; None for a folder.
        again: loads it a second time; None for fresh weights.
    """

    net: nn.Module
    processor: Any
    config: Any
    commit: str | None
    notes: tuple[str, ...]
    again: Callable[[], nn.Module] | None

    @property
    def labels(self) -> dict[int, str]:
        """Names of the outputs."""
        return {int(index): str(label) for index, label in sorted(self.config.id2label.items())}

    def check_outputs(self, processing: nn.Module, model: str) -> None:
        """Score one image with this load and with a second one.

        Raises:
            UserError: the network does not take what its image processor gives.
            CheckpointError: the two loads differ, or there is not one output for each label.
        """
        image = torch.linspace(0, 1, 3 * 256 * 256).view(1, 3, 256, 256)
        with torch.no_grad():
            inputs = processing(image)
            try:
                first = cast("Tensor", cast("Any", self.net)(pixel_values=inputs).logits)
            except (RuntimeError, ValueError) as error:
                raise UserError(
                    f"the network of {model} does not take what its image processor gives,"
                    f" {tuple(inputs.shape)}: {_first_line(error)}. Borrow another: write"
                    f" hf:{model}?processor=REPO_OR_FOLDER."
                ) from error
            second = (
                first
                if self.again is None
                else cast("Any", self.again())(pixel_values=inputs).logits
            )
        if first.shape != (1, len(self.labels)) or list(self.labels) != list(
            range(len(self.labels))
        ):
            raise CheckpointError(
                f"{model} has outputs of shape {tuple(first.shape)} for the labels {self.labels}."
                " Its config is of another network: give the two that belong together."
            )
        if not torch.allclose(first, second, rtol=AGREEMENT, atol=AGREEMENT):
            raise CheckpointError(
                f"two loads of {model} give one image different logits, {first[0].tolist()} and"
                f" {second[0].tolist()}: a part of the network is not in its weights. Give the"
                " weights that belong to its config."
            )


def load_network(
    model: str, revision: str, *, pretrained: bool, processor: str | None, hint: str = ""
) -> HubNetwork:
    """Network, image processor and config; nothing of it runs code that a repository brings.

    Args:
        processor: hub id or folder of another image processor to take.
        hint: what is known of the model, for the message where it has no image processor.

    Raises:
        UnavailableError: out of reach, or it would have to run its own code.
        CheckpointError: the weights are not those of the network in the config, or cannot be read.
        UserError: it is no image classifier, or no image processor is beside it.
    """
    transformers = optional("transformers", "diffusion")
    # left unset, transformers asks at the keyboard whether to run a repository's code
    where: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
    with _quiet(transformers):
        try:
            config = transformers.AutoConfig.from_pretrained(model, **where)
        except (OSError, ValueError) as error:
            raise UnavailableError(_out_of_reach(model, error)) from error
        if type(config) not in transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
            raise UserError(
                f"{model} is no image classifier: its config is a {type(config).__name__}. Give a"
                " model of the task image-classification."
            )
        commit = _commit_of(model, revision)
        where["revision"] = (
            commit or revision
        )  # a branch may move before the next file is asked for
        images = _image_processor(transformers, model, where, processor, hint)
        if not (pretrained and weights_wanted()):
            fresh = transformers.AutoModelForImageClassification.from_config
            net = fresh(config, trust_remote_code=False).eval()
            return HubNetwork(
                net=net, processor=images, config=config, commit=commit, notes=(), again=None
            )
    net, notes = _loaded(transformers, model, where)
    again = partial(_loaded, transformers, model, where)
    return HubNetwork(
        net=net,
        processor=images,
        config=net.config,
        commit=commit,
        notes=notes,
        again=lambda: again()[0],
    )


def _commit_of(model: str, revision: str) -> str | None:
    """The commit that a revision of a hub id stands for, read from where its config was stored."""
    if Path(model).is_dir():
        return None
    stored = huggingface_hub.try_to_load_from_cache(model, "config.json", revision=revision)
    found = (
        re.search(r"/snapshots/([0-9a-f]{40})/", Path(stored).as_posix())
        if isinstance(stored, str)
        else None
    )
    return found[1] if found else None


def _image_processor(
    transformers: Any, model: str, where: Mapping[str, Any], borrowed: str | None, hint: str
) -> Any:
    at = where if borrowed is None else {"trust_remote_code": False}
    try:
        return transformers.AutoImageProcessor.from_pretrained(borrowed or model, **at)
    except (OSError, ValueError, TypeError, KeyError) as error:
        known = f" ({hint})" if hint else ""
        if borrowed is None:
            raise UserError(
                f"no image processor can be read beside the weights of {model}{known}:"
                f" {_first_line(error)}. Borrow that of the network it was fine-tuned from: write"
                f" hf:{model}?processor=REPO_OR_FOLDER."
            ) from error
        raise UserError(
            f"no image processor can be read at {borrowed}, to borrow for {model}:"
            f" {_first_line(error)}. Write hf:{model}?processor= and a hub id or a folder that has"
            " a preprocessor_config.json."
        ) from error


def _loaded(transformers: Any, model: str, where: Mapping[str, Any]) -> tuple[Any, tuple[str, ...]]:
    """A network whose every weight is from the file, and notes of those that it has no place
    for.
    """
    for pattern in ("model*.safetensors", "pytorch_model*.bin"):
        for file in Path(model).glob(pattern):
            check_is_weights(file)
    try:  # mismatched sizes are reported beside the missing names, not raised
        with _quiet(transformers):
            net, found = transformers.AutoModelForImageClassification.from_pretrained(
                model, output_loading_info=True, ignore_mismatched_sizes=True, **where
            )
    except (OSError, ValueError) as error:
        raise UnavailableError(_out_of_reach(model, error)) from error
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise CheckpointError(
            f"the weights of {model} cannot be read: they are damaged, or hold objects that could"
            f" run code ({_first_line(error)}). Download them again, or take a model with"
            " .safetensors."
        ) from error
    missing = sorted(
        name for name in found["missing_keys"] if not name.endswith("num_batches_tracked")
    )
    reshaped = [
        f"{n} {tuple(was)} for {tuple(own)}" for n, was, own in sorted(found["mismatched_keys"])
    ]
    parts = (
        ("missing", missing),
        ("of another shape", reshaped),
        ("errors", list(found.get("error_msgs") or ())),
    )
    if faults := "; ".join(f"{what}: {first_three(names)}" for what, names in parts if names):
        raise CheckpointError(
            f"the weights of {model} are not those of the {type(net).__name__} in its config, and"
            f" these layers would be random: {faults}. Give the config and the weights that belong"
            " together."
        )
    unused = sorted(found["unexpected_keys"])
    return net, (
        (f"tensors of {model} that its network has no place for: {first_three(unused)}",)
        if unused
        else ()
    )


def _out_of_reach(model: str, error: Exception) -> str:
    return (
        f"transformers cannot load {model!r}: {_first_line(error)}. Reach the hub once so that"
        " HF_HOME holds it, or write hf: and a folder that save_pretrained wrote (model and image"
        " processor)."
    )


def _first_line(error: Exception) -> str:
    lines = re.sub(r"\x1b\[[\d;]*m", "", str(error)).strip().splitlines()
    return lines[0].rstrip(". ") if lines else type(error).__name__


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No bars, and no table of names: what matters of it is raised or noted."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
