"""How sure the difference between two rows is.

The same weights used in two ways: pictures and seeds are drawn again, the same ones for both rows;
where the seeds differ more than that shows, Student's t over them counts.
Networks trained in two ways: the differences of pairs with the same seed, thus with the same data
in the same order, have a mean whose interval follows Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from jointseg_eval.metrics import Difference

T_975 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
"""Below which 97.5 % of Student's t lie, for 1, 2, 3 .. degrees of freedom."""
MAX_SEEDS = len(T_975) + 1


def over_seeds(a: Sequence[float], b: Sequence[float]) -> Difference:
    """The mean of b - a over pairs of trainings [S], with its 95 % interval; NaN of one pair."""
    return mean_over_seeds(np.subtract(b, a))


def mean_over_seeds(values: Sequence[float]) -> Difference:
    """The mean of one number of each training [S], with its 95 % interval; NaN of one training."""
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return Difference(mean, math.nan, math.nan)
    half = T_975[count - 2] * float(np.std(values, ddof=1)) / math.sqrt(count)
    return Difference(mean, mean - half, mean + half)


def over_images_and_seeds(
    a: Sequence[float],
    b: Sequence[float],
    resampled_a: np.ndarray,
    resampled_b: np.ndarray,
    seed: int = 0,
) -> Difference:
    """The mean of b - a over seeds [S], with an interval of at least 95 %.

    resampled_a, resampled_b [S, R] are scores of R draws of pictures, column by column the same
    draw. Each resample also draws as many seeds as there are, with repeats, so that a claim is one
    about networks trained so. Draws of a few seeds vary too little: the interval is that of the
    resamples or Student's over the seeds, whichever is wider. Of one seed it is that of its one
    network.
    """
    differences = resampled_b - resampled_a
    seeds, resamples = differences.shape
    drawn = np.random.default_rng(seed).integers(0, seeds, (seeds, resamples))
    values = np.take_along_axis(differences, drawn, 0).mean(0)
    known = values[~np.isnan(values)]
    mean = float(np.subtract(b, a).mean())
    if not known.size:
        return Difference(mean, math.nan, math.nan)
    low, high = np.percentile(known, [2.5, 97.5])
    drawn_so, trained_so = Difference(mean, float(low), float(high)), over_seeds(a, b)
    return max(drawn_so, trained_so, key=_width)


def _width(difference: Difference) -> float:
    width = difference.high - difference.low
    return -math.inf if math.isnan(width) else width


def verdict(difference: Difference) -> str:
    """What may be said of a difference."""
    if math.isnan(difference.low):
        return "not claimable: no interval"
    if not difference.is_clear:
        return "not claimable: the interval contains zero"
    return "higher" if difference.mean > 0 else "lower"
