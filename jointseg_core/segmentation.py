"""SegRPN's two segmentation branches: the class of every pixel, and things against stuff.

The paper says what the branches are for and that they are convolutions "on top of the FPN in a
multiscale fashion"; their towers are those of UPSNet's and PanopticFPN's semantic heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jointseg_core.classes import UNLABELLED
from jointseg_core.layers import tower
from jointseg_core.letterbox import Letterbox, Neighbours
from jointseg_core.targets import Target
from jointseg_core.tensors import constants

MAP_STRIDE = 4
"""Network pixels per cell of the semantic and the background map."""


class Segmentation(nn.Module):
    """Semantic and class-agnostic branch: two convolutions per level, summed at stride 4.

    class_agnostic=False leaves the second branch out: the baseline of the paper's Table I.
    """

    def __init__(
        self,
        channels: int,
        branch_channels: int,
        groups: int,
        num_classes: int,
        class_agnostic: bool = True,
    ) -> None:
        super().__init__()
        self.semantic = nn.ModuleList(
            [tower(channels, branch_channels, 2, groups) for _ in range(4)]
        )
        self.agnostic = nn.ModuleList(
            [tower(channels, branch_channels, 2, groups) for _ in range(5 * class_agnostic)]
        )
        self.classes = nn.Conv2d((1 + class_agnostic) * branch_channels, num_classes, 1)
        self.background = nn.Conv2d(branch_channels, 1, 1) if class_agnostic else None

    def forward(self, levels: list[Tensor]) -> tuple[list[Tensor], Tensor, Tensor]:
        """P2..P6 to class-agnostic features A_2..A_6, class logits and background logits in fp32.

        The class-agnostic sum is concatenated to the semantic one before classification. Without
        that branch there are no A and no background logits, [B, 0, h, w].
        """
        semantic = [branch(level) for branch, level in zip(self.semantic, levels[:4], strict=True)]
        if self.background is None:
            logits = _projected_sum(semantic, self.classes.weight, self.classes.bias)
            return [], logits, logits[:, :0]
        agnostic = [branch(level) for branch, level in zip(self.agnostic, levels, strict=True)]
        # the class-agnostic sum has two readers, the classes and its own logit: one convolution
        of_semantic, of_agnostic = self.classes.weight.chunk(2, 1)
        both = torch.cat([of_agnostic, self.background.weight])
        bias = torch.cat([layer.get_parameter("bias") for layer in (self.classes, self.background)])
        logits = _projected_sum(agnostic, both, bias)
        classes, background = logits[:, :-1], logits[:, -1:]
        return agnostic, classes + _projected_sum(semantic, of_semantic), background


def _projected_sum(levels: list[Tensor], weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The 1x1 convolution of the sum of the levels at the finest one's size, in fp32.

    It commutes with sums and bilinear resizes: projected first, far fewer channels are enlarged.
    """
    total = _sum_at_finest([F.conv2d(level, weight).float() for level in levels])
    return total if bias is None else total + bias.float()[:, None, None]


def _sum_at_finest(levels: list[Tensor]) -> Tensor:
    """Maps [B, C, h, w], enlarged bilinearly to the first one's size and added."""
    size = levels[0].shape[-2:]
    return levels[0] + reduce(torch.add, [_enlarge(level, size) for level in levels[1:]])


def _enlarge(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear resize of [B, C, h, w]; channels last is several times faster on a CPU."""
    if x.shape[-2:] == tuple(size):
        return x
    return F.interpolate(
        x.contiguous(memory_format=torch.channels_last), size=list(size), mode="bilinear"
    )


def _class_map(logits: Tensor, frame: Letterbox) -> Tensor:
    """The class with the highest bilinear logit at every camera pixel, uint8 [H, W].

    logits [K, h, w] at MAP_STRIDE. Interpolation averages: where all cells around a pixel agree,
    so does the pixel. Logits are interpolated along the borders between classes alone.
    """
    rows, columns = frame.neighbours(logits, MAP_STRIDE)
    cells = logits.max(0).indices.to(torch.uint8)  # faster than argmax on a CPU
    classes, mixed = (
        m.index_select(1, columns.before).index_select(0, rows.before)
        for m in (cells, _differs_from_next(cells))
    )
    y, x = mixed.nonzero(as_tuple=True)  # pixels between cells of different classes
    values = _sample_cells(logits, rows.at(y), columns.at(x))
    classes[y, x] = values.max(1).indices.to(torch.uint8)
    return classes


def _differs_from_next(cells: Tensor) -> Tensor:
    """Whether a cell and those right, below and right below it are not all the same, [h, w]."""
    below = torch.cat([cells[1:], cells[-1:]])
    right, corner = (torch.cat([m[:, 1:], m[:, -1:]], 1) for m in (cells, below))
    return (cells != below) | (cells != right) | (cells != corner)


def _sample_cells(maps: Tensor, rows: Neighbours, columns: Neighbours) -> Tensor:
    """Bilinear values [n, K] of maps [K, h, w] at n points, each between two rows and columns."""
    width = maps.shape[2]
    cells = torch.empty(len(rows.share), 4, dtype=torch.int32, device=maps.device)
    weights = torch.empty(cells.shape, dtype=maps.dtype, device=maps.device)
    halves = [(rows.before * width, 1 - rows.share), (rows.after * width, rows.share)]
    sides = [(columns.before, 1 - columns.share), (columns.after, columns.share)]
    for corner, ((y, high), (x, wide)) in enumerate(product(halves, sides)):
        cells[:, corner], weights[:, corner] = y + x, high * wide
    table = maps.flatten(1).T.contiguous()
    return F.embedding_bag(cells, table, per_sample_weights=weights, mode="sum")


class _PixelMaps(NamedTuple):
    """What `Predictions` holds of the pixels of one image, [H, W] each."""

    semantic: Tensor  # uint8: the class with the highest interpolated logit
    confidence: Tensor  # interpolated probability of the likeliest class
    foreground: Tensor  # bool: whether it is a thing


def pixel_maps(
    semantic_logits: Tensor,
    background_logits: Tensor,
    things: tuple[int, ...],
    frame: Letterbox,
    dense: bool = False,
) -> _PixelMaps:
    """Maps of the camera image from logits [K, h, w], and [1, h, w] of the background.

    The latter are [0, h, w] without a class-agnostic branch; foreground is then what `things` says
    of the classes. With `dense` the logits of all pixels are interpolated, not of those along
    borders alone, whose number depends on the picture.
    """
    if dense:
        semantic = frame.resize(semantic_logits, MAP_STRIDE).argmax(0).to(torch.uint8)
    else:
        semantic = _class_map(semantic_logits, frame)
    likeliest = semantic_logits.softmax(0).amax(0, keepdim=True)
    if len(background_logits):
        foreground = frame.resize(background_logits, MAP_STRIDE)[0] < 0
    else:
        foreground = _is_thing(semantic, things)
    return _PixelMaps(semantic, frame.resize(likeliest, MAP_STRIDE)[0], foreground)


def trained_pixels(target: Target, stride: int) -> Tensor:
    """Classes [h, w] of every stride-th row and column, all unlabelled in a target without any.

    Of each square of pixels it is one in the middle.
    """
    classes, first = target.semantic, (stride - 1) // 2
    if classes is None:
        classes = target.labels.new_full(target.masks.shape[1:], UNLABELLED)
    return classes[first::stride, first::stride]


def pixel_losses(
    semantic_logits: Tensor, background_logits: Tensor, semantic: Tensor, things: tuple[int, ...]
) -> dict[str, Tensor]:
    """`semantic` and, of a network with the class-agnostic branch, `agnostic`, summed over pixels.

    The first is the cross entropy of logits [B, K, h, w], the second the binary one of background
    logits [B, 1, h, w] against what is no thing, both at the labelled pixels of [B, H, W].
    """
    size, labelled = semantic.shape[1:], semantic != UNLABELLED
    logits = _enlarge(semantic_logits, size).movedim(1, -1).flatten(0, 2)
    classes = F.cross_entropy(logits, semantic.flatten(), ignore_index=UNLABELLED, reduction="sum")
    if not background_logits.shape[1]:
        return {"semantic": classes}
    background = _enlarge(background_logits, size)[:, 0]
    wanted, weight = (m.to(background.dtype) for m in (~_is_thing(semantic, things), labelled))
    agnostic = F.binary_cross_entropy_with_logits(background, wanted, weight, reduction="sum")
    return {"semantic": classes, "agnostic": agnostic}


def _is_thing(semantic: Tensor, things: tuple[int, ...]) -> Tensor:
    """Whether the class of each pixel is one of these."""
    return torch.isin(semantic, constants(things, semantic))
