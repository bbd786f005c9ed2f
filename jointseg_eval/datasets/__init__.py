"""Pictures with annotations, in the layouts of published sets and of tools that label pictures."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jointseg_core import Classes
from jointseg_core.errors import BadConfig, BadDataset
from jointseg_eval.datasets.camvid import CamVidSamples, camvid_splits
from jointseg_eval.datasets.cityscapes import CityscapesSamples
from jointseg_eval.datasets.coco import CocoSamples
from jointseg_eval.datasets.finder import annotations_of, find_annotations, splits_in, train_alone
from jointseg_eval.datasets.sample import Joined, Sample, Samples, Subset
from jointseg_eval.datasets.yolo import DESCRIPTIONS, yolo_splits
from jointseg_eval.held_out import USUAL, HeldOut
from jointseg_eval.input_validation import Defect, refuse

__all__ = [
    "HeldOut",
    "Joined",
    "Sample",
    "Samples",
    "Subset",
    "open_dataset",
    "read_remap",
    "splits",
]


def open_dataset(
    root: Path | str,
    split: str,
    classes: Sequence[str] | None = None,
    remap: Mapping[str, str | None] | None = None,
    keep_empty: bool = True,
    report: Callable[[Defect], None] = refuse,
    known: Sequence[str] = (),
    expected: Classes | None = None,
    held_out: HeldOut = USUAL,
) -> Samples:
    """The pictures of a split, in whichever layout `root` is; BadInput if there are none to use.

    Args:
        root: a folder in any layout of `finder`, of Cityscapes or of CamVid; or a JSON in COCO's
            format, a data.yaml of YOLO.
        split: train, val or another one that is there.
        classes: names of the things to find, in the order of their labels; COCO only.
        remap: other names for categories, None for those to leave out; COCO only.
        keep_empty: also pictures without objects.
        report: is told of every defect; the default refuses what cannot be used.
        known: things of the network that is asked, which may know COCO by Cityscapes' names.
        expected: the classes of another split, which these are counted as, in any order and also
            where some do not occur; COCO only.
        held_out: what `val` is where a folder has one file for all splits, or `train` and no
            `val` (by default a tenth), or, where a fraction is given, of any file that is not of
            one split; 0 holds out none.
    """
    root = Path(root).expanduser()
    layout = fixed_layout(root)
    if layout is not None:
        if classes or remap:
            name = layout.__name__.removesuffix("Samples")
            raise BadDataset(
                f"{root} is {name}, whose classes are fixed; leave out other ones and other names."
            )
        samples: Samples = layout(root, split, report)
    else:
        path, asked, part = _find(root, split, held_out)
        samples = CocoSamples(path, asked, classes, remap, report, known, expected)
        if part:
            samples = _part(samples, split, held_out)
    if keep_empty:
        return samples
    return Subset(samples, [i for i in range(len(samples)) if samples.has_objects(i)])


def _find(root: Path, split: str, held_out: HeldOut) -> tuple[Path, str, bool]:
    """What annotates a split, what it calls it, and whether only part of its pictures are of it."""
    shared = split in ("train", "val") and held_out.fraction != 0
    asked = held_out.fraction is not None and annotations_of(root, "train")
    if shared and (train_alone(root) or (asked and not annotations_of(root, "val"))):
        return root if root.is_file() else find_annotations(root, "train")[0], "train", True
    if root.is_file():
        part = shared and held_out.fraction is not None and root.suffix in (".json", ".jsonl")
        return root, "" if part else split, part
    path, several = find_annotations(root, split)
    part = several and held_out.fraction != 0
    return path, "" if part else split, part


def _part(samples: Samples, split: str, held_out: HeldOut) -> Subset:
    """The pictures to train or to validate on, the same however many others come and go.

    At least one of each; a picture that is alone is of both.
    """
    fraction = 0.1 if held_out.fraction is None else held_out.fraction
    count = len(samples)
    key = {i: f"{held_out.seed} {samples.sample_name(i)}".encode() for i in range(count)}
    order = sorted(range(count), key=lambda i: hashlib.sha256(key[i]).digest())
    held = min(max(1, round(fraction * count)), max(1, count - 1))
    chosen = order[:held] if split == "val" else order[held if count > 1 else 0 :]
    return Subset(samples, sorted(chosen))


def read_remap(pairs: Sequence[str]) -> dict[str, str | None]:
    """Other names for categories from OLD=NEW, or OLD= to leave one out; BadConfig for others."""
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise BadConfig(f"--remap got {wrong[0]!r}; say OLD=NEW, or OLD= to leave a class out.")
    return {old: new or None for old, _, new in (pair.partition("=") for pair in pairs)}


def splits(root: Path | str) -> list[str]:
    """The splits that can be opened, train before val; of a JSON it is the JSON.

    BadInput for a data.yaml that is none.
    """
    root = Path(root).expanduser()
    if root.suffix in DESCRIPTIONS:
        return ["train", "val"] if train_alone(root) else yolo_splits(root)
    if root.is_file():
        return [re.sub("^(instances|panoptic)_|2017$", "", root.stem)]
    if is_cityscapes(root):
        found = _cityscapes_splits(root)
    elif there := camvid_splits(root):
        found = set(there)
    else:
        return splits_in(root)
    return sorted(found)


def _cityscapes_splits(root: Path) -> set[str]:
    """What has annotations, and train and val also where these lack."""
    truth, pictures = (
        {child.name for child in (root / name).glob("*") if child.is_dir()}
        for name in ("gtFine", "leftImg8bit")
    )
    return (truth | pictures & {"train", "val"}) - {"test"}


def fixed_layout(root: Path) -> type[CityscapesSamples | CamVidSamples] | None:
    """What reads a folder whose classes its layout tells; None where a COCO JSON does."""
    if is_cityscapes(root):
        return CityscapesSamples
    return CamVidSamples if camvid_splits(root) else None


def is_cityscapes(root: Path) -> bool:
    """Whether a folder is in the layout of Cityscapes, or half of it."""
    return (root / "gtFine").is_dir() or (root / "leftImg8bit").is_dir()
