"""Damaged .db3 recordings: the rows that can be read come out, and the rest is named."""

import random
import sqlite3
from pathlib import Path

import pytest
from recordings import (
    STRING,
    cuts,
    flipped,
    read,
    texts,
    theirs,
)
from rosbags.rosbag2 import StoragePlugin

from jointseg_eval.recordings.bags import BadBag, BagReader, message_types, new


def test_of_a_truncated_database_the_rows_before_the_cut_are_read(tmp_path: Path):
    messages = texts(range(1000, 3000))
    path = next(theirs(tmp_path / "bag", messages, StoragePlugin.SQLITE3).glob("*.db3"))
    for k, (_, data) in enumerate(cuts(path)):
        (tmp_path / "cut.db3").write_bytes(data)
        if k == 0:
            with pytest.raises(BadBag, match="empty"):
                read(tmp_path / "cut.db3")
            continue
        found, losses = read(tmp_path / "cut.db3")
        assert found == messages[: len(found)] and losses
        assert [m for m in messages if m[1] in data[: len(data) // 4096 * 4096]] == found


def test_a_damaged_page_of_a_database_costs_its_rows(tmp_path: Path):
    messages = texts(range(1000, 3000))
    path = next(theirs(tmp_path / "bag", messages, StoragePlugin.SQLITE3).glob("*.db3"))
    data = path.read_bytes()
    page = data.find(messages[1000][1]) // 4096 * 4096
    path.write_bytes(data[:page] + b"\xff" * 4096 + data[page + 4096 :])
    found, losses = read(path)
    assert set(found) <= set(messages) and losses
    assert found[0] == messages[0] and found[-1] == messages[-1] and messages[1000] not in found
    assert len(messages) - 40 < len(found) == len(set(found)) < len(messages)
    with pytest.raises(BadBag), BagReader(path, strict=True) as bag:
        list(bag.records())


def test_between_damaged_pages_of_a_database_that_was_cut_every_row_is_read(tmp_path: Path):
    messages = texts(range(1000, 3000))
    path = next(theirs(tmp_path / "bag", messages, StoragePlugin.SQLITE3).glob("*.db3"))
    data = path.read_bytes()
    first, second, end = (data.find(messages[k][1]) // 4096 * 4096 for k in (500, 700, 1500))
    data = data[:first] + b"\xff" * 4096 + data[first + 4096 :]
    path.write_bytes(data[:second] + b"\xff" * 4096 + data[second + 4096 : end])
    found, losses = read(path)
    assert losses and set(found) <= set(messages) and len(set(found)) == len(found)
    assert {*messages[:450], *messages[550:650], *messages[750:1450]} <= set(found)


def test_large_rows_whose_data_is_cut_are_named_one_by_one(tmp_path: Path):
    store = message_types()
    large = [
        (time, bytes(store.serialize_cdr(new(STRING, data="x" * 100000), STRING)))
        for time in range(20)
    ]
    path = next(theirs(tmp_path / "bag", large, StoragePlugin.SQLITE3).glob("*.db3"))
    path.write_bytes(path.read_bytes()[:1_000_000])
    found, losses = read(path)
    assert found == large[: len(found)] and len(found) >= 8 and losses


def test_random_damage_to_a_database_never_gives_a_foreign_error(tmp_path: Path):
    path = next(theirs(tmp_path / "bag", texts(range(300)), StoragePlugin.SQLITE3).glob("*.db3"))
    data, dice, read_whole = path.read_bytes(), random.Random(4), 0
    for _ in range(120):
        damaged = data
        for _ in range(dice.choice((1, 3, 30))):
            damaged = flipped(damaged, dice.randrange(len(data)), dice.randrange(1, 256))
        path.write_bytes(damaged)
        try:
            with BagReader(path) as bag:
                read_whole += sum(1 for _ in bag.messages()) == 300
        except BadBag:
            continue
    assert read_whole > 0


def test_a_database_without_a_recording_is_refused(tmp_path: Path):
    with sqlite3.connect(tmp_path / "other.db3") as database:
        database.execute("CREATE TABLE people(name TEXT)")
    with pytest.raises(BadBag, match=r"other\.db3 .*without the tables"):
        read(tmp_path / "other.db3")
