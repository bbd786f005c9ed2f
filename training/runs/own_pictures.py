"""Pictures that people bring: what is said about them, and the class of pixels that they lack."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from jointseg_core import UNLABELLED, Classes, Target, load_model
from jointseg_core.errors import BadDataset
from jointseg_eval.datasets import HeldOut, Sample, Samples, Subset, open_dataset, read_remap
from jointseg_eval.datasets.sample import Changed
from jointseg_eval.input_validation import Noted
from training.loading.taught import TaughtPixels
from training.recipes import Recipe, learns_pixels

OF_PIXELS = ("pq", "miou", "foreground_miou")
"""Metrics that validation pictures without classes of pixels do not give."""
NOBODY = "none"
"""As --teacher: pixels outside of objects train nothing."""
LOOKED_AT = 20
"""Validation pictures among which some object is to have an outline."""


def open_own(
    root: Path, split: str, recipe: Recipe, keep_empty: bool, expected: Classes | None
) -> Samples:
    """A split as a recipe wants it; what cannot be used of it is said. Raises BadInput for none."""
    noted = Noted()
    samples = open_dataset(
        root,
        split,
        classes=() if expected else recipe.classes,
        remap=read_remap(recipe.remap),
        keep_empty=keep_empty,
        report=noted,
        expected=expected,
        held_out=_held_out(root, recipe),
    )
    for line in noted.lines():
        say(f"{split}: {line}")
    if recipe.skip_boxes and split == "train":
        return _outlined(samples)
    return samples


def say(text: str) -> None:
    """A line for people, of the first process, before there is a run."""
    if os.environ.get("RANK", "0") == "0":
        print(text, flush=True)


def _held_out(root: Path, recipe: Recipe) -> HeldOut:
    """A tenth where one file is all there is, nothing where another one is to validate on."""
    fraction = recipe.val_fraction
    if fraction is None and recipe.validation_data:
        fraction = 0.0
    elif fraction is None and root.suffix == ".json":
        fraction = 0.1
    return HeldOut(fraction, recipe.split_seed)


def _outlined(samples: Samples) -> Samples:
    """The pictures of whose objects all have outlines; decodes every annotation."""
    kept = [i for i in range(len(samples)) if not samples[i].target.boxes_alone().any()]
    if not kept:
        raise BadDataset(
            f"--skip-boxes leaves nothing: every picture of {samples.name} shows an object without"
            " an outline"
        )
    say(f"{len(samples) - len(kept)} of {len(samples)} pictures show boxes without an outline: out")
    return Subset(samples, kept)


def say_what_is_shared(training: Samples, validation: Samples) -> None:
    """Warn of pictures that are learned and validated on, by name and size of their files."""
    learned = set(_files(training))
    shared = sum(file in learned for file in _files(validation))
    if shared:
        say(
            f"warning: {shared} of {len(validation)} validation pictures are training pictures:"
            " their scores say nothing about others"
        )


def _files(samples: Samples) -> list[tuple[str, int]]:
    """Last part of the name and bytes of each picture's file, as far as it is known."""
    inner = samples
    while (within := getattr(inner, "samples", None)) is not None:
        inner = within
    root = getattr(inner, "root", None)
    if root is None:
        return []
    paths = [root / samples.sample_name(index) for index in range(len(samples))]
    return [(path.name, path.stat().st_size) for path in paths if path.is_file()]


# -- classes of pixels from objects alone ---------------------------------------------------------


def with_stuff(recipe: Recipe, init: Sequence[Path]) -> Recipe:
    """The recipe with the stuff that the weights it starts from know, for data that has none.

    These weights are its teacher, where no other one is named: what they know is not forgotten.
    """
    if recipe.stuff or recipe.data is None or not learns_pixels(recipe.model):
        return recipe
    for path in reversed(init):
        if path.suffix == ".safetensors" and (classes := load_model(path)[1].classes).semantic:
            things = set(classes.thing_to_semantic)
            stuff = (name for k, name in enumerate(classes.semantic) if k not in things)
            teacher = recipe.teacher or str(path)
            return replace(recipe, stuff=tuple(stuff), teacher=teacher)
    return recipe


def with_pixels(training: Samples, recipe: Recipe) -> Samples:
    """Training pictures whose pixels have classes, from objects where nothing else tells them.

    Raises BadDataset where the network has to learn stuff and no weights know any.
    """
    if training.classes.semantic or not learns_pixels(recipe.model):
        return training
    if not recipe.stuff:
        raise BadDataset(
            f"{training.name} has objects and no classes of pixels, which this network learns:"
            " start from weights that know some, --init joint_lite, or train an rdsnet recipe"
        )
    pixels = ObjectPixels(training, recipe.stuff)
    if recipe.teacher in ("", NOBODY):
        say("pixels outside of objects train nothing")
        return pixels
    taught = TaughtPixels(pixels, recipe.teacher)
    known = ", ".join(recipe.stuff)
    say(f"pixels outside of objects learn where {Path(recipe.teacher).stem} is sure of {known}")
    return taught


def best_metric(recipe: Recipe, validation: Samples, chosen: bool) -> Recipe:
    """The recipe with a metric of the best weights that these pictures give.

    chosen   by who trains, and so left as it is
    """
    if chosen or validation.classes.semantic or recipe.best not in OF_PIXELS:
        return recipe
    few = (validation[index].target for index in range(min(LOOKED_AT, len(validation))))
    best = "mask_ap" if any(bool(target.masks.any()) for target in few) else "box_ap"
    say(f"validation pictures have no classes of pixels: the best weights are those by {best}")
    return replace(recipe, best=best)


class ObjectPixels(Changed):
    """Pictures whose pixels have the class of the object they show, and else none (255).

    samples  with objects alone
    stuff    classes that no pixel has, and that a network keeps

    Pixels of objects of two classes have none either, nor those of boxes without an outline.
    """

    def __init__(self, samples: Samples, stuff: Sequence[str]) -> None:
        super().__init__(samples)
        things = samples.classes.things
        semantic = (*(name for name in stuff if name not in things), *things)
        self.classes = Classes(things, semantic, tuple(map(semantic.index, things)))

    def __getitem__(self, index: int) -> Sample:
        sample = self.samples[index]
        return replace(sample, target=self._with_semantic(sample.target))

    def _with_semantic(self, target: Target) -> Target:
        semantic = torch.full(target.masks.shape[1:], UNLABELLED)
        for label in target.labels.unique().tolist():
            shown = target.masks[target.labels == label].any(0)
            other = target.masks[target.labels != label].any(0)
            semantic[shown & ~other] = self.classes.thing_to_semantic[label]
        return replace(target, semantic=semantic)
