"""What depth costs a node in every frame, on one core: `python -m benchmarks.ros.space`.

    python -m benchmarks.ros.space                                      1080p, 30 objects
    python -m benchmarks.ros.space --json docs/results/speed_depth.json

Places the objects of a scripted scene by a depth image in millimetres, with 5 % of noise and a
tenth of holes, and fills the messages. What is measured is the CPU time of the process, which is
bound to one core.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from std_msgs.msg import Header

from benchmarks.arguments import Parser, size, whole
from benchmarks.machine import Usage, machine
from benchmarks.networks.overlay import scene
from jointseg_core.classes import CITYSCAPES
from jointseg_core.command import run_program
from jointseg_core.predictions import Predictions
from jointseg_objects.depth import Intrinsics, Limits, lift
from jointseg_ros.conversions import Result
from jointseg_ros.depth_inputs import Registered
from jointseg_ros.parameters import Settings
from jointseg_ros.places import Space
from jointseg_ros.space_messages import detections_3d_message, markers_message, points_message

NOISE, HOLES = 0.05, 0.1


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    parser = Parser("benchmarks.ros.space", __doc__.splitlines()[0])
    parser.add_argument("--image", type=size, default=(1080, 1920), metavar="HEIGHTxWIDTH")
    parser.add_argument("--objects", type=whole(1), default=30)
    parser.add_argument("--pictures", type=whole(1), default=100)
    parser.add_argument("--json", type=Path, help="a file for the numbers")
    options = parser.parse_args(arguments)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    usage = Usage({"own": os.getpid()})
    try:
        took = measured(*options.image, options.objects, options.pictures)
    finally:
        os.sched_setaffinity(0, cores)
    print(f"{options.image[1]} x {options.image[0]}, {options.objects} objects, CPU time, median:")
    for name, ms in took.items():
        print(f"  {name:14s} {ms:6.2f} ms")
    if options.json:
        document = {
            "command": "python -m benchmarks.ros.space",
            "settings": {k: v for k, v in vars(options).items() if k != "json"},
            "machine": machine(),
            "usage": usage.so_far(),
            "cpu_ms": took,
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


def measured(height: int, width: int, objects: int, pictures: int) -> dict[str, float]:
    """Median CPU time in ms: of placing, of the message for each frame, of those for listeners."""
    image, seen = scene((height, width), objects)
    seen = replace(seen, confidence=torch.full(seen.image_size, 0.9))
    depth, lens = depth_of(seen), Intrinsics(width / 2, width / 2, width / 2, height / 2)
    space = Space(lift(seen, depth, lens), Registered(lens, depth), Limits())
    result = Result(Header(), image, seen, CITYSCAPES, Settings(), space=space)
    works: dict[str, Callable[[], object]] = {
        "lift": lambda: lift(seen, depth, lens),
        "detections_3d": lambda: detections_3d_message(result),
        "markers": lambda: markers_message(result),
        "points": lambda: points_message(result),
    }
    found = {name: cpu_ms(work, pictures) for name, work in works.items()}
    return {"every frame": found["lift"] + found["detections_3d"], **found}


def depth_of(seen: Predictions) -> np.ndarray:
    """Objects 5 m to 40 m in front of a wall at 60 m, uint16 [H, W] in millimetres."""
    rng = np.random.default_rng(0)
    metres = np.full(seen.image_size, 60.0)
    for far, mask in zip(
        np.linspace(40, 5, len(seen)), seen.masks.bitmaps(seen.image_size).numpy(), strict=True
    ):
        metres[mask] = far
    metres *= rng.normal(1, NOISE, metres.shape)
    metres[rng.random(metres.shape) < HOLES] = 0
    return (1e3 * metres).clip(0, 65535).astype(np.uint16)


def cpu_ms(work: Callable[[], object], times: int) -> float:
    """Median CPU time of doing something, in ms."""
    took = []
    for _ in range(times):
        start = time.process_time()
        work()
        took.append(1e3 * (time.process_time() - start))
    return round(float(np.median(took)), 3)


if __name__ == "__main__":
    run_program(main)
