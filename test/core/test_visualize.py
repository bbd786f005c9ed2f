import cv2
import numpy as np
import pytest
import torch

from jointseg_core.classes import CITYSCAPES
from jointseg_core.predictions import Masks, Predictions
from jointseg_core.visualize import colorize, draw, instance_colors

SIZE = (120, 200)


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)


def one_car(masks: bool = True, score: float = 0.9, **planes: torch.Tensor) -> Predictions:
    bitmap = torch.zeros(1, *SIZE, dtype=torch.bool)
    bitmap[0, 60:100, 50:150] = True
    return Predictions(
        SIZE,
        torch.tensor([[40.0, 50.0, 160.0, 110.0]]),
        torch.tensor([score]),
        torch.tensor([CITYSCAPES.things.index("car")]),
        Masks.from_bitmaps(bitmap) if masks else None,
        **planes,
    )


def changed(image: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    return (image != drawn).any(2)


def test_drawing_returns_a_new_picture_and_leaves_the_image_as_it_was():
    image = picture()
    before = image.copy()
    drawn = draw(image, one_car(), CITYSCAPES)
    assert (image == before).all()
    assert drawn.shape == image.shape and drawn.dtype == np.uint8
    assert not np.shares_memory(image, drawn)


def test_a_read_only_image_can_be_drawn_on():
    image = picture()
    image.flags.writeable = False
    assert changed(image, draw(image, one_car(), CITYSCAPES)).any()


def test_only_the_object_and_its_caption_just_above_the_box_change():
    image = picture()
    touched = changed(image, draw(image, one_car(), CITYSCAPES))
    rows, columns = np.nonzero(touched)
    assert columns.min() == 40 and columns.max() == 159 and rows.max() == 109
    assert 30 <= rows.min() < 50
    assert touched[65:95, 55:145].mean() > 0.9  # the tinted mask
    assert not touched[52:58, 42:48].any()  # inside the box, beside the mask


def test_the_box_lies_on_the_outermost_pixels_that_belong_to_it():
    image = np.zeros((*SIZE, 3), np.uint8)
    touched = changed(image, draw(image, one_car(masks=False), CITYSCAPES))
    assert touched[50:110, 40].all() and touched[50:110, 159].all() and touched[109, 40:160].all()
    assert not touched[110:].any() and not touched[:, 160:].any()


def test_the_mask_is_tinted_with_the_given_opacity():
    image = np.full((*SIZE, 3), 100, np.uint8)
    color = instance_colors(np.array([2]), np.zeros((1, 4)), CITYSCAPES)[0].astype(float)
    drawn = draw(image, one_car(), CITYSCAPES, alpha=0.25)
    assert np.abs(drawn[80, 100] - (75 + 0.25 * color)).max() <= 1


def test_nothing_seen_gives_an_equal_picture():
    image = picture()
    assert (draw(image, Predictions.empty(SIZE), CITYSCAPES) == image).all()


def test_objects_below_the_score_are_not_shown():
    image = picture()
    assert (draw(image, one_car(score=0.29), CITYSCAPES) == image).all()
    assert changed(image, draw(image, one_car(score=0.29), CITYSCAPES, min_score=0.2)).any()


def test_the_class_map_is_blended_and_unlabelled_pixels_keep_their_colour():
    image = np.full((*SIZE, 3), 50, np.uint8)
    semantic = torch.full(SIZE, 255, dtype=torch.uint8)
    semantic[:60] = CITYSCAPES.semantic.index("sky")
    predictions = Predictions.empty(SIZE)
    seen = Predictions(
        SIZE, predictions.boxes, predictions.scores, predictions.labels, None, semantic
    )
    drawn = draw(image, seen, CITYSCAPES, alpha=0.5)
    assert np.abs(drawn[10, 10] - (25 + np.array([70, 130, 180]) / 2)).max() <= 1
    assert (drawn[60:] == 50).all()


def test_a_mask_shows_the_image_and_not_the_class_map_or_masks_below_it():
    image = picture()
    semantic = torch.full(SIZE, CITYSCAPES.semantic.index("sky"), dtype=torch.uint8)
    alone = draw(image, one_car(), CITYSCAPES)
    mapped = draw(image, one_car(semantic=semantic), CITYSCAPES)
    assert (alone[65:95, 55:145] == mapped[65:95, 55:145]).all()
    car = one_car()
    twice = Predictions(
        SIZE,
        car.boxes.repeat(2, 1),
        torch.tensor([0.9, 0.4]),
        torch.tensor([car.labels[0], CITYSCAPES.things.index("person")]),
        car.masks[[0, 0]],
    )
    assert (draw(image, twice, CITYSCAPES)[65:95, 55:145] == alone[65:95, 55:145]).all()


@pytest.mark.parametrize("name", CITYSCAPES.things)
def test_lines_can_be_seen_on_a_dark_street_whatever_the_class(name: str):
    car = one_car(masks=False)
    label = torch.tensor([CITYSCAPES.things.index(name)])
    seen = Predictions(SIZE, car.boxes, car.scores, label)
    line = draw(np.zeros((*SIZE, 3), np.uint8), seen, CITYSCAPES)[80, 40]
    assert line @ np.array([0.299, 0.587, 0.114]) > 118


def whole_captions(height: int, labels: list[int], center: tuple[int, int]) -> list[bool]:
    """Whether the captions of objects with the same small box are all whole in the picture."""
    size, (x, y) = (height, height * 16 // 9), center
    image = np.zeros((*size, 3), np.uint8)

    def drawn(chosen: list[int], x: float, y: float, half: float) -> np.ndarray:
        boxes = torch.tensor([[x - half, y - half, x + half, y + half]] * len(chosen))
        scores = torch.full((len(chosen),), 0.5)
        return draw(image, Predictions(size, boxes, scores, torch.tensor(chosen)), CITYSCAPES)

    def whole(label: int) -> bool:
        alone = drawn([label], 9, height // 2, 0)[: height // 2]
        rows, columns = np.nonzero(alone.any(2))
        tile = alone[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        near = together[max(0, y - 5 * len(tile)) :][: 10 * len(tile)]
        near = near[:, max(0, x - tile.shape[1] - 9) :][:, : 2 * tile.shape[1] + 18]
        misfit = cv2.matchTemplate(near, tile, cv2.TM_SQDIFF_NORMED)
        return bool(misfit.min() < 1e-4)  # it computes in single precision

    together = drawn(labels, x, y, 4)
    return [whole(label) for label in labels]


@pytest.mark.parametrize("height", [480, 1080])
def test_captions_of_objects_in_one_place_stand_side_by_side(height: int):
    assert whole_captions(height, [0, 1, 2, 3, 4, 5, 6], (height, height // 2)) == [True] * 7


@pytest.mark.parametrize("corner", [(0, 0), (0, 479), (852, 0), (852, 479)])
def test_a_caption_in_a_corner_stays_whole_inside_the_image(corner: tuple[int, int]):
    assert whole_captions(480, [6], corner) == [True]


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (7, 13), (480, 640), (2160, 3840)])
def test_any_size_can_be_drawn_on(size: tuple[int, int]):
    height, width = size
    seen = Predictions(
        size,
        torch.tensor([[0.0, 0.0, width, height], [-5.0, -5.0, width + 9.0, height + 9.0]]),
        torch.tensor([0.9, 0.8]),
        torch.tensor([7, 6]),
        Masks.from_bitmaps(torch.ones(2, *size, dtype=torch.bool)),
    )
    image = np.zeros((*size, 3), np.uint8)
    assert draw(image, seen, CITYSCAPES).any()


def test_two_objects_of_a_class_have_different_colours_and_one_does_not_depend_on_the_score_order():
    boxes = np.array([[50, 0, 60, 9], [10, 0, 20, 9], [30, 0, 40, 9]], float)
    labels = np.array([2, 2, 0])
    colors = instance_colors(labels, boxes, CITYSCAPES)
    assert len({tuple(c) for c in colors.tolist()}) == 3
    swapped = instance_colors(labels[[1, 0, 2]], boxes[[1, 0, 2]], CITYSCAPES)
    assert (swapped == colors[[1, 0, 2]]).all()


def test_an_image_of_the_wrong_kind_or_size_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match=r"float32.*expected uint8 \[H, W, 3\]"):
        draw(picture().astype(np.float32), one_car(), CITYSCAPES)
    with pytest.raises(ValueError, match=r"\(60, 200\).*\(120, 200\)"):
        draw(picture()[:60], one_car(), CITYSCAPES)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_colorize_gives_each_label_its_colour_and_the_unknown_black(dtype: type):
    labels = np.array([[0, 1], [18, 255]], dtype)
    colors = CITYSCAPES.semantic_colors
    expected = np.stack([colors[0], colors[1], colors[18], np.zeros(3, np.uint8)]).reshape(2, 2, 3)
    assert (colorize(labels, colors) == expected).all()
    with pytest.raises(ValueError, match="expected"):
        colorize(labels[0], colors)
