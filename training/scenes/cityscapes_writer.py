"""Rendered scenes in the published layout of Cityscapes.

    leftImg8bit/{split}/{split}town/{split}town_000001_000000_leftImg8bit.png
    gtFine/{split}/{split}town/..._gtFine_{labelIds,instanceIds,color}.png and _gtFine_polygons.json

A crowd is a group: its pixels in the instance map are the label id alone. Caravans have instance
ids although no class counts them; other objects of no class are `dynamic`, without an instance id.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from jointseg_core.classes import CITYSCAPES
from jointseg_eval.datasets.cityscapes import LABEL_IDS, THING_IDS
from training.scenes import Scene, SceneObject
from training.scenes.coco_writer import write_picture

UNLABELED, DYNAMIC, CARAVAN = 0, 5, 29
NAMES = {
    UNLABELED: "unlabeled",
    DYNAMIC: "dynamic",
    CARAVAN: "caravan",
    **dict(zip(LABEL_IDS, CITYSCAPES.semantic, strict=True)),
}
_LABEL_IDS = np.zeros(256, np.uint8)  # of each class
_LABEL_IDS[: len(LABEL_IDS)] = LABEL_IDS
_PALETTE = np.full((1, 256, 4), (0, 0, 0, 255), np.uint8)  # published colours RGBA of label ids
_PALETTE[0, list(LABEL_IDS), :3] = CITYSCAPES.semantic_colors
_PALETTE[0, [DYNAMIC, CARAVAN], :3] = (111, 74, 0), (0, 0, 90)


def write_frame(root: Path, split: str, number: int, scene: Scene) -> None:
    """Write all files of a scene, numbered from 1."""
    stem = f"{split}/{split}town/{split}town_{number:06d}_000000"
    labels, instances = label_maps(scene)
    write_picture(root / f"leftImg8bit/{stem}_leftImg8bit.png", scene.image)
    for kind, plane in {
        "labelIds": labels,
        "instanceIds": instances,
        "color": cv2.LUT(cv2.merge([labels] * 4), _PALETTE),
    }.items():
        write_picture(root / f"gtFine/{stem}_gtFine_{kind}.png", plane)
    outlines = json.dumps(polygons(instances), separators=(",", ":"))
    (root / f"gtFine/{stem}_gtFine_polygons.json").write_text(outlines)


def label_maps(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Label ids uint8 [H, W], and instance ids uint16 [H, W]: label * 1000 + number, from 0."""
    label_table, instance_table = np.zeros(256, np.uint8), np.zeros(256, np.uint16)
    numbers: Counter[int] = Counter()
    for value, thing in enumerate(scene.objects, start=1):
        label = label_of(thing)
        numbered = label != DYNAMIC and not thing.crowd
        label_table[value] = label
        instance_table[value] = label * 1000 + numbers[label] if numbered else label
        numbers[label] += numbered
    values = scene.instances.astype(np.uint8)  # a canvas has fewer than 256 objects
    labels, instances = cv2.LUT(values, label_table), cv2.LUT(values, instance_table)
    surfaces = cv2.LUT(scene.semantic, _LABEL_IDS)
    for plane in (labels, instances):
        np.copyto(plane, surfaces, where=values == 0)
    return labels, instances


def label_of(thing: SceneObject) -> int:
    """The label id of an object."""
    if thing.label < 0:
        return CARAVAN if thing.caravan else DYNAMIC
    return THING_IDS[thing.label]


def polygons(instances: np.ndarray) -> dict[str, Any]:
    """What _gtFine_polygons.json says of an instance map: outlines, to be painted in this order.

    Every visible part of an object or a surface is one polygon without its holes. What shows in a
    hole has a smaller outline and comes later.
    """
    height, width = instances.shape
    found = sorted(_outlines(instances), key=lambda entry: -entry[0])
    objects = [{"label": name, "polygon": points.tolist()} for _, name, points in found]
    return {"imgHeight": height, "imgWidth": width, "objects": objects}


def _outlines(instances: np.ndarray) -> Iterator[tuple[float, str, np.ndarray]]:
    """Area, name and corners [n, 2] of the outline of every visible part."""
    for value in np.flatnonzero(np.bincount(instances.ravel())).tolist():
        name = NAMES[value if value < 1000 else value // 1000]
        group = "group" if value in THING_IDS else ""
        mask = (instances == value).view(np.uint8)
        x, y, w, h = cv2.boundingRect(mask)
        contours, tree = cv2.findContours(
            mask[y : y + h, x : x + w], cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=(x, y)
        )
        for contour, parent in zip(contours, tree[0, :, 3], strict=True):
            if parent < 0:
                points = contour[:, 0] if len(contour) > 2 else np.resize(contour, (3, 2))
                yield cv2.contourArea(contour), name + group, points
