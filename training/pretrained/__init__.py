"""Weights of other people, and of other models of ours, as the start of a training.

`load_pretrained` recognises ResNets and detectors of torchvision, the released RDSNets and
checkpoints of this package, loads what fits and returns a table of what became of every weight.
"""

from training.pretrained.fitting import load_pretrained
from training.pretrained.released_rdsnet import RELEASED_REFINEMENT
from training.pretrained.source import COCO_THINGS
from training.pretrained.table import Row, Table

__all__ = ["COCO_THINGS", "RELEASED_REFINEMENT", "Row", "Table", "load_pretrained"]
