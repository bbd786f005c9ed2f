"""3x3 convolutions that need half of their multiplications.

Winograd's minimal filtering (Arithmetic Complexity of Computations, SIAM 1980), which Lavin and
Gray brought to networks (Fast Algorithms for Convolutional Neural Networks, CVPR 2016): four
outputs of a filter of three taps are a product of polynomials, which six of its values determine.
So a tile of six pixels is evaluated at six points, multiplied there, and interpolated.

It is done along rows alone. In both directions a quarter of the multiplications would do, but each
direction amplifies rounding, along rows threefold already, which bf16 can afford only once.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_TAPS, _OUTPUTS = 3, 4  # of the filter and of a tile, along a row
_TILE = _TAPS + _OUTPUTS - 1  # pixels
# where polynomials are evaluated, besides infinity; these round better than 0, 1, -1, 2, -2
_POINTS = (0.0, 5 / 8, -5 / 8, 3 / 2, -3 / 2)
_LEAST_CHANNELS = 128  # layers with fewer are as fast without
_STRIP = 16 << 20  # bytes of values that are computed together: what `malloc.py` keeps for reuse


class WinogradConv2d(nn.Module):
    """A convolution of 3x3 with stride 1 that keeps the size of its maps, for inference.

    Large maps are computed in strips, so that memory is kept from layer to layer.

    conv   the layer that it computes, see `_fits`
    dtype  in which it computes
    """

    filters: Tensor
    evaluate: Tensor
    interpolate: Tensor
    bias: Tensor | None

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__()
        self.channels_out = conv.out_channels
        taps = conv.weight.detach().float()
        points = torch.einsum("pw,ochw->poch", _powers(_TAPS), taps).flatten(0, 1)
        for name, values in {
            "filters": points[..., None].contiguous(memory_format=torch.channels_last),
            "evaluate": torch.linalg.inv(_powers(_TILE)).T,  # [6, 6]
            "interpolate": _powers(_OUTPUTS).T,  # [4, 6]
            "bias": None if conv.bias is None else conv.bias.detach(),
        }.items():
            self.register_buffer(name, values if values is None else values.to(dtype))

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, h, w] to [B, channels_out, h, w], channels last."""
        batch, channels, height, width = maps.shape
        across = -(-width // _OUTPUTS)  # tiles in a row
        around = (0, 0, 1, across * _OUTPUTS + 1 - width, 1, 1)
        rows = F.pad(maps.permute(0, 2, 3, 1), around)
        tiles = rows.unfold(2, _TILE, _OUTPUTS).transpose(3, 4)  # [B, h + 2, across, 6, C]
        widest = _TILE * max(channels, self.channels_out) * maps.element_size()
        strips = max(1, min(height, -(-batch * height * across * widest // _STRIP)))
        if strips == 1:
            found = self._strip(tiles)
        else:
            found = maps.new_empty(batch, height, across * _OUTPUTS, self.channels_out)
            edges = [height * strip // strips for strip in range(strips + 1)]
            for top, bottom in pairwise(edges):
                found[:, top:bottom] = self._strip(tiles[:, top : bottom + 2])
        if self.bias is not None:
            found += self.bias
        found = found[:, :, :width].permute(0, 3, 1, 2)
        return found.contiguous(memory_format=torch.channels_last)

    def _strip(self, tiles: Tensor) -> Tensor:
        """Tiles of h + 2 rows to h rows [B, h, 4 across, channels_out]."""
        batch, height, across, _, _ = tiles.shape
        found = _of_each(self.interpolate, self._products(tiles))
        return found.view(batch, height - 2, across * _OUTPUTS, self.channels_out)

    def _products(self, tiles: Tensor) -> Tensor:
        """Of each tile [T, 6, channels_out]: its values times those of the filters."""
        batch, height, across, _, channels = tiles.shape
        values = _of_each(self.evaluate, tiles.reshape(-1, _TILE, channels))
        values = values.view(batch, height, across, _TILE * channels).permute(0, 3, 1, 2)
        products = F.conv2d(values, self.filters, groups=_TILE)
        return products.permute(0, 2, 3, 1).reshape(-1, _TILE, self.channels_out)


def _powers(coefficients: int) -> Tensor:
    """What makes values at the six points of that many coefficients: [6, coefficients]."""
    at_infinity = [0.0] * (coefficients - 1) + [1.0]
    return torch.tensor([*([p**k for k in range(coefficients)] for p in _POINTS), at_infinity])


def _of_each(matrix: Tensor, tiles: Tensor) -> Tensor:
    """matrix [m, 6] times each of the tiles [T, 6, C], as [T / n, n m, C].

    n tiles at once, four where T allows: so small a product is otherwise mostly the call.
    """
    together = math.gcd(len(tiles), 4)
    blocks: Tensor = torch.block_diag(*[matrix] * together)  # type: ignore[no-untyped-call]
    tiles = tiles.view(-1, blocks.shape[1], tiles.shape[2])
    return torch.bmm(blocks.expand(len(tiles), *blocks.shape), tiles)


def _fits(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether it is a convolution that is faster as a WinogradConv2d."""
    return (
        type(module) is nn.Conv2d
        and (module.kernel_size, module.stride, module.padding) == ((_TAPS, _TAPS), (1, 1), (1, 1))
        and (module.dilation, module.groups, module.padding_mode) == ((1, 1), 1, "zeros")
        and min(module.in_channels, module.out_channels) >= _LEAST_CHANNELS
    )


def use_winograd(model: nn.Module, dtype: torch.dtype, besides: nn.Module) -> None:
    """Put a WinogradConv2d of that dtype in the place of each convolution that _fits.

    Not in `besides`: what sees small maps only is as fast without, and needs less memory.
    """
    left = set(besides.modules())
    for parent in [module for module in model.modules() if module not in left]:
        for name, child in parent.named_children():
            if _fits(child):
                setattr(parent, name, WinogradConv2d(child, dtype))
