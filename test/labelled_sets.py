"""Data sets as labelling tools export them, for tests: the shapes of files that the tools wrote.

Three pictures a, b, c of 32 x 48 pixels: a car by a polygon and a person by a box alone in each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from dataset_trees import SIZE, picture, save

HEIGHT, WIDTH = SIZE
CAR, PERSON = [4, 4, 20, 4, 20, 12], [24, 8, 12, 16]  # a polygon; x, y, width, height
THINGS = ("car", "person")


def coco(names: Sequence[str], categories: Sequence[str] = THINGS, first: int = 1) -> dict:
    """A document of pictures with these names; ids of categories from `first` on."""
    images = [
        {"id": k, "file_name": name, "width": WIDTH, "height": HEIGHT}
        for k, name in enumerate(names)
    ]
    numbers = {name: first + k for k, name in enumerate(categories)}
    entries: list[dict[str, Any]] = []
    for image in images:
        car = {"segmentation": [CAR], "bbox": [4, 4, 16, 8], "category_id": numbers["car"]}
        person = {"segmentation": [], "bbox": PERSON, "category_id": numbers["person"]}
        for entry in (car, person):
            more = {"id": len(entries), "image_id": image["id"], "iscrowd": 0, "area": 1.0}
            entries.append({**entry, **more})
    named = [{"id": number, "name": name} for name, number in numbers.items()]
    return {"images": images, "categories": named, "annotations": entries}


def write(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def pictures(folder: Path, names: Sequence[str]) -> None:
    for number, name in enumerate(names):
        save(folder / name, picture(number))


def roboflow(root: Path) -> Path:
    """train, valid and test, each with its JSON; a category that no object has comes first."""
    for split, names in {"train": ("a.jpg", "b.jpg"), "valid": ("c.jpg",)}.items():
        pictures(root / split, names)
        document = coco(names, ("things-kxqz", *THINGS), 0)
        write(root / split / "_annotations.coco.json", document)
    return root


def cvat(root: Path) -> Path:
    """COCO by CVAT and datumaro: subsets by their names, empty files of other kinds beside."""
    for subset, names in {"Train": ("a.png", "b.png"), "Validation": ("c.png",)}.items():
        pictures(root / "images" / subset, names)
        write(root / f"annotations/instances_{subset}.json", coco(names))
        for kind in ("stuff", "image_info"):
            write(root / f"annotations/{kind}_{subset}.json", {**coco(names), "annotations": []})
    return root


def label_studio(root: Path, places: str = "images\\{}") -> Path:
    """One file and images/; names have backslashes where it ran on Windows."""
    names = [f"3fa8c1d2-{name}.png" for name in "abc"]
    pictures(root / "images", names)
    write(root / "result.json", coco([places.format(name) for name in names], first=0))
    return root


def imagefolder(root: Path) -> Path:
    """A metadata.jsonl in the folder of each split, as Hugging Face's `datasets` reads it."""
    for split, names in {"train": ("a.png", "b.png"), "validation": ("c.png",)}.items():
        pictures(root / split, names)
        objects = {"bbox": [[4, 4, 16, 8], PERSON], "categories": list(THINGS)}
        objects["segmentation"] = [[CAR], []]
        lines = [json.dumps({"file_name": name, "objects": objects}) for name in names]
        write(root / split / "metadata.jsonl", "\n".join(lines))
    return root


def labelme(root: Path) -> Path:
    """A JSON beside every picture: a polygon, a rectangle, and a point that is no object."""
    for number, name in enumerate("abc"):
        save(root / f"{name}.jpg", picture(number))
        points = [CAR[k : k + 2] for k in range(0, 6, 2)]
        x, y, width, height = PERSON
        shapes = [
            {"label": "car", "points": points, "group_id": None, "shape_type": "polygon"},
            {"label": "person", "points": [[x, y], [x + width, y + height]],
             "group_id": None, "shape_type": "rectangle"},
        ]  # fmt: skip
        if name == "a":
            shapes.append({**shapes[0], "points": [[5, 5]], "shape_type": "point"})
        document = {"version": "6.3.1", "flags": {}, "shapes": shapes, "imagePath": f"{name}.jpg"}
        size = {"imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH}
        write(root / f"{name}.json", {**document, **size})
    return root


def yolo_label(polygons: bool = True) -> str:
    """The lines of one picture."""
    x, y, width, height = np.array(PERSON) / [WIDTH, HEIGHT, WIDTH, HEIGHT]
    sides = np.array([WIDTH, HEIGHT] * 3)
    car = np.array(CAR) / sides if polygons else [0.25, 0.25, 1 / 3, 0.25]
    box = [x + width / 2, y + height / 2, width, height]
    return "".join(f"{k} {' '.join(f'{v:.6f}' for v in one)}\n" for k, one in enumerate((car, box)))


def yolo(root: Path, kind: str = "ultralytics", polygons: bool = True) -> Path:
    """data.yaml: images/train beside labels/train with lists (ultralytics), or Roboflow's way."""
    for split, names in {"train": "ab", "val": "c"}.items():
        images, labels = {
            "ultralytics": (f"images/{split}", f"labels/{split}"),
            "roboflow": (f"{split}/images", f"{split}/labels"),
        }[kind]
        for number, name in enumerate(names):
            save(root / images / f"{name}.png", picture(number))
            write(root / labels / f"{name}.txt", yolo_label(polygons))
        write(root / f"{split}.txt", "".join(f"./{images}/{name}.png\n" for name in names))
    text = {
        "ultralytics": "train: train.txt\nval: val.txt\nnames:\n  0: car\n  1: person\n",
        "roboflow": "train: ../train/images\nval: ../val/images\nnc: 2\nnames: ['car', 'person']\n",
    }[kind]
    write(root / "data.yaml", text)
    return root


def yolo_names(root: Path) -> Path:
    """Label Studio's: classes.txt and one folder of pictures and of labels."""
    for number, name in enumerate("abc"):
        save(root / f"images/{name}.png", picture(number))
        write(root / f"labels/{name}.txt", yolo_label())
    write(root / "classes.txt", "car\nperson\n")
    write(root / "notes.json", {"categories": [], "info": {}})
    return root
