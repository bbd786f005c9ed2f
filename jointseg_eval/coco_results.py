"""Results on disk in the form of COCO, written picture by picture.

`images.json` has the pictures and the categories as COCO's annotation files do, and
`predictions.json` is a list of results, so that pycocotools reads both:

    results = COCO("images.json").loadRes("predictions.json")

An image has `id` (from 1), `file_name`, `width`, `height`; a frame of a recording has the stamp of
its header (`stamp_ns`) instead of a name, one of a video its time (`seconds`). A result has
`image_id` and the same name or time, `category_id` (from 1) and `category_name`, `bbox` (x, y,
width, height in pixels, (0, 0) the corner of the image), `score`, and with a mask `segmentation`
(compressed run lengths, `counts` as text). Coordinates are rounded to 0.001 pixels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as run_lengths
from torch import Tensor

from jointseg_core.classes import Classes
from jointseg_core.predictions import Predictions

IMAGES, PREDICTIONS = "images.json", "predictions.json"


class CocoResults:
    """The two files in a folder; use it in a `with` statement.

    about  goes into `images.json` as `info`, with what was `lost` in the end
    lost   sentences that are read when everything has been added
    """

    def __init__(
        self, folder: Path, classes: Classes, about: Mapping[str, Any], lost: Sequence[str] = ()
    ) -> None:
        self._folder, self._classes, self._lost = folder, classes, lost
        self._about = dict(about) | {"semantic_classes": list(classes.semantic)}
        self.images = self.objects = 0

    def __enter__(self) -> CocoResults:
        self._images_file = (self._folder / IMAGES).open("w", encoding="utf-8")
        self._results_file = (self._folder / PREDICTIONS).open("w", encoding="utf-8")
        categories = [{"id": k, "name": name} for k, name in enumerate(self._classes.things, 1)]
        head = json.dumps({"categories": categories, "annotations": []})[:-1]
        self._images_file.write(head + ', "images": [')
        self._results_file.write("[")
        return self

    def __exit__(self, *_: object) -> None:
        info = json.dumps(self._about | {"lost": list(self._lost)})
        self._images_file.write(f'\n], "info": {info}}}\n')
        self._results_file.write("\n]\n")
        self._images_file.close()
        self._results_file.close()

    def add(self, found: Predictions, place: Mapping[str, Any]) -> None:
        """The results of one more image; `place` says which: its name, stamp or time."""
        height, width = found.image_size
        _append(
            self._images_file,
            {"id": self.images + 1, **place, "width": width, "height": height},
            first=not self.images,
        )
        self.images += 1
        for result in _results(found, self._classes.things):
            _append(
                self._results_file,
                {"image_id": self.images, **place, **result},
                first=not self.objects,
            )
            self.objects += 1


def _append(file: Any, record: Mapping[str, Any], first: bool) -> None:
    file.write(("\n" if first else ",\n") + json.dumps(record))


def _results(found: Predictions, things: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The objects of one image, best first."""
    crops = found.masks.crops() if found.masks is not None else None
    boxes, scores, labels = found.boxes.tolist(), found.scores.tolist(), found.labels.tolist()
    for k, ((x1, y1, x2, y2), score, label) in enumerate(zip(boxes, scores, labels, strict=True)):
        result = {
            "category_id": label + 1,
            "category_name": things[label],
            "bbox": [round(v, 3) for v in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(score, 6),
        }
        if crops is not None:
            window = found.masks.windows[k].tolist()
            result["segmentation"] = compressed(crops[k], window, found.image_size)
        yield result


def compressed(crop: Tensor, window: Sequence[int], size: tuple[int, int]) -> dict[str, Any]:
    """COCO's run lengths, column by column, of a mask bool [h, w] in its window of an image.

    The work grows with the columns of the window, not with the image.
    """
    height, width = size
    x1, y1, x2, y2 = window
    columns = np.zeros((x2 - x1, height), bool)
    columns[:, y1:y2] = crop.numpy().T
    flat = np.concatenate([[False], columns.reshape(-1), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + x1 * height
    runs = np.diff(np.concatenate([[0], changes, [height * width]])).tolist()
    runs = runs[:-1] if runs[-1] == 0 else runs
    coded = run_lengths.frPyObjects({"size": [height, width], "counts": runs}, *size)
    return {"size": [height, width], "counts": coded["counts"].decode("ascii")}
