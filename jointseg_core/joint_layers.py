"""The layers of the joint network: pyramid, dense stream, and the head that finds objects.

All norms are batch norms, which fold into convolutions; the head's convolutions are shared by the
levels, each of which has norms of its own (RTMDet, Lyu et al., 2022, section 3.3).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from jointseg_core.layers import init_normal, per_anchor
from jointseg_core.runtime.folding import FoldsItself


def _conv_bn_relu(channels_in: int, channels_out: int, kernel: int = 3) -> nn.Sequential:
    """Convolution that keeps the size, batch norm, ReLU."""
    conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True))


class _LevelConv(FoldsItself):
    """A 3x3 convolution shared by all levels, then each level's own batch norm, then ReLU."""

    def __init__(self, channels_in: int, channels_out: int, levels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels_out) for _ in range(levels)])
        self.folded = nn.ModuleList()  # a convolution for each level, once they are made

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        if self.folded:
            maps = [conv(level) for conv, level in zip(self.folded, levels, strict=True)]
        else:
            maps = [norm(self.conv(m)) for norm, m in zip(self.norms, levels, strict=True)]
        return [F.relu(m, inplace=True) for m in maps]

    def fold_batch_norms(self) -> None:
        if self.folded:
            return
        norms = [norm for norm in self.norms if isinstance(norm, nn.BatchNorm2d)]
        if len(norms) < len(self.norms):
            return
        self.folded.extend([fuse_conv_bn_eval(self.conv.eval(), norm.eval()) for norm in norms])
        del self.conv, self.norms


class Pyramid(nn.Module):
    """C3..C5 to P3..P5 of one width: top-down sums, then a convolution on each (FPN)."""

    def __init__(self, widths: list[int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList([_conv_bn_relu(width, channels, 1) for width in widths])
        self.output = nn.ModuleList([_conv_bn_relu(channels, channels) for _ in widths])

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Maps [B, C, h, w] of growing stride, finest first."""
        levels = [conv(f) for conv, f in zip(self.lateral, features, strict=True)]
        for i in range(len(levels) - 1, 0, -1):
            levels[i - 1] = levels[i - 1] + enlarge(levels[i], levels[i - 1])
        return [conv(level) for conv, level in zip(self.output, levels, strict=True)]


class DenseStream(nn.Module):
    """All levels summed at stride 8, then at stride 4 with the finest features of the backbone.

    width     of C2
    channels  of the pyramid; pixel_channels: of the map at stride 4
    """

    def __init__(self, width: int, channels: int, pixel_channels: int) -> None:
        super().__init__()
        self.coarse = _conv_bn_relu(channels, channels)
        self.reduce = nn.Conv2d(channels, pixel_channels, 1)
        self.lateral = nn.Conv2d(width, pixel_channels, 1, bias=False)
        self.fine = nn.Sequential(
            *[_conv_bn_relu(pixel_channels, pixel_channels) for _ in range(2)]
        )

    def forward(self, c2: Tensor, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """C2 and P3..P5 to the stream at stride 8 [B, C, h, w] and at stride 4 [B, d, 2h, 2w]."""
        finest = levels[0]
        total = finest + sum(enlarge(level, finest) for level in levels[1:])
        coarse = self.coarse(total)
        lateral = self.lateral(c2)
        return coarse, self.fine(F.relu(lateral + enlarge(self.reduce(coarse), lateral)))


class ObjectHead(nn.Module):
    """For each cell of each level: scores of classes, a box, and the kernel of a mask."""

    def __init__(
        self, channels: int, levels: int, depth: int, num_classes: int, kernel_size: int
    ) -> None:
        super().__init__()
        self.num_classes, self.kernel_size = num_classes, kernel_size

        def tower() -> nn.ModuleList:
            return nn.ModuleList([_LevelConv(channels, channels, levels) for _ in range(depth)])

        self.class_tower, self.region_tower = tower(), tower()
        self.class_logits = nn.Conv2d(channels, num_classes, 1)
        self.regions = nn.Conv2d(channels, 4 + kernel_size, 1)
        init_normal(self.class_logits)
        init_normal(self.regions)
        # every cell starts as an object with probability 0.01
        nn.init.constant_(self.class_logits.get_parameter("bias"), -math.log(0.99 / 0.01))

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Class logits [B, A, K], box deltas [B, A, 4] and kernels [B, A, d] in fp32."""
        classes = regions = levels
        for of_classes, of_regions in zip(self.class_tower, self.region_tower, strict=True):
            classes, regions = of_classes(classes), of_regions(regions)
        logits = per_anchor([self.class_logits(level) for level in classes], self.num_classes)
        values = per_anchor([self.regions(level) for level in regions], 4 + self.kernel_size)
        deltas, kernels = torch.split(values.float(), [4, self.kernel_size], 2)
        return logits.float(), deltas, kernels


def enlarge(coarse: Tensor, like: Tensor) -> Tensor:
    """A map at the size of a finer one, bilinearly."""
    return F.interpolate(coarse, size=like.shape[-2:], mode="bilinear")
