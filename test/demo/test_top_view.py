"""The street from above shows things where they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from demo.top_view import BACKGROUND, REACH, TopView
from jointseg_core.classes import CITYSCAPES
from jointseg_eval.recordings.messages import detections_3d_message, header_message

SIZE = (240, 480)  # eight pixels a metre


def objects(x: float, z: float, turn: float = 0.0, score: float = 0.9, name: str = "car") -> Any:
    solid = (x, 0.5, z + 2), (2.0, 1.5, 4.0), turn
    message = detections_3d_message(
        header_message(1, "camera"), [name], ["7"], [(x, 0, z)], [solid]
    )
    message.detections[0].results[0].hypothesis.score = score
    return message


def touched(view: TopView) -> np.ndarray:
    """Which pixels are not as on an empty plan."""
    return (view.picture != TopView(SIZE).picture).any(2)


def test_a_true_box_has_its_outline_where_it_is() -> None:
    view = TopView(SIZE)
    view.add_truth(objects(5.0, 20.0))
    rows, columns = touched(view).nonzero()
    scale = SIZE[1] / REACH
    assert (columns.min(), columns.max()) == pytest.approx((20 * scale, 24 * scale), abs=1)
    assert (rows.min(), rows.max()) == pytest.approx((120 + 4 * scale, 120 + 6 * scale), abs=1)
    assert (view.picture[round(120 + 5 * scale), round(22 * scale)] == BACKGROUND).all()


def test_a_turned_box_is_drawn_turned() -> None:
    view = TopView(SIZE)
    view.add_truth(objects(0.0, 20.0, np.pi / 2))
    rows, columns = touched(view).nonzero()
    assert (np.ptp(columns), np.ptp(rows)) == pytest.approx((16, 32), abs=2)


def test_what_was_found_is_in_the_colour_of_its_class_and_what_is_unsure_is_not_shown() -> None:
    view = TopView(SIZE)
    view.add_found(objects(-3.0, 30.0), CITYSCAPES)
    view.add_found(objects(3.0, 30.0, name="person"), CITYSCAPES)
    car, person = view.picture[120 - 24, 240], view.picture[120 + 24, 240]
    assert car.argmax() == 2 and person.argmax() == 0  # blue and red
    nobody = TopView(SIZE)
    nobody.add_found(objects(3.0, 30.0, score=0.2), CITYSCAPES)
    assert not touched(nobody).any()


def test_what_is_out_of_view_costs_nothing() -> None:
    view = TopView(SIZE)
    view.add_truth(objects(200.0, 900.0))
    assert not touched(view).any()
