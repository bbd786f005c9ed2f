"""The moving average of the weights, which is what is validated and exported."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """An exponential moving average of all tensors of a model, with a state of its own.

    decay   share of the old value at every update, reached from 0.1 on as updates are counted, so
            that the start is forgotten; 0 = the model itself
    model   the averaged copy: in evaluation mode, without gradients
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the model; counters are copied."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        mine, others = self._tensors(), list(model.state_dict().values())
        floats = [i for i, tensor in enumerate(mine) if tensor.is_floating_point()]
        torch._foreach_lerp_([mine[i] for i in floats], [others[i] for i in floats], 1 - decay)
        for old, new in zip(mine, others, strict=True):
            if not old.is_floating_point():
                old.copy_(new)
        self.updates += 1

    @torch.no_grad()
    def heal(self, model: nn.Module) -> None:
        """Replace the model's norm statistics that are not finite by the average's."""
        healthy = dict(self.model.named_buffers())
        for name, buffer in model.named_buffers():
            if not buffer.isfinite().all():
                buffer.copy_(healthy[name])

    def _tensors(self) -> list[Tensor]:
        return list(self.model.state_dict().values())

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes."""
        return {"model": self.model.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where another average was."""
        self.model.load_state_dict(state["model"])
        self.updates = state["updates"]
