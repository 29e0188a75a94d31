"""The contract of a detector."""

import tempfile
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from robustbench_aigi.detectors import Detector, load_detector, save_detector
from robustbench_aigi.testing.errors import ContractError, require
from robustbench_aigi.testing.probe import probe_images

IMAGE_SIZES = ((32, 32), (33, 33), (224, 224), (45, 61), (300, 40), (512, 512))
"""Heights and widths in pixels that every detector must take."""
FINITE_STEP = 1e-5
"""Step of a finite difference, in the [0, 1] range of pixels."""
WATCHED_PIXELS = 3
"""Values of an image, those of the steepest gradient, at which a gradient is checked."""
MAX_GRADIENT_ERROR = 0.02
"""Largest relative difference between a gradient and its finite difference."""
BATCH_TOLERANCE = 1e-4
"""Largest difference of an image's logits in two batches, absolute plus relative."""


def check_detector(
    detector: Detector,
    images: Float[Tensor, "n 3 h w"] | None = None,
    *,
    folder: Path | None = None,
) -> None:
    """Check that a detector keeps its contract.

    It gives one finite logit per image, the same in any batch; it takes images of any size; its
    card has a name and a source; and a file that it is saved to builds the same detector again. Its
    gradient is checked by :func:`check_gradient`.

    Args:
        detector: in evaluation mode; it must score the same image alike each time.
        images: float ``(4, 3, H, W)`` in [0, 1]; textured ones of 32 x 32 pixels if None.
        folder: where to save the detector; a temporary folder if None.

    Raises:
        ContractError: a rule is broken.
        RobustbenchError: the detector cannot be saved or loaded.
    """
    shown = probe_images()[0] if images is None else images
    name = detector.card.name
    require(bool(name and detector.card.source), f"the card of {name!r} must have name and source")
    with torch.no_grad():
        _check_logits(detector, shown)
        _check_sizes(detector)
    if detector.restorable:
        _check_saved(detector, shown, folder)
    if detector.card.cam:
        _check_cam(detector)


def check_gradient(detector: Detector, images: Float[Tensor, "n 3 h w"] | None = None) -> None:
    """Check that the gradient of a detector is that of finite differences.

    A detector whose card says ``gradient="none"`` has none to check. One that says
    ``gradient="bpda"`` is smooth by declaration only, so its gradient must be finite and not zero.

    Args:
        detector: in evaluation mode; it is taken to double precision and back.
        images: float ``(N, 3, H, W)`` in [0, 1]; two of the images of
            :func:`~robustbench_aigi.testing.probe_images` if None.

    Raises:
        ContractError: the gradient is zero, not finite, or wrong by more than 2%.
    """
    if detector.card.gradient == "none":
        return
    error = gradient_error(detector, probe_images()[0][:2] if images is None else images)
    require(
        error < MAX_GRADIENT_ERROR,
        f"the gradient of {detector.card.name} must be that of finite differences, it is off by"
        f" {error:.1%}; look for .detach(), no_grad or NumPy in logits(), or say gradient='bpda'",
    )


def gradient_error(detector: Detector, images: Float[Tensor, "n 3 h w"]) -> float:
    """Return the largest relative error of a detector's gradient where it is steepest.

    A cut in the graph, or preprocessing outside it, shows here. A BPDA step is smooth by
    declaration only: 0.

    Args:
        detector: in evaluation mode; it is taken to double precision and back.
        images: float ``(N, 3, H, W)`` in [0, 1].

    Raises:
        ContractError: the gradient of an image is zero or not finite.
    """
    leaf = images.double().requires_grad_(True)
    detector = detector.double()
    try:
        (gradient,) = torch.autograd.grad(detector.logits(leaf).sum(), leaf)
        name = detector.card.name
        require(gradient.isfinite().all(), f"the gradient of {name} must be finite")
        largest = gradient.flatten(1).abs().amax(dim=1)
        require((largest > 0).all(), f"the gradient of {name} must not be zero on any image")
        if detector.card.gradient == "bpda":
            return 0.0
        steepest = gradient.flatten().abs().topk(WATCHED_PIXELS).indices.tolist()
        return max(_error_at(detector, leaf, gradient, place) for place in steepest)
    finally:
        detector.float()


def _error_at(detector: Detector, leaf: Tensor, gradient: Tensor, place: int) -> float:
    """Relative difference between the gradient at one value and its central difference."""
    step = torch.zeros(leaf.numel(), dtype=torch.float64)
    step[place] = FINITE_STEP
    step = step.view_as(leaf)
    with torch.no_grad():
        rise = detector.logits(leaf + step).sum() - detector.logits(leaf - step).sum()
    return abs(float(rise) / (2 * FINITE_STEP) / float(gradient.flatten()[place]) - 1)


def _check_logits(detector: Detector, images: Tensor) -> None:
    name = detector.card.name
    logits = detector.logits(images)
    wanted = (len(images),)
    require(
        logits.shape == wanted,
        f"logits() of {name} must return the shape {wanted}, got {tuple(logits.shape)}",
    )
    require(logits.isfinite().all(), f"logits() of {name} must be finite")
    require(
        torch.equal(detector(images), logits), f"{name} must give an image the same score each time"
    )
    single = torch.cat([detector.logits(image[None]) for image in images])
    require(
        torch.allclose(single, logits, atol=BATCH_TOLERANCE, rtol=BATCH_TOLERANCE),
        f"{name} must give an image the same score in any batch, the logits differ by"
        f" {float((single - logits).abs().max()):.2g}; is it in evaluation mode?",
    )


def _check_sizes(detector: Detector) -> None:
    rng = torch.Generator().manual_seed(0)
    for height, width in IMAGE_SIZES:
        logits = detector.logits(torch.rand(1, 3, height, width, generator=rng))
        require(
            logits.isfinite().all(),
            f"{detector.card.name} must take an image of {height} x {width} pixels; resizing"
            " belongs into logits()",
        )


def _check_saved(detector: Detector, images: Tensor, folder: Path | None) -> None:
    name = detector.card.name
    with tempfile.TemporaryDirectory() as temporary:
        path = (folder or Path(temporary)) / "saved.safetensors"
        save_detector(detector, path)
        loaded = load_detector(str(path))
        with torch.no_grad():
            same = torch.equal(loaded.logits(images), detector.logits(images))
    require(
        same,
        f"{name} must give the same scores after it was saved and loaded; state that changes"
        " logits belongs into parameters, buffers or the arguments given to super().__init__()",
    )
    require(
        loaded.config == detector.config,
        f"the arguments of {name} must be JSON values, {detector.config} became {loaded.config}",
    )
    require(loaded.card.name == name, f"{name} must keep its name when it is loaded")
    require(
        loaded.card.weights.startswith("sha256:"),
        f"the card of {name} must name the file's hash when it is loaded",
    )


def _check_cam(detector: Detector) -> None:
    part = detector.card.cam
    try:
        found = detector.get_submodule(part)
    except AttributeError as error:
        raise ContractError(
            f"cam={part!r} on the card of {detector.card.name} must name a module: {error}."
        ) from error
    require(isinstance(found, nn.Module), f"cam={part!r} must name a module")
