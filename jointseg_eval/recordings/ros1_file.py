"""One .bag file of ROS 1, by the reader of rosbags; nothing is salvaged from a damaged one."""

from __future__ import annotations

import bz2
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lz4.frame
from rosbags.rosbag1 import Reader
from rosbags.rosbag1.reader import decompressors

from jointseg_core.errors import BadBag
from jointseg_core.files import open_file
from jointseg_eval.recordings.records import (
    MAX_BYTES,
    Channel,
    Damaged,
    Loss,
    Lost,
    Record,
    Topics,
    one_line,
)

MAGIC = b"#ROSBAG V"
EXPANDING = {"bz2": bz2.BZ2Decompressor, "lz4": lz4.frame.LZ4FrameDecompressor}


class Ros1File:
    """A .bag file, open as long as `stack` is. BadBag if it cannot be read.

    channels     what it holds, with the number of messages of each
    start, stop  times (ns) of the first message, and just after the last; None without messages
    """

    def __init__(self, path: Path, stack: ExitStack, lost: Lost) -> None:
        with open_file(path) as file:
            if not (head := file.read(len(MAGIC))).startswith(MAGIC):
                raise BadBag("it does not begin as a .bag file does" if head else "it is empty")
        self._name = path.name
        try:
            self._reader = stack.enter_context(Reader(path))
        except Exception as error:  # the reader's own, and whatever damage makes it stumble over
            advice = "'rosbag reindex' of ROS 1 may mend it"
            raise BadBag(f"its index cannot be read ({one_line(error)}): {advice}") from error
        chunks = self._reader.chunks
        chunks.update(
            (at, chunk._replace(decompressor=_expanding(chunk.decompressor)))
            for at, chunk in list(chunks.items())
        )
        self._connections = {c.id: _channel(c) for c in self._reader.connections}
        self.channels: Counter[Channel] = Counter()
        for connection in self._reader.connections:
            self.channels[self._connections[connection.id]] += connection.msgcount
        has_any = self.channels.total() > 0
        self.start = self._reader.start_time if has_any else None
        self.stop = self._reader.end_time if has_any else None

    def records(self, topics: Topics, start: int, stop: int, lost: Lost) -> Iterator[Record]:
        """The messages received in [start, stop), in the order of their times."""
        wanted = [c for c in self._reader.connections if topics is None or c.topic in topics]
        try:
            for connection, time, data in (
                self._reader.messages(wanted, start, stop) if wanted else ()
            ):
                yield Record(self._connections[connection.id], time, time, memoryview(data))
        except Exception as error:  # as above
            what = f"it is damaged ({one_line(error)}); what follows was not read"
            lost(Loss(self._name, what))


def _channel(connection: Any) -> Channel:
    kind, text = connection.msgtype, connection.msgdef.data
    return Channel(connection.topic, kind, text, "ros1msg", "ros1")


def _expanding(whole: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """The same decompressor with an end."""
    names = [name for name, known in decompressors.items() if known is whole]
    new = EXPANDING.get(*names) if names else None

    def expand(data: bytes) -> bytes:
        found = new().decompress(data, MAX_BYTES + 1)
        if len(found) > MAX_BYTES:
            raise Damaged(f"a chunk expands to more than the {MAX_BYTES} bytes allowed")
        return found

    return expand if new else whole
