"""Pictures in a grid, with titles above its columns and beside its rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAP, TITLE, SIDE = 6, 24, 92
"""Pixels between cells, above the grid, and to its left where rows have titles."""
INK = "#222222"


def sheet(
    cells: Sequence[Sequence[np.ndarray]],
    columns: Sequence[str],
    rows: Sequence[str] = (),
    footer: Sequence[tuple[str, tuple[int, int, int]]] = (),
) -> Image.Image:
    """Cells uint8 RGB [H, W, 3], all of one size, row by row.

    footer: what colours mean, a text and its colour each.
    """
    height, width = cells[0][0].shape[:2]
    left = SIDE if rows else GAP
    size = (
        left + len(columns) * (width + GAP),
        TITLE + len(cells) * (height + GAP) + (TITLE if footer else 0),
    )
    picture = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for number, title in enumerate(columns):
        x = left + number * (width + GAP) + width / 2
        draw.text((x, TITLE / 2), title, INK, font, anchor="mm")
    for number, title in enumerate(rows):
        y = TITLE + number * (height + GAP) + height / 2
        draw.multiline_text((SIDE / 2, y), title, INK, font, anchor="mm", align="center")
    for row, line in enumerate(cells):
        for column, cell in enumerate(line):
            place = left + column * (width + GAP), TITLE + row * (height + GAP)
            picture.paste(Image.fromarray(cell), place)
    _explain(draw, footer, left, size[1] - TITLE / 2, font)
    return picture


def _explain(
    draw: ImageDraw.ImageDraw,
    footer: Sequence[tuple[str, tuple[int, int, int]]],
    x: float,
    y: float,
    font: ImageFont.FreeTypeFont,
) -> None:
    for text, colour in footer:
        draw.rectangle((x, y - 6, x + 12, y + 6), fill=colour, outline=INK)
        draw.text((x + 18, y), text, INK, font, anchor="lm")
        x += 18 + font.getlength(text) + 24


def enlarged(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 RGB [h, w, 3] as [H, W, 3], its cells with sharp edges."""
    image = Image.fromarray(picture).resize(size[::-1], Image.Resampling.NEAREST)
    return np.asarray(image)
