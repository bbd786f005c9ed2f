"""Backbones and the feature pyramid, with the choices of both papers as arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops import FrozenBatchNorm2d

from jointseg_core.layers import init_xavier


class Backbone(nn.Module):
    """Normalised images [B, 3, H, W] to C2..C5 of strides 4, 8, 16 and 32, by `forward`.

    widths  channels of C2..C5
    """

    widths: list[int]

    @property
    def stages(self) -> list[nn.Module]:
        """The five that `frozen_stages` counts: the stem, then what makes C2, C3, C4 and C5."""
        raise NotImplementedError


class _FixedStatisticsBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that never leaves its stored statistics; scale and shift train."""

    def train(self, mode: bool = True) -> _FixedStatisticsBatchNorm2d:
        return super().train(False)


_NORMS = {
    "fixed": FrozenBatchNorm2d,
    "fixed_statistics": _FixedStatisticsBatchNorm2d,
    "trainable": nn.BatchNorm2d,
}
_Norm = Callable[[int], nn.Module]
_Block = type[BasicBlock] | type[Bottleneck]


def _init_convolutions(module: nn.Module) -> None:
    """He's initialisation."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            layer.weight.data.mul_(layer.groups**0.5)  # torch counts the taps of all groups


class _ResNet(Backbone):
    """A residual network without its classifier; parameters are named as torchvision names them.

    The stride of a bottleneck is in its 3x3 convolution. widths are of the blocks' inner layers.
    """

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(
        self, block: _Block, depths: tuple[int, ...], widths: tuple[int, ...], norm: str
    ) -> None:
        super().__init__()
        self._norm: _Norm = _NORMS[norm]
        self.widths = [width * block.expansion for width in widths]
        channels = widths[0]
        self.conv1 = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = self._norm(channels)
        for number, (depth, width) in enumerate(zip(depths, widths, strict=True), 1):
            blocks = self._stage(block, channels, width, depth, stride=1 if number == 1 else 2)
            self.add_module(f"layer{number}", blocks)
            channels = width * block.expansion
        _init_convolutions(self)
        self._start_branches_at_zero()

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
    def stages(self) -> list[nn.Module]:
        stem = nn.ModuleList([self.conv1, self.bn1])
        return [stem, self.layer1, self.layer2, self.layer3, self.layer4]

    def _start_branches_at_zero(self) -> None:
        for module in self.modules():
            last_norm = {BasicBlock: "bn2", Bottleneck: "bn3"}.get(type(module))
            if last_norm and isinstance(norm := getattr(module, last_norm), nn.BatchNorm2d):
                nn.init.zeros_(norm.weight)

    def forward(self, images: Tensor) -> list[Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(images)), inplace=True), 3, 2, padding=1)
        features = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            features.append(x)
        return features


# EfficientNet-Lite0: kernel, stride, expansion, channels and number of its blocks
_LITE0 = (
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 2),  # to C2
    (5, 2, 6, 40, 2),  # to C3
    (3, 2, 6, 80, 3), (5, 1, 6, 112, 3),  # to C4
    (5, 2, 6, 192, 4), (3, 1, 6, 320, 1),  # to C5
)  # fmt: skip


class _LiteNet(Backbone):
    """EfficientNet-Lite0 (Tan and Le, ICML 2019; for phones without squeeze-excite, with ReLU6).

    Parameters are named as in the published file `efficientnet-lite0-57934424.pth`; the 1x1
    convolution to 1280 channels and the classifier are not here.
    """

    _ENDS = (2, 4, 10, 15)  # the last blocks of C2..C5

    def __init__(self, norm: str) -> None:
        super().__init__()
        normalise = partial(_lite_norm, norm)
        self._conv_stem = _HalvingConv2d(3, 32, 3, stride=2, bias=False)
        self._bn0 = normalise(32)
        blocks, channels = [], 32
        for kernel, stride, expansion, out, depth in _LITE0:
            for step in (stride, *[1] * (depth - 1)):
                blocks.append(_MBConv(channels, out, kernel, step, expansion, normalise))
                channels = out
        self._blocks = nn.ModuleList(blocks)
        self.widths = [blocks[end].channels for end in self._ENDS]
        _init_convolutions(self)

    @property
    def stages(self) -> list[nn.Module]:
        edges = [0, *[end + 1 for end in self._ENDS]]
        stem = nn.ModuleList([self._conv_stem, self._bn0])
        return [stem, *[self._blocks[a:b] for a, b in pairwise(edges)]]

    def forward(self, images: Tensor) -> list[Tensor]:
        x = F.relu6(self._bn0(self._conv_stem(images)), inplace=True)
        features = []
        for number, block in enumerate(self._blocks):
            x = block(x)
            if number in self._ENDS:
                features.append(x)
        return features


def _lite_norm(norm: str, channels: int) -> nn.Module:
    layer: nn.Module = _NORMS[norm](channels, eps=1e-3)
    if isinstance(layer, nn.BatchNorm2d):
        layer.momentum = 0.01
    return layer


class _MBConv(nn.Module):
    """1x1 to more channels, depthwise, 1x1 to `channels`; the input is added where it fits."""

    def __init__(
        self, channels_in: int, channels: int, kernel: int, stride: int, expansion: int, norm: _Norm
    ) -> None:
        super().__init__()
        self.channels, wide = channels, channels_in * expansion
        self._expands, self._adds = expansion > 1, stride == 1 and channels_in == channels
        if self._expands:
            self._expand_conv = nn.Conv2d(channels_in, wide, 1, bias=False)
            self._bn0 = norm(wide)
        depthwise = partial(nn.Conv2d, padding=kernel // 2) if stride == 1 else _HalvingConv2d
        self._depthwise_conv = depthwise(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = norm(wide)
        self._project_conv = nn.Conv2d(wide, channels, 1, bias=False)
        self._bn2 = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        wide = F.relu6(self._bn0(self._expand_conv(x)), inplace=True) if self._expands else x
        wide = F.relu6(self._bn1(self._depthwise_conv(wide)), inplace=True)
        y: Tensor = self._bn2(self._project_conv(wide))
        return y + x if self._adds else y


class _HalvingConv2d(nn.Conv2d):
    """Stride 2 with TensorFlow's SAME padding: even sizes get one row less above than below.

    Padding one side alone copies the map in torch, where other runtimes pad inside of the layer. So
    a depthwise layer without a norm behind it gets a row more above instead, and leaves out the row
    of the output that comes from it: the next layer reads past it.
    """

    def forward(self, x: Tensor) -> Tensor:
        around, even = self.kernel_size[0] // 2, [1 - size % 2 for size in x.shape[-2:]]
        if self.groups == 1 or self.bias is None or torch.compiler.is_exporting():
            above, left = (around - less for less in even)
            padded = F.pad(x, (left, around, above, around))
            return F.conv2d(padded, self.weight, self.bias, self.stride, groups=self.groups)
        padding = [around + more for more in even]
        y = F.conv2d(x, self.weight, self.bias, self.stride, padding, groups=self.groups)
        return y[:, :, even[0] :, even[1] :]


_BACKBONES: Mapping[str, Callable[[str], Backbone]] = {
    "tiny": partial(_ResNet, BasicBlock, (2, 2, 2, 2), (24, 48, 96, 160)),
    "r18": partial(_ResNet, BasicBlock, (2, 2, 2, 2), (64, 128, 256, 512)),
    "r50": partial(_ResNet, Bottleneck, (3, 4, 6, 3), (64, 128, 256, 512)),
    "r101": partial(_ResNet, Bottleneck, (3, 4, 23, 3), (64, 128, 256, 512)),
    "lite0": _LiteNet,
}


def build_backbone(name: str, norm: str, frozen_stages: int = 0) -> Backbone:
    """A backbone with random weights; KeyError for another name or norm.

    name           tiny, r18, r50 or r101: residual networks; lite0: EfficientNet-Lite0
    norm           "fixed": never changes (SegRPN); "fixed_statistics": scale and shift train
                   (RDSNet); "trainable": an ordinary batch norm
    frozen_stages  how many of the backbone's stages never train
    """
    backbone = _BACKBONES[name](norm)
    for stage in backbone.stages[:frozen_stages]:
        stage.requires_grad_(False)
    return backbone


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
