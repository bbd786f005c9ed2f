"""The checkpoints that RDSNet's authors released, under this package's names.

They follow mmdetection 1.0: continuous boxes are their boxes with x2 + 1 and y2 + 1, for which
their box code is the one here; a cell's nine anchors are ordered by ratio, then scale; a
representation is 32 background values, then 32 object values, as here; anchors are rounded to whole
pixels. The classes are COCO's 80 without background.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from training.pretrained.source import COCO_THINGS, Rule, Source, renamed
from training.pretrained.torchvision_files import make_scale_major

RELEASED_REFINEMENT: Mapping[str, Tensor] = {
    "refinement.kernel": torch.tensor(
        [-0.2968, -0.2892, -0.2635, -3.2545, -0.1874, 2.5041, 0.0196, 0.0651, 0.0917]
    ),
    "refinement.bias": torch.tensor([-1.9536]),
}
"""The boundary refinement as the authors' code has it, whose checkpoints do not hold it."""

_PREDICTIONS = {
    "cls": "object_stream.class_logits",
    "reg": "object_stream.box_deltas",
    "rep": "object_stream.filters",
}
_TOWERS = {"cls": "class_tower", "reg": "box_tower", "rep": "filter_tower"}
_LAYERS = {"conv": 0, "gn": 1}  # of a convolution with group norm


def _convolution(theirs: str, ours: str) -> tuple[Rule, ...]:
    """A convolution with norm; `theirs` is a pattern, `ours` its replacement."""
    return tuple(
        (rf"{theirs}\.{layer}\.(?P<end>weight|bias)", rf"{ours}.{index}.\g<end>")
        for layer, index in _LAYERS.items()
    )


_RULES: tuple[Rule, ...] = (
    (r"(backbone\..+)", r"\1"),
    (r"neck\.lateral_convs\.(\d)\.conv\.(.+)", r"pyramid.lateral.\1.\2"),
    (r"neck\.fpn_convs\.([0-2])\.conv\.(.+)", r"pyramid.output.\1.\2"),
    (r"neck\.fpn_convs\.3\.conv\.(.+)", r"pyramid.coarser.p6.\1"),
    (r"neck\.fpn_convs\.4\.conv\.(.+)", r"pyramid.coarser.p7.\1"),
    *(
        rule
        for short, tower in _TOWERS.items()
        for rule in _convolution(rf"bbox_head\.{short}_convs\.(\d)", rf"object_stream.{tower}.\1")
    ),
    *((rf"bbox_head\.retina_{s}\.(.+)", rf"{ours}.\1") for s, ours in _PREDICTIONS.items()),
    *(  # every second entry of a branch is an upsampling
        rule
        for i in range(2)
        for rule in _convolution(
            rf"mask_head\.lateral_convs\.(\d)\.{2 * i}", rf"pixel_stream.branches.\1.{i}"
        )
    ),
    *_convolution(r"mask_head\.final_convs\.0\.0", r"pixel_stream.merge"),
    (r"mask_head\.conv_reps\.(.+)", r"pixel_stream.output.\1"),
    (r"mbrm\.weight", r"refinement.kernel"),
    (r"mbrm\.bias", r"refinement.bias"),
)


def released_rdsnet(tensors: Mapping[str, Tensor], classes: Sequence[str] | None = None) -> Source:
    """A released checkpoint; classes are the names it holds, COCO's if it holds none."""
    source = renamed(
        "RDSNet as released",
        tensors,
        _RULES,
        classes={"object_stream.class_logits": tuple(classes or COCO_THINGS)},
        notes=("anchors of the file have sides in whole pixels, up to 2.8 % off on P3",),
    )
    make_scale_major(source, *_PREDICTIONS.values())
    if "refinement.kernel" in source.tensors:
        source.tensors["refinement.kernel"] = source.tensors["refinement.kernel"].flatten()
    return source
