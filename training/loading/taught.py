"""What a teacher, another network, says of pictures where nobody annotated them."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch

from jointseg_core import CITYSCAPES, UNLABELLED, Predictions, Target, load_model
from jointseg_core.errors import BadCheckpoint, BadDataset
from jointseg_core.predictor import Predictor
from jointseg_eval.arguments import weights
from jointseg_eval.datasets import Sample, Samples
from jointseg_eval.datasets.pictures import Size, fingerprint, picture_size, read_picture
from jointseg_eval.datasets.sample import Changed
from jointseg_eval.real_pictures import find_pictures
from training.loading.real_streets import UDACITY, without_outlines
from training.recipes import learns_pixels

SURE_PIXEL, SURE_OBJECT, PERHAPS = 0.7, 0.5, 0.1
"""Least probability of a pixel's class, and scores of objects and of what may be one."""
KEPT = 20_000
"""Answers that a process remembers, some 20 kB each."""


class TaughtSamples:
    """Dashcam pictures that nobody outlined (MIT), as `teacher` sees them.

    teacher  weights, or the name of shipped ones; BadCheckpoint where they know other classes
    """

    classes = CITYSCAPES

    def __init__(self, teacher: str, folder: Path | None = None) -> None:
        self.root = find_pictures(folder)
        self._names = without_outlines(self.root)
        if not self._names:
            raise BadDataset(f"there are no pictures without outlines in {self.root / UDACITY}.")
        predictor = Predictor.from_file(weights(teacher))
        if predictor.classes != CITYSCAPES or predictor.model_type != "joint":
            raise BadCheckpoint(
                f"{predictor.weights}: only a joint network of Cityscapes' classes can teach here"
            )
        predictor.configure(score_threshold=PERHAPS)
        pictures = (read_picture(self.root / name) for name in self._names)
        self._targets = [_target(predictor([picture])[0]) for picture in pictures]
        self._taught = "taught", predictor.sha256
        self.name = f"{len(self._names)} pictures as {predictor.weights.stem} sees them"

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        name = self._names[index]
        return Sample(name, index, read_picture(self.root / name), self._targets[index])

    def image_size(self, index: int) -> Size:
        return picture_size(self.root / self._names[index])

    def has_objects(self, index: int) -> bool:
        return not bool(self._targets[index].crowd.all())

    def sample_name(self, index: int) -> str:
        return self._names[index]

    def identity(self) -> str:
        return fingerprint((self.root / name for name in self._names), self.root, *self._taught)


class TaughtPixels(Changed):
    """Pictures whose pixels without a class have that of the stuff which `teacher` is sure of.

    teacher  weights, or the name of shipped ones; BadCheckpoint where they know no pixels

    Things that nobody annotated stay without a class. A process asks the teacher once of a picture,
    when it is first wanted.
    """

    def __init__(self, samples: Samples, teacher: str) -> None:
        super().__init__(samples)
        self._weights = weights(teacher)
        _, self._manifest = load_model(self._weights)
        theirs, ours = self._manifest.classes, self.classes
        if not learns_pixels(self._manifest.config):
            kind = self._manifest.model_type
            raise BadCheckpoint(f"{self._weights}: {kind} tells no classes of pixels to teach")
        shared = set(ours.semantic).intersection(theirs.semantic)
        self._numbers = np.full(256, UNLABELLED, np.uint8)
        for name in shared.difference(ours.things, theirs.things):
            self._numbers[theirs.semantic.index(name)] = ours.semantic.index(name)
        self._seen = lru_cache(KEPT)(self._see)

    @cached_property
    def _predictor(self) -> Predictor:
        return Predictor.from_file(self._weights, "cpu", backend="torch")

    def _see(self, index: int) -> np.ndarray:
        """The class of each pixel, as a PNG."""
        found = self._predictor([self.samples[index].image])[0]
        assert found.semantic is not None and found.confidence is not None
        semantic = self._numbers[found.semantic.numpy()]
        semantic[found.confidence.numpy() < SURE_PIXEL] = UNLABELLED
        return cv2.imencode(".png", semantic)[1]

    def __getitem__(self, index: int) -> Sample:
        sample = self.samples[index]
        target = sample.target
        assert target.semantic is not None
        taught = torch.from_numpy(cv2.imdecode(self._seen(index), cv2.IMREAD_UNCHANGED)).long()
        taught[target.masks.any(0)] = UNLABELLED
        semantic = torch.where(target.semantic == UNLABELLED, taught, target.semantic)
        return replace(sample, target=replace(target, semantic=semantic))

    def identity(self) -> str:
        return f"{self.samples.identity()} taught {self._manifest.sha256}"


def _target(found: Predictions) -> Target:
    """What is certain teaches; where an object may be, nothing is asked."""
    assert found.semantic is not None and found.confidence is not None and found.masks is not None
    sure = found.confidence >= SURE_PIXEL
    return Target(
        boxes=found.boxes,
        labels=found.labels,
        masks=found.masks.bitmaps(found.image_size),
        semantic=torch.where(sure, found.semantic.long(), UNLABELLED),
        crowd=found.scores < SURE_OBJECT,
    )
