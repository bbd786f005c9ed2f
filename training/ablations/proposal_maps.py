"""SegRPN's figure 3: where the proposal head sees objects, before and after it is filtered.

The filter is the multiplication by the features of the class-agnostic branch ("RPN"), switched off
and on over the same weights. An anchor is proposed where its objectness is at least 1/2. It is
right where it overlaps an object by 0.7 or is the best of one, as the head was taught; wrong where
it overlaps none by 0.3; and such a right one that is not proposed is a miss.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from jointseg_core import Predictor
from jointseg_core.segrpn import SegRPNOutput
from jointseg_core.targets import IGNORED, NEGATIVE, Target, assign_anchors
from jointseg_eval.datasets import Sample, Samples
from training.ablations.sheet import sheet
from training.loading.augmentation import as_input

KINDS = ("right", "wrong", "missed")
COLOURS = {"right": (0, 158, 115), "wrong": (213, 94, 0), "missed": (240, 228, 66)}
GROUND, OBJECT = (40, 40, 40), (120, 120, 120)
LEVELS = tuple(f"P{level}" for level in range(2, 7))


class Matches(NamedTuple):
    """How the anchors of one level of one picture match its objects."""

    objectness: Tensor  # [h, w], of the best anchor of each cell
    kinds: Tensor  # bool [3, h, w, k], by KINDS

    @property
    def counts(self) -> np.ndarray:
        """Anchors of each kind [3]."""
        return self.kinds.sum((1, 2, 3)).numpy()


@torch.inference_mode()
def match(predictor: Predictor, pixels: Tensor, target: Target) -> list[Matches]:
    """The anchors of P2..P6 against a picture uint8 [3, H, W] and its annotation, network input."""
    output, size = run(predictor, pixels), pixels.shape[-2:]
    every = torch.cat(output.anchors).cpu()
    assigned = assign_anchors(every, target.boxes, 0.7, 0.3)
    assigned[_crowded(assigned, target)] = IGNORED
    objectness = output.objectness[0].float().sigmoid().cpu()
    sizes = [len(level) for level in output.anchors]
    shapes = [tuple(-(-side // 2**level) for side in size) for level in range(2, 7)]
    parts = zip(objectness.split(sizes), assigned.split(sizes), shapes, strict=True)
    return [_matches(*part) for part in parts]


def run(predictor: Predictor, pixels: Tensor) -> SegRPNOutput:
    """What the network computes for a picture uint8 [3, H, W] of its input size."""
    inputs = predictor.manifest.preprocessing.normalize(pixels.to(predictor.device))
    return predictor.model(inputs[None])


def _crowded(assigned: Tensor, target: Target) -> Tensor:
    """Anchors [A] that belong to a crowd, of which nothing is known."""
    crowd = torch.cat([target.crowd, target.crowd.new_zeros(2)])  # NEGATIVE and IGNORED
    return crowd[assigned]


def _matches(objectness: Tensor, assigned: Tensor, shape: tuple[int, int]) -> Matches:
    objectness, assigned = (values.view(*shape, -1) for values in (objectness, assigned))
    proposed, right = objectness >= 0.5, assigned >= 0
    kinds = [proposed & right, proposed & (assigned == NEGATIVE), ~proposed & right]
    return Matches(objectness.amax(2), torch.stack(kinds))


def seen_by(predictor: Predictor, sample: Sample) -> tuple[Tensor, Target]:
    """A picture and its annotation as the network's input."""
    return as_input(sample, predictor.manifest.preprocessing)


def count(predictor: Predictor, samples: Samples) -> dict[str, dict[str, int]]:
    """Anchors over all pictures, by level and kind."""
    total = np.zeros((len(LEVELS), len(KINDS)), np.int64)
    for number in range(len(samples)):
        levels = match(predictor, *seen_by(predictor, samples[number]))
        total += np.stack([level.counts for level in levels])
    counts = zip(LEVELS, total.tolist(), strict=True)
    return {level: dict(zip(KINDS, row, strict=True)) for level, row in counts}


@torch.inference_mode()
def picture(before: Predictor, after: Predictor, sample: Sample) -> Image.Image:
    """Objectness and anchors, before and after, of each level; above them what they see.

    That is the picture, its true foreground, and the learned one as probability and as decision.
    """
    pixels, target = seen_by(before, sample)
    things = target.masks[~target.crowd].any(0)
    image = pixels.permute(1, 2, 0).numpy()
    learned = run(after, pixels).background_logits[0, 0].neg().sigmoid().float().cpu()
    rows = [[image, _mask(things.numpy()), _shades(learned), _mask(learned.numpy() >= 0.5)]]
    levels = zip(*(match(p, pixels, target) for p in (before, after)), strict=True)
    for number, pair in enumerate(levels, 2):
        ground = _mask(things[:: 2**number, :: 2**number].numpy())
        rows.append([cell for m in pair for cell in (_shades(m.objectness), _kinds(m, ground))])
    titles = ("objectness before", "anchors before", "objectness after", "anchors after")
    legend = [(name, COLOURS[name]) for name in KINDS] + [("foreground", OBJECT)]
    return sheet(rows, titles, ("picture,\nforeground:\ntrue, learned", *LEVELS), legend)


def _mask(things: np.ndarray) -> np.ndarray:
    return np.where(things[..., None], OBJECT, GROUND).astype(np.uint8)


def _shades(objectness: Tensor) -> np.ndarray:
    return (255 * objectness).byte().numpy()[..., None].repeat(3, 2)


def _kinds(found: Matches, ground: np.ndarray) -> np.ndarray:
    """The ground in the colours of the cells' anchors; a right one hides a missed and a wrong."""
    drawn = np.array(ground[: found.kinds.shape[1], : found.kinds.shape[2]])
    for name in ("wrong", "missed", "right"):
        drawn[found.kinds[KINDS.index(name)].any(2).numpy()] = COLOURS[name]
    return drawn
