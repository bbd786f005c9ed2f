"""How good results are, by the definitions of COCO and Cityscapes.

Each class here collects images with `add` and then scores all of them, or any list of them with
repeats, which is what a bootstrap over images needs. All read `Predictions` and `Target` only.
"""

from training.metrics.agreement import Agreement
from training.metrics.average_precision import AveragePrecision, Precision
from training.metrics.cityscapes_instances import CityscapesPrecision
from training.metrics.distances import DistanceRecall
from training.metrics.mistakes import Mistakes
from training.metrics.panoptic import PanopticQuality, Segments, merge_segments, true_segments
from training.metrics.pixels import MIN_SHARE, Confusion, foreground_truth
from training.metrics.proposals import ProposalRecall
from training.metrics.resampling import Difference, paired_bootstrap

__all__ = [
    "MIN_SHARE",
    "Agreement",
    "AveragePrecision",
    "CityscapesPrecision",
    "Confusion",
    "Difference",
    "DistanceRecall",
    "Mistakes",
    "PanopticQuality",
    "Precision",
    "ProposalRecall",
    "Segments",
    "foreground_truth",
    "merge_segments",
    "paired_bootstrap",
    "true_segments",
]
