"""How sure the difference between two rows is.

The same weights used in two ways: pictures and seeds are drawn again, the same ones for both rows;
where the seeds differ more than that shows, Student's t over them counts.
Networks trained in two ways: the differences of pairs with the same seed, thus with the same data
in the same order, have a mean whose interval follows Student's t.
All numbers of a table are tested together (Holm, A simple sequentially rejective multiple test
procedure, 1979): of many, some would look clear by chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jointseg_eval.metrics import Difference

T_975 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
"""Below which 97.5 % of Student's t lie, for 1, 2, 3 .. degrees of freedom."""
MAX_SEEDS = len(T_975) + 1


@dataclass(frozen=True)
class Tested(Difference):
    """A difference, and how likely one as large is where in truth there is none; both ways."""

    p: float = math.nan


def over_seeds(a: Sequence[float], b: Sequence[float]) -> Tested:
    """The mean of b - a over pairs of trainings [S], with its 95 % interval; NaN of one pair."""
    return mean_over_seeds(np.subtract(b, a))


def mean_over_seeds(values: Sequence[float]) -> Tested:
    """The mean of one number of each training [S], with its 95 % interval; NaN of one training."""
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return Tested(mean, math.nan, math.nan)
    error = float(np.std(values, ddof=1)) / math.sqrt(count)
    half = T_975[count - 2] * error
    return Tested(mean, mean - half, mean + half, _student(mean, error, count - 1))


def _student(mean: float, error: float, freedom: int) -> float:
    """The share of Student's t beyond mean / error on both sides: an integral over its angle."""
    if not error:
        return float(not mean)
    angle = math.atan(abs(mean) / error / math.sqrt(freedom))
    beyond, half = (_cosines(a, freedom - 1) for a in (angle, 0.0))
    return beyond / half


def _cosines(start: float, power: int, points: int = 10000) -> float:
    """The integral of a power of the cosine from there to a right angle, by midpoints."""
    step = (math.pi / 2 - start) / points
    return step * float((np.cos(start + step * (np.arange(points) + 0.5)) ** power).sum())


def over_images_and_seeds(
    a: Sequence[float],
    b: Sequence[float],
    resampled_a: np.ndarray,
    resampled_b: np.ndarray,
    seed: int = 0,
) -> Tested:
    """The mean of b - a over seeds [S], with an interval of at least 95 %.

    resampled_a, resampled_b [S, R] are scores of R draws of pictures, column by column the same
    draw. Each resample also draws as many seeds as there are, with repeats, so that a claim is one
    about networks trained so. Draws of a few seeds vary too little: the interval is that of the
    resamples or Student's over the seeds, whichever is wider. Of one seed it is that of its one
    network. Resamples are taken as normal for how likely they are.
    """
    differences = resampled_b - resampled_a
    seeds, resamples = differences.shape
    drawn = np.random.default_rng(seed).integers(0, seeds, (seeds, resamples))
    values = np.take_along_axis(differences, drawn, 0).mean(0)
    known = values[~np.isnan(values)]
    mean = float(np.subtract(b, a).mean())
    if not known.size:
        return Tested(mean, math.nan, math.nan)
    low, high = np.percentile(known, [2.5, 97.5])
    error = float(high - low) / (2 * 1.96)
    p = math.erfc(abs(mean) / error / math.sqrt(2)) if error else float(not mean)
    drawn_so, trained_so = Tested(mean, float(low), float(high), p), over_seeds(a, b)
    return max(drawn_so, trained_so, key=_width)


def _width(difference: Difference) -> float:
    width = difference.high - difference.low
    return -math.inf if math.isnan(width) else width


def holm(found: Sequence[float]) -> list[float]:
    """How likely each is where they are tested together, at most 1; NaN stays and is no test."""
    adjusted, highest = list(found), 0.0
    known = sorted((p, i) for i, p in enumerate(found) if not math.isnan(p))
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[i] = highest
    return adjusted


def verdict(difference: Difference, together: float = 0.0) -> str:
    """What may be said of a difference; together is how likely it is among others, see `holm`."""
    if math.isnan(difference.low):
        return "not claimable: no interval"
    if not difference.is_clear:
        return "not claimable: the interval contains zero"
    if together > 0.05:
        return "not claimable among so many (Holm)"
    return "higher" if difference.mean > 0 else "lower"
