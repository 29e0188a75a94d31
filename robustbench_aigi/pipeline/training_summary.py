"""What a training was, in words: for the user, and for the card of its detector."""

from robustbench_aigi.detectors import Detector
from robustbench_aigi.training import Trained

MAX_NAMES = 3
"""Names of weights that a summary lists."""


def training_summary(trained: Trained) -> str:
    """Return the result of a training, in one line or a few.

    Args:
        trained: what ``train_detector`` returned.
    """
    history = trained.history
    best = history.rows[history.best_epoch]
    lines = [
        f"{trained.detector.card.name}: kept epoch {history.best_epoch + 1} of"
        f" {len(history.rows)}, score {best['score']:.4f}"
    ]
    if history.stop_reason:
        lines.append(f"stopped early: {history.stop_reason}")
    if history.without_gradient:
        count = len(history.without_gradient)
        names = ", ".join(history.without_gradient[:MAX_NAMES])
        more = ", ..." if count > MAX_NAMES else ""
        lines.append(f"{count} weights without a gradient in the first steps: {names}{more}")
    return "\n  ".join(lines)


def describe_training_data(name: str, images: int, start: Detector | None) -> str:
    """Return a card's line on training: the images of each stage, the first stage first.

    Args:
        name: of the images.
        images: number of training images.
        start: detector that the training starts from.

    Example:
        >>> describe_training_data("mini", 2000, None)
        'mini, 2000 images'
    """
    stage = f"{name}, {images} images"
    if start is None or not start.card.trained_on:
        return stage
    return f"{start.card.trained_on}; then {stage}"
