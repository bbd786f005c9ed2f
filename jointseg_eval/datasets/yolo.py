"""YOLO's layout as a document of COCO's: a text file for every picture, sides from 0 to 1.

data.yaml           names, and train, val and test: a folder, a list of pictures, or several; or
                    the only YAML with names that is there
images/../a.jpg     labels/../a.txt, or a.txt beside the picture
CLASS X Y W H                   a box by its centre
CLASS X1 Y1 X2 Y2 X3 Y3 ...     a polygon
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from jointseg_core.errors import BadDataset, BadInput
from jointseg_core.files import open_file
from jointseg_eval.datasets.pictures import Size, picture_size

NAMES = ("classes.txt", "obj.names")
"""Lists of names without a data.yaml, of Label Studio and of CVAT."""
DESCRIPTIONS = (".yaml", ".yml")
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_MOST = 1 << 24  # bytes of a text file
_KEYS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def description_in(root: Path) -> Path | None:
    """What describes YOLO's layout in a folder: data.yaml, else the only YAML that has names."""
    if (usual := root / "data.yaml").is_file():
        return usual
    found = [path for path in sorted(root.glob("*.y*ml")) if _has_names(path)]
    return found[0] if len(found) == 1 else None


def _has_names(path: Path) -> bool:
    try:
        return bool(_names(path, _read_yaml(path)))
    except BadDataset:
        return False


def yolo_splits(path: Path) -> list[str]:
    """The splits that a data.yaml names and that are there."""
    data = _read_yaml(path)
    return [key for key in _KEYS if data.get(key) and list(_places(path, data, key))]


def yolo_document(path: Path, split: str) -> tuple[dict[str, Any], str, Path]:
    """COCO's document of a split, its digest, and the folder below which its pictures are.

    path: a data.yaml, or a list of names; BadDataset where it is none.
    """
    if path.name in NAMES:
        names = path.read_text(errors="replace").split("\n")
        names = [name.strip() for name in names if name.strip()]
        pictures = sorted(_pictures_in(path.parent))
    else:
        data = _read_yaml(path)
        names = _names(path, data)
        key = next((k for k in _KEYS if data.get(k) and _KEYS[k] == _KEYS.get(split)), split)
        pictures = sorted(p for place in _places(path, data, key) for p in _pictures_in(place))
    return _document(path, names, pictures)


def _document(
    path: Path, names: Sequence[str], pictures: Sequence[Path]
) -> tuple[dict[str, Any], str, Path]:
    inside = all(picture.is_relative_to(path.parent) for picture in pictures)
    folder = path.parent if inside else Path(os.path.commonpath([p.parent for p in pictures]))
    images, annotations, digest = [], [], hashlib.sha256(repr(names).encode())
    for number, picture in enumerate(pictures):
        height, width = _size(picture)
        name = str(picture.relative_to(folder))
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        text = _labels_of(picture)
        digest.update(f"{name}\n{text}\n".encode())
        for entry in _entries(text, (height, width)):
            annotations.append({"id": len(annotations), "image_id": number, **entry})
    categories = [{"id": k, "name": name} for k, name in enumerate(names)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    return document, digest.hexdigest(), folder


def _size(picture: Path) -> Size:
    """That of a picture; one that cannot be read is refused when it is read."""
    try:
        return picture_size(picture)
    except BadInput:
        return 1, 1


def _entries(text: str, size: Size) -> Iterator[dict[str, Any]]:
    """A COCO annotation for each line; of one that is none, the line, which no reader takes."""
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        try:
            category, values = int(float(words[0])), [float(word) for word in words[1:]]
        except (ValueError, OverflowError):  # of an infinite class
            yield {"category_id": line, "bbox": line}
            continue
        if len(values) in (4, 5):  # the fifth is a score
            yield {"category_id": category, "bbox": _box(values, size), "segmentation": []}
        else:
            sides = [(size[1], size[0])[k % 2] for k in range(len(values))]
            polygon = [value * side for value, side in zip(values, sides, strict=True)]
            yield {"category_id": category, "bbox": _around(polygon), "segmentation": [polygon]}


def _box(values: Sequence[float], size: Size) -> list[float]:
    x, y, width, height = values[:4]
    return [
        *((x - width / 2) * size[1], (y - height / 2) * size[0]),
        *(width * size[1], height * size[0]),
    ]


def _around(polygon: Sequence[float]) -> list[float] | None:
    """The box of a polygon as COCO has it; none of one that is none."""
    if len(polygon) < 6 or len(polygon) % 2:
        return None
    x, y = min(polygon[::2]), min(polygon[1::2])
    return [x, y, max(polygon[::2]) - x, max(polygon[1::2]) - y]


def _labels_of(picture: Path) -> str:
    """The text of a picture's labels: of labels/ for images/, or beside it; "" without objects."""
    parts = list(picture.parts)
    beside = picture.with_suffix(".txt")
    if "images" in parts:
        place = len(parts) - 1 - parts[::-1].index("images")
        parts[place] = "labels"
        beside = next(
            (p for p in (Path(*parts).with_suffix(".txt"), beside) if p.is_file()), beside
        )
    try:
        with open_file(beside, _MOST) as file:
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise BadDataset(f"{beside} cannot be read ({error.strerror}).") from error


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        with open_file(path, _MOST) as file:
            data = YAML(typ="safe", pure=True).load(file.read())
    except (OSError, ValueError, YAMLError, RecursionError) as error:
        told = " ".join(str(error).split())[:200]
        raise BadDataset(f"{path} cannot be read as YOLO's description ({told}).") from error
    if not isinstance(data, dict):
        raise BadDataset(f"{path} is no description of a data set: it has no names and splits.")
    return data


def _names(path: Path, data: dict[str, Any]) -> list[str]:
    """Names of the classes by number; a list or a mapping."""
    names = data.get("names")
    if isinstance(names, dict) and all(isinstance(key, int) and key >= 0 for key in names):
        names = [
            names.get(key, f"class {key}") for key in range(min(max(names, default=-1), 9999) + 1)
        ]
    if not isinstance(names, list) or not names:
        raise BadDataset(f"{path} has no names of classes; expected a list, or names by number.")
    return [str(name) for name in names]


def _places(path: Path, data: dict[str, Any], key: str) -> Iterator[Path]:
    """The folders and lists of a split: below `path` of the file, or beside it.

    Roboflow says ../train/images for what is in train/images.
    """
    given = data.get(key)
    base = str(data.get("path") or "")
    for value in given if isinstance(given, list) else [given]:
        if not isinstance(value, str):
            continue
        value = value.replace("\\", "/")
        near = value.lstrip("./")
        bases = [path.parent / base, path.parent, path.parent / Path(base).name]
        tried = [b / v for v in (value, near) for b in bases]
        found = next((place for place in tried if place.exists()), None)
        if found is not None:
            yield found


def _pictures_in(place: Path) -> Iterator[Path]:
    """The pictures below a folder, or those of a list, whose lines are relative to it."""
    if place.is_dir():
        yield from (p for p in place.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
        return
    with open_file(place, _MOST) as file:
        lines = file.read().decode(errors="replace").splitlines()
    for line in filter(None, map(str.strip, lines)):
        line = line.replace("\\", "/")
        tried = [place.parent / line, place.parent / line.removeprefix("data/")]
        yield Path(os.path.normpath(next((p for p in tried if p.is_file()), tried[0])))
