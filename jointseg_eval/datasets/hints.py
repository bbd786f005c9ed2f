"""What to say about names of classes that tools leave behind, each with the flag that helps."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from jointseg_eval.datasets.coco_file import CocoFile
from jointseg_eval.input_validation import Defect

NO_CLASSES = ("background", "ignore", "unlabeled", "unlabelled")
"""Names that tools give to what is no object, whatever surrounds them."""


def class_hints(
    file: CocoFile,
    things: Sequence[str],
    rename: Callable[[str], Any],
    report: Callable[[Defect], None],
) -> None:
    """Tell of classes that no object has, of those that are none, and of names for one thing."""
    seen = {rename(name) for name in (*file.found, *file.crowds)}
    unused = [name for name in things if name not in seen or _plain(name) in NO_CLASSES]
    kept = [name for name in things if name not in unused]
    if unused and kept:
        told = (
            f"{_listed(unused)} {'are no classes' if len(unused) > 1 else 'is no class'} of any"
            f" object; leave {'them' if len(unused) > 1 else 'it'} out with --classes"
            f" {' '.join(map(shlex.quote, kept))}"
        )
        report(Defect(str(file.path), told, usable=True))
    first: dict[str, str] = {}
    for name in kept:
        if (other := first.setdefault(_plain(name), name)) != name:
            told = f"{name!r} and {other!r} are two classes; join them with --remap"
            report(Defect(str(file.path), f"{told} {shlex.quote(f'{name}={other}')}", usable=True))


def _plain(name: str) -> str:
    """A name without what hands add: case, spaces, underscores."""
    return re.sub(r"[\W_]+", "", name.casefold()) or name


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:8])) + (" and others" if len(names) > 8 else "")
