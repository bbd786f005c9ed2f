"""A camera that misbehaves now and then: bad messages, other sizes, stalls, stamps that jump."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sensor_msgs.msg import Image


def _with(**fields: object) -> Callable[[Image], None]:
    def spoil(message: Image) -> None:
        for name, value in fields.items():
            setattr(message, name, value)

    return spoil


def _half_of_the_data(message: Image) -> None:
    message.data = message.data[: len(message.data) // 2]


SPOILERS = (
    _with(encoding="foo8"),
    _with(encoding=""),
    _with(step=1),
    _half_of_the_data,
    _with(data=b""),
    _with(width=0),
    _with(height=2**31, width=2**31),
)
"""What makes a good message a bad one, in place."""

SCALES = (1.0, 0.5, 1.5)
"""Sizes between which a camera changes, relative to its own."""
STALL_SECONDS = (1.2, 3.0)
JUMP_SECONDS = 10.0


class Event(NamedTuple):
    """What the camera does next.

    fault   what is wrong with it: "", "bad", "size", "stall" or "backwards"
    spoil   how the message becomes bad, or None
    scale   of the picture's size
    wait    seconds of silence before the frame
    behind  seconds that the stamp lies behind
    """

    fault: str = ""
    spoil: Callable[[Image], None] | None = None
    scale: float = 1.0
    wait: float = 0.0
    behind: float = 0.0


def events(share: float, seed: int = 0) -> Iterator[Event]:
    """Events without end; of each, the probability to be a fault is `share`."""
    chance, scale = random.Random(seed), 1.0
    while True:
        fault = ""
        if chance.random() < share:
            fault = chance.choices(("bad", "size", "backwards", "stall"), (12, 4, 3, 1))[0]
        if fault == "size":
            scale = chance.choice([other for other in SCALES if other != scale])
        yield Event(
            fault,
            chance.choice(SPOILERS) if fault == "bad" else None,
            scale,
            chance.uniform(*STALL_SECONDS) if fault == "stall" else 0.0,
            JUMP_SECONDS if fault == "backwards" else 0.0,
        )
