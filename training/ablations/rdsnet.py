"""RDSNet's tables 2, 3 and 4 and figure 5: what masks, crops, hard pixels and refinement do.

The paper's numbers are of COCO and ResNet-101: of test-dev in table 2, of val2017 in 3 and 4.
"""

from __future__ import annotations

import math

from jointseg_core.rdsnet_s import as_yolact
from training.ablations.study import Row, Study, Table

NO_MASKS = {"model.filter_size": 0, "refinement_steps": 0}
NO_MBRM = {"gamma": 0.0}
BOXES = ("box_ap", "box_ap50", "box_ap75", "box_ap_small", "box_ap_medium", "box_ap_large")

# fmt: off
TABLE_2 = Study(
    "rdsnet-table-2", "Detection: what learning masks does, and what refinement by them does",
    family="rdsnet",
    tables=(
        Table("Scale 800 of the paper: the recipe's input size", (*BOXES, "box_ap_from_75"), (
            #                      AP    50    75    S     M     L
            Row("RetinaNet", (38.1, 58.5, 40.8, 21.2, 41.5, 48.2), train=NO_MASKS),
            Row("+ mask",    (39.4, 60.1, 42.5, 22.1, 42.6, 49.9), ("RetinaNet",), use=NO_MBRM),
            Row("+ MBRM",    (40.3, 60.1, 43.0, 22.1, 43.5, 51.5), ("+ mask", "RetinaNet")),
        )),
        Table("Scale 600 of the paper: 3/4 of it", (*BOXES, "box_ap_from_75"), (
            Row("RetinaNet", (36.0, 55.2, 38.7, 17.4, 39.6, 49.7), train=NO_MASKS),
            Row("+ mask",    (36.1, 56.7, 38.5, 17.3, 38.9, 51.3), ("RetinaNet",), use=NO_MBRM),
            Row("+ MBRM",    (37.3, 56.7, 39.3, 17.0, 40.0, 54.0), ("+ mask", "RetinaNet")),
        ), scale=3 / 4),
    ),
    lengths=(800, 1600),
    notes=(
        "RetinaNet has the group norm of RDSNet's heads, so that it differs by the masks alone.",
        "At 3/4 the same pictures are seen smaller; scores are of the pictures as they are.",
    ),
)

NO_TE, TE = {"model.train_margin": 0.0}, {"model.train_margin": 0.25}
NO_IE, IE = {"test_margin": 0.0}, {"test_margin": 0.1}
NO_OHEM, OHEM = {"model.hard_ratio": math.inf}, {"model.hard_ratio": 1.0}

THRESHOLD = {"model.mask_threshold": 0.4}
"""RDSNet's, also for YOLACT, whose 0.5 alone would make a difference."""

TABLE_3 = Study(
    "rdsnet-table-3", "Masks: correlation, crops expanded in training (TE) and at inference (IE), "
    "hard pixels (OHEM)",
    family="rdsnet_s",
    tables=(
        Table("RDSNet_s", ("mask_ap",), (
            Row("1 LC (YOLACT)",        (29.9,), network=as_yolact, train=THRESHOLD),
            Row("2 Corr",               (31.0,), ("1 LC (YOLACT)",),
                train=NO_TE | NO_OHEM, use=NO_IE),
            Row("3 Corr, IE",           (30.0,), ("2 Corr",),
                train=NO_TE | NO_OHEM, use=IE),
            Row("4 Corr, TE",           (30.7,), ("2 Corr",),
                train=TE | NO_OHEM, use=NO_IE),
            Row("5 Corr, TE, IE",       (30.8,), ("4 Corr, TE", "3 Corr, IE"),
                train=TE | NO_OHEM, use=IE),
            Row("6 Corr, TE, OHEM",     (31.6,), ("4 Corr, TE",),
                train=TE | OHEM, use=NO_IE),
            Row("7 Corr, TE, OHEM, IE", (31.8,), ("6 Corr, TE, OHEM", "5 Corr, TE, IE",
                                                  "1 LC (YOLACT)"),
                train=TE | OHEM, use=IE),
        )),
    ),
    lengths=(800, 1600),
    notes=("Masks of all rows are cut at the same probability, 0.4; YOLACT's own is 0.5.",),
)

TABLE_4 = Study(
    "rdsnet-table-4", "Boxes: as regressed, as the rectangles of masks (direct), refined (MBRM)",
    family="rdsnet",
    tables=(
        Table("One network", ("box_ap", *BOXES[3:], "box_ap75", "box_ap_from_75"), (
            #                     AP    S     M     L
            Row("baseline", (35.9, 17.1, 39.7, 53.3), use=NO_MBRM),
            Row("direct",   (34.2, 11.8, 37.7, 55.1), ("baseline",), use=NO_MBRM, boxes="direct"),
            Row("MBRM",     (37.2, 16.9, 40.8, 56.5), ("baseline", "direct")),
        )),
    ),
    notes=(
        "The paper's is of its scale 600; ours is at the input size of the recipe and as long.",
    ),
)

PIXELS = Study(
    "rdsnet-pixels", "MBRM in pixels of the network's input, as printed (3.4), and of the camera",
    family="rdsnet",
    tables=(
        Table("One network", (*BOXES, "box_ap_from_75"), (
            Row("off",            use=NO_MBRM),
            Row("camera pixels",  against=("off",), boxes="camera"),
            Row("network pixels", against=("off", "camera pixels")),
        )),
    ),
    notes=(
        "The released code refines in camera pixels. The two are the same where pictures are as "
        "large as the input.",
    ),
)

FIG_3 = Study(
    "rdsnet-fig-3", "Representations of pixels and objects in three principal components",
    family="rdsnet",
    tables=(Table("The network that is shown", ("box_ap", "mask_ap"), (Row("RDSNet"),)),),
    notes=("Seed 0 is shown; an object has the representation of its surest anchor.",),
)

GAMMAS = (0.01, 0.025, 0.05, 0.1, 0.2)
REACHES = (1, 2, 3, 4, 6, 8)
IOUS = tuple(f"box_ap_at_{iou}" for iou in range(50, 100, 5))
OFF = Row("off", use=NO_MBRM)

FIG_5 = Study(
    "rdsnet-fig-5", "MBRM: how wide its prior (gamma) and how long its kernel (s) should be",
    family="rdsnet",
    tables=(
        Table("(a) Width of the prior", ("box_ap", "box_ap75", "box_ap_from_75"), (
            OFF,
            *(Row(f"gamma {gamma:g}", (), ("off",), refine={"model.gamma": gamma})
              for gamma in GAMMAS),
        )),
        Table("(b) Length of the kernel", ("box_ap", "box_ap75", "box_ap_from_75"), (
            OFF,
            *(Row(f"s {reach}", (), ("off",), refine={"model.refinement_reach": reach})
              for reach in REACHES),
        )),
        Table("AP by IoU", ("box_ap", "box_ap_from_75", *IOUS), (
            OFF,
            Row("on", (), ("off",)),
        )),
    ),
    notes=(
        "The paper's figure has no numbers in its text: gamma of about 0.05 is stable, s = 4 "
        "is enough.",
        "The ten parameters are trained for each value on the same weights, with as many steps.",
    ),
)
# fmt: on

STUDIES = (TABLE_2, TABLE_3, TABLE_4, PIXELS, FIG_3, FIG_5)
