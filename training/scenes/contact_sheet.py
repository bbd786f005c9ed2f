"""Draw a contact sheet: pictures with their labels beside them.

python -m training.scenes.contact_sheet sheet.png --seed 0 --count 12
"""

from __future__ import annotations

import argparse

import cv2
import numpy as np

from jointseg_core.classes import CITYSCAPES
from jointseg_core.command import run_program
from jointseg_core.errors import ResourceError
from jointseg_eval.arguments import bounded
from training.scenes.scene import STYLES, Scene, render_scene


def coloured(scene: Scene) -> np.ndarray:
    """The labels in colours, uint8 RGB [H, W, 3]; objects with their boxes, void black."""
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(CITYSCAPES.semantic)] = CITYSCAPES.semantic_colors
    labels = palette[scene.semantic]
    edges = cv2.morphologyEx(scene.instances, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)) > 0
    labels[edges] = 255
    for thing in scene.objects:
        x1, y1, x2, y2 = (int(v) for v in thing.box)
        colour = (255, 255, 255) if not thing.crowd else (255, 160, 0)
        cv2.rectangle(labels, (x1, y1), (x2 - 1, y2 - 1), colour, 1)
    return labels


def contact_sheet(scenes: list[Scene], columns: int) -> np.ndarray:
    """All scenes, each with its labels on the right: uint8 RGB."""
    pairs = [np.concatenate([scene.image, coloured(scene)], axis=1) for scene in scenes]
    pairs += [np.zeros_like(pairs[0])] * (-len(pairs) % columns)
    rows = [np.concatenate(pairs[k : k + columns], axis=1) for k in range(0, len(pairs), columns)]
    return np.concatenate(rows, axis=0)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="contact_sheet", description=__doc__.splitlines()[0])
    parser.add_argument("out", help="picture to write")
    parser.add_argument("--seed", type=bounded(int, 0), default=0)
    parser.add_argument("--first", type=bounded(int, 0), default=0, help="index of the first scene")
    parser.add_argument("--count", type=bounded(int, 1, 1000), default=12)
    parser.add_argument("--columns", type=bounded(int, 1, 100), default=2)
    parser.add_argument("--style", choices=STYLES, default="plain")
    arguments = parser.parse_args(words)
    indices = range(arguments.first, arguments.first + arguments.count)
    scenes = [render_scene(arguments.seed, index, style=arguments.style) for index in indices]
    sheet = contact_sheet(scenes, arguments.columns)
    if not cv2.imwrite(arguments.out, cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
        raise ResourceError(
            f"cannot write {arguments.out}: want a .png or .jpg name in an existing folder"
        )


if __name__ == "__main__":
    run_program(main)
