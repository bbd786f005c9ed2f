"""The message types that recordings are decoded with, known without ROS."""

from __future__ import annotations

import array
import os
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from jointseg_eval.recordings.records import Channel

ROOT = Path(__file__).resolve().parents[2]
CHECKOUT = {"vision_msgs": "tools/interfaces/vision_msgs/msg", "jointseg_msgs": "msg"}
BEFORE = "jointseg_ros"  # the package of our messages in older recordings
MAX_DEFINITION, MAX_LINES = 1 << 18, 4000  # bytes and lines, which take the parser a second
MAX_UNROLLED = 1 << 10  # elements of arrays for which the parser writes a line of code each


_STAMPED = "builtin_interfaces/Time timestamp\nstring frame_id\n"
PICTURES = {  # of other packages; older recordings hold no definitions
    "foxglove_msgs/msg/RawImage": f"{_STAMPED}uint32 width\nuint32 height\nstring encoding\n"
    "uint32 step\nuint8[] data",
    "foxglove_msgs/msg/CompressedImage": f"{_STAMPED}uint8[] data\nstring format",
    "foxglove_msgs/msg/CompressedVideo": f"{_STAMPED}uint8[] data\nstring format",
    "ffmpeg_image_transport_msgs/msg/FFMPEGPacket": "std_msgs/Header header\nint32 width\n"
    "int32 height\nstring encoding\nuint64 pts\nuint8 flags\nbool is_bigendian\nuint8[] data",
}


@cache
def message_types() -> Typestore:
    """The messages of ROS 2 Jazzy, vision_msgs and this package."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for package in CHECKOUT:
        for path in _definitions(package):
            store.register(get_types_from_msg(path.read_text(), f"{package}/msg/{path.stem}"))
    for name, text in PICTURES.items():
        store.register(get_types_from_msg(text, name))
    return store


def present(channel: Channel) -> Channel:
    """A topic of a recording with the name that its type has today."""
    if not channel.type.startswith(f"{BEFORE}/"):
        return channel
    kind, text = (t.replace(BEFORE, "jointseg_msgs") for t in (channel.type, channel.definition))
    return replace(channel, type=kind, definition=text)


def _definitions(package: str) -> list[Path]:
    """The .msg files of the checkout, else as pip has installed them, else as colcon has."""
    installed = Path(__file__).with_name("msg") / package
    shared = [prefix / "share" / package / "msg" for prefix in _prefixes()]
    found = ([*d.glob("*.msg")] for d in (ROOT / CHECKOUT[package], installed, *shared))
    return sorted(next(filter(None, found), []))


def new(type_name: str, **values: Any) -> Any:
    """A message such as new("std_msgs/msg/Header", frame_id="camera").

    Fields that are not given have their defaults; arrays of numbers may be bytes or array.array.
    """
    fields = dict(message_types().fielddefs[type_name][1])
    given = _DEFAULTS.get(type_name, {}) | values
    given = {name: _as_numpy(value) for name, value in given.items()}
    given |= {name: _default(*field) for name, field in fields.items() if name not in given}
    return message_types().types[type_name](**given)


_DEFAULTS = {"geometry_msgs/msg/Quaternion": {"w": 1.0}}
"""Values that definitions give to fields, which the parser leaves out."""


def _as_numpy(value: Any) -> Any:
    if not isinstance(value, bytes | array.array):
        return value
    return np.frombuffer(value, getattr(value, "typecode", np.uint8))


def _default(kind: Nodetype, value: Any) -> Any:
    """What a field holds that nobody filled: zeros, nothing, or a message of such fields."""
    if kind == Nodetype.NAME:
        return new(value)
    if kind == Nodetype.BASE:
        return "" if value[0] == "string" else np.zeros((), value[0]).item()
    (inner, element), length = value
    count = length if kind == Nodetype.ARRAY else 0
    if inner == Nodetype.BASE and element[0] != "string":
        return np.zeros(count, element[0])
    return [_default(inner, element) for _ in range(count)]


@lru_cache(256)
def types_of(channel: Channel) -> Typestore | None:
    """The types to decode a topic with; None if its type is not known.

    They are as the file itself defines them, else as we know them, else as the ROS workspaces do
    that have been sourced.
    """
    if channel.encoding not in ("cdr", "ros1"):
        return None
    if (own := _defined(channel)) is not None or channel.encoding == "ros1":
        return own
    if channel.type in message_types().fielddefs:
        return message_types()
    return _installed(channel.type)


@lru_cache(256)
def contradicts(channel: Channel) -> bool:
    """Whether a file defines a type that is known with the same fields in another order.

    Then one of the two orders is wrong, and nothing tells which one.
    """
    if channel.format == "ros1msg":
        return False
    known = message_types().fielddefs
    return any(
        fields != known[name][1] and sorted(map(repr, fields)) == sorted(map(repr, known[name][1]))
        for name, (_, fields) in (_definition(channel) or {}).items()
        if name in known
    )


@lru_cache(256)
def _definition(channel: Channel) -> dict[str, Any] | None:
    """The types that a file defines for a topic; None where it cannot be parsed with little."""
    readers = dict.fromkeys(("ros2msg", "ros1msg"), get_types_from_msg)
    readers["ros2idl"] = lambda text, _: get_types_from_idl(text)
    parse = readers.get(channel.format)
    text = channel.definition
    if parse is None or not 0 < len(text) <= MAX_DEFINITION:
        return None
    if text.count("\n") + text.count(";") > MAX_LINES:
        return None
    try:
        types = parse(channel.definition, channel.type)
        unrolled = sum(_unrolled(f) for _, fields in types.values() for _, f in fields)
    except Exception:  # a definition that cannot be parsed is worth no more than none
        return None
    return types if unrolled <= MAX_UNROLLED else None


def _defined(channel: Channel) -> Typestore | None:
    if (types := _definition(channel)) is None:
        return None
    try:
        own = get_typestore(Stores.EMPTY)
        own.register({name: t for name, t in types.items() if name not in own.fielddefs})
        own.get_msgdef(channel.type)
        return own
    except Exception:  # nor is one that names types which it lacks
        return None


def _installed(type_name: str) -> Typestore | None:
    """The type as .msg files of the sourced workspaces define it, with the types within it."""
    store, wanted = get_typestore(Stores.ROS2_JAZZY), [type_name]
    try:
        while wanted:
            name = wanted.pop()
            if name not in store.fielddefs:
                types = get_types_from_msg(_msg_file(name).read_text(), name)
                store.register({n: t for n, t in types.items() if n not in store.fielddefs})
                wanted += [n for _, fields in types.values() for _, f in fields for n in _names(f)]
        store.get_msgdef(type_name)
        return store
    except Exception:  # not there, or what is there cannot be parsed
        return None


def _msg_file(type_name: str) -> Path:
    package, kind, name = type_name.split("/")
    paths = [prefix / "share" / package / kind / f"{name}.msg" for prefix in _prefixes()]
    return next(path for path in paths if path.is_file())


def _prefixes() -> list[Path]:
    """Where the sourced ROS workspaces are installed."""
    return [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]


def _unrolled(field: Any) -> int:
    """How many strings or messages an array of fixed length holds."""
    kind, value = field
    if kind != Nodetype.ARRAY:
        return 0
    (inner, element), length = value
    return 0 if inner == Nodetype.BASE and element[0] != "string" else length


def _names(field: Any) -> list[str]:
    """The message types in the description of a field, which is nested for arrays."""
    if isinstance(field, tuple):
        return [name for part in field for name in _names(part)]
    return [field] if isinstance(field, str) and field.count("/") == 2 else []
