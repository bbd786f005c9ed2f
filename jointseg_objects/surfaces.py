"""At which depth an object is, of measurements some of which are of something else."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

_Array = np.ndarray[Any, Any]

_QUANTILES = 64
_REACH = 0.1, 0.5  # depths that go together at first: a tenth, and half a metre
_DOMINANT = 0.6  # of the most frequent depth: what is nearer and as frequent as this wins
_DEVIATIONS = 3.0  # a normal distribution's, from the median: what is farther off is left out
_LEAST_SPREAD = 0.01, 0.05  # of the depth, and metres: so far off is the same surface
_MAD = 1.4826  # median absolute deviations to standard deviations


class Surface(NamedTuple):
    """What is seen of N objects in depth, metres, float64 [N] each."""

    low: _Array  # from here
    high: _Array  # to there
    depth: _Array  # median
    spread: _Array  # twice the difference of quartiles: all of a surface that is evenly spread

    def holds(self, z: _Array) -> _Array:
        """Which depths [N, S] are of the object."""
        low, high = (end.astype(np.float32)[:, None] for end in (self.low, self.high))
        held: _Array = (z >= low) & (z <= high)
        return held


def dominant(z: _Array) -> Surface:
    """The surface that most of the measurements [N, S] of each object are of; 0 is none.

    From the most frequent depth, or one that is nearer and almost as frequent, as far as three
    standard deviations by quartiles reach, three times: so what is joined to it is taken along.
    """
    z = np.sort(np.where(z > 0, z, np.float32(np.inf)), 1)
    count = np.isfinite(z).sum(1)
    q = _at(z, count * 0, count, (np.arange(_QUANTILES) + 0.5) / _QUANTILES)
    reach = q * (1 + _REACH[0]) + _REACH[1]
    together = (q[:, None] <= reach[:, :, None]).sum(2) - np.arange(_QUANTILES)
    first = (together >= _DOMINANT * together.max(1, keepdims=True)).argmax(1)[:, None]
    low, high = (np.take_along_axis(v, first, 1)[:, 0] for v in (q, reach))
    quartiles = _quartiles(z, low, high)
    for _ in range(3):
        quarter, middle, three = quartiles
        far = _DEVIATIONS * _MAD * (three - quarter) / 2
        far = np.maximum(far, np.maximum(_LEAST_SPREAD[0] * middle, _LEAST_SPREAD[1]))
        low, high = middle - far, middle + far
        quartiles = _quartiles(z, low, high)
    quarter, middle, three = quartiles
    return Surface(low, high, middle, 2 * (three - quarter))


def _quartiles(z: _Array, low: _Array, high: _Array) -> _Array:
    """[3, N] of the sorted values z [N, S] from `low` to `high`."""
    low, high = (end.astype(np.float32)[:, None] for end in (low, high))
    ends = (z < low).sum(1), (z <= high).sum(1)
    return _at(z, *ends, np.array([0.25, 0.5, 0.75])).T


def _at(z: _Array, begin: _Array, end: _Array, shares: _Array) -> _Array:
    """Quantiles [N, Q] of the sorted values z [N, S] from place `begin` to `end`; 0 for none."""
    places = begin[:, None] + (shares * (end - begin)[:, None]).astype(np.int64)
    values = np.take_along_axis(z, np.minimum(places, z.shape[1] - 1), 1)
    return np.where(np.isfinite(values), values, 0).astype(np.float64)
