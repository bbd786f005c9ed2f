"""Mask based boundary refinement, RDSNet section 3.3: masks move the sides of boxes.

A mask's projections say where its object ends, the regressed box says where it should; each side
goes to the pixel where the product of the two is highest.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MAX_DEVIATIONS = 3.294
"""At inference the released code cuts the prior where it falls below 0.0044: so many sigma away."""


def mask_profiles(
    crops: list[Tensor], windows: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Largest probability of every column [N, W] and row [N, H]; 0 outside the windows.

    crops are the logits [h_i, w_i] inside the windows [N, 4] of an image (H, W).
    """
    columns, rows = (
        torch.full((len(crops), side), float("-inf"), device=windows.device)
        for side in reversed(size)
    )
    for i, (crop, (x1, y1, x2, y2)) in enumerate(zip(crops, windows.tolist(), strict=True)):
        if crop.numel():
            columns[i, x1:x2] = crop.amax(0)
            rows[i, y1:y2] = crop.amax(1)
    return columns.sigmoid(), rows.sigmoid()


class BoundaryRefinement(nn.Module):
    """Ten parameters that say what a boundary looks like in a mask's projection.

    gamma      width of the prior in box sides (the paper's 0.05); 0 leaves the boxes unchanged
    half_size  the paper's s: the kernel covers 2 s + 1 pixels

    One kernel serves all four sides; right and bottom use it mirrored.
    """

    def __init__(self, gamma: float = 0.05, half_size: int = 4) -> None:
        super().__init__()
        self.gamma = gamma
        kernel = torch.zeros(2 * half_size + 1)
        kernel[half_size - 1], kernel[half_size + 1] = -1, 1
        self.kernel = nn.Parameter(kernel)
        self.bias = nn.Parameter(torch.tensor([-0.5]))

    def log_posteriors(self, profile: Tensor, ends: Tensor, sigma: Tensor) -> Tensor:
        """Log probability [N, 2, L] of each pixel to be the object's first, and its last one.

        profile [N, L] mask probabilities along one axis; ends [N, 2] the box's two sides there as
        pixel indices; sigma [N] the prior's deviation in pixels.
        """
        scores, _ = self._scores(profile, ends, sigma)
        return scores.log_softmax(2)

    def _scores(self, profile: Tensor, ends: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of likelihood times prior [N, 2, L], without what would make their sum 1.

        And by how many deviations each pixel is away from the box's side.
        """
        kernels = torch.stack([self.kernel, self.kernel.flip(0)])[:, None]
        bias = self.bias.expand(2)
        evidence = F.conv1d(profile[:, None], kernels, bias, padding=self.kernel.numel() // 2)
        pixels = torch.arange(profile.shape[1], device=profile.device)
        deviations = (pixels - ends[..., None]) / sigma.clamp(min=1)[:, None, None]
        return F.logsigmoid(evidence) - deviations.square() / 2, deviations.abs()

    def _best(self, profile: Tensor, ends: Tensor, sigma: Tensor) -> Tensor:
        """The likeliest pixels [N, 2] within the prior's reach, or the nearest ones to the sides.

        In training nothing is cut: a side beyond the reach would have probability 0.
        """
        scores, away = self._scores(profile, ends, sigma)
        beyond = (away > _MAX_DEVIATIONS) & (away > away.amin(2, keepdim=True))
        return scores.masked_fill(beyond, float("-inf")).argmax(2)

    def _axes(self, columns: Tensor, rows: Tensor, boxes: Tensor) -> list[tuple[Tensor, ...]]:
        """Profile, ends and sigma of both axes."""
        ends, sigmas = _last_pixels(boxes), (boxes[:, 2:] - boxes[:, :2]) * self.gamma
        return [(p, ends[:, i::2], sigmas[:, i]) for i, p in enumerate((columns, rows))]

    @torch.no_grad()
    def forward(self, columns: Tensor, rows: Tensor, boxes: Tensor) -> Tensor:
        """Boxes [N, 4] whose sides lie where mask and regression agree best, in whole pixels.

        columns [N, W] and rows [N, H] are the largest probabilities of a mask there, 0 beside it.
        Where the sides would cross, the box stays as it was.
        """
        if not self.gamma or not len(boxes):
            return boxes
        x, y = (self._best(*axis) for axis in self._axes(columns, rows, boxes))
        refined = torch.stack([x[:, 0], y[:, 0], x[:, 1] + 1, y[:, 1] + 1], 1).to(boxes.dtype)
        valid = (refined[:, 2:] > refined[:, :2]).all(1, keepdim=True)
        return torch.where(valid, refined, boxes)

    def loss(self, columns: Tensor, rows: Tensor, boxes: Tensor, wanted: Tensor) -> Tensor:
        """Cross entropy of the true sides, mean over the four sides and the N objects.

        boxes [N, 4] are the regressed ones, wanted [N, 4] the true ones; the rest as in `forward`.
        """
        height, width = rows.shape[1], columns.shape[1]
        sides = torch.cat([wanted[:, :2].floor(), wanted[:, 2:].ceil() - 1], 1).long()
        sides = sides.clamp(min=0).minimum(sides.new_tensor([width, height, width, height]) - 1)
        x, y = (self.log_posteriors(*axis) for axis in self._axes(columns, rows, boxes))
        logs = x[:, 0], y[:, 0], x[:, 1], y[:, 1]
        losses = [F.nll_loss(log, side) for log, side in zip(logs, sides.unbind(1), strict=True)]
        return torch.stack(losses).mean()


def _last_pixels(boxes: Tensor) -> Tensor:
    """Index of the outermost pixel on each side [N, 4]: right and bottom sides are exclusive."""
    return torch.cat([boxes[:, :2], boxes[:, 2:] - 1], 1)
