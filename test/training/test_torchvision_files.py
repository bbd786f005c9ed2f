"""Weights of torchvision: here they compute what they computed there."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from pretrained_models import (
    COCO,
    KNOWN,
    RDSNET,
    SEGRPN,
    SIZE,
    WIDTH,
    assert_all_counted,
    built,
    close,
    ratio_to_scale,
    rdsnet_from,
    rows,
)
from torch import nn
from torchvision.models import detection, resnet18
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import (
    FasterRCNN_ResNet50_FPN_Weights,
    FastRCNNConvFCHead,
    TwoMLPHead,
)
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from jointseg_core import CITYSCAPES, build_model, preset
from jointseg_core.boxes import decode_boxes
from jointseg_core.errors import BadInput
from training.pretrained import COCO_THINGS, load_pretrained

ROWS = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]  # of torchvision's class heads


def randomize(module):
    """Weights and statistics that no layer shares with another and that keep signals alive."""
    torch.manual_seed(7)
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif tensor.dim() < 2 and tensor.is_floating_point():
            tensor.normal_(1 if name.endswith("weight") else 0, 0.1)
        elif tensor.dim() > 1:
            tensor.normal_(0, tensor[0].numel() ** -0.5)
    return module.eval()


def trunk(levels, norm=nn.BatchNorm2d, pyramid_norm=None, extra=None):
    """A ResNet-18 with a torchvision pyramid on its last `levels` stages."""
    stages = range(5 - levels, 5)
    return BackboneWithFPN(
        resnet18(weights=None, norm_layer=norm),
        {f"layer{stage}": str(i) for i, stage in enumerate(stages)},
        [32 * 2**stage for stage in stages],
        WIDTH,
        extra,
        pyramid_norm,
    )


def torchvision_retinanet(norm=nn.BatchNorm2d, head_norm=None, p6_width=512):
    backbone = trunk(3, norm, extra=LastLevelP6P7(p6_width, WIDTH))
    head = RetinaNetHead(WIDTH, 9, 91, norm_layer=head_norm)
    return randomize(RetinaNet(backbone, 91, head=head))


def torchvision_faster_rcnn(second_generation=False):
    norm = nn.BatchNorm2d if second_generation else FrozenBatchNorm2d
    backbone = trunk(4, norm, nn.BatchNorm2d if second_generation else None)
    rpn_head = RPNHead(WIDTH, 3, conv_depth=1 + second_generation)
    box_head = TwoMLPHead(WIDTH * 49, 96)
    if second_generation:
        box_head = FastRCNNConvFCHead((WIDTH, 7, 7), [WIDTH], [96], nn.BatchNorm2d)
    predictor = detection.faster_rcnn.FastRCNNPredictor(96, 91)
    heads = {"rpn_head": rpn_head, "box_head": box_head, "box_predictor": predictor}
    return randomize(FasterRCNN(backbone, **heads))


GROUP_NORM = partial(nn.GroupNorm, 32)


@pytest.fixture(scope="module")
def retinanet(tmp_path_factory):
    """A RetinaNet like torchvision's second, and the file of its weights."""
    network = torchvision_retinanet(head_norm=GROUP_NORM)
    for parameter in network.head.regression_head.bbox_reg.parameters():
        parameter.data.mul_(0.1)  # boxes near their anchors, as trained ones are
    path = tmp_path_factory.mktemp("retinanet") / "retinanet_v2.pth"
    torch.save(network.state_dict(), path)
    return network, path


@pytest.fixture(scope="module")
def faster_rcnn(tmp_path_factory):
    """A Faster R-CNN like torchvision's first, and the file of its weights."""
    network = torchvision_faster_rcnn()
    path = tmp_path_factory.mktemp("faster-rcnn") / "faster_rcnn.pth"
    torch.save(network.state_dict(), path)
    return network, path


def images(size=SIZE):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


def reordered(values):
    """Values [B, A, n] of torchvision's nine anchors per cell in our order."""
    return values.unflatten(1, (-1, 9))[:, :, [ratio_to_scale(i) for i in range(9)]].flatten(1, 2)


def half_a_stride(base, scales=(1.0,)):
    """What a shift by half a stride is in the box code of each anchor, [k, 4]."""
    shapes = [
        (base * s / math.sqrt(r), base * s * math.sqrt(r)) for s in scales for r in (0.5, 1, 2)
    ]
    return torch.tensor([[0.5 / width, 0.5 / height, 0, 0] for width, height in shapes])


OCTAVES = (1, 2 ** (1 / 3), 2 ** (2 / 3))


# -- torchvision's ResNets ------------------------------------------------------------------------


@pytest.mark.parametrize("config", [RDSNET, SEGRPN], ids=["rdsnet", "segrpn"])
def test_an_imagenet_resnet_becomes_the_backbone_and_nothing_else(config, tmp_path):
    network = randomize(resnet18(weights=None))
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    classes = CITYSCAPES if config is SEGRPN else COCO
    model, table = built(config, tmp_path / "resnet18.pth", classes)
    assert_all_counted(model, table)
    assert set(rows(table, "unexpected")) == {"fc"}
    assert all(module.startswith("backbone.") for module in rows(table, "loaded"))
    assert not any(module.startswith("backbone.") for module in rows(table, "missing"))
    assert not table.notes
    last = []
    network.layer4.register_forward_hook(lambda _, __, output: last.append(output))
    with torch.no_grad():
        network(images())
        close(model.backbone(images())[-1], last[0])


def test_another_resnet_than_the_models_is_refused_and_changes_nothing(tmp_path):
    torch.save(resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    model = build_model(preset("rdsnet", "tiny"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(BadInput, match=r"conv1.weight is \[64, 3, 7, 7\] in the file and \[24"):
        load_pretrained(model, CITYSCAPES, tmp_path / "resnet18.pth")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


# -- torchvision's RetinaNets ---------------------------------------------------------------------


def compare_retinanets(network, model, size=SIZE):
    """Pyramid, class logits and box deltas of the two agree in every anchor."""
    with torch.no_grad():
        theirs = list(network.backbone(images(size)).values())
        ours = model.pyramid(model.backbone(images(size))[1:])
        for level in range(4):  # P3..P6
            close(ours[level], theirs[level])
        close(model.pyramid.coarser.p7(F.relu(ours[3])), theirs[4])  # the ReLU is theirs alone
        wanted = network.head(theirs)
        logits, box_features, _ = model.object_stream(theirs)
        deltas = torch.cat(
            [
                model.object_stream.box_deltas(f).permute(0, 2, 3, 1).reshape(len(f), -1, 4)
                for f in box_features
            ],
            1,
        )
    things = [ROWS.index(name) for name in COCO_THINGS]
    close(logits, reordered(wanted["cls_logits"])[..., things])
    cells = deltas.shape[1] // 9
    shift = half_a_stride(4, OCTAVES).repeat(cells, 1)
    close(deltas + shift, reordered(wanted["bbox_regression"]))


def test_a_retinanet_with_group_norms_computes_the_same(retinanet):
    network, path = retinanet
    model, table = rdsnet_from(path)
    assert_all_counted(model, table)
    compare_retinanets(network, model)
    assert set(rows(table, "missing")) == {
        "object_stream.filter_tower",
        "object_stream.filters",
        "pixel_stream.branches",
        "pixel_stream.merge",
        "pixel_stream.output",
        "refinement",
    }
    assert not rows(table, "re-initialised") and not rows(table, "unexpected")
    assert any("ReLU" in note for note in table.notes)


@pytest.mark.slow
def test_torchvisions_own_retinanet_v2_computes_the_same(tmp_path):
    network = detection.retinanet_resnet50_fpn_v2(weights=None, weights_backbone=None)
    randomize(network)
    torch.save(network.state_dict(), tmp_path / "v2.pth")
    model, table = rdsnet_from(tmp_path / "v2.pth", config=preset("rdsnet", "r50"))
    (tmp_path / "v2.pth").unlink()  # 150 MB
    compare_retinanets(network, model, (64, 64))
    assert not rows(table, "re-initialised") and not rows(table, "unexpected")


def test_decoded_boxes_are_torchvisions_to_the_rounding_of_its_anchors(retinanet):
    network, path = retinanet
    model, _ = rdsnet_from(path)
    with torch.no_grad():
        features = list(network.backbone(images()).values())
        deltas = network.head(features)["bbox_regression"]
        image_list = ImageList(images(), [SIZE] * 2)
        anchors = network.anchor_generator(image_list, features)[0]
        wanted = network.head.regression_head.box_coder.decode_single(deltas[0], anchors)
        output = model(images())
        mine = output.image(0)
        all_of_p3 = torch.arange(len(output.anchors[0]))
        boxes = decode_boxes(
            model.object_stream.deltas_at(mine.box_features, all_of_p3), output.anchors[0]
        )
    wanted = reordered(wanted[None])[0, : len(boxes)]
    sides = (wanted[:, 2:] - wanted[:, :2]).clamp(min=8).repeat(1, 2)
    assert ((boxes - wanted).abs() / sides).max() < 0.03  # half a stride would be 0.09


def test_classes_are_matched_by_name_and_new_ones_are_named(retinanet):
    _, path = retinanet
    model, table = rdsnet_from(path, CITYSCAPES)
    assert_all_counted(model, table)
    assert rows(table, "re-initialised")["object_stream.class_logits"].why.endswith(": rider")
    assert "7 of 8" in rows(table, "loaded")["object_stream.class_logits"].why
    given = torch.load(path, weights_only=True)["head.classification_head.cls_logits.weight"]
    torch.manual_seed(0)  # as in `built`: the rider keeps what it got there
    untouched = build_model(model.config).object_stream.class_logits.weight.unflatten(0, (9, 8))
    loaded = model.object_stream.class_logits.weight.unflatten(0, (9, 8))
    for cell in range(9):
        for name in KNOWN:
            theirs = given[ratio_to_scale(cell) * 91 + ROWS.index(name)]
            assert torch.equal(loaded[cell, CITYSCAPES.things.index(name)], theirs)
    rider = CITYSCAPES.things.index("rider")
    assert torch.equal(loaded[:, rider], untouched[:, rider])


def test_names_of_older_torchvisions_are_the_same_weights(tmp_path):
    new = torchvision_retinanet(FrozenBatchNorm2d).state_dict()
    old = {}
    for name, tensor in new.items():
        parts = name.split(".")
        if "blocks" in name and parts[4] == "0" and "extra" not in name:
            parts.pop(4)  # inner_blocks.0.0.weight was inner_blocks.0.weight
        if ".conv." in name:
            parts[3:5] = [str(2 * int(parts[3]))]  # conv.1.0.weight was conv.2.weight
        old[".".join(parts)] = tensor
    assert len(set(old) - set(new)) == 6 * 2 + 8 * 2
    models = []
    for which, state in (("new", new), ("old", old)):
        torch.save(state, tmp_path / f"{which}.pth")
        config = replace(RDSNET, head_groups=0)
        model, table = rdsnet_from(tmp_path / f"{which}.pth", config=config)
        assert not rows(table, "unexpected")
        models.append(model.state_dict())
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_a_retinanet_of_the_first_generation_fits_but_for_p6(tmp_path):
    network = torchvision_retinanet(FrozenBatchNorm2d, p6_width=WIDTH)
    detection._utils.overwrite_eps(network, 0.0)  # as torchvision does for its published weights
    state = network.state_dict()
    for name in [name for name in state if name.endswith("running_var")]:
        state[name].mul_(1e-3)  # so small that an epsilon counts
        state[name.replace("running_var", "weight")].mul_(1e-3**0.5)
    torch.save(state, tmp_path / "v1.pth")
    model, table = rdsnet_from(tmp_path / "v1.pth", config=replace(RDSNET, head_groups=0))
    assert_all_counted(model, table)
    assert set(rows(table, "re-initialised")) == {"pyramid.coarser"}
    assert rows(table, "re-initialised")["pyramid.coarser"].entries == 2  # its bias fits, and stays
    assert (
        f"[{WIDTH}, {WIDTH}, 3, 3] in the file"
        in rows(table, "re-initialised")["pyramid.coarser"].why
    )
    with torch.no_grad():
        theirs = list(network.backbone(images()).values())
        ours = model.pyramid(model.backbone(images())[1:])
        for level in range(3):
            close(ours[level], theirs[level])
        things = [ROWS.index(name) for name in COCO_THINGS]
        logits = reordered(network.head(theirs)["cls_logits"])[..., things]
        close(model.object_stream(theirs)[0], logits)


def test_towers_with_another_norm_are_not_half_loaded(tmp_path):
    torch.save(torchvision_retinanet(FrozenBatchNorm2d).state_dict(), tmp_path / "v1.pth")
    model, table = rdsnet_from(tmp_path / "v1.pth")
    assert_all_counted(model, table)
    left = rows(table, "re-initialised")
    for head in ("class_tower", "class_logits", "box_tower", "box_deltas"):
        assert "is only" in left[f"object_stream.{head}"].why
        assert f"object_stream.{head}" not in rows(table, "loaded")


# -- torchvision's Faster R-CNNs ------------------------------------------------------------------


def test_a_faster_rcnn_computes_the_same(faster_rcnn):
    network, path = faster_rcnn
    detection._utils.overwrite_eps(network, 0.0)
    model, table = built(SEGRPN, path, CITYSCAPES)
    assert_all_counted(model, table)
    regions = [torch.tensor([[5.0, 8, 60, 70], [0, 0, 127, 95], [30, 40, 44, 52]])] * 2
    with torch.no_grad():
        features = network.backbone(images())
        levels = model.pyramid(model.backbone(images()))
        for ours, theirs in zip(levels, features.values(), strict=True):
            close(ours, theirs)
        objectness, deltas = network.rpn.head(list(features.values()))
        flat = [m.permute(0, 2, 3, 1).flatten(1) for m in objectness]
        boxes = [m.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, 4)) for m in deltas]
        head = model.proposal_head
        our_objectness, our_deltas = head(head.features(levels))
        close(our_objectness, torch.cat(flat, 1))
        close(
            our_deltas + half_a_stride(8).repeat(our_deltas.shape[1] // 3, 1), torch.cat(boxes, 1)
        )
        pooled = network.roi_heads.box_roi_pool(features, regions, [SIZE] * 2)
        scores, box = network.roi_heads.box_predictor(network.roi_heads.box_head(pooled))
        our_scores, our_box = model.region_head(levels[:4], regions)
    for name in (*KNOWN, "__background__"):
        ours = (*CITYSCAPES.things, "__background__").index(name)
        close(our_scores[:, ours], scores[:, ROWS.index(name)])
        if name in KNOWN:
            close(our_box[:, ours], box.unflatten(1, (91, 4))[:, ROWS.index(name)])
    assert rows(table, "re-initialised")["region_head.class_logits"].why.endswith(": rider")
    assert not rows(table, "unexpected")
    missing = {module.partition(".")[0] for module in rows(table, "missing")}
    assert missing == {"segmentation", "mask_proposal_head"}


def test_a_faster_rcnn_of_the_second_generation_gives_backbone_and_folded_pyramid(tmp_path):
    network = torchvision_faster_rcnn(second_generation=True)
    torch.save(network.state_dict(), tmp_path / "v2.pth")
    model, table = built(SEGRPN, tmp_path / "v2.pth", CITYSCAPES)
    assert_all_counted(model, table)
    with torch.no_grad():
        wanted = network.backbone(images()).values()
        for ours, theirs in zip(model.pyramid(model.backbone(images())), wanted, strict=True):
            close(ours, theirs)
    left = rows(table, "re-initialised")
    assert "conv.1.weight is only in the file" in left["proposal_head.objectness"].why
    assert "region_head.hidden.0.weight is only here" in left["region_head.class_logits"].why
    assert "roi_heads.box_head" in rows(table, "unexpected")


def test_pyramids_are_aligned_at_their_coarse_end(faster_rcnn):
    network, path = faster_rcnn  # P2..P5, and RDSNet begins at P3
    model, table = rdsnet_from(path, CITYSCAPES)
    state = network.backbone.fpn.state_dict()
    for i in range(3):
        for ours, theirs in (("lateral", "inner_blocks"), ("output", "layer_blocks")):
            loaded = getattr(model.pyramid, ours)[i].weight
            assert torch.equal(loaded, state[f"{theirs}.{i + 1}.0.weight"])
    assert rows(table, "unexpected")["backbone.fpn"].entries == 4  # the level that is not here
