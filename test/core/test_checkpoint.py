"""Checkpoints: a round trip, and every way a file can be wrong."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch
from old_joint import COMMAND, old_joint

from jointseg_core import (
    CITYSCAPES,
    BadCheckpoint,
    Classes,
    Preprocessing,
    build_model,
    load_model,
    preset,
    save_model,
    shipped_weights,
)
from jointseg_core.rdsnet_s import as_yolact

PREPROCESSING = Preprocessing((64, 128))


@pytest.fixture(params=["rdsnet", "rdsnet_s", "segrpn", "joint"])
def saved(request, tmp_path):
    model = build_model(preset(request.param, "tiny"))
    path = tmp_path / "weights.safetensors"
    save_model(model, path, CITYSCAPES, PREPROCESSING, {"steps": 3}, torch.float16)
    return model, path


def change(path, **entries):
    manifest = path.with_suffix(".json")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | entries))


def test_a_checkpoint_returns_model_config_classes_and_preprocessing(saved):
    model, path = saved
    loaded, manifest = load_model(path)
    assert loaded.config == model.config
    assert (manifest.classes, manifest.preprocessing) == (CITYSCAPES, PREPROCESSING)
    assert manifest.training == {"steps": 3}
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)
    assert not list(path.parent.glob("*.part"))


def test_half_precision_files_are_small(saved):
    assert saved[1].stat().st_size <= 6e6


def test_one_flipped_bit_is_noticed(saved):
    data = bytearray(saved[1].read_bytes())
    data[-5] ^= 1
    saved[1].write_bytes(data)
    with pytest.raises(BadCheckpoint, match=r"weights\.safetensors: SHA-256"):
        load_model(saved[1])


def test_the_callers_sha256_counts_too(saved):
    with pytest.raises(BadCheckpoint, match="the caller says 0123"):
        load_model(saved[1], sha256="0123" * 16)


def test_missing_files_are_named_with_the_path_that_was_tried(tmp_path, saved):
    with pytest.raises(BadCheckpoint, match=str(tmp_path / "nothing")):
        load_model(tmp_path / "nothing.safetensors")
    saved[1].with_suffix(".json").unlink()
    with pytest.raises(BadCheckpoint, match="manifest of the weights not found"):
        load_model(saved[1])


def test_a_file_of_something_else_is_refused(saved):
    saved[1].write_bytes(b"not weights")
    change(saved[1], sha256=hashlib.sha256(b"not weights").hexdigest())
    with pytest.raises(BadCheckpoint, match="not a safetensors file"):
        load_model(saved[1])
    saved[1].with_suffix(".json").write_text("[1, 2]")
    with pytest.raises(BadCheckpoint, match="not a manifest"):
        load_model(saved[1])


def test_classes_have_to_fit_the_network(saved):
    wrong = Classes(("car",), CITYSCAPES.semantic, (13,))
    change(
        saved[1],
        classes={k: getattr(wrong, k) for k in ("things", "semantic", "thing_to_semantic")},
    )
    with pytest.raises(BadCheckpoint, match="names 1 things classes, its network has 8"):
        load_model(saved[1])


@pytest.mark.parametrize("things", [[11, 12], [11, 12, 13, 14, 15, 16, 17, 19]])
def test_things_of_the_joint_network_are_classes_of_pixels(tmp_path, things):
    path = tmp_path / "joint.safetensors"
    save_model(build_model(preset("joint", "tiny")), path, CITYSCAPES, Preprocessing((64, 128)))
    config = json.loads(path.with_suffix(".json").read_text())["config"]
    change(path, config=config | {"things": things})
    with pytest.raises(BadCheckpoint, match="expected the class of pixels of each of 8 things"):
        load_model(path)


def test_weights_of_another_network_are_refused(saved):
    config = json.loads(saved[1].with_suffix(".json").read_text())["config"]
    change(saved[1], config=config | {"channels": 32})
    with pytest.raises(BadCheckpoint, match="does not fit the config"):
        load_model(saved[1])


def test_a_manifest_of_a_network_that_nobody_knows_is_refused_in_one_sentence(saved):
    config = json.loads(saved[1].with_suffix(".json").read_text())["config"]
    for entry in ({"backbone": "r999"}, {"norm": "none"}, {"channels": "many"}):
        change(saved[1], config=config | entry)
        with pytest.raises(BadCheckpoint, match=r"does not fit the config|'many'") as caught:
            load_model(saved[1])
        assert "\n" not in str(caught.value)


def test_what_a_manifest_does_not_say_is_as_it_was_before_it_could_be_said(saved):
    manifest = json.loads(saved[1].with_suffix(".json").read_text())
    for name in ("class_agnostic", "scale_case"):
        manifest["config"].pop(name, None)
    del manifest["preprocessing"]["keep_ratio"], manifest["preprocessing"]["by_sides"]
    change(saved[1], **manifest)
    model, loaded = load_model(saved[1])
    assert model.config == saved[0].config
    assert loaded.preprocessing == PREPROCESSING


def test_an_earlier_joint_network_is_refused_with_what_made_it_and_how_to_go_on(tmp_path):
    with pytest.raises(BadCheckpoint, match=r"an earlier joint network.*\(CHANGELOG") as caught:
        load_model(old_joint(tmp_path, command=COMMAND, steps=1600))
    said = str(caught.value)
    assert f"made by `{COMMAND}`; train again" in said and "the version that made them" in said
    assert "\n" not in said and str(tmp_path / "old_joint.json") in said
    with pytest.raises(BadCheckpoint, match=r"\(CHANGELOG\.rst\); train again"):
        load_model(old_joint(tmp_path))  # nobody noted the command


@pytest.mark.parametrize("name", ["rdsnet", "segrpn", "joint", "joint_tiny"])
def test_shipped_weights_load(name):
    model, manifest = load_model(shipped_weights(name))
    assert manifest.model_type == name.removesuffix("_tiny")
    assert model.config == manifest.config


def test_baselines_are_saved_and_loaded_too(tmp_path):
    for config in (
        replace(preset("rdsnet", "tiny"), filter_size=0),
        as_yolact(preset("rdsnet_s", "tiny")),
        replace(preset("segrpn", "tiny"), class_agnostic=False),
        preset("segrpn", "tiny").with_true_scale_maps(3),
    ):
        model = build_model(config)
        save_model(model, tmp_path / "weights.safetensors", CITYSCAPES, PREPROCESSING)
        loaded, _ = load_model(tmp_path / "weights.safetensors")
        assert loaded.config == config
        assert loaded.state_dict().keys() == model.state_dict().keys()


def test_presets_have_names():
    assert preset("rdsnet", "r50").backbone == "r50"
    with pytest.raises(ValueError, match="want one of r101, printed, r50, r18, tiny"):
        preset("rdsnet", "r999")
    with pytest.raises(ValueError, match="want one of rdsnet, rdsnet_s, segrpn, joint"):
        preset("yolo", "tiny")
