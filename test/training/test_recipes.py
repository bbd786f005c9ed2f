"""The numbers of the papers, and what a data set changes about a recipe."""

import math
from dataclasses import replace

import pytest
import torch

from jointseg_core import CITYSCAPES, Classes, build_model, preset
from jointseg_core.errors import BadConfig, BadInput
from training.recipes import RECIPES, augmentation_of, fitted, preprocessing_of, steps_of
from training.runs.command import config_document, parse_command, stored
from training.runs.options import described
from training.runs.run_folder import as_json

COCO_PICTURES = 117_266  # of train2017, those with objects


def test_rdsnet_trains_as_its_release_does():
    recipe = RECIPES["rdsnet_r101_coco_1x"]
    assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.weight_decay) == (
        "sgd", 0.005, 0.9, 1e-4,
    )  # fmt: skip
    assert (recipe.batch, recipe.clip, recipe.warm_up, recipe.warm_up_from) == (8, 35, 500, 1 / 3)
    assert steps_of(recipe, COCO_PICTURES) == 175_899
    augmentation = augmentation_of(recipe)
    assert (augmentation.scales, augmentation.long_side) == ((800,), 1333)
    assert recipe.augmentation.flip == 0.5
    assert recipe.refinement_steps == 1000
    assert (recipe.model.norm, recipe.model.frozen_stages) == ("fixed_statistics", 2)


def test_the_longer_schedule_draws_between_two_scales():
    recipe = RECIPES["rdsnet_r101_coco_2x"]
    assert augmentation_of(recipe).scales == (640, 800)
    assert preprocessing_of(recipe).frame((640, 480)).content_size == (1067, 800)
    assert steps_of(recipe, COCO_PICTURES) == pytest.approx(2 * 175_899, abs=2)
    assert [24 * share for share in recipe.drops] == pytest.approx([16, 22])


def test_tables_2_and_4_have_pictures_of_600_pixels():
    augmentation = augmentation_of(RECIPES["rdsnet_r101_coco_600"])
    assert (augmentation.scales, augmentation.long_side) == ((600,), 1000)


def test_rdsnet_s_trains_as_yolact_does():
    recipe = RECIPES["rdsnet_s_coco"]
    assert (recipe.steps, recipe.batch, recipe.lr, recipe.weight_decay) == (800_000, 8, 1e-3, 5e-4)
    assert [round(800 * share) for share in recipe.drops] == [280, 600, 700, 750]
    assert recipe.input_size == (550, 550) and not recipe.augmentation.keep_aspect
    assert recipe.augmentation.min_box == 4 and recipe.augmentation.expand == 4


def test_the_baseline_of_table_3_differs_in_its_masks_alone():
    plain, baseline = RECIPES["rdsnet_s_coco"], RECIPES["rdsnet_s_lc_coco"]
    assert baseline.model.linear_combination and not plain.model.linear_combination
    assert math.isinf(baseline.model.hard_ratio) and baseline.model.train_margin == 0
    assert replace(baseline, model=plain.model) == plain


def test_segrpn_trains_as_its_paper_says():
    recipe = RECIPES["segrpn_r50_cityscapes"]
    assert (recipe.steps, recipe.batch, recipe.lr) == (96_000, 1, 1e-3)
    assert (recipe.input_size, recipe.model.norm) == ((512, 1024), "fixed")
    assert 32 < steps_of(recipe, 2975) / 2975 < 32.5  # epochs


SYNTHETIC = [name for name in RECIPES if name.endswith("_synthetic")]


@pytest.mark.parametrize("name", [name for name in SYNTHETIC if not RECIPES[name].pretrained])
def test_recipes_from_scratch_have_norms_that_train_and_freeze(name):
    recipe = RECIPES[name]
    assert recipe.model.norm == "trainable" and recipe.model.frozen_stages == 0
    assert recipe.freeze_norms == 0.1 and recipe.batch >= 8
    assert recipe.model.backbone == name.split("_")[-2]
    assert recipe.scenes


def test_the_lite_network_keeps_what_its_backbone_knows_of_real_pictures():
    recipe, tiny = (RECIPES[f"joint_{name}_synthetic"] for name in ("lite", "tiny"))
    assert recipe.pretrained and recipe.model.backbone == "lite0"
    assert (recipe.model.norm, recipe.model.frozen_stages) == ("fixed_statistics", 3)
    assert recipe.input_size == (256, 512) and recipe.lr <= tiny.lr
    model = build_model(recipe.model).train()
    learns = [any(p.requires_grad for p in s.parameters()) for s in model.backbone.stages]
    assert learns == [False, False, False, True, True]
    norms = [m for m in model.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms and not any(norm.training for norm in norms)


@pytest.mark.parametrize("name", ["joint_r50_coco", "joint_r50_cityscapes"])
def test_the_joint_network_has_the_schedule_of_rdsnet_and_the_optimizer_it_is_tuned_with(name):
    recipe, rdsnet = RECIPES[name], RECIPES["rdsnet_r50_coco_1x"]
    assert recipe.model == preset("joint", "r50") and recipe.keep_empty and recipe.best == "pq"
    shared = ("batch", "drops", "refinement_steps", "warm_up", "augmentation")
    assert all(getattr(recipe, field) == getattr(rdsnet, field) for field in shared)
    assert recipe.optimizer == RECIPES["joint_tiny_synthetic"].optimizer == "adamw"


def test_a_data_set_decides_about_the_classes():
    pets = Classes(("cat", "dog"), ("grass", "cat", "dog"), (1, 2))
    detector = fitted(RECIPES["rdsnet_r50_coco_1x"], pets, "pets").model
    both = fitted(RECIPES["segrpn_r50_cityscapes"], pets, "pets").model
    joint = fitted(RECIPES["joint_r50_cityscapes"], pets, "pets").model
    assert detector.num_classes == 2
    assert (joint.num_classes, joint.num_semantic, joint.things) == (2, 3, (1, 2))
    assert (both.num_things, both.num_classes, both.things) == (2, 3, (1, 2))
    assert (
        fitted(RECIPES["segrpn_tiny_synthetic"], CITYSCAPES, "") == RECIPES["segrpn_tiny_synthetic"]
    )


@pytest.mark.parametrize("name", ["segrpn_r50_cityscapes", "joint_r50_coco"])
def test_networks_that_learn_pixels_refuse_objects_alone(name):
    with pytest.raises(BadInput, match="pets has no classes of pixels"):
        fitted(RECIPES[name], Classes(("cat", "dog")), "pets")


def test_the_joint_network_refuses_things_that_pixels_have_no_class_for():
    pets = Classes(("cat", "dog"), ("grass", "cat"), (1, -1))
    with pytest.raises(BadInput, match="pets has no class of pixels for dog"):
        fitted(RECIPES["joint_r50_coco"], pets, "pets")


def test_pictures_have_the_size_of_the_input_unless_sizes_are_drawn():
    synthetic = replace(RECIPES["rdsnet_tiny_synthetic"], input_size=(64, 128))
    assert augmentation_of(synthetic).size == (64, 128) and augmentation_of(synthetic).zoom > 1
    assert augmentation_of(RECIPES["rdsnet_r50_coco_1x"]).size is None
    by_heart = augmentation_of(replace(synthetic, overfit=3))
    assert by_heart.size == (64, 128) and by_heart.flip == by_heart.colours == 0


@pytest.mark.parametrize("name", ["rdsnet_r50_coco_1x", "rdsnet_r101_coco_600"])
@pytest.mark.parametrize("size", [(480, 640), (640, 427), (333, 500), (300, 900)])
def test_pictures_are_validated_at_the_scale_that_they_train_at(name, size):
    recipe = RECIPES[name]
    seen = preprocessing_of(recipe).frame(size).content_size
    assert seen == augmentation_of(recipe).output_size(size, torch.Generator())
    by_heart = augmentation_of(replace(recipe, overfit=3))
    assert seen == by_heart.output_size(size, torch.Generator()) and not by_heart.flip


def test_the_joint_network_has_the_flags_of_rdsnet_and_may_start_from_several_files():
    flags = ["--model.gamma=0", "--model.semantic_weight=0.5", "--init", "a.safetensors", "x/b.pth"]
    command = parse_command(["joint_tiny_synthetic", *flags])
    assert (command.recipe.model.gamma, command.recipe.model.semantic_weight) == (0, 0.5)
    assert [str(path) for path in command.options.init] == ["a.safetensors", "x/b.pth"]
    assert described(command.recipe.model)["gamma"] == described(preset("rdsnet", "tiny"))["gamma"]


def test_flags_change_the_recipe_and_config_json_repeats_it(tmp_path):
    flags = ["--lr", "0.1", "--model.gamma", "0", "--augmentation.flip=0", "--input_size", "64x128"]
    command = parse_command(["rdsnet_tiny_synthetic", *flags, "--workers", "0"])
    assert (command.recipe.lr, command.recipe.model.gamma) == (0.1, 0)
    assert (command.recipe.augmentation.flip, command.recipe.input_size) == (0, (64, 128))
    assert command.options.workers == 0
    (tmp_path / "config.json").write_bytes(as_json(config_document(command.name, command.recipe)))
    assert stored(tmp_path / "config.json") == (command.name, command.recipe)
    assert parse_command([str(tmp_path / "config.json")]).recipe == command.recipe


def test_a_file_that_is_no_config_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadConfig, match=r"config.json is not the config.json of a run"):
        parse_command([str(tmp_path / "config.json")])


def test_an_unknown_recipe_is_refused_with_the_nearest(capsys):
    with pytest.raises(SystemExit) as refusal:
        parse_command(["rdsnet_tiny_sythetic"])
    assert refusal.value.code == 2
    assert "did you mean rdsnet_tiny_synthetic?" in capsys.readouterr().err
