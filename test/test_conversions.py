"""Every encoding gives the same picture, bad images are refused, results survive the trip."""

import array
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

pytest.importorskip("jointseg_ros.msg", reason="the messages of jointseg_ros are not built")

from PIL import Image as Picture
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from jointseg_core import CITYSCAPES, Masks, PanopticFusion, Predictions
from jointseg_core.errors import BadImage
from jointseg_core.visualize import instance_colors
from jointseg_ros import conversions
from jointseg_ros.images import LAYOUTS, compressed_to_rgb, image_to_rgb
from jointseg_ros.msg import InstanceMask, PanopticSegmentArray

HEADER = Header(frame_id="camera_optical")
HEADER.stamp.sec, HEADER.stamp.nanosec = 12, 345678901
ROWS, COLUMNS = np.mgrid[0:7, 0:12]
COLUMNS = COLUMNS // 2 * 2  # pairs of equal pixels: what the 4:2:2 kinds can hold
PICTURE = np.stack([30 + 15 * COLUMNS, 20 + 25 * ROWS, 200 - 10 * COLUMNS], 2).astype(np.uint8)
GRAY = PICTURE[..., 1]


def message(encoding: str, samples: np.ndarray, padding: int = 0, **fields) -> Image:
    """An image of bytes [H, W, bytes per pixel], each row followed by some bytes of rubbish."""
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1)
    rows = np.hstack([rows, np.full((height, padding), 171, np.uint8)])
    given = {"height": height, "width": width, "step": rows.shape[1], "data": rows.tobytes()}
    return Image(header=HEADER, encoding=encoding, **(given | fields))


def chroma(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Y, U, V of RGB by BT.601 in the range of video, 16 to 235."""
    r, g, b = np.moveaxis(pairs.astype(float), 2, 0)
    y = 16 + (65.738 * r + 129.057 * g + 25.064 * b) / 256
    u = 128 + (-37.945 * r - 74.494 * g + 112.439 * b) / 256
    v = 128 + (112.439 * r - 94.154 * g - 18.285 * b) / 256
    return y.round(), u.round(), v.round()


def uyvy(picture: np.ndarray) -> np.ndarray:
    """Bytes [H, W, 2]: U Y V Y of each pair."""
    y, u, v = chroma(picture)
    u[:, 1::2] = v[:, 1::2]
    return np.stack([u, y], 2).astype(np.uint8)


def bayer(picture: np.ndarray, pattern: str) -> np.ndarray:
    """One of three samples of each pixel; the pattern names those of the first two rows."""
    mosaic = np.zeros(picture.shape[:2], np.uint8)
    for place, letter in enumerate(pattern):
        rows, columns = slice(place // 2, None, 2), slice(place % 2, None, 2)
        mosaic[rows, columns] = picture[rows, columns, "rgb".index(letter)]
    return mosaic[..., None]


def alpha(picture: np.ndarray) -> np.ndarray:
    return np.dstack([picture, np.full(picture.shape[:2], 77, np.uint8)])


def of_16_bits(gray: np.ndarray, order: str) -> np.ndarray:
    return (gray.astype(np.uint16) * 256 + 99).astype(f"{order}u2").view(np.uint8).reshape(7, 12, 2)


GRAYS = np.repeat(GRAY[..., None], 3, 2)
BGR = PICTURE[..., ::-1]
ENCODED = {
    "rgb8": (PICTURE, PICTURE, 0),
    "bgr8": (BGR, PICTURE, 0),
    "8UC3": (BGR, PICTURE, 0),
    "rgba8": (alpha(PICTURE), PICTURE, 0),
    "bgra8": (alpha(BGR), PICTURE, 0),
    "mono8": (GRAY[..., None], GRAYS, 0),
    "8UC1": (GRAY[..., None], GRAYS, 0),
    "mono16": (of_16_bits(GRAY, "<"), GRAYS, 0),
    "yuv422": (uyvy(PICTURE), PICTURE, 3),
    "uyvy": (uyvy(PICTURE), PICTURE, 3),
    "yuv422_yuy2": (uyvy(PICTURE)[..., ::-1], PICTURE, 3),
    "yuyv": (uyvy(PICTURE)[..., ::-1], PICTURE, 3),
}


@pytest.mark.parametrize("padding", [0, 20])
@pytest.mark.parametrize("encoding", ENCODED)
def test_every_encoding_of_one_picture_gives_that_picture(encoding: str, padding: int) -> None:
    samples, expected, tolerance = ENCODED[encoding]
    rgb = image_to_rgb(message(encoding, samples, padding))
    assert rgb.shape == (7, 12, 3) and rgb.dtype == np.uint8
    assert np.abs(rgb.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("padding", [0, 20])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_every_bayer_pattern_of_one_colour_gives_that_colour(pattern: str, padding: int) -> None:
    picture = np.full((8, 10, 3), (200, 120, 40), np.uint8)
    rgb = image_to_rgb(message(f"bayer_{pattern}8", bayer(picture, pattern), padding))
    assert rgb.shape == (8, 10, 3)
    assert np.abs(rgb.astype(int) - picture).max() <= 1


def test_every_supported_encoding_is_tried_above() -> None:
    assert {name for name in LAYOUTS if not name.startswith("bayer")} == set(ENCODED)


def test_big_endian_mono16_gives_the_same_picture() -> None:
    rgb = image_to_rgb(message("mono16", of_16_bits(GRAY, ">"), 6, is_bigendian=1))
    assert np.array_equal(rgb, GRAYS)


def test_rgb8_is_a_view_of_the_message() -> None:
    image = message("rgb8", PICTURE, 5)
    assert np.shares_memory(image_to_rgb(image), np.frombuffer(image.data, np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (7, 13)])
@pytest.mark.parametrize("encoding", ["rgb8", "bgra8", "mono8", "mono16"])
def test_pictures_of_odd_sizes_pass(encoding: str, size: tuple[int, int]) -> None:
    depth = ENCODED[encoding][0].shape[2]
    assert image_to_rgb(message(encoding, np.zeros((*size, depth), np.uint8))).shape == (*size, 3)


@pytest.mark.parametrize(
    ("reason", "encoding", "fields"),
    [
        ("step", "rgb8", {"step": 35}),
        ("step", "rgb8", {"step": 0}),
        ("data_size", "rgb8", {"data": bytes(7 * 36 - 1)}),
        ("data_size", "rgb8", {"data": b""}),
        ("data_size", "rgb8", {"height": 8}),
        ("zero_size", "rgb8", {"height": 0}),
        ("zero_size", "rgb8", {"width": 0}),
        ("zero_size", "rgb8", {"height": 0, "width": 0, "step": 0, "data": b""}),
        ("too_large", "rgb8", {"height": 1 << 31, "width": 1 << 31}),
        ("encoding", "foo8", {}),
        ("encoding", "", {}),
        ("encoding", "x" * 10_000, {}),
        ("encoding", "кадр", {}),
        ("encoding", "16UC1", {}),
        ("encoding", "32FC1", {}),
    ],
)
def test_a_bad_image_is_refused_with_its_reason(reason: str, encoding: str, fields: dict) -> None:
    with pytest.raises(BadImage) as refused:
        image_to_rgb(message(encoding, PICTURE, **fields))
    assert refused.value.reason == reason
    assert str(refused.value).isascii() and len(str(refused.value)) < 300


def test_an_odd_width_is_refused_where_pixels_come_in_pairs() -> None:
    with pytest.raises(BadImage) as refused:
        image_to_rgb(message("yuyv", np.zeros((4, 5, 2), np.uint8)))
    assert refused.value.reason == "step"


def photo() -> np.ndarray:
    """A smooth picture with some noise, 64 x 96."""
    noise = np.random.default_rng(3).integers(0, 40, (64, 96, 3))
    return (np.mgrid[0:64, 0:96].sum(0)[..., None] + noise).astype(np.uint8)


def compressed(kind: str, picture: Picture.Image | None = None, **options) -> bytes:
    file = io.BytesIO()
    (picture or Picture.fromarray(photo())).save(file, kind, **options)
    return file.getvalue()


def test_a_png_comes_back_exactly_and_a_jpeg_nearly() -> None:
    png = compressed_to_rgb(CompressedImage(format="rgb8; png compressed", data=compressed("PNG")))
    assert np.array_equal(png, photo())
    jpeg = compressed_to_rgb(CompressedImage(data=compressed("JPEG", quality=98, subsampling=0)))
    assert np.abs(jpeg.astype(int) - photo()).mean() < 3


def test_gray_transparent_and_16_bit_pictures_become_rgb() -> None:
    gray = Picture.fromarray(photo()[..., 0])
    deep = Picture.fromarray(photo()[..., 0].astype(np.uint16) * 256 + 5)
    for picture in (gray, deep):
        rgb = compressed_to_rgb(CompressedImage(data=compressed("PNG", picture)))
        assert np.array_equal(rgb, np.repeat(photo()[..., :1], 3, 2))
    clear = Picture.fromarray(np.dstack([photo(), photo()[..., 0]]))
    assert np.array_equal(
        compressed_to_rgb(CompressedImage(data=compressed("PNG", clear))), photo()
    )


def test_the_orientation_noted_in_a_jpeg_is_ignored() -> None:
    turned = Picture.Exif()
    turned[0x0112] = 6
    jpeg = compressed("JPEG", exif=turned)
    assert compressed_to_rgb(CompressedImage(data=jpeg)).shape == (64, 96, 3)


def bomb() -> bytes:
    """A PNG that says it has 60000 x 60000 pixels."""
    png = bytearray(compressed("PNG"))
    png[16:24] = np.array([60000, 60000], ">u4").tobytes()
    png[29:33] = np.array([__import__("zlib").crc32(bytes(png[12:29]))], ">u4").tobytes()
    return bytes(png)


@pytest.mark.parametrize(
    ("reason", "data"),
    [
        ("undecodable", b""),
        ("undecodable", b"no picture at all"),
        ("undecodable", compressed("JPEG")[:-2]),
        ("undecodable", compressed("JPEG")[: len(compressed("JPEG")) // 2]),
        ("undecodable", compressed("PNG")[: len(compressed("PNG")) // 2]),
        ("undecodable", compressed("PNG").replace(b"IDAT", b"IDAT\xff", 1)),
        ("undecodable", compressed("BMP")),
        ("too_large", bomb()),
    ],
)
def test_a_bad_compressed_image_is_refused_with_its_reason(reason: str, data: bytes) -> None:
    with pytest.raises(BadImage) as refused:
        compressed_to_rgb(CompressedImage(format="jpeg", data=data))
    assert refused.value.reason == reason
    assert str(refused.value).isascii() and "\n" not in str(refused.value)


def test_compressed_depth_is_refused() -> None:
    depth = CompressedImage(format="16UC1; compressedDepth png", data=compressed("PNG"))
    with pytest.raises(BadImage, match="depth"):
        compressed_to_rgb(depth)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 3000))
def test_rubbish_in_a_jpeg_is_refused_or_gives_a_picture(rubbish: bytes, place: int) -> None:
    jpeg = compressed("JPEG")
    data = jpeg[:place] + rubbish + jpeg[place + len(rubbish) :]
    try:
        assert compressed_to_rgb(CompressedImage(data=data)).ndim == 3
    except BadImage as error:
        assert error.reason in ("undecodable", "zero_size", "too_large")


# Results


def predictions(masks: list[np.ndarray], size: tuple[int, int] = (6, 8)) -> Predictions:
    """Objects with these full-size masks, best first, and a semantic map."""
    count = len(masks)
    bitmaps = torch.from_numpy(np.stack(masks)) if count else torch.zeros(0, *size).bool()
    return Predictions(
        size,
        boxes=torch.tensor([[1.0, 2.0, 5.0, 4.5]]).repeat(count, 1),
        scores=torch.linspace(0.9, 0.5, count),
        labels=torch.arange(count) % 8,
        masks=Masks.from_bitmaps(bitmaps),
        semantic=torch.arange(48).view(6, 8).byte() % 19 if size == (6, 8) else None,
        confidence=torch.linspace(0, 1, 48).view(6, 8) if size == (6, 8) else None,
        foreground=torch.arange(48).view(6, 8) > 24 if size == (6, 8) else None,
    )


def rectangle(x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
    mask = np.zeros((6, 8), bool)
    mask[y1:y2, x1:x2] = True
    return mask


def test_detections_say_what_was_seen() -> None:
    result = conversions.detections_message(
        HEADER, predictions([rectangle(1, 2, 5, 4)]), CITYSCAPES
    )
    [detection] = result.detections
    center = detection.bbox.center.position
    assert result.header == HEADER and detection.header == HEADER
    assert (center.x, center.y, detection.bbox.size_x, detection.bbox.size_y) == (3, 3.25, 4, 2.5)
    assert detection.results[0].hypothesis.class_id == "person"
    assert detection.results[0].hypothesis.score == pytest.approx(0.9)
    assert detection.id == ""


def test_the_class_can_be_a_number() -> None:
    seen = predictions([rectangle(1, 2, 5, 4)])
    result = conversions.detections_message(HEADER, seen, CITYSCAPES, "id")
    assert result.detections[0].results[0].hypothesis.class_id == "0"


def test_nothing_seen_gives_empty_messages_with_the_header() -> None:
    nothing = predictions([])
    detections = conversions.detections_message(HEADER, nothing, CITYSCAPES)
    masks = conversions.instance_masks_message(HEADER, nothing)
    assert detections.header == masks.header == HEADER
    assert len(detections.detections) == len(masks.masks) == 0
    assert (masks.height, masks.width) == (6, 8)
    assert not np.any(np.frombuffer(conversions.instance_labels_message(HEADER, nothing).data))


def test_the_runs_of_a_small_mask_are_those_counted_by_hand() -> None:
    mask = np.array([[0, 1, 1, 0], [1, 1, 0, 0]], bool)
    assert conversions.run_lengths(mask).tolist() == [1, 2, 1, 2, 2]
    assert conversions.run_lengths(~mask).tolist() == [0, 1, 2, 1, 2, 2]
    assert conversions.run_lengths(np.zeros((0, 5), bool)).tolist() == []


def test_a_noisy_mask_is_sent_as_bits_and_a_smooth_one_as_runs() -> None:
    noisy = np.indices((40, 40)).sum(0) % 2 == 0
    smooth = np.ones((40, 40), bool)
    sent = conversions.instance_masks_message(HEADER, predictions([noisy, smooth], (40, 40)))
    assert sent.masks[0].encoding == InstanceMask.ENCODING_BITMAP
    assert len(sent.masks[0].bitmap) == 200 and not sent.masks[0].rle
    assert sent.masks[0].bitmap[0] == 0b10101010
    assert sent.masks[1].encoding == InstanceMask.ENCODING_RLE
    assert list(sent.masks[1].rle) == [0, 1600] and not sent.masks[1].bitmap


@settings(max_examples=200, deadline=None)
@given(
    array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=20).flatmap(
        lambda shape: arrays(bool, (shape[0] % 4, *shape[1:]))
    )
)
def test_masks_survive_the_trip_bit_by_bit(bitmaps: np.ndarray) -> None:
    size = bitmaps.shape[1:]
    sent = conversions.instance_masks_message(HEADER, predictions(list(bitmaps), size))
    received = conversions.masks_from_message(sent)
    assert np.array_equal(received.bitmaps(size).numpy(), bitmaps)
    for mask in sent.masks:
        roi = mask.roi
        assert 4 * len(mask.rle) + len(mask.bitmap) <= (roi.height * roi.width + 7) // 8


def test_masks_point_at_their_detections() -> None:
    seen = predictions([rectangle(0, 0, 3, 3), rectangle(2, 2, 8, 6)])
    sent = conversions.instance_masks_message(HEADER, seen)
    assert [mask.detection_index for mask in sent.masks] == [0, 1]
    assert [mask.class_id for mask in sent.masks] == [0, 1]
    roi = sent.masks[1].roi
    assert (roi.x_offset, roi.y_offset, roi.width, roi.height) == (2, 2, 6, 4)


@pytest.mark.parametrize(
    "damage",
    [
        {"rle": array.array("I", [1, 2])},
        {"rle": array.array("I", [2**32 - 1, 13])},
        {"encoding": InstanceMask.ENCODING_BITMAP, "bitmap": b"\0"},
        {"rle": array.array("I", [])},
    ],
)
def test_runs_or_bits_that_do_not_fill_the_window_are_refused(damage: dict) -> None:
    sent = conversions.instance_masks_message(HEADER, predictions([rectangle(1, 1, 5, 4)]))
    sent.masks[0].encoding, sent.masks[0].rle = InstanceMask.ENCODING_RLE, array.array("I", [0, 12])
    conversions.masks_from_message(sent)
    for name, value in damage.items():
        setattr(sent.masks[0], name, value)
    with pytest.raises(ValueError, match="does not fill its window of 3 x 4"):
        conversions.masks_from_message(sent)


def test_a_window_outside_the_image_is_refused() -> None:
    sent = conversions.instance_masks_message(HEADER, predictions([rectangle(1, 1, 5, 4)]))
    sent.width = 4
    with pytest.raises(ValueError, match="the image at"):
        conversions.masks_from_message(sent)


def pixels(image: Image) -> np.ndarray:
    """The samples of a message, read by the book."""
    kind = {"mono8": "u1", "mono16": "<u2", "rgb8": "u1"}[image.encoding]
    rows = np.frombuffer(image.data, np.uint8).reshape(image.height, image.step)
    return np.squeeze(rows.view(kind).reshape(image.height, image.width, -1))


def test_where_masks_overlap_the_best_object_wins() -> None:
    seen = predictions([rectangle(2, 2, 6, 5), rectangle(0, 0, 4, 4)])
    labels = pixels(conversions.instance_labels_message(HEADER, seen))
    assert labels[3, 3] == 1 and labels[0, 0] == 2 and labels[5, 7] == 0
    colors = pixels(conversions.instance_color_message(HEADER, seen))
    assert not colors[5, 7].any() and colors[3, 3].any()
    assert not np.array_equal(colors[3, 3], colors[0, 0])


THINGS = tuple(CITYSCAPES.thing_to_semantic)
ROAD, PERSON = (CITYSCAPES.semantic.index(name) for name in ("road", "person"))


def street(masks: list[np.ndarray]) -> Predictions:
    """Persons with these masks on a road that begins in row 2; above it nothing is known."""
    semantic = torch.full((6, 8), 255, dtype=torch.uint8)
    semantic[2:] = ROAD
    persons = torch.zeros(len(masks), dtype=torch.int64)
    half = torch.full((6, 8), 0.5)
    fusion = PanopticFusion(THINGS)
    seen = replace(predictions(masks), labels=persons, semantic=semantic, confidence=half)
    return replace(seen, fusion=fusion)


def test_the_panoptic_image_has_the_class_in_its_high_byte_and_the_instance_in_its_low_one() -> (
    None
):
    seen = street([rectangle(0, 0, 3, 4), rectangle(2, 1, 6, 4)])
    image = conversions.panoptic_message(HEADER, seen)
    assert (image.header, image.encoding, image.step) == (HEADER, "mono16", 16)
    classes, numbers = np.divmod(pixels(image), 256)
    assert set(classes[:2, 6:].flat) == {255} and set(numbers[:2, 6:].flat) == {0}
    assert set(classes[4:].flat) == {ROAD} and set(numbers[4:].flat) == {0}
    assert (classes[3, 2], numbers[3, 2]) == (PERSON, 1)  # the better of the two
    assert (classes[3, 3], numbers[3, 3]) == (PERSON, 2)
    [first, second, stuff] = conversions.panoptic_segments_message(HEADER, seen).segments
    assert [s.id for s in (first, second, stuff)] == [256 * PERSON + 1, 256 * PERSON + 2, 0]
    assert [s.class_id for s in (first, second, stuff)] == [PERSON, PERSON, ROAD]
    assert [s.is_thing for s in (first, second, stuff)] == [True, True, False]
    assert [s.detection_index for s in (first, second, stuff)] == [0, 1, -1]
    assert [s.area for s in (first, second, stuff)] == [12, 9, 32 - 6 - 6]
    assert [s.score for s in (first, second, stuff)] == pytest.approx([0.9, 0.5, 0.5])


def test_every_object_has_a_colour_of_its_own_and_stuff_that_of_its_class() -> None:
    seen = street([rectangle(x, y, x + 1, y + 1) for x in range(4) for y in range(6)])
    ids = pixels(conversions.panoptic_message(HEADER, seen))
    colors = pixels(conversions.panoptic_color_message(HEADER, seen, CITYSCAPES))
    shades = {int(i): {tuple(c) for c in colors[ids == i].tolist()} for i in np.unique(ids)}
    assert all(len(shade) == 1 for shade in shades.values())
    assert len(set().union(*shades.values())) == len(shades)
    assert shades[256 * ROAD] == {tuple(CITYSCAPES.semantic_colors[ROAD].tolist())}
    assert shades[PanopticSegmentArray.VOID] == {(0, 0, 0)}


def test_more_objects_than_a_byte_can_count_have_their_colours() -> None:
    bitmaps = np.eye(400, dtype=bool)[:300].reshape(300, 20, 20)
    seen = replace(predictions(list(bitmaps), (20, 20)), fusion=PanopticFusion(THINGS))
    colors = pixels(conversions.panoptic_color_message(HEADER, seen, CITYSCAPES)).reshape(400, 3)
    assert colors[:300].any(1).all() and not colors[300:].any()
    shades = instance_colors(seen.labels.numpy(), seen.boxes.numpy(), CITYSCAPES)
    assert np.array_equal(colors[:300], shades)


@pytest.mark.parametrize("things", [True, False])
@pytest.mark.parametrize("stuff", [True, False])
def test_without_things_or_stuff_the_panoptic_messages_are_valid(things: bool, stuff: bool) -> None:
    seen = street([rectangle(0, 0, 8, 2)] if things else [])
    seen.semantic[:] = seen.semantic if stuff else 255
    ids = pixels(conversions.panoptic_message(HEADER, seen))
    expected = 256 * PERSON + 1 if things else PanopticSegmentArray.VOID
    assert (ids[:2] == expected).all()
    assert (ids[2:] == (256 * ROAD if stuff else PanopticSegmentArray.VOID)).all()
    sent = conversions.panoptic_segments_message(HEADER, seen)
    assert (sent.header, sent.height, sent.width) == (HEADER, 6, 8)
    assert len(sent.segments) == things + stuff
    colors = pixels(conversions.panoptic_color_message(HEADER, seen, CITYSCAPES))
    assert colors[0].any() == things and colors[3].any() == stuff


def test_the_segments_of_filtered_objects_refer_to_the_detections_that_are_left() -> None:
    seen = street([rectangle(0, 0, 3, 4), rectangle(4, 0, 7, 4)])
    assert seen.panoptic.segments  # of all of them, which must not be remembered
    [only, _] = conversions.panoptic_segments_message(HEADER, seen[1:]).segments
    assert (only.detection_index, only.score, only.area) == (0, 0.5, 12)


def test_maps_are_published_at_the_size_of_the_image() -> None:
    seen = predictions([])
    semantic = pixels(conversions.semantic_message(HEADER, seen))
    assert np.array_equal(semantic, seen.semantic.numpy())
    confidence = pixels(conversions.confidence_message(HEADER, seen))
    assert confidence[0, 0] == 0 and confidence[-1, -1] == 255 and confidence[3, 0] == 130
    foreground = pixels(conversions.foreground_message(HEADER, seen))
    assert np.array_equal(foreground, seen.foreground.numpy())
    color = pixels(conversions.semantic_color_message(HEADER, seen, CITYSCAPES))
    assert np.array_equal(color, CITYSCAPES.semantic_colors[semantic])


def test_unlabelled_pixels_are_black() -> None:
    seen = predictions([])
    seen.semantic[0, 0] = 255
    assert not pixels(conversions.semantic_color_message(HEADER, seen, CITYSCAPES))[0, 0].any()


def test_a_label_image_survives_as_png() -> None:
    labels = predictions([]).semantic.numpy()
    sent = conversions.png_message(HEADER, labels)
    assert sent.header == HEADER and sent.format.startswith("mono8; png compressed")
    assert np.array_equal(np.asarray(Picture.open(io.BytesIO(sent.data))), labels)


def test_a_jpeg_has_its_colours_in_order() -> None:
    red = np.zeros((16, 16, 3), np.uint8) + np.array([250, 10, 10], np.uint8)
    sent = conversions.jpeg_message(HEADER, red)
    assert sent.format == "rgb8; jpeg compressed bgr8"
    assert np.abs(compressed_to_rgb(sent).astype(int) - red).max() < 6


def test_label_info_names_every_number() -> None:
    info = conversions.label_info_message(HEADER, CITYSCAPES.things, 0.25)
    assert [c.class_id for c in info.class_map] == list(range(8))
    assert [c.class_name for c in info.class_map] == list(CITYSCAPES.things)
    assert info.threshold == 0.25


def test_what_is_not_a_number_is_left_out() -> None:
    seen = predictions([rectangle(0, 0, 2, 2), rectangle(1, 1, 3, 3), rectangle(2, 2, 4, 4)])
    seen.boxes[1, 2], seen.scores[2] = float("nan"), float("inf")
    assert conversions.without_nan(seen).labels.tolist() == [0]
    seen.confidence[0, 0] = float("nan")
    assert pixels(conversions.confidence_message(HEADER, seen))[0, 0] == 0


def test_large_fields_are_filled_with_bytes_or_arrays_never_with_numpy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[tuple[str, type]] = []
    fields = {Image: ["data"], CompressedImage: ["data"], InstanceMask: ["rle", "bitmap"]}
    for kind, names in fields.items():
        for name in names:
            plain = getattr(kind, name)

            def note(self, value, plain=plain, name=name):
                given.append((name, type(value)))
                plain.fset(self, value)

            monkeypatch.setattr(kind, name, property(plain.fget, note))
    noisy = np.random.default_rng(0).random((6, 8)) > 0.5
    seen = replace(predictions([noisy, rectangle(0, 0, 8, 6)]), fusion=PanopticFusion(THINGS))
    conversions.instance_masks_message(HEADER, seen)
    conversions.panoptic_message(HEADER, seen)
    conversions.panoptic_color_message(HEADER, seen, CITYSCAPES)
    conversions.instance_labels_message(HEADER, seen)
    conversions.instance_color_message(HEADER, seen)
    conversions.semantic_message(HEADER, seen)
    conversions.semantic_color_message(HEADER, seen, CITYSCAPES)
    conversions.confidence_message(HEADER, seen)
    conversions.foreground_message(HEADER, seen)
    conversions.png_message(HEADER, seen.semantic.numpy())
    conversions.jpeg_message(HEADER, PICTURE)
    assert {name for name, _ in given} == {"data", "rle", "bitmap"}
    assert {kind for _, kind in given} <= {bytes, array.array, list}
    assert all(kind is not list for name, kind in given if name == "data")
