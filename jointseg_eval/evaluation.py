"""Run a model on a data set and keep what every picture adds to its scores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from torch import Tensor

from jointseg_core import CITYSCAPES
from jointseg_core.classes import Classes
from jointseg_core.predictions import Predictions
from jointseg_core.predictor import Predictor
from jointseg_eval.datasets.sample import Sample, Samples
from jointseg_eval.metrics import (
    Agreement,
    AveragePrecision,
    CityscapesPrecision,
    DistanceRecall,
    ObjectConfusion,
    PanopticQuality,
    PixelConfusion,
    ProposalRecall,
    foreground_truth,
    merge_segments,
    true_segments,
)
from jointseg_eval.metrics.columns import Columns, ImageColumns, as_one, means, part_of
from jointseg_eval.metrics.overlaps import SharedPixels
from jointseg_eval.models import Models, asked_for_all

Part = AveragePrecision | ImageColumns


class Evaluation:
    """Scores of a model on the pictures of a data set, each of which stays known by its number.

    A kind of score is there when results and annotation have what it needs: things to find, masks,
    class maps, the classes of Cityscapes.
    """

    def __init__(self, classes: Classes) -> None:
        self.classes = classes
        self.pictures: list[str] = []
        self.objects = AveragePrecision(classes.things)
        self.confusion_matrix = ObjectConfusion(classes.things)
        self.distances = DistanceRecall()
        self.proposals = ProposalRecall()
        self.pixels = PixelConfusion(len(classes.semantic))
        self.foreground = PixelConfusion(2)
        self.panoptic = PanopticQuality(classes)
        self.agreement = Agreement(classes)
        self.instances = CityscapesPrecision(classes.things)

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.pictures)

    def add(
        self, sample: Sample, found: Predictions, proposals: tuple[Tensor, Tensor] | None = None
    ) -> None:
        """One more picture: what was found in it, in the classes of the data set.

        All detections with a score of 0.05 or more should be in `found`; proposals are boxes
        [P, 4] and scores [P].
        """
        target = sample.target
        self.pictures.append(sample.name)
        if found.semantic is not None and target.semantic is not None:
            self.pixels.add(found.semantic, target.semantic)
        self.confusion_matrix.add(found, target)
        if self.classes.things:
            self._add_objects(sample, found, proposals)

    def _add_objects(
        self, sample: Sample, found: Predictions, proposals: tuple[Tensor, Tensor] | None
    ) -> None:
        """What depends on the objects of one more picture."""
        target = sample.target
        shared = None if found.masks is None else SharedPixels.of(found, target)
        self.objects.add(found, target, sample.areas, shared)
        self.distances.add(found, target, sample.distances)
        if proposals is not None:
            self.proposals.add(*proposals, target, sample.areas)
        if target.semantic is None:
            return
        if found.foreground is not None:
            things = foreground_truth(target.semantic, self.classes)
            self.foreground.add(found.foreground, things)
        if found.masks is not None and self.classes.things == CITYSCAPES.things:
            self.instances.add(found, target, sample.void, shared)
        if found.masks is not None and found.semantic is not None:
            segments = merge_segments(found, self.classes)
            self.panoptic.add(segments, true_segments(target, self.classes, shared.truth))
            self.agreement.add(found, shared.found)

    def columns(self) -> Columns:
        """All that the scores come from, to be given to `extend` in another process."""
        parts = {name: part.columns() for name, part in self._parts().items()}
        return {"pictures": np.array(self.pictures, str), **as_one(parts)}

    def extend(self, columns: Mapping[str, np.ndarray]) -> None:
        """The pictures of another evaluation, behind those that are here."""
        for name, part in self._parts().items():
            part.extend(part_of(columns, name))
        self.pictures += columns["pictures"].tolist()

    def _parts(self) -> dict[str, Part]:
        return {name: part for name, part in vars(self).items() if isinstance(part, Part)}

    @property
    def metrics(self) -> dict[str, float]:
        """All numbers by name, 0 to 1; NaN where nothing of the kind was there."""
        return self.score()

    def score(self, images: Sequence[int] | None = None) -> dict[str, float]:
        """The same of the pictures with these numbers alone, repeats allowed."""
        found = {}
        if self.classes.things:
            found = self.objects.score(images) | self.distances.score(images)
        if self.has(self.pixels):
            found["miou"] = self.pixels.over(images).mean_iou()
        if self.has(self.foreground):
            found["foreground_miou"] = self.foreground.over(images).mean_iou()
        for part in (self.panoptic, self.agreement, self.proposals, self.instances):
            if self.has(part):
                found |= part.score(images)
        return found

    def has(self, part: Part) -> bool:
        """Whether a kind of score knows every picture."""
        return 0 < len(part) == len(self)

    def table(self) -> dict[str, dict[str, float]]:
        """For each class its numbers by name, NaN where it does not occur."""
        rows: dict[str, dict[str, float]] = {
            name: {} for name in dict.fromkeys((*self.classes.things, *self.classes.semantic))
        }
        parts = {"box": self.objects.boxes()}
        parts |= {"mask": self.objects.masks()} if self.objects.has_masks else {}
        for kind, precision in parts.items():
            for name, (ap, ap50, count) in precision.classes.items():
                rows[name] |= {"objects": count, f"{kind}_ap": ap, f"{kind}_ap50": ap50}
        if self.has(self.instances):
            for name, aps in zip(self.classes.things, self.instances.classes(), strict=True):
                rows[name] |= {"cityscapes_ap": float(aps.mean())}
        if self.has(self.pixels):
            ious, shares = self.pixels.iou().tolist(), self.pixels.share().tolist()
            for name, iou, share in zip(self.classes.semantic, ious, shares, strict=True):
                rows[name] |= {"iou": iou, "share_of_pixels": share}
        if self.has(self.panoptic):
            names, numbers = self.panoptic.categories.names, self.panoptic.classes().tolist()
            for name, values in zip(names, numbers, strict=True):
                rows[name] |= dict(zip(("pq", "sq", "rq"), values, strict=True))
        return {name: row for name, row in rows.items() if row}

    def quality(self) -> np.ndarray:
        """How good each picture is [pictures], 0 to 1, to tell the best from the worst.

        The mean of its share of right objects and its mean IoU of pixels, as far as there are such
        things in it; NaN where there is neither.
        """
        parts = [self.confusion_matrix.quality]
        if self.has(self.pixels):
            parts.append(self.pixels.mean_ious())
        return means(parts)


def evaluate(
    predictor: Predictor,
    samples: Samples,
    other: Predictor | None = None,
    limit: int | None = None,
    proposals: int = 1000,
    batch: int = 4,
    threads: int = 2,
    on_pictures: Callable[[int], None] = lambda count: None,
) -> Evaluation:
    """What a model scores on a data set.

    Args:
        predictor: makes the objects; its limits other than the score are used as they are.
        other: makes the class maps, where the first one makes none.
        limit: this many pictures alone, evenly spread over the data set.
        proposals: of each picture that are scored; 0 saves their time.
        batch: pictures that go through the network together.
        threads: that read pictures ahead.
        on_pictures: told how many pictures more have been scored.

    Raises BadInput when a model does not know a class of the data set.
    """
    evaluation = Evaluation(samples.classes)
    models = Models.of(samples.classes, samples.name, predictor, other)
    chosen = spread(len(samples), limit)
    with asked_for_all(predictor):
        for group in _read(samples, chosen, batch, threads):
            results = models([sample.image for sample in group], proposals)
            for sample, result in zip(group, results, strict=True):
                evaluation.add(sample, *result)
            on_pictures(len(group))
    return evaluation


def spread(count: int, limit: int | None) -> list[int]:
    """At most `limit` of the numbers below `count`, evenly spread."""
    if limit is None or limit >= count:
        return list(range(count))
    return [k * count // limit for k in range(limit)]


def _read(
    samples: Samples, chosen: Sequence[int], batch: int, threads: int
) -> Iterator[list[Sample]]:
    """The pictures with these numbers in groups; two groups are read ahead."""
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Iterator[Sample]] = deque()
        for start in range(0, len(chosen), batch):
            ahead.append(pool.map(samples.__getitem__, chosen[start : start + batch]))
            if len(ahead) > 2:
                yield list(ahead.popleft())
        while ahead:
            yield list(ahead.popleft())
