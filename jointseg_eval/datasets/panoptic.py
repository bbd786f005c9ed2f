"""COCO's panoptic annotation, as far as it tells the class of every pixel.

    annotations/panoptic_{split}2017.json
    annotations/panoptic_{split}2017/*.png, or that folder beside annotations/, or
    panoptic/{split}2017/*.png beside the JSON

A pixel's segment is R + 256 G + 65536 B; 0 is void, and so is what no segment explains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jointseg_core import UNLABELLED
from jointseg_core.errors import BadDataset
from jointseg_eval.datasets.coco_file import (
    has,
    is_panoptic,
    read_categories,
    read_json,
    text,
)
from jointseg_eval.datasets.outlines import is_whole
from jointseg_eval.datasets.pictures import Size, fingerprint, read_segments
from jointseg_eval.datasets.store import FlatStore
from jointseg_eval.input_validation import refuse

Rename = Callable[[str], str | None]


class Panoptic:
    """The classes of pixels of some pictures, the same order.

    categories  names by id
    names       of the classes, in order of the ids of their categories
    rename      gives other names to categories; None to those that become unlabelled

    Given `names` are the only classes, in their order.
    """

    def __init__(
        self,
        path: Path,
        folder: Path,
        image_ids: Iterable[int],
        rename: Rename,
        names: Sequence[str] = (),
    ) -> None:
        document, self._digest = read_json(path, ("annotations", "categories"))
        self.categories = read_categories(document["categories"], path, refuse)
        renamed = {id: rename(name) for id, name in self.categories.items()}
        self.path, self.folder = path, folder
        here = dict.fromkeys(name for name in renamed.values() if name is not None)
        self.names = tuple(names or here)
        if len(self.names) > UNLABELLED:
            raise BadDataset(f"{path} has {len(self.names)} classes; {UNLABELLED} are possible.")
        self._labels = {
            id: self.names.index(name) if name in self.names else UNLABELLED
            for id, name in renamed.items()
        }
        try:
            entries = dict(_entry(entry, self._labels) for entry in document["annotations"])
        except (KeyError, TypeError) as error:
            raise BadDataset(
                f"{path} has an annotation that lacks or does not know {error}; expected image_id,"
                " file_name and segments_info with id and category_id."
            ) from error
        self._segments = FlatStore(self._of(image_id, entries) for image_id in image_ids)

    def _of(self, image_id: int, entries: Mapping[int, tuple[str, list]]) -> tuple[str, list]:
        if image_id not in entries:
            raise BadDataset(f"{self.path} has no annotation of the image with id {image_id}.")
        return entries[image_id]

    def file(self, index: int) -> Path:
        """The map of the picture at this position."""
        return self.folder / self._segments[index][0]

    def identity(self) -> str:
        """Another one for other segments or classes, and after a map has changed."""
        files = (self.file(index) for index in range(len(self._segments)))
        return fingerprint(files, self.folder, self._digest, self._labels)

    def segments(self, index: int, size: Size) -> np.ndarray:
        """Ids of segments int64 [H, W]."""
        return read_segments(self.file(index), size)

    def semantic(self, index: int, segments: np.ndarray) -> np.ndarray:
        """Classes uint8 [H, W] of a picture's segments, 255 where there is none."""
        known = sorted([*self._segments[index][1], (0, UNLABELLED)])
        ids, labels = (np.array(column) for column in zip(*known, strict=True))
        place = np.searchsorted(ids, segments).clip(max=len(ids) - 1)
        labels = labels[place]
        labels[ids[place] != segments] = UNLABELLED
        return labels.astype(np.uint8)


def _entry(
    entry: dict[str, Any], labels: Mapping[int, int]
) -> tuple[int, tuple[str, list[tuple[int, int]]]]:
    """A picture's id, and the file of its map with the class of each segment by id.

    Raises KeyError and TypeError for what is missing, unknown or of another type.
    """
    if not has(entry, image_id=is_whole, file_name=text):
        raise TypeError("its image_id (whole number) or file_name (text)")
    segments = entry["segments_info"]
    if not all(has(segment, id=is_whole, category_id=is_whole) for segment in segments):
        raise TypeError("a segment's id or category_id (whole numbers)")
    classes = [(segment["id"], labels[segment["category_id"]]) for segment in segments]
    return entry["image_id"], (entry["file_name"], classes)


def find_panoptic(annotations: Path) -> tuple[Path, Path] | None:
    """The panoptic JSON of a data set, by any JSON of it, and its folder of PNG; None without."""
    path = annotations.with_name(annotations.name.replace("instances", "panoptic"))
    folders = [place / path.stem for place in (path.parent, path.parent.parent)]
    folders.append(path.parent / "panoptic" / path.stem.removeprefix("panoptic_"))
    if not (is_panoptic(path) and path.is_file()):
        return None
    for folder in folders:
        if folder.is_dir():
            return path, folder
    raise BadDataset(
        f"{path} is there, but its maps are not: looked for {', '.join(map(str, folders))};"
        f" unpack {path.stem}.zip there, or move the JSON away to do without classes of pixels."
    )
