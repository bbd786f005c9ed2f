"""Rendered data sets: the published layouts, exact masks, and nothing half-written."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from jointseg_core.classes import CITYSCAPES
from jointseg_core.command import exit_code
from jointseg_core.errors import BadConfig, BadInput, ResourceError
from jointseg_eval.datasets import open_dataset
from jointseg_eval.datasets.cityscapes import LABEL_IDS, THING_IDS
from jointseg_eval.recordings.bags import BagReader
from training import synthesize as command
from training.scenes import Scene, render_scene
from training.scenes.cityscapes_writer import DYNAMIC, NAMES
from training.scenes.coco_writer import edges, run_lengths, segmentation
from training.scenes.driving_bag import scene_target
from training.synthesize import MANIFEST, SyntheticSet, synthesize

SEED, FRAMES, VAL, SIZE = 10, 3, 2, (64, 128)  # with crowds, caravans and bins in these frames
CITY = "gtFine/train/traintown/traintown_00000{}_000000_gtFine_{}"


def wanted(format: str, **changes: object) -> SyntheticSet:
    return SyntheticSet(
        format, **{"frames": FRAMES, "val_frames": VAL, "seed": SEED, "size": SIZE, **changes}
    )


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("sets") / "coco", wanted("coco"), workers=1)


@pytest.fixture(scope="module")
def cityscapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("sets") / "city", wanted("cityscapes"), workers=1)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    found = [render_scene(SEED, index, SIZE) for index in range(FRAMES)]
    objects = [thing for scene in found for thing in scene.objects]
    assert any(thing.crowd for thing in objects)
    assert any(thing.caravan for thing in objects)
    assert any(thing.label < 0 and not thing.caravan for thing in objects)
    return found


def files(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def masks(scene: Scene) -> list[np.ndarray]:
    return [scene.instances == k for k in range(1, len(scene.objects) + 1)]


def as_sets(target: object) -> set[tuple]:
    """Objects in any order: label, crowd, box and mask."""
    rows = zip(target.labels, target.crowd, target.boxes, target.masks, strict=True)
    return {
        (int(label), bool(crowd), tuple(box.tolist()), mask.numpy().tobytes())
        for label, crowd, box, mask in rows
    }


# layouts


def test_cityscapes_has_the_published_files(cityscapes: Path) -> None:
    found = set(files(cityscapes))
    for split, count in (("train", FRAMES), ("val", VAL)):
        for number in range(1, count + 1):
            stem = f"{split}/{split}town/{split}town_{number:06d}_000000"
            names = {f"leftImg8bit/{stem}_leftImg8bit.png", f"gtFine/{stem}_gtFine_polygons.json"}
            kinds = ("labelIds", "instanceIds", "color")
            names |= {f"gtFine/{stem}_gtFine_{kind}.png" for kind in kinds}
            assert names <= found
            found -= names
    assert found == {MANIFEST}


def test_coco_has_the_published_files(coco: Path) -> None:
    expected = {MANIFEST}
    for split, count in (("train", FRAMES), ("val", VAL)):
        expected |= {f"annotations/{kind}_{split}2017.json" for kind in ("instances", "panoptic")}
        for number in range(1, count + 1):
            expected.add(f"{split}2017/{number:012d}.jpg")
            expected.add(f"annotations/panoptic_{split}2017/{number:012d}.png")
    assert set(files(coco)) == expected


def test_val_is_the_scenes_of_the_seed_above_one_thousand(cityscapes: Path) -> None:
    path = cityscapes / "leftImg8bit/val/valtown/valtown_000002_000000_leftImg8bit.png"
    assert (read(path) == render_scene(SEED + 1000, 1, SIZE).image).all()


# what the files say


def test_cityscapes_maps_hold_label_ids_and_numbered_instances(
    cityscapes: Path, scenes: list[Scene]
) -> None:
    for number, scene in enumerate(scenes, start=1):
        labels = read(cityscapes / CITY.format(number, "labelIds.png"))
        instances = read(cityscapes / CITY.format(number, "instanceIds.png"))
        assert labels.dtype == np.uint8 and instances.dtype == np.uint16
        classes = scene.semantic < 255
        assert (labels[classes] == np.array(LABEL_IDS)[scene.semantic[classes]]).all()
        assert (labels[~classes & (scene.instances == 0)] == 0).all()
        surfaces = scene.instances == 0
        assert (instances[surfaces] == labels[surfaces]).all()
        seen = []
        for thing, mask in zip(scene.objects, masks(scene), strict=True):
            label = 29 if thing.caravan else DYNAMIC if thing.label < 0 else THING_IDS[thing.label]
            assert set(labels[mask]) == {label}
            (value,) = set(instances[mask].tolist())
            numbered = label != DYNAMIC and not thing.crowd
            assert value // 1000 == label if numbered else value == label
            seen += [value] * numbered
        assert len(seen) == len(set(seen))
        assert all(value - 1 in seen for value in seen if value % 1000)  # numbered from 0


def test_cityscapes_colours_are_the_published_ones(cityscapes: Path, scenes: list[Scene]) -> None:
    colours = read(cityscapes / CITY.format(1, "color.png"))
    known = scenes[0].semantic < 255
    assert (colours[known][:, :3] == CITYSCAPES.semantic_colors[scenes[0].semantic[known]]).all()
    assert colours.shape == (*SIZE, 4) and (colours[..., 3] == 255).all()


def test_cityscapes_polygons_painted_in_order_give_the_label_map(cityscapes: Path) -> None:
    ids = {name: id for id, name in NAMES.items()}
    ids |= {name + "group": id for name, id in ids.items() if id in THING_IDS}
    groups = 0
    for number in range(1, FRAMES + 1):
        document = json.loads((cityscapes / CITY.format(number, "polygons.json")).read_text())
        assert (document["imgHeight"], document["imgWidth"]) == SIZE
        painted = Image.new("L", SIZE[::-1], 255)
        for entry in document["objects"]:
            points = [tuple(point) for point in entry["polygon"]]
            ImageDraw.Draw(painted).polygon(points, fill=ids[entry["label"]])
            groups += entry["label"].endswith("group")
        labels = read(cityscapes / CITY.format(number, "labelIds.png"))
        assert (np.array(painted) == labels).mean() > 0.995
    assert groups


def test_coco_masks_boxes_and_areas_are_those_of_the_scenes(
    coco: Path, scenes: list[Scene]
) -> None:
    document = loaded(coco / "annotations/instances_train2017.json")
    names = {entry["id"]: entry["name"] for entry in document.dataset["categories"]}
    assert tuple(names[id] for id in sorted(names)) == CITYSCAPES.things
    for number, scene in enumerate(scenes, start=1):
        entries = document.imgToAnns[number]
        things = [(o, m) for o, m in zip(scene.objects, masks(scene), strict=True) if o.label >= 0]
        for entry, (thing, mask) in zip(entries, things, strict=True):
            assert (document.annToMask(entry) == mask).all()
            x, y, w, h = entry["bbox"]
            assert (x, y, x + w, y + h) == thing.box and entry["area"] == mask.sum()
            assert names[entry["category_id"]] == CITYSCAPES.things[thing.label]
            assert entry["iscrowd"] == thing.crowd
    forms = [(e["iscrowd"], type(e["segmentation"])) for e in document.anns.values()]
    assert (0, list) in forms and (1, dict) in forms and (1, list) not in forms


def test_coco_panoptic_segments_cover_what_has_a_class(coco: Path, scenes: list[Scene]) -> None:
    document = json.loads((coco / "annotations/panoptic_train2017.json").read_text())
    labels = {entry["id"]: k for k, entry in enumerate(document["categories"])}
    for entry, scene in zip(document["annotations"], scenes, strict=True):
        png = read(coco / "annotations/panoptic_train2017" / entry["file_name"]).astype(int)
        ids = png @ [1, 256, 65536]
        assert ((ids > 0) == (scene.semantic < 255)).all()
        for segment in entry["segments_info"]:
            mask = ids == segment["id"]
            assert mask.sum() == segment["area"]
            assert set(scene.semantic[mask]) == {labels[segment["category_id"]]}
        crowds = sum(thing.crowd for thing in scene.objects)
        assert sum(segment["iscrowd"] for segment in entry["segments_info"]) == crowds


# reading back


@pytest.mark.parametrize("layout", ["coco", "cityscapes"])
def test_the_loaders_read_back_what_was_rendered(
    layout: str, scenes: list[Scene], request: pytest.FixtureRequest
) -> None:
    samples = open_dataset(request.getfixturevalue(layout), "train")
    assert samples.classes == CITYSCAPES and len(samples) == FRAMES
    for sample, scene in zip((samples[k] for k in range(FRAMES)), scenes, strict=True):
        truth = scene_target(scene)
        assert as_sets(sample.target) == as_sets(truth)
        assert torch.equal(sample.target.semantic, truth.semantic)
        difference = np.abs(sample.image.astype(int) - scene.image)
        assert difference.max() == 0 if layout == "cityscapes" else difference.mean() < 4


def test_ground_truth_as_predictions_scores_one(coco: Path) -> None:
    truth = loaded(coco / "annotations/instances_train2017.json")
    found = [
        {**entry, "score": 1.0, "segmentation": truth.annToRLE(entry)}
        for entry in truth.anns.values()
        if not entry["iscrowd"]
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        predictions = truth.loadRes([{k: e[k] for k in e if k != "bbox"} for e in found])
        for kind in ("bbox", "segm"):
            score = COCOeval(truth, predictions, kind)
            score.evaluate()
            score.accumulate()
            score.summarize()
            assert score.stats[0] == score.stats[8] == 1.0


def loaded(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


# masks


@settings(max_examples=200, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_any_mask_survives_as_polygons_or_run_lengths(mask: np.ndarray) -> None:
    if not mask.any():
        return
    size = (12, 14)
    canvas = np.zeros(size, bool)
    canvas[2 : 2 + mask.shape[0], 3 : 3 + mask.shape[1]] = mask
    for crowd in (False, True):
        form = segmentation(mask, (3, 2), size, crowd)
        encoded = coco_masks.frPyObjects(form, *size)
        encoded = coco_masks.merge(encoded) if isinstance(form, list) else encoded
        assert (coco_masks.decode(encoded) == canvas).all()


def test_outlines_and_run_lengths_worked_out_by_hand() -> None:
    step = np.array([[1, 0], [1, 1]], bool)
    (outline,) = edges(step)
    assert {tuple(p) for p in outline.tolist()} == {(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (0, 2)}
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    assert edges(ring) is None
    assert run_lengths(ring) == [0, 4, 1, 4] and run_lengths(~ring) == [4, 1, 4]


# writing


def test_the_number_of_workers_changes_nothing(cityscapes: Path, tmp_path: Path) -> None:
    again = synthesize(tmp_path / "again", wanted("cityscapes"), workers=2)
    assert files(again) == files(cityscapes)


def test_a_finished_set_is_recognised_and_another_one_refused(coco: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in coco.rglob("*")}
    assert synthesize(coco, wanted("coco"), workers=1) == coco
    assert {path: path.stat().st_mtime_ns for path in coco.rglob("*")} == before
    for change in ({"seed": 11}, {"frames": 4}, {"size": (64, 64)}, {"style": "wide"}):
        with pytest.raises(BadInput, match="name another folder"):
            synthesize(coco, wanted("coco", **change))


def test_a_set_tells_its_style_and_one_without_is_plain(tmp_path: Path) -> None:
    few = {"frames": 1, "val_frames": 0}
    root = synthesize(tmp_path / "set", wanted("coco", **few, style="wide"), workers=1)
    told = json.loads((root / MANIFEST).read_text())
    assert (told.pop("style"), told.pop("depth")) == ("wide", False)
    (root / MANIFEST).write_text(json.dumps(told))  # as before there were styles
    assert synthesize(root, wanted("coco", **few)) == root


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(BadInput, match=r"something without a synthetic\.json"):
        synthesize(tmp_path, wanted("coco"))
    with pytest.raises(BadInput, match=r"something without a synthetic\.json"):
        synthesize(tmp_path / "letter.txt", wanted("coco"))
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_an_error_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command.WRITERS["coco"], "finish", full)
    with pytest.raises(OSError, match="No space left"):
        synthesize(tmp_path / "set", wanted("coco"), workers=1)
    with pytest.raises(ResourceError, match=r"cannot write .*No space left.*another place"):
        run(tmp_path / "set", "--format coco --frames 1 --size 64x64 --workers 1")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_command_leaves_nothing(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "training.synthesize", str(tmp_path / "set")]
    words += ["--format", "cityscapes", "--frames", "5000", "--size", "64x128", "--workers", "1"]
    process = subprocess.Popen(words)
    give_up = time.monotonic() + 60
    while not list(tmp_path.rglob("*_leftImg8bit.png")):
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    assert not list(tmp_path.iterdir())


def test_a_recording_is_a_drive_in_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "drive"
    run(out, "--format bag --frames 5 --seed 1234 --size 64x128 --depth")
    assert "5 frames" in capsys.readouterr().out
    with BagReader(out / "drive.mcap") as bag:
        assert {topic.count for topic in bag.topics.values()} == {5}
        assert "/camera/depth/image_raw" in bag.topics


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"format": "voc"}, "format is 'voc'"),
        ({"size": (32, 64)}, "at least 64 pixels"),
        ({"difficulty": "brutal"}, "difficulty is 'brutal'"),
        ({"style": "deep"}, "style is 'deep'"),
        ({"frames": 0, "val_frames": 0}, "0 and 0 frames"),
        ({"seed": 1000}, "0 to 999"),
        ({"format": "bag", "frames": 7, "val_frames": 0}, "streets of 5 frames"),
        ({"format": "bag", "frames": 5}, "no val split"),
        ({"format": "bag", "frames": 5, "val_frames": 0, "style": "wide"}, "no val split"),
        ({"depth": True}, "only a recording has depth"),
    ],
)
def test_a_set_that_cannot_be_rendered_is_refused(changes: dict, complaint: str) -> None:
    with pytest.raises(BadConfig, match=complaint):
        wanted(**{"format": "coco", **changes})


def run(out: Path, options: str) -> None:
    command.main([str(out), *options.split()])


def test_bad_input_is_one_sentence_and_exit_code_3(
    coco: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["synthesize", str(coco), "--format", "coco"])
    assert exit_code(command.main) == 3
    assert "name another folder" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["256", "256x", "axb", "1x2x3"])
def test_a_size_that_is_none_is_explained(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.parse(["out", "--format", "coco", "--size", size])
    assert "want HEIGHTxWIDTH, as 256x512" in capsys.readouterr().err


def test_an_eighth_of_the_frames_is_for_validation() -> None:
    assert SyntheticSet("coco", frames=17).val_frames == 3
    assert SyntheticSet("bag", frames=20).val_frames == 0
