"""Where each network pixel lies in the camera image, and boxes and maps there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


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

    @property
    def content(self) -> Letterbox:
        """The image as the network sees it: maps and boxes there, in network pixels."""
        return Letterbox(self.content_size, self.content_size)

    def fit(self, image: Tensor) -> Tensor:
        """uint8 [3, H, W] resized to the content [3, h', w'] with anti-aliasing."""
        if tuple(image.shape[-2:]) == self.content_size:
            return image
        # torch resizes uint8 with anti-aliasing on CPUs alone; the rounding is the same
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

        Values are those at pixel centres; a map's cell covers stride x stride network pixels. Work
        grows with the windows, not with the image.
        """
        (upper, lower, below), (left, right, beside) = self.neighbours(maps, stride)
        lefts, rights = left.tolist(), right.tolist()
        crops = []
        for one, (x1, y1, x2, y2) in zip(maps, windows.tolist(), strict=True):
            first, end = (lefts[x1], rights[x2 - 1] + 1) if x2 > x1 else (0, 0)
            cells = one[:, first:end]  # only the columns that the window shows
            over, under = (cells.index_select(0, i[y1:y2]) for i in (upper, lower))
            rows = torch.lerp(over, under, below[y1:y2, None])
            here, there = (rows.index_select(1, i[x1:x2] - first) for i in (left, right))
            crops.append(torch.lerp(here, there, beside[x1:x2]))
        return crops

    def neighbours(self, maps: Tensor, stride: int) -> tuple[Neighbours, Neighbours]:
        """Between which cells of maps [..., h, w] each row [H] and column [W] of the image lies."""
        sizes = zip(self.image_size, self.scale, maps.shape[-2:], strict=True)
        rows, columns = (_neighbours(n, s / stride, cells, maps) for n, s, cells in sizes)
        return rows, columns

    def resize(self, maps: Tensor, stride: int) -> Tensor:
        """Bilinear values [C, H, W] of maps [C, h, w] at the centres of all camera pixels."""
        height, width = self.image_size
        # cells of the content and one beyond, so that padding costs nothing
        cells = [
            min(n, math.ceil(c / stride) + 1)
            for n, c in zip(maps.shape[-2:], self.content_size, strict=True)
        ]
        factors = tuple(stride / scale for scale in self.scale)
        shown = maps[None, :, : cells[0], : cells[1]].clone(memory_format=torch.channels_last)
        resized = F.interpolate(shown, scale_factor=factors, mode="bilinear")[0, :, :height, :width]
        # where the map ends within the last cell, its edge is repeated
        missing = (0, width - resized.shape[-1], 0, height - resized.shape[-2])
        return F.pad(resized[None], missing, mode="replicate")[0] if any(missing) else resized


def _neighbours(length: int, cells_per_pixel: float, cells: int, like: Tensor) -> Neighbours:
    centers = torch.arange(length, device=like.device, dtype=like.dtype) + 0.5
    position = (centers * cells_per_pixel - 0.5).clamp(0, cells - 1)
    before = position.long()
    return Neighbours(before, (before + 1).clamp(max=cells - 1), position - before)
