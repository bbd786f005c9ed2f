"""The weights that are evaluated, one model or two: named, loaded, and asked together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from jointseg_core.classes import Classes
from jointseg_core.errors import BadInput
from jointseg_core.model_check import check_model
from jointseg_core.predictions import Predictions
from jointseg_core.predictor import Predictor
from jointseg_eval.translation import Translation

SCORE_THRESHOLD = 0.05
"""Less certain objects are not asked for; AP would hardly change with them."""


class Chosen(Protocol):
    """Which weights to load and how, as `add_model_arguments` asks for it; other may be None."""

    weights: Path
    other: Path | None
    device: str
    precision: str
    backend: str
    input_size: str


def open_predictors(chosen: Chosen) -> tuple[Predictor, Predictor | None]:
    """The predictors of the weights, see `model_check`.

    BadCheckpoint or BadConfig for what cannot be loaded or computes nonsense.
    """
    return _opened(chosen.weights, chosen), _opened(chosen.other, chosen) if chosen.other else None


def _opened(path: Path, chosen: Chosen) -> Predictor:
    how = {"backend": chosen.backend, "input_size": chosen.input_size}
    predictor = Predictor.from_file(path, chosen.device, chosen.precision, **how)
    check_model(predictor)
    return predictor


@dataclass(frozen=True, eq=False)
class Models:
    """One model, or two that complete each other, answering in the classes of a data set.

    predictor makes the objects, other the class maps where the first one makes none.
    """

    predictor: Predictor
    translate: Translation
    other: Predictor | None = None
    translate_other: Translation | None = None

    @classmethod
    def of(
        cls, classes: Classes, name: str, predictor: Predictor, other: Predictor | None = None
    ) -> Models:
        """For data of these classes, which messages call `name`.

        BadInput when one of the predictors does not know a class of them.
        """
        others = (other, _translation(other, classes, name)) if other else ()
        return cls(predictor, _translation(predictor, classes, name), *others)

    def __call__(
        self, images: Sequence[np.ndarray], proposals: int = 0
    ) -> list[tuple[Predictions, tuple[Tensor, Tensor] | None]]:
        """What each image uint8 RGB [H, W, 3] shows, with so many proposals of the first model.

        BadInput when the second model does not add what the first lacks.
        """
        found, proposed = self.predictor.with_proposals(images, proposals)
        found = [self.translate(one) for one in found]
        if self.other is not None:
            maps = [self.translate_other(one) for one in self.other(images)]
            found = [self._joined(*pair) for pair in zip(found, maps, strict=True)]
        return list(zip(found, proposed or [None] * len(found), strict=True))

    def _joined(self, found: Predictions, maps: Predictions) -> Predictions:
        if found.semantic is not None or maps.semantic is None:
            raise BadInput(
                f"{self.predictor.weights} and {self.other.weights} do not complete each other: the"
                " first should make objects and no class maps, the second class maps; exchange"
                " them, or name one alone."
            )
        return replace(found, semantic=maps.semantic, foreground=maps.foreground)


@contextmanager
def asked_for_all(predictor: Predictor) -> Iterator[None]:
    """Let a predictor give all objects that AP wants, and then what it gave before."""
    before = predictor.model.config
    predictor.configure(score_threshold=SCORE_THRESHOLD)
    try:
        yield
    finally:
        predictor.model.config = before


def _translation(predictor: Predictor, classes: Classes, name: str) -> Translation:
    weights = str(predictor.weights) if predictor.weights.name else "the model"
    return Translation.between(predictor.classes, classes, weights, name)
