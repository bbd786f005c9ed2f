"""Our numbers are those of the official Cityscapes evaluation, on the same PNG files.

The official scripts get two repairs, which change no number: NumPy's `in1d` is gone, and the JSON
they would write holds NumPy's integers.
"""

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from jointseg_core.classes import CITYSCAPES
from jointseg_core.predictions import Masks, Predictions
from jointseg_core.targets import Target
from jointseg_eval.datasets import Sample, open_dataset
from jointseg_eval.datasets.cityscapes import LABEL_IDS, THING_IDS
from jointseg_eval.metrics import (
    CityscapesPrecision,
    PanopticQuality,
    PixelConfusion,
    merge_segments,
    true_segments,
)
from training.loading.cache import DecodedCache

official = pytest.importorskip("cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling")
from cityscapesscripts.evaluation import evalPanopticSemanticLabeling as panoptic
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as pixels
from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic

SIZE = (96, 160)
STUFF = (7, 8, 11, 21, 23)
IGNORED = (0, 1, 4, 9)
GRID = np.mgrid[: SIZE[0], : SIZE[1]]


class Street:
    """One picture of a city: files of the annotation and of the results in `folder`.

    kind "usual" has things of most classes, groups, void, caravans and things of under 100
    pixels; "empty" has stuff alone; "unseen" has things and no results.
    """

    def __init__(self, folder: Path, number: int, kind: str = "usual") -> None:
        self.folder, self.number, self.stem = folder, number, f"aachen_{number:06d}_000019"
        self.random = np.random.default_rng(number)
        self.instances = self._paint(0 if kind == "empty" else 9)
        self.labels = np.where(self.instances < 1000, self.instances, self.instances // 1000)
        self.found = self._find(0 if kind == "unseen" else 3)
        self._write()

    def _paint(self, things: int) -> np.ndarray:
        instances = self.random.choice(STUFF, 6).repeat(16)[:, None].repeat(SIZE[1], 1)
        for _ in range(3):
            instances[self._blob(12)] = self.random.choice(IGNORED)
        for k in range(things):
            label = self.random.choice([*THING_IDS[:6], 29])  # no motorcycle, no bicycle
            group = label != 29 and self.random.random() < 0.2
            blob = self._blob(self.random.choice([4, 9, 18]))
            instances[blob] = label if group else label * 1000 + k
        return instances

    def _blob(self, radius: float) -> np.ndarray:
        y, x = self.random.uniform(0, SIZE)[0], self.random.uniform(0, SIZE[1])
        stretch = self.random.uniform(0.6, 1.6)
        return ((GRID[0] - y) / stretch) ** 2 + ((GRID[1] - x) * stretch) ** 2 < radius**2

    def _find(self, copies: int) -> Predictions:
        """Each object shifted a little, some as another class, and blobs where nothing is."""
        masks = [self._blob(self.random.choice([3, 8, 14])) for _ in range(3 * copies)]
        labels = list(self.random.integers(0, 8, len(masks)))
        for number in np.unique(self.instances[self.instances >= 24]):
            label = number if number < 1000 else number // 1000
            for _ in range(copies):
                shift = tuple(self.random.integers(-2, 3, 2))
                masks.append(np.roll(self.instances == number, shift, (0, 1)))
                known = label in THING_IDS and self.random.random() < 0.8
                labels.append(THING_IDS.index(label) if known else self.random.integers(0, 8))
        if not masks:
            return Predictions.empty(SIZE)
        scores = torch.from_numpy(self.random.uniform(0.05, 1, len(masks)).round(2))  # with ties
        order = (-scores).argsort(stable=True)
        packed = Masks.from_bitmaps(torch.from_numpy(np.stack(masks))[order])
        labels = torch.tensor(np.array(labels))[order]
        return Predictions(SIZE, packed.windows.float(), scores[order], labels, packed)

    @property
    def class_map(self) -> np.ndarray:
        """Predicted train ids: the annotation with blocks of other classes, 255 in places."""
        known = np.isin(self.labels, LABEL_IDS)
        predicted = np.where(known, np.searchsorted(LABEL_IDS, self.labels).clip(0, 18), 255)
        random = np.random.default_rng(self.labels.sum())
        guess = random.choice([0, 2, 8, 10, 11, 13, 255], (12, 20)).repeat(8, 0).repeat(8, 1)
        keep = (random.random((12, 20)) < 0.6).repeat(8, 0).repeat(8, 1)
        return np.where(keep, predicted, guess).astype(np.uint8)

    def _write(self) -> None:
        picture = self.folder / "leftImg8bit" / "val" / "aachen" / f"{self.stem}_leftImg8bit.png"
        save(picture, np.zeros((*SIZE, 3), np.uint8))
        save(self.truth("labelIds"), self.labels.astype(np.uint8))
        save(self.truth("instanceIds"), self.instances.astype(np.uint16))
        table = np.append(np.array(LABEL_IDS), np.zeros(237)).astype(np.uint8)
        save(self.folder / "classes" / f"{self.stem}.png", table[self.class_map])
        lines = []
        for k, mask in enumerate(self.found.masks.bitmaps(SIZE).numpy()):
            save(self.folder / "masks" / f"{self.stem}_{k}.png", mask.astype(np.uint8) * 255)
            label = THING_IDS[int(self.found.labels[k])]
            lines.append(f"{self.stem}_{k}.png {label} {float(self.found.scores[k])!r}\n")
        (self.folder / "masks").mkdir(exist_ok=True)
        (self.folder / "masks" / f"{self.stem}.txt").write_text("".join(lines))

    def truth(self, kind: str) -> Path:
        return self.folder / "gtFine" / "val" / "aachen" / f"{self.stem}_gtFine_{kind}.png"

    @property
    def sample(self) -> Sample:
        """The annotation as our data set reads it from the files."""
        return open_dataset(self.folder, "val")[self.number]


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=1)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> list[Street]:
    folder = tmp_path_factory.mktemp("city")
    kinds = ["usual"] * 10 + ["empty", "unseen"]
    return [Street(folder, number, kind) for number, kind in enumerate(kinds)]


@pytest.fixture(autouse=True)
def repaired(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        np, "in1d", lambda a, b, **kind: np.isin(np.ravel(a), b, **kind), raising=False
    )
    monkeypatch.setattr(official, "writeDict2JSON", lambda *_: None)


def test_the_city_has_all_that_is_special(city: list[Street]):
    sizes = np.concatenate([np.unique(s.instances, return_counts=True) for s in city], 1)
    ids, counts = sizes
    assert (ids == 0).any() and (ids // 1000 == 29).any() and np.isin(ids, THING_IDS).any()
    assert ((ids >= 1000) & (counts < 100)).any() and (
        np.isin(ids, THING_IDS) & (counts < 100)
    ).any()
    scores = np.concatenate([s.found.scores for s in city])
    assert len(np.unique(scores)) < len(scores)


def instance_level(city: list[Street]) -> dict:
    options = {
        **vars(official.args),
        "quiet": True,
        "JSONOutput": False,
        "gtInstancesFile": "none.json",
        "predictionPath": str(city[0].folder),
    }
    found = [str(street.folder / "masks" / f"{street.stem}.txt") for street in city]
    truth = [str(street.truth("instanceIds")) for street in city]
    return official.evaluateImgLists(found, truth, SimpleNamespace(**options))


def instances(city: list[Street]) -> CityscapesPrecision:
    scores = CityscapesPrecision(CITYSCAPES.things)
    for street in city:
        sample = street.sample
        scores.add(street.found, sample.target, sample.void)
    return scores


def test_instance_precision_is_the_official_one(city: list[Street]):
    oracle, ours = instance_level(city), instances(city)
    table = np.array(oracle["resultApMatrix"])[0]
    order = [oracle["instLabels"].index(name) for name in CITYSCAPES.things]
    assert ours.classes() == pytest.approx(table[order], abs=1e-9, nan_ok=True)
    averages = oracle["averages"]
    assert 0.05 < averages["allAp"] < averages["allAp50%"] < 0.95
    assert np.isnan(ours.classes()[CITYSCAPES.things.index("bicycle")]).all()
    wanted = {"cityscapes_ap": averages["allAp"], "cityscapes_ap50": averages["allAp50%"]}
    assert ours.score() == pytest.approx(wanted, abs=1e-9)


def test_what_excuses_a_detection_is_the_same_from_a_cache(city: list[Street], tmp_path: Path):
    samples = open_dataset(city[0].folder, "val")
    cache = DecodedCache(samples, tmp_path / "cache")
    first, second = cache[0].void, cache[0].void
    assert first.any() and (first == second).all()
    assert (first == np.isin(city[0].instances, IGNORED)).all()  # and no caravan


def test_instance_precision_of_some_images_is_the_official_one_of_those(city: list[Street]):
    chosen = [1, 4, 6, 11]
    oracle = instance_level([city[k] for k in chosen])["averages"]
    assert instances(city).score(chosen)["cityscapes_ap"] == pytest.approx(oracle["allAp"])


def test_a_detection_over_two_objects_on_the_same_pixels_finds_both():
    mask = torch.zeros(1, *SIZE, dtype=torch.bool)
    mask[:, 10:40, 20:70] = True
    target = Target(torch.zeros(2, 4), torch.tensor([2, 2]), mask.repeat(2, 1, 1))
    packed = Masks.from_bitmaps(mask)
    found = Predictions(
        SIZE, packed.windows.float(), torch.tensor([0.75]), torch.tensor([2]), packed
    )
    scores = CityscapesPrecision(CITYSCAPES.things)
    scores.add(found, target)
    assert scores.score() == {"cityscapes_ap": 1.0, "cityscapes_ap50": 1.0}
    columns = scores.columns()
    assert columns["counts"].tolist() == columns["right"].tolist() == [1023, 1023]


def test_iou_of_classes_is_the_official_one(city: list[Street]):
    options = SimpleNamespace(**{**vars(pixels.args), "quiet": True, "JSONOutput": False})
    found = [str(street.folder / "classes" / f"{street.stem}.png") for street in city]
    truth = [str(street.truth("labelIds")) for street in city]
    oracle, ours = pixels.evaluateImgLists(found, truth, options), PixelConfusion(19)
    for street in city:
        ours.add(torch.from_numpy(street.class_map), street.sample.target.semantic)
    wanted = [oracle["classScores"][name] for name in CITYSCAPES.semantic]
    assert ours.iou().tolist() == pytest.approx(wanted, abs=1e-9, nan_ok=True)
    assert 0.05 < ours.mean_iou() < 0.95 and np.isnan(wanted).any()
    assert ours.mean_iou() == pytest.approx(oracle["averageScoreClasses"], abs=1e-9)


def panoptic_level(city: list[Street], found: list, folder: Path) -> dict:
    """Write our segments as the official PNG and JSON and evaluate these."""
    with contextlib.redirect_stdout(io.StringIO()):
        convert2panoptic(str(city[0].folder / "gtFine"), str(folder), setNames=["val"])
    truth = json.loads((folder / "cityscapes_panoptic_val.json").read_text())
    pairs = []
    for annotation, street, segments in zip(truth["annotations"], city, found, strict=True):
        assert annotation["image_id"] == street.stem
        planes = [segments.ids % 256, segments.ids // 256, segments.ids * 0]
        save(folder / "found" / f"{street.stem}.png", np.stack(planes, -1).astype(np.uint8))
        rows = [
            {"id": k + 1, "category_id": LABEL_IDS[number]}
            for k, number in enumerate(segments.labels)
        ]
        pairs.append((annotation, {"file_name": f"{street.stem}.png", "segments_info": rows}))
    categories = {one["id"]: one for one in truth["categories"]}
    folders = str(folder / "cityscapes_panoptic_val"), str(folder / "found")
    with contextlib.redirect_stdout(io.StringIO()):
        statistics = panoptic.pq_compute_single_core(0, pairs, *folders, categories)
    return panoptic.average_pq(statistics, categories)


def test_panoptic_quality_is_the_official_one(city: list[Street], tmp_path: Path):
    ours, found = PanopticQuality(CITYSCAPES), []
    for street in city:
        seen = replace(street.found, semantic=torch.from_numpy(street.class_map))
        found.append(merge_segments(seen, CITYSCAPES))
        ours.add(found[-1], true_segments(street.sample.target, CITYSCAPES))
    oracle, score = panoptic_level(city, found, tmp_path), ours.score()
    assert 0.1 < oracle["All"]["pq"] < 0.9
    for name in ("pq", "sq", "rq"):
        for part, official_part in (("", "All"), ("_things", "Things"), ("_stuff", "Stuff")):
            expected = oracle[official_part][name]
            assert score[f"{name}{part}"] == pytest.approx(expected, abs=1e-9)
    for number, label in enumerate(LABEL_IDS):
        expected = oracle["per_class"][label]
        one = np.nan_to_num(ours.classes()[number])
        assert one == pytest.approx([expected[k] for k in ("pq", "sq", "rq")], abs=1e-9)
