"""The same seeds give the same run."""

from __future__ import annotations

import os
import random

import numpy as np
import torch


def seed_everything(seed: int, step: int) -> None:
    """Seed every global generator for one step: what it draws depends on nothing before it.

    So a resumed run needs no states of generators to go on exactly.
    """
    mixed = (seed * 1_000_003 + step) % 2**32
    random.seed(mixed)
    np.random.seed(mixed)
    torch.manual_seed(mixed)


def set_deterministic() -> None:
    """The same command gives the same bits on one machine, if more slowly.

    On a GPU as far as its operations can; those that cannot are named in a warning.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
