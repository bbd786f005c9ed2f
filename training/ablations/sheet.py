"""Pictures in a grid, with titles above its columns and beside its rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from training.ablations.charts import DPI, picture_of


def sheet(
    cells: Sequence[Sequence[np.ndarray]],
    columns: Sequence[str],
    rows: Sequence[str] = (),
    footer: Sequence[tuple[str, tuple[int, int, int]]] = (),
) -> Image.Image:
    """Cells uint8 RGB [H, W, 3], row by row; all are drawn in the size of the first, enlarged ones
    with sharp edges.

    footer: what colours mean, a text and its colour each.
    """
    height, width = cells[0][0].shape[:2]
    size = (width * len(columns) + 100) / DPI, (height * len(cells) + 60) / DPI
    figure = Figure(size, DPI, layout="constrained")
    grid = figure.subplots(len(cells), len(columns), squeeze=False)
    for axes, cell in zip(grid.flat, (cell for line in cells for cell in line), strict=True):
        axes.imshow(cell, interpolation="nearest", aspect="auto")
        axes.set(xticks=[], yticks=[])
    for axes, title in zip(grid[0], columns, strict=True):
        axes.set_title(title)
    for axes, title in zip(grid[:, 0], rows, strict=False):
        axes.set_ylabel(title)
    if footer:
        patches = [Patch(color=np.divide(colour, 255), label=text) for text, colour in footer]
        figure.legend(handles=patches, loc="outside lower center", ncols=len(footer))
    return picture_of(figure)
