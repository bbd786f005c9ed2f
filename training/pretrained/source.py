"""What a file of weights offers, under the names of this package's models."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from jointseg_core.checkpoint import Config

BACKGROUND = "__background__"
COCO_ROWS = tuple(FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"])
"""What the class rows of torchvision's detectors mean: COCO's ids, with background and gaps."""
COCO_THINGS = tuple(name for name in COCO_ROWS if name not in (BACKGROUND, "N/A"))
"""The 80 things of COCO in the order of their ids."""

Rule = tuple[str, str]
"""A pattern of a file's names, and our name with its groups."""


@dataclass(frozen=True)
class Source:
    """The weights of a file, renamed and in this package's order of anchors.

    kind        what the file is
    tensors     by the names of this package
    origins     the file's name of each of them
    unexpected  tensors for which no model here has a name, by the file's names
    classes     for each class head (by our name) the classes of its rows, in the file's order
    config      of the file's network, where it is one of ours
    notes       what a table should say about the file's network
    """

    kind: str
    tensors: dict[str, Tensor]
    origins: dict[str, str]
    unexpected: dict[str, Tensor] = field(default_factory=dict)
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    config: Config | None = None
    notes: tuple[str, ...] = ()


def renamed(
    kind: str, tensors: Mapping[str, Tensor], rules: Sequence[Rule], **facts: Any
) -> Source:
    """A file's tensors by our names; those that no rule matches are unexpected.

    facts   classes and notes of the Source
    """
    source = Source(kind, {}, {}, {}, **facts)
    for name, tensor in without_counters(tensors).items():
        new = _new_name(name, rules)
        if new is None:
            source.unexpected[name] = tensor
        else:
            source.tensors[new], source.origins[new] = tensor, name
    return source


def without_counters(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All but the batch norms' counts of batches, which nothing reads and not every norm has."""
    return {n: tensor for n, tensor in tensors.items() if not n.endswith("num_batches_tracked")}


def _new_name(name: str, rules: Sequence[Rule]) -> str | None:
    matches = ((re.fullmatch(pattern, name), new) for pattern, new in rules)
    return next((match.expand(new) for match, new in matches if match), None)
