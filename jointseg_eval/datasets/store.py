"""Annotations as one array of bytes, so that memory does not grow with loading workers.

Millions of Python objects are copied into every forked worker as soon as it looks at them, since
looking changes their reference counts; the pages of an array stay shared.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from typing import Any

import numpy as np


class FlatStore:
    """A sequence of records (anything that can be pickled) without one Python object per record."""

    def __init__(self, records: Iterable[Any]) -> None:
        buffer, ends = bytearray(), [0]
        for record in records:
            buffer += pickle.dumps(record, pickle.HIGHEST_PROTOCOL)
            ends.append(len(buffer))
        self._bytes = np.frombuffer(buffer, np.uint8)
        self._ends = np.array(ends, np.int64)

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self._bytes.nbytes + self._ends.nbytes

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        start, end = self._ends[index : index + 2]
        return pickle.loads(self._bytes[start:end])
