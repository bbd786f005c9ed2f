"""COCO's instances in the published layout, and any other data set in its JSON.

annotations/instances_{split}2017.json, and panoptic_{split}2017.json where pixels have classes, or
that one alone
{split}2017/*.jpg
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from pycocotools import mask as coco_masks
from torch import Tensor
from torchvision.ops.boxes import box_area

from jointseg_core import Classes, Target
from jointseg_core.errors import BadDataset
from jointseg_eval.datasets.coco_file import CocoFile, CocoPicture, coco_of, read_coco
from jointseg_eval.datasets.coco_streets import NAMES, THINGS, are_streets
from jointseg_eval.datasets.hints import class_hints
from jointseg_eval.datasets.imagefolder import METADATA, imagefolder_document
from jointseg_eval.datasets.labelme import labelme_document
from jointseg_eval.datasets.masks import pixel_counts
from jointseg_eval.datasets.outlines import Outline, Segment
from jointseg_eval.datasets.panoptic import Panoptic, Rename, find_panoptic
from jointseg_eval.datasets.pictures import Size, fingerprint, read_picture
from jointseg_eval.datasets.sample import Sample
from jointseg_eval.datasets.store import FlatStore
from jointseg_eval.datasets.yolo import DESCRIPTIONS, yolo_document
from jointseg_eval.datasets.yolo import NAMES as YOLO_NAMES
from jointseg_eval.input_validation import Defect, refuse


class CocoSamples:
    """Pictures with the objects of a COCO JSON, or of what says the same: YOLO's and labelme's.

    annotations  the JSON; a data.yaml; a folder of labelme's
    split        what messages call it, and where its pictures may be
    classes      names of the things to find, in the order of their labels; None: all, by id
    remap        other names for categories (several may become one); None for those to leave out
    known        things of the network that is asked, if one is: to one of Cityscapes' things COCO
                 is what `coco_streets` tells, unless classes or remap choose otherwise
    expected     the classes of another split: these labels, whatever occurs here in what order

    Boxes and areas are as annotated, objects of no extent included. Pixels have classes only where
    there is a panoptic annotation. What is wrong is told to `report`, and left out if that returns.
    """

    def __init__(
        self,
        annotations: Path,
        split: str = "",
        classes: Sequence[str] | None = None,
        remap: Mapping[str, str | None] | None = None,
        report: Callable[[Defect], None] = refuse,
        known: Sequence[str] = (),
        expected: Classes | None = None,
    ) -> None:
        file = read_annotations(annotations, split, report)
        streets = not (classes or remap or expected) and are_streets(file.categories, known)
        classes = tuple(THINGS.values()) if streets else classes
        rename = NAMES.get if streets else lambda name: (remap or {}).get(name, name)
        self._folder = file.folder or find_pictures(annotations, split, file)
        self.root = root_of(annotations) if file.folder is None else file.folder
        pictures = _present(file.pictures, self._folder, annotations, report)
        self._panoptic = _open_panoptic(annotations, pictures, rename, expected)
        pixels = self._panoptic.categories.values() if self._panoptic else ()
        _require("remap", remap or (), [*file.categories.values(), *pixels], file)
        if known and not (classes or expected):
            classes = _worth_asking(file, rename, known)
        things, labels = choose_things(file, classes, rename, expected)
        if not (classes or expected or known or split in ("val", "test")):
            class_hints(file, things, rename, report)
        self.classes = _classes(things, self._panoptic)
        self._store = FlatStore(_record(picture, labels) for picture in pictures)
        self._sizes = np.array([picture.size for picture in pictures], np.int32).reshape(-1, 2)
        self._has_objects = np.array([_sought(picture, labels) for picture in pictures], bool)
        self._facts = (file.digest, things, labels)
        chosen = f", {len(things)} street classes" if streets else ""
        kind = " ".join(filter(None, ("coco" if file.folder is None else "", split)))
        self.name = f"{kind or 'pictures'} at {annotations} ({len(pictures)} pictures{chosen})"
        if not pictures:
            raise BadDataset(
                f"{annotations} lists {len(file.pictures)} pictures, none of them can be used; is"
                " it the right file, and are its pictures unpacked?"
            )
        if not self._has_objects.any():
            raise BadDataset(
                f"none of the {len(pictures)} pictures of {annotations} has an object of a wanted"
                f" class, which are {', '.join(things) or 'none'}; found are {_counted(file)}."
            )

    def __len__(self) -> int:
        return len(self._store)

    def __getitem__(self, index: int) -> Sample:
        file_name, image_id, objects = self._store[index]
        size = self.image_size(index)
        image = read_picture(self._folder / file_name, size)
        labels, boxes, areas, crowd, outlines = zip(*objects, strict=True) if objects else ((),) * 5
        segments = self._panoptic.segments(index, size) if self._panoptic else None
        masks = paint(outlines, size, segments)
        target = Target(
            boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            labels=torch.tensor(labels, dtype=torch.int64),
            masks=masks,
            semantic=self._semantic(index, segments),
            crowd=torch.tensor(crowd, dtype=torch.bool),
        )
        annotated = torch.tensor(areas, dtype=torch.float32)
        pixels = torch.where(target.boxes_alone(), box_area(target.boxes), pixel_counts(masks))
        areas = torch.where(annotated.isnan(), pixels, annotated)
        return Sample(self.sample_name(index), image_id, image, target, areas)

    def image_size(self, index: int) -> Size:
        height, width = self._sizes[index].tolist()
        return height, width

    def has_objects(self, index: int) -> bool:
        return bool(self._has_objects[index])

    def sample_name(self, index: int) -> str:
        return str(self._path(index).relative_to(self.root))

    def identity(self) -> str:
        files = (self._path(index) for index in range(len(self)))
        pixels = self._panoptic and self._panoptic.identity()
        return fingerprint(files, self.root, "coco", (*self._facts, pixels))

    def _path(self, index: int) -> Path:
        return self._folder / self._store[index][0]

    def _semantic(self, index: int, segments: np.ndarray | None) -> Tensor | None:
        if segments is None:
            return None
        return torch.from_numpy(self._panoptic.semantic(index, segments)).long()


def read_annotations(path: Path, split: str, report: Callable[[Defect], None]) -> CocoFile:
    """What annotates pictures, whichever of the formats it is in; BadInput where it is none."""
    if path.is_dir():
        document, digest, folder = labelme_document(path, report)
    elif path.suffix in DESCRIPTIONS or path.name in YOLO_NAMES:
        document, digest, folder = yolo_document(path, split)
    elif path.name == METADATA:
        document, digest, folder = imagefolder_document(path, report)
    else:
        return read_coco(path, report)
    return coco_of(document, path, digest, report, folder)


def paint(outlines: Sequence[Outline], size: Size, segments: np.ndarray | None = None) -> Tensor:
    """Masks bool [N, H, W] of outlines, as pycocotools rasterises them; of None without a pixel.

    segments: the panoptic map int64 [H, W], where outlines are segments of it.
    """
    masks = torch.zeros(len(outlines), *size, dtype=torch.bool)
    known = [k for k, outline in enumerate(outlines) if outline is not None]
    if not known:
        return masks
    if isinstance(outlines[known[0]], Segment):
        return torch.from_numpy(segments == np.array(outlines)[:, None, None])
    bits = coco_masks.decode([_run_lengths(outlines[k], size) for k in known])  # [H, W, N]
    masks[known] = torch.from_numpy(np.ascontiguousarray(bits.transpose(2, 0, 1)).view(bool))
    return masks


def _run_lengths(outline: Outline, size: Size) -> dict:
    if isinstance(outline, bytes):
        return {"size": list(size), "counts": outline}
    polygons = [np.frombuffer(polygon) for polygon in outline]
    return coco_masks.merge(coco_masks.frPyObjects(polygons, *size))


def choose_things(
    file: CocoFile,
    classes: Sequence[str] | None,
    rename: Rename,
    expected: Classes | None = None,
) -> tuple[tuple[str, ...], dict[int, int]]:
    """Names of the things, and the label of each category id that is one of them."""
    renamed = {id: rename(name) for id, name in file.categories.items()}
    names = tuple(dict.fromkeys(name for name in renamed.values() if name is not None))
    if expected is None:
        _require("classes", classes or (), names, file)
    things = expected.things if expected else tuple(classes) if classes else names
    if len(set(things)) < len(things):
        raise BadDataset(f"the classes {', '.join(things)} name one twice; name each once")
    return things, {id: things.index(name) for id, name in renamed.items() if name in things}


def _worth_asking(file: CocoFile, rename: Rename, known: Sequence[str]) -> list[str]:
    """The classes but those that no object has and that the network which is asked does not know.

    Some tools write one that stands for all.
    """
    seen = {rename(name) for name in (*file.found, *file.crowds)} | set(known)
    names = (rename(name) for name in file.categories.values())
    return list(dict.fromkeys(name for name in names if name is not None and name in seen))


def _require(option: str, wanted: Iterable[str], names: Iterable[str], file: CocoFile) -> None:
    known = list(names)
    for name in wanted:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            raise BadDataset(
                f"{option} names {name!r}, which {file.path} does not have; found are"
                f" {_counted(file)}" + (f"; did you mean {close[0]!r}?" if close else ".")
            )


def _counted(file: CocoFile) -> str:
    counts = {name: file.found[name] for name in file.categories.values()}
    listed = [f"{name} ({count} objects)" for name, count in counts.items()]
    return ", ".join(listed) or "no categories at all"


def _classes(things: tuple[str, ...], panoptic: Panoptic | None) -> Classes:
    if panoptic is None:
        return Classes(things)
    names = panoptic.names
    return Classes(things, names, tuple(names.index(t) if t in names else -1 for t in things))


def _open_panoptic(
    annotations: Path,
    pictures: Sequence[CocoPicture],
    rename: Rename,
    expected: Classes | None,
) -> Panoptic | None:
    found, names = find_panoptic(annotations), expected.semantic if expected else ()
    return found and Panoptic(*found, [picture.image_id for picture in pictures], rename, names)


def _record(picture: CocoPicture, labels: Mapping[int, int]) -> tuple:
    """What the store keeps: file name, image id, and label, box, area, crowd, outline of things."""
    things = [(labels[o.category], *o[1:]) for o in picture.objects if o.category in labels]
    return picture.file_name, picture.image_id, things


def _sought(picture: CocoPicture, labels: Mapping[int, int]) -> bool:
    return any(o.category in labels and not o.crowd for o in picture.objects)


def root_of(annotations: Path) -> Path:
    """The folder that a data set's JSON belongs to."""
    folder = annotations.parent
    return folder.parent if folder.name == "annotations" else folder


def find_pictures(annotations: Path, split: str, file: CocoFile) -> Path:
    """The folder below which the pictures of a file are; BadInput if none of the usual is it."""
    root, stem = root_of(annotations), re.sub("^(instances|panoptic)_", "", annotations.stem)
    names = [f"{split}2017", split, stem] if split else [stem]
    parents = [root, root / "images"]
    folders = [*(parent / name for parent in parents for name in names), *reversed(parents)]
    some = [picture.file_name for picture in file.pictures[:50]]
    found = {folder: sum((folder / name).is_file() for name in some) for folder in folders}
    best = max(found, key=lambda folder: found[folder])
    if some and not found[best]:
        raise BadDataset(
            f"the pictures of {annotations} are missing: looked for {some[0]} in"
            f" {', '.join(str(folder) for folder in found)}; unpack {names[0]}.zip in {root}."
        )
    return best


def _present(
    pictures: Sequence[CocoPicture],
    folder: Path,
    annotations: Path,
    report: Callable[[Defect], None],
) -> list[CocoPicture]:
    """Those whose files exist; one look at each folder, not at each file."""
    parents = {os.path.dirname(picture.file_name) for picture in pictures}
    here = {
        os.path.join(parent, name)
        for parent in parents
        if (folder / parent).is_dir()
        for name in os.listdir(folder / parent)
    }
    missing = [picture for picture in pictures if picture.file_name not in here]
    count = f"{len(missing)} of {len(pictures)}"
    told = f"there is no such picture ({count} in {annotations} are missing)"
    for picture in missing:
        report(Defect(str(folder / picture.file_name), told))
    lost = {picture.image_id for picture in missing}
    return [picture for picture in pictures if picture.image_id not in lost]
