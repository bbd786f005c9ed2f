"""Endless augmented batches: the same whatever the number of workers and ranks, from any start."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from jointseg_core import Target
from jointseg_core.errors import BadDataset, BadInput
from jointseg_eval.datasets.pictures import Size
from jointseg_eval.datasets.sample import Samples
from jointseg_eval.datasets.workers import At, in_order
from training.loading.augmentation import Augmentation, padded

WINDOW = 64  # batches among which pictures are sorted by their shape

Batch = tuple[Tensor, list[Target], list[str]]


def batches(
    samples: Samples,
    augmentation: Augmentation,
    batch_size: int,
    seed: int,
    workers: int,
    rank: int = 0,
    world: int = 1,
    start: int = 0,
    multiple: int = 32,
) -> Iterator[Batch]:
    """Images uint8 [b, 3, H, W], their annotations with seeds, and their names, endlessly.

    Args:
        batch_size: pictures of a global batch; rank r of `world` gets its rows r, r + world, ...
        seed: what order and augmentation depend on, beside the visit and the picture.
        workers: processes that load ahead; 0 loads here.
        start: global batches to leave out, which are not decoded: those before an interruption.
        multiple: images are padded to the right and below to multiples of this, and to the size
            of the largest of their global batch.

    Wide and tall pictures come in batches of their own as far as possible. Raises BadInput for a
    picture that cannot be read and for a worker that dies, naming the picture.
    """
    if not 0 <= rank < world <= batch_size:
        raise ValueError(f"rank {rank} of {world} shares batches of {batch_size} pictures")
    if not len(samples):
        raise BadDataset(f"{samples.name} has no picture to train on.")
    maker = _Maker(samples, augmentation, Order(samples, batch_size, seed), rank, world, multiple)
    numbers = itertools.count(start)
    for images, targets, names in in_order(maker, numbers, workers, samples.sample_name):
        yield images, [_with_semantic(target, torch.int64) for target in targets], names


class Order:
    """Which pictures at which of their visits form a batch; every visit is of all pictures."""

    def __init__(self, samples: Samples, batch_size: int, seed: int) -> None:
        self.count, self.batch_size, self.seed = len(samples), batch_size, seed
        sizes = np.array([samples.image_size(index) for index in range(self.count)])
        self.tall = sizes[:, 0] > sizes[:, 1]
        self.window = max(1, min(WINDOW, self.count // batch_size))
        self._arranged = lru_cache(2)(self._arrange)
        self._permutation = lru_cache(2)(self._permute)

    def __call__(self, number: int) -> list[tuple[int, int]]:
        """(visit, picture) of each row of a batch."""
        window, place = divmod(number, self.window)
        return [(int(visit), int(index)) for visit, index in self._arranged(window)[place]]

    def draws(self, visit: int, index: int) -> tuple[int, int]:
        """Seeds of a picture's augmentation, and of its samples in the losses, at a visit."""
        state = np.random.SeedSequence((self.seed, visit, index)).generate_state(2, np.uint64)
        return int(state[0] >> 1), int(state[1] >> 1)

    def _arrange(self, window: int) -> np.ndarray:
        """[batches, rows, 2] of the window: tall pictures after wide ones, batches shuffled."""
        length = self.window * self.batch_size
        visits, places = np.divmod(np.arange(window * length, (window + 1) * length), self.count)
        pictures = np.concatenate(
            [self._permutation(v)[places[visits == v]] for v in np.unique(visits).tolist()]
        )
        by_shape = np.argsort(self.tall[pictures], kind="stable")
        pairs = np.stack([visits, pictures], 1)[by_shape].reshape(self.window, self.batch_size, 2)
        return pairs[np.random.default_rng((self.seed, window, 1)).permutation(self.window)]

    def _permute(self, visit: int) -> np.ndarray:
        return np.random.default_rng((self.seed, visit)).permutation(self.count)


@dataclass
class _Maker:
    """Makes this rank's part of a global batch from its number."""

    samples: Samples
    augmentation: Augmentation
    order: Order
    rank: int
    world: int
    multiple: int

    def __call__(self, number: int, at: At) -> Batch:
        rows = self.order(number)
        size = self._common_size(rows)
        made = [self._row(visit, index, size, at) for visit, index in rows[self.rank :: self.world]]
        images, targets, names = (list(column) for column in zip(*made, strict=True))
        small = [_with_semantic(target, torch.uint8) for target in targets]  # to hand over
        return torch.stack(images), small, names

    def _row(self, visit: int, index: int, size: Size, at: At) -> tuple[Tensor, Target, str]:
        at(index)
        seed, target_seed = self.order.draws(visit, index)
        try:
            sample = self.samples[index]
            image, target = self.augmentation(sample, torch.Generator().manual_seed(seed))
            image, target = padded(image, target, size)
        except (BadInput, MemoryError):
            raise
        except Exception as error:
            name = self.samples.sample_name(index)
            raise RuntimeError(f"{name} of {self.samples.name} cannot be prepared") from error
        return image, replace(target, seed=target_seed), sample.name

    def _common_size(self, rows: list[tuple[int, int]]) -> Size:
        """Of the whole global batch, which other ranks have parts of."""
        sizes = [
            self.augmentation.output_size(
                self.samples.image_size(index),
                torch.Generator().manual_seed(self.order.draws(visit, index)[0]),
            )
            for visit, index in rows
        ]
        height, width = (
            math.ceil(max(sides) / self.multiple) * self.multiple
            for sides in zip(*sizes, strict=True)
        )
        return height, width


def _with_semantic(target: Target, dtype: torch.dtype) -> Target:
    """The same annotation with the classes of pixels in another type."""
    if target.semantic is None:
        return target
    return replace(target, semantic=target.semantic.to(dtype))
