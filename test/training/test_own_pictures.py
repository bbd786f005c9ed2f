"""What tools export trains, with a few flags, and what cannot be used is said."""

import json

import pytest
import torch
from dataset_trees import SIZE, picture, save
from labelled_sets import CAR, coco, label_studio, roboflow, write, yolo
from tiny_run import FEW, run, scenes, trained

from jointseg_core import CITYSCAPES, UNLABELLED, Target, load_model, shipped_weights
from jointseg_core.command import exit_code
from jointseg_core.errors import BadCheckpoint
from jointseg_core.predictor import Predictor
from jointseg_eval import evaluate, predict
from jointseg_eval.datasets import Sample, open_dataset
from jointseg_eval.datasets.pictures import read_picture
from training.loading.taught import SURE_PIXEL, TaughtPixels
from training.runs.own_pictures import ObjectPixels
from training.runs.run_folder import RunFolder


def test_the_joint_network_is_fine_tuned_on_polygons_alone(tmp_path, capsys):
    start = shipped_weights("joint_tiny")
    flags = ("--init", start, "--refinement-steps", 1, "--classes", "car,person")
    manifest = trained("joint_tiny_synthetic", roboflow(tmp_path / "set"), tmp_path, *flags)
    out = capsys.readouterr().out
    before = load_model(start)[1].classes
    assert manifest.classes.things == ("car", "person")
    assert set(manifest.classes.semantic) - {"car", "person"} == set(before.semantic[:11])
    assert "pixels outside of objects learn where joint_tiny is sure of road, " in out
    assert "the best weights are those by mask_ap" in out
    assert "train: 2 of 4 objects have no outline; the first: " in out
    assert {"mask_ap", "box_ap"} <= manifest.training["validation"].keys()
    (training,) = [r for r in RunFolder(tmp_path / "run").records() if r["kind"] == "training"][:1]
    assert training["loss_semantic"] > 0 and training["loss_mask"] > 0


def test_pixels_without_a_class_learn_the_stuff_that_a_teacher_is_sure_of(tmp_path):
    street = read_picture(next(scenes(tmp_path).glob("leftImg8bit/train/*/*.png")))
    save(tmp_path / "set/train/a.jpg", street)
    document = coco(("a.jpg",))
    document["images"][0] |= {"height": street.shape[0], "width": street.shape[1]}
    write(tmp_path / "set/train/_annotations.coco.json", document)
    samples = open_dataset(tmp_path / "set", "train", classes=["car", "person"])
    pixels = ObjectPixels(samples, ("sky", "road"))
    taught = TaughtPixels(pixels, "joint_tiny")
    before, after = pixels[0].target, taught[0].target
    found = Predictor.from_file(shipped_weights("joint_tiny"))([taught[0].image])[0]
    sure = (found.confidence >= SURE_PIXEL) & (before.semantic == UNLABELLED)
    sure &= ~before.masks.any(0)
    kept = {CITYSCAPES.semantic.index(name): k for k, name in enumerate(("sky", "road"))}
    for theirs, ours in kept.items():
        assert torch.equal(after.semantic == ours, sure & (found.semantic == theirs))
    annotated = before.semantic != UNLABELLED
    assert torch.equal(after.semantic[annotated], before.semantic[annotated])
    assert after.semantic.unique().tolist()[:2] == [0, 1] and taught.identity() != pixels.identity()
    with pytest.raises(BadCheckpoint, match="rdsnet tells no classes of pixels to teach"):
        TaughtPixels(pixels, "rdsnet_tiny")
    assert (TaughtPixels(pixels, "segrpn_tiny")[0].target.semantic == 0).any()


@pytest.mark.timeout(600)  # for a machine with other things to do: three programs in one
def test_an_export_is_trained_evaluated_and_seen_without_a_flag_about_it(
    tmp_path, capsys, monkeypatch
):
    root = roboflow(tmp_path / "set")
    manifest = trained("joint_tiny_synthetic", root, tmp_path, "--init", "joint_tiny")
    assert manifest.classes.things == ("things-kxqz", "car", "person")
    out = capsys.readouterr().out
    assert "'things-kxqz' is no class of any object" in out and "--classes car person" in out
    weights = str(tmp_path / "run/weights.safetensors")
    for program, *words in (
        (evaluate, weights, str(root), "--out", str(tmp_path / "evaluation")),
        (predict, str(root / "valid"), "--weights", weights, "--out", str(tmp_path / "seen")),
    ):
        monkeypatch.setattr("sys.argv", ["program", *words, "--device", "cpu"])
        assert exit_code(program.main) == 0, capsys.readouterr().err
    scores = json.loads((tmp_path / "evaluation/metrics.json").read_text())
    assert scores["pictures"] == 1 and "mask_ap" in scores["metrics"]
    assert list((tmp_path / "seen").glob("c*"))


def test_without_weights_that_know_stuff_there_is_nothing_to_keep(tmp_path, capsys):
    words = ("joint_tiny_synthetic", "--data", str(roboflow(tmp_path / "set")), *FEW)
    assert run(*words, "--out", str(tmp_path / "run")) == 3
    assert "start from weights that know some, --init" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_boxes_alone_train_what_they_know(tmp_path):
    trained("rdsnet_tiny_synthetic", yolo(tmp_path / "set", polygons=False), tmp_path)
    (training,) = [r for r in RunFolder(tmp_path / "run").records() if r["kind"] == "training"]
    assert training["loss_mask"] == 0 and training["loss_classification"] > 0


def test_pictures_with_boxes_alone_can_be_left_out(tmp_path, capsys):
    root = label_studio(tmp_path / "set")
    document = json.loads((root / "result.json").read_text())
    for entry in document["annotations"][:4]:
        entry["segmentation"] = [CAR]
    (root / "result.json").write_text(json.dumps(document))
    trained("rdsnet_tiny_synthetic", root, tmp_path, "--skip-boxes", "--val-fraction", "0.3")
    assert "pictures show boxes without an outline: out" in capsys.readouterr().out


def test_one_picture_trains_and_it_is_said_what_it_is_validated_on(tmp_path, capsys):
    root = tmp_path / "set"
    save(root / "images/a.png", picture(0))
    write(root / "result.json", coco(("images\\a.png",)))
    manifest = trained("rdsnet_tiny_synthetic", root, tmp_path)
    assert "1 pictures" in manifest.training["data"]
    said = "1 of 1 validation pictures are training pictures"
    assert said in capsys.readouterr().out
    again = ["rdsnet_tiny_synthetic", "--data", str(root), *FEW, "--out", str(tmp_path / "other")]
    assert run(*again, "--dry-run") == 0


def test_classes_of_validation_come_in_any_order_or_not_at_all(tmp_path):
    root = roboflow(tmp_path / "set")
    path = root / "valid/_annotations.coco.json"
    document = coco(("c.jpg",), ("person", "car"))
    document["annotations"] = document["annotations"][:1]
    path.write_text(json.dumps(document))
    manifest = trained("rdsnet_tiny_synthetic", root, tmp_path, "--classes", "car,person")
    assert manifest.classes.things == ("car", "person")


@pytest.mark.parametrize("label", [0, 1])
def test_pixels_of_two_classes_and_of_none_train_nothing(tmp_path, label):
    samples = open_dataset(roboflow(tmp_path), "train", classes=["car", "person"])
    pixels = ObjectPixels(samples, ("road", "person"))
    assert pixels.classes.semantic == ("road", "car", "person")
    assert pixels.classes.thing_to_semantic == (1, 2)
    masks = torch.zeros(2, *SIZE, dtype=torch.bool)
    masks[0, :10], masks[1, 5:20] = True, True
    boxes = torch.tensor([[0.0, 0, 48, 10], [0, 5, 48, 20]])
    target = Target(boxes, torch.tensor([0, label]), masks)
    sample = Sample("a", 0, samples[0].image, target)
    pixels.samples = {0: sample}
    rows = pixels[0].target.semantic[:, 0].tolist()
    both = 1 if label == 0 else UNLABELLED
    assert rows == [1] * 5 + [both] * 5 + [1 + label] * 10 + [UNLABELLED] * (SIZE[0] - 20)
