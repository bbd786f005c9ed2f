"""What every data set gives: a picture with its annotation, as it is on disk."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Protocol

import numpy as np
from torch import Tensor

from jointseg_core import Classes, Target


@dataclass(frozen=True, eq=False)
class Sample:
    """A picture of H x W pixels and what is in it.

    name      what messages and reports call it: the path of the picture below the data set
    image_id  COCO's id; the position in the data set where a format has none
    image     uint8 [H, W, 3] RGB
    target    in pixels of this picture, objects as they were annotated
    areas     [N] float, pixels of each object as annotated; None: count those of its mask
    void      bool [H, W], where Cityscapes excuses what is found; None: where no class is annotated
    distances [N] float, metres from the camera to each object; NaN or None where not known
    """

    name: str
    image_id: int
    image: np.ndarray
    target: Target
    areas: Tensor | None = None
    void: np.ndarray | None = None
    distances: Tensor | None = None


class Samples(Protocol):
    """A map-style `torch.utils.data.Dataset` of pictures without augmentation."""

    classes: Classes
    name: str  # what messages call the set: "cityscapes val at PATH (500 pictures)"

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample:
        """Raises BadInput, naming the file, for what cannot be decoded."""

    def image_size(self, index: int) -> tuple[int, int]:
        """(height, width), without decoding the picture."""

    def has_objects(self, index: int) -> bool:
        """Whether there is an object that is not a crowd."""

    def sample_name(self, index: int) -> str:
        """`Sample.name`, without decoding the picture."""

    def identity(self) -> str:
        """Another one for every other data set, and for the same one after a file has changed."""


class Changed:
    """The pictures of a data set, of which a subclass changes what `__getitem__` gives."""

    def __init__(self, samples: Samples) -> None:
        self.samples, self.classes, self.name = samples, samples.classes, samples.name

    def __len__(self) -> int:
        return len(self.samples)

    def image_size(self, index: int) -> tuple[int, int]:
        return self.samples.image_size(index)

    def has_objects(self, index: int) -> bool:
        return self.samples.has_objects(index)

    def sample_name(self, index: int) -> str:
        return self.samples.sample_name(index)

    def identity(self) -> str:
        return self.samples.identity()


class Subset:
    """Some pictures of a data set, in a given order; they may repeat."""

    def __init__(self, samples: Samples, indices: Sequence[int]) -> None:
        self.samples = samples
        self.indices = np.array(indices, np.int64)
        self.classes = samples.classes
        self.name = f"{len(self.indices)} pictures of {samples.name}"

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[int(self.indices[index])]

    def image_size(self, index: int) -> tuple[int, int]:
        return self.samples.image_size(int(self.indices[index]))

    def has_objects(self, index: int) -> bool:
        return self.samples.has_objects(int(self.indices[index]))

    def sample_name(self, index: int) -> str:
        return self.samples.sample_name(int(self.indices[index]))

    def identity(self) -> str:
        return hashlib.sha256(self.samples.identity().encode() + self.indices.tobytes()).hexdigest()


class Joined:
    """Several data sets of the same classes as one, in their order; `image_id` is the position."""

    def __init__(self, parts: Sequence[Samples]) -> None:
        first, *others = parts
        if any(part.classes != first.classes for part in others):
            raise ValueError("data sets of several kinds of classes are not one")
        self.parts, self.classes = parts, first.classes
        self.name = " and ".join(part.name for part in parts)
        self._starts = [0, *accumulate(len(part) for part in parts)]

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> Sample:
        part, place = self._place(index)
        return replace(part[place], image_id=index)

    def image_size(self, index: int) -> tuple[int, int]:
        part, place = self._place(index)
        return part.image_size(place)

    def has_objects(self, index: int) -> bool:
        part, place = self._place(index)
        return part.has_objects(place)

    def sample_name(self, index: int) -> str:
        part, place = self._place(index)
        return part.sample_name(place)

    def identity(self) -> str:
        parts = "".join(part.identity() for part in self.parts)
        return hashlib.sha256(parts.encode()).hexdigest()

    def _place(self, index: int) -> tuple[Samples, int]:
        number = bisect_right(self._starts, index) - 1
        return self.parts[number], index - self._starts[number]
