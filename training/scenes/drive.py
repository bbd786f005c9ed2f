"""Video: drives through several streets, with moving objects that keep their identity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from training.scenes.depth import DepthPainter
from training.scenes.painter import Painter
from training.scenes.scene import Scene, check_request, take_picture
from training.scenes.street import CHOICES, any_street

TRACKS_PER_STREET = 1000


def render_drive(
    seed: int,
    streets: int,
    frames_per_street: int,
    rate_hz: float = 10.0,
    size: tuple[int, int] = (256, 512),
    depth: bool = False,
) -> Iterator[tuple[int, Scene]]:
    """Drive through `streets` streets one after the other: yields (stamp in nanoseconds, scene).

    Each street is drawn as render_scene draws it, and looks like that in the middle of its frames;
    but the view and the numbers and depths of things are spread evenly over the streets, so that
    drives resemble each other. Track ids are unique within a drive. The size is (height, width).
    With depth the scenes have it, and are the same else.
    """
    check_request(size, "default")
    if streets < 1 or frames_per_street < 1 or rate_hz <= 0:
        raise ValueError(
            f"a drive has {streets} streets of {frames_per_street} frames at {rate_hz} Hz; "
            "all must be above 0"
        )
    spreads = _spreads(np.random.default_rng([seed, streets, 1]), streets)
    frame, paint = 0, DepthPainter if depth else Painter
    for number in range(streets):
        rng = np.random.default_rng([seed, number, 2])
        street = any_street(rng, size, "default", spreads[number])
        for k in range(frames_per_street):
            time = (k - (frames_per_street - 1) / 2) / rate_hz
            scene = take_picture(street, time, rng, paint)
            yield round(frame * 1e9 / rate_hz), _renumbered(scene, number * TRACKS_PER_STREET + 1)
            frame += 1


def _spreads(rng: np.random.Generator, streets: int) -> np.ndarray:
    """Numbers [streets, CHOICES] in [0, 1): each column has one in each of equal intervals."""
    ranks = rng.permuted(np.tile(np.arange(streets)[:, None], (1, CHOICES)), axis=0)
    return (ranks + rng.random(ranks.shape)) / streets


def _renumbered(scene: Scene, first: int) -> Scene:
    objects = tuple(replace(thing, track_id=thing.track_id + first) for thing in scene.objects)
    return replace(scene, objects=objects)
