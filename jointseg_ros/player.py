"""Plays the camera topics of an .mcap file with their original timing, and publishes /clock.

    python -m jointseg_ros.player BAG.mcap [--topics ...] [--log played.jsonl]

Messages are published as they were recorded, byte for byte. The log holds one JSON object a line:
the events waiting, started and finished, and between the last two for each image its topic, the
stamp of its header and the steady time (ns) right before it was handed to the middleware.
"""

from __future__ import annotations

import argparse
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, NamedTuple

from builtin_interfaces.msg import Time
from mcap.reader import McapReader, make_reader
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

from jointseg_core.command import run_program
from jointseg_core.errors import BadBag, SegError
from jointseg_core.files import open_file
from jointseg_objects.topics import is_depth
from jointseg_ros.recording_program import Journal, stoppable_node
from jointseg_ros.serialized import message_class, stamp_ns
from jointseg_ros.start import own_arguments, within
from jointseg_ros.transports import TYPES

CAMERA_TYPES = (*TYPES, "sensor_msgs/msg/CameraInfo")
CLOCK_PERIOD_NS = 15_000_000
READ_AHEAD_BYTES = 256 << 20
EXIT_INTERRUPTED = 130


class PlayerError(SegError):
    """What stopped the player, in one sentence."""


class Recorded(NamedTuple):
    """One message of the file."""

    time: int  # ns, when it was recorded
    topic: str
    data: bytes


class Recording:
    """The chosen topics of an .mcap file, read ahead of time by a thread of its own.

    topics: name -> type. PlayerError if the file cannot be read or holds no such topic.
    """

    def __init__(self, path: Path, topics: list[str] | None) -> None:
        self.path = path
        self._file = _open(path)
        reader = self._reader()
        self.topics, self.start, depth = self._survey(reader, topics)
        self._queue: queue.Queue[Recorded | Exception | None] = queue.Queue(depth)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(reader,), daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Recorded]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, Exception):
                raise PlayerError(f"{self.path} is damaged ({item}).") from item
            yield item

    def wait_until_read_ahead(self, timeout: float) -> None:
        """Return when the read-ahead is full, the file is read, or the time (s) is over."""
        end = time.monotonic() + timeout
        while self._thread.is_alive() and not self._queue.full() and time.monotonic() < end:
            time.sleep(0.01)

    def close(self) -> None:
        """Stop reading."""
        self._closed.set()
        self._thread.join(timeout=2)
        self._file.close()

    def _reader(self) -> McapReader:
        """A reader whose summary has been read, so that what is no .mcap file is known by now."""
        try:
            reader = make_reader(self._file, validate_crcs=True)
            reader.get_summary()
            return reader
        except Exception as error:  # damaged files raise McapError, struct.error and others
            self._file.close()
            raise PlayerError(f"{self.path} is no complete .mcap file ({error}).") from error

    def _survey(
        self, reader: McapReader, wanted: list[str] | None
    ) -> tuple[dict[str, str], int, int]:
        """Topics with their types, the time of the first message, how many to read ahead."""
        summary = reader.get_summary()
        if summary is None or summary.statistics is None:
            raise PlayerError(f"{self.path} has no summary; complete it with 'mcap recover'.")
        channels = [c for c in summary.channels.values() if c.message_encoding == "cdr"]
        found = {c.topic: summary.schemas[c.schema_id].name for c in channels}
        topics = (
            {t: k for t, k in found.items() if t in wanted} if wanted else _camera_topics(found)
        )
        if not topics or (wanted and len(topics) < len(set(wanted))):
            asked = ", ".join(wanted or ["images"])
            holds = ", ".join(found) or "no message of ROS 2"
            raise PlayerError(f"{self.path} does not hold {asked}; it holds {holds}.")
        statistics = summary.statistics
        size = sum(c.uncompressed_size for c in summary.chunk_indexes)
        mean = max(1, size // max(1, statistics.message_count))
        return topics, statistics.message_start_time, max(4, READ_AHEAD_BYTES // mean)

    def _read(self, reader: McapReader) -> None:
        try:
            for _, channel, message in reader.iter_messages(topics=list(self.topics)):
                self._put(Recorded(message.log_time, channel.topic, bytes(message.data)))
                if self._closed.is_set():
                    return
            self._put(None)
        except Exception as error:  # handed to the thread that plays
            self._put(error)

    def _put(self, item: Recorded | Exception | None) -> None:
        while not self._closed.is_set():
            try:
                return self._queue.put(item, timeout=0.2)
            except queue.Full:
                continue


class Player:
    """Publishes a recording in real time. `stop` may be set at any time."""

    def __init__(
        self, node: Node, recording: Recording, journal: Journal, stop: threading.Event
    ) -> None:
        self._stop = stop
        self._recording = recording
        self._note = journal.note
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        self._publishers = {
            topic: node.create_publisher(message_class(kind), topic, qos)
            for topic, kind in recording.topics.items()
        }
        images = (t for t, kind in recording.topics.items() if kind in TYPES)
        self._images = {t for t in images if not is_depth(t)}  # which goes with the pictures
        clock_qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._clock = node.create_publisher(Clock, "/clock", clock_qos)

    def wait_for_subscribers(self, count: int, timeout: float) -> None:
        """Hold the clock at the start until every image topic has so many subscribers.

        PlayerError if that takes longer than `timeout` seconds.
        """
        end = time.monotonic() + timeout
        self._note(event="waiting")
        while not self._stop.is_set():
            missing = {
                t: self._publishers[t].get_subscription_count() for t in sorted(self._images)
            }
            missing = {t: n for t, n in missing.items() if n < count}
            if not missing:
                return
            if time.monotonic() > end:
                topic, found = next(iter(missing.items()))
                raise PlayerError(
                    f"{found} of {count} subscribers on {topic} within {timeout:g} s; check that "
                    "the perception node is active and listens to this topic."
                )
            self._publish_clock(self._recording.start)
            self._stop.wait(0.02)

    def play(self, rate: float, lead: float, linger: float) -> int:
        """Play once and return the number of images; the clock runs `lead` s before the first
        message and `linger` s after the last one.
        """
        begin = time.monotonic_ns() + int(lead * 1e9)
        frames, last = 0, self._recording.start
        self._note(event="started")
        for message in self._recording:
            last = message.time
            due = begin + int((message.time - self._recording.start) / rate)
            if not self._run_clock(due, begin, rate):
                break
            frames += self._publish(message)
        self._note(event="finished", frames=frames)
        end = begin + int((last - self._recording.start) / rate) + int(linger * 1e9)
        self._run_clock(end, begin, rate)
        return frames

    def _publish(self, message: Recorded) -> bool:
        """Publish the message at its time on the clock; true if it is an image."""
        self._publish_clock(message.time)
        is_image = message.topic in self._images
        stamp = stamp_ns(message.data) if is_image else 0
        now = time.monotonic_ns()
        self._publishers[message.topic].publish(message.data)
        if is_image:
            self._note(topic=message.topic, stamp_ns=stamp, published_ns=now)
        return is_image

    def _run_clock(self, due: int, begin: int, rate: float) -> bool:
        """Publish the clock until the steady time `due`; false when asked to stop before it."""
        while (left := due - time.monotonic_ns()) > 0:
            if self._stop.wait(min(left, CLOCK_PERIOD_NS) / 1e9):
                return False
            elapsed = max(0, int((min(time.monotonic_ns(), due) - begin) * rate))
            self._publish_clock(self._recording.start + elapsed)
        return not self._stop.is_set()

    def _publish_clock(self, now: int) -> None:
        seconds, nanoseconds = divmod(now, 1_000_000_000)
        self._clock.publish(Clock(clock=Time(sec=seconds, nanosec=nanoseconds)))


def main() -> int:
    """Run the player: 0 or 130. Raises BadBag, and PlayerError where nobody listens."""
    options, stop = _parser().parse_args(own_arguments()), threading.Event()
    with stoppable_node("player", stop) as node:
        try:
            recording = Recording(options.bag.absolute(), options.topics)
        except (PlayerError, ValueError) as error:
            raise BadBag(str(error)) from error
        with closing(recording):
            player = Player(node, recording, Journal(options.log), stop)
            recording.wait_until_read_ahead(timeout=30)
            player.wait_for_subscribers(options.subscribers, options.timeout)
            frames = player.play(options.rate, options.lead, options.linger)
            print(f"played {frames} frames of {recording.path}")
    return EXIT_INTERRUPTED if stop.is_set() else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="player", description=__doc__.splitlines()[0])
    parser.add_argument("bag", type=Path, help="an .mcap file")
    parser.add_argument("--topics", nargs="+", help="default: images and camera infos")
    parser.add_argument("--rate", type=within(1e-3, 1e3), default=1.0, help="2 plays twice as fast")
    parser.add_argument(
        "--subscribers", type=within(0, 1000, int), default=1, help="to wait for on each image"
    )
    parser.add_argument("--timeout", type=within(0), default=60.0, help="seconds to wait for them")
    parser.add_argument(
        "--lead", type=within(0), default=1.0, help="seconds of clock before the first"
    )
    parser.add_argument(
        "--linger", type=within(0), default=2.0, help="seconds of clock after the last"
    )
    parser.add_argument("--log", type=Path, help="JSON lines: stamp and moment of each image")
    return parser


def _open(path: Path) -> IO[bytes]:
    try:
        return open_file(path)
    except OSError as error:
        raise PlayerError(
            f"{path} cannot be read ({error.strerror}); give an .mcap file."
        ) from error


def _camera_topics(found: dict[str, str]) -> dict[str, str]:
    """Images and camera infos, without what is ground truth."""
    return {
        topic: kind
        for topic, kind in found.items()
        if kind in CAMERA_TYPES and "/ground_truth/" not in topic
    }


if __name__ == "__main__":
    run_program(main)
