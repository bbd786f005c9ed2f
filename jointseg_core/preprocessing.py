"""Camera image to network input, and where each network pixel lies in the camera image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jointseg_core.errors import BadImage
from jointseg_core.tensors import constants

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)

STEP = 32
MAX_PIXELS = 1 << 26
"""Sides of an input are multiples of this, so that every pyramid level halves the one before."""


class Neighbours(NamedTuple):
    """The two cells around each of n pixel centres along one side, and the latter's share."""

    before: Tensor  # [n]
    after: Tensor  # [n]
    share: Tensor  # [n]

    def at(self, points: Tensor) -> Neighbours:
        """Those of some of the n points, or of some more than once."""
        return Neighbours(*(values.index_select(0, points) for values in self))


@dataclass(frozen=True)
class Letterbox:
    """How a camera image of (H, W) fills the top left of a network input of (h, w) pixels.

    The aspect ratio is kept to the pixel; what remains right or below is padding. With
    keep_ratio=False the image is stretched over the whole input.
    """

    image_size: tuple[int, int]
    input_size: tuple[int, int]
    keep_ratio: bool = True

    @property
    def content_size(self) -> tuple[int, int]:
        """Pixels (height, width) of the network input that show the image."""
        if not self.keep_ratio:
            return self.input_size
        scale = min(n / i for n, i in zip(self.input_size, self.image_size, strict=True))
        height, width = (
            min(n, max(1, round(i * scale)))
            for n, i in zip(self.input_size, self.image_size, strict=True)
        )
        return height, width

    @property
    def scale(self) -> tuple[float, float]:
        """Network pixels per camera pixel, (vertical, horizontal)."""
        height, width = self.content_size
        return height / self.image_size[0], width / self.image_size[1]

    def fit(self, image: Tensor) -> Tensor:
        """uint8 [3, H, W] resized to the content [3, h', w'] with anti-aliasing."""
        if tuple(image.shape[-2:]) == self.content_size:
            return image
        source = image[None] if image.device.type == "cpu" else image[None].float()
        fitted = F.interpolate(source, self.content_size, mode="bilinear", antialias=True)[0]
        return fitted if fitted.dtype == torch.uint8 else fitted.round().clamp(0, 255).byte()

    def to_image(self, boxes: Tensor) -> Tensor:
        """Boxes [N, 4] of the network input in camera pixels, clipped to the image."""
        vertical, horizontal = self.scale
        height, width = self.image_size
        x = (boxes[..., 0::2] / horizontal).clamp(0, width)
        y = (boxes[..., 1::2] / vertical).clamp(0, height)
        return torch.stack([x, y], -1).flatten(-2)

    def sample(self, maps: Tensor, stride: int, windows: Tensor) -> list[Tensor]:
        """Bilinear values [h_i, w_i] of maps [N, h, w] inside windows [N, 4] of camera pixels.

        A map's cell covers stride x stride network pixels; values are those at pixel centres.
        """
        (upper, lower, below), (left, right, beside) = self.neighbours(maps, stride)
        lefts, rights = left.tolist(), right.tolist()
        crops = []
        for one, (x1, y1, x2, y2) in zip(maps, windows.tolist(), strict=True):
            first, end = (lefts[x1], rights[x2 - 1] + 1) if x2 > x1 else (0, 0)
            cells = one[:, first:end]  # only the columns that the window shows
            pair = (cells.index_select(0, i[y1:y2]) for i in (upper, lower))
            rows = torch.lerp(*pair, below[y1:y2, None])
            pair = (rows.index_select(1, i[x1:x2] - first) for i in (left, right))
            crops.append(torch.lerp(*pair, beside[x1:x2]))
        return crops

    def neighbours(self, maps: Tensor, stride: int) -> tuple[Neighbours, Neighbours]:
        """Between which cells of maps [..., h, w] each row [H] and column [W] of the image lies."""
        sizes = zip(self.image_size, self.scale, maps.shape[-2:], strict=True)
        rows, columns = (_neighbours(n, s / stride, cells, maps) for n, s, cells in sizes)
        return rows, columns

    def resize(self, maps: Tensor, stride: int) -> Tensor:
        """Bilinear values [C, H, W] of maps [C, h, w] at the centres of all camera pixels."""
        height, width = self.image_size
        cells = [
            min(n, math.ceil(c / stride) + 1)
            for n, c in zip(maps.shape[-2:], self.content_size, strict=True)
        ]
        factors = tuple(stride / scale for scale in self.scale)
        shown = maps[None, :, : cells[0], : cells[1]].clone(memory_format=torch.channels_last)
        resized = F.interpolate(shown, scale_factor=factors, mode="bilinear")[0, :, :height, :width]
        missing = (0, width - resized.shape[-1], 0, height - resized.shape[-2])
        return F.pad(resized[None], missing, mode="replicate")[0] if any(missing) else resized


def _neighbours(length: int, cells_per_pixel: float, cells: int, like: Tensor) -> Neighbours:
    centers = torch.arange(length, device=like.device, dtype=like.dtype) + 0.5
    position = (centers * cells_per_pixel - 0.5).clamp(0, cells - 1)
    before = position.long()
    return Neighbours(before, (before + 1).clamp(max=cells - 1), position - before)


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
        step = STEP if self.keep_ratio and not self.by_sides else 1
        if any(side % step or side <= 0 for side in self.input_size):
            raise ValueError(f"input_size is {self.input_size}, expected multiples of {step}")
        if self.input_size[0] * self.input_size[1] > MAX_PIXELS:
            raise ValueError(f"input_size is {self.input_size}, more than {MAX_PIXELS} pixels")
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
        height, width = (STEP * math.ceil(max(side) / STEP) for side in sides)
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
        arrays = [np.require(image, requirements="CW") for image in images]
        pictures = [torch.from_numpy(array).to(device) for array in arrays]
        return self.inputs(pictures, frames, dtype), frames

    def frames(self, images: Sequence[np.ndarray]) -> list[Letterbox]:
        """How uint8 RGB images [H, W, 3] lie in the input. Raises ValueError for other arrays."""
        return [self.frame(_checked(image)) for image in images]

    def inputs(self, pictures: list[Tensor], frames: list[Letterbox], dtype: torch.dtype) -> Tensor:
        """uint8 RGB pictures [H, W, 3] on their device as one input [B, 3, h, w]."""
        shape, device = (len(pictures), 3, *self.size_of(frames)), pictures[0].device
        inputs = torch.zeros(shape, device=device, dtype=dtype)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        for slot, picture, frame in zip(inputs, pictures, frames, strict=True):
            height, width = frame.content_size
            fitted = frame.fit(picture.permute(2, 0, 1))
            slot[:, :height, :width] = self.normalize(fitted)
        return inputs

    def normalize(self, pixels: Tensor) -> Tensor:
        """RGB values 0..255 [3, h, w] with the mean removed, in units of the deviation."""
        rows = pixels.permute(1, 2, 0).flatten(1)  # [h, w * 3]: long rows, where 3 is a short one
        mean, std = (constants(v, rows, torch.float32) for v in (self.mean, self.std))
        width = pixels.shape[2]
        normal = (rows - mean.repeat(width)) / std.repeat(width)
        return normal.unflatten(1, (width, 3)).permute(2, 0, 1)


def _checked(image: np.ndarray) -> tuple[int, int]:
    if not isinstance(image, np.ndarray):
        raise BadImage("encoding", f"image is a {type(image).__name__}, expected a NumPy array")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        found = f"{image.dtype} {list(image.shape)}"
        raise BadImage("encoding", f"image is {found}, expected uint8 [H, W, 3] RGB")
    return image.shape[:2]
