"""What a data set holds, and everything that is wrong with it.

`python -m jointseg_eval.check_data ROOT` reads every picture of every split. Exit code 0:
clean; 4: can be used, with defects; 3: cannot be used.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import iadd
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torchvision.ops import box_iou

from jointseg_core import UNLABELLED, Classes
from jointseg_core.command import run_program
from jointseg_core.errors import BadInput
from jointseg_eval.arguments import bounded
from jointseg_eval.datasets import HeldOut, Sample, Samples, open_dataset, splits
from jointseg_eval.datasets.masks import pixel_counts, tight_boxes
from jointseg_eval.datasets.pictures import is_turned
from jointseg_eval.datasets.workers import At, in_order
from jointseg_eval.held_out import USUAL, add_held_out, held_out
from jointseg_eval.input_validation import Defect, summed

CLEAN, UNUSABLE, DEFECTS = 0, 3, 4
SIZES = ("small", "medium", "large")
LIMITS = (32**2, 96**2)  # pixels from which an object is medium, and large (COCO)


@dataclass
class Inspection:
    """What some pictures hold; adds up."""

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)  # pictures of each (H, W)
    objects: Counter[tuple[int, int]] = field(default_factory=Counter)  # by label, size of SIZES
    crowds: Counter[int] = field(default_factory=Counter)  # by label
    empty: int = 0  # pictures without an object
    turned: int = 0  # pictures that viewers turn
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))  # by class
    defects: list[Defect] = field(default_factory=list)

    def add(self, other: Inspection) -> None:
        for name, value in vars(other).items():
            setattr(self, name, iadd(getattr(self, name), value))


def check(
    root: Path, split: str, workers: int, console: Console, held: HeldOut = USUAL
) -> tuple[Samples | None, Inspection]:
    """Everything about a split, which is None if it cannot even be opened."""
    whole = Inspection()
    try:
        samples = open_dataset(root, split, report=whole.defects.append, held_out=held)
        for part in _parts(samples, split, workers, console):
            whole.add(part)
    except BadInput as problem:
        whole.defects.append(Defect(split, str(problem)))
        return None, whole
    if whole.turned:
        told = (
            f"{whole.turned} of {len(samples)} pictures are stored turned, as EXIF says, which "
            "viewers undo and nothing here does: save them upright where they were annotated so"
        )
        whole.defects.append(Defect(split, told, usable=True))
    if whole.sizes and samples.classes.things and not whole.objects:
        told = "no picture shows an object that is not a crowd, so that nothing can learn from it"
        whole.defects.append(Defect(split, told, usable=True))
    return samples, whole


def _parts(samples: Samples, split: str, workers: int, console: Console) -> Iterable[Inspection]:
    """What each picture holds, or why it cannot be read."""

    def job(index: int, at: At) -> Inspection:
        at(index)
        try:
            found = inspect(samples[index], samples.classes)
            found.turned = int(is_turned(_folder(samples) / samples.sample_name(index)))
            return found
        except BadInput as problem:
            return Inspection(defects=[Defect(samples.sample_name(index), str(problem))])

    parts = in_order(job, range(len(samples)), workers, samples.sample_name)
    hidden = not console.is_terminal
    return track(parts, f"reading {split}", len(samples), console=console, disable=hidden)


def _folder(samples: Samples) -> Path:
    """What the names of pictures are below."""
    return Path(getattr(getattr(samples, "samples", samples), "root", ""))


def inspect(sample: Sample, classes: Classes) -> Inspection:
    """What one picture holds."""
    target = sample.target
    areas = pixel_counts(target.masks) if sample.areas is None else sample.areas
    sizes = torch.bucketize(areas.float(), torch.tensor(LIMITS, dtype=torch.float32), right=True)
    objects, crowd = zip(target.labels.tolist(), sizes.tolist(), strict=True), target.crowd.tolist()
    found = Inspection(
        sizes=Counter([sample.image.shape[:2]]),
        objects=Counter(o for o, is_crowd in zip(objects, crowd, strict=True) if not is_crowd),
        crowds=Counter(target.labels[target.crowd].tolist()),
        empty=int(crowd.count(False) == 0),
    )
    if target.semantic is not None:
        found.pixels += torch.bincount(target.semantic.flatten(), minlength=256).numpy()
    found.defects = [Defect(sample.name, *odd) for odd in _oddities(sample, classes)]
    return found


def _oddities(sample: Sample, classes: Classes) -> Iterable[tuple[str, bool, str]]:
    """What is strange about an annotation that can be used, that it can, and the kind of it."""
    target = sample.target
    alone = target.boxes_alone()  # told already, where the annotation was read
    tight = tight_boxes(target.masks)
    for k, label in enumerate(target.labels.tolist()):
        what = f"object {k + 1}, {classes.things[label]},"
        if alone[k]:
            continue
        if not target.masks[k].any():
            yield f"{what} shows no pixel", True, "objects show no pixel"
        elif _apart(target.boxes[k], tight[k]):
            told = f"{what} has box {target.boxes[k].tolist()}, its pixels {tight[k].tolist()}"
            yield told, True, "objects have a box far from their pixels"
        elif target.semantic is not None and classes.thing_to_semantic:
            same = target.semantic[target.masks[k]] == classes.thing_to_semantic[label]
            if same.float().mean() < 0.5:
                told = f"{what} covers pixels that are mostly of other classes"
                yield told, True, "objects cover pixels of other classes"
    if target.semantic is not None and (target.semantic == UNLABELLED).all():
        yield "no pixel has a class", True, "pictures have no pixel with a class"


def _apart(box: Tensor, tight: Tensor) -> bool:
    """Whether a box and that of the pixels are two pixels and more, and half of them, apart."""
    return bool((box - tight).abs().max() > 2 and box_iou(box[None], tight[None]) < 0.5)


def show(samples: Samples, found: Inspection, console: Console) -> None:
    """Statistics as tables."""
    console.print(f"\n{samples.name}", soft_wrap=True)
    shapes = ", ".join(f"{n} of {h}x{w}" for (h, w), n in found.sizes.most_common(5))
    more = f", {len(found.sizes) - 5} other sizes" if len(found.sizes) > 5 else ""
    pictures = f"pictures: {found.sizes.total()} ({shapes or 'none can be read'}{more})"
    if samples.classes.things:
        console.print(f"{pictures}; without objects: {found.empty}", soft_wrap=True)
        console.print(_objects(samples.classes.things, found))
    else:
        console.print(f"{pictures}; classes of pixels alone", soft_wrap=True)
    if samples.classes.semantic:
        console.print(_pixels(samples.classes.semantic, found.pixels))


def _objects(things: Sequence[str], found: Inspection) -> Table:
    table = Table("objects", "all", *SIZES, "crowds")
    for label, name in enumerate(things):
        counts = [found.objects[label, size] for size in range(len(SIZES))]
        table.add_row(name, *map(str, (sum(counts), *counts, found.crowds[label])))
    sums = [
        sum(n for (_, s), n in found.objects.items() if s == size) for size in range(len(SIZES))
    ]
    table.add_section()
    table.add_row("all", *map(str, (sum(sums), *sums, found.crowds.total())))
    return table


def _pixels(names: Sequence[str], pixels: np.ndarray) -> Table:
    table = Table("pixels", "share")
    for label, name in (*enumerate(names), (UNLABELLED, "unlabelled")):
        table.add_row(name, f"{pixels[label] / max(1, pixels.sum()):.2%}")
    return table


def verdict(defects: Sequence[Defect]) -> int:
    """The exit code that defects call for."""
    if not defects:
        return CLEAN
    return DEFECTS if all(defect.usable for defect in defects) else UNUSABLE


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="check_data", description=__doc__)
    parser.add_argument("root", type=Path, help="a data set's folder, JSON (COCO) or data.yaml")
    parser.add_argument("--split", nargs="+", help="default: all that are there")
    parser.add_argument("--every", action="store_true", help="name every defect, also of one kind")
    add_held_out(parser)
    workers = bounded(int, 0, 1024)
    parser.add_argument("--workers", type=workers, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    console = Console(markup=False)
    told: list[list[Defect]] = []
    for split in options.split or splits(options.root) or ["train"]:
        samples, found = check(options.root, split, options.workers, console, held_out(options))
        if samples is not None:
            show(samples, found, console)
        before = {defect for some in told for defect in some}
        told.append([defect for defect in found.defects if defect not in before])
    _tell(told, console.print, options.every)
    return verdict([defect for some in told for defect in some])


def _tell(told: Sequence[Sequence[Defect]], out: Callable[..., None], every: bool) -> None:
    """One sentence for each kind of a split, or for every defect; of one file for all, once."""
    defects = [defect for some in told for defect in some]
    parts = [sentence for some in told for sentence in summed(some)]
    each = [(defect.usable, str(defect)) for defect in defects] if every else parts
    for usable, text in each:
        mark = "defect" if usable else "CANNOT BE USED"
        out(f"{mark}: {text}", highlight=False, soft_wrap=True)
    told = {CLEAN: "no defects", DEFECTS: "can be used", UNUSABLE: "cannot be used as it is"}
    count = f"{len(defects)} defect{'s' * (len(defects) > 1)}: " if defects else ""
    out(count + told[verdict(defects)])


if __name__ == "__main__":
    run_program(main)
