"""Every encoding gives the same picture, bad images are refused."""

import io
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Picture
from PIL import ImageOps

from jointseg_core.errors import BadImage
from jointseg_core.images import ENCODINGS, message_to_rgb, read_picture

ROWS, COLUMNS = np.mgrid[0:7, 0:12]
COLUMNS = COLUMNS // 2 * 2  # pairs of equal pixels: what the 4:2:2 kinds can hold
PICTURE = np.stack([30 + 15 * COLUMNS, 20 + 25 * ROWS, 200 - 10 * COLUMNS], 2).astype(np.uint8)
GRAY = PICTURE[..., 1]


def message(encoding: str, samples: np.ndarray, padding: int = 0, **fields) -> SimpleNamespace:
    """An image of bytes [H, W, bytes per pixel], each row followed by some bytes of rubbish."""
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1)
    rows = np.hstack([rows, np.full((height, padding), 171, np.uint8)])
    given = {"height": height, "width": width, "step": rows.shape[1], "data": rows.tobytes()}
    return SimpleNamespace(**{"encoding": encoding, "is_bigendian": 0} | given | fields)


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


def of_16_bits(samples: np.ndarray, order: str = "<", bits: int = 16) -> np.ndarray:
    """The samples as the upper of so many bits, the lower ones full of noise; as bytes."""
    lower = (1 << (bits - 8)) * 99 // 256
    deep = (samples.astype(np.uint16) << (bits - 8)) + lower
    return deep.astype(f"{order}u2").view(np.uint8).reshape(*samples.shape[:2], -1)


def semi_planar(picture: np.ndarray, order: str) -> np.ndarray:
    """Y of each pixel [H, W, 1], then U and V in this order of each square of four."""
    y, *colours = chroma(picture)
    u, v = (plane[::2, ::2] for plane in colours)
    pairs = np.stack([u, v] if order == "uv" else [v, u], 2).reshape(len(y) // 2, -1)
    return np.concatenate([y, pairs]).astype(np.uint8)[..., None]


GRAYS = np.repeat(GRAY[..., None], 3, 2)
BGR = PICTURE[..., ::-1]
ENCODED = {
    "rgb8": (PICTURE, PICTURE, 0),
    "bgr8": (BGR, PICTURE, 0),
    "8UC3": (BGR, PICTURE, 0),
    "rgba8": (alpha(PICTURE), PICTURE, 0),
    "bgra8": (alpha(BGR), PICTURE, 0),
    "8UC4": (alpha(BGR), PICTURE, 0),
    "mono8": (GRAY[..., None], GRAYS, 0),
    "8UC1": (GRAY[..., None], GRAYS, 0),
    "mono16": (of_16_bits(GRAY), GRAYS, 0),
    "mono12": (of_16_bits(GRAY, bits=12), GRAYS, 0),
    "mono10": (of_16_bits(GRAY, bits=10), GRAYS, 0),
    "rgb16": (of_16_bits(PICTURE), PICTURE, 0),
    "bgr16": (of_16_bits(BGR), PICTURE, 0),
    "16UC3": (of_16_bits(BGR), PICTURE, 0),
    "rgba16": (of_16_bits(alpha(PICTURE)), PICTURE, 0),
    "bgra16": (of_16_bits(alpha(BGR)), PICTURE, 0),
    "16UC4": (of_16_bits(alpha(BGR)), PICTURE, 0),
    "yuv422": (uyvy(PICTURE), PICTURE, 3),
    "uyvy": (uyvy(PICTURE), PICTURE, 3),
    "yuv422_yuy2": (uyvy(PICTURE)[..., ::-1], PICTURE, 3),
    "yuyv": (uyvy(PICTURE)[..., ::-1], PICTURE, 3),
}


@pytest.mark.parametrize("padding", [0, 20])
@pytest.mark.parametrize("encoding", ENCODED)
def test_every_encoding_of_one_picture_gives_that_picture(encoding: str, padding: int) -> None:
    samples, expected, tolerance = ENCODED[encoding]
    rgb = message_to_rgb(message(encoding, samples, padding))
    assert rgb.shape == (7, 12, 3) and rgb.dtype == np.uint8
    assert np.abs(rgb.astype(int) - expected).max() <= tolerance


PLAIN = np.full((8, 10, 3), (200, 120, 40), np.uint8)


@pytest.mark.parametrize("padding", [0, 20])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_every_bayer_pattern_of_one_colour_gives_that_colour(
    pattern: str, bits: int, padding: int
) -> None:
    mosaic = bayer(PLAIN, pattern)
    samples = mosaic if bits == 8 else of_16_bits(mosaic)
    rgb = message_to_rgb(message(f"bayer_{pattern}{bits}", samples, padding))
    assert rgb.shape == (8, 10, 3)
    assert np.abs(rgb.astype(int) - PLAIN).max() <= 1


@pytest.mark.parametrize("padding", [0, 20])
@pytest.mark.parametrize(("encoding", "order"), [("nv12", "uv"), ("nv21", "vu")])
def test_colours_that_follow_the_brightness_give_the_picture(
    encoding: str, order: str, padding: int
) -> None:
    samples = semi_planar(PICTURE[:6], order)
    given = message(encoding, samples, padding, height=6)
    assert np.abs(message_to_rgb(given).astype(int) - PICTURE[:6])[::2].max() <= 3
    for size in ({"height": 5}, {"width": 11}):
        with pytest.raises(BadImage, match="in pairs"):
            message_to_rgb(SimpleNamespace(**vars(given) | size))


def test_every_supported_encoding_is_tried_above() -> None:
    others = {name for name in ENCODINGS if name.startswith(("bayer", "nv"))}
    assert len(others) == 10 and ENCODINGS.keys() - others == set(ENCODED)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_of_16_bits_that_are_not_all_used_the_upper_ones_are_told(bits: int) -> None:
    given = message("mono16", of_16_bits(GRAY, bits=bits))
    assert np.array_equal(message_to_rgb(given, bits), GRAYS)
    mosaic = message("bayer_rggb16", of_16_bits(bayer(PLAIN, "rggb"), bits=bits))
    assert np.abs(message_to_rgb(mosaic, bits).astype(int) - PLAIN).max() <= 1
    assert np.array_equal(message_to_rgb(message("mono8", GRAY[..., None]), bits), GRAYS)
    assert message_to_rgb(message("mono16", of_16_bits(GRAY)), bits).max() == 255  # not 0 again
    png = compressed("PNG", Picture.fromarray(GRAY.astype(np.uint16) << (bits - 8)))
    assert np.array_equal(message_to_rgb(SimpleNamespace(data=png, format=""), bits), GRAYS)


def test_what_the_table_does_not_know_is_left_to_the_fallback_but_never_depth() -> None:
    def fallback(given: SimpleNamespace) -> np.ndarray:
        if given.encoding == "nv24":
            raise RuntimeError("no such conversion\nat all")
        return PICTURE if given.encoding == "yuv444" else PICTURE[1:]

    assert message_to_rgb(message("yuv444", PICTURE), fallback=fallback) is PICTURE
    for encoding, words in {
        "nv24": "no such conversion",
        "foo8": "no RGB picture",
        "16UC1": "depth",
        "32FC1": "depth",
    }.items():
        with pytest.raises(BadImage, match=words) as refused:
            message_to_rgb(message(encoding, PICTURE), fallback=fallback)
        assert refused.value.reason == "encoding"


def test_big_endian_mono16_gives_the_same_picture() -> None:
    rgb = message_to_rgb(message("mono16", of_16_bits(GRAY, ">"), 6, is_bigendian=1))
    assert np.array_equal(rgb, GRAYS)


@pytest.mark.parametrize("encoding", ENCODED)
def test_the_last_row_may_lack_its_padding_and_more_may_follow_it(encoding: str) -> None:
    samples, expected, tolerance = ENCODED[encoding]
    padded = message(encoding, samples, 20)
    for data in (padded.data[:-20], padded.data + bytes(300)):
        padded.data = data
        assert np.abs(message_to_rgb(padded).astype(int) - expected).max() <= tolerance
    padded.data = padded.data[: 6 * padded.step + samples[0].size - 1]
    with pytest.raises(BadImage) as refused:
        message_to_rgb(padded)
    assert refused.value.reason == "data_size"


def test_a_step_of_any_size_is_one_row_where_there_is_one() -> None:
    row = message("bgr8", PICTURE[:1], step=(1 << 32) - 1)
    assert np.array_equal(message_to_rgb(row), PICTURE[:1, :, ::-1])


def test_rgb8_is_a_view_of_the_message() -> None:
    image = message("rgb8", PICTURE, 5)
    assert np.shares_memory(message_to_rgb(image), np.frombuffer(image.data, np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (7, 13)])
@pytest.mark.parametrize("encoding", ["rgb8", "bgra8", "mono8", "mono16"])
def test_pictures_of_odd_sizes_pass(encoding: str, size: tuple[int, int]) -> None:
    depth = ENCODED[encoding][0].shape[2]
    assert message_to_rgb(message(encoding, np.zeros((*size, depth), np.uint8))).shape == (*size, 3)


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
        message_to_rgb(message(encoding, PICTURE, **fields))
    assert refused.value.reason == reason
    assert str(refused.value).isascii() and len(str(refused.value)) < 300


def test_an_odd_width_is_refused_where_pixels_come_in_pairs() -> None:
    with pytest.raises(BadImage) as refused:
        message_to_rgb(message("yuyv", np.zeros((4, 5, 2), np.uint8)))
    assert refused.value.reason == "step"


def photo() -> np.ndarray:
    """A smooth picture with some noise, 64 x 96."""
    noise = np.random.default_rng(3).integers(0, 40, (64, 96, 3))
    return (np.mgrid[0:64, 0:96].sum(0)[..., None] + noise).astype(np.uint8)


def compressed(kind: str, picture: Picture.Image | None = None, **options) -> bytes:
    file = io.BytesIO()
    (picture or Picture.fromarray(photo())).save(file, kind, **options)
    return file.getvalue()


def compressed_to_rgb(data: bytes, described: str = "") -> np.ndarray:
    return message_to_rgb(SimpleNamespace(data=data, format=described))


def test_a_png_comes_back_exactly_and_a_jpeg_nearly() -> None:
    png = compressed_to_rgb(compressed("PNG"), "rgb8; png compressed")
    assert np.array_equal(png, photo())
    jpeg = compressed_to_rgb(compressed("JPEG", quality=98, subsampling=0))
    assert np.abs(jpeg.astype(int) - photo()).mean() < 3


def test_gray_transparent_and_16_bit_pictures_become_rgb() -> None:
    gray = Picture.fromarray(photo()[..., 0])
    deep = Picture.fromarray(photo()[..., 0].astype(np.uint16) * 256 + 5)
    for picture in (gray, deep):
        rgb = compressed_to_rgb(compressed("PNG", picture))
        assert np.array_equal(rgb, np.repeat(photo()[..., :1], 3, 2))
    clear = Picture.fromarray(np.dstack([photo(), photo()[..., 0]]))
    assert np.array_equal(compressed_to_rgb(compressed("PNG", clear)), photo())


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bits_are_their_high_byte_in_every_format(tmp_path, kind: str) -> None:
    deep = Picture.fromarray(photo()[..., 0].astype(np.uint16) * 256 + 200)
    (tmp_path / "a").write_bytes(compressed(kind, deep))
    assert np.array_equal(read_picture(tmp_path / "a"), np.repeat(photo()[..., :1], 3, 2))


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_32_bits_a_pixel_are_no_picture(tmp_path, kind: type) -> None:
    (tmp_path / "a").write_bytes(
        compressed("TIFF", Picture.fromarray(photo()[..., 0].astype(kind)))
    )
    with pytest.raises(BadImage, match=r"^a: 32 bits") as refused:
        read_picture(tmp_path / "a")
    assert refused.value.reason == "encoding"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM"])
def test_files_may_have_more_formats_than_messages(tmp_path, kind: str) -> None:
    (tmp_path / "a").write_bytes(compressed(kind))
    picture = read_picture(tmp_path / "a")
    assert picture.shape == (64, 96, 3) and picture.flags.writeable
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "b")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_a_compressed_mosaic_is_a_mosaic_unless_its_format_says_what_was_made_of_it(
    kind: str, pattern: str
) -> None:
    smooth = np.full((32, 40, 3), (200, 120, 40), np.uint8)
    mosaic = Picture.fromarray(bayer(smooth, pattern)[..., 0])
    data = compressed(kind, mosaic, **({"quality": 100} if kind == "JPEG" else {}))
    name, limit = f"bayer_{pattern}8; {kind.lower()} compressed ", 1 if kind == "PNG" else 3
    for described in (name, f"{name}bayer_{pattern}8"):
        rgb = compressed_to_rgb(data, described).astype(int)
        assert np.abs(rgb - smooth).max() <= limit
    gray = compressed_to_rgb(data, f"{name}mono8")
    assert np.array_equal(gray, compressed_to_rgb(data, "mono8; jpeg compressed "))
    assert np.array_equal(gray[..., 0], gray[..., 2])
    colours = compressed("PNG", Picture.fromarray(smooth))
    assert np.array_equal(compressed_to_rgb(colours, f"{name}bgr8"), smooth)
    assert np.array_equal(compressed_to_rgb(colours, name), smooth)
    deep = compressed("PNG", Picture.fromarray(bayer(smooth, pattern)[..., 0].astype("u2") << 8))
    rgb = compressed_to_rgb(deep, f"bayer_{pattern}16; png compressed ")
    assert np.abs(rgb.astype(int) - smooth).max() <= 1
    with pytest.raises(BadImage, match="3 pixels each way"):
        compressed_to_rgb(compressed("PNG", mosaic.crop((0, 0, 2, 2))), name)


@pytest.mark.parametrize("described", ["16UC1; png compressed ", "32FC1; compressedDepth rvl"])
def test_depth_is_refused_however_it_was_compressed(described: str) -> None:
    deep = Picture.fromarray(photo()[..., 0].astype(np.uint16) * 256)
    with pytest.raises(BadImage, match="depth") as refused:
        compressed_to_rgb(compressed("PNG", deep), described)
    assert refused.value.reason == "encoding"


@pytest.mark.parametrize("orientation", range(10))
def test_a_picture_is_turned_upright_where_that_is_asked_for(tmp_path, orientation: int) -> None:
    exif = Picture.Exif()
    exif[0x0112] = orientation
    for kind, mode in (("PNG", "RGB"), ("TIFF", "RGB"), ("PNG", "I;16")):
        stored = Picture.fromarray(photo() if mode == "RGB" else photo()[..., 0].astype("u2") << 8)
        (tmp_path / "a").write_bytes(compressed(kind, stored, exif=exif))
        with Picture.open(tmp_path / "a") as file:
            upright = np.asarray(ImageOps.exif_transpose(file))
        if mode != "RGB":
            upright = np.repeat((upright >> 8).astype(np.uint8)[..., None], 3, 2)
        assert np.array_equal(read_picture(tmp_path / "a", upright=True), upright)
        assert kind == "TIFF" or read_picture(tmp_path / "a").shape == (64, 96, 3)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_turns_nothing(tmp_path) -> None:
    png = compressed("PNG", exif=b"Exif\0\0II*\0" + b"\xff" * 40)
    (tmp_path / "a").write_bytes(png)
    assert np.array_equal(read_picture(tmp_path / "a", upright=True), photo())


def test_an_error_names_the_format_and_never_an_object() -> None:
    for data in (b"no picture at all", b"", compressed("BMP")):
        with pytest.raises(BadImage, match=r"^format 'foo8'.*none of JPEG, PNG, WEBP") as refused:
            compressed_to_rgb(data, "foo8")
        assert "0x" not in str(refused.value)


def test_what_follows_the_end_of_a_picture_is_ignored() -> None:
    for kind in ("JPEG", "PNG"):
        data = compressed(kind)
        assert np.array_equal(compressed_to_rgb(data + bytes(100)), compressed_to_rgb(data))


def test_the_orientation_noted_in_a_jpeg_is_ignored() -> None:
    turned = Picture.Exif()
    turned[0x0112] = 6
    jpeg = compressed("JPEG", exif=turned)
    assert compressed_to_rgb(jpeg).shape == (64, 96, 3)


def bomb() -> bytes:
    """A PNG that says it has 60000 x 60000 pixels."""
    png = bytearray(compressed("PNG"))
    png[16:24] = np.array([60000, 60000], ">u4").tobytes()
    png[29:33] = np.array([zlib.crc32(bytes(png[12:29]))], ">u4").tobytes()
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
        compressed_to_rgb(data, "jpeg")
    assert refused.value.reason == reason
    assert str(refused.value).isascii() and "\n" not in str(refused.value)


def test_compressed_depth_is_refused() -> None:
    with pytest.raises(BadImage, match="depth"):
        compressed_to_rgb(compressed("PNG"), "16UC1; compressedDepth png")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 3000))
def test_rubbish_in_a_jpeg_is_refused_or_gives_a_picture(rubbish: bytes, place: int) -> None:
    jpeg = compressed("JPEG")
    data = jpeg[:place] + rubbish + jpeg[place + len(rubbish) :]
    try:
        assert compressed_to_rgb(data).ndim == 3
    except BadImage as error:
        assert error.reason in ("undecodable", "zero_size", "too_large")
