"""Paths as people write them."""

from __future__ import annotations

import os
import re


def expanded(path: str) -> str:
    """The path with `~`, `$HOME` and other variables replaced, and without `file://`."""
    return os.path.expanduser(os.path.expandvars(re.sub("^file://(localhost)?(?=/)", "", path)))
