"""Which rows of a prediction layer belong to which class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from jointseg_core.classes import Classes
from training.pretrained.source import BACKGROUND


class ClassRows(NamedTuple):
    """Rows [k, classes, values] of a prediction layer: anchors, then classes, then their values."""

    names: tuple[str, ...]
    values: int = 1


def class_rows(state: Mapping[str, Tensor], classes: Classes) -> dict[str, ClassRows]:
    """The class heads among a model's tensors, by the name of their layer."""
    pixels = ClassRows((*classes.semantic, BACKGROUND))
    heads = {
        "object_stream.class_logits": ClassRows(_anchor_classes(state, classes)),
        "region_head.class_logits": ClassRows((*classes.things, BACKGROUND)),
        "region_head.box_deltas": ClassRows(classes.things, 4),
        "segmentation.classes": ClassRows(classes.semantic),
        "segmentation": ClassRows(classes.things),  # of RDSNet_s
        "head.class_logits": ClassRows(classes.things),  # of the joint network
        "classes": pixels,
        "coarse_classes": pixels,
    }
    return {layer: rows for layer, rows in heads.items() if f"{layer}.weight" in state}


def _anchor_classes(state: Mapping[str, Tensor], classes: Classes) -> tuple[str, ...]:
    """The classes of an anchor: the things, and the background where the layer has a row for it."""
    layer = "object_stream.{}.weight".format
    if layer("class_logits") not in state:
        return ()
    anchors = len(state[layer("box_deltas")]) // 4
    rows = len(state[layer("class_logits")]) // anchors
    return classes.things if rows == len(classes.things) else (*classes.things, BACKGROUND)


def match_rows(
    current: Tensor, given: Tensor, rows: ClassRows, names: tuple[str, ...]
) -> tuple[Tensor, list[str]] | None:
    """`current` with the rows of the classes that both know, and the names of the others.

    given has the classes `names`, in this order. None where the two differ by more than classes.
    """
    anchors, left = divmod(len(current), len(rows.names) * rows.values)
    if (
        left
        or len(given) != anchors * len(names) * rows.values
        or current.shape[1:] != given.shape[1:]
    ):
        return None
    known = {plain(name): index for index, name in enumerate(names)}
    pairs = [(i, known[plain(n)]) for i, n in enumerate(rows.names) if plain(n) in known]
    matched = current.clone().unflatten(0, (anchors, len(rows.names), rows.values))
    ours, theirs = torch.tensor(pairs, dtype=torch.long).view(-1, 2).unbind(1)
    matched[:, ours] = given.to(matched).unflatten(0, (anchors, len(names), rows.values))[:, theirs]
    absent = [name for name in rows.names if plain(name) not in known]
    return matched.flatten(0, 2), absent


def plain(name: str) -> str:
    """A class name as it is compared: some write `traffic_light` for `traffic light`."""
    return name.replace("_", " ").strip().casefold()
