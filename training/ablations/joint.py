"""The joint network against itself without the exchange, and against RDSNet and SegRPN.

No paper has these tables: they decide whether objects and pixels gain by informing each other.
Every network is trained as long on the same pictures.
"""

from __future__ import annotations

from dataclasses import replace

from jointseg_core import JointConfig, RDSNetConfig, SegRPNConfig, preset
from jointseg_core.panoptic import PanopticFusion
from training.ablations.study import Choice, Row, Study, Table


def blind(config: JointConfig) -> JointConfig:
    """As many weights and operations, but objects see no pixels and pixels hear no objects."""
    return replace(config, blind=True)


def objects_alone(config: JointConfig) -> RDSNetConfig:
    """RDSNet on the same backbone, for the same objects."""
    return replace(
        preset("rdsnet", config.backbone),
        num_classes=config.num_classes,
        norm=config.norm,
        frozen_stages=config.frozen_stages,
        channels=config.channels,
    )


def pixels_alone(config: JointConfig) -> SegRPNConfig:
    """SegRPN on the same backbone with a pyramid of the same width, for the same classes."""
    return replace(
        preset("segrpn", config.backbone),
        num_things=config.num_classes,
        num_classes=config.num_semantic,
        things=config.things,
        norm=config.norm,
        frozen_stages=config.frozen_stages,
        channels=config.channels,
    )


OBJECTS = ("box_ap", "box_ap50", "mask_ap")
PIXELS = ("miou", "foreground_miou")
BEST = {"best": "box_ap"}
CHOICE = Choice("panoptic_score", (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5), by="pq")

# fmt: off
EXCHANGE = Study(
    "exchange", "What objects and pixels gain by informing each other",
    family="joint",
    tables=(
        Table("Exchange", (*OBJECTS, *PIXELS, "pq", "agreement"), (
            Row("blind", network=blind, train=BEST),
            Row("joint", train=BEST, against=("blind",)),
        ), choice=CHOICE),
    ),
    notes=(
        "blind: the joint network with as many weights and operations, whose objects see no pixels "
        "and whose pixels hear of no objects.",
        f"Each training has the panoptic_score of {CHOICE.values} that is best by PQ on "
        f"{CHOICE.pictures} pictures of the training set.",
    ),
    seeds=8,
)
JOINT = Study(
    "joint", "One network of objects and pixels, and two of which each has one",
    family="joint",
    tables=(
        Table("Joint", (*OBJECTS, *PIXELS, "pq", "agreement"), (
            Row("SegRPN", network=pixels_alone, train=BEST | {"refinement_steps": 0}),
            Row("RDSNet and SegRPN", network=objects_alone, train=BEST, pixels="SegRPN"),
            Row("joint", train=BEST, against=("RDSNet and SegRPN",)),
        )),
    ),
    notes=(
        "RDSNet and SegRPN: objects of the one, pixels of the other, with pyramids as wide as the "
        "joint network's, at the learning rates of their own recipes.",
        f"All are fused by the same rule, objects from a score of {JointConfig.panoptic_score} on, "
        f"those of RDSNet from {PanopticFusion.min_score} on.",
    ),
    seeds=8,
)
# fmt: on

STUDIES = (EXCHANGE, JOINT)
