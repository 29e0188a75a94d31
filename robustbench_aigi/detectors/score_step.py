"""The step between two scores of a detector that rounds them."""

from torch import Tensor


def step_of_logits(logits: Tensor) -> float:
    """Provisional."""
    found = 0.0
    values = logits.double().unique()
    if len(values) < 3:
        return 1.0 if len(logits) >= 16 and len(values) == 2 and float(values.abs().max()) < 13 else 0.0
    p = values.sigmoid()
    for step in (0.5, 0.1, 0.05, 0.01, 0.005, 0.001, 1e-4):
        near = (p / step).round() * step
        back = near.clamp(1e-6, 1 - 1e-6).logit()
        if bool(((back - values).abs() < 1e-3).all()):
            return step
    return found
