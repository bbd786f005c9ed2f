"""`cuda.rdsnet._crop_masks` as one Triton kernel: work for what windows hold, not for all space."""

# Triton reads annotations of kernels in its own way
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from jointseg_core.correlation import MASK_STRIDE
from jointseg_core.letterbox import Letterbox

_ROWS, _COLUMNS = 8, 128  # camera pixels that a program works on at once, in one window


@triton.jit
def _lerp(a, b, share):  # rounds as torch.lerp does
    return tl.where(share < 0.5, a + share * (b - a), b - (b - a) * (1 - share))


@triton.jit
def _crop(
    logits, windows, starts, threshold, upper, lower, below, left, right, beside,
    pixels, columns, rows, map_height, map_width, height, width, capacity,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    # a program for each window and each ROWS of its rows; it goes along them COLUMNS at a time
    owner = tl.program_id(0)
    x1, y1 = tl.load(windows + owner * 4), tl.load(windows + owner * 4 + 1)
    x2, y2 = tl.load(windows + owner * 4 + 2), tl.load(windows + owner * 4 + 3)
    first = tl.program_id(1) * ROWS
    if (first < y2 - y1) & (x2 > x1):
        limit, start = tl.load(threshold), tl.load(starts + owner)
        y = y1 + first + tl.arange(0, ROWS)
        shown = y < y2
        base = owner.to(tl.int64) * map_height * map_width
        over = base + tl.load(upper + y, shown, 0) * map_width
        under = base + tl.load(lower + y, shown, 0) * map_width
        share = tl.load(below + y, shown, 0.0)[:, None]
        best = tl.full((ROWS,), float("-inf"), tl.float32)
        for offset in range(0, x2 - x1, COLUMNS):
            x = x1 + offset + tl.arange(0, COLUMNS)
            seen = x < x2
            both = shown[:, None] & seen[None, :]
            here = tl.load(left + x, seen, 0)[None, :]
            there = tl.load(right + x, seen, 0)[None, :]
            at_left = _lerp(
                tl.load(logits + over[:, None] + here, both, 0.0),
                tl.load(logits + under[:, None] + here, both, 0.0),
                share,
            )
            at_right = _lerp(
                tl.load(logits + over[:, None] + there, both, 0.0),
                tl.load(logits + under[:, None] + there, both, 0.0),
                share,
            )
            values = _lerp(at_left, at_right, tl.load(beside + x, seen, 0.0)[None, :])
            # pixels lie one window after the other, row by row
            place = start + (y - y1)[:, None] * (x2 - x1) + (x - x1)[None, :]
            bits = (values > limit).to(tl.int8)
            tl.store(pixels + place, bits, both & (place < capacity))
            values = tl.where(both, values, float("-inf"))
            # profiles: a row belongs to this program, a column to all programs of the window
            best = tl.maximum(best, tl.max(values, 1))
            tl.atomic_max(columns + owner * width + x, tl.max(values, 0), seen)
        tl.store(rows + owner * height + y, best, shown)


def crop_masks(
    logits: Tensor, windows: Tensor, frame: Letterbox, threshold: Tensor, capacity: int
) -> tuple[Tensor, Tensor, Tensor]:
    """What `cuda.rdsnet._crop_masks` gives; profiles are complete also where pixels do not fit."""
    (height, width), count = frame.image_size, len(windows)
    sizes = (windows[:, 2] - windows[:, 0]) * (windows[:, 3] - windows[:, 1])
    starts = sizes.cumsum(0) - sizes
    pixels = torch.zeros(capacity, dtype=torch.int8, device=logits.device)
    columns, rows = (logits.new_full((count, n), float("-inf")) for n in (width, height))
    tables = [
        table.contiguous() for side in frame.neighbours(logits, MASK_STRIDE) for table in side
    ]
    _crop[(count, triton.cdiv(height, _ROWS))](
        logits.contiguous(), windows.contiguous(), starts, threshold, *tables,
        pixels, columns, rows, *logits.shape[1:], height, width, capacity, _ROWS, _COLUMNS,
    )  # fmt: skip
    return pixels.view(torch.bool), columns, rows
