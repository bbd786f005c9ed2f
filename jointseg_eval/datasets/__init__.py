"""Pictures with annotations, in the published layouts of COCO, Cityscapes and CamVid."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jointseg_core.errors import BadConfig, BadDataset
from jointseg_eval.datasets.camvid import CamVidSamples, camvid_splits
from jointseg_eval.datasets.cityscapes import CityscapesSamples
from jointseg_eval.datasets.coco import CocoSamples
from jointseg_eval.datasets.coco_file import is_panoptic
from jointseg_eval.datasets.sample import Joined, Sample, Samples, Subset
from jointseg_eval.input_validation import Defect, refuse

__all__ = ["Joined", "Sample", "Samples", "Subset", "open_dataset", "read_remap", "splits"]


def open_dataset(
    root: Path | str,
    split: str,
    classes: Sequence[str] | None = None,
    remap: Mapping[str, str | None] | None = None,
    keep_empty: bool = True,
    report: Callable[[Defect], None] = refuse,
    known: Sequence[str] = (),
) -> Samples:
    """The pictures of a split, in whichever layout `root` is; BadInput if there are none to use.

    Args:
        root: a folder in the layout of Cityscapes, CamVid or COCO, or a JSON in COCO's format.
        split: train, val or another one that is there.
        classes: names of the things to find, in the order of their labels; COCO only.
        remap: other names for categories, None for those to leave out; COCO only.
        keep_empty: also pictures without objects.
        report: is told of every defect; the default refuses what cannot be used.
        known: things of the network that is asked, which may know COCO by Cityscapes' names.
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
        samples = CocoSamples(find_annotations(root, split), split, classes, remap, report, known)
    if keep_empty:
        return samples
    return Subset(samples, [i for i in range(len(samples)) if samples.has_objects(i)])


def read_remap(pairs: Sequence[str]) -> dict[str, str | None]:
    """Other names for categories from OLD=NEW, or OLD= to leave one out; BadConfig for others."""
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise BadConfig(f"--remap got {wrong[0]!r}; say OLD=NEW, or OLD= to leave a class out.")
    return {old: new or None for old, _, new in (pair.partition("=") for pair in pairs)}


def splits(root: Path | str) -> list[str]:
    """The splits that can be opened, train before val; of a JSON it is the JSON."""
    root = Path(root).expanduser()
    if root.is_file():
        return [re.sub("^(instances|panoptic)_|2017$", "", root.stem)]
    if is_cityscapes(root):
        found = _cityscapes_splits(root)
    elif there := camvid_splits(root):
        found = set(there)
    else:
        found = {split for split in ("train", "val", "valid", "test") if _annotations(root, split)}
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


def find_annotations(root: Path, split: str) -> Path:
    """The JSON of a split: `root` itself, or the only one in the usual places with that name."""
    if root.is_file():
        return root
    found = _annotations(root, split)
    if len(found) == 1:
        return found[0]
    if found:
        raise BadDataset(
            f"several files in {root} may be the {split} split,"
            f" {', '.join(str(path.relative_to(root)) for path in found)}; name one of them."
        )
    raise BadDataset(_nothing(root, split))


def _annotations(root: Path, split: str) -> list[Path]:
    """The published name, else every JSON of objects in the usual places that names the split.

    One of panoptic segments where there is none of objects.
    """
    published = root / f"annotations/instances_{split}2017.json"
    if published.is_file():
        return [published]
    files = [*root.glob("annotations/*.json"), *root.glob("*.json"), *root.glob(f"{split}/*.json")]
    others = ("captions", "person_keypoints", "stuff", "image_info")
    word = re.compile(rf"(?<![a-z]){re.escape(split)}(?![a-z])")
    found = sorted(
        path
        for path in files
        if not path.name.startswith(others) and word.search(str(path.relative_to(root)))
    )
    return [path for path in found if not is_panoptic(path)] or found


def _nothing(root: Path, split: str) -> str:
    """What was looked for, what is there, and what to do."""
    there = sorted(child.name for child in root.iterdir()) if root.is_dir() else []
    found = ", ".join([*there[:8], "..."] if len(there) > 8 else there) or "an empty folder"
    jsons = [str(path.relative_to(root)) for path in sorted(root.glob("annotations/*.json"))]
    return (
        f"no data set at {root}: looked for leftImg8bit/ and gtFine/ (Cityscapes),"
        f" images/{split}/ and labels/{split}/ (CamVid) and"
        f" annotations/instances_{split}2017.json or *{split}*.json (COCO), found"
        f" {found if root.is_dir() else 'no such folder'}"
        f"{' with ' + ', '.join(jsons[:8]) if jsons else ''}; name the folder that holds these or"
        " the JSON itself; `python -m training.synthesize OUT --format cityscapes` makes a small"
        " stand-in."
    )
