"""The released RDSNets: every tensor finds its place, in our order and convention."""

import pytest
import torch
from pretrained_models import WIDTH, assert_all_counted, close, rdsnet_from, rows

from jointseg_core import CITYSCAPES, build_model, preset
from jointseg_core.boxes import decode_boxes
from training.pretrained import COCO_THINGS, RELEASED_REFINEMENT
from training.pretrained.released_rdsnet import released_rdsnet


def released_shapes(depths=(3, 4, 6, 3), bottleneck=True, width=256):
    """Names and shapes of the authors' checkpoints: mmdetection 1.0 with their two heads."""
    shapes = {}

    def conv(name, out, channels, kernel, bias):
        shapes[f"{name}.weight"] = (out, channels, kernel, kernel)
        shapes.update({f"{name}.bias": (out,)} if bias else {})

    def conv_batch_norm(name, norm, *sizes):
        conv(name, *sizes, bias=False)
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{norm}.{part}"] = sizes[:1]
        shapes[f"{norm}.num_batches_tracked"] = ()

    def conv_group_norm(name):
        conv(f"{name}.conv", width, width, 3, bias=False)
        shapes.update({f"{name}.gn.weight": (width,), f"{name}.gn.bias": (width,)})

    conv_batch_norm("backbone.conv1", "backbone.bn1", 64, 3, 7)
    channels, expansion = 64, 4 if bottleneck else 1
    for stage, depth in enumerate(depths):
        planes = 64 * 2**stage
        kernels = [(planes, 1), (planes, 3), (4 * planes, 1)] if bottleneck else [(planes, 3)] * 2
        for block in range(depth):
            name, inputs = f"backbone.layer{stage + 1}.{block}", channels
            for number, (out, kernel) in enumerate(kernels, 1):
                conv_batch_norm(f"{name}.conv{number}", f"{name}.bn{number}", out, inputs, kernel)
                inputs = out
            if block == 0 and channels != inputs:
                shortcut = f"{name}.downsample"
                conv_batch_norm(f"{shortcut}.0", f"{shortcut}.1", inputs, channels, 1)
            channels = inputs
    c3, c4, c5 = (planes * expansion for planes in (128, 256, 512))
    for i, inputs in enumerate((c3, c4, c5)):
        conv(f"neck.lateral_convs.{i}.conv", width, inputs, 1, bias=True)
    for i, inputs in enumerate((width, width, width, c5, width)):
        conv(f"neck.fpn_convs.{i}.conv", width, inputs, 3, bias=True)
    for i in range(4):
        for head in ("cls", "reg", "rep"):
            conv_group_norm(f"bbox_head.{head}_convs.{i}")
    for head, values in (("cls", 80), ("reg", 4), ("rep", 64)):
        conv(f"bbox_head.retina_{head}", 9 * values, width, 3, bias=True)
    for branch in ("0.0", "1.0", "2.0", "2.2"):
        conv_group_norm(f"mask_head.lateral_convs.{branch}")
    conv_group_norm("mask_head.final_convs.0.0")
    conv("mask_head.conv_reps", 32, width, 1, bias=True)
    return shapes


@pytest.mark.parametrize("name, depths", [("r50", (3, 4, 6, 3)), ("r101", (3, 4, 23, 3))])
def test_names_and_shapes_of_the_released_networks_are_ours(name, depths):
    shapes = released_shapes(depths)
    tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    converted = released_rdsnet(tensors)
    with torch.device("meta"):
        wanted = build_model(preset("rdsnet", name)).state_dict()
    shapes_of = {key: tensor.shape for key, tensor in converted.tensors.items()}
    assert shapes_of == {
        key: tensor.shape
        for key, tensor in wanted.items()
        if "num_batches" not in key and not key.startswith("refinement")
    }
    assert not converted.unexpected
    assert sorted(converted.origins.values()) == sorted(k for k in shapes if "num_batches" not in k)


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A file like the released ones, on a smaller network, and its weights."""
    torch.manual_seed(3)
    shapes = released_shapes((2, 2, 2, 2), bottleneck=False, width=WIDTH)
    state = {name: torch.rand(shape) for name, shape in shapes.items()}
    path = tmp_path_factory.mktemp("released") / "rdsnet.pth"
    names = tuple(name.replace(" ", "_") for name in COCO_THINGS)
    meta = {"epoch": 12, "CLASSES": names, "config": "model = dict()"}
    torch.save({"meta": meta, "state_dict": state}, path)
    return state, path


def test_the_released_checkpoint_is_consumed_to_the_last_tensor(released):
    state, path = released
    model, table = rdsnet_from(path, released_refinement=True)
    assert_all_counted(model, table)
    for nothing in ("re-initialised", "missing", "unexpected"):
        assert not rows(table, nothing)
    ours = model.state_dict()
    pairs = {
        "backbone.layer3.0.downsample.1.bias": "backbone.layer3.0.downsample.1.bias",
        "pyramid.lateral.0.bias": "neck.lateral_convs.0.conv.bias",
        "pyramid.output.2.weight": "neck.fpn_convs.2.conv.weight",
        "pyramid.coarser.p6.weight": "neck.fpn_convs.3.conv.weight",
        "pyramid.coarser.p7.bias": "neck.fpn_convs.4.conv.bias",
        "object_stream.class_tower.0.0.weight": "bbox_head.cls_convs.0.conv.weight",
        "object_stream.box_tower.3.1.bias": "bbox_head.reg_convs.3.gn.bias",
        "object_stream.filter_tower.2.1.weight": "bbox_head.rep_convs.2.gn.weight",
        "pixel_stream.branches.0.0.0.weight": "mask_head.lateral_convs.0.0.conv.weight",
        "pixel_stream.branches.2.1.0.weight": "mask_head.lateral_convs.2.2.conv.weight",
        "pixel_stream.branches.1.0.1.bias": "mask_head.lateral_convs.1.0.gn.bias",
        "pixel_stream.merge.0.weight": "mask_head.final_convs.0.0.conv.weight",
        "pixel_stream.output.weight": "mask_head.conv_reps.weight",
    }
    for mine, theirs in pairs.items():
        assert torch.equal(ours[mine], state[theirs]), mine
    assert torch.equal(ours["refinement.kernel"], RELEASED_REFINEMENT["refinement.kernel"])
    cell = 5  # second scale, widest ratio last: theirs is number 2 * 3 + 1
    for mine, theirs, values in (
        ("class_logits", "retina_cls", 80),
        ("box_deltas", "retina_reg", 4),
        ("filters", "retina_rep", 64),
    ):
        here = ours[f"object_stream.{mine}.weight"][cell * values : (cell + 1) * values]
        there = state[f"bbox_head.{theirs}.weight"][7 * values : 8 * values]
        assert torch.equal(here, there), mine


def test_the_refinement_keeps_its_own_start_unless_the_released_one_is_asked_for(released):
    model, table = rdsnet_from(released[1], CITYSCAPES)
    assert rows(table, "missing")["refinement"].values == 10 == table.values("missing")
    assert model.refinement.kernel.tolist() == [0, 0, 0, -1, 0, 1, 0, 0, 0]
    assert "rider" in rows(table, "re-initialised")["object_stream.class_logits"].why


def test_released_boxes_decode_as_in_the_authors_convention():
    """Their boxes include the last pixel: x2 - x1 + 1 is the width, also in their box code."""
    anchors = torch.tensor([[-12.0, -12, 19, 19], [4, 9, 40, 90]])  # theirs, whole pixels
    deltas = torch.tensor([[0.3, -0.2, 0.5, -0.7], [-0.1, 0.4, 0.0, 0.2]])
    sizes = anchors[:, 2:] - anchors[:, :2] + 1
    centers = (anchors[:, :2] + anchors[:, 2:]) / 2 + sizes * deltas[:, :2]
    halves = sizes * deltas[:, 2:].exp() / 2
    theirs = torch.cat([centers - halves + 0.5, centers + halves - 0.5], 1)
    exclusive = torch.tensor([0, 0, 1, 1])
    close(decode_boxes(deltas, anchors + exclusive), theirs + exclusive)
