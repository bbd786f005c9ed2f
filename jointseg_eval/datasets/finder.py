"""Which file annotates which split, whatever tool has written the folder.

    annotations/instances_{train,val}2017.json          COCO
    annotations/instances_Train.json, images/Train/     CVAT: any case, any name of a subset
    {train,valid,test}/_annotations.coco.json           Roboflow
    result.json, images/                                Label Studio: one file
    *.json beside the pictures, or {train,val}/*.json   labelme: one a picture
    data.yaml, images/ and labels/ in any of its ways   YOLO: boxes or polygons; any *.yaml alone
    {train,validation}/metadata.jsonl                   imagefolder of Hugging Face
    classes.txt, images/, labels/                       the same from Label Studio; obj.names: CVAT

A split is called by any of its names, in any case. One file without one is of all splits: part of
its pictures are held out to validate on.
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path

from jointseg_core.errors import BadDataset
from jointseg_core.files import open_file
from jointseg_eval.datasets.coco_file import is_panoptic
from jointseg_eval.datasets.imagefolder import METADATA
from jointseg_eval.datasets.yolo import DESCRIPTIONS, NAMES, description_in, yolo_splits

WORDS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""What tools call each split."""
_OTHERS = ("captions", "person_keypoints", "stuff", "image_info")
_KNOWN = {word for words in WORDS.values() for word in words}


def splits_in(root: Path) -> list[str]:
    """The splits of a folder that can be opened, train before val; of other files their names."""
    if train_alone(root):
        return ["train", "val", *(["test"] if annotations_of(root, "test") else [])]
    if found := [split for split in WORDS if annotations_of(root, split)]:
        return found
    others = unnamed(root)
    return ["train", "val"] if len(others) == 1 else [_own_name(path) for path in others]


def train_alone(root: Path) -> bool:
    """Whether a tool exported pictures to train on and none to validate on: part is held out.

    COCO itself has others to validate on, which are to be fetched.
    """
    if root.is_file():
        there = yolo_splits(root) if root.suffix in DESCRIPTIONS else []
        return "train" in there and not {"val", "valid", "validation"}.intersection(there)
    found = annotations_of(root, "train")
    published = [path.name for path in found if path.name.endswith("_train2017.json")]
    return bool(found) and not published and not annotations_of(root, "val")


def annotations_of(root: Path, split: str) -> list[Path]:
    """What annotates a split: the published name, else all in the usual places that say it.

    Panoptic segments where there is nothing of objects.
    """
    published = root / f"annotations/instances_{split}2017.json"
    if published.is_file():
        return [published]
    if data := description_in(root):
        return [data] if _name_in(split, yolo_splits(data)) else []
    wanted = set(WORDS.get(split, (split.lower(),)))
    found = [p for p in _candidates(root) if wanted & _words(p, root) or _own_name(p) == split]
    return [path for path in found if not is_panoptic(path)] or found


def unnamed(root: Path) -> list[Path]:
    """What annotates no split that one knows, as of one file for all."""
    found = [path for path in _candidates(root) if not _KNOWN & _words(path, root)]
    found = [path for path in found if path.suffix != ".json" or _is_coco(path)]
    return [path for path in found if not is_panoptic(path)] or found


def find_annotations(root: Path, split: str) -> tuple[Path, bool]:
    """What annotates a split, and whether it annotates others too; BadDataset without any."""
    found = annotations_of(root, split)
    alone = (
        not found
        and split in ("train", "val")
        and not any(annotations_of(root, name) for name in ("train", "val"))
    )
    found = unnamed(root) if alone else found
    if len(found) == 1:
        return found[0], alone
    if found:
        names = ", ".join(str(path.relative_to(root)) for path in found)
        raise BadDataset(
            f"several files in {root} may be the {split} split, {names}; name one of them."
        )
    raise BadDataset(_nothing(root, split))


def _candidates(root: Path) -> list[Path]:
    """JSONs of COCO's format by their names, folders of labelme's, and YOLO's lists of names."""
    if not root.is_dir():
        return []
    folders = [root, root / "annotations", *sorted(f for f in root.iterdir() if f.is_dir())]
    found = []
    for folder in dict.fromkeys(folders):
        if (folder / METADATA).is_file():
            found.append(folder / METADATA)
        jsons = sorted(folder.glob("*.json"))
        if any(map(is_labelme, jsons)):
            found.append(folder)
        else:
            found += [path for path in jsons if not path.name.startswith(_OTHERS)]
    return [*found, *(root / name for name in NAMES if (root / name).is_file())]


def is_labelme(path: Path) -> bool:
    """Whether a JSON is labelme's of one picture."""
    try:
        with open_file(path) as file:
            return re.search(rb'"shapes"\s*:\s*\[', file.read(1 << 14)) is not None
    except OSError:
        return False


def _is_coco(path: Path) -> bool:
    """Whether a JSON has the lists of COCO, without parsing it."""
    try:
        with open_file(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            return all(text.find(key) >= 0 for key in (b'"images"', b'"annotations"'))
    except (OSError, ValueError):  # an empty file cannot be mapped
        return False


def _words(path: Path, root: Path) -> set[str]:
    """The words of a name, and of its folder where the name says no split."""
    if path == root:
        return set()
    own = _split_words(path.stem if path.suffix == ".json" else path.name)
    if own & _KNOWN:
        return own
    return own.union(*map(_split_words, path.relative_to(root).parts[:-1]))


def _split_words(name: str) -> set[str]:
    return {word.lower() for word in re.findall("[A-Z]?[a-z]+|[A-Z]+", name)}


def _name_in(split: str, names: list[str]) -> bool:
    return bool(set(WORDS.get(split, (split,))) & {name.lower() for name in names})


def _own_name(path: Path) -> str:
    return re.sub("^(instances|panoptic)_|2017$", "", path.stem)


def _nothing(root: Path, split: str) -> str:
    """What was looked for, what is there, and what to do."""
    there = sorted(child.name for child in root.iterdir()) if root.is_dir() else []
    found = ", ".join([*there[:8], "..."] if len(there) > 8 else there) or "an empty folder"
    jsons = [str(path.relative_to(root)) for path in sorted(root.glob("annotations/*.json"))]
    return (
        f"no data set at {root}: looked for leftImg8bit/ and gtFine/ (Cityscapes),"
        f" images/{split}/ and labels/{split}/ (CamVid),"
        f" annotations/instances_{split}2017.json or *{split}*.json (COCO, CVAT, Roboflow),"
        " labelme's files, data.yaml (YOLO) and metadata.jsonl (imagefolder), found"
        f" {found if root.is_dir() else 'no such folder'}"
        f"{' with ' + ', '.join(jsons[:8]) if jsons else ''}; name the folder that holds these or"
        " the JSON itself, or hold pictures out with --val-fraction;"
        " `python -m training.synthesize OUT --format cityscapes` makes a small stand-in."
    )
