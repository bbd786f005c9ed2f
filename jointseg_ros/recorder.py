"""Records topics into an .mcap file, and notes the steady time at which each message arrived.

    python -m jointseg_ros.recorder OUT.mcap --topics /a /b [--log arrived.jsonl]

Ends properly at SIGINT or SIGTERM. The file appears under its name when it is complete. The log
holds one JSON object a line: first {"event": "ready"}, then for each message its topic, the stamp
of its header and the steady time (ns) of its arrival.
"""

from __future__ import annotations

import argparse
import queue
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

from mcap.writer import CompressionType, Writer
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from jointseg_core.command import run_program
from jointseg_core.errors import SegError
from jointseg_core.files import completed
from jointseg_ros.recording_program import Journal, stoppable_node
from jointseg_ros.serialized import definition, has_header, message_class, stamp_ns
from jointseg_ros.start import own_arguments, within

DEPTH = 200


class RecorderError(SegError):
    """What stopped the recorder, in one sentence."""


class Arrival(NamedTuple):
    """One message as it came in."""

    topic: str
    data: bytes
    arrived: int  # ns, steady
    time: int  # ns, the node's clock


class McapFile:
    """An .mcap file under construction, filled by a thread of its own."""

    def __init__(self, path: Path, types: dict[str, str], journal: Journal) -> None:
        self.path = path
        self.counts = dict.fromkeys(types, 0)
        self.journal = journal
        self._stamped = {topic for topic, kind in types.items() if has_header(kind)}
        self._stack = ExitStack()
        file = self._stack.enter_context(completed(path))
        self._writer = Writer(file, compression=CompressionType.ZSTD, enable_data_crcs=True)
        self._writer.start(profile="ros2", library="jointseg")
        self._channels = {topic: self._register(topic, kind) for topic, kind in types.items()}
        self._queue: queue.SimpleQueue[Arrival | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def put(self, arrival: Arrival) -> None:
        """Hand over a message; returns at once."""
        self._queue.put(arrival)

    def close(self) -> None:
        """Write what is pending, complete the file and give it its name."""
        self._queue.put(None)
        self._thread.join()
        with self._stack:
            self._writer.finish()

    def _register(self, topic: str, kind: str) -> int:
        schema = self._writer.register_schema(kind, "ros2msg", definition(kind).encode())
        return self._writer.register_channel(topic, "cdr", schema)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            self.counts[item.topic] += 1
            sequence = self.counts[item.topic]
            channel = self._channels[item.topic]
            self._writer.add_message(channel, item.time, item.data, item.time, sequence)
            stamp = stamp_ns(item.data) if item.topic in self._stamped else None
            self.journal.note(topic=item.topic, stamp_ns=stamp, arrived_ns=item.arrived)


class Recorder:
    """Subscribes to topics, whatever their type and quality of service. `stop` ends it."""

    def __init__(self, node: Node, stop: threading.Event) -> None:
        self._node, self._stop = node, stop
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)

    def wait_for(self, topics: list[str], timeout: float) -> dict[str, str]:
        """The type of each topic, once all are published; RecorderError after `timeout` s."""
        end = time.monotonic() + timeout
        while not self._stop.is_set():
            known = {name: kinds[0] for name, kinds in self._node.get_topic_names_and_types()}
            missing = [t for t in topics if t not in known or not self._node.count_publishers(t)]
            if not missing:
                return {topic: known[topic] for topic in topics}
            if time.monotonic() > end:
                raise RecorderError(
                    f"nobody published {', '.join(missing)} within {timeout:g} s; check that the "
                    "node is configured and that its name and namespace are those of the topics."
                )
            self._executor.spin_once(timeout_sec=0.05)
        raise RecorderError("stopped before all topics were published.")

    def record(self, types: dict[str, str], file: McapFile, settle: float) -> None:
        """Pass everything that arrives to `file` until `stop`; prints and logs when it is ready."""
        for topic, kind in types.items():
            self._subscribe(topic, kind, file)
        ready = time.monotonic() + settle
        while not self._stop.is_set():
            self._executor.spin_once(timeout_sec=0.05)
            if ready and time.monotonic() > ready:
                file.journal.note(event="ready")
                print(f"recording {len(types)} topics into {file.path}", flush=True)
                ready = None

    def _subscribe(self, topic: str, kind: str, file: McapFile) -> None:
        def arrived(data: bytes) -> None:
            steady = time.monotonic_ns()
            now = self._node.get_clock().now().nanoseconds
            file.put(Arrival(topic, bytes(data), steady, now))

        qos = _matching_qos(self._node, topic)
        self._node.create_subscription(message_class(kind), topic, arrived, qos, raw=True)


def main() -> int:
    """Run the recorder: 0 after a signal. Raises RecorderError when it could not record."""
    options, stop = _parser().parse_args(own_arguments()), threading.Event()
    with stoppable_node("recorder", stop) as node:
        recorder = Recorder(node, stop)
        types = recorder.wait_for(options.topics, options.timeout)
        with closing(McapFile(options.out.absolute(), types, Journal(options.log))) as file:
            recorder.record(types, file, options.settle)
    for topic, count in file.counts.items():
        print(f"{count:6d}  {topic}")
    return 0


def _matching_qos(node: Node, topic: str) -> QoSProfile:
    """Reliable and latched where every publisher is, so that nothing that is offered is lost."""
    offered = [info.qos_profile for info in node.get_publishers_info_by_topic(topic)]
    reliable = all(q.reliability == ReliabilityPolicy.RELIABLE for q in offered)
    latched = all(q.durability == DurabilityPolicy.TRANSIENT_LOCAL for q in offered)
    return QoSProfile(
        depth=DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="recorder", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the .mcap file to write")
    parser.add_argument("--topics", nargs="+", required=True)
    parser.add_argument(
        "--timeout", type=within(0), default=60.0, help="seconds to wait for topics"
    )
    parser.add_argument("--settle", type=within(0), default=0.5, help="seconds for connecting")
    parser.add_argument("--log", type=Path, help="JSON lines: stamp and arrival of each message")
    return parser


if __name__ == "__main__":
    run_program(main)
