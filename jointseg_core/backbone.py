"""ResNet stages and the feature pyramid, with the choices of both papers as arguments."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops import FrozenBatchNorm2d

from jointseg_core.layers import init_xavier


class _FixedStatisticsBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that never leaves its stored statistics; scale and shift train."""

    def train(self, mode: bool = True) -> _FixedStatisticsBatchNorm2d:
        return super().train(False)


_NORMS = {
    "fixed": FrozenBatchNorm2d,
    "fixed_statistics": _FixedStatisticsBatchNorm2d,
    "trainable": nn.BatchNorm2d,
}


_Block = type[BasicBlock] | type[Bottleneck]


class _Shape(NamedTuple):
    block: _Block
    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]


_BACKBONES = {
    "tiny": _Shape(BasicBlock, (2, 2, 2, 2), (24, 48, 96, 160)),
    "r18": _Shape(BasicBlock, (2, 2, 2, 2), (64, 128, 256, 512)),
    "r50": _Shape(Bottleneck, (3, 4, 6, 3), (64, 128, 256, 512)),
    "r101": _Shape(Bottleneck, (3, 4, 23, 3), (64, 128, 256, 512)),
}


class ResNet(nn.Module):
    """A residual network without its classifier; parameters are named as torchvision names them.

    name           tiny, r18, r50 or r101; the stride of a bottleneck is in its 3x3 convolution
    norm           "fixed": never changes (SegRPN); "fixed_statistics": scale and shift train
                   (RDSNet); "trainable": an ordinary batch norm
    frozen_stages  how many of (stem, layer1, .., layer4) never train
    """

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, name: str, norm: str, frozen_stages: int = 0) -> None:
        super().__init__()
        shape = _BACKBONES[name]
        self._norm = _NORMS[norm]
        self.widths = [width * shape.block.expansion for width in shape.widths]
        stem_width = shape.widths[0]
        self.conv1 = nn.Conv2d(3, stem_width, 7, stride=2, padding=3, bias=False)
        self.bn1 = self._norm(stem_width)
        channels = stem_width
        for number, (depth, width) in enumerate(zip(shape.depths, shape.widths, strict=True), 1):
            blocks = self._stage(
                shape.block, channels, width, depth, stride=1 if number == 1 else 2
            )
            self.add_module(f"layer{number}", blocks)
            channels = width * shape.block.expansion
        self._init()
        for stage in self._stages[:frozen_stages]:
            stage.requires_grad_(False)

    def _stage(
        self, block: _Block, channels: int, width: int, depth: int, stride: int
    ) -> nn.Sequential:
        out = width * block.expansion
        shortcut = None
        if stride != 1 or channels != out:
            shortcut = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride=stride, bias=False), self._norm(out)
            )
        norm = self._norm
        first = block(channels, width, stride, shortcut, norm_layer=norm)
        rest = [block(out, width, norm_layer=norm) for _ in range(depth - 1)]
        return nn.Sequential(first, *rest)

    @property
    def _stages(self) -> list[nn.Module]:
        stem = nn.ModuleList([self.conv1, self.bn1])
        return [stem, self.layer1, self.layer2, self.layer3, self.layer4]

    def _init(self) -> None:
        """He's initialisation; each residual branch starts at zero."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            last_norm = {BasicBlock: "bn2", Bottleneck: "bn3"}.get(type(module))
            if last_norm and isinstance(norm := getattr(module, last_norm), nn.BatchNorm2d):
                nn.init.zeros_(norm.weight)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised images [B, 3, H, W] to C2..C5, strides 4, 8, 16 and 32."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(images)), inplace=True), 3, 2, padding=1)
        features = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            features.append(x)
        return features


class StridedConvLevels(nn.Module):
    """P6 and P7 of RDSNet: 3x3 stride 2, then again, no ReLU between them.

    width  channels of C5, where P6 comes from it; None where it comes from P5 (RDSNet_s)
    """

    def __init__(self, width: int | None, channels: int) -> None:
        super().__init__()
        self.on_p5 = width is None
        self.p6 = nn.Conv2d(width or channels, channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, c5: Tensor, p5: Tensor) -> list[Tensor]:
        p6 = self.p6(p5 if self.on_p5 else c5)
        return [p6, self.p7(p6)]


class SubsampledLevel(nn.Module):
    """P6 of SegRPN: every second cell of P5."""

    def forward(self, c5: Tensor, p5: Tensor) -> list[Tensor]:
        return [p5[:, :, ::2, ::2]]


class FeaturePyramid(nn.Module):
    """FPN without norm; `coarser` makes the levels beyond P5.

    top_down    how coarse maps grow, a mode of `interpolate`
    activation  of the levels up to P5; None leaves them as they are
    """

    def __init__(
        self,
        widths: list[int],
        channels: int,
        coarser: nn.Module,
        top_down: str = "nearest",
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.top_down, self.activation = top_down, activation or nn.Identity()
        self.lateral = nn.ModuleList([nn.Conv2d(width, channels, 1) for width in widths])
        self.output = nn.ModuleList([nn.Conv2d(channels, channels, 3, padding=1) for _ in widths])
        self.coarser = coarser
        self.inputs = len(widths)
        init_xavier(self)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """C maps of growing stride to P maps [B, channels, h, w], finest first."""
        levels = [conv(f) for conv, f in zip(self.lateral, features, strict=True)]
        for i in range(len(levels) - 1, 0, -1):
            size = levels[i - 1].shape[-2:]
            levels[i - 1] = levels[i - 1] + F.interpolate(levels[i], size, mode=self.top_down)
        outputs = zip(self.output, levels, strict=True)
        levels = [self.activation(conv(level)) for conv, level in outputs]
        return [*levels, *self.coarser(features[-1], levels[-1])]
