"""Pictures show what they were given; what they are made from follows closed forms."""

import math

import numpy as np
import pytest
import torch

from jointseg_core import Target
from training.ablations.charts import COLOURS, SIZE, Line, line_chart
from training.ablations.representations import best_anchors, principal_components
from training.ablations.sheet import sheet


def test_a_chart_shows_each_line_in_its_colour():
    lines = [Line("a", [0, 1, 2], [1, 2, 3], [0, 1, 2], [2, 3, 4]), Line("b", [0, 2], [3, 1])]
    picture = line_chart("title", "x", "y", lines)
    assert picture.size == SIZE
    shown = {"#" + bytes(colour).hex().upper() for _, colour in picture.getcolors(10**6)}
    assert set(COLOURS[:2]) <= shown and COLOURS[2] not in shown


def test_a_chart_of_unknown_numbers_is_refused_and_unknown_points_are_left_out():
    with pytest.raises(ValueError, match="no finite value"):
        line_chart("", "", "", [Line("a", [0, 1], [math.nan, math.nan])])
    line_chart("", "", "", [Line("a", [0, 1, 2], [1.0, math.nan, 2.0], [math.nan] * 3)])


def test_cells_of_a_sheet_lie_in_rows_and_columns_and_keep_their_colours():
    colours = [[(200, 0, 0), (0, 200, 0)], [(0, 0, 200), (200, 0, 200)]]
    cells = [[np.full((40, 60, 3), colour, np.uint8) for colour in line] for line in colours]
    cells[1][1] = cells[1][1][:2, :3]  # enlarged
    found = np.asarray(sheet(cells, ("a", "b"), ("c", "d"), [("e", (250, 250, 0))]))
    places = [[np.argwhere((found == c).all(2)) for c in line] for line in colours]
    for line in places:
        assert line[0][:, 1].max() < line[1][:, 1].min()  # one beside the other
        assert all(len(place) > 1000 for place in line)
    for column in (0, 1):
        assert places[0][column][:, 0].max() < places[1][column][:, 0].min()
    legend = np.argwhere((found == (250, 250, 0)).all(2))
    assert legend[:, 0].min() > places[1][0][:, 0].max()


def test_components_are_the_directions_of_the_largest_spreads():
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q[:, :3]
    values = torch.randn(4000, 3, generator=generator) * torch.tensor([9.0, 3.0, 1.0])
    found = principal_components(values @ directions.T + 5)
    agreement = (found.directions.T @ directions).abs()
    assert torch.allclose(agreement, torch.eye(3), atol=0.05)
    colours = found.colours(values @ directions.T + 5)
    assert colours.dtype == np.uint8 and colours.min() == 0 and colours.max() == 255


def test_an_object_is_shown_by_its_surest_anchor():
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 0, 40, 20]])
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 40, 20], [50, 50, 60, 60]])
    target = Target(boxes, torch.tensor([1, 0]), torch.zeros(2, 64, 64, dtype=torch.bool))
    logits = torch.tensor([[9.0, 0.0], [0.0, 1.0], [-5.0, 9.0], [99.0, 99.0]])
    assert best_anchors(logits, anchors, target).tolist() == [1, 2]
    assert best_anchors(logits, anchors, target[torch.zeros(2, dtype=torch.bool)]).shape == (0,)
