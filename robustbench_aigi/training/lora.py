"""Low-rank updates in the place of the weights themselves, by PEFT: a large detector is adapted by
few numbers.
"""

from torch import nn

from robustbench_aigi.detectors import Detector
from robustbench_aigi.errors import UnavailableError, UserError
from robustbench_aigi.extras import install_command


def add_lora(detector: Detector, rank: int) -> None:
    """Freeze a detector but for its head, and give every other matrix a low-rank update.

    Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022.

    Raises:
        UserError: a detector that trains only a part of itself. UnavailableError: PEFT is not
            installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model  # seconds, and an extra
    except ImportError as error:
        raise UnavailableError(f"lora needs PEFT. Type `{install_command('training')}`.") from error
    if detector.parts_to_train() is not detector:
        raise UserError(
            f"lora is for detectors that train whole; {detector.card.name} freezes a part. Leave it"
            " out."
        )
    *inner, head = _matrices(detector)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=inner), detector)
    detector.get_submodule(head).requires_grad_(True)


def merged(detector: Detector) -> Detector:
    """Add the updates to the weights, in place: the detector is as plain as before."""
    from peft.tuners.lora import LoraLayer

    layers = [
        (name, part) for name, part in detector.named_modules() if isinstance(part, LoraLayer)
    ]
    for name, layer in layers:
        layer.merge()
        owner, _, own = name.rpartition(".")
        setattr(detector.get_submodule(owner), own, layer.get_base_layer())
    return detector.requires_grad_(True)


def _matrices(detector: Detector) -> list[str]:
    """Names of linear layers and ungrouped convolutions, the head last; PyTorch's attention reads
    its own directly.
    """
    attention = {
        id(part)
        for one in detector.modules()
        if isinstance(one, nn.MultiheadAttention)
        for part in one.modules()
    }
    return [
        name
        for name, part in detector.named_modules()
        if isinstance(part, nn.Linear | nn.Conv2d)
        and getattr(part, "groups", 1) == 1
        and id(part) not in attention
    ]
