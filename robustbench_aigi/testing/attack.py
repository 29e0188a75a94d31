"""The contract of an attack."""

from typing import Any

import torch
from torch import Tensor

from robustbench_aigi.attacks import Attack, Perturbation, Result, load_attack
from robustbench_aigi.detectors import Detector
from robustbench_aigi.imaging.pixels import MAX_LEVEL, on_grid
from robustbench_aigi.testing.errors import require
from robustbench_aigi.testing.probe import probe_detector, probe_images

IMAGE_IDS = ("a", "b", "c", "d")
ODD_SIZE = (13, 21)
"""Height and width in pixels of an image that no code expects."""


def check_attack(
    attack: str | Attack,
    *,
    detector: Detector | None = None,
    side: int = 32,
    full: bool | None = None,
    **numbers: Any,
) -> None:
    """Check that an attack keeps its contract.

    It returns images of the same shape on the 8-bit grid; the same call gives the same images; the
    detector is left as it was; the result's logits, verdicts and sizes are those of its images; and
    an attack that asks for gradients uses them. A :class:`~robustbench_aigi.attacks.Perturbation`
    is checked by :func:`check_perturbation` too.

    Args:
        attack: a registered name or ``module:Class``, or an attack.
        detector: the detector to attack; a small network with random weights if None.
        side: height and width in pixels of the images; fewer make a slow attack quick.
        full: whether to attack at full strength; both ways if None.
        numbers: of the attack, where it is given by name; few steps make the check quick.

    Raises:
        ContractError: a rule is broken.
        RobustbenchError: the attack cannot be built, or its own checks fail.
    """
    built = load_attack(attack, **numbers) if isinstance(attack, str) else attack
    shown = probe_detector() if detector is None else detector
    images, labels = probe_images(side)
    for strength in (False, True) if full is None else (full,):
        result = _run_unharmed(built, shown, images, labels, strength)
        _check_result(built, shown, images, labels, result)
        asks_gradients = built.access == "gradients" and strength
        require(
            not asks_gradients or bool((result.backwards > 0).any()),
            f"{built.name} says access = 'gradients', so it must use a backward pass",
        )
    if isinstance(built, Perturbation):
        check_perturbation(built)


def check_perturbation(perturbation: Perturbation) -> None:
    """Check that a perturbation of an image does not depend on the batch that the image is in.

    Args:
        perturbation: tried on four images together, in reverse and one by one, and on an image of
            odd sides.

    Raises:
        ContractError: an image comes out differently, or in another shape.
    """
    name = perturbation.name
    images, _ = probe_images()
    together = perturbation.apply(images, IMAGE_IDS, seed=5)
    reverse = perturbation.apply(images.flip(0), IMAGE_IDS[::-1], seed=5).flip(0)
    require(
        torch.equal(together, reverse),
        f"{name} must give each image the same change in any order; take random numbers from rng",
    )
    single = [
        perturbation.apply(images[place : place + 1], [key], seed=5)
        for place, key in enumerate(IMAGE_IDS)
    ]
    require(
        torch.equal(together, torch.cat(single)),
        f"{name} must give each image the same change in any batch; take random numbers from rng",
    )
    odd = torch.rand(1, 3, *ODD_SIZE, generator=torch.Generator().manual_seed(0))
    odd = odd.mul(MAX_LEVEL).round() / MAX_LEVEL
    changed = perturbation.apply(odd, ["odd"])
    require(
        changed.shape == odd.shape,
        f"{name} must keep the shape {tuple(odd.shape)}, got {tuple(changed.shape)}",
    )


def _run_unharmed(
    attack: Attack, detector: Detector, images: Tensor, labels: Tensor, full: bool
) -> Result:
    """Attack twice, and check that both results are equal and that the detector is unchanged."""
    weights = {key: value.clone() for key, value in detector.state_dict().items()}
    free = [parameter.requires_grad for parameter in detector.parameters()]
    detector.train()
    next(detector.children(), detector).eval()  # modes that differ from module to module
    modes = [module.training for module in detector.modules()]
    first, second = (
        attack(detector, images, labels, ids=IMAGE_IDS, seed=3, full=full) for _ in range(2)
    )
    name = attack.name
    require(
        torch.equal(first.images, second.images),
        f"{name} must give the same images for the same seed and ids; take random numbers from"
        " rngs",
    )
    require(
        [parameter.requires_grad for parameter in detector.parameters()] == free,
        f"{name} must leave requires_grad of the detector's parameters as it was",
    )
    require(
        [module.training for module in detector.modules()] == modes,
        f"{name} must leave the detector's modules in the modes they were in",
    )
    detector.eval()
    require(
        all(torch.equal(value, weights[key]) for key, value in detector.state_dict().items()),
        f"{name} must leave the detector's weights and buffers as they were",
    )
    return first


def _check_result(
    attack: Attack, detector: Detector, images: Tensor, labels: Tensor, result: Result
) -> None:
    """Check a result's images, and that its numbers are those of its images."""
    name = attack.name
    require(
        result.images.shape == images.shape,
        f"{name} must keep the shape {tuple(images.shape)}, got {tuple(result.images.shape)}",
    )
    require(on_grid(result.images), f"{name} must return multiples of 1/255 in [0, 1]")
    with torch.no_grad():
        logits = detector.logits(result.images)
    require(
        torch.allclose(logits, result.logits, atol=1e-5, rtol=1e-5),
        f"{name} must report the logits of the images that it returns",
    )
    wrong = (logits > detector.threshold) != (labels == 1)
    require(
        torch.equal(wrong, result.fooled),
        f"{name} must call an image fooled exactly where the detector is wrong on it",
    )
    levels = (result.images * MAX_LEVEL).round() - (images * MAX_LEVEL).round()
    require(
        torch.equal(levels.abs().flatten(1).amax(dim=1).long(), result.linf),
        f"{name} must report the L-inf size of each change in whole grey levels",
    )
    require(bool((result.forwards >= 1).all()), f"{name} must count the passes of each image")
