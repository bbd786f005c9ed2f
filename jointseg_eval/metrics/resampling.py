"""Scores of resampled images: how sure a number is, and a difference between two models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Row = Mapping[str, float]
Score = Callable[[Sequence[int] | None], Row]


@dataclass(frozen=True)
class Difference:
    """How much the second of two scores is above the first, or one above 0, over resampled images.

    mean over all images as they are; low and high enclose 95 % of the resamples.
    """

    mean: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def draws(score: Score, images: int, resamples: int = 1000, seed: int = 0) -> list[Row]:
    """What a score is over all images as they are, and then over each resample of them.

    score scores a list of image numbers, as `AveragePrecision.score` does. Each resample draws as
    many images as there are, with repeats; with one seed they are the same for every score.
    """
    generator = np.random.default_rng(seed)
    drawn = [generator.integers(0, images, images) for _ in range(resamples)]
    return [score(None), *map(score, drawn)]


def gains(a: Sequence[Row], b: Sequence[Row]) -> list[Row]:
    """The differences b - a of every number that two scores share, over the same draws.

    What the images have in common cancels.
    """
    return [
        {name: other[name] - one[name] for name in one if name in other}
        for one, other in zip(a, b, strict=True)
    ]


def intervals(rows: Sequence[Row]) -> dict[str, Difference]:
    """Every number of some draws with its interval; draws in which it is unknown are left out."""
    whole, *table = rows
    return {
        name: _interval(value, np.array([row[name] for row in table]))
        for name, value in whole.items()
    }


def _interval(mean: float, values: np.ndarray) -> Difference:
    known = values[~np.isnan(values)]
    if not known.size:
        return Difference(mean, float("nan"), float("nan"))
    low, high = np.percentile(known, [2.5, 97.5])
    return Difference(mean, float(low), float(high))
