"""The sections of a parameter file: which nodes each of them is for. Without rclpy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from jointseg_core.errors import BadConfig


def sections(file: str | Path) -> dict[str, dict[str, Any]]:
    """The parameters of each section by its full name, which may be nested: `ns: {name: ...`.

    Raises BadConfig, in one sentence, for what is no parameter file.
    """
    try:
        document = yaml.safe_load(Path(file).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadConfig(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(document, Mapping | None):
        raise BadConfig(f"{file} is no parameter file: its names have no values")
    return dict(_sections(document or {}))


def _sections(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, dict]]:
    for key, value in document.items():
        name = f"{prefix}/{str(key).strip('/')}"
        if isinstance(value, Mapping) and "ros__parameters" in value:
            yield name, dict(value["ros__parameters"] or {})
        elif isinstance(value, Mapping):
            yield from _sections(value, name)


def matches(section: str, node_name: str) -> bool:
    """Whether a section is for a node; `*` stands for one part of its name, `**` for any number."""
    parts = {"**": r"(/\w+)*", "*": r"/\w+"}
    pattern = "".join(parts.get(part, f"/{re.escape(part)}") for part in section.split("/")[1:])
    return re.fullmatch(pattern, node_name) is not None
