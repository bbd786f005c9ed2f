"""Where camera pixels and network pixels meet."""

import numpy as np
import pytest
import torch

from jointseg_core import Letterbox, Preprocessing


@pytest.mark.parametrize(
    ("image", "content"),
    [
        ((256, 512), (256, 512)),
        ((540, 960), (256, 455)),
        ((480, 640), (256, 341)),
        ((1000, 10), (256, 3)),
    ],
)
def test_the_image_keeps_its_shape_inside_the_input(image, content):
    assert Letterbox(image, (256, 512)).content_size == content


def test_a_stretched_image_fills_the_input_and_comes_back():
    frame = Preprocessing((550, 550), keep_ratio=False).frame((1024, 2048))
    assert frame.content_size == (550, 550)
    assert frame.scale == (550 / 1024, 550 / 2048)
    boxes = frame.to_image(torch.tensor([[0.0, 0, 550, 550], [55, 110, 110, 275]]))
    torch.testing.assert_close(boxes[0], torch.tensor([0.0, 0, 2048, 1024]))
    torch.testing.assert_close(boxes[1], torch.tensor([204.8, 204.8, 409.6, 512]))
    cells = torch.arange(138.0)[:, None].repeat(1, 138)[None]  # value = row, stride 4
    (crop,) = frame.sample(cells, 4, torch.tensor([[3, 500, 5, 503]]))
    rows = (torch.arange(500, 503) + 0.5) * 550 / 1024 / 4 - 0.5
    torch.testing.assert_close(crop, rows[:, None].expand(3, 2))
    inputs, _ = Preprocessing((40, 40), keep_ratio=False).batch(
        [np.full((20, 80, 3), 99, np.uint8)]
    )
    assert inputs.shape == (1, 3, 40, 40) and inputs[0, 0].unique().numel() == 1


def test_boxes_come_back_to_the_camera_and_are_clipped():
    frame = Letterbox((512, 1024), (256, 512))
    boxes = frame.to_image(torch.tensor([[10.0, 20, 30, 40], [-5, -5, 600, 300]]))
    assert boxes.tolist() == [[20, 40, 60, 80], [0, 0, 1024, 512]]


def test_sampling_a_ramp_returns_the_ramp_at_camera_pixel_centres():
    frame = Letterbox((100, 200), (64, 128))
    cells = torch.arange(32.0).repeat(16, 1)[None]  # value = column, stride 4
    (crop,) = frame.sample(cells, 4, torch.tensor([[10, 20, 151, 22]]))
    assert crop.shape == (2, 141)
    torch.testing.assert_close(crop[0], (torch.arange(10, 151) + 0.5) * 0.64 / 4 - 0.5)


def test_sampling_and_resizing_agree_everywhere():
    torch.manual_seed(0)
    frame = Letterbox((50, 90), (64, 128))
    maps = torch.randn(3, 16, 32)
    resized = frame.resize(maps, 4)
    assert resized.shape == (3, 50, 90)
    windows = torch.tensor([[0, 0, 90, 50], [3, 5, 20, 9], [7, 7, 7, 7]])
    crops = frame.sample(maps, 4, windows)
    for whole, crop, (x1, y1, x2, y2) in zip(resized, crops, windows.tolist(), strict=True):
        torch.testing.assert_close(crop, whole[y1:y2, x1:x2], atol=1e-4, rtol=1e-4)


def test_padding_is_neutral_and_pixels_are_normalised():
    pre = Preprocessing((64, 64), mean=(10, 20, 30), std=(2, 4, 5))
    image = np.full((32, 64, 3), (12, 28, 20), np.uint8)
    inputs, (frame,) = pre.batch([image])
    assert frame.content_size == (32, 64)
    torch.testing.assert_close(inputs[0, :, 5, 5], torch.tensor([1.0, 2.0, -2.0]))
    assert inputs[0, :, 40:].abs().max() == 0


def test_images_of_different_sizes_share_a_batch():
    images = [np.zeros((30, 40, 3), np.uint8), np.zeros((200, 100, 3), np.uint8)]
    inputs, frames = Preprocessing((64, 96)).batch(images)
    assert inputs.shape == (2, 3, 64, 96)
    assert [frame.image_size for frame in frames] == [(30, 40), (200, 100)]


def test_a_read_only_image_is_left_alone():
    image = np.zeros((32, 32, 3), np.uint8)
    image.flags.writeable = False
    Preprocessing((32, 32)).batch([image])


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
)
def test_anything_but_an_rgb_picture_is_refused(image):
    with pytest.raises(ValueError, match=r"expected uint8 \[H, W, 3\] RGB"):
        Preprocessing((32, 32)).batch([image])


def test_input_sides_are_multiples_of_32():
    with pytest.raises(ValueError, match="multiples of 32"):
        Preprocessing((100, 64))


@pytest.mark.parametrize(
    ("image", "sides", "content", "size"),
    [
        ((480, 640), (800, 1333), (800, 1067), (800, 1088)),
        ((640, 480), (800, 1333), (1067, 800), (1088, 800)),
        ((400, 2000), (800, 1333), (267, 1333), (288, 1344)),
        ((427, 640), (600, 1000), (600, 899), (608, 928)),
    ],
)
def test_by_sides_an_image_is_as_large_whether_wide_or_tall(image, sides, content, size):
    pre = Preprocessing(sides, by_sides=True)
    frame = pre.frame(image)
    assert (frame.content_size, pre.size_of([frame])) == (content, size)
    assert frame.scale == (content[0] / image[0], content[1] / image[1])


def test_by_sides_a_batch_is_as_large_as_its_largest_image_needs():
    pre = Preprocessing((40, 70), mean=(10, 20, 30), std=(2, 4, 5), by_sides=True)
    images = [np.full((*size, 3), (12, 28, 20), np.uint8) for size in ((20, 30), (36, 20))]
    inputs, (wide, tall) = pre.batch(images)
    assert inputs.shape == (2, 3, 96, 64)  # of 40 x 60 and 70 x 39
    assert (wide.content_size, tall.content_size) == ((40, 60), (70, 39))
    for one, frame in zip(inputs, (wide, tall), strict=True):
        height, width = frame.content_size
        torch.testing.assert_close(one[:, height - 1, width - 1], torch.tensor([1.0, 2.0, -2.0]))
        assert one[:, height:].abs().max() == one[:, :, width:].abs().max() == 0
    boxes = torch.tensor([[0.0, 0, 39, 70], [50, 0, 60, 40]])
    assert tall.to_image(boxes)[0].tolist() == pytest.approx([0, 0, 20, 36])
    assert wide.to_image(boxes)[1].tolist() == pytest.approx([25, 0, 30, 20])


def test_sides_are_the_short_one_and_the_long_one_of_images_that_keep_their_ratio():
    for sides, keep_ratio in (((1333, 800), True), ((550, 550), False), ((0, 800), True)):
        with pytest.raises(ValueError, match="input_size is"):
            Preprocessing(sides, keep_ratio=keep_ratio, by_sides=True)
