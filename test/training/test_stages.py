"""One step of training: the same however a batch is cut, and never with broken numbers."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from tiny_run import scenes
from torch import nn

from jointseg_core import build_model
from jointseg_eval.datasets import open_dataset
from training.loading.augmentation import Augmentation
from training.loading.batches import batches
from training.recipes import RECIPES
from training.runs.distributed import Ranks
from training.runs.stages import (
    JointStage,
    RefinementStage,
    freeze_norms,
    half_precision,
    synchronise_norms,
)

CPU = Ranks(torch.device("cpu"))
MODELS = ("rdsnet", "rdsnet_s", "segrpn", "joint")


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """Five pictures with objects and one without."""
    samples = open_dataset(scenes(tmp_path_factory.mktemp("data")), "train")
    stream = batches(samples, Augmentation(size=(64, 128)), 6, seed=0, workers=0)
    images, targets, _ = next(stream)
    nothing = torch.zeros(0, dtype=torch.int64)
    return images, [*targets[:5], targets[5][nothing]]


def recipe_of(model_type, **changes):
    """A tiny recipe whose backbone has fixed norms, as have those of the papers."""
    recipe = RECIPES[f"{model_type}_tiny_synthetic"]
    model = replace(recipe.model, norm="fixed_statistics")
    return replace(recipe, model=model, optimizer="sgd", lr=0.01, precision="fp32", **changes)


def stage_of(recipe):
    torch.manual_seed(0)
    return JointStage(build_model(recipe.model).train(), recipe, CPU)


@pytest.mark.parametrize("model_type", MODELS)
@pytest.mark.parametrize("parts", [2, 6])
def test_a_batch_in_parts_is_the_same_step(batch, model_type, parts):
    whole = stage_of(recipe_of(model_type))
    cut = stage_of(recipe_of(model_type, accumulate=parts))
    for stage in (whole, cut):  # norms that still learn take each part's statistics
        freeze_norms(stage.model)
    one, other = whole(*batch, rate=1.0), cut(*batch, rate=1.0)
    assert other.losses == pytest.approx(one.losses, rel=1e-5, abs=1e-7)
    assert other.norm == pytest.approx(one.norm, rel=1e-4)
    for name, weight in whole.model.state_dict().items():
        torch.testing.assert_close(
            cut.model.state_dict()[name], weight, rtol=1e-4, atol=1e-6, msg=name
        )


@pytest.mark.parametrize("model_type", MODELS)
def test_a_batch_without_objects_trains_every_weight(batch, model_type):
    stage = stage_of(recipe_of(model_type))
    images, targets = batch
    outcome = stage(images[5:], targets[5:], rate=1.0)
    assert outcome.done
    lacking = [n for n, p in stage.model.named_parameters() if p.requires_grad and p.grad is None]
    assert not lacking  # processes would wait for each other's gradients for ever


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("model_type", MODELS)
def test_every_model_takes_a_step_in_half_precision(batch, model_type, precision):
    recipe = replace(recipe_of(model_type, refinement_steps=1), precision=precision)
    outcome = stage_of(recipe)(*batch, rate=1.0)
    assert all(math.isfinite(loss) for loss in outcome.losses.values())


def test_gradients_are_clipped_as_they_are_without_the_factor_of_fp16(batch):
    found = [
        stage_of(replace(recipe_of("rdsnet", clip=0.1, weight_decay=0.0), precision=precision))
        for precision in ("fp32", "fp16")
    ]
    outcomes = [stage(*batch, rate=1.0) for stage in found]
    assert outcomes[1].norm == pytest.approx(outcomes[0].norm, rel=0.02)
    initial = stage_of(recipe_of("rdsnet")).model
    for stage in found:
        moved = distance(stage.model, initial)
        assert moved == pytest.approx(0.01 * 0.1, rel=0.02)  # the rate times the limit


def distance(model, other):
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    return math.hypot(*(float((a - b).detach().norm()) for a, b in pairs))


def test_a_step_without_a_finite_loss_changes_nothing(batch):
    stage = stage_of(recipe_of("rdsnet", weight_decay=0.0))
    bias = stage.model.object_stream.class_logits.bias
    healthy = bias.detach().clone()
    before = {name: weight.clone() for name, weight in stage.model.state_dict().items()}
    bias.data[0] = float("nan")
    assert not stage(*batch, rate=1.0).done
    bias.data.copy_(healthy)
    assert all(torch.equal(before[n], w) for n, w in stage.model.state_dict().items())
    assert stage(*batch, rate=1.0).done


def test_norms_and_biases_decay_only_if_they_should():
    def decays(keep):
        stage = stage_of(replace(recipe_of("rdsnet"), decay_norms=keep, weight_decay=0.1))
        return {p.ndim > 1: g["weight_decay"] for g in stage.optimizer.param_groups
                for p in g["params"]}  # fmt: skip

    assert decays(False) == {True: 0.1, False: 0.0}
    assert decays(True) == {True: 0.1, False: 0.1}


def test_frozen_norms_keep_their_statistics(batch):
    recipe = replace(recipe_of("segrpn"), model=RECIPES["segrpn_tiny_synthetic"].model)
    stage = stage_of(recipe)
    norm = stage.model.backbone.bn1
    stage(*batch, rate=1.0)
    before = norm.running_mean.clone()
    freeze_norms(stage.model)
    stage(*batch, rate=1.0)
    assert torch.equal(norm.running_mean, before) and before.abs().sum() > 0


@pytest.mark.parametrize("norm", ["trainable", "fixed_statistics"])
def test_norms_that_learn_statistics_see_all_processes_and_others_stay(norm):
    model = build_model(replace(RECIPES["joint_tiny_synthetic"].model, norm=norm))
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    of_backbone = sum(isinstance(m, nn.BatchNorm2d) for m in model.backbone.modules())
    names = set(model.state_dict())
    synchronise_norms(model)
    left = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(left) == (of_backbone if norm == "fixed_statistics" else 0)
    assert sum(isinstance(m, nn.SyncBatchNorm) for m in model.modules()) == norms - len(left)
    assert not any(m.train().training for m in left) and set(model.state_dict()) == names


@pytest.mark.parametrize(("fast", "wanted"), [(True, torch.bfloat16), (False, torch.float32)])
def test_precision_is_the_one_asked_for(monkeypatch, fast, wanted):
    monkeypatch.setattr("training.runs.stages.bf16_saves_time", lambda: fast)
    assert half_precision("auto", CPU.device) == wanted
    assert half_precision("fp16", CPU.device) == torch.float16


@pytest.mark.parametrize("left", [1.0, 0.25])
def test_what_follows_nms_learns_alone_and_the_exchange_ever_slower(batch, left):
    recipe = recipe_of("joint")
    torch.manual_seed(0)
    model = build_model(recipe.model).eval().requires_grad_(False)
    model.config = replace(model.config, score_threshold=0.0)  # so that NMS leaves something
    stage, before = RefinementStage(model, recipe, CPU), copy.deepcopy(model.state_dict())
    assert set(stage(*batch, left=left).losses) == {"refinement", "second", "mask", "informed"}
    moved = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert {name.partition(".")[0] for name in moved} == {"refinement", "exchange"}
    (group,) = stage.parts["exchange"].param_groups
    assert group["lr"] == left * recipe.exchange_lr


def test_a_backbone_learns_at_its_own_rate(batch):
    stage = stage_of(recipe_of("joint", backbone_rate=0.0))
    before = copy.deepcopy(stage.model)
    stage(*batch, rate=0.5)
    for name, weight in stage.model.named_parameters():
        same = torch.equal(weight, before.get_parameter(name))
        assert same or not name.startswith("backbone.")
    assert not torch.equal(stage.model.classes.weight, before.classes.weight)
    assert sorted({group["lr"] for group in stage.optimizer.param_groups}) == [0, 0.005]
