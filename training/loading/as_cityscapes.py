"""Other data sets in Cityscapes' classes, so that a network for these learns from them as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from jointseg_core import CITYSCAPES, UNLABELLED, Target
from jointseg_eval.datasets import Sample, Samples
from jointseg_eval.datasets.masks import tight_boxes
from jointseg_eval.datasets.sample import Changed

CAMVID_NAMES = {
    "pavement": "sidewalk",
    "tree": "vegetation",
    "sign/symbol": "traffic sign",
    "pedestrian": "person",
    "bicyclist": "rider",
}
"""For CamVid's classes one of those in Cityscapes that count as it."""


class AsCityscapes(Changed):
    """Pictures of another set in Cityscapes' classes; what has none there is unlabelled.

    names   Cityscapes' names of the set's classes where they differ, "" for what to leave out

    Where a set has no objects, the pixels of each thing are a group: nobody tells them apart, and
    nothing that is found there is wrong.
    """

    def __init__(self, samples: Samples, names: Mapping[str, str]) -> None:
        super().__init__(samples)
        self.classes, theirs = CITYSCAPES, samples.classes
        self._things = torch.tensor([CITYSCAPES.things.index(name) for name in theirs.things])
        self._pixels = torch.full((256,), UNLABELLED)
        for number, name in enumerate(theirs.semantic):
            if known := names.get(name, name):
                self._pixels[number] = CITYSCAPES.semantic.index(known)

    def __getitem__(self, index: int) -> Sample:
        sample = self.samples[index]
        target = sample.target
        semantic = self._pixels[target.semantic]
        if self.samples.classes.things:
            target = replace(target, labels=self._things[target.labels], semantic=semantic)
        else:
            target = groups_of(semantic)
        return Sample(sample.name, sample.image_id, sample.image, target)

    def identity(self) -> str:
        return f"{self.samples.identity()} {self._things.tolist()} {self._pixels.tolist()}"


def groups_of(semantic: Tensor) -> Target:
    """An annotation of pixels [H, W] alone, where all pixels of a thing are one group."""
    things = torch.tensor(CITYSCAPES.thing_to_semantic)
    masks = semantic == things[:, None, None]
    shown = masks.flatten(1).any(1)
    return Target(
        boxes=tight_boxes(masks[shown]),
        labels=shown.nonzero().flatten(),
        masks=masks[shown],
        semantic=semantic,
        crowd=torch.ones(int(shown.sum()), dtype=torch.bool),
    )
