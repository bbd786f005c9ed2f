"""The part of a camera's pictures that the network sees, by the parameter `cameras.NAME.roi`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn.functional import pad

from jointseg_core.classes import UNLABELLED
from jointseg_core.errors import BadImage
from jointseg_core.predictions import Masks, Predictions

_OUTSIDE = {"semantic": UNLABELLED, "confidence": 0, "foreground": 0}


def problem(text: str) -> str:
    """Why the parameter is no region; empty if it is."""
    number = r"\s*\d+\s*"
    if not text.strip():
        return ""
    if re.fullmatch(",".join([number] * 4), text):
        region = Region.of(text)
        if region.width and region.height:
            return ""
    return "it is X,Y,WIDTH,HEIGHT in pixels, such as 0,200,1280,400"


@dataclass(frozen=True)
class Region:
    """A rectangle of a picture in pixels; of no width, all of it."""

    x: int = 0
    y: int = 0
    width: int = 0
    height: int = 0

    @classmethod
    def of(cls, text: str) -> Region:
        """As the parameter says it, where that has no `problem`."""
        return cls(*map(int, text.split(","))) if text.strip() else cls()

    def cut(self, image: np.ndarray) -> np.ndarray:
        """That part of a picture [H, W, 3]; BadImage where the region leaves it."""
        if not self.width:
            return image
        height, width = image.shape[:2]
        right, bottom = self.x + self.width, self.y + self.height
        if right > width or bottom > height:
            told = f"the region of interest ends at {right}x{bottom}, the picture at"
            raise BadImage("roi", f"{told} {width}x{height}; see cameras.NAME.roi")
        return image[self.y : bottom, self.x : right]

    def restored(self, found: Predictions, size: tuple[int, int]) -> Predictions:
        """What was found in that part, in the whole picture of this size (height, width).

        Outside there are no objects, and pixels have no class.
        """
        if not self.width:
            return found
        shift = torch.tensor([self.x, self.y] * 2)
        below, beside = size[0] - self.y - self.height, size[1] - self.x - self.width
        edges = self.x, beside, self.y, below
        planes = {name: getattr(found, name) for name in _OUTSIDE}
        return replace(
            found,
            image_size=size,
            boxes=found.boxes + shift,
            masks=found.masks and Masks(found.masks.windows + shift, found.masks.pixels),
            **{k: p if p is None else pad(p, edges, value=_OUTSIDE[k]) for k, p in planes.items()},
        )


EVERYTHING = Region()
