"""What has to be right before anything is timed."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmarks.networks.clock import StageClock
from benchmarks.networks.models import letterbox, make_model, make_picture, plant
from benchmarks.networks.ours import make_predictor
from benchmarks.networks.post_processing import COUNTS, compare_masks, differing_bits
from benchmarks.networks.released import oracle_masks, released
from benchmarks.networks.runs import Run
from benchmarks.networks.settings import Settings
from jointseg_core.predictions import Predictions
from jointseg_core.preprocessing import Preprocessing

ROUNDING = {"rdsnet": 1e-4, "rdsnet_s": 1e-4, "segrpn": 1e-3, "joint": 1e-3}
"""Folded norms and another order of additions may move this share of the mask bits, or of the
pixels of a semantic map."""
BOX_TOLERANCE = 0.01
"""Camera pixels, for boxes that no mask has moved."""


def check_results(settings: Settings) -> dict:
    """Compare our results in fp32 with those of another computation of the same network.

    RDSNet: mask post-processing alone has to give the bits and boxes of the published computation
    with one resize, refined in network pixels; the whole pipeline its objects, and its masks and
    boxes up to rounding. The others: the prepared model has to give what the network gives as
    trained, up to rounding. The answer holds `passed`, `reason` ("" if passed) and the counts.
    """
    torch.backends.cudnn.allow_tf32 = False  # fp32 has to be fp32 to be compared
    report, reasons = {}, []
    if settings.model == "rdsnet":
        counts = sorted({*COUNTS, settings.dets} - {0})
        report["tail"] = [compare_masks(settings, count) for count in counts]
        report["pipeline"] = _compare_with_released(settings)
        reasons = [masks_reason(one) for one in report["tail"]]
    else:
        report["pipeline"] = _compare_with_trained(settings)
    reasons.append(pipeline_reason(report["pipeline"], settings))
    reason = next((reason for reason in reasons if reason), "")
    return {"passed": not reason, "reason": reason, **report}


def _compare_with_released(settings: Settings) -> dict[str, float]:
    picture = make_picture(settings)
    found = make_predictor(settings, Run())([picture])[0]
    wanted, bitmaps = released(settings, StageClock(settings.device), oracle_masks)(picture)
    report = _compare_objects(found, wanted)
    return report | _compare_bits(found, wanted, bitmaps)


@torch.inference_mode()
def _compare_with_trained(settings: Settings) -> dict[str, float]:
    picture, model = make_picture(settings), make_model(settings).to(settings.device)
    found = make_predictor(settings, Run())([picture])[0]
    plant(model, settings)
    images, _ = Preprocessing(settings.size).batch([picture], settings.device)
    output = model(images.contiguous())
    wanted = model.decode(output, [letterbox(settings)])[0].to("cpu")
    report = _compare_objects(found, wanted)
    if found.semantic is None:
        return report | _compare_bits(found, wanted, wanted.masks.bitmaps(settings.image))
    report["share_differing"] = float((found.semantic != wanted.semantic).float().mean())
    if settings.model == "segrpn":
        report["regions"] = len(model.propose(output)[0])
    return report


def _compare_objects(found: Predictions, wanted: Predictions) -> dict[str, float]:
    report = {"objects": len(found), "objects_wanted": len(wanted)}
    if len(found) == len(wanted):
        order, theirs = _by_label(found), _by_label(wanted)
        moved = (found.boxes[order] - wanted.boxes[theirs]).abs().amax(1)
        report["labels_differing"] = int((found.labels[order] != wanted.labels[theirs]).sum())
        report["boxes_differing"] = int((moved > BOX_TOLERANCE).sum())
    return report


def _compare_bits(found: Predictions, wanted: Predictions, bitmaps: Tensor) -> dict[str, float]:
    """bitmaps [N, H, W]: the masks that are wanted."""
    if len(found) != len(wanted):
        return {}
    differing = differing_bits(found.masks[_by_label(found)], bitmaps[_by_label(wanted)])
    bits = int(found.masks.areas.sum())
    return {
        "bits": bits,
        "bits_differing": differing,
        "share_differing": differing / max(bits, 1),
    }


def _by_label(objects: Predictions) -> Tensor:
    """Order by label, then by left side: equal scores may come in any order."""
    return torch.from_numpy(np.lexsort((objects.boxes[:, 0].round(), objects.labels)))


def masks_reason(report: dict[str, int]) -> str:
    """Why masks that were compared are not right; "" where they are."""
    if not report["bits_differing"] and not report["boxes_differing"]:
        return ""
    return (
        f"the masks of {report['objects']} objects differ from the published computation in "
        f"{report['bits_differing']} of {report['bits']} bits and {report['boxes_differing']} boxes"
    )


def pipeline_reason(report: dict[str, float], settings: Settings) -> str:
    """Why results that were compared are not right; "" where they are."""
    expected = report["objects_wanted"] if settings.weights else settings.dets
    if not report["objects"] == report["objects_wanted"] == expected:
        return (
            f"{expected} objects are planted, but ours finds {report['objects']} "
            f"and the other computation {report['objects_wanted']}"
        )
    if report["labels_differing"] or report["boxes_differing"] > 0.02 * expected:
        return (
            f"in fp32, {report['labels_differing']} labels and {report['boxes_differing']} boxes "
            f"of {expected} objects differ from those of the other computation"
        )
    if report["share_differing"] > (limit := ROUNDING[settings.model]):
        return (
            f"in fp32, {report['share_differing']:.1e} of the pixels differ from those of the "
            f"other computation, more than rounding explains ({limit:.0e})"
        )
    return ""
