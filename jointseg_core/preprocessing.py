"""Camera images to the input of a network: fitted, padded, normalised."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
import torch
from torch import Tensor

from jointseg_core.errors import BadImage
from jointseg_core.letterbox import Letterbox
from jointseg_core.tensors import constants

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
_STEP = 32  # sides of an input are multiples of it: every pyramid level halves the one before
_MAX_PIXELS = 1 << 26
_MOST = 1e6  # of mean and deviation, in units of the pixels' values


def sides_fitted(size: tuple[int, int], short: float, long: float) -> tuple[int, int]:
    """A size (H, W) scaled until its shorter side is `short`, or its longer one `long`."""
    scale = min(short / min(size), long / max(size))
    height, width = (max(1, round(side * scale)) for side in size)
    return height, width


@dataclass(frozen=True)
class Preprocessing:
    """What a network expects of its input; stored with the weights.

    input_size  (height, width) in pixels, multiples of 32 unless images are stretched
    mean, std   of the RGB values 0..255
    keep_ratio  whether images keep their aspect ratio; else they fill the input (RDSNet_s)
    by_sides    input_size is instead the short side of every image, wide or tall, and the most of
                its long side; the input is just large enough (how detectors are tested on COCO)
    """

    input_size: tuple[int, int]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    keep_ratio: bool = True
    by_sides: bool = False

    def __post_init__(self) -> None:
        for name in ("input_size", "mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("keep_ratio", "by_sides"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r:.80}, expected true or false")
        kinds = ("input_size", 2, Integral), ("mean", 3, Real), ("std", 3, Real)
        for name, count, kind in kinds:
            values = getattr(self, name)
            sane = (isinstance(value, kind) and abs(float(value)) < _MOST for value in values)
            if len(values) != count or not all(sane):
                raise ValueError(f"{name} is {values!s:.80}, expected {count} numbers")
        if min(self.std) < 1 / _MOST:
            raise ValueError(f"std is {self.std}, expected numbers above 0")
        step = _STEP if self.keep_ratio and not self.by_sides else 1
        if any(side % step or side <= 0 for side in self.input_size):
            raise ValueError(f"input_size is {self.input_size}, expected multiples of {step}")
        if self.input_size[0] * self.input_size[1] > _MAX_PIXELS:
            raise ValueError(f"input_size is {self.input_size}, more than {_MAX_PIXELS} pixels")
        if self.by_sides and not (self.keep_ratio and self.input_size[0] <= self.input_size[1]):
            raise ValueError(
                f"input_size is {self.input_size}, expected the short side, then the long one, of "
                "images that keep their ratio"
            )

    def frame(self, image_size: tuple[int, int]) -> Letterbox:
        """How an image of (H, W) lies in the input."""
        if self.by_sides:
            return Letterbox(image_size, sides_fitted(image_size, *self.input_size), False)
        return Letterbox(image_size, self.input_size, self.keep_ratio)

    def size_of(self, frames: Sequence[Letterbox]) -> tuple[int, int]:
        """(height, width) of the input that images with these frames share."""
        if not self.by_sides:
            return self.input_size
        sides = zip(*(frame.content_size for frame in frames), strict=True)
        height, width = (_STEP * math.ceil(max(side) / _STEP) for side in sides)
        return height, width

    def batch(
        self,
        images: Sequence[np.ndarray],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> tuple[Tensor, list[Letterbox]]:
        """uint8 RGB images [H, W, 3] of any sizes as one input [B, 3, h, w], and their frames.

        Raises ValueError for an array of another shape or type.
        """
        frames = self.frames(images)
        arrays = [np.require(image, requirements=["C", "W"]) for image in images]
        pictures = [torch.from_numpy(array).to(device) for array in arrays]
        return self.inputs(pictures, frames, dtype), frames

    def frames(self, images: Sequence[np.ndarray]) -> list[Letterbox]:
        """How uint8 RGB images [H, W, 3] lie in the input. Raises ValueError for other arrays."""
        return [self.frame(_checked(image)) for image in images]

    def inputs(self, pictures: list[Tensor], frames: list[Letterbox], dtype: torch.dtype) -> Tensor:
        """uint8 RGB pictures [H, W, 3] on their device as one input [B, 3, h, w]."""
        shape, device = (len(pictures), *self.size_of(frames), 3), pictures[0].device
        inputs = torch.zeros(shape, device=device, dtype=dtype)
        for slot, picture, frame in zip(inputs, pictures, frames, strict=True):
            height, width = frame.content_size
            fitted = frame.fit(picture.permute(2, 0, 1))
            slot[:height, :width] = self.normalize(fitted).permute(1, 2, 0)
        return inputs.permute(0, 3, 1, 2)  # channels last

    def normalize(self, pixels: Tensor) -> Tensor:
        """RGB values 0..255 [3, h, w] with the mean removed, in units of the deviation."""
        rows = pixels.permute(1, 2, 0).flatten(1)  # [h, w * 3]: long rows, where 3 is a short one
        mean, std = (constants(v, rows, torch.float32) for v in (self.mean, self.std))
        width = pixels.shape[2]
        normal: Tensor = (rows - mean.repeat(width)).div_(std.repeat(width))
        return normal.view(-1, width, 3).permute(2, 0, 1)


def _checked(image: np.ndarray) -> tuple[int, int]:
    if not isinstance(image, np.ndarray):
        raise BadImage("encoding", f"image is a {type(image).__name__}, expected a NumPy array")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        found = f"{image.dtype} {list(image.shape)}"
        raise BadImage("encoding", f"image is {found}, expected uint8 [H, W, 3] RGB")
    height, width, _ = image.shape
    return height, width
