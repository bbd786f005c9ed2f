"""Compare the painter with the obvious way of painting, on the same scenes and in one run.

python -m benchmarks.scenes --scenes 4

The obvious way makes a mask of the whole canvas for every polygon and sets colour, class, object
and depth wherever it is true. Like the painter, it draws colours at twice the size and labels at
the size of the picture; what the painter fills with one call gets one mask.
"""

from __future__ import annotations

import argparse
import time

import cv2
import numpy as np

from jointseg_core.command import run_program
from training.scenes.camera import Camera
from training.scenes.codes import FIRST_OBJECT
from training.scenes.painter import FRACTION, Light, Painter
from training.scenes.scene import Scene, take_picture
from training.scenes.street import SUPERSAMPLING, any_street

SIZES = ((128, 256), (256, 512), (512, 1024))


class FullCanvasPainter(Painter):
    """Paints what Painter paints, through masks [H, W] of the whole canvas."""

    def __init__(self, camera: Camera, light: Light) -> None:
        super().__init__(camera, light)
        size = tuple(s // SUPERSAMPLING for s in camera.size)
        self.semantic, self.depth = np.zeros(size, np.uint8), np.zeros(size, np.float32)
        self.painted = 0  # polygons or groups of them: their rank stands for the depth

    def _fill(self, polygons: list[np.ndarray], tone: list[int], code: int) -> None:
        mask = self._empty()
        cv2.fillPoly(mask, polygons, 1, cv2.LINE_8, FRACTION)
        self._paint(mask.view(bool), tone, code)

    def _fill_convex(self, polygon: np.ndarray, tone: list[int], code: int) -> None:
        mask = self._empty()
        cv2.fillConvexPoly(mask, polygon, 1, cv2.LINE_8, FRACTION)
        self._paint(mask.view(bool), tone, code)

    def _relabel(self, polygon: np.ndarray, code: int) -> None:
        mask = self._empty()
        cv2.fillPoly(mask, [polygon], 1, cv2.LINE_8, FRACTION)
        self._label(mask.view(bool), code)

    def _empty(self) -> np.ndarray:
        return np.zeros(self.camera.size, np.uint8)

    def _paint(self, mask: np.ndarray, tone: list[int], code: int) -> None:
        self.painted += 1
        self.canvas[..., :3][mask] = tone
        self._label(mask, code)
        self.depth[mask[::SUPERSAMPLING, ::SUPERSAMPLING]] = self.painted

    def _label(self, mask: np.ndarray, code: int) -> None:
        mask = mask[::SUPERSAMPLING, ::SUPERSAMPLING]
        self.canvas[::SUPERSAMPLING, ::SUPERSAMPLING, 3][mask] = code
        self.semantic[mask] = min(code, FIRST_OBJECT)


def paint_scene(
    seed: int, index: int, size: tuple[int, int], painter: type[Painter]
) -> tuple[Scene, float]:
    """The scene that render_scene gives, painted by one of the two, and the seconds of CPU."""
    start = time.process_time()
    rng = np.random.default_rng([seed, index])
    scene = take_picture(any_street(rng, size, "default"), 0.0, rng, painter)
    return scene, time.process_time() - start


def compare(size: tuple[int, int], scenes: int, seed: int = 1) -> tuple[float, float]:
    """Seconds of CPU a picture: painted the obvious way, and by the painter."""
    spent = np.zeros(2)
    for index in range(scenes):
        for k, painter in enumerate((FullCanvasPainter, Painter)):
            spent[k] += paint_scene(seed, index, size, painter)[1]
    obvious, ours = spent / scenes
    return float(obvious), float(ours)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=4, help="of each size")
    arguments = parser.parse_args(words)
    cv2.setNumThreads(1)
    compare((64, 128), 1)  # warm up
    print("pictures a second on one core   full-canvas masks   painter   ratio")
    for size in SIZES:
        obvious, ours = compare(size, arguments.scenes)
        name = f"{size[0]} x {size[1]}"
        print(f"{name:31s} {1 / obvious:17.2f} {1 / ours:9.1f} {obvious / ours:7.1f}")


if __name__ == "__main__":
    run_program(main)
