"""What every data set gives: a picture with its annotation, as it is on disk."""

from __future__ import annotations

from dataclasses import dataclass
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
    """

    name: str
    image_id: int
    image: np.ndarray
    target: Target
    areas: Tensor | None = None


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
