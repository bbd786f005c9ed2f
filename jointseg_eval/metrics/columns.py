"""What scores come from as columns: arrays by name, which processes hand to each other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Columns = dict[str, np.ndarray]
MOST_WAITING = 1 << 19
"""So many rows are joined to the others, which takes little time as seldom as that."""


class Growing:
    """Columns that grow at their ends; the first of them tells how many rows wait.

    New rows are joined to the others from time to time and column by column, so that an hour of
    video is at no time in memory twice.
    """

    def __init__(self, **columns: np.ndarray) -> None:
        self._whole, self._later, self._waiting = columns, list[Columns](), 0

    def extend(self, columns: Mapping[str, np.ndarray]) -> None:
        """More rows of every column."""
        self._later.append({name: columns[name] for name in self._whole})
        self._waiting += len(columns[next(iter(self._whole))])
        if self._waiting >= MOST_WAITING:
            self.columns()

    def columns(self) -> Columns:
        """All columns by name."""
        if self._later:
            for name, values in self._whole.items():
                later = [part.pop(name) for part in self._later]
                self._whole[name] = np.concatenate([values, *later])
            self._later, self._waiting = [], 0
        return self._whole
