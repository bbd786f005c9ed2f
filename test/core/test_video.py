"""Videos message by message: each packet's own picture, or why there is none."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

av = pytest.importorskip("av", reason="PyAV is not installed")

from videos import ENCODERS, packets, picture

from jointseg_core.errors import BadImage
from jointseg_core.video import CameraDecoder

pytestmark = pytest.mark.skipif(
    not set(ENCODERS.values()) <= av.codecs_available, reason="PyAV has no encoders"
)


def message(data: bytes, described: str = "h264") -> SimpleNamespace:
    return SimpleNamespace(data=data, format=described)


def packet(data: bytes, encoding: str) -> SimpleNamespace:
    """A ffmpeg_image_transport_msgs/FFMPEGPacket."""
    return SimpleNamespace(data=data, encoding=encoding, pts=1, flags=0, width=64, height=48)


def close(rgb: np.ndarray, number: int) -> bool:
    shown = picture(number)
    return rgb.dtype == np.uint8 and np.abs(rgb.astype(int) - shown).mean() < 3


def reason(decoder: CameraDecoder, given: SimpleNamespace) -> str:
    with pytest.raises(BadImage) as refused:
        decoder(given)
    assert str(refused.value).isascii() and "0x" not in str(refused.value)
    return refused.value.reason


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("h264", lambda data: message(data, "h264")),
        ("h264", lambda data: packet(data, "libx264")),
        ("h264", lambda data: packet(data, "h264;yuv420p;bgr8;bgr8")),
        ("h265", lambda data: message(data, "h265")),
        ("h265", lambda data: packet(data, "hevc_nvenc")),
    ],
)
def test_every_packet_gives_its_own_picture(kind: str, made: object) -> None:
    decoder = CameraDecoder()
    for number, data in enumerate(packets(kind)):
        assert close(decoder(made(data)), number)


def test_packets_whose_pictures_nobody_asked_for_are_seen_none_the_less() -> None:
    decoder, found = CameraDecoder(), {}
    for number, data in enumerate(packets("h264")):
        decoder.hold(given := message(data))
        if number % 4 == 3:
            found[number] = decoder(given)
    assert all(close(rgb, number) for number, rgb in found.items()) and len(found) == 3


def test_what_waits_too_long_is_forgotten_until_a_key_frame(monkeypatch) -> None:
    most = sum(map(len, packets("h264")[:4]))
    monkeypatch.setattr("jointseg_core.video._MOST_HELD", most)
    decoder, last = CameraDecoder(), None
    for data in packets("h264")[:5]:
        decoder.hold(last := message(data))
    assert reason(decoder, last) == "no_key_frame"
    for number, data in enumerate(packets("h264")[5:8], start=5):
        decoder.hold(last := message(data))
        if number < 6:
            assert reason(decoder, last) == "no_key_frame"
        else:
            assert close(decoder(last), number)


@pytest.mark.parametrize("kind", ENCODERS)
def test_nothing_is_shown_before_a_key_frame(kind: str) -> None:
    decoder = CameraDecoder()
    for data in packets(kind)[2:6]:
        assert reason(decoder, message(data, kind)) == "no_key_frame"
    assert close(decoder(message(packets(kind)[6], kind)), 6)


def test_after_damage_nothing_is_shown_until_a_key_frame() -> None:
    decoder = CameraDecoder()
    whole = [message(data) for data in packets("h264")]
    assert close(decoder(whole[0]), 0)
    damaged = message(whole[1].data[: len(whole[1].data) // 2])
    assert reason(decoder, damaged) == "undecodable"
    assert reason(decoder, whole[2]) == reason(decoder, message(b"")) == "no_key_frame"
    assert close(decoder(whole[6]), 6)


def test_pictures_that_come_later_than_their_messages_are_refused() -> None:
    decoder, seen = CameraDecoder(), set()
    for data in packets("h264", late=2):
        with pytest.raises(BadImage) as refused:
            decoder(message(data))
        seen.add(str(refused.value))
    assert any("B-frames" in text for text in seen)


def test_a_video_that_cannot_be_read_says_what_it_is(monkeypatch) -> None:
    with pytest.raises(BadImage, match="codec 'theora' is none of h264"):
        CameraDecoder()(packet(b"1", "theora"))
    with pytest.raises(BadImage, match="frame_id has 300"):
        CameraDecoder()(SimpleNamespace(data=b"1", format="h264", frame_id="a" * 300))
    assert reason(CameraDecoder(), message(b"words" * 20)) == "no_key_frame"
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(BadImage, match="h264 is a video's, which PyAV reads: install av"):
        CameraDecoder()(message(packets("h264")[0]))


def test_sizes_beyond_the_limit_are_refused(monkeypatch) -> None:
    monkeypatch.setattr("jointseg_core.video.MAX_PIXELS", 1000)
    assert reason(CameraDecoder(), message(packets("h264")[0])) == "no_key_frame"


def raw(encoding: str, samples: np.ndarray) -> SimpleNamespace:
    height, width = samples.shape[:2]
    step = samples.nbytes // height
    fields = {"height": height, "width": width, "step": step, "is_bigendian": 0}
    return SimpleNamespace(encoding=encoding, data=samples.tobytes(), **fields)


@pytest.mark.parametrize(("bits", "said"), [(8, "10"), (10, "10"), (12, "12"), (16, "")])
def test_16_bits_that_hold_fewer_are_noticed(bits: int, said: str) -> None:
    samples = np.arange(64, dtype=np.uint16).reshape(8, 8) * ((1 << bits) // 64)
    decoder = CameraDecoder()
    decoder(raw("mono16", samples))
    assert (f"no more than {said} are used" in decoder.hint) if said else not decoder.hint
    decoder(raw("mono8", np.zeros((8, 8), np.uint8)))
    assert not decoder.hint  # a dark night is no fault
    told = CameraDecoder(bits)
    assert told(raw("mono16", samples)).max() > 240 and not told.hint
