"""E. Data sets: what is missing, contradicts itself or lies, by `jointseg_eval.check_data` ROOT.

Exit code 0: clean, 4: usable with defects, 3: not usable.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from dataset_trees import cityscapes_maps, coco_document, save, write_cityscapes, write_coco

from faults.contract import Case
from faults.tree import deep_json
from jointseg_core.errors import BadDataset
from jointseg_eval.datasets import open_dataset

Document = dict[str, Any]


def checked(
    name: str, made: Callable[[Path], object], code: int, *words: str, often: bool = False, **limits
) -> Case:
    """Every picture and annotation of the data set in `root` is looked at."""

    def words_of(folder: Path) -> list[object]:
        made(folder / "root")
        return [folder / "root", "--split", "train", "--workers", "0"]

    run = "jointseg_eval.check_data"
    limits = {"megabytes": 120, "often": often} | limits
    return Case("datasets", name, words_of, run, None, code, words, **limits)


def document(change: Callable[[Document], object]) -> Callable[[Path], Path]:
    """A sound COCO data set, and then a change of its annotations."""

    def make(root: Path) -> Path:
        write_coco(root)
        changed = coco_document()
        change(changed)
        (root / "annotations/instances_train2017.json").write_text(json.dumps(changed))
        return root

    return make


def with_text(text: str | bytes) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        write_coco(root)
        path = root / "annotations/instances_train2017.json"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return root

    return make


def first(kind: str, **fields: Any) -> Callable[[Path], Path]:
    """Other values in the first image, annotation or category."""
    return document(lambda d: d[kind][0].update(fields))


def outline(value: Any) -> Callable[[Path], Path]:
    return first("annotations", segmentation=value)


def coco_file(change: Callable[[Path], object]) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        change(write_coco(root))
        return root

    return make


def city(change: Callable[[Path], object]) -> Callable[[Path], Path]:
    """Three pictures in the layout of Cityscapes, and then a change of the files."""

    def make(root: Path) -> Path:
        change(write_cityscapes(root))
        return root

    return make


def map_of(root: Path, kind: str) -> Path:
    return next((root / "gtFine/train/aachen").glob(f"*_{kind}.png"))


def circle(points: int) -> list[float]:
    angle = np.linspace(0, 2 * np.pi, points)
    return np.stack([24 + 9 * np.cos(angle), 16 + 9 * np.sin(angle)], 1).ravel().round(3).tolist()


def rle(counts: Any, size: tuple[int, int] = (32, 48)) -> dict[str, Any]:
    return {"size": list(size), "counts": counts}


def _halve(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def picture(change: Callable[[Path], object]) -> Callable[[Path], Path]:
    return coco_file(lambda root: change(root / "train2017/a.png"))


DARK = np.zeros((9, 9, 3), np.uint8)
HUGE = (1 << 63) - 1
LISTS = "lacks the lists"
PATHS = [
    checked("no folder", lambda root: None, 3, "root"),
    checked("an empty folder", Path.mkdir, 3, "root", often=True),
    checked("a file in its place", lambda root: root.write_text("x"), 3, "root"),
    checked("no pictures", coco_file(lambda r: shutil.rmtree(r / "train2017")), 3),
    checked("no annotations at all", coco_file(lambda r: shutil.rmtree(r / "annotations")), 3),
    checked("gtFine without leftImg8bit", city(lambda r: shutil.rmtree(r / "leftImg8bit")), 3),
    checked("leftImg8bit without gtFine", city(lambda r: shutil.rmtree(r / "gtFine")), 3),
    checked("one picture is gone", picture(lambda path: path.unlink()), 3, "a.png"),
    checked("a picture too many", coco_file(lambda r: save(r / "train2017/z.png", DARK)), 0),
    checked("a picture cut at half", picture(_halve), 3, "a.png", often=True),
    checked("a picture of another size", picture(lambda path: save(path, DARK)), 3, "is 9x9"),
    checked("a picture that is a folder", picture(_folder), 3, "a.png"),
]


JSON = [
    checked("annotations of no byte", with_text(""), 3, "no complete JSON"),
    checked("annotations cut at half", with_text(json.dumps(coco_document())[:500]), 3, "JSON"),
    checked("annotations in UTF-16", with_text("{}".encode("utf-16")), 3, "instances_train2017"),
    checked("annotations that are no text", with_text(bytes(range(256))), 3, "JSON"),
    checked("annotations nested 100,000 deep", with_text(deep_json(100_000)), 3, often=True),
    checked("a list in the place of the object", with_text("[1, 2]"), 3, LISTS),
    checked("no list of images", document(lambda d: d.pop("images")), 3, LISTS, "images"),
    checked("images that are no list", document(lambda d: d.update(images={})), 3, LISTS),
    checked(
        "images that are numbers", document(lambda d: d.update(images=[1, None])), 3, "image 1"
    ),
    checked("no images", document(lambda d: d.update(images=[], annotations=[])), 3),
    checked("no categories", document(lambda d: d.update(categories=[])), 3),
    checked("no annotations", document(lambda d: d.update(annotations=[])), 3, "none of the 3"),
    checked("ids of images twice", first("images", id=3), 3, "taken by", often=True),
    checked("ids of annotations twice", first("annotations", id=2), 4, "twice"),
    checked("ids that are texts", first("images", id="7"), 3, "image 1"),
    checked("ids that are floats", first("annotations", image_id=7.0), 4, "annotation 1"),
    checked("ids beyond 64 bits", first("images", id=10**40), 3),
    checked("an image that is not there", first("annotations", image_id=99), 4, "image_id 99"),
    checked("a category that is not there", first("annotations", category_id=5), 4, "category 5"),
    checked("names of categories twice", first("categories", name="dog"), 4, "twice"),
    checked("a category without a name", first("categories", name=None), 3, "category 1"),
    checked("sides that are negative", first("images", width=-48), 3, "image 1"),
    checked("sides of 2^63", first("images", width=HUGE, height=HUGE), 3, "image 1"),
    checked("sides of 900,000", first("images", width=900_000, height=900_000), 3, often=True),
    checked("a file name that climbs", first("images", file_name="../../b.png"), 4, "leads out"),
    checked("a file name that is absolute", first("images", file_name="/etc/passwd"), 3, "no such"),
    checked("a file name of 5000 letters", first("images", file_name="a" * 5000), 3, "no name of"),
    checked("a file name with a zero", first("images", file_name="a\0.png"), 3),
    checked("a box of three numbers", first("annotations", bbox=[1, 2, 3]), 4, "bbox"),
    checked("a box that is not a number", first("annotations", bbox=[1, 2, float("nan"), 4]), 4),
    checked("a box without end", first("annotations", bbox=[1, 2, float("inf"), 4]), 4, "bbox"),
    checked("a box of negative size", first("annotations", bbox=[9, 9, -4, 4]), 4, "negative"),
    checked("a box outside of the picture", first("annotations", bbox=[90, 9, 4, 4]), 4, "outside"),
    checked("no outline", outline([]), 4, "outline", often=True),
    checked("an outline of nothing", outline(None), 4, "outline"),
    checked("a polygon of two points", outline([[1, 2, 3, 4]]), 4, "three points"),
    checked("a polygon of seven numbers", outline([[1, 2, 3, 4, 5, 6, 7]]), 4, "polygon"),
    checked("a polygon of texts", outline([["a", "b", "c", "d", "e", "f"]]), 4, "polygon"),
    checked("a polygon that is not a number", outline([[1, 2, float("nan"), 4, 5, 6]]), 4),
    checked("a polygon far outside", outline([[1, 2, 1e8, 4, 5, 6]]), 4, "reaches beyond"),
    checked("a polygon of 200,000 points", outline([circle(200_000)]), 4, "1 defect", seconds=30),
    checked("a polygon that crosses itself", outline([[2, 4, 22, 14, 22, 4, 2, 14]]), 0),
    checked("runs that are too few", outline(rle([10, 20])), 4, "runs"),
    checked("runs that are negative", outline(rle([-5, 1541])), 4, "runs", often=True),
    checked("runs of 2^63", outline(rle([HUGE, HUGE])), 4, "runs"),
    checked("runs of another picture", outline(rle([9000], (90, 100))), 4, "RLE is of"),
    checked("runs that are a text of nonsense", outline(rle("\x00\xff<>")), 4, "runs"),
    checked("runs that never end", outline(rle("o" * 1000)), 4, "runs"),
]


# One entry of which nothing can be used: its defect is named, and the others are read


def digits(key: str) -> Callable[[Path], Path]:
    """The first number of that name in the file has 5000 digits, which json cannot write."""
    text = json.dumps(coco_document()).replace(f'"{key}": ', f'"{key}": {"7" * 5000}', 1)
    return with_text(text)


def entry(name: str, made: Callable[[Path], Path], *words: str, code: int = 3, **more: Any) -> Case:
    """The picture b.png of the same file is read all the same."""
    read = "pictures: 3" if {"category", "annotation"} & {*words[0].split()} else "pictures: 2"
    return checked(f"one entry: {name}", made, code, read, *words, **more)


def near(scale: float) -> Callable[[Path], Path]:
    """Every box in shares of the picture, times `scale`."""

    def edit(found: Document) -> None:
        for annotation in found["annotations"]:
            annotation["bbox"] = [scale * value / 48 for value in annotation["bbox"]]

    return document(edit)


HALF = "\ud800"  # of a pair; JSON holds such letters, and no file can
BIG = 10**400
ENTRIES = [
    entry("a name of 300 letters", first("images", file_name="a" * 300), "image 1", often=True),
    entry("a folder of 300 letters", first("images", file_name="b" * 300 + "/a.png"), "image 1"),
    entry("a name of 130 wide letters", first("images", file_name="\u4e16" * 130), "image 1"),
    entry("half a letter in a name", first("images", file_name=HALF + ".png"), "image 1"),
    entry("an id of 5000 digits", digits("id"), "image 1", "Infinity", often=True),
    entry("a height of 5000 digits", digits("height"), "image 1"),
    entry("a width of 10^400", first("images", width=BIG), "image 1"),
    entry("a name in a file", first("images", file_name="a.png/a.png"), "such picture"),
    entry("half a letter in a class", first("categories", name=HALF), "category 1"),
    checked(
        "one entry: a class in markup", first("categories", name="[/x]"), 0, "[/x]", "pictures: 3"
    ),
    entry("a category of 10^400", first("annotations", category_id=BIG), "annotation 1", code=4),
    entry("a box of 10^400", first("annotations", bbox=[1, 2, 3, BIG]), "annotation 1", code=4),
    entry(
        "a polygon of 10^400",
        outline([[1, 2, 3, BIG, 5, 6]]),
        *("annotation 1", "its box trains no mask"),
        code=4,
        often=True,
    ),
    entry("runs of 10^400", outline(rle([BIG, 3])), "annotation 1", "runs", code=4),
    entry("runs of half a letter", outline(rle(HALF)), "annotation 1", "runs", code=4),
    checked("boxes of 0 to 1", near(1), 3, "look normalised", often=True),
    checked("boxes of 0 to 4", near(4), 4),
]


# The maps of Cityscapes


def _maps(kind: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], Path]:
    labels, instances = cityscapes_maps()
    source = labels if kind == "labelIds" else instances
    return city(lambda root: save(map_of(root, f"gtFine_{kind}"), change(source)))


def _group_and_object(folder: Path) -> None:
    """26 is a group of cars, 26000 the first car."""
    sample = open_dataset(write_cityscapes(folder / "root"), "train")[0]
    assert sample.target.crowd.sum() == 1 and len(sample.target.crowd) >= 3


MAPS = [
    checked("instances in 8 bits", _maps("instanceIds", lambda m: m.astype(np.uint8)), 3, "8 bits"),
    checked(
        "instances in colours",
        _maps("instanceIds", lambda m: np.zeros((*m.shape, 3), np.uint8)),
        3,
        "colours",
        often=True,
    ),
    checked("instances of another size", _maps("instanceIds", lambda m: m[:9]), 3, "9x48"),
    checked("labels that do not exist", _maps("labelIds", lambda m: m * 0 + 99), 3, "99"),
    checked("labels of another size", _maps("labelIds", lambda m: m[:, :9]), 3, "32x9"),
    checked("a map is gone", city(lambda r: map_of(r, "gtFine_labelIds").unlink()), 3, "labelIds"),
    checked("a map cut at half", city(lambda r: _halve(map_of(r, "gtFine_labelIds"))), 3),
    Case("datasets", "26 and 26000", lambda folder: (folder,), _group_and_object, megabytes=60),
]


def _wanted(folder: Path) -> None:
    open_dataset(write_coco(folder / "root"), "train", classes=["cat", "persn"])


CASES = [
    *PATHS,
    *JSON,
    *ENTRIES,
    *MAPS,
    Case(
        "datasets",
        "classes that nobody annotated",
        lambda folder: (folder,),
        _wanted,
        BadDataset,
        words=("cat", "person"),
    ),
]
