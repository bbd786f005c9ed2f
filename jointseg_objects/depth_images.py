"""Depth from image messages, of any library, as it is sent: no pixel is converted."""

from __future__ import annotations

from typing import Any

import numpy as np

from jointseg_core.errors import BadImage

_KINDS = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}


def message_to_depth(message: Any) -> np.ndarray[Any, Any]:
    """The depth of a sensor_msgs Image, [H, W]: uint16 millimetres or float32 metres (REP 118).

    A view of the message's data where its bytes are in this machine's order. Raises BadImage.
    """
    if (kind := _KINDS.get(message.encoding)) is None:
        text = f"encoding {message.encoding[:40]!a} is no depth; 16UC1 or 32FC1 is"
        raise BadImage("encoding", text)
    height, width, step = message.height, message.width, message.step
    row = width * int(kind[1])
    if not row * height:
        raise BadImage("zero_size", f"the depth is {width} x {height} pixels")
    if step < row:
        raise BadImage("step", f"step is {step}, a row of {width} pixels has {row} bytes")
    if len(message.data) < (height - 1) * step + row:
        text = f"data has {len(message.data)} bytes, {height} rows of step {step} need more"
        raise BadImage("data_size", text)
    order = ">" if message.is_bigendian else "<"
    strides = (step, int(kind[1]))
    found = np.ndarray((height, width), order + kind, message.data, strides=strides)
    return found.astype(kind, copy=False)
