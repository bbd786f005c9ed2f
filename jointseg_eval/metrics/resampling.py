"""Scores of resampled images: how sure a number is, and a difference between two models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Score = Callable[[Sequence[int] | None], Mapping[str, float]]


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


def bootstrap(
    score: Score, images: int, resamples: int = 1000, seed: int = 0
) -> dict[str, Difference]:
    """Every number of a score with its interval.

    score scores a list of image numbers, as `AveragePrecision.score` does. Each resample draws as
    many images as there are, with repeats. Resamples in which a number is unknown are left out of
    its interval.
    """
    generator = np.random.default_rng(seed)
    drawn = [generator.integers(0, images, images) for _ in range(resamples)]
    table = [score(chosen) for chosen in drawn]
    return {
        name: _interval(value, np.array([row[name] for row in table]))
        for name, value in score(None).items()
    }


def paired_bootstrap(
    a: Score, b: Score, images: int, resamples: int = 1000, seed: int = 0
) -> dict[str, Difference]:
    """The differences b - a of every number that two scores share.

    Each resample is the same for both: what the images have in common cancels.
    """
    return bootstrap(lambda drawn: _differences(a(drawn), b(drawn)), images, resamples, seed)


def _differences(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
    return {name: b[name] - a[name] for name in a if name in b}


def _interval(mean: float, values: np.ndarray) -> Difference:
    known = values[~np.isnan(values)]
    if not known.size:
        return Difference(mean, float("nan"), float("nan"))
    low, high = np.percentile(known, [2.5, 97.5])
    return Difference(mean, float(low), float(high))
