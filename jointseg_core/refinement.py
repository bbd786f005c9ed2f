"""Mask based boundary refinement, RDSNet section 3.3: masks move the sides of boxes.

A mask's projections say where its object ends, the regressed box says where it should; each side
goes to the pixel where the product of the two is highest.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jointseg_core.predictions import Predictions

_MAX_DEVIATIONS = 3.294
"""At inference the released code cuts the prior where it falls below 0.0044: so many sigma away."""


def mask_profiles(
    crops: list[Tensor], windows: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Largest mask logit of every column [N, W] and every row [N, H]; -inf outside the windows.

    crops are the logits [h_i, w_i] inside the windows [N, 4] of an image (H, W).
    """
    height, width = size
    columns = torch.full((len(crops), width), float("-inf"), device=windows.device)
    rows = torch.full((len(crops), height), float("-inf"), device=windows.device)
    for i, (crop, (x1, y1, x2, y2)) in enumerate(zip(crops, windows.tolist(), strict=True)):
        if crop.numel():
            columns[i, x1:x2] = crop.amax(0)
            rows[i, y1:y2] = crop.amax(1)
    return columns, rows


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

    def log_posterior(
        self, profile: Tensor, side: Tensor, sigma: Tensor, mirrored: bool, cut: bool
    ) -> Tensor:
        """Log probability [N, L] of each pixel to be the object's last one on a side.

        profile [N, L] mask probabilities; side [N] the box's side as a pixel index; sigma [N] the
        prior's deviation in pixels; mirrored for right and bottom; cut removes the prior's tails.
        """
        kernel = self.kernel.flip(0) if mirrored else self.kernel
        # logarithms of likelihood times prior; the constants cancel when the sum is made 1
        evidence = F.conv1d(profile[:, None], kernel[None, None], self.bias, padding="same")[:, 0]
        pixels = torch.arange(profile.shape[1], device=profile.device)
        deviations = (pixels - side[:, None]) / sigma.clamp(min=1)[:, None]
        log = F.logsigmoid(evidence) - deviations.square() / 2
        if cut:  # not in training, where a side beyond it would have probability 0
            reach = deviations.abs()
            outside = (reach > _MAX_DEVIATIONS) & (reach > reach.min(1, keepdim=True).values)
            log = log.masked_fill(outside, float("-inf"))
        return log.log_softmax(1)

    def _posteriors(self, columns: Tensor, rows: Tensor, boxes: Tensor, cut: bool) -> list[Tensor]:
        """Log posteriors of left, top, right and bottom for mask logits [N, W] and [N, H]."""
        profiles = columns.sigmoid(), rows.sigmoid()
        sigmas = [(boxes[:, 2 + i] - boxes[:, i]) * self.gamma for i in (0, 1)]
        return [
            self.log_posterior(profiles[i % 2], side, sigmas[i % 2], mirrored=i > 1, cut=cut)
            for i, side in enumerate(_last_pixels(boxes).unbind(1))
        ]

    @torch.no_grad()
    def forward(self, columns: Tensor, rows: Tensor, boxes: Tensor) -> Tensor:
        """Boxes [N, 4] whose sides lie where mask and regression agree best, in whole pixels.

        columns [N, W] and rows [N, H] are the projections of `mask_profiles`. Where the sides would
        cross, the box stays as it was.
        """
        if not self.gamma or not len(boxes):
            return boxes
        best = [log.argmax(1) for log in self._posteriors(columns, rows, boxes, cut=True)]
        refined = torch.stack([best[0], best[1], best[2] + 1, best[3] + 1], 1).to(boxes.dtype)
        valid = (refined[:, 2:] > refined[:, :2]).all(1, keepdim=True)
        return torch.where(valid, refined, boxes)

    def loss(self, columns: Tensor, rows: Tensor, boxes: Tensor, wanted: Tensor) -> Tensor:
        """Cross entropy of the true sides, mean over the four sides and the N objects.

        boxes [N, 4] are the regressed ones, wanted [N, 4] the true ones.
        """
        height, width = rows.shape[1], columns.shape[1]
        sides = torch.cat([wanted[:, :2].floor(), wanted[:, 2:].ceil() - 1], 1).long()
        sides = sides.clamp(min=0).minimum(sides.new_tensor([width, height, width, height]) - 1)
        logs = self._posteriors(columns, rows, boxes, cut=False)
        losses = [F.nll_loss(log, side) for log, side in zip(logs, sides.unbind(1), strict=True)]
        return torch.stack(losses).mean()


def _last_pixels(boxes: Tensor) -> Tensor:
    """Index of the outermost pixel on each side [N, 4]: right and bottom sides are exclusive."""
    return torch.cat([boxes[:, :2], boxes[:, 2:] - 1], 1)


def direct_boxes(predictions: Predictions) -> Predictions:
    """The baseline of Table 4: every box is the tight rectangle of its mask.

    An object whose mask is empty keeps its box. Raises ValueError without masks.
    """
    if predictions.masks is None:
        raise ValueError("predictions have no masks, expected those of RDSNet or RDSNet_s")
    boxes = predictions.boxes.clone()
    windows, crops = predictions.masks.windows.tolist(), predictions.masks.crops()
    for box, (left, top, _, _), crop in zip(boxes, windows, crops, strict=True):
        rows, columns = crop.any(1).nonzero().flatten(), crop.any(0).nonzero().flatten()
        if len(rows):
            tight = columns[0] + left, rows[0] + top, columns[-1] + left + 1, rows[-1] + top + 1
            box.copy_(torch.stack(tight))
    return replace(predictions, boxes=boxes)
