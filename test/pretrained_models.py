"""Models that start from files, and what tables say of them, for tests of pretrained weights."""

from dataclasses import replace
from functools import partial

import torch

from jointseg_core import Classes, build_model, preset
from training.pretrained import COCO_THINGS, load_pretrained

COCO = Classes(COCO_THINGS)
SIZE = (96, 128)  # of images
WIDTH = 64  # channels of the pyramids
RDSNET = replace(preset("rdsnet", "r18"), channels=WIDTH, head_depth=4)
SEGRPN = replace(preset("segrpn", "r18"), channels=WIDTH, region_channels=96)
KNOWN = ("person", "car", "truck", "bus", "train", "motorcycle", "bicycle")
"""The things of Cityscapes that COCO has too."""

close = partial(torch.testing.assert_close, atol=1e-4, rtol=1e-4)


def built(config, path, classes, **options):
    torch.manual_seed(0)
    model = build_model(config).eval()
    return model, load_pretrained(model, classes, path, **options)


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
