"""Rendered scenes in the published layout of COCO, with the masks exactly as they were painted.

    {split}2017/000000000001.jpg
    annotations/instances_{split}2017.json
    annotations/panoptic_{split}2017.json and panoptic_{split}2017/000000000001.png

Categories have the label ids of Cityscapes. A mask without holes is a list of polygons along the
edges of its pixels; one with holes, and a crowd, is run lengths.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from jointseg_core.classes import CITYSCAPES, UNLABELLED
from jointseg_eval.datasets.cityscapes import LABEL_IDS, THING_IDS
from training.scenes import Scene

JPEG_QUALITY = 95
HUMANS = ("person", "rider")
FIRST_STUFF = 256  # the segment of class k is FIRST_STUFF + k, above those of objects

Record = dict[str, Any]


def write_frame(root: Path, split: str, number: int, scene: Scene) -> Record:
    """Write the pictures of a scene, numbered from 1; returns what `finish` needs to know of it."""
    stem, (height, width) = f"{number:012d}", scene.semantic.shape
    write_picture(root / f"{split}2017" / f"{stem}.jpg", scene.image)
    segments = _segments(scene)
    write_picture(root / f"annotations/panoptic_{split}2017" / f"{stem}.png", _coloured(segments))
    return {
        "image": {"id": number, "file_name": f"{stem}.jpg", "height": height, "width": width},
        "annotations": annotations(number, scene),
        "segments": _segments_info(segments, scene),
    }


def finish(root: Path, split: str, records: Sequence[Record]) -> None:
    """Write the JSONs of a split, of all its frames in order."""
    images = [record["image"] for record in records]
    found = [entry for record in records for entry in record["annotations"]]
    panoptic = [
        {
            "image_id": record["image"]["id"],
            "file_name": f"{record['image']['id']:012d}.png",
            "segments_info": record["segments"],
        }
        for record in records
    ]
    folder = root / "annotations"
    _write_json(folder / f"instances_{split}2017.json", images, found, _things())
    _write_json(folder / f"panoptic_{split}2017.json", images, panoptic, _classes())


def annotations(number: int, scene: Scene) -> list[Record]:
    """COCO's entries for the things of a scene."""
    found = []
    for value, thing in enumerate(scene.objects, start=1):
        if thing.label < 0:
            continue
        x1, y1, x2, y2 = (int(side) for side in thing.box)
        crop = scene.instances[y1:y2, x1:x2] == value
        entry = {
            "id": number * 1000 + value,
            "image_id": number,
            "category_id": THING_IDS[thing.label],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": int(np.count_nonzero(crop)),
            "iscrowd": int(thing.crowd),
            "segmentation": segmentation(crop, (x1, y1), scene.instances.shape, thing.crowd),
        }
        found.append(entry)
    return found


def segmentation(
    crop: np.ndarray, corner: tuple[int, int], size: tuple[int, int], crowd: bool = False
) -> list[list[int]] | Record:
    """COCO's form of a mask that is `crop` bool [h, w] at `corner` (x, y) and empty elsewhere."""
    polygons = None if crowd else edges(crop)
    if polygons is None:
        mask = np.zeros(size, bool)
        (x, y), (h, w) = corner, crop.shape
        mask[y : y + h, x : x + w] = crop
        return {"size": list(size), "counts": run_lengths(mask)}
    return [(polygon + corner).ravel().tolist() for polygon in polygons]


def edges(mask: np.ndarray) -> list[np.ndarray] | None:
    """Polygons int [n, 2] along the edges of pixels around bool [H, W]; None if it has holes.

    OpenCV's contours run through the middles of pixels. With every pixel doubled, both halves of
    a side become the one corner between them.
    """
    doubled = mask.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, tree = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if tree is None or (tree[0, :, 3] >= 0).any():
        return None
    return [_without_repeats((contour[:, 0] + 1) // 2) for contour in contours]


def _without_repeats(corners: np.ndarray) -> np.ndarray:
    return corners[(corners != np.roll(corners, 1, axis=0)).any(axis=1)]


def run_lengths(mask: np.ndarray) -> list[int]:
    """Lengths of runs of bool [H, W] down its columns; the first is of zeros and may be empty."""
    flat = mask.ravel(order="F")
    changes = (np.flatnonzero(flat[1:] != flat[:-1]) + 1).tolist()
    counts = np.diff([0, *changes, flat.size]).tolist()
    return [0, *counts] if flat[0] else counts


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Write uint8 [H, W], [H, W, 3] RGB or [H, W, 4] RGBA, or uint16 [H, W], as PNG or JPEG."""
    swap = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, swap[pixels.shape[2]])
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix == ".jpg" else []
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, pixels, options)[1])


def _write_json(
    path: Path, images: Sequence[Record], found: Sequence[Record], categories: Iterable[Record]
) -> None:
    document = {
        "info": {"description": "synthetic driving scenes", "version": "1.0"},
        "licenses": [],
        "images": list(images),
        "annotations": list(found),
        "categories": list(categories),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, separators=(",", ":")))


def _things() -> list[Record]:
    return [
        {"id": id, "name": name, "supercategory": "human" if name in HUMANS else "vehicle"}
        for id, name in zip(THING_IDS, CITYSCAPES.things, strict=True)
    ]


def _classes() -> list[Record]:
    rows = zip(LABEL_IDS, CITYSCAPES.semantic, CITYSCAPES.semantic_colors.tolist(), strict=True)
    return [
        {"id": id, "name": name, "isthing": int(id in THING_IDS), "color": color}
        for id, name, color in rows
    ]


def _segments(scene: Scene) -> np.ndarray:
    """Segments uint16 [H, W]: k for objects[k - 1], FIRST_STUFF + class elsewhere, 0 for void."""
    labelled = scene.semantic != UNLABELLED
    stuff = np.where(labelled, scene.semantic.astype(np.uint16) + FIRST_STUFF, 0)
    return np.where(labelled & (scene.instances > 0), scene.instances, stuff).astype(np.uint16)


def _coloured(segments: np.ndarray) -> np.ndarray:
    """Segment R + 256 G + 65536 B as uint8 [H, W, 3]."""
    return np.stack([segments & 255, segments >> 8, np.zeros_like(segments)], axis=-1).astype(
        np.uint8
    )


def _segments_info(segments: np.ndarray, scene: Scene) -> list[Record]:
    """COCO's entries for the segments of a picture, by id."""
    found = []
    for id in np.unique(segments[segments > 0]).tolist():
        mask = segments == id
        thing = scene.objects[id - 1] if id < FIRST_STUFF else None
        entry = {
            "id": id,
            "category_id": THING_IDS[thing.label] if thing else LABEL_IDS[id - FIRST_STUFF],
            "area": int(np.count_nonzero(mask)),
            "bbox": list(cv2.boundingRect(mask.view(np.uint8))),
            "iscrowd": int(thing.crowd) if thing else 0,
        }
        found.append(entry)
    return found
