"""The same validation pictures as training goes on: what is there, beside what is found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from jointseg_core import Predictor
from jointseg_core.visualize import draw
from jointseg_eval.datasets.sample import Samples

GAP = 4
"""Pixels between the two halves of a picture."""


def draw_snapshots(
    samples: Samples, indices: Sequence[int], predictor: Predictor
) -> dict[str, np.ndarray]:
    """Annotation | prediction of some samples, uint8 RGB [H, 2 W + GAP, 3] by name."""
    pictures = {}
    for index in indices:
        sample = samples[index]
        (found,) = predictor([sample.image])
        halves = [
            draw(
                sample.image,
                sample.target.as_predictions(found),
                samples.classes,
                show_scores=False,
            ),
            np.full((len(sample.image), GAP, 3), 255, np.uint8),
            draw(sample.image, found, samples.classes),
        ]
        pictures[Path(sample.name).stem] = np.concatenate(halves, 1)
    return pictures


def save_snapshots(folder: Path, step: int, pictures: dict[str, np.ndarray]) -> None:
    """FOLDER/NAME/00000500.jpg for each picture."""
    for name, picture in pictures.items():
        path = folder / name / f"{step:08}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path, quality=90)
