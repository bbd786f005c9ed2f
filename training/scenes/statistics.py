"""Print how hard the scenes are.

python -m training.scenes.statistics --seed 1000 --count 200
python -m training.scenes.statistics --seed 1000 --drive --streets 12 --frames 10
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from jointseg_core.classes import CITYSCAPES, UNLABELLED
from jointseg_core.command import run_program
from training.scenes.drive import render_drive
from training.scenes.scene import STYLES, Scene, SceneObject, render_scene

SMALL = 32 * 32  # square pixels of the box
HIDDEN = 0.95  # visible fraction below which an object counts as partly hidden


@dataclass(frozen=True)
class Difficulty:
    """How hard a set of pictures is; objects are the labelled things that are no crowds."""

    pictures: int
    objects: float  # a picture, on average
    small: float  # share of the objects whose box has less than 32 x 32 pixels
    hidden: float  # share of the objects that show less than 0.95 of their pixels
    per_thing: np.ndarray  # [things], share of the objects
    per_class: np.ndarray  # [classes], share of the pixels that have a class
    void: float  # share of the pixels that have none
    majority_miou: float  # of the map that gives every pixel its most frequent class


def difficulty(scenes: Iterable[Scene]) -> Difficulty:
    """Measure a set of pictures of one size; ValueError when it is empty."""
    things: list[SceneObject] = []
    pictures, votes = 0, None
    for scene in scenes:
        pictures += 1
        things += [thing for thing in scene.objects if thing.label >= 0 and not thing.crowd]
        if votes is None:
            votes = np.zeros((UNLABELLED + 1, *scene.semantic.shape), np.int32)
        np.put_along_axis(
            votes, scene.semantic[None], np.take_along_axis(votes, scene.semantic[None], 0) + 1, 0
        )
    if not pictures:
        raise ValueError("there are no scenes to measure; ask for at least one")
    classes = len(CITYSCAPES.semantic)
    labels = np.array([thing.label for thing in things], int)
    areas = np.array([(t.box[2] - t.box[0]) * (t.box[3] - t.box[1]) for t in things])
    visible = np.array([thing.visible_fraction for thing in things])
    per_class = votes[:classes].sum(axis=(1, 2))
    return Difficulty(
        pictures=pictures,
        objects=len(things) / pictures,
        small=float((areas < SMALL).mean()) if things else 0.0,
        hidden=float((visible < HIDDEN).mean()) if things else 0.0,
        per_thing=np.bincount(labels, minlength=len(CITYSCAPES.things)) / max(len(things), 1),
        per_class=per_class / max(per_class.sum(), 1),
        void=float(votes[UNLABELLED].sum() / votes.sum()),
        majority_miou=_majority_miou(votes[:classes]),
    )


def _majority_miou(votes: np.ndarray) -> float:
    """Mean IoU of the best constant map over the classes that occur; votes [classes, H, W]."""
    best = votes.argmax(axis=0)
    ious = []
    for k, there in enumerate(votes.sum(axis=(1, 2))):
        if there:
            chosen = best == k
            hits = votes[k][chosen].sum()
            ious.append(hits / (there + votes[:, chosen].sum() - hits))
    return float(np.mean(ious))


def table(found: Difficulty) -> str:
    """The numbers as text."""
    lines = [
        f"pictures                          {found.pictures:8d}",
        f"objects a picture                 {found.objects:8.2f}   (at least 8)",
        f"smaller than 32 x 32              {found.small:8.1%}   (at least 35 %)",
        f"partly hidden (less than 95 %)    {found.hidden:8.1%}   (at least 30 %)",
        f"mIoU of the majority map          {found.majority_miou:8.3f}   (at most 0.12)",
        f"pixels without class              {found.void:8.1%}",
        "share of the objects",
    ]
    lines += [
        f"  {n:30s}  {s:8.1%}" for n, s in zip(CITYSCAPES.things, found.per_thing, strict=True)
    ]
    lines += ["share of the pixels"]
    lines += [
        f"  {n:30s}  {s:8.2%}" for n, s in zip(CITYSCAPES.semantic, found.per_class, strict=True)
    ]
    return "\n".join(lines)


def _scenes(arguments: argparse.Namespace) -> Iterator[Scene]:
    if arguments.drive:
        drive = render_drive(arguments.seed, arguments.streets, arguments.frames)
        return (scene for _, scene in drive)
    return (
        render_scene(arguments.seed, index, style=arguments.style)
        for index in range(arguments.count)
    )


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="statistics", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--count", type=int, default=100, help="scenes")
    parser.add_argument(
        "--drive", action="store_true", help="measure a drive instead of single scenes"
    )
    parser.add_argument("--style", choices=STYLES, default="plain", help="of single scenes")
    parser.add_argument("--streets", type=int, default=12)
    parser.add_argument("--frames", type=int, default=10, help="of each street")
    print(table(difficulty(_scenes(parser.parse_args(words)))))


if __name__ == "__main__":
    run_program(main)
