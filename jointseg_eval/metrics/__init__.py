"""How good results are, by the definitions of COCO and Cityscapes.

Each class here collects images with `add` and then scores all of them, or any list of them with
repeats, which is what a bootstrap over images needs. All read `Predictions` and `Target` only.
"""

from jointseg_eval.metrics.agreement import Agreement
from jointseg_eval.metrics.average_precision import AveragePrecision, Precision
from jointseg_eval.metrics.cityscapes_instances import CityscapesPrecision
from jointseg_eval.metrics.confusion_matrix import ObjectConfusion
from jointseg_eval.metrics.distances import DistanceRecall
from jointseg_eval.metrics.panoptic import PanopticQuality, Segments, merge_segments, true_segments
from jointseg_eval.metrics.pixels import MIN_SHARE, PixelConfusion, foreground_truth
from jointseg_eval.metrics.proposals import ProposalRecall
from jointseg_eval.metrics.resampling import Difference, draws, gains, intervals

__all__ = [
    "MIN_SHARE",
    "Agreement",
    "AveragePrecision",
    "CityscapesPrecision",
    "Difference",
    "DistanceRecall",
    "ObjectConfusion",
    "PanopticQuality",
    "PixelConfusion",
    "Precision",
    "ProposalRecall",
    "Segments",
    "draws",
    "foreground_truth",
    "gains",
    "intervals",
    "merge_segments",
    "true_segments",
]
