"""Low-rank updates by PEFT, trained instead of the weights of a large detector."""

from torch import nn

from robustbench_aigi.detectors import Detector
from robustbench_aigi.errors import UnavailableError, UserError
from robustbench_aigi.extras import install_command


def add_lora(detector: Detector, rank: int) -> None:
    """Freeze a detector except for its head, and give every other matrix a low-rank update.

    Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022.

    Args:
        detector: changed in place.
        rank: of the updates.

    Raises:
        UserError: the detector trains only a part of itself.
        UnavailableError: PEFT is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model  # takes seconds, and is an extra
    except ImportError as error:
        raise UnavailableError(f"lora needs PEFT. Type `{install_command('training')}`.") from error
    if detector.parts_to_train() is not detector:
        raise UserError(
            f"lora is for detectors that train as a whole, got {detector.card.name}, which freezes"
            " a part. Leave lora out."
        )
    *inner, head = _matrix_names(detector)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=inner), detector)
    detector.get_submodule(head).requires_grad_(True)


def merge_lora(detector: Detector) -> Detector:
    """Add the updates to the weights, in place, and return the detector without PEFT's layers."""
    from peft.tuners.lora import LoraLayer

    layers = [
        (name, part) for name, part in detector.named_modules() if isinstance(part, LoraLayer)
    ]
    for name, layer in layers:
        layer.merge()
        owner, _, attribute = name.rpartition(".")
        setattr(detector.get_submodule(owner), attribute, layer.get_base_layer())
    return detector.requires_grad_(True)


def _matrix_names(detector: Detector) -> list[str]:
    """Return the names of linear layers and ungrouped convolutions, the head last."""
    attention = {  # PyTorch's attention reads its weights directly, past PEFT's layers
        id(part)
        for module in detector.modules()
        if isinstance(module, nn.MultiheadAttention)
        for part in module.modules()
    }
    return [
        name
        for name, part in detector.named_modules()
        if isinstance(part, nn.Linear | nn.Conv2d)
        and getattr(part, "groups", 1) == 1
        and id(part) not in attention
    ]
