"""The learning rate at every step: linear warm-up, then steps down or half a cosine."""

from __future__ import annotations

import math
from collections.abc import Sequence


def rate(
    step: int,
    steps: int,
    warm_up: int,
    warm_up_from: float,
    drops: Sequence[float] = (),
    cosine_to: float = 1.0,
) -> float:
    """The factor on the full learning rate at a step counted from 0, a function of nothing else.

    steps         length of the run
    warm_up       steps until the full rate, linearly from `warm_up_from` times it
    drops         shares of the run after each of which the rate is a tenth of what it was
    cosine_to     where half a cosine leads between the warm-up and the end; 1 = nowhere
    """
    if step < warm_up:
        return warm_up_from + (1 - warm_up_from) * step / warm_up
    passed = sum(step >= round(share * steps) for share in drops)
    done = min(1.0, (step - warm_up) / max(1, steps - warm_up))
    falling = cosine_to + (1 - cosine_to) * (1 + math.cos(math.pi * done)) / 2
    return falling * 0.1**passed
