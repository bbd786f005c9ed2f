"""Pictures side by side, each with its caption."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from jointseg_core import Classes, Target
from jointseg_core.visualize import draw

GAP, LETTERS = 4, 13
"""Pixels between pictures, and of the letters of a caption."""
MOST = 8  # pictures of a batch


def captioned(panels: Mapping[str, np.ndarray]) -> np.ndarray:
    """Pictures uint8 RGB [H, W, 3] of one size in a row, each below its caption."""
    height, width = next(iter(panels.values())).shape[:2]
    top = LETTERS + 2 * GAP
    whole = Image.new("RGB", (len(panels) * (width + GAP) - GAP, height + top), "white")
    letters, font = ImageDraw.Draw(whole), ImageFont.load_default(LETTERS)
    for k, (caption, picture) in enumerate(panels.items()):
        x = k * (width + GAP)
        whole.paste(Image.fromarray(picture), (x, top))
        fitting = next(n for n in range(len(caption), -1, -1)
                       if font.getlength(caption[:n]) <= width)  # fmt: skip
        letters.text((x, GAP - 1), caption[:fitting], "black", font)
    return np.asarray(whole)


def batch_sheet(
    images: Tensor, targets: Sequence[Target], names: Sequence[str], classes: Classes
) -> np.ndarray:
    """What a network is given: images uint8 [B, 3, H, W] with their annotations, in a square."""
    panels = []
    for image, target, name in list(zip(images, targets, names, strict=True))[:MOST]:
        pixels = np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
        truth = target.to("cpu").as_predictions()
        panels.append(captioned({name: draw(pixels, truth, classes, show_scores=False)}))
    columns = math.ceil(math.sqrt(len(panels)))
    panels += [np.full_like(panels[0], 255)] * (-len(panels) % columns)
    rows = [np.concatenate(panels[k : k + columns], 1) for k in range(0, len(panels), columns)]
    return np.concatenate(rows)
