"""Files of torch.save, whoever wrote them: nothing in them runs, or takes more memory than they."""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Iterator, Mapping
from typing import IO, Any

import torch
from torch import Tensor

_SHARED = 2
"""How many times the bytes of a file its tensors may have, since names may share them."""


def load_pickle(file: IO[bytes]) -> Any:
    """What torch.save wrote: tensors, numbers, texts, lists, dicts, and a command's namespace.

    Raises ValueError for a file that wants much more memory than it has bytes, such as one that is
    compressed, which torch.save does not do; and whatever torch raises for another.
    """
    size = file.seek(0, 2)
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as entries:
            _check(sum(entry.file_size for entry in entries.infolist()), size)
    file.seek(0)
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(file, map_location="cpu", weights_only=True)
    _check(sum(one.numel() * one.element_size() for one in _tensors(content)), _SHARED * size)
    return content


def _check(wanted: int, most: int) -> None:
    if wanted > most:
        raise ValueError(f"it expands to {wanted} bytes, more than {most}")


def _tensors(content: Any) -> Iterator[Tensor]:
    """All that are in it; what is in it twice, or in itself, is looked at once."""
    left, seen = [content], set()
    while left:
        one = left.pop()
        if isinstance(one, Tensor):
            yield one
        elif isinstance(one, Mapping | list | tuple | argparse.Namespace) and id(one) not in seen:
            seen.add(id(one))
            inside = vars(one) if isinstance(one, argparse.Namespace) else one
            left += inside.values() if isinstance(inside, Mapping) else inside
