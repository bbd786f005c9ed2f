"""Line charts with intervals, small and legible: Pillow draws them three times too large."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = (560, 340)
"""Width and height in pixels."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Told apart also by people who see few colours (Okabe and Ito)."""
INK, GRID = "#222222", "#dddddd"
DETAIL = 3
"""Drawn so many times larger, then reduced: smooth lines and letters."""
LEFT, RIGHT, TOP, BOTTOM = 62, 22, 34, 46


@dataclass(frozen=True)
class Line:
    """A curve y over x; low and high, where known, enclose a band."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def line_chart(
    title: str, x_label: str, y_label: str, lines: Sequence[Line], zero: bool = False
) -> Image.Image:
    """The lines in one picture with axes, ticks and a legend; with zero the y axis shows 0.

    Values that are not finite are left out. ValueError where nothing remains.
    """
    chart = _Chart(lines, zero)
    chart.axes(title, x_label, y_label)
    for line, colour in zip(lines, COLOURS, strict=False):
        chart.band(line, colour)
    for line, colour in zip(lines, COLOURS, strict=False):
        chart.line(line, colour)
    chart.legend(lines)
    return chart.picture.resize(SIZE, Image.Resampling.LANCZOS)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from low to high, at most so many: steps of 1, 2 or 5 times a power of ten."""
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    while (high - low) / step > most:
        step = {1: 2, 2: 2.5, 5: 2}[_first_digit(step)] * step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _first_digit(number: float) -> int:
    return round(number / 10.0 ** math.floor(math.log10(number) + 1e-9))


class _Chart:
    """The picture, and where values lie in it."""

    def __init__(self, lines: Sequence[Line], zero: bool) -> None:
        self.picture = Image.new("RGB", tuple(DETAIL * side for side in SIZE), "white")
        self.draw = ImageDraw.Draw(self.picture, "RGBA")
        self.x = _range(v for line in lines for v in line.x)
        values = [v for line in lines for v in (*line.y, *line.low, *line.high)]
        self.y = _range([*values, 0.0] if zero else values, margin=0.06)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of the point (x, y)."""
        right = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        width, height = SIZE[0] - LEFT - RIGHT, SIZE[1] - TOP - BOTTOM
        return DETAIL * (LEFT + right * width), DETAIL * (TOP + (1 - up) * height)

    def axes(self, title: str, x_label: str, y_label: str) -> None:
        for value in ticks(*self.y):
            colour = GRID if value else INK
            self.draw.line([self.at(self.x[0], value), self.at(self.x[1], value)], colour, DETAIL)
            self.text(self.at(self.x[0], value), f"{value:g}", "rm", offset=(-6, 0))
        for value in ticks(*self.x):
            self.text(self.at(value, self.y[0]), f"{value:g}", "ma", offset=(0, 5))
        corner = self.at(self.x[0], self.y[0])
        self.draw.line([corner, self.at(self.x[1], self.y[0])], INK, DETAIL)
        self.text((DETAIL * SIZE[0] / 2, DETAIL * 8), title, "ma", size=14)
        self.text((DETAIL * (LEFT + SIZE[0] - RIGHT) / 2, DETAIL * (SIZE[1] - 6)), x_label, "md")
        self.sideways(y_label)

    def sideways(self, label: str) -> None:
        """The label of the y axis, read upwards."""
        height = DETAIL * (SIZE[1] - TOP - BOTTOM)
        strip = Image.new("RGB", (height, DETAIL * 18), "white")
        ImageDraw.Draw(strip).text(
            (height / 2, DETAIL * 9), label, INK, _font(12), anchor="mm", align="center"
        )
        self.picture.paste(strip.rotate(90, expand=True), (DETAIL * 4, DETAIL * TOP))

    def band(self, line: Line, colour: str) -> None:
        rows = zip(line.x, line.low, line.high, strict=False)
        known = [row for row in rows if np.isfinite(row).all()]
        if len(known) < 2:
            return
        there = [self.at(x, high) for x, _, high in known]
        back = [self.at(x, low) for x, low, _ in reversed(known)]
        self.draw.polygon([*there, *back], fill=colour + "30")

    def line(self, line: Line, colour: str) -> None:
        points = [
            self.at(x, y) for x, y in zip(line.x, line.y, strict=True) if np.isfinite([x, y]).all()
        ]
        self.draw.line(points, colour, 2 * DETAIL, joint="curve")
        for x, y in points:
            self.draw.circle((x, y), 3 * DETAIL, colour)

    def legend(self, lines: Sequence[Line]) -> None:
        """Names in the colours of their lines, beside an edge where they hide the fewest points."""
        if len(lines) < 2:
            return
        width = 34 + max(_font(12).getlength(line.name) for line in lines) / DETAIL
        height = 16 * len(lines)
        x, y = min(
            self._places(width, height), key=lambda at: self._hidden(lines, *at, width, height)
        )
        for row, (line, colour) in enumerate(zip(lines, COLOURS, strict=False)):
            left, middle = DETAIL * x, DETAIL * (y + 8 + 16 * row)
            self.draw.line([(left, middle), (left + DETAIL * 18, middle)], colour, 3 * DETAIL)
            self.text((left + DETAIL * 24, middle), line.name, "lm")

    def _places(self, width: float, height: float) -> list[tuple[float, float]]:
        """Where a box of this size can begin, in pixels of the final picture."""
        right, bottom = SIZE[0] - RIGHT - width - 8, SIZE[1] - BOTTOM - height - 8
        middle = (TOP + SIZE[1] - BOTTOM - height) / 2
        return [(x, y) for y in (TOP + 4, bottom, middle) for x in (LEFT + 10, right)]

    def _hidden(
        self, lines: Sequence[Line], x: float, y: float, width: float, height: float
    ) -> int:
        """How many points of lines and bands' edges a box at (x, y) would hide."""
        hidden = 0
        curves = [(one.x, v) for one in lines for v in (one.y, one.low, one.high) if len(v)]
        for places, values in curves:
            dense = np.linspace(places[0], places[-1], 50)
            for point in zip(dense, np.interp(dense, places, values), strict=True):
                right, down = (side / DETAIL for side in self.at(*point))
                hidden += x <= right <= x + width and y <= down <= y + height
        return hidden

    def text(
        self,
        place: tuple[float, float],
        text: str,
        anchor: str,
        size: int = 12,
        offset: tuple[int, int] = (0, 0),
    ) -> None:
        x, y = (p + DETAIL * o for p, o in zip(place, offset, strict=True))
        self.draw.text((x, y), text, INK, _font(size), anchor=anchor)


def _range(values: Iterable[float], margin: float = 0.0) -> tuple[float, float]:
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        raise ValueError("no finite value to draw")
    low, high = min(finite), max(finite)
    more = (high - low) * margin or (0 if high > low else abs(high) * 0.1 or 1.0)
    return low - more, high + more


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(DETAIL * size)
