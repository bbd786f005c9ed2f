"""Which pictures are to validate on where one file annotates all: a share, chosen by a seed."""

from __future__ import annotations

import argparse
from typing import NamedTuple

from jointseg_eval.arguments import bounded


class HeldOut(NamedTuple):
    """The share, None for what is usual, and the seed."""

    fraction: float | None = None
    seed: int = 0


USUAL = HeldOut()


def add_held_out(parser: argparse.ArgumentParser) -> None:
    """The options that say it; see `held_out`."""
    add, share = parser.add_argument, bounded(float, 0, 1)
    add("--val-fraction", type=share, help="share of one file that is to validate on [0.1]")
    add("--split-seed", type=int, default=0, help="another choice of these pictures")


def held_out(options: argparse.Namespace) -> HeldOut:
    """What the options of `add_held_out` say."""
    return HeldOut(options.val_fraction, options.split_seed)
