"""What the command lines of the benchmarks have in common."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import NoReturn

from jointseg_core.errors import BadConfig


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the usage; abbreviates nothing."""

    def __init__(self, module: str, description: str) -> None:
        super().__init__(f"python -m {module}", description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise BadConfig(message)


def size(text: str) -> tuple[int, int]:
    """(height, width) in pixels, at least 32 each."""
    if not re.fullmatch(r"\d+x\d+", text) or min(map(int, text.split("x"))) < 32:
        raise argparse.ArgumentTypeError(
            f"{text} is not HEIGHTxWIDTH such as 512x1024, with at least 32 pixels each"
        )
    height, width = map(int, text.split("x"))
    return height, width


def names(text: str) -> tuple[str, ...]:
    """Names between commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def whole(first: int, last: int = 10**6) -> Callable[[str], int]:
    """A whole number from first to last."""

    def read(text: str) -> int:
        if not text.isdecimal() or not first <= int(text) <= last:
            raise argparse.ArgumentTypeError(f"{text} is not a number from {first} to {last}")
        return int(text)

    return read


def number(first: float, last: float = 1e4) -> Callable[[str], float]:
    """A number from first to last."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not first <= value <= last:
            raise argparse.ArgumentTypeError(f"{text} is not a number from {first:g} to {last:g}")
        return value

    return read
