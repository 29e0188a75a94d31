"""Loading networks of the transformers library, so that no layer stays random unnoticed."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple, cast

import huggingface_hub
from safetensors import SafetensorError
from torch import nn

from robustbench_aigi.detectors._support.checkpoints.file_kinds import check_is_weights
from robustbench_aigi.detectors._support.checkpoints.unpickling import first_three
from robustbench_aigi.detectors._support.fetching import is_fetching_weights
from robustbench_aigi.detectors.external.hf.network import HubNetwork, first_line
from robustbench_aigi.detectors.external.outputs import import_optional
from robustbench_aigi.errors import CheckpointError, UnavailableError, UserError


def load_network(
    model: str, revision: str, *, pretrained: bool, processor: str | None, hint: str = ""
) -> HubNetwork:
    """Load network, image processor and config, without running code that a repository brings.

    Args:
        model: a hub id or a folder.
        revision: branch, tag or commit on the hub.
        pretrained: False leaves the weights fresh.
        processor: hub id or folder of another image processor to take.
        hint: what is known of the model, for the message where it has no image processor.

    Raises:
        UnavailableError: out of reach, or it would have to run its own code.
        CheckpointError: the weights are not those of the network in the config, or cannot be read.
        UserError: it is no image classifier, or no image processor is beside it.
    """
    transformers = import_optional("transformers", "diffusion")
    # left unset, transformers asks at the keyboard whether to run a repository's code
    where: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
    with _quiet(transformers):
        config = _read_config(transformers, model, where)
        commit = _commit_of(model, revision)
        if commit is not None:
            where["revision"] = commit  # a branch may move before the next file is fetched
        images = _image_processor(transformers, model, where, processor, hint)
        if not (pretrained and is_fetching_weights()):
            fresh = transformers.AutoModelForImageClassification.from_config
            net = fresh(config, trust_remote_code=False).eval()
            return HubNetwork(
                net=net, processor=images, config=config, commit=commit, notes=(), reload=None
            )
    loaded = _load(transformers, model, where)
    return HubNetwork(
        net=loaded.net,
        processor=images,
        config=loaded.net.config,
        commit=commit,
        notes=loaded.notes,
        reload=lambda: cast("nn.Module", _load(transformers, model, where).net),
    )


def _read_config(transformers: Any, model: str, where: Mapping[str, Any]) -> Any:
    """Return the config of an image classifier."""
    try:
        config = transformers.AutoConfig.from_pretrained(model, **where)
    except (OSError, ValueError) as error:
        raise UnavailableError(_out_of_reach(model, error)) from error
    if type(config) not in transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        raise UserError(
            f"{model} is no image classifier: its config is a {type(config).__name__}. Give a"
            " model of the task image-classification."
        )
    return config


def _commit_of(model: str, revision: str) -> str | None:
    """Return the commit that a revision of a hub id stands for, by where its config is stored."""
    if Path(model).is_dir():
        return None
    stored = huggingface_hub.try_to_load_from_cache(model, "config.json", revision=revision)
    if not isinstance(stored, str):
        return None
    found = re.search(r"/snapshots/([0-9a-f]{40})/", Path(stored).as_posix())
    return found[1] if found else None


def _image_processor(
    transformers: Any, model: str, where: Mapping[str, Any], borrowed: str | None, hint: str
) -> Any:
    at = where if borrowed is None else {"trust_remote_code": False}
    try:
        return transformers.AutoImageProcessor.from_pretrained(borrowed or model, **at)
    except (OSError, ValueError, TypeError, KeyError) as error:
        if borrowed is None:
            known = f" ({hint})" if hint else ""
            raise UserError(
                f"no image processor can be read beside the weights of {model}{known}:"
                f" {first_line(error)}. Borrow that of the network it was fine-tuned from: write"
                f" hf:{model}?processor=REPO_OR_FOLDER."
            ) from error
        raise UserError(
            f"no image processor can be read at {borrowed}, to borrow for {model}:"
            f" {first_line(error)}. Write hf:{model}?processor= and a hub id or a folder that has"
            " a preprocessor_config.json."
        ) from error


class _Loaded(NamedTuple):
    """A network, and notes of the tensors that it has no place for."""

    net: Any
    notes: tuple[str, ...]


def _load(transformers: Any, model: str, where: Mapping[str, Any]) -> _Loaded:
    """Return a network whose every weight is from the file."""
    for pattern in ("model*.safetensors", "pytorch_model*.bin"):
        for file in Path(model).glob(pattern):
            check_is_weights(file)
    try:
        # mismatched sizes are reported beside the missing names, not raised
        with _quiet(transformers):
            net, found = transformers.AutoModelForImageClassification.from_pretrained(
                model, output_loading_info=True, ignore_mismatched_sizes=True, **where
            )
    except (OSError, ValueError) as error:
        raise UnavailableError(_out_of_reach(model, error)) from error
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise CheckpointError(
            f"the weights of {model} cannot be read: they are damaged, or hold objects that could"
            f" run code ({first_line(error)}). Download them again, or take a model with"
            " .safetensors."
        ) from error
    if faults := _load_faults(found):
        raise CheckpointError(
            f"the weights of {model} are not those of the {type(net).__name__} in its config, and"
            f" these layers would be random: {faults}. Give the config and the weights that belong"
            " together."
        )
    unused = sorted(found["unexpected_keys"])
    if not unused:
        return _Loaded(net, ())
    note = f"tensors of {model} that its network has no place for: {first_three(unused)}"
    return _Loaded(net, (note,))


def _load_faults(found: Mapping[str, Any]) -> str:
    """Return the layers that a load left random, in words; empty for none."""
    missing = [name for name in found["missing_keys"] if not name.endswith("num_batches_tracked")]
    reshaped = [
        f"{name} {tuple(stored)} for {tuple(own)}"
        for name, stored, own in sorted(found["mismatched_keys"])
    ]
    parts = (
        ("missing", sorted(missing)),
        ("of another shape", reshaped),
        ("errors", list(found.get("error_msgs") or ())),
    )
    return "; ".join(f"{what}: {first_three(names)}" for what, names in parts if names)


def _out_of_reach(model: str, error: Exception) -> str:
    return (
        f"transformers cannot load {model!r}: {first_line(error)}. Reach the hub once so that"
        " HF_HOME holds it, or write hf: and a folder that save_pretrained wrote (model and image"
        " processor)."
    )


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Hide progress bars and tables of names; what matters of them is raised or noted."""
    log = transformers.utils.logging
    level = log.get_verbosity()
    has_bars = log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if has_bars:
            log.enable_progress_bar()
