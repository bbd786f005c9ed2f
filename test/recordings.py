"""Small recordings, written by us and by others, to be damaged."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mcap.reader import make_reader
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import StoragePlugin, Writer
from ruamel.yaml import YAML

from jointseg_eval.recordings import records as bag_records
from jointseg_eval.recordings.bags import BagReader, message_types, new

ROOT = Path(__file__).resolve().parents[1]
STRING = "std_msgs/msg/String"
ZSTD, LZ4, PLAIN = CompressionType.ZSTD, CompressionType.LZ4, CompressionType.NONE
Raw = list[tuple[int, bytes]]  # time and serialised message
rng = np.random.default_rng(5)


def texts(times: Iterator[int] | range) -> Raw:
    """A message that cannot be compressed for every time."""
    store = message_types()
    found = []
    for time in times:
        message = new(STRING, data=f"{time} {rng.bytes(60).hex()}")
        found.append((time, bytes(store.serialize_cdr(message, STRING))))
    return found


def recorded(path: Path, messages: Raw, compression: object = ZSTD, **options: object) -> Path:
    """An .mcap file with about five messages a chunk, as any other recorder may write it."""
    definition = message_types().generate_msgdef(STRING, ros_version=2)[0].encode()
    with path.open("wb") as file:
        bag = McapWriter(file, chunk_size=900, compression=compression, **options)
        bag.start("ros2", "another recorder")
        channel = bag.register_channel(
            "/text", "cdr", bag.register_schema(STRING, "ros2msg", definition)
        )
        for number, (time, data) in enumerate(messages):
            bag.add_message(channel, time, data, time + 1, number)
        bag.finish()
    return path


def theirs(path: Path, messages: Raw, storage: StoragePlugin) -> Path:
    """A bag written by rosbags."""
    with Writer(path, version=9, storage_plugin=storage) as bag:
        connection = bag.add_connection("/text", STRING, typestore=message_types())
        for time, data in messages:
            bag.write(connection, time, data)
    return path


def split(folder: Path, parts: list[Raw], storage: StoragePlugin) -> Path:
    """One recording in several files, with their times in metadata.yaml."""
    yaml, about, files = YAML(typ="safe"), {}, []
    folder.mkdir()
    for number, messages in enumerate(parts):
        part = theirs(folder.with_name(f"{folder.name}_{number}"), messages, storage)
        about = yaml.load((part / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
        (name,) = about["relative_file_paths"]
        (part / name).rename(folder / name)
        files += about["files"]
    about |= {"relative_file_paths": [f["path"] for f in files], "files": files}
    with (folder / "metadata.yaml").open("w") as file:
        yaml.dump({"rosbag2_bagfile_information": about}, file)
    return folder


def read(path: Path, **window: int) -> tuple[Raw, list[bag_records.Loss]]:
    with BagReader(path) as bag:
        found = [(record.time, bytes(record.data)) for record in bag.records(**window)]
        return found, bag.losses


def chunks(path: Path) -> list[tuple[int, int, int, int]]:
    """Begin, end, first and last time of each chunk, by mcap's own reader."""
    with path.open("rb") as file:
        indexes = make_reader(file).get_summary().chunk_indexes
    return [
        (
            c.chunk_start_offset,
            c.chunk_start_offset + c.chunk_length,
            c.message_start_time,
            c.message_end_time,
        )
        for c in indexes
    ]


def flipped(data: bytes, at: int, by: int = 0xFF) -> bytes:
    return data[:at] + bytes([data[at] ^ by]) + data[at + 1 :]


def cuts(path: Path) -> list[tuple[int, bytes]]:
    data = path.read_bytes()
    return [(len(data) * k // 10, data[: len(data) * k // 10]) for k in range(10)]
