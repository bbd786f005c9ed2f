"""What a COCO JSON says, and everything that is wrong in it.

Read once, entry by entry: an entry that cannot be used is told to `report` and left out.
"""

from __future__ import annotations

import gc
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_masks

from jointseg_core.errors import BadDataset, in_words
from jointseg_core.files import open_file
from jointseg_eval.datasets.pictures import Size
from jointseg_eval.input_validation import Defect, parse_json

MAX_BYTES, MAX_NAME, MAX_PART = 1 << 32, 1024, 255  # the last two of a path
Report = Callable[[Defect], None]


class Segment(int):
    """The id of an object's pixels in the panoptic map of its picture."""


Outline = list[bytes] | bytes | Segment  # polygons of float64 x, y, ..., or one compressed RLE


class CocoObject(NamedTuple):
    """An annotation."""

    category: int
    box: tuple[float, float, float, float]  # x1, y1, x2, y2, as annotated
    area: float  # nan where there is none
    crowd: bool
    outline: Outline


class CocoPicture(NamedTuple):
    """An image entry with its annotations."""

    file_name: str
    image_id: int
    size: Size
    objects: list[CocoObject]


@dataclass
class CocoFile:
    """A file's categories (id to name, in order of id) and its pictures in the file's order."""

    path: Path
    categories: dict[int, str]
    pictures: list[CocoPicture]
    digest: str
    found: Counter[str] = field(default_factory=Counter)  # objects but crowds, by category's name


def read_coco(path: Path, report: Report) -> CocoFile:
    """Everything in a file of the "instances" kind; BadInput where it is none.

    Of the "panoptic" kind, which its name tells, the segments of things are its objects.
    """
    with _no_garbage():
        document, digest = read_json(path, ("images", "annotations", "categories"))
        if is_panoptic(path):
            document = _objects_of(document)
        categories = read_categories(document["categories"], path, report)
        pictures = _pictures(document["images"], path, report)
        for entry, picture in _annotations(document["annotations"], pictures, path, report):
            found = _object(entry, picture, categories, path, report)
            if found is not None:
                picture.objects.append(found)
    objects = (o for picture in pictures.values() for o in picture.objects if not o.crowd)
    found = Counter(categories[o.category] for o in objects)
    if found and all(_normalised(o.box) for picture in pictures.values() for o in picture.objects):
        told = "its boxes look normalised, all of them lie within 0 and 1; COCO's are in pixels"
        report(Defect(str(path), told))
    return CocoFile(path, categories, list(pictures.values()), digest, found)


def is_panoptic(path: Path) -> bool:
    """Whether a JSON describes segments of panoptic maps."""
    return "panoptic" in path.name


def _objects_of(document: dict[str, Any]) -> dict[str, Any]:
    """The things of a panoptic document and their segments, as one of instances has them.

    Annotations that are none are left to `Panoptic`, which refuses them.
    """
    things = [c for c in document["categories"] if not has(c, isthing=lambda value: value == 0)]
    ids = [category.get("id") for category in things if isinstance(category, dict)]
    entries = [
        {
            **{key: segment.get(key) for key in ("category_id", "bbox", "area", "iscrowd")},
            "image_id": picture.get("image_id"),
            "segmentation": Segment(segment["id"]),
        }
        for picture in document["annotations"]
        if has(picture, segments_info=lambda value: isinstance(value, list))
        for segment in picture["segments_info"]
        if has(segment, id=whole) and segment.get("category_id") in ids
    ]
    return {**document, "categories": things, "annotations": entries}


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Without collections, which would go through millions of new objects again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def read_json(path: Path, keys: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    """The lists under `keys` of a JSON object, and the file's digest."""
    try:
        with open_file(path, MAX_BYTES) as file:
            content = file.read()
        document = parse_json(content)
    except OSError as error:
        raise BadDataset(f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise BadDataset(
            f"{path} is no complete JSON ({in_words(error)}; {len(content)} bytes);"
            " unpack or write it again."
        ) from error
    held = {
        key for key in keys if isinstance(document, dict) and isinstance(document.get(key), list)
    }
    if held != set(keys):
        found = ", ".join(list(document)[:8]) if isinstance(document, dict) else "no object"
        raise BadDataset(
            f"{path} lacks the lists {sorted(set(keys) - held)} of COCO; found {found}."
        )
    return document, hashlib.sha256(content).hexdigest()


def read_categories(entries: list[Any], path: Path, report: Report) -> dict[int, str]:
    """Names of the categories by id, in order of id."""
    names: dict[int, str] = {}
    for number, entry in enumerate(entries):
        where = f"{path}, category {number + 1} of the list"
        if not (has(entry, id=whole, name=text)):
            report(Defect(where, f"needs an id (whole number) and a name, is {_short(entry)}"))
        elif entry["id"] in names:
            report(Defect(where, f"its id {entry['id']} is taken by {names[entry['id']]}"))
        else:
            if entry["name"] in names.values():
                told = f"its name {entry['name']!r} is there twice; both count as one class"
                report(Defect(where, told, usable=True))
            names[entry["id"]] = entry["name"]
    return dict(sorted(names.items()))


def _normalised(box: Sequence[float]) -> bool:
    return min(box) >= 0 and max(box) <= 2 and max(box[2] - box[0], box[3] - box[1]) <= 1


def _pictures(entries: list[Any], path: Path, report: Report) -> dict[int, CocoPicture]:
    pictures: dict[int, CocoPicture] = {}
    files: set[str] = set()
    for number, entry in enumerate(entries):
        where = f"{path}, image {number + 1} of the list"
        if not has(entry, id=whole, file_name=text, width=_positive, height=_positive):
            wanted = "needs an id, a file_name, a width and a height"
            report(Defect(where, f"{wanted}, is {_short(entry)}"))
            continue
        name, image_id = entry["file_name"], entry["id"]
        if not _lies_below(name):
            told = "leads out of the folder of the pictures, or is no name of a file"
            report(Defect(where, f"its file_name {_short(name)} {told}"))
            continue
        if image_id in pictures:
            taken = pictures[image_id].file_name
            report(Defect(where, f"its id {image_id} is taken by {taken}"))
            continue
        if name in files:
            report(Defect(where, f"{name} is there twice", usable=True))
        files.add(name)
        size = (int(entry["height"]), int(entry["width"]))
        pictures[image_id] = CocoPicture(name, image_id, size, [])
    return pictures


def _annotations(
    entries: list[Any], pictures: Mapping[int, CocoPicture], path: Path, report: Report
) -> Iterator[tuple[dict[str, Any], CocoPicture]]:
    """The annotations of pictures that exist."""
    ids: set[int] = set()
    for number, entry in enumerate(entries):
        where = f"{path}, annotation {number + 1} of the list"
        if not has(entry, image_id=whole, category_id=whole):
            report(Defect(where, f"needs an image_id and a category_id, is {_short(entry)}"))
        elif entry["image_id"] not in pictures:
            report(Defect(where, f"there is no image with its image_id {entry['image_id']}"))
        else:
            own = entry.get("id")
            if whole(own) and own in ids:
                report(Defect(where, f"its id {own} is there twice", usable=True))
            if whole(own):
                ids.add(own)
            elif own is not None:
                report(Defect(where, f"its id is {_short(own)}, no whole number", usable=True))
            yield entry, pictures[entry["image_id"]]


def _object(
    entry: dict[str, Any],
    picture: CocoPicture,
    categories: Mapping[int, str],
    path: Path,
    report: Report,
) -> CocoObject | None:
    """An annotation, or None for one that cannot be used."""
    where = f"{path}, annotation {entry.get('id', 'without id')} of {picture.file_name}"

    def mention(what: str) -> None:
        report(Defect(where, what, usable=True))

    try:
        category = entry["category_id"]
        if category not in categories:
            raise _Unusable(f"unknown category {category}; known are {_listed(categories)}")
        box = _box(entry.get("bbox"), picture.size, mention)
        outline = _outline(entry.get("segmentation"), picture.size)
        crowd = _crowd(entry.get("iscrowd"), mention)
    except _Unusable as problem:
        report(Defect(where, str(problem)))
        return None
    return CocoObject(category, box, _area(entry.get("area"), mention), crowd, outline)


class _Unusable(ValueError):
    """Why an annotation cannot be used."""


def _box(
    value: Any, size: Size, mention: Callable[[str], None]
) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 of COCO's x, y, width, height."""
    if not (isinstance(value, list) and len(value) == 4 and all(map(_number, value))):
        raise _Unusable(f"its bbox is {_short(value)}, expected x, y, width, height")
    x, y, width, height = value
    if width < 0 or height < 0:
        raise _Unusable(f"its bbox has a negative size, {value}")
    if width == 0 or height == 0:
        mention(f"its bbox has no extent, {value}")
    elif x >= size[1] or y >= size[0] or x + width <= 0 or y + height <= 0:
        raise _Unusable(f"its bbox {value} lies outside the picture ({_of(size)})")
    elif min(x, y) < -1 or x + width > size[1] + 1 or y + height > size[0] + 1:
        mention(f"its bbox {value} sticks out of the picture ({_of(size)})")
    return x, y, x + width, y + height


def _crowd(value: Any, mention: Callable[[str], None]) -> bool:
    """Whether an annotation is of a group; one object where that is not said."""
    if value in ("0", "1"):
        mention(f'its iscrowd is the text "{value}"; read as the number')
    elif value not in (None, 0, 1):
        raise _Unusable(f"its iscrowd is {_short(value)}, expected 0 or 1")
    return value in (1, "1")


def _area(value: Any, mention: Callable[[str], None]) -> float:
    """Pixels; nan, for which those of the mask are counted, where they are not said."""
    if value is not None and not (_number(value) and value >= 0):
        mention(f"its area is {_short(value)}, no number of pixels; those of its mask are counted")
        return math.nan
    return math.nan if value is None else float(value)


def _outline(value: Any, size: Size) -> Outline:
    """Polygons or RLE, checked as far as is possible without painting them, or a segment."""
    if isinstance(value, Segment):
        return value
    if isinstance(value, list) and value:
        return [_polygon(polygon, size) for polygon in value]
    if isinstance(value, dict):
        return _run_lengths(value, size)
    raise _Unusable("it has no outline (segmentation is empty), and masks cannot be made of boxes")


def _polygon(value: Any, size: Size) -> bytes:
    try:
        points = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        points = np.zeros(0)
    if points.ndim != 1 or len(points) < 6 or len(points) % 2:
        raise _Unusable(f"a polygon is {_short(value)}, expected x, y of three points or more")
    limit = 10 * max(size)  # painting what reaches further would take gigabytes
    if not (points.min() >= -limit and points.max() <= limit):  # nor is that of nan
        raise _Unusable(f"a polygon reaches beyond {limit} in a picture of {_of(size)}")
    return points.tobytes()


def _run_lengths(value: dict[str, Any], size: Size) -> bytes:
    """Compressed run lengths (COCO's string) of either kind of RLE."""
    counts, stated = value.get("counts"), value.get("size")
    if stated != list(size):
        raise _Unusable(f"its RLE is of {_short(stated)}, the picture of {list(size)}")
    if isinstance(counts, str) and _decodable(counts, size):
        return counts.encode()
    plain = isinstance(counts, list) and all(whole(c) and c >= 0 for c in counts)
    if plain and sum(counts) == size[0] * size[1]:
        return coco_masks.frPyObjects(value, *size)["counts"]
    raise _Unusable(f"the runs of its RLE do not add up to {_of(size)} pixels")


def _decodable(counts: str, size: Size) -> bool:
    """Whether a string is run lengths that fill a picture; on others pycocotools may crash."""
    runs = string_runs(counts)
    return runs is not None and bool((runs >= 0).all()) and int(runs.sum()) == size[0] * size[1]


def string_runs(counts: str) -> np.ndarray | None:
    """The run lengths [R] in COCO's string; None where it is none.

    A letter holds five bits, lowest first, and whether more follow; the last one's upper bit is a
    sign. From the fourth on, a run is told as its difference from the last but one.
    """
    letters = np.frombuffer(counts.encode(errors="replace"), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(~letters & 32)
    if not len(letters) or letters.min() < 0 or letters.max() > 63 or letters[-1] & 32:
        return None
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 6:  # 30 bits
        return None
    shifts = 5 * (np.arange(len(letters)) - np.repeat(starts, lengths))
    runs = np.add.reduceat((letters & 31) << shifts, starts)
    runs -= np.where(letters[ends] & 16, 1 << 5 * lengths, 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def has(entry: Any, **checks: Callable[[Any], bool]) -> bool:
    return isinstance(entry, dict) and all(check(entry.get(key)) for key, check in checks.items())


def whole(value: Any) -> bool:
    """A number that fits 64 bits, as every reader can hold it."""
    fits = isinstance(value, int) and -(1 << 63) <= value < 1 << 63
    return fits and not isinstance(value, bool)


def _positive(value: Any) -> bool:
    """A side in pixels; other tools write it as 640.0 too."""
    return (whole(value) or isinstance(value, float)) and 0 < value < 1e6 and value == int(value)


def _lies_below(name: str) -> bool:
    """Whether a name stays in the folder that it belongs to."""
    path = PurePosixPath(name)
    parts = [len(part.encode(errors="replace")) <= MAX_PART for part in path.parts]
    plain = len(name) <= MAX_NAME and "\0" not in name and all(parts)
    return plain and not path.is_absolute() and ".." not in path.parts


def text(value: Any) -> bool:
    """Some letters that can be written: JSON also holds halves of them."""
    return isinstance(value, str) and "" != value == value.encode(errors="replace").decode()


def _number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and -1e9 < value < 1e9  # not nan


def _listed(categories: Mapping[int, str]) -> str:
    return ", ".join(f"{key} {name}" for key, name in list(categories.items())[:10]) or "none"


def _of(size: Size) -> str:
    return f"{size[0]} x {size[1]}"


def _short(value: Any) -> str:
    told = json.dumps(value)
    return told if len(told) <= 100 else f"{told[:97]}..."
