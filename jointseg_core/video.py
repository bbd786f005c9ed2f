"""Pictures from the messages of one camera, which may be those of a video.

A packet of a video says what changed since the one before: none may be missed between two key
frames, which need none.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Any

import numpy as np

from jointseg_core.errors import BadImage
from jointseg_core.images import ENCODINGS, MAX_PIXELS, check_frame_id, message_to_rgb

_CODECS = {  # FFmpeg's decoders by what is in the names that drivers and encoders use
    "264": "h264",
    "265": "hevc",
    "hevc": "hevc",
    "vp8": "vp8",
    "vp9": "vp9",
    "av1": "libdav1d",
}
_MOST_HELD = 1 << 26  # bytes of packets
_DARK = ((4, 10), (16, 12))
"""Where no upper byte reaches the first number, a sample has these bits at most."""


class CameraDecoder:
    """Pictures from the messages of one topic; make one for each.

    Of sensor_msgs Image and CompressedImage, foxglove_msgs RawImage, CompressedImage and
    CompressedVideo, and ffmpeg_image_transport_msgs FFMPEGPacket, of any library. bits, fallback:
    as `message_to_rgb`.

    hint  what is strange about the last picture, which was decoded none the less; else empty
    """

    def __init__(self, bits: int = 0, fallback: Callable[[Any], np.ndarray] | None = None) -> None:
        self.hint = ""
        self._bits, self._fallback = bits, fallback
        self._lock = Lock()
        self._held: list[Any] = []
        self._held_bytes = 0
        self._lost = False  # of the held ones
        self._video: _Video | None = None

    @staticmethod
    def is_video(message: Any) -> bool:
        """Whether it is a packet of FFmpeg, or has the format of a video."""
        text = getattr(message, "format", "").lower()
        return hasattr(message, "pts") or any(name in text for name in _CODECS)

    def hold(self, message: Any) -> None:
        """Note a message that came, where not every one's picture is asked for; from any thread.

        Those of a video are decoded before the next picture is.
        """
        if self.is_video(message):
            with self._lock:
                self._held_bytes += len(message.data)
                if self._held_bytes > _MOST_HELD:
                    self._held, self._held_bytes, self._lost = [], len(message.data), True
                self._held.append(message)

    def __call__(self, message: Any) -> np.ndarray:
        """The message's picture, uint8 [H, W, 3] RGB. Raises BadImage.

        Of a video also where no key frame came before, or none since something was damaged.
        """
        if not self.is_video(message):
            rgb = message_to_rgb(message, self._bits, self._fallback)
            self.hint = "" if self._bits else _hint(message, rgb)
            return rgb
        self.hint = ""
        check_frame_id(message)
        name, (earlier, is_whole) = _decoder_name(message), self._before(message)
        if self._video is None or self._video.name != name or not is_whole:
            self._video = _Video(name)  # which waits for a key frame
        for packet in earlier:
            self._video.skip(packet.data)
        return self._video.picture(message.data)

    def _before(self, message: Any) -> tuple[list[Any], bool]:
        """The held messages before this one, no longer held; whether none of them was lost."""
        with self._lock:
            is_whole, self._lost = not self._lost, False
            places = [k for k, one in enumerate(self._held) if one is message]
            found = self._held[: places[0]] if places else []
            self._held = self._held[places[0] + 1 :] if places else self._held
            self._held_bytes = sum(len(one.data) for one in self._held)
        return found, is_whole


def _decoder_name(message: Any) -> str:
    text = message.encoding if hasattr(message, "pts") else message.format
    for name, decoder in _CODECS.items():
        if name in text.lower():
            return decoder
    raise BadImage("encoding", f"codec {text[:40]!a} is none of h264, h265, vp8, vp9, av1")


def _hint(message: Any, rgb: np.ndarray) -> str:
    """A word where 16 bits hold fewer, which is nearly black."""
    encoding = getattr(message, "format", "").partition(";")[0] or getattr(message, "encoding", "")
    if ENCODINGS.get(encoding, (0, None, 8))[2] == 16:
        peak = int(rgb.max())
        for limit, bits in _DARK:
            if peak < limit:
                return f"of 16 bits no more than {bits} are used: nearly black, unless bits says so"
    return ""


class _Video:
    """A stream of packets, each with the one picture of its message."""

    def __init__(self, name: str) -> None:
        try:
            import av

            self._context: Any = av.CodecContext.create(name, "r")
        except ImportError as error:
            text = f"{name} is a video's, which PyAV reads: install av"
            raise BadImage("encoding", text) from error
        except ValueError as error:  # UnknownCodecError
            raise BadImage("encoding", f"the PyAV that is installed has no {name}") from error
        self.name = name
        self._packet = av.Packet
        self._context.thread_count = 1  # with more, every picture comes late
        self._context.flags |= av.codec.context.Flags.low_delay
        self._context.options = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}
        self._number = 0
        self._whole = False  # since the last key frame

    def skip(self, data: Any) -> None:
        """A packet whose picture nobody asks for."""
        with suppress(BadImage):
            self._frame(data)

    def picture(self, data: Any) -> np.ndarray:
        """The picture in the next packet, uint8 [H, W, 3] RGB."""
        rgb: np.ndarray = self._frame(data).to_ndarray(format="rgb24")
        return rgb

    def _frame(self, data: Any) -> Any:
        frames, problem = self._decoded(bytes(data))
        frame = frames[-1] if frames else None
        if frame is not None and frame.pts != self._number:
            text = f"{self.name} has B-frames, which come late: encode with zero latency"
            raise BadImage("encoding", text)
        was_whole = self._whole
        if problem or (frame is not None and frame.is_corrupt):
            self._whole = False
        elif frame is not None and frame.key_frame:
            self._whole = True
        if not self._whole:
            reason = "undecodable" if was_whole else "no_key_frame"
            text = problem or "nothing came that can be begun with"
            raise BadImage(reason, f"{self.name}: {text}; waits for a key frame")
        if frame is None:
            raise BadImage("undecodable", f"{self.name}: a packet without a picture")
        return frame

    def _decoded(self, data: bytes) -> tuple[list[Any], str]:
        """The pictures that the next packet completes, and what is wrong with it."""
        if not data:
            return [], "no data"  # which would mean the end
        self._number += 1
        packet = self._packet(data)
        packet.pts = self._number
        try:
            return self._context.decode(packet), ""
        except Exception as error:  # FFmpeg's, of which there are a dozen kinds
            return [], getattr(error, "strerror", None) or type(error).__name__
