"""The result type of every model: objects, their masks, and classes of pixels in one image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor


def check_shape(name: str, tensor: Tensor, *expected: int | None) -> None:
    """Raise ValueError unless the tensor has this shape; None stands for any length."""
    shape = tuple(tensor.shape)
    matches = len(shape) == len(expected) and all(
        e in (None, s) for s, e in zip(shape, expected, strict=True)
    )
    if not matches:
        wanted = ["?" if e is None else e for e in expected]
        raise ValueError(f"{name} is {list(shape)}, expected {wanted}")


@dataclass(frozen=True, eq=False)
class Masks:
    """N masks, each stored for its own window of the image; outside it is background.

    windows  [N, 4]  int64  x1, y1, x2, y2 in pixels, right and bottom exclusive
    pixels   [P]     bool   the windows' contents row by row, one window after the other
    """

    windows: Tensor
    pixels: Tensor

    def __post_init__(self) -> None:
        check_shape("windows", self.windows, None, 4)
        check_shape("pixels", self.pixels, int(self.areas.sum()))

    @classmethod
    def empty(cls, device: torch.device | str = "cpu") -> Masks:
        """No masks at all."""
        return cls(
            torch.zeros(0, 4, dtype=torch.int64, device=device),
            torch.zeros(0, dtype=torch.bool, device=device),
        )

    @classmethod
    def from_crops(cls, windows: Tensor, crops: list[Tensor]) -> Masks:
        """Windows [N, 4] and their contents, bool [h_i, w_i] each."""
        if not crops:
            return cls.empty(windows.device)
        return cls(windows, torch.cat([crop.reshape(-1) for crop in crops]))

    @classmethod
    def from_bitmaps(cls, bitmaps: Tensor) -> Masks:
        """Full-size masks, bool [N, H, W], cut to their tight windows."""
        if not len(bitmaps):
            return cls.empty(bitmaps.device)
        windows = torch.stack([_tight_window(bitmap) for bitmap in bitmaps])
        crops = [
            bitmap[y1:y2, x1:x2]
            for bitmap, (x1, y1, x2, y2) in zip(bitmaps, windows.tolist(), strict=True)
        ]
        return cls.from_crops(windows, crops)

    @property
    def areas(self) -> Tensor:
        """Pixels in each window [N]."""
        x1, y1, x2, y2 = self.windows.unbind(1)
        return (x2 - x1) * (y2 - y1)

    def __len__(self) -> int:
        return len(self.windows)

    def crop(self, index: int) -> Tensor:
        """The contents of one window, bool [h, w]."""
        x1, y1, x2, y2 = self.windows[index].tolist()
        start = int(self.areas[:index].sum())
        return self.pixels[start : start + (y2 - y1) * (x2 - x1)].view(y2 - y1, x2 - x1)

    def crops(self) -> list[Tensor]:
        """The contents of all windows, bool [h_i, w_i] each."""
        pieces = torch.split(self.pixels, self.areas.tolist())
        return [
            piece.view(y2 - y1, x2 - x1)
            for piece, (x1, y1, x2, y2) in zip(pieces, self.windows.tolist(), strict=True)
        ]

    def __getitem__(self, keep: Tensor | slice) -> Masks:
        """The masks chosen by a slice, a boolean mask or indices."""
        order = torch.arange(len(self), device=self.windows.device)[keep]
        if order.ndim != 1:
            raise IndexError("index masks by a slice, a boolean mask or a list of indices")
        crops = self.crops()
        return Masks.from_crops(self.windows[order], [crops[i] for i in order.tolist()])

    def bitmaps(self, size: tuple[int, int]) -> Tensor:
        """Full-size masks, bool [N, H, W], for an image of this size."""
        bitmaps = torch.zeros(len(self), *size, dtype=torch.bool, device=self.pixels.device)
        for bitmap, (x1, y1, x2, y2), crop in zip(
            bitmaps, self.windows.tolist(), self.crops(), strict=True
        ):
            bitmap[y1:y2, x1:x2] = crop
        return bitmaps

    def to(self, device: torch.device | str) -> Masks:
        """The same masks on another device."""
        return Masks(self.windows.to(device), self.pixels.to(device))


def _tight_window(bitmap: Tensor) -> Tensor:
    """The smallest window [4] with every set pixel of a mask [H, W]; 0 for an empty one."""
    rows, columns = bitmap.any(1).nonzero().flatten(), bitmap.any(0).nonzero().flatten()
    if not len(rows):
        return torch.zeros(4, dtype=torch.int64, device=bitmap.device)
    return torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


class Segment(NamedTuple):
    """An object or a class of stuff: the pixels of one value of `Panoptic.ids`."""

    id: int  # that value
    label: int  # class of the pixels
    is_thing: bool
    score: float  # of the object; of stuff the mean confidence of its pixels
    area: int  # pixels
    object: int  # its place among the objects of the `Predictions`, -1 for stuff


@dataclass(frozen=True, eq=False)
class Panoptic:
    """The segment of every pixel of an image.

    ids       [H, W]  int32   256 * class + number: number 0 for stuff, from 1 on for objects of a
                              class, the most certain first; `panoptic.VOID` where nobody is sure
    segments  objects, best first, then stuff by class
    """

    ids: Tensor
    segments: tuple[Segment, ...]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Objects and classes of pixels in one image of H x W pixels; objects are sorted, best first.

    image_size  (H, W)
    boxes       [N, 4]  float   x1, y1, x2, y2 in pixels, right and bottom exclusive
    scores      [N]     float   0..1
    labels      [N]     int64   0..K-1; background has no label
    masks       Masks           pixels of each object             (RDSNet and joint, else None)
    semantic    [H, W]  uint8   class of every pixel              (SegRPN and joint, else None)
    confidence  [H, W]  float   probability of that class         (SegRPN and joint, else None)
    foreground  [H, W]  bool    pixels of any thing               (SegRPN and joint, else None)
    fusion      `panoptic.PanopticFusion`: how these become one picture (joint, else None)
    """

    image_size: tuple[int, int]
    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Masks | None = None
    semantic: Tensor | None = None
    confidence: Tensor | None = None
    foreground: Tensor | None = None
    fusion: Callable[[Predictions], Panoptic] | None = None

    def __post_init__(self) -> None:
        count = len(self.scores)
        check_shape("boxes", self.boxes, count, 4)
        check_shape("scores", self.scores, count)
        check_shape("labels", self.labels, count)
        if self.masks is not None and len(self.masks) != count:
            raise ValueError(f"masks are {len(self.masks)}, expected {count}")
        for name in ("semantic", "confidence", "foreground"):
            if (plane := getattr(self, name)) is not None:
                check_shape(name, plane, *self.image_size)

    @classmethod
    def empty(cls, image_size: tuple[int, int]) -> Predictions:
        """No objects in an image of this size, and no maps."""
        none = torch.zeros(0)
        return cls(image_size, none.view(0, 4), none, none.long(), Masks.empty())

    @cached_property
    def panoptic(self) -> Panoptic | None:
        """The segment of every pixel, computed when first asked for; None without a fusion."""
        return None if self.fusion is None else self.fusion(self)

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, keep: Tensor | slice) -> Predictions:
        """The objects chosen by a slice, a boolean mask or indices; per-pixel results stay."""
        return replace(
            self,
            boxes=self.boxes[keep],
            scores=self.scores[keep],
            labels=self.labels[keep],
            masks=None if self.masks is None else self.masks[keep],
        )

    def to(self, device: torch.device | str) -> Predictions:
        """The same predictions on another device."""
        moved = {
            field.name: value.to(device)
            for field in fields(self)
            if hasattr(value := getattr(self, field.name), "to")
        }
        return replace(self, **moved)
