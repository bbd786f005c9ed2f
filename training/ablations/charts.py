"""Line charts with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

SIZE = (560, 340)
"""Width and height in pixels."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Told apart also by people who see few colours (Okabe and Ito)."""
DPI = 100


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
    """The lines in one RGB picture of SIZE; with zero the y axis shows 0.

    Values that are not finite are left out. ValueError where nothing remains.
    """
    if not any(np.isfinite(line.y).any() for line in lines):
        raise ValueError("no finite value to draw")
    figure = Figure((SIZE[0] / DPI, SIZE[1] / DPI), DPI, layout="constrained")
    axes = figure.add_subplot(title=title, xlabel=x_label, ylabel=y_label)
    axes.grid(axis="y")
    for line, colour in zip(lines, COLOURS, strict=False):
        x, y = np.array(line.x, float), np.array(line.y, float)
        known = np.isfinite(y)
        axes.plot(x[known], y[known], "o-", color=colour, label=line.name, markersize=4)
        if len(line.high):
            axes.fill_between(x, line.low, line.high, color=colour, alpha=0.2, linewidth=0)
    if zero:
        axes.axhline(0, color="black", linewidth=1)
    if len(lines) > 1:
        axes.legend(frameon=False)
    return picture_of(figure)


def picture_of(figure: Figure) -> Image.Image:
    """A figure as RGB pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
