"""RDSNet's figure 3: what pixels and objects are like, in three principal components.

Representations are scaled to unit length, as in the paper's figure, and projected onto the three
directions in which those of a picture's pixels differ most; these are red, green and blue. Where
the network has learned, the pixels of an object have its colour and those of another do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from jointseg_core import Predictor
from jointseg_core.correlation import MASK_STRIDE
from jointseg_core.targets import Target, assign_anchors
from jointseg_eval.datasets import Samples
from training.ablations.proposal_maps import run, seen_by
from training.ablations.sheet import sheet

TITLES = ("picture", "representations of pixels", "representations of objects")
OUTSIDE = 1.0
"""Percent of the pixels at either end of a component that are as dark or bright as can be."""


class Components(NamedTuple):
    """Three directions among representations, and where their values begin and end."""

    mean: Tensor  # [d]
    directions: Tensor  # [d, 3]
    low: Tensor  # [3]
    high: Tensor  # [3]

    def colours(self, representations: Tensor) -> np.ndarray:
        """uint8 RGB [n, 3] of representations [n, d]."""
        values = (representations - self.mean) @ self.directions
        shares = (values - self.low) / (self.high - self.low).clamp(min=1e-9)
        return (255 * shares.clamp(0, 1)).byte().numpy()


def principal_components(representations: Tensor) -> Components:
    """The three directions in which representations [n, d] differ most, most first."""
    mean = representations.mean(0)
    directions = torch.linalg.svd(representations - mean, full_matrices=False).Vh[:3].T
    values = (representations - mean) @ directions
    low, high = (values.quantile(q, dim=0) for q in (OUTSIDE / 100, 1 - OUTSIDE / 100))
    return Components(mean, directions, low, high)


def picture(predictor: Predictor, samples: Samples, numbers: Sequence[int]) -> Image.Image:
    """Some pictures below each other: as they are, as pixels, as objects."""
    return sheet([_row(predictor, *seen_by(predictor, samples[n])) for n in numbers], TITLES)


@torch.inference_mode()
def _row(predictor: Predictor, pixels: Tensor, target: Target) -> list[np.ndarray]:
    model, target = predictor.model, target[~target.crowd]
    output = run(predictor, pixels).image(0)
    anchors = best_anchors(output.class_logits, torch.cat(output.anchors), target)
    objects = (
        model.object_stream.representations_at(output.filter_features, anchors)[:, 1].float().cpu()
    )
    cells = F.normalize(output.pixels.float().cpu(), dim=0)  # [d, h, w]
    components = principal_components(cells.flatten(1).T)
    shown = components.colours(cells.flatten(1).T).reshape(*cells.shape[1:], 3)
    image = pixels.permute(1, 2, 0).numpy()
    size = image.shape[1] // MASK_STRIDE * MASK_STRIDE, image.shape[0] // MASK_STRIDE * MASK_STRIDE
    smooth = np.asarray(Image.fromarray(shown).resize(size, Image.Resampling.BILINEAR))
    coloured = _painted(target, components.colours(F.normalize(objects, dim=1)))
    return [image, smooth, coloured]


def best_anchors(class_logits: Tensor, anchors: Tensor, target: Target) -> Tensor:
    """For each object the anchor [N] that is surest of its class, among those that belong to it.

    class_logits [A, K], anchors [A, 4].
    """
    assigned = assign_anchors(anchors.cpu(), target.boxes, 0.5, 0.4)
    logits = class_logits.float().cpu()
    best = []
    for number, label in enumerate(target.labels.tolist()):
        mine = (assigned == number).nonzero().flatten()
        best.append(mine[logits[mine, label].argmax()] if len(mine) else assigned.new_tensor(0))
    return torch.stack(best) if best else assigned[:0]


def _painted(target: Target, colours: np.ndarray) -> np.ndarray:
    """True masks in the colours [N, 3] of their objects, larger ones first."""
    canvas = np.full((*target.masks.shape[1:], 3), 40, np.uint8)
    areas = target.masks.flatten(1).sum(1)
    for number in areas.argsort(descending=True).tolist():
        canvas[target.masks[number].numpy()] = colours[number]
    return canvas
