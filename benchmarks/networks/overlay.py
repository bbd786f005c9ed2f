"""How fast results are drawn, on one core: `python -m benchmarks.networks.overlay`.

    python -m benchmarks.networks.overlay                               1080p, 25 objects
    python -m benchmarks.networks.overlay --image 2160x3840 --objects 30

Draws a scripted scene again and again: waved ellipses of street-like sizes, and a class for every
pixel. The scores of the captions change from picture to picture, as those of a camera do. What is
measured is the CPU time of the whole process, which is bound to one core.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from benchmarks.arguments import Parser, size, whole
from benchmarks.networks.planting import street_scene
from jointseg_core.classes import CITYSCAPES
from jointseg_core.command import run_program
from jointseg_core.predictions import Masks, Predictions
from jointseg_core.visualize import draw


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    parser = Parser("benchmarks.networks.overlay", __doc__.splitlines()[0])
    parser.add_argument("--image", type=size, default=(1080, 1920), metavar="HEIGHTxWIDTH")
    parser.add_argument("--objects", type=whole(1), default=25)
    parser.add_argument("--pictures", type=whole(1), default=60)
    options = parser.parse_args(arguments)
    image, seen = scene(options.image, options.objects)
    height, width = options.image
    print(f"{width} x {height}, {options.objects} objects, CPU time of one core, median:")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        for name, shown in parts(seen).items():
            took = cpu_ms(image, shown, options.pictures)
            print(f"  {name:18s} {took:6.1f} ms   {1e3 / took:5.0f} pictures a second")
    finally:
        os.sched_setaffinity(0, cores)
    return 0


def scene(shape: tuple[int, int], objects: int) -> tuple[np.ndarray, Predictions]:
    """A picture uint8 RGB [H, W, 3] of noise and what is to be seen in it, with all that is drawn.

    Raises BadConfig where a picture of that size has no room for so many objects.
    """
    rng = np.random.default_rng(0)
    image = rng.integers(60, 200, (*shape, 3), np.uint8)
    things = len(CITYSCAPES.things)
    planted = street_scene(objects, shape, things, seed=0)
    boxes = planted.boxes.round()
    windows = boxes.long()
    masks = Masks.from_crops(windows, [_ellipse(w) for w in windows.tolist()])
    scores = torch.linspace(0.99, 0.31, objects)
    return image, Predictions(shape, boxes, scores, planted.labels, masks, _bands(*shape))


def cpu_ms(image: np.ndarray, seen: Predictions, pictures: int) -> float:
    """Median CPU time of drawing one picture, in ms."""
    rng, took = np.random.default_rng(0), []
    for _ in range(pictures):
        change = torch.from_numpy(rng.uniform(-0.01, 0.01, len(seen)))
        now = replace(seen, scores=seen.scores + change)
        start = time.process_time()
        draw(image, now, CITYSCAPES)
        took.append((time.process_time() - start) * 1e3)
    return float(np.median(took))


def parts(seen: Predictions) -> dict[str, Predictions]:
    """By name, what is drawn of it."""
    return {
        "boxes": replace(seen, masks=None, semantic=None),
        "masks": replace(seen, semantic=None),
        "masks and classes": seen,
    }


def _ellipse(window: Sequence[int]) -> Tensor:
    """An ellipse with a waved edge that fills a window: bool [h, w]."""
    x1, y1, x2, y2 = window
    x = torch.linspace(-1, 1, x2 - x1)[None]
    y = torch.linspace(-1, 1, y2 - y1)[:, None]
    return torch.hypot(x, y) < 0.9 + 0.1 * torch.cos(7 * torch.atan2(y, x))


def _bands(height: int, width: int) -> Tensor:
    """A class for every pixel, in waved bands: uint8 [H, W]."""
    waves = torch.sin(torch.arange(width) * (12 * math.pi / width))[None]
    rows = torch.arange(height)[:, None] / height * len(CITYSCAPES.semantic) + waves
    return rows.long().clamp(0, len(CITYSCAPES.semantic) - 1).to(torch.uint8)


if __name__ == "__main__":
    run_program(main)
