"""Messages as the bytes that travel: their class, the text of their type, the stamp within."""

from __future__ import annotations

import importlib
import struct
from functools import cache
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

_RULE = "=" * 80
_PRIMITIVE = frozenset(
    f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)
) | {"bool", "byte", "char", "string", "wstring"}


@cache
def message_class(type_name: str) -> Any:
    """The class of a type such as `sensor_msgs/msg/Image`; ValueError if it is not installed."""
    package, _, name = type_name.partition("/msg/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"message type {type_name!r} is not installed ({error}); build or install {package}, "
            "then source its setup file."
        ) from error


def has_header(type_name: str) -> bool:
    """Whether messages of this type begin with a std_msgs/Header."""
    fields = message_class(type_name).get_fields_and_field_types()
    return next(iter(fields.values()), None) == "std_msgs/Header"


def stamp_ns(data: bytes) -> int:
    """The time in the header that a serialised message begins with, in nanoseconds."""
    order = "<" if data[1] & 1 else ">"
    seconds, nanoseconds = struct.unpack_from(order + "iI", data, 4)
    return seconds * 1_000_000_000 + nanoseconds


@cache
def definition(type_name: str) -> str:
    """The text of a type followed by that of every type within, as recordings hold it.

    ValueError when the definition file of a type is not installed.
    """
    package, _, name = type_name.partition("/msg/")
    pending, parts, seen = [f"{package}/{name}"], [], set()
    while pending:
        short = pending.pop(0)
        if short in seen:
            continue
        seen.add(short)
        text = _file(short).read_text()
        parts.append(text if not parts else f"{_RULE}\nMSG: {short}\n{text}")
        pending += _types_within(text, short.split("/")[0])
    return "\n".join(part.rstrip("\n") for part in parts) + "\n"


def _file(short: str) -> Path:
    package, name = short.split("/")
    try:
        path = Path(get_package_share_directory(package)) / "msg" / f"{name}.msg"
    except PackageNotFoundError as error:
        raise ValueError(f"package {package!r} is not installed; source its setup file.") from error
    if not path.is_file():
        raise ValueError(f"the definition of {short} is missing: no file {path}.")
    return path


def _types_within(text: str, package: str) -> list[str]:
    """The message types (`package/Name`) that the fields of a definition refer to."""
    found = []
    for line in text.splitlines():
        kind = line.split("#")[0].strip().split(" ")[0].split("[")[0].split("<")[0]
        if kind and kind not in _PRIMITIVE:
            found.append(kind if "/" in kind else f"{package}/{kind}")
    return found
