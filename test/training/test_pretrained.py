"""Pretrained weights: checkpoints of ours, files that cannot be used, and the command."""

from dataclasses import replace

import pytest
import torch
from pretrained_models import (
    COCO,
    KNOWN,
    assert_all_counted,
    built,
    rdsnet_from,
    rows,
)
from torchvision.models import resnet18

from jointseg_core import (
    CITYSCAPES,
    Classes,
    Preprocessing,
    build_model,
    load_model,
    preset,
    save_model,
)
from jointseg_core.command import exit_code
from jointseg_core.errors import BadInput
from training.pretrained import COCO_THINGS
from training.pretrained.__main__ import main


def test_our_own_checkpoint_starts_a_model_of_other_classes(tmp_path):
    torch.manual_seed(5)
    coco = build_model(replace(preset("rdsnet", "tiny"), num_classes=80))
    save_model(coco, tmp_path / "coco.safetensors", COCO, Preprocessing((64, 64)))
    model, table = built(preset("rdsnet", "tiny"), tmp_path / "coco.safetensors", CITYSCAPES)
    assert_all_counted(model, table)
    assert set(rows(table, "re-initialised")) == {"object_stream.class_logits"}
    assert any("num_classes 80 there, 8 here" in note for note in table.notes)
    theirs = coco.object_stream.class_logits.weight.unflatten(0, (9, 80))
    ours = model.object_stream.class_logits.weight.unflatten(0, (9, 8))
    for name in KNOWN:
        index = CITYSCAPES.things.index(name)
        assert torch.equal(ours[:, index], theirs[:, COCO_THINGS.index(name)])


def test_the_same_model_is_loaded_whole(tmp_path):
    for kind in ("rdsnet", "rdsnet_s", "segrpn", "joint"):
        torch.manual_seed(6)
        start = build_model(preset(kind, "tiny"))
        save_model(start, tmp_path / f"{kind}.safetensors", CITYSCAPES, Preprocessing((64, 64)))
        model, table = built(preset(kind, "tiny"), tmp_path / f"{kind}.safetensors", CITYSCAPES)
        assert {row.state for row in table.rows} == {"loaded"} and not table.notes
        for name, tensor in start.state_dict().items():
            assert torch.equal(model.state_dict()[name], tensor), name


def test_rdsnet_s_is_matched_by_class_in_all_three_heads(tmp_path):
    torch.manual_seed(5)
    coco = build_model(replace(preset("rdsnet_s", "tiny"), num_classes=80))
    path = tmp_path / "coco.safetensors"
    save_model(coco, path, COCO, Preprocessing((64, 64), keep_ratio=False))
    model, table = built(preset("rdsnet_s", "tiny"), path, CITYSCAPES)
    assert_all_counted(model, table)
    assert set(rows(table, "re-initialised")) == {"object_stream.class_logits", "segmentation"}
    theirs, ours = (m.object_stream.class_logits.bias.view(3, -1) for m in (coco, model))
    car = CITYSCAPES.things.index("car")
    assert torch.equal(ours[:, car], theirs[:, COCO_THINGS.index("car")])
    assert torch.equal(ours[:, -1], theirs[:, -1])  # the background
    assert torch.equal(model.segmentation.weight[car], coco.segmentation.weight[2])


def test_rdsnet_gives_rdsnet_s_its_backbone_and_pyramid_and_no_half_streams(rdsnet_weights):
    model, table = built(preset("rdsnet_s", "tiny"), rdsnet_weights, CITYSCAPES)
    assert_all_counted(model, table)
    modules = {module.partition(".")[0] for module in rows(table, "loaded")}
    assert modules == {"backbone", "pyramid"}
    assert "is only" in rows(table, "re-initialised")["pixel_stream.output"].why
    assert any("bilinearly" in note for note in table.notes)


def test_one_of_our_models_starts_the_other(rdsnet_weights):
    model, table = built(preset("segrpn", "tiny"), rdsnet_weights, CITYSCAPES)
    assert_all_counted(model, table)
    assert {m.partition(".")[0] for m in rows(table, "loaded")} == {"backbone"}
    assert "[64, " in rows(table, "re-initialised")["pyramid.output"].why  # 48 channels here
    assert "object_stream.filters" in rows(table, "unexpected")
    assert not table.notes  # configs of different models do not compare


STREETS = Classes(
    ("car", "person", "tram"), ("sky", "road", "car", "person", "tram", "mud"), (2, 3, 4)
)


def joint_of(classes, **changes):
    numbers = {"num_classes": len(classes.things), "num_semantic": len(classes.semantic)}
    numbers |= {"things": classes.thing_to_semantic}
    return replace(preset("joint", "tiny"), **numbers, **changes)


def save_joint(path, classes, **changes):
    """A joint network in which the exchange does something, as a file."""
    torch.manual_seed(5)
    start = build_model(joint_of(classes, **changes))
    torch.nn.init.normal_(start.exchange.change.weight)
    save_model(start, path, classes, Preprocessing((64, 64)))
    return start


def test_a_joint_network_of_other_classes_keeps_all_but_what_is_of_classes(tmp_path):
    start = save_joint(tmp_path / "joint.safetensors", STREETS)
    model, table = built(preset("joint", "tiny"), tmp_path / "joint.safetensors", CITYSCAPES)
    assert_all_counted(model, table)
    again = rows(table, "re-initialised")
    exchange = {"exchange.hidden", "exchange.change"}
    assert set(again) == {"head.class_logits", "classes", "coarse_classes"} | exchange
    assert {again[name].why for name in exchange} == {"the classes are others"}
    assert not model.exchange.change.weight.any()  # as before any training
    assert not rows(table, "missing") and not rows(table, "unexpected")
    car, theirs = CITYSCAPES.things.index("car"), STREETS.things.index("car")
    ours = model.head.class_logits.weight[car]
    assert torch.equal(ours, start.head.class_logits.weight[theirs])
    for layer in ("classes", "coarse_classes"):
        here, there = (m.get_submodule(layer).weight for m in (model, start))
        assert torch.equal(here[CITYSCAPES.semantic.index("road")], there[1])
        assert torch.equal(here[-1], there[-1])  # the background


def test_as_many_other_classes_do_not_pass_for_the_same(tmp_path):
    renamed = replace(STREETS, things=("person", "car", "tram"), thing_to_semantic=(3, 2, 4))
    start = save_joint(tmp_path / "joint.safetensors", STREETS)
    model, table = built(joint_of(renamed), tmp_path / "joint.safetensors", renamed)
    assert set(rows(table, "re-initialised")) == {"exchange.hidden", "exchange.change"}
    wanted = start.head.class_logits.weight[[1, 0, 2]]
    assert torch.equal(model.head.class_logits.weight, wanted)


def test_a_joint_network_of_another_width_gives_its_backbone_and_no_half_streams(tmp_path):
    save_joint(tmp_path / "joint.safetensors", CITYSCAPES, channels=32)
    model, table = built(preset("joint", "tiny"), tmp_path / "joint.safetensors", CITYSCAPES)
    assert_all_counted(model, table)
    loaded = set(rows(table, "loaded"))
    assert {"backbone.conv1", "backbone.layer4", "refinement"} <= loaded
    assert not {name for name in loaded if name.startswith(("head", "stream", "pyramid", "class"))}
    why = rows(table, "re-initialised")["exchange.change"].why  # what it reads has other meanings
    assert why.startswith("stream is not the file's")
    assert not model.exchange.change.weight.any()


def test_the_joint_network_takes_backbone_and_refinement_of_the_others(tmp_path):
    for kind, parts in (("rdsnet", {"backbone", "refinement"}), ("segrpn", {"backbone"})):
        path = tmp_path / f"{kind}.safetensors"
        start = build_model(preset(kind, "tiny"))
        save_model(start, path, CITYSCAPES, Preprocessing((64, 64)))
        model, table = built(preset("joint", "tiny"), path, CITYSCAPES)
        assert_all_counted(model, table)
        assert {module.partition(".")[0] for module in rows(table, "loaded")} == parts
        assert "pyramid.lateral" in rows(table, "missing") and not table.notes
        assert torch.equal(model.backbone.conv1.weight, start.backbone.conv1.weight)


def test_parts_that_a_baseline_lacks_are_told_apart(tmp_path):
    """Without masks and without the class-agnostic branch: the rest is loaded, the rest named."""
    for kind, change, gone in (
        ("rdsnet", {"filter_size": 0}, "pixel_stream.branches"),
        ("segrpn", {"class_agnostic": False}, "mask_proposal_head.conv"),
    ):
        whole, path = build_model(preset(kind, "tiny")), tmp_path / f"{kind}.safetensors"
        save_model(whole, path, CITYSCAPES, Preprocessing((64, 64)))
        model, table = built(replace(preset(kind, "tiny"), **change), path, CITYSCAPES)
        assert_all_counted(model, table)
        assert gone in rows(table, "unexpected") and not rows(table, "missing")
        assert any(next(iter(change)) in note for note in table.notes)


# -- files that cannot be used --------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match=f"{tmp_path}/none.pth, found none; known are torchvision"):
        rdsnet_from(tmp_path / "none.pth")


@pytest.mark.parametrize(
    "content",
    [b"", b"not weights", b"PK\x03\x04 half an archive"],
)
def test_a_damaged_file_is_refused_in_one_sentence(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"weights\.pth: not a file of plain tensors") as caught:
        rdsnet_from(path)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path):
    torch.save(resnet18(weights=None).state_dict(), tmp_path / "whole.pth")
    data = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "half.pth").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadInput, match="damaged"):
        rdsnet_from(tmp_path / "half.pth")


class Harmful:
    def __reduce__(self):
        return (open, ("/nonexistent-path-of-a-test", "w"))


def test_code_in_a_file_is_not_run(tmp_path):
    torch.save({"state_dict": {}, "meta": Harmful()}, tmp_path / "harm.pth")
    with pytest.raises(BadInput, match="holds more than torch reads safely"):
        rdsnet_from(tmp_path / "harm.pth")


def test_weights_of_another_network_are_refused_with_what_is_known(tmp_path):
    torch.save({"stem.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(BadInput, match=r"holds stem\.weight, which is of no known kind; known are"):
        rdsnet_from(tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(BadInput, match="holds no tensors"):
        rdsnet_from(tmp_path / "list.pth")


def test_diverged_weights_are_refused(tmp_path):
    state = resnet18(weights=None).state_dict()
    state["layer2.0.conv1.weight"][0, 0] = float("nan")
    torch.save(state, tmp_path / "diverged.pth")
    with pytest.raises(BadInput, match=r"1 of \d+ tensors hold NaN .*layer2\.0\.conv1\.weight"):
        rdsnet_from(tmp_path / "diverged.pth")


def test_a_checkpoint_of_ours_without_its_manifest_is_refused(tmp_path, rdsnet_weights):
    (tmp_path / "alone.safetensors").write_bytes(rdsnet_weights.read_bytes())
    with pytest.raises(BadInput, match=r"manifest .* not found"):
        built(preset("rdsnet", "tiny"), tmp_path / "alone.safetensors", CITYSCAPES)


# -- the command ----------------------------------------------------------------------------------


def test_the_command_prints_the_table_and_saves_a_checkpoint(tmp_path, rdsnet_weights, capsys):
    out = tmp_path / "start.safetensors"
    names = "car,bus,tram"
    options = ["--preset", "tiny", "--classes", names, "--size", "64", "128", "--out", str(out)]
    assert exit_code(lambda: main([str(rdsnet_weights), *options])) == 0
    printed = capsys.readouterr().out
    assert "2 of 3 classes by name" in printed and "not in the file: tram" in printed
    assert "backbone.layer4" in printed and str(out) in printed
    model, manifest = load_model(out)
    assert manifest.classes.things == ("car", "bus", "tram")
    assert manifest.preprocessing.input_size == (64, 128)
    assert manifest.training["pretrained"]["kind"] == "rdsnet of this package"
    started, _ = load_model(rdsnet_weights)
    assert torch.equal(model.backbone.conv1.weight, started.backbone.conv1.weight)


def test_the_command_saves_weights_that_see_every_picture_by_its_sides(tmp_path, rdsnet_weights):
    out = tmp_path / "start.safetensors"
    options = ["--preset", "tiny", "--sides", "800", "1333", "--out", str(out)]
    assert exit_code(lambda: main([str(rdsnet_weights), *options])) == 0
    assert load_model(out)[1].preprocessing.frame((640, 480)).content_size == (1067, 800)


def test_the_command_ends_with_3_for_bad_input_and_with_2_for_wrong_words(
    tmp_path, capsys, rdsnet_weights
):
    assert exit_code(lambda: main([str(tmp_path / "none.pth"), "--preset", "tiny"])) == 3
    assert "looked for the file" in capsys.readouterr().err
    assert exit_code(lambda: main([str(rdsnet_weights), "--preset", "r999"])) == 2
    segrpn = ["--model", "segrpn", "--preset", "tiny", "--classes", "coco"]
    assert exit_code(lambda: main([str(rdsnet_weights), *segrpn])) == 2
