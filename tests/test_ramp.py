"""How eps grows in adversarial training."""

import pytest
from torch import Tensor

from robustbench_aigi.training import TrainingJob, train_detector
from tests.test_training import easy


@pytest.mark.parametrize(
    ("ramp", "first", "middle"), [(0.0, 8.0, 8.0), (0.5, 2.0, 8.0), (None, 1.0, 5.0)]
)
def test_eps_grows_over_the_share_that_is_asked_for(
    ramp: float | None, first: float, middle: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []

    def noted(*given: object, eps: float, **more: object) -> Tensor:
        seen.append(eps)
        return given[1]  # type: ignore[return-value]

    monkeypatch.setattr(
        "robustbench_aigi.training.objectives.adversarial.inner_maximisation", noted
    )
    recipe = TrainingJob(
        detector="cifake-cnn", method="pgd", epochs=2, numbers={"ramp": ramp, "batch": 16}
    )
    train_detector(recipe, easy(64), easy(16, seed=1))
    assert (seen[0], seen[4], len(seen)) == (first, middle, 8)
