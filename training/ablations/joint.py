"""The joint network against RDSNet and SegRPN, each trained as long on the same pictures.

No paper has this table: it decides what the joint network is made of.
"""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial

from jointseg_core import JointConfig, RDSNetConfig, SegRPNConfig, preset
from training.ablations.study import Row, Study, Table


def objects_alone(config: JointConfig) -> RDSNetConfig:
    """RDSNet with the same numbers."""
    return RDSNetConfig(**{f.name: getattr(config, f.name) for f in fields(RDSNetConfig)})


def pixels_alone(config: JointConfig) -> SegRPNConfig:
    """SegRPN on the same backbone, for the same classes."""
    return replace(
        preset("segrpn", config.backbone),
        num_things=config.num_classes,
        num_classes=config.num_semantic,
        things=config.things,
        norm=config.norm,
        frozen_stages=config.frozen_stages,
        branch_channels=config.branch_channels,
        branch_groups=config.branch_groups,
        pixel_loss_stride=config.pixel_loss_stride,
    )


def pixels_weigh(weight: float, config: JointConfig) -> JointConfig:
    """The network whose two losses of pixels have that weight."""
    return replace(config, semantic_weight=weight, agnostic_weight=weight)


OBJECTS = ("box_ap", "box_ap50", "mask_ap")
PIXELS = ("miou", "foreground_miou")
BEST = {"best": "box_ap"}

# fmt: off
TABLE = Study(
    "joint", "One network for boxes, masks and pixels against two",
    family="joint",
    tables=(
        Table("Joint", (*OBJECTS, *PIXELS, "pq", "agreement"), (
            Row("SegRPN", network=pixels_alone, train=BEST | {"refinement_steps": 0}),
            Row("RDSNet and SegRPN", network=objects_alone, train=BEST, pixels="SegRPN"),
            Row("joint", against=("RDSNet and SegRPN", "SegRPN"), train=BEST,
                network=partial(pixels_weigh, 1.0)),
            Row("joint, pixels 1/2", against=("RDSNet and SegRPN", "joint"), train=BEST,
                network=partial(pixels_weigh, 0.5)),
            Row("joint, pixels 1/4", against=("RDSNet and SegRPN", "joint"), train=BEST,
                network=partial(pixels_weigh, 0.25)),
        )),
    ),
    notes=(
        "RDSNet and SegRPN: objects of the one, pixels of the other, fused as the joint network's.",
        "The two losses of pixels weigh 1 in the row joint, else as it says; in the recipes 1/4.",
    ),
)
# fmt: on

STUDIES = (TABLE,)
