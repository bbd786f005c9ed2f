"""What a COCO JSON says, and everything that is wrong in it.

Read once, entry by entry: an entry that cannot be used is told to `report` and left out.
"""

from __future__ import annotations

import gc
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from jointseg_core.errors import BadDataset, in_words
from jointseg_core.files import open_file
from jointseg_eval.datasets.outlines import (
    Outline,
    Segment,
    Unusable,
    extent,
    is_whole,
    of_size,
    read_outline,
    rectangle,
    short,
)
from jointseg_eval.datasets.pictures import Size
from jointseg_eval.input_validation import Defect, parse_json

MAX_BYTES, MAX_NAME, MAX_PART = 1 << 32, 1024, 255  # the last two of a path
NO_OUTLINE = "objects have no outline"
Report = Callable[[Defect], None]


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
    """A file's categories (id to name, in order of id) and its pictures in the file's order.

    found   objects but crowds, by the name of their category
    crowds  the same of crowds
    folder  below which the pictures are, where that is known
    """

    path: Path
    categories: dict[int, str]
    pictures: list[CocoPicture]
    digest: str
    found: Counter[str] = field(default_factory=Counter)
    crowds: Counter[str] = field(default_factory=Counter)
    folder: Path | None = None


def read_coco(path: Path, report: Report) -> CocoFile:
    """Everything in a file of the "instances" kind; BadInput where it is none.

    Of the "panoptic" kind, which its name tells, the segments of things are its objects.
    """
    with _no_garbage():
        document, digest = read_json(path, ("images", "annotations", "categories"))
        if is_panoptic(path):
            document = _objects_of(document)
        return coco_of(document, path, digest, report)


def coco_of(
    document: Mapping[str, Any],
    path: Path,
    digest: str,
    report: Report,
    folder: Path | None = None,
) -> CocoFile:
    """What a document of the "instances" kind says, wherever it is from."""
    categories = read_categories(document["categories"], path, report)
    pictures = _pictures(document["images"], path, report)
    total = len(document["annotations"])
    for entry, picture in _annotations(document["annotations"], pictures, path, report):
        found = _object(entry, picture, categories, path, report, total)
        if found is not None:
            picture.objects.append(found)
    file = CocoFile(path, categories, list(pictures.values()), digest, folder=folder)
    objects = [o for picture in file.pictures for o in picture.objects]
    for o in objects:
        (file.crowds if o.crowd else file.found)[categories[o.category]] += 1
    if file.found and all(_normalised(o.box) for o in objects):
        told = "its boxes look normalised, all of them lie within 0 and 1; COCO's are in pixels"
        report(Defect(str(path), told))
    return file


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
        if has(segment, id=is_whole) and segment.get("category_id") in ids
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
        if not (has(entry, id=is_whole, name=text)):
            report(Defect(where, f"needs an id (whole number) and a name, is {short(entry)}"))
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
        if not has(entry, id=is_whole, file_name=text, width=_positive, height=_positive):
            wanted = "needs an id, a file_name, a width and a height"
            report(Defect(where, f"{wanted}, is {short(entry)}"))
            continue
        name, image_id = _inside(entry["file_name"]), entry["id"]
        if not name:
            told = f"its file_name {short(entry['file_name'])} is no name of a file"
            report(Defect(where, told))
            continue
        if name != entry["file_name"].replace("\\", "/"):
            told = f"its file_name {short(entry['file_name'])} leads out of the folder of the"
            kind = "pictures have names that lead out of their folder"
            report(Defect(where, f"{told} pictures; {name} is looked for", True, kind))
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
    total = len(entries)
    for number, entry in enumerate(entries):
        where = f"{path}, annotation {number + 1} of the list"

        def mention(what: str, kind: str, where: str = where) -> None:
            report(Defect(where, what, True, kind, total))

        if not has(entry, image_id=is_whole, category_id=is_whole):
            told = f"needs an image_id and a category_id, is {short(entry)}"
            mention(told, "annotations lack a picture or a category")
        elif entry["image_id"] not in pictures:
            told = f"there is no image with its image_id {entry['image_id']}"
            mention(told, "annotations are of pictures that are not there")
        else:
            own = entry.get("id")
            if is_whole(own) and own in ids:
                mention(f"its id {own} is there twice", "annotations have an id that is taken")
            if is_whole(own):
                ids.add(own)
            elif own is not None:
                mention(f"its id is {short(own)}, no whole number", "annotations have odd ids")
            yield entry, pictures[entry["image_id"]]


def _object(
    entry: dict[str, Any],
    picture: CocoPicture,
    categories: Mapping[int, str],
    path: Path,
    report: Report,
    total: int,
) -> CocoObject | None:
    """An annotation, or None for one that cannot be used: it is left out and told."""
    where = f"{path}, annotation {entry.get('id', 'without id')} of {picture.file_name}"

    def mention(what: str, kind: str) -> None:
        report(Defect(where, what, True, kind, total))

    try:
        category = entry["category_id"]
        if category not in categories:
            told = f"unknown category {category}; known are {_listed(categories)}"
            raise Unusable(told, "annotations are of unknown categories")
        crowd = _crowd(entry.get("iscrowd"), mention)
        box, outline = _place(entry, picture.size, mention)
    except Unusable as problem:
        mention(f"{problem}; it is left out", problem.kind)
        return None
    if crowd and outline is None:
        outline = rectangle(box)  # in which nothing is sought
    return CocoObject(category, box, _area(entry.get("area"), mention), crowd, outline)


Mention = Callable[[str, str], None]
"""Is told what is odd, and the kind of it."""

Box = tuple[float, float, float, float]  # x1, y1, x2, y2


def _place(entry: Mapping[str, Any], size: Size, mention: Mention) -> tuple[Box, Outline]:
    """Box and outline of an object, of which one may lack; Unusable where neither is known.

    A box without an outline stays: what is in it is no background.
    """
    stray: list[str] = []
    try:
        outline = read_outline(entry.get("segmentation"), size, stray.append)
        problem = ""
    except Unusable as why:
        outline, problem = None, stray[0] if stray else str(why)
    try:
        box = _box(entry.get("bbox"), size, mention)
    except Unusable as why:
        if outline is None or isinstance(outline, Segment) or isinstance(why, _Outside):
            raise
        mention(f"{why}; the box of its outline is taken", "objects have no usable bbox")
        box = _box(list(extent(outline, size)), size, mention)
    if outline is None and (box[0] == box[2] or box[1] == box[3]):
        raise Unusable(f"{problem} and its bbox no extent", "objects show nothing")
    if outline is None:
        mention(f"{problem}: its box trains no mask, and is no background", NO_OUTLINE)
    elif stray:
        mention(f"{stray[0]}: that part is left out", "objects have stray polygons")
    return box, outline


class _Outside(Unusable):
    """The object is not in the picture."""


def _box(value: Any, size: Size, mention: Mention) -> Box:
    """x1, y1, x2, y2 of COCO's x, y, width, height."""
    if not (isinstance(value, list) and len(value) == 4 and all(map(_number, value))):
        raise Unusable(f"its bbox is {short(value)}, expected x, y, width, height")
    x, y, width, height = value
    if width < 0 or height < 0:
        raise Unusable(f"its bbox has a negative size, {value}")
    if width == 0 or height == 0:
        mention(f"its bbox has no extent, {value}", "objects have a bbox without extent")
    elif x >= size[1] or y >= size[0] or x + width <= 0 or y + height <= 0:
        told = f"its bbox {value} lies outside the picture ({of_size(size)})"
        raise _Outside(told, "objects lie outside of their picture")
    elif min(x, y) < -1 or x + width > size[1] + 1 or y + height > size[0] + 1:
        told = f"its bbox {value} sticks out of the picture ({of_size(size)})"
        mention(told, "objects have a bbox that sticks out of the picture")
    return x, y, x + width, y + height


def _crowd(value: Any, mention: Mention) -> bool:
    """Whether an annotation is of a group; one object where that is not said."""
    if value in ("0", "1"):
        mention(f'its iscrowd is the text "{value}"; read as the number', "iscrowd are texts")
    elif value not in (None, 0, 1):
        raise Unusable(f"its iscrowd is {short(value)}, expected 0 or 1")
    return value in (1, "1")


def _area(value: Any, mention: Mention) -> float:
    """Pixels; nan, for which those of the mask are counted, where they are not said."""
    if value is not None and not (_number(value) and value >= 0):
        told = f"its area is {short(value)}, no number of pixels; those of its mask are counted"
        mention(told, "areas are no numbers")
        return math.nan
    return math.nan if value is None else float(value)


def has(entry: Any, **checks: Callable[[Any], bool]) -> bool:
    return isinstance(entry, dict) and all(check(entry.get(key)) for key, check in checks.items())


def _positive(value: Any) -> bool:
    """A side in pixels; other tools write it as 640.0 too."""
    return (is_whole(value) or isinstance(value, float)) and 0 < value < 1e6 and value == int(value)


def _inside(name: str) -> str:
    """A name below the folder that it belongs to: its last part where it leads out; "" for none.

    Windows' backslashes are slashes.
    """
    name = name.replace("\\", "/")
    path = PurePosixPath(name)
    parts = [len(part.encode(errors="replace")) <= MAX_PART for part in path.parts]
    if len(name) > MAX_NAME or "\0" in name or not all(parts):
        return ""
    outside = path.is_absolute() or ".." in path.parts or ":" in path.parts[0]
    return path.name if outside else name


def text(value: Any) -> bool:
    """Some letters that can be written: JSON also holds halves of them."""
    return isinstance(value, str) and "" != value == value.encode(errors="replace").decode()


def _number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and -1e9 < value < 1e9  # not nan


def _listed(categories: Mapping[int, str]) -> str:
    return ", ".join(f"{key} {name}" for key, name in list(categories.items())[:10]) or "none"
