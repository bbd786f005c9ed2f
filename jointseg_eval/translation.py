"""What a model found, in the classes of a data set: matched by name, never by number.

A name that the data set lacks may count as one that it has: riders are persons where nobody told
them apart, and most of CamVid's classes are unions of Cityscapes'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jointseg_core.classes import UNLABELLED, Classes
from jointseg_core.errors import BadInput
from jointseg_core.predictions import Predictions
from jointseg_eval.datasets.camvid import CAMVID, CAMVID_UNIONS


@dataclass(frozen=True, eq=False)
class Translation:
    """From the labels of a model to those of a data set; call it with what the model found.

    things    int64 [K]    the data set's label for each of the model's, -1 where it has none
    semantic  uint8 [256]  the data set's class for each of the model's, 255 where it has none;
                           None where one of them has no classes of pixels
    problem   why class maps cannot be compared, if they cannot
    """

    things: Tensor
    semantic: Tensor | None
    problem: str = ""

    @classmethod
    def between(cls, model: Classes, data: Classes, weights: str, dataset: str) -> Translation:
        """BadInput when the model does not know every thing of the data set.

        weights and dataset are what messages call the two.
        """
        unions = CAMVID_UNIONS if data == CAMVID else {"rider": "person"}
        known = _counted_as(model.things, data.things, unions)
        if problem := _problem("things", known, data.things, weights, dataset):
            raise BadInput(problem)
        things = torch.tensor(_numbers(known, data.things, -1), dtype=torch.int64)
        if not (model.semantic and data.semantic):
            return cls(things, None)
        known = _counted_as(model.semantic, data.semantic, unions)
        problem = _problem("classes of pixels", known, data.semantic, weights, dataset)
        semantic = torch.full((256,), UNLABELLED, dtype=torch.uint8)
        numbers = _numbers(known, data.semantic, UNLABELLED)
        semantic[: len(numbers)] = torch.tensor(numbers, dtype=torch.uint8)
        return cls(things, semantic, problem)

    def __call__(self, found: Predictions) -> Predictions:
        """The objects and pixels of classes that the data set has.

        BadInput when there is a class map that the data set's cannot be compared with.
        """
        labels = self.things[found.labels]
        kept = replace(found, labels=labels)[labels >= 0]
        if found.semantic is None:
            return kept
        if self.problem:
            raise BadInput(self.problem)
        if self.semantic is None:
            return replace(kept, semantic=None, confidence=None, foreground=None)
        return replace(kept, semantic=self.semantic[found.semantic.long()])


def _counted_as(ours: Sequence[str], theirs: Sequence[str], unions: Mapping[str, str]) -> list[str]:
    """Our names as the data set has them; those that are in no union of it stay."""
    others = {name: union for name, union in unions.items() if name not in theirs}
    return [union if (union := others.get(name)) in theirs else name for name in ours]


def _numbers(ours: Sequence[str], theirs: Sequence[str], none: int) -> list[int]:
    places = {name: number for number, name in enumerate(theirs)}
    return [places.get(name, none) for name in ours]


def _problem(
    kind: str, known: Sequence[str], wanted: Sequence[str], weights: str, dataset: str
) -> str:
    missing = [name for name in wanted if name not in known]
    if not missing:
        return ""
    return (
        f"{weights} does not know {_listed(missing)} of the {kind} in {dataset}; it knows"
        f" {_listed(known)}: evaluate a model that was trained for these classes, or name the"
        " common ones with --classes."
    )


def _listed(names: Sequence[str], most: int = 8) -> str:
    names = list(dict.fromkeys(names))
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
