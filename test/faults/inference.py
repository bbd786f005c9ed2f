"""H. The core: threads, batches, degenerate boxes, and arguments that are no pictures."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from faults.contract import Case
from jointseg_core import (
    Classes,
    Manifest,
    Masks,
    Predictions,
    Predictor,
    Preprocessing,
    build_model,
    preset,
    shipped_weights,
)
from jointseg_core.boxes import crop_windows, detect, has_area
from jointseg_core.errors import BadConfig, SegError
from jointseg_core.refinement import BoundaryRefinement
from training.ablations.direct_boxes import direct_boxes


def predictor(folder: Path) -> tuple[Predictor]:
    found = Predictor.from_file(shipped_weights("rdsnet"), "cpu")
    found.configure(score_threshold=0.1)
    return (found,)


def nothing(folder: Path) -> tuple:
    return ()


def noise(seed: int, *size: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def _same(one: Predictions, other: Predictions, tolerance: float = 1e-3) -> None:
    assert len(one) == len(other) and one.labels.equal(other.labels)
    torch.testing.assert_close(one.boxes, other.boxes, rtol=0, atol=tolerance)


def _threads(see: Predictor) -> None:
    """Eight threads and pictures of different sizes find what one finds."""
    pictures = [noise(k, 64 + 16 * k, 200 - 8 * k) for k in range(8)]
    alone = [see([picture])[0] for picture in pictures]
    with ThreadPoolExecutor(8) as pool:
        for one, other in zip(alone, pool.map(lambda p: see([p])[0], pictures), strict=True):
            _same(one, other, 0)


def _batches(see: Predictor) -> None:
    """A picture finds the same alone as beside others of other shapes."""
    pictures = [noise(k, *size) for k, size in enumerate([(64, 200), (200, 64), (128, 256)])]
    for one, other in zip([see([p])[0] for p in pictures], see(pictures), strict=True):
        _same(one, other, 0.05)


def _no_pictures(see: Predictor) -> None:
    assert see([]) == []


def seen(name: str, *pictures: Any, error: type = ValueError, often: bool = False) -> Case:
    """What is no picture is refused; the next picture is seen."""

    def run(see: Predictor) -> None:
        try:
            see(list(pictures))
        finally:
            assert len(see([noise(1, 64, 64)])) == 1

    return Case("inference", name, predictor, run, SegError, megabytes=400, often=often)


def changed(name: str, **values: Any) -> Case:
    def run(see: Predictor) -> None:
        see.configure(**values)

    return Case("inference", name, predictor, run, BadConfig)


def _equal_scores() -> None:
    """100,000 boxes with equal scores: bounded in time, at most so many, always the same."""
    rng = torch.Generator().manual_seed(0)
    corner = torch.rand(100_000, 2, generator=rng) * 900
    boxes = torch.cat([corner, corner + 5 + 60 * torch.rand(100_000, 2, generator=rng)], 1)
    scores, began = torch.full((100_000, 8), 0.5), time.process_time()
    first = detect(boxes, scores, 0.3, 0.5, 100)
    assert time.process_time() - began < 10
    again = detect(boxes, scores, 0.3, 0.5, 100)
    assert all(a.equal(b) for a, b in zip(first, again, strict=True))
    assert len(first[0]) <= 100


DEGENERATE = torch.tensor(
    [[5.0, 5, 5, 9], [9, 9, 3, 3], [0, 0, 1e30, 1e30], [float("nan")] * 4, [-1e30, 0, 1e30, 9]]
)


def _degenerate_boxes() -> None:
    """No box that has no area, or is not a number, comes out."""
    boxes = torch.cat([DEGENERATE, torch.tensor([[1.0, 1, 9, 9]])])
    found = detect(boxes, torch.full((6, 2), 0.9), 0.3, 0.5, 100)
    assert bool(has_area(boxes[found[0]]).all()) and bool(boxes[found[0]].isfinite().all())


def _windows() -> None:
    """Crops of any box lie within the image."""
    windows = crop_windows(DEGENERATE[:3], 0.2, (48, 64))
    assert (windows >= 0).all() and (windows[:, 2] <= 64).all() and (windows[:, 3] <= 48).all()


def _empty_masks() -> None:
    """Boxes of objects whose masks are empty stay as they were regressed."""
    boxes = torch.tensor([[2.0, 2, 20, 20]])
    masks = Masks.from_crops(torch.tensor([[2, 2, 20, 20]]), [torch.zeros(18, 18, dtype=bool)])
    found = Predictions((32, 32), boxes, torch.ones(1), torch.zeros(1, dtype=torch.int64), masks)
    assert direct_boxes(found).boxes.equal(boxes)


def _refinement_of_nothing() -> None:
    refine = BoundaryRefinement()
    empty = torch.zeros(0, 4)
    assert refine(torch.zeros(0, 64), torch.zeros(0, 48), empty).shape == (0, 4)


def works(name: str, made: Callable, run: Callable, often: bool = False, **limits: Any) -> Case:
    return Case(
        "inference", name, made, run, often=often, **{"megabytes": 600, "seconds": 40} | limits
    )


SETTLED, LAST = 40, 90


def ever_other_sizes(model: str, how: str) -> Case:
    """The memory after 90 pictures of other sizes is that after 40, within 5 %."""

    def made(folder: Path) -> tuple[Predictor]:
        network = build_model(preset(model, "tiny"))
        classes = Classes(*(tuple(map(str, range(n))) for n in _classes(network.config)))
        inputs = Preprocessing((64, 128), by_sides="inputs" in how)
        precision = "bf16" if "bf16" in how else "fp32"
        return (Predictor(network, Manifest(network.config, classes, inputs), "cpu", precision),)

    def run(see: Predictor) -> None:
        see.configure(score_threshold=0.0 if "objects" in how else 0.3)
        random, pages = np.random.default_rng(0), {}
        for number in range(1, LAST + 1):
            count = random.integers(1, 4) if "batches" in how else 1
            see([noise(0, *random.integers(8, 240, 2)) for _ in range(count)])
            pages[number] = int(Path("/proc/self/statm").read_text().split()[1])
        assert pages[LAST] < 1.05 * pages[SETTLED], {n: pages[n] >> 8 for n in range(10, LAST, 20)}

    return works(f"{LAST} pictures of other sizes, {model}{how}", made, run, seconds=60)


def _classes(config: Any) -> tuple[int, int]:
    """How many things and classes of pixels."""
    things = getattr(config, "num_things", None) or config.num_classes
    return things, getattr(config, "num_semantic", None) or config.num_classes


CASES = [
    *(
        ever_other_sizes(model, how)
        for model in ("joint", "rdsnet", "segrpn")
        for how in (", as many inputs", "", " in batches")
    ),
    ever_other_sizes("joint", " in bf16"),
    ever_other_sizes("joint", " full of objects"),
    works("eight threads on one model", predictor, _threads, often=True),
    works("a picture alone and in a batch", predictor, _batches),
    works("no pictures at all", predictor, _no_pictures),
    seen("a picture of floats", np.zeros((9, 9, 3), np.float32)),
    seen("a picture without colours", np.zeros((9, 9), np.uint8)),
    seen("a picture of four colours", np.zeros((9, 9, 4), np.uint8)),
    seen("a picture of no height", np.zeros((0, 9, 3), np.uint8), often=True),
    seen("a picture of no width", np.zeros((9, 0, 3), np.uint8)),
    seen("a good picture and one of no height", noise(1, 9, 9), np.zeros((0, 9, 3), np.uint8)),
    seen("nothing in the place of a picture", None),
    changed("a setting that nobody knows", lerning_rate=1),
    works("100,000 boxes with equal scores", nothing, _equal_scores, often=True),
    works("boxes without area, of 1e30, not numbers", nothing, _degenerate_boxes),
    works("crops of such boxes", nothing, _windows),
    works("masks without a pixel", nothing, _empty_masks),
    works("a refinement of no box", nothing, _refinement_of_nothing),
]
