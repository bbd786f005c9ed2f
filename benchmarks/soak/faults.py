"""A camera that misbehaves now and then: bad messages, other sizes, stalls, stamps that jump."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sensor_msgs.msg import Image


def _encoding(message: Image) -> None:
    message.encoding = "foo8"


def _no_encoding(message: Image) -> None:
    message.encoding = ""


def _step(message: Image) -> None:
    message.step = message.width


def _data_size(message: Image) -> None:
    message.data = message.data[: len(message.data) // 2]


def _no_data(message: Image) -> None:
    message.data = b""


def _zero_size(message: Image) -> None:
    message.width = 0


def _too_large(message: Image) -> None:
    message.height = message.width = 2**31


SPOILERS: tuple[Callable[[Image], None], ...] = (
    _encoding,
    _no_encoding,
    _step,
    _data_size,
    _no_data,
    _zero_size,
    _too_large,
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
