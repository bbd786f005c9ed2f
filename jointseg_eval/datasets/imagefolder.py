"""Hugging Face's imagefolder with objects: a metadata.jsonl beside pictures, as COCO's document.

{"file_name": "a.png", "objects": {"bbox": [[x, y, width, height]], "categories": ["car"]}}

Names of categories are not in it where these are numbers: they become "class 0" and so on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jointseg_core.errors import BadDataset, BadInput, in_words
from jointseg_core.files import open_file
from jointseg_eval.datasets.coco_file import MAX_BYTES, Report, text
from jointseg_eval.datasets.pictures import picture_size
from jointseg_eval.input_validation import Defect, parse_json

METADATA = "metadata.jsonl"
_EXPECTED = '{"file_name": ..., "objects": {"bbox": [...], "categories": [...]}}'
_CATEGORIES = ("categories", "category", "label", "labels")


def imagefolder_document(path: Path, report: Report) -> tuple[dict[str, Any], str, Path]:
    """COCO's document of a metadata.jsonl, its digest, and the folder of its pictures.

    Lines that are none are told to `report` and left out; BadDataset where all are.
    """
    images, annotations, ids, wrong = [], [], dict[str, int](), list[Defect]()
    with open_file(path, MAX_BYTES) as file:
        content = file.read()
    for number, line in enumerate(content.splitlines()):
        if not line.strip():
            continue
        try:
            entry = parse_json(line)
            objects = list(_objects(entry.get("objects") or {}))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            told = f"no picture with its objects ({in_words(error)}); expected {_EXPECTED}"
            wrong.append(Defect(f"{path}, line {number + 1}", told, True, "lines are left out"))
            continue
        image = {"id": number, "file_name": entry.get("file_name")}
        images.append(image | _size(path.parent, image["file_name"]))
        for name, known in objects:
            category = ids.setdefault(name, len(ids))
            known |= {"id": len(annotations), "image_id": number, "category_id": category}
            annotations.append({"segmentation": []} | known)
    if wrong and not images:
        raise BadDataset(f"{wrong[0]}.")
    for defect in wrong:
        report(defect)
    categories = [{"id": k, "name": name} for name, k in ids.items()]
    document = {"images": images, "annotations": annotations, "categories": categories}
    return document, hashlib.sha256(content).hexdigest(), path.parent


def _objects(given: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and annotation of each object, of a list of them or of lists of what they have."""
    if isinstance(given, dict):
        lists = {key: value for key, value in given.items() if isinstance(value, list)}
        given = [dict(zip(lists, some, strict=True)) for some in zip(*lists.values(), strict=True)]
    for entry in given:
        category = next((entry[key] for key in _CATEGORIES if key in entry), "object")
        name = category if text(category) else f"class {category}"
        yield name, {key: entry[key] for key in ("bbox", "segmentation") if key in entry}


def _size(folder: Path, name: Any) -> dict[str, int]:
    """That of a picture; one that cannot be read is refused when it is read."""
    try:
        height, width = picture_size(folder / name)
    except (BadInput, OSError, TypeError, ValueError):
        height, width = 1, 1
    return {"height": height, "width": width}
