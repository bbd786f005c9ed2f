"""What labels mean: names, colours, and the semantic class that each thing belongs to."""

from __future__ import annotations

import colorsys
from collections import Counter
from dataclasses import dataclass

import numpy as np

UNLABELLED = 255
"""The value of a pixel without a semantic class, in annotations and in published label images."""
_LONGEST = 256  # letters of a name, which every detection carries

_CITYSCAPES_COLORS = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}


@dataclass(frozen=True)
class Classes:
    """Class names of a model, stored with its weights.

    things             names of the detected objects; label k of a detection is things[k]
    semantic           names of the pixel classes; value k of a semantic map is semantic[k]
    thing_to_semantic  for each thing the semantic class of its pixels, -1 where there is none

    Names are texts of 1 to 256 letters, each once in its list. Raises ValueError for others.
    """

    things: tuple[str, ...]
    semantic: tuple[str, ...] = ()
    thing_to_semantic: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("things", "semantic", "thing_to_semantic"):
            if isinstance(getattr(self, name), str):
                raise ValueError(f"{name} is a text, expected a list")
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for names in (self.things, self.semantic):
            _check_names(names)
        if len(self.thing_to_semantic) not in (0, len(self.things)):
            raise ValueError(
                f"thing_to_semantic has {len(self.thing_to_semantic)} entries "
                f"for {len(self.things)} things"
            )
        if not all(type(k) is int and -1 <= k < len(self.semantic) for k in self.thing_to_semantic):
            raise ValueError(f"thing_to_semantic names a class beyond {len(self.semantic)}")

    @property
    def thing_colors(self) -> np.ndarray:
        """uint8 [things, 3] RGB."""
        return _colors(self.things)

    @property
    def semantic_colors(self) -> np.ndarray:
        """uint8 [semantic, 3] RGB."""
        return _colors(self.semantic)


def _check_names(names: tuple[str, ...]) -> None:
    for name in names:
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST:
            wanted = f"a text of 1 to {_LONGEST} letters"
            raise ValueError(f"a class is called {name!r:.40}, expected {wanted}")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"two classes are called {twice[0]!r}")


def _colors(names: tuple[str, ...]) -> np.ndarray:
    """The Cityscapes colour of a name that has one, else a hue of its own (golden angle)."""
    colors = [
        _CITYSCAPES_COLORS.get(name)
        or [round(255 * c) for c in colorsys.hsv_to_rgb(index * 0.618 % 1, 0.75, 0.9)]
        for index, name in enumerate(names)
    ]
    return np.array(colors, np.uint8).reshape(-1, 3)


CITYSCAPES = Classes(
    things=tuple(_CITYSCAPES_COLORS)[11:],
    semantic=tuple(_CITYSCAPES_COLORS),
    thing_to_semantic=tuple(range(11, 19)),
)
"""The 8 things and 19 pixel classes of Cityscapes, in the order of its train ids."""
