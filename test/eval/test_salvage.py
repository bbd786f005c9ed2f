"""Recordings that the tests damage: what is whole comes out, and the rest is named."""

import random
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import lz4.frame
import pytest
import zstandard
from mcap.reader import make_reader
from recordings import (
    LZ4,
    PLAIN,
    ROOT,
    STRING,
    ZSTD,
    chunks,
    cuts,
    flipped,
    read,
    recorded,
    split,
    texts,
    theirs,
)
from rosbags.rosbag2 import Reader, StoragePlugin

from jointseg_core.command import exit_code
from jointseg_eval import salvage
from jointseg_eval.recordings.bags import BadBag, BagReader, BagWriter, message_types


@pytest.mark.parametrize("compression", [ZSTD, LZ4, PLAIN])
def test_of_a_truncated_file_every_whole_chunk_is_read(tmp_path: Path, compression: object):
    messages = texts(range(100, 160))
    whole = recorded(tmp_path / "whole.mcap", messages, compression)
    places, cut_off = chunks(whole), tmp_path / "cut.mcap"
    assert len(places) > 8
    for cut, data in [
        *cuts(whole),
        (sum(places[4][:2]) // 2, whole.read_bytes()[: sum(places[4][:2]) // 2]),
    ]:
        cut_off.write_bytes(data)
        ends = [last for _, end, _, last in places if end <= cut]
        if not ends:
            with pytest.raises(BadBag, match=r"cut\.mcap"):
                read(cut_off)
            continue
        found, losses = read(cut_off)
        assert found == [m for m in messages if m[0] <= ends[-1]]
        assert len(losses) == 1 and "cut.mcap" in str(losses[0])
        with pytest.raises(BadBag), BagReader(cut_off, strict=True):
            pass


def test_of_a_truncated_file_without_chunks_every_whole_message_is_read(tmp_path: Path):
    messages = texts(range(100, 160))
    whole = recorded(tmp_path / "whole.mcap", messages, use_chunking=False)
    assert read(whole) == (messages, [])
    for cut, data in cuts(whole)[1:]:
        (tmp_path / "cut.mcap").write_bytes(data)
        places = {time: whole.read_bytes().find(d) + len(d) for time, d in messages}
        found, losses = read(tmp_path / "cut.mcap")
        assert found == [m for m in messages if places[m[0]] <= cut] and losses


def test_a_chunk_that_was_cut_is_named_with_its_times(tmp_path: Path):
    path = recorded(tmp_path / "one.mcap", texts(range(100, 160)))
    begin, end, first, last = chunks(path)[5]
    path.write_bytes(path.read_bytes()[: end - 3])
    (loss,) = read(path)[1]
    assert (loss.start, loss.end, loss.messages) == (first, last, None)
    assert f"chunk at byte {begin}" in str(loss) and "unknown number" in str(loss)


@pytest.mark.parametrize("storage", ["ours", "theirs", "another"])
def test_a_file_that_was_never_closed_loses_nothing_that_was_in_it(tmp_path: Path, storage: str):
    messages = texts(range(40))
    path = tmp_path / "bag.mcap"
    if storage == "ours":
        with BagWriter(path) as bag:
            for time, data in messages:
                bag.write_raw("/text", STRING, data, time, "string data")
    elif storage == "theirs":
        path = next(theirs(tmp_path / "bag", messages, StoragePlugin.MCAP).glob("*.mcap"))
    else:
        recorded(path, messages)
    data = path.read_bytes()
    path.write_bytes(data[: int.from_bytes(data[-28:-20], "little") - 13])
    found, losses = read(path)
    assert found == messages
    assert [loss.what for loss in losses] == [
        "stops before its index, as when a recorder is killed or a copy is cut off"
    ]
    with BagReader(path) as bag:
        assert bag.topics["/text"].count == 40
        assert (bag.start, bag.stop) == (None, None)


@pytest.mark.parametrize("indexed", [True, False])
def test_a_flipped_byte_costs_its_chunk_and_is_named(tmp_path: Path, indexed: bool):
    messages = texts(range(100, 160))
    path = recorded(tmp_path / "one.mcap", messages)
    _, end, first, last = chunks(path)[3]
    data = flipped(path.read_bytes(), end - 40)
    path.write_bytes(data if indexed else data[:-400])
    found, losses = read(path)
    assert found == [m for m in messages if not first <= m[0] <= last]
    loss = losses[-1]
    assert (loss.start, loss.end, loss.messages) == (first, last, last - first + 1)
    with pytest.raises(BadBag, match=r"one\.mcap"), BagReader(path, strict=True) as bag:
        list(bag.records())


def test_losses_are_told_once_however_often_one_reads(tmp_path: Path):
    path = recorded(tmp_path / "one.mcap", texts(range(100, 160)))
    path.write_bytes(flipped(path.read_bytes(), chunks(path)[3][1] - 40))
    with BagReader(path) as bag:
        for _ in range(2):
            list(bag.messages())
        assert len(bag.losses) == 1


@pytest.mark.parametrize("compression", [ZSTD, PLAIN])
@pytest.mark.parametrize("cut", [0, 10, 3000])
def test_random_flips_never_give_a_wrong_message_or_a_foreign_error(
    tmp_path: Path, compression: object, cut: int
):
    messages = texts(range(100, 130))
    path, dice = recorded(tmp_path / "one.mcap", messages, compression), random.Random(cut)
    data, right, unnoticed = path.read_bytes(), set(messages), 0
    data = data[: len(data) - cut]
    for _ in range(150):
        damaged = data
        for _ in range(dice.choice((1, 1, 3))):
            damaged = flipped(damaged, dice.randrange(len(data)), dice.randrange(1, 256))
        path.write_bytes(damaged)
        try:
            found, losses = read(path)
        except BadBag:
            continue
        assert set(found) <= right and len(set(found)) == len(found)
        unnoticed += len(found) < len(messages) and not losses
    assert unnoticed == 0


def test_a_damaged_index_costs_no_message(tmp_path: Path):
    messages = texts(range(100, 160))
    path = recorded(tmp_path / "one.mcap", messages)
    data = path.read_bytes()
    path.write_bytes(flipped(data, len(data) - 60))
    found, losses = read(path)
    assert found == messages and {loss.messages for loss in losses} == {0}
    assert "no message lost" in str(losses[0])


def test_an_index_without_a_checksum_that_points_astray_is_not_followed(tmp_path: Path):
    messages = texts(range(100, 160))
    path = recorded(tmp_path / "one.mcap", messages, enable_crcs=False)
    data, (begin, *_) = path.read_bytes(), chunks(path)[2]
    at = data.rfind(struct.pack("<Q", begin))
    path.write_bytes(flipped(data, at, 1))
    found, losses = read(path)
    assert found == messages and losses


def test_a_file_that_was_written_without_an_index_is_not_damaged(tmp_path: Path):
    messages = texts(range(100, 160))
    options = {"use_statistics": False, "repeat_channels": False, "use_summary_offsets": False}
    path = recorded(tmp_path / "one.mcap", messages, **options)
    assert read(path) == (messages, [])
    with BagReader(path) as bag:
        assert (bag.start, bag.stop, bag.topics["/text"].count) == (100, 160, 60)


def with_chunk(path: Path, size: int, crc: int, compression: bytes, data: bytes) -> Path:
    """A good recording cut before its summary, followed by one chunk more."""
    whole = recorded(path, texts(range(20))).read_bytes()
    body = struct.pack("<QQQII", 50, 60, size, crc, len(compression)) + compression
    body += struct.pack("<Q", len(data)) + data
    end = chunks(path)[-1][1]
    path.write_bytes(whole[:end] + struct.pack("<BQ", 6, len(body)) + body)
    return path


def endless(compression: bytes, size: int, told: bool = True) -> bytes:
    if compression == b"lz4":
        return lz4.frame.compress(bytes(size))
    packer = zstandard.ZstdCompressor(write_content_size=told).compressobj(
        size=size if told else -1
    )
    block = bytes(1 << 20)
    return b"".join([packer.compress(block) for _ in range(size >> 20)]) + packer.flush()


@pytest.mark.parametrize(
    ("compression", "claimed", "real", "told"),
    [
        (b"zstd", 10 << 30, 1 << 30, True),
        (b"zstd", 1000, 1 << 30, True),
        (b"zstd", 1000, 1 << 30, False),
        (b"lz4", 1000, 1 << 28, True),
        (b"lz4", 10 << 30, 1 << 28, True),
        (b"", 10 << 30, 1 << 20, True),
    ],
)
def test_an_absurd_chunk_is_refused_before_it_fills_the_memory(
    tmp_path: Path, compression: bytes, claimed: int, real: int, told: bool
):
    data = endless(compression, real, told) if compression else bytes(30000)
    path = with_chunk(tmp_path / "bomb.mcap", claimed, 0, compression, data)
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))\n"
        "from jointseg_eval.recordings.bags import BagReader\n"
        "with BagReader(sys.argv[1]) as bag:\n"
        "    print(len(list(bag.messages())), *bag.losses, sep='\\n')\n"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, check=True
    )
    count, *losses, peak = run.stdout.splitlines()
    assert count == "20" and int(peak) < 400_000
    assert any("claims" in loss for loss in losses)


def test_a_chunk_of_many_empty_messages_needs_no_memory_for_each(tmp_path: Path):
    """The expanded chunk and two numbers a message, not an object for each."""
    one = struct.pack("<BQHIQQ", 5, 22, 1, 0, 55, 55)
    raw = one * (1 << 13)
    data = zstandard.compress(raw)
    path = with_chunk(tmp_path / "many.mcap", len(raw), zlib.crc32(raw), b"zstd", data)
    tracemalloc.start()
    with BagReader(path) as bag:
        assert sum(1 for _ in bag.records(start=50)) == 1 << 13
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * len(raw)


@pytest.mark.parametrize("damage", ["none", "footer"])
def test_times_that_jump_come_in_their_order_with_and_without_index(tmp_path: Path, damage: str):
    times = [*range(500, 540), *range(100, 140), (1 << 63) - 2, (1 << 63) - 1, *range(600, 610), 0]
    messages = texts(times)
    path = recorded(tmp_path / "jump.mcap", messages)
    if damage == "footer":
        path.write_bytes(path.read_bytes()[:-20])
    found, _ = read(path)
    assert found == sorted(messages, key=lambda m: m[0])
    assert exit_code(lambda: salvage.main([str(path), str(tmp_path / "out.mcap")])) == (
        4 if damage == "footer" else 0
    )
    assert read(tmp_path / "out.mcap") == (found, [])


@pytest.mark.parametrize("storage", list(StoragePlugin))
@pytest.mark.parametrize("damage", ["noise", "gone", "empty"])
def test_a_bad_file_of_a_split_recording_costs_itself(
    tmp_path: Path, storage: StoragePlugin, damage: str
):
    parts = [texts(range(k, k + 30)) for k in (100, 200, 300)]
    folder = split(tmp_path / "bag", parts, storage)
    middle = next(folder.glob("*_1.*"))
    middle.unlink()
    if damage != "gone":
        middle.write_bytes(bytes(range(256)) * 9 if damage == "noise" else b"")
    found, losses = read(folder)
    assert found == parts[0] + parts[2]
    (loss,) = losses
    assert (loss.file, loss.start, loss.end, loss.messages) == (middle.name, 200, 229, 30)
    assert read(folder, start=110, stop=305)[0] == parts[0][10:] + parts[2][:5]
    with BagReader(folder) as bag:
        assert (bag.start, bag.stop) == (None, None)


def test_a_cut_file_in_the_middle_of_a_split_recording_gives_its_whole_chunks(tmp_path: Path):
    parts = [texts(range(k, k + 30)) for k in (100, 200, 300)]
    folder = split(tmp_path / "bag", parts, StoragePlugin.MCAP)
    middle = recorded(next(folder.glob("*_1.mcap")), parts[1])
    end, last = chunks(middle)[2][1::2]
    middle.write_bytes(middle.read_bytes()[: end + 20])
    found, _ = read(folder)
    assert found == parts[0] + [m for m in parts[1] if m[0] <= last] + parts[2]


@pytest.mark.parametrize("text", ["{", "a: 1", "", "rosbag2_bagfile_information: 7", "\x00\xff"])
def test_without_a_usable_metadata_the_files_are_read(tmp_path: Path, text: str):
    parts = [texts(range(k, k + 30)) for k in (100, 200)]
    folder = split(tmp_path / "bag", parts, StoragePlugin.SQLITE3)
    (folder / "metadata.yaml").write_text(text, "latin-1")
    found, losses = read(folder)
    assert found == parts[0] + parts[1]
    assert [(loss.file, loss.messages) for loss in losses] == [("metadata.yaml", 0)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\1\0\0",
        b"\0\1\0\0\xff\xff\xff\xff",
        b"\0\1\0\0\xf0\xff\xff\xffab",
        b"\0\1\0\0\5\0\0\0ab",
        b"\0\0\0\0\5\0\0\0abcd\0",
        b"\7\7\0\0\1\0\0\0\0",
    ],
)
@pytest.mark.parametrize("kind", [STRING, "sensor_msgs/msg/Image", "tf2_msgs/msg/TFMessage"])
def test_a_hostile_message_is_skipped(tmp_path: Path, data: bytes, kind: str):
    text = message_types().generate_msgdef(kind, ros_version=2)[0]
    with BagWriter(tmp_path / "one.mcap") as bag:
        bag.write_raw("/topic", kind, data, 5, text)
    with BagReader(tmp_path / "one.mcap") as bag:
        assert list(bag.messages()) == [] and bag.skipped == {"/topic": 1} and not bag.losses


def test_the_salvaged_file_is_sound_and_tells_what_was_lost(tmp_path: Path, capsys):
    messages = texts(range(100, 160))
    path, out = recorded(tmp_path / "one.mcap", messages, LZ4), tmp_path / "out/saved.mcap"
    first, last = chunks(path)[3][2:]
    path.write_bytes(flipped(path.read_bytes(), chunks(path)[3][1] - 40))
    expected = [m for m in messages if not first <= m[0] <= last]
    assert exit_code(lambda: salvage.main([str(path), str(out)])) == 4
    said = capsys.readouterr().out
    assert f"/text  {len(expected)} of 60 messages of {STRING}" in said and "wrong checksum" in said
    with out.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        found = [(m.log_time, m.publish_time, m.data, s.name) for s, _, m in reader.iter_messages()]
    assert found == [(time, time + 1, data, STRING) for time, data in expected]
    with Reader(out) as bag:
        assert [(time, bytes(data)) for _, time, data in bag.messages()] == expected
        assert "string data" in bag.connections[0].msgdef.data
    with BagReader(out, strict=True) as bag:
        assert sum(1 for _ in bag.messages()) == len(expected) and not bag.skipped
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize("storage", list(StoragePlugin))
def test_salvage_of_a_sound_recording_keeps_every_byte(
    tmp_path: Path, storage: StoragePlugin, capsys
):
    parts = [texts(range(k, k + 30)) for k in (100, 200)]
    folder = split(tmp_path / "bag", parts, storage)
    assert exit_code(lambda: salvage.main([str(folder), str(tmp_path / "out.mcap")])) == 0
    assert "nothing is known to be lost" in capsys.readouterr().out
    assert read(tmp_path / "out.mcap") == (parts[0] + parts[1], [])


def test_salvage_refuses_what_it_would_spoil_and_leaves_nothing_when_nothing_is_read(
    tmp_path: Path, capsys
):
    path, out = recorded(tmp_path / "one.mcap", texts(range(9))), tmp_path / "out.mcap"
    before = path.read_bytes()
    out.write_bytes(b"precious")
    for target, reason in ((path, "itself"), (out, "--force"), (tmp_path / "out.bag", "mcap")):
        with pytest.raises(SystemExit) as caught:
            salvage.main([str(path), str(target)])
        assert caught.value.code == 2 and reason in capsys.readouterr().err
    (tmp_path / "bad.mcap").write_bytes(before[:100])
    assert (
        exit_code(lambda: salvage.main([str(tmp_path / "bad.mcap"), str(tmp_path / "new.mcap")]))
        == 3
    )
    assert "bad.mcap" in capsys.readouterr().err
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"one.mcap", "out.mcap", "bad.mcap"} and out.read_bytes() == b"precious"
    assert exit_code(lambda: salvage.main([str(path), str(out), "--force"])) == 0
    assert len(read(out)[0]) == 9 and path.read_bytes() == before


def test_a_recording_whose_every_chunk_is_damaged_is_not_salvaged(tmp_path: Path, capsys):
    path = recorded(tmp_path / "one.mcap", texts(range(3)))
    path.write_bytes(flipped(path.read_bytes(), chunks(path)[0][1] - 40))
    assert exit_code(lambda: salvage.main([str(path), str(tmp_path / "out.mcap")])) == 3
    assert "wrong checksum" in capsys.readouterr().err or not (tmp_path / "out.mcap").exists()
    assert {file.name for file in tmp_path.iterdir()} == {"one.mcap"}
