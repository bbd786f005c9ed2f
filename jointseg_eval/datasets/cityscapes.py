"""Cityscapes straight from `gtFine`: label ids become train ids in memory, nothing is prepared.

    leftImg8bit/{train,val}/CITY/CITY_SEQ_FRAME_leftImg8bit.png
    gtFine/{train,val}/CITY/CITY_SEQ_FRAME_gtFine_{labelIds,instanceIds}.png

A pixel of an instance map is label * 1000 + number; below 1000 it is the label alone, which for a
thing is a group that nobody can tell apart: a crowd.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from jointseg_core import CITYSCAPES, UNLABELLED, Target
from jointseg_core.errors import BadDataset, BadInput
from jointseg_eval.datasets.masks import tight_boxes
from jointseg_eval.datasets.pictures import (
    Size,
    fingerprint,
    picture_size,
    read_labels,
    read_picture,
)
from jointseg_eval.datasets.sample import Sample
from jointseg_eval.datasets.store import FlatStore
from jointseg_eval.input_validation import Defect, refuse

LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The label id in the files of each of the 19 classes, which are train ids 0 to 18."""

THING_IDS = LABEL_IDS[11:]
"""The label id of each of the 8 things."""

LAST_ID = 33
IGNORED_THINGS = (29, 30)  # caravan, trailer: instances that no class counts

PICTURE, LABELS, INSTANCES = (
    "leftImg8bit/{}_leftImg8bit.png",
    "gtFine/{}_gtFine_labelIds.png",
    "gtFine/{}_gtFine_instanceIds.png",
)
"""Where the files of a name (split/city/stem) are below the root."""

_TRAIN_IDS = np.full(256, UNLABELLED, np.uint8)
_TRAIN_IDS[list(LABEL_IDS)] = np.arange(19)


class CityscapesSamples:
    """The annotated pictures of a split.

    Raises BadInput for folders that are missing; pictures or annotations that are missing are told
    to `report`, and left out if that returns.
    """

    classes = CITYSCAPES

    def __init__(self, root: Path, split: str, report: Callable[[Defect], None] = refuse) -> None:
        self.root = root
        sizes = _sizes(root, _complete(root, split, report), report)
        self._names = FlatStore(sizes)
        self._sizes = np.array(list(sizes.values()), np.int32).reshape(-1, 2)
        self.name = f"cityscapes {split} at {root} ({len(sizes)} pictures)"

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        image = read_picture(self.root / self.sample_name(index))
        labels, instances = self._maps(index)
        void = ~np.isin(instances, LABEL_IDS) & (instances < 1000)  # no caravans: they have numbers
        target = target_of(labels, instances)
        return Sample(self.sample_name(index), index, image, target, void=void)

    def image_size(self, index: int) -> Size:
        height, width = self._sizes[index].tolist()
        return height, width

    def has_objects(self, index: int) -> bool:
        """Whether there is an object that is not a crowd; decodes the instance map."""
        labels = np.unique(self._maps(index)[1]) // 1000
        return bool(np.isin(labels, THING_IDS).any())

    def sample_name(self, index: int) -> str:
        return PICTURE.format(self._names[index])

    def identity(self) -> str:
        kinds = (PICTURE, LABELS, INSTANCES)
        files = (self.root / kind.format(name) for name in self._names for kind in kinds)
        return fingerprint(files, self.root, "cityscapes")

    def _maps(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        name, size = self._names[index], self.image_size(index)
        labels, instances = (self.root / kind.format(name) for kind in (LABELS, INSTANCES))
        return _checked_labels(labels, size), _checked_instances(instances, size)


def target_of(labels: np.ndarray, instances: np.ndarray) -> Target:
    """The annotation in maps [H, W] of label ids (uint8) and of instance ids (int32)."""
    present = np.flatnonzero(np.bincount(instances.ravel()))
    classes = np.where(present < 1000, present, present // 1000)
    things = np.isin(classes, THING_IDS)
    present, classes = present[things], classes[things]
    order = np.arange(1, len(present) + 1, dtype=np.min_scalar_type(len(present)))
    numbers = np.zeros(int(instances.max()) + 1, order.dtype)
    numbers[present] = order
    masks = torch.from_numpy(numbers[instances] == order[:, None, None])
    return Target(
        boxes=tight_boxes(masks),
        labels=torch.from_numpy(np.searchsorted(THING_IDS, classes)),
        masks=masks,
        semantic=torch.from_numpy(_TRAIN_IDS[labels].astype(np.int64)),
        crowd=torch.from_numpy(present < 1000),
    )


def _complete(root: Path, split: str, report: Callable[[Defect], None]) -> list[str]:
    """Names (split/city/stem) of what has a picture, labels and instances."""
    found = {kind: _found(root, split, kind) for kind in (PICTURE, LABELS, INSTANCES)}
    for name in sorted(set().union(*found.values())):
        for kind, names in found.items():
            if name not in names:
                count = f"there are {len(names)} of its kind"
                told = f"there is no such file, which belongs to {name} ({count})"
                report(Defect(str(root / kind.format(name)), told))
    return sorted(set.intersection(*found.values()))


def _sizes(root: Path, names: list[str], report: Callable[[Defect], None]) -> dict[str, Size]:
    """(height, width) of the pictures whose headers can be read, by name."""
    sizes = {}
    for name in names:
        try:
            sizes[name] = picture_size(root / PICTURE.format(name))
        except BadInput as problem:
            report(Defect(PICTURE.format(name), str(problem)))
    return sizes


def _found(root: Path, split: str, kind: str) -> set[str]:
    """Names (split/city/stem) of the files of a kind."""
    folder, ending = root / kind.partition("/")[0], kind.partition("{}")[2]
    files = (folder / split).glob(f"*/*{ending}")
    names = {str(file.relative_to(folder)).removesuffix(ending) for file in files}
    if not names:
        place = folder if folder.is_dir() else root
        here = ", ".join(sorted(child.name for child in place.iterdir())[:8]) or "nothing"
        zips = f"{folder.name}_trainvaltest.zip"
        raise BadDataset(
            f"Cityscapes is incomplete: looked for {folder}/{split}/*/*{ending} and found none"
            f" ({place} holds {here}); unpack {zips} there."
        )
    return names


def _checked_labels(path: Path, size: Size) -> np.ndarray:
    labels = read_labels(path, size)
    if labels.min() < 0 or labels.max() > LAST_ID:
        wrong = sorted({int(i) for i in np.unique(labels) if not 0 <= i <= LAST_ID})
        raise BadDataset(
            f"{path} holds label ids {wrong[:5]}, Cityscapes has 0 to {LAST_ID};"
            " are these train ids or another data set's?"
        )
    return labels.astype(np.uint8)


def _checked_instances(path: Path, size: Size) -> np.ndarray:
    instances = read_labels(path, size)
    if instances.dtype == np.uint8:
        raise BadDataset(
            f"{path} has 8 bits a pixel and so cannot hold instance ids (label * 1000 + number),"
            " which need 16; write it again as a 16-bit PNG, or unpack the original."
        )
    ids = np.flatnonzero(np.bincount(instances.ravel())) if instances.min() >= 0 else np.array([-1])
    numbered = np.isin(ids // 1000, (*THING_IDS, *IGNORED_THINGS))
    wrong = ids[~numbered & ((ids > LAST_ID) | (ids < 0))]
    if len(wrong):
        raise BadDataset(
            f"{path} holds instance ids {wrong[:5].tolist()}; known are label ids 0 to {LAST_ID}"
            f" and label * 1000 + number for the labels {(*THING_IDS, *IGNORED_THINGS)}."
        )
    return instances
