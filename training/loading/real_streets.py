"""Real pictures that may teach weights which are shipped, in Cityscapes' classes.

outlined  dashcam pictures of comma10k and of Udacity (MIT), by hand in street_outlines.json
comma10k  two at night that are not (MIT): the road, and where vehicles and people are
COCO      pictures under CC BY, CC BY-SA or without known restrictions: objects alone, since the
          pixels of everyday pictures made those of streets worse

The folder that holds them is found as `jointseg_eval.real_pictures` finds it; nothing of it is
copied. `attributions` lists each picture with its licence.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import torch

from jointseg_core import CITYSCAPES, UNLABELLED, Target
from jointseg_core.errors import BadDataset
from jointseg_eval.datasets import Joined, Sample, Samples, Subset, open_dataset
from jointseg_eval.datasets.coco_file import read_json
from jointseg_eval.datasets.masks import tight_boxes
from jointseg_eval.datasets.pictures import (
    Size,
    fingerprint,
    picture_size,
    read_labels,
    read_picture,
)
from jointseg_eval.real_pictures import COCO_FILE, barred_pictures, find_pictures
from training.loading.as_cityscapes import AsCityscapes

COMMA, UDACITY = "comma10k_11", "unlabelled"
SOURCES = {
    COMMA: "https://github.com/commaai/comma10k",
    UDACITY: "https://github.com/udacity/CarND-LaneLines-P1",
}
"""Where the MIT pictures of a folder are from."""

OUTLINES = Path(__file__).with_name("street_outlines.json")
_THINGS = {name: label for label, name in enumerate(CITYSCAPES.things)}
_PIXELS = {name: value for value, name in enumerate(CITYSCAPES.semantic)}
_CAR, _GROUP = _THINGS["car"], "cars"
_ROAD, _MOVING = (0, 1), 3  # its labels: road and lane markings; vehicles, people and animals


def real_streets(folder: Path | None = None) -> Samples:
    """All of them. Raises BadDataset where they are not there."""
    folder = find_pictures(folder)
    pictures = Joined([CommaSamples(folder), OutlinedSamples(folder), _free_coco(folder)])
    pictures.name = f"{len(pictures)} real pictures"
    return pictures


def without_outlines(folder: Path) -> list[str]:
    """The other pictures of Udacity, which nobody annotated (MIT)."""
    found = {str(file.relative_to(folder)) for file in folder.glob(f"{UDACITY}/*/*.jpg")}
    return sorted(found - set(json.loads(OUTLINES.read_text())))


def attributions(taught: bool = False, folder: Path | None = None) -> list[dict[str, str]]:
    """Of each picture its file, licence and source, as a model card has to name them.

    taught  with those that a teacher annotates
    """
    folder = find_pictures(folder)
    barred = barred_pictures(folder)
    document, _ = read_json(folder / COCO_FILE, ("images", "licenses"))
    licences = {one["id"]: one["url"] for one in document["licenses"]}
    dashcams = Joined([CommaSamples(folder), OutlinedSamples(folder)])
    names = [dashcams.sample_name(index) for index in range(len(dashcams))]
    names += without_outlines(folder) if taught else []
    return [
        {"file": name, "licence": "MIT", "source": SOURCES[name.split("/")[0]]} for name in names
    ] + [
        {
            "file": image["file_name"],
            "licence": licences[image["license"]],
            "source": image["flickr_url"],
        }
        for image in document["images"]
        if image["file_name"] not in barred
    ]


def _free_coco(folder: Path) -> Samples:
    """COCO's pictures whose licence allows it."""
    samples = open_dataset(folder / COCO_FILE, "train", known=CITYSCAPES.things)
    barred = barred_pictures(folder)
    names = [Path(samples.sample_name(index)).name for index in range(len(samples))]
    free = Subset(samples, [i for i, name in enumerate(names) if name not in barred])
    return AsCityscapes(free, dict.fromkeys(free.classes.semantic, ""))


class OutlinedSamples:
    """Pictures with outlines drawn by hand, the later over the earlier; elsewhere is unlabelled.

    street_outlines.json: of each picture a list of [class, [[x, y], ...]] in its pixels. Outlines
    of things are one object each; `cars` are a group without a class, `void` is unlabelled.
    """

    classes = CITYSCAPES

    def __init__(self, root: Path) -> None:
        self.root = root
        self._outlines = json.loads(OUTLINES.read_text())
        self._names = list(self._outlines)
        self.name = f"{len(self._names)} outlined pictures at {root}"

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        name, size = self._names[index], self.image_size(index)
        semantic, numbers = np.full(size, UNLABELLED, np.uint8), np.zeros(size, np.uint8)
        kinds = [kind for kind, _ in self._outlines[name]]
        for number, (kind, corners) in enumerate(self._outlines[name]):
            outline = [np.array(corners, np.int32)]
            cv2.fillPoly(semantic, outline, _PIXELS.get(kind, UNLABELLED))
            cv2.fillPoly(numbers, outline, number + 1)
        things = [number for number, kind in enumerate(kinds) if kind in (*_THINGS, _GROUP)]
        masks = torch.from_numpy(numbers == np.array(things)[:, None, None] + 1)
        target = Target(
            boxes=tight_boxes(masks),
            labels=torch.tensor([_THINGS.get(kinds[number], _CAR) for number in things]),
            masks=masks,
            semantic=torch.from_numpy(semantic).long(),
            crowd=torch.tensor([kinds[number] == _GROUP for number in things]),
        )
        return Sample(name, index, read_picture(self.root / name), target)

    def image_size(self, index: int) -> Size:
        return picture_size(self.root / self._names[index])

    def has_objects(self, index: int) -> bool:
        return any(kind in _THINGS for kind, _ in self._outlines[self._names[index]])

    def sample_name(self, index: int) -> str:
        return self._names[index]

    def identity(self) -> str:
        files = [self.root / name for name in self._names]
        return fingerprint(files, self.root, "outlined", self._outlines)


class CommaSamples:
    """comma10k's pictures without outlines: the road, and groups of whatever moves.

    comma10k_11/images/*.jpg, comma10k_11/labels/*.png of the same names
    """

    classes = CITYSCAPES

    def __init__(self, root: Path) -> None:
        self.root = root
        outlined = {Path(name).stem for name in json.loads(OUTLINES.read_text())}
        found = {file.stem for file in (root / COMMA / "images").glob("*.jpg")}
        self._names = sorted(found - outlined)
        self.name = f"comma10k at {root} ({len(self._names)} pictures)"
        if not self._names:
            raise BadDataset(f"there are no pictures of comma10k in {root / COMMA}/images.")

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        labels = read_labels(
            self.root / f"{COMMA}/labels/{self._names[index]}.png", self.image_size(index)
        )
        semantic = np.where(np.isin(labels, _ROAD), 0, UNLABELLED)
        moving = torch.from_numpy(labels == _MOVING)[None]
        moving = moving[moving.flatten(1).any(1)]
        target = Target(
            boxes=tight_boxes(moving),
            labels=torch.full((len(moving),), _CAR),
            masks=moving,
            semantic=torch.from_numpy(semantic),
            crowd=torch.ones(len(moving), dtype=torch.bool),
        )
        name = self.sample_name(index)
        return Sample(name, index, read_picture(self.root / name), target)

    def image_size(self, index: int) -> Size:
        return picture_size(self.root / self.sample_name(index))

    def has_objects(self, index: int) -> bool:
        return False

    def sample_name(self, index: int) -> str:
        return f"{COMMA}/images/{self._names[index]}.jpg"

    def identity(self) -> str:
        kinds = (COMMA + "/images/{}.jpg", COMMA + "/labels/{}.png")
        files = (self.root / kind.format(name) for name in self._names for kind in kinds)
        return fingerprint(files, self.root, "comma10k")
