"""A camera that misbehaves now and then, and somebody who asks the node for impossible things."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sensor_msgs.msg import Image

from benchmarks.soak.requests import REQUESTS


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

KINDS = {"bad": 12, "size": 6, "backwards": 3, "stall": 1, "request": 4}
"""How often each kind of fault comes."""
SCALES = (0.2, 1.5)
"""Between which a camera changes its size, relative to its own: any size, never the same twice."""
STALL_SECONDS = (1.2, 3.0)
JUMP_SECONDS = 10.0


class Event(NamedTuple):
    """What the camera does next.

    fault   what is wrong with it: "" or one of KINDS
    spoil   how the message becomes bad, or None
    scale   of the picture's size
    wait    seconds of silence before the frame
    behind  seconds that the stamp lies behind
    asks    for which of REQUESTS at the same time
    """

    fault: str = ""
    spoil: Callable[[Image], None] | None = None
    scale: float = 1.0
    wait: float = 0.0
    behind: float = 0.0
    asks: str = ""


def events(share: float, seed: int = 0) -> Iterator[Event]:
    """Events without end; of each, the probability to be a fault is `share`."""
    chance, scale = random.Random(seed), 1.0
    while True:
        fault = ""
        if chance.random() < share:
            fault = chance.choices(list(KINDS), list(KINDS.values()))[0]
        if fault == "size":
            scale = chance.uniform(*SCALES)
        yield Event(
            fault,
            chance.choice(SPOILERS) if fault == "bad" else None,
            scale,
            chance.uniform(*STALL_SECONDS) if fault == "stall" else 0.0,
            JUMP_SECONDS if fault == "backwards" else 0.0,
            chance.choice(list(REQUESTS)) if fault == "request" else "",
        )
