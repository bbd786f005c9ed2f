"""labelme's files, one JSON a picture, as a document of COCO's.

Polygons, circles and painted masks are outlines, rectangles boxes alone; shapes of one label and
group are one object. Points and lines are none.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pycocotools import mask as coco_masks

from jointseg_core.errors import BadDataset, BadInput
from jointseg_core.images import open_picture
from jointseg_eval.datasets.coco_file import Report, has, read_json, text
from jointseg_eval.datasets.outlines import is_whole, short
from jointseg_eval.datasets.pictures import Size, picture_size
from jointseg_eval.input_validation import Defect

CORNERS = 32  # of a circle
RECTANGLES = ("rectangle", "oriented_rectangle")


def labelme_document(folder: Path, report: Report) -> tuple[dict[str, Any], str, Path]:
    """COCO's document of a folder, its digest, and the folder below which its pictures are.

    Other files and shapes without a label are told to `report` and left out.
    """
    images, annotations, names = [], [], set()
    digest = hashlib.sha256()
    read = list(_read(folder, report))
    pictures = [_picture_of(path, document) for path, document, _ in read]
    beside = all(picture.is_relative_to(folder) for picture in pictures)
    base = folder if beside else folder.parent
    for number, ((path, document, own), picture) in enumerate(zip(read, pictures, strict=True)):
        digest.update(f"{path.name} {own}\n".encode())
        size = _size(picture, document)
        image = {"id": number, "file_name": str(picture.relative_to(base))}
        images.append(image | {"width": size[1], "height": size[0]})
        for label, entry in _objects(_labelled(path, document["shapes"], report), size):
            names.add(label)
            entry |= {"id": len(annotations), "image_id": number, "label": label}
            annotations.append(entry)
    ids = {name: k for k, name in enumerate(sorted(names))}
    for entry in annotations:
        entry["category_id"] = ids[entry.pop("label")]
    categories = [{"id": k, "name": name} for name, k in ids.items()]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    return whole, digest.hexdigest(), base


def _read(folder: Path, report: Report) -> Iterator[tuple[Path, dict[str, Any], str]]:
    """Path, content and digest of each file of labelme's."""
    paths = sorted(folder.glob("*.json"))
    for path in paths:
        try:
            yield path, *read_json(path, ("shapes",))
        except BadDataset as problem:
            told = f"it is left out with its picture: {problem}"
            report(
                Defect(f"{folder}, {path.name}", told, True, "files are not labelme's", len(paths))
            )


def _labelled(path: Path, shapes: Iterable[Any], report: Report) -> Iterator[dict[str, Any]]:
    for shape in shapes:
        if has(shape, label=text):
            yield shape
        else:
            told = f"a shape without a label is left out: {short(shape)}"
            report(Defect(str(path), told, True, "shapes have no label"))


def _picture_of(path: Path, document: dict[str, Any]) -> Path:
    """A picture as it is told, else beside its JSON, in images/ there or one folder higher."""
    told = document.get("imagePath")
    told = PurePosixPath(told.replace("\\", "/") if text(told) else f"{path.stem}.jpg")
    last = told.name or "picture without a name"
    beside = sorted(p for p in path.parent.glob(f"{path.stem}.*") if p.suffix != ".json")
    places = [path.parent, path.parent / "images", path.parent.parent / "images"]
    usual = [*(place / last for place in (*places, path.parent.parent)), *beside]
    if not told.is_absolute() and ".." not in told.parts:
        usual.insert(0, path.parent / told)
    return next((picture for picture in usual if picture.is_file()), usual[0])


def _size(picture: Path, document: dict[str, Any]) -> Size:
    height, width = document.get("imageHeight"), document.get("imageWidth")
    return (height, width) if is_whole(height) and is_whole(width) else picture_size(picture)


def _objects(shapes: Iterable[dict[str, Any]], size: Size) -> Iterator[tuple[str, dict[str, Any]]]:
    """Label and annotation of each object; of what is none, an annotation that no reader takes."""
    groups: dict[Any, list[dict[str, Any]]] = {}
    for number, shape in enumerate(shapes):
        group = shape.get("group_id")
        key = ("alone", number) if group is None else (shape["label"], repr(group))
        groups.setdefault(key, []).append(shape)
    for some in groups.values():
        yield some[0]["label"], _annotation(some, size)


def _annotation(shapes: list[dict[str, Any]], size: Size) -> dict[str, Any]:
    """The shapes of one object together."""
    masks = [mask for shape in shapes if (mask := _mask(shape, size)) is not None]
    polygons = [polygon for shape in shapes if (polygon := _polygon(shape)) is not None]
    corners = [c for s in shapes if s.get("shape_type") in RECTANGLES for c in _points(s)]
    if masks:
        letters = coco_masks.merge([coco_masks.encode(np.asfortranarray(m)) for m in masks])
        outline = {"size": list(size), "counts": letters["counts"].decode()}
        return {"segmentation": outline, "bbox": coco_masks.toBbox(letters).tolist()}
    points = [point for polygon in polygons for point in polygon] or corners
    if len(points) < 2:
        return {"segmentation": [], "bbox": f"none, as of a {shapes[0].get('shape_type')}"}
    (x1, y1), (x2, y2) = np.min(points, 0).tolist(), np.max(points, 0).tolist()
    outline = [[value for point in polygon for value in point] for polygon in polygons]
    return {"segmentation": outline, "bbox": [x1, y1, x2 - x1, y2 - y1]}


def _points(shape: dict[str, Any]) -> list[tuple[float, float]]:
    points = shape.get("points")
    good = isinstance(points, list) and all(
        isinstance(p, list) and len(p) == 2 and all(isinstance(v, int | float) for v in p)
        for p in points
    )
    return [(float(x), float(y)) for x, y in points] if good else []


def _polygon(shape: dict[str, Any]) -> list[tuple[float, float]] | None:
    """The corners of a shape that is an outline."""
    kind, points = shape.get("shape_type") or "polygon", _points(shape)
    if kind == "polygon":
        return points
    if kind == "circle" and len(points) == 2:
        (x, y), edge = points
        radius = math.dist(points[0], edge)
        turns = (2 * math.pi * k / CORNERS for k in range(CORNERS))
        return [(x + radius * math.cos(turn), y + radius * math.sin(turn)) for turn in turns]
    return None


def _mask(shape: dict[str, Any], size: Size) -> np.ndarray | None:
    """The pixels uint8 [H, W] of a painted shape, whose PNG lies at its first point."""
    points, png = _points(shape), shape.get("mask")
    if shape.get("shape_type") != "mask" or not points or not isinstance(png, str):
        return None
    try:
        with open_picture(io.BytesIO(base64.b64decode(png))) as picture:
            part = np.array(picture.convert("L")) > 0
    except (ValueError, BadInput):
        return None
    whole = np.zeros(size, np.uint8)
    x, y = (max(0, int(value)) for value in points[0])
    window = whole[y : y + part.shape[0], x : x + part.shape[1]]
    window[:] = part[: window.shape[0], : window.shape[1]]
    return whole
