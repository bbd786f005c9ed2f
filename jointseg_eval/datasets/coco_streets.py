"""COCO's categories as those of Cityscapes, for networks that know these: seven things are common.

Riders are persons in COCO, which `jointseg_eval.translation` sees to. Walls, most of which are of
rooms, and what Cityscapes does not annotate have no class.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

THINGS = {
    **{1: "person", 2: "bicycle", 3: "car", 4: "motorcycle"},
    **{6: "bus", 7: "train", 8: "truck"},
}
"""COCO's ids and names of the things that both have."""

NAMES: Mapping[str, str] = {
    **{name: name for name in THINGS.values()},
    "traffic light": "traffic light",
    "stop sign": "traffic sign",
    "road": "road",
    "pavement-merged": "sidewalk",
    "building-other-merged": "building",
    "house": "building",
    "fence-merged": "fence",
    "tree-merged": "vegetation",
    "grass-merged": "terrain",
    "dirt-merged": "terrain",
    "sand": "terrain",
    "sky-other-merged": "sky",
}
"""Cityscapes' name for those of COCO's categories that it knows."""


def are_streets(categories: Mapping[int, str], known: Collection[str]) -> bool:
    """Whether categories by id are COCO's, and a network knows these seven of their things."""
    is_coco = THINGS.items() <= categories.items() and len(categories) > len(THINGS)
    return is_coco and set(categories.values()) & set(known) == set(THINGS.values())
