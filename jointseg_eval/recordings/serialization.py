"""Messages from their bytes: those of ROS 2 and ROS 1, and Foxglove's pictures in protobuf."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from jointseg_eval.recordings.records import Channel
from jointseg_eval.recordings.types import new, types_of

# Numbers of the fields. Source: https://github.com/foxglove/schemas, schemas/proto
FOXGLOVE = {
    "RawImage": {
        **{"timestamp": 1, "width": 2, "height": 3, "encoding": 4, "step": 5, "data": 6},
        "frame_id": 7,
    },
    "CompressedImage": {"timestamp": 1, "data": 2, "format": 3, "frame_id": 4},
    "CompressedVideo": {"timestamp": 1, "frame_id": 2, "data": 3, "format": 4},
}
TIME = {"sec": 1, "nanosec": 2}
FIXED = {1: 8, 5: 4}  # bytes of the wire types of fixed length


def reader_of(channel: Channel) -> Callable[[memoryview], Any] | None:
    """What makes messages of a topic from their bytes; None if its type is not known.

    It raises whatever it stumbles over in damaged ones.
    """
    package, _, name = channel.type.partition(".")
    if channel.encoding == "protobuf" and package == "foxglove" and name in FOXGLOVE:
        return partial(_foxglove, name)
    if (types := types_of(channel)) is None:
        return None
    if channel.encoding == "ros1":
        return lambda data: types.deserialize_ros1(data, channel.type)
    return lambda data: types.deserialize_cdr(data, channel.type)


def _foxglove(name: str, data: memoryview) -> Any:
    """The foxglove_msgs message that says the same."""
    found = _named(FOXGLOVE[name], data)
    stamp = _named(TIME, found.pop("timestamp", memoryview(b"")))
    values = {
        k: str(v, "utf-8") if k in ("encoding", "format", "frame_id") else v
        for k, v in found.items()
    }
    values["data"] = np.frombuffer(values.get("data", b""), np.uint8)
    time = new("builtin_interfaces/msg/Time", **stamp)
    return new(f"foxglove_msgs/msg/{name}", timestamp=time, **values)


def _named(numbers: dict[str, int], data: memoryview) -> dict[str, Any]:
    names, at, found = {number: name for name, number in numbers.items()}, 0, {}
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
        elif kind in FIXED:
            value, at = int.from_bytes(data[at : at + FIXED[kind]], "little"), at + FIXED[kind]
        elif kind == 2:
            length, at = _varint(data, at)
            value, at = data[at : at + length], at + length
        else:
            raise ValueError(f"wire type {kind}")
        if at > len(data):
            raise ValueError("a field reaches beyond the message")
        found[names.get(key >> 3, "")] = value
    found.pop("", None)
    return found


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of up to ten bytes of seven bits, and where it ends."""
    value = 0
    for k in range(10):
        byte = data[at + k]
        value |= (byte & 127) << 7 * k
        if byte < 128:
            return value, at + k + 1
    raise ValueError("a number without an end")
