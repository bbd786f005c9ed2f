"""What scores come from as columns: arrays by name, which processes hand to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Columns = dict[str, np.ndarray]
MOST_WAITING = 1 << 19
"""So many rows are joined to the others, which takes little time as seldom as that."""


class ImageColumns:
    """What images add to a score, as columns that grow at their ends.

    The first column has a row for each image; others may have more, of which a column `image` tells
    the number of the image. New rows are joined to the others from time to time and column by
    column, so that an hour of video is at no time in memory twice.
    """

    def __init__(self, **empty: np.ndarray) -> None:
        self._whole, self._later = empty, list[Columns]()
        self._images = self._waiting = 0

    def __len__(self) -> int:
        """How many images there are."""
        return self._images

    def columns(self) -> Columns:
        """All that the scores come from, to be given to `extend` elsewhere."""
        if self._later:
            for name, values in self._whole.items():
                later = [part.pop(name) for part in self._later]
                self._whole[name] = np.concatenate([values, *later])
            self._later, self._waiting = [], 0
        return self._whole

    def extend(self, columns: Mapping[str, np.ndarray]) -> None:
        """The images of another one, behind those that are here."""
        more = {name: columns[name] for name in self._whole}
        if "image" in more:
            more["image"] = more["image"] + np.int32(self._images)
        self._later.append(more)
        self._images += len(more[next(iter(more))])
        self._waiting += max(map(len, more.values()))
        if self._waiting >= MOST_WAITING:
            self.columns()

    def total(self, name: str, images: Sequence[int] | None = None) -> np.ndarray:
        """The sum of a column over the images with these numbers, repeats allowed, or over all."""
        return np.tensordot(image_weights(images, len(self)), self.columns()[name], 1)


def image_weights(images: Sequence[int] | None, count: int) -> np.ndarray:
    """How often each of `count` images occurs in a list; once each without one."""
    if images is None:
        return np.ones(count)
    return np.bincount(np.asarray(images, np.int64), minlength=count).astype(float)


def as_one(parts: Mapping[str, Mapping[str, np.ndarray]]) -> Columns:
    """The columns of several parts, each called `part.column`."""
    return {f"{part}.{k}": v for part, columns in parts.items() for k, v in columns.items()}


def part_of(columns: Mapping[str, np.ndarray], part: str) -> Columns:
    """The columns of one part, as it calls them."""
    prefix = f"{part}."
    return {k.removeprefix(prefix): v for k, v in columns.items() if k.startswith(prefix)}


def mean(values: np.ndarray) -> float:
    """The mean of what is known, of any shape; NaN when nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def means(columns: Sequence[np.ndarray]) -> np.ndarray:
    """At each place [N] the mean of what is known in columns [N]; NaN where nothing is."""
    known = np.isfinite(columns)
    total = np.where(known, columns, 0).sum(0)
    return np.where(known.any(0), total / np.maximum(known.sum(0), 1), np.nan)
