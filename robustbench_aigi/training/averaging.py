"""The moving average of weights that a training may keep in the place of its last ones."""

import copy

import torch


class Averaged:
    """A moving average of a module's weights and buffers; inside its context the module has the average."""

    def __init__(self, module: torch.nn.Module, memory: int) -> None:
        self._module, self._memory = module, memory
        self.average = copy.deepcopy(module.state_dict()) if memory else {}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the weights after training step ``step``; early on it forgets sooner."""
        share = 1 / min(self._memory or 1, 1 + step / 9)
        now = self._module.state_dict()
        for name, mean in self.average.items():
            mean.lerp_(now[name], share) if mean.is_floating_point() else mean.copy_(now[name])

    def __enter__(self) -> None:
        self._now = copy.deepcopy(self._module.state_dict())
        self._module.load_state_dict(self.average or self._now)

    def __exit__(self, *error: object) -> None:
        self._module.load_state_dict(self._now)
