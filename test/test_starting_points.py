"""Starting points: other people's weights compute here what they computed there."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
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

from jointseg_core import (
    CITYSCAPES,
    Classes,
    Preprocessing,
    build_model,
    load_model,
    preset,
    save_model,
)
from jointseg_core.boxes import decode_boxes
from training.problems import BadInput, exit_code
from training.starting_points import COCO_THINGS, RELEASED_REFINEMENT, load_starting_point
from training.starting_points.__main__ import main
from training.starting_points.released_rdsnet import released_rdsnet

ROWS = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]  # of torchvision's class heads
COCO = Classes(COCO_THINGS)
SIZE = (96, 128)  # of the images below
WIDTH = 64  # channels of the pyramids
RDSNET = replace(preset("rdsnet", "r18"), channels=WIDTH, head_depth=4)
SEGRPN = replace(preset("segrpn", "r18"), channels=WIDTH, region_channels=96)
KNOWN = (
    "person",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
)  # of Cityscapes, in COCO

close = partial(torch.testing.assert_close, atol=1e-4, rtol=1e-4)


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


def built(config, path, classes, **options):
    torch.manual_seed(0)
    model = build_model(config).eval()
    return model, load_starting_point(model, classes, path, **options)


def rdsnet_from(path, things=COCO, config=RDSNET, **options):
    return built(replace(config, num_classes=len(things.things)), path, things, **options)


def rows(table, state):
    """What a table says about the modules in a state: counts, values and why."""
    return {row.module: row for row in table.rows if row.state == state}


def assert_all_counted(model, table):
    """Every number of the model is in exactly one of three states."""
    total = sum(t.numel() for n, t in model.state_dict().items() if "num_batches" not in n)
    states = ("loaded", "re-initialised", "missing")
    assert sum(table.values(state) for state in states) == total


def ratio_to_scale(cell):
    """Which of torchvision's nine anchors (by ratio, then scale) is ours (by scale, then ratio)."""
    scale, ratio = divmod(cell, 3)
    return ratio * 3 + scale


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
        load_starting_point(model, CITYSCAPES, tmp_path / "resnet18.pth")
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
        our_scores, our_box = model.region_head(levels[:4], regions, SIZE)
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


# -- the released RDSNets -------------------------------------------------------------------------


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


# -- checkpoints of this package ------------------------------------------------------------------


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
    for kind in ("rdsnet", "rdsnet_s", "segrpn"):
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


def test_a_truncated_file_is_refused(retinanet, tmp_path):
    data = retinanet[1].read_bytes()
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
    assert manifest.training["starting_point"]["kind"] == "rdsnet of this package"
    started, _ = load_model(rdsnet_weights)
    assert torch.equal(model.backbone.conv1.weight, started.backbone.conv1.weight)


def test_the_command_ends_with_3_for_bad_input(tmp_path, capsys, rdsnet_weights):
    assert exit_code(lambda: main([str(tmp_path / "none.pth"), "--preset", "tiny"])) == 3
    assert "looked for the file" in capsys.readouterr().err
    assert exit_code(lambda: main([str(rdsnet_weights), "--preset", "r999"])) == 3
    segrpn = ["--model", "segrpn", "--preset", "tiny", "--classes", "coco"]
    assert exit_code(lambda: main([str(rdsnet_weights), *segrpn])) == 3
