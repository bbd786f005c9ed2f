"""Write what can be read of a damaged recording into a sound .mcap file, and say what was lost.

    python -m jointseg_eval.salvage BAG OUT.mcap

Exit codes: 0 nothing was lost, 2 usage, 3 nothing can be read, 4 something was lost, 5 OUT cannot
be written.
"""

from __future__ import annotations

import argparse
import os
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jointseg_core.command import run_program
from jointseg_core.errors import BadBag, ResourceError, in_words
from jointseg_eval.recordings.bags import BagReader, BagWriter, Topic
from jointseg_eval.recordings.records import Loss, Record

NOTHING_LOST, LOST = 0, 4
_UNPROVEN = "nothing is known to be lost; the recording has no checksums that would tell"


@dataclass
class Tally:
    """How many messages each topic has and the sum of their checksums, in whatever order."""

    counts: Counter[str] = field(default_factory=Counter)
    sums: Counter[str] = field(default_factory=Counter)

    def add(self, record: Record) -> None:
        topic = record.channel.topic
        self.counts[topic] += 1
        self.sums[topic] += zlib.crc32(f"{record.time} {record.sent}".encode())
        self.sums[topic] += zlib.crc32(record.data) << 32


@dataclass(frozen=True)
class Salvaged:
    """What was recovered: messages by topic; what the recording says it holds; what was lost.

    proven  whether all that was read was compared with a checksum
    """

    recovered: Counter[str]
    topics: dict[str, Topic]
    losses: tuple[Loss, ...]
    proven: bool


def salvage(source: Path, out: Path) -> Salvaged:
    """Write the messages of `source` that can be read to `out`, byte for byte, and compare them.

    `out` appears when it is complete and was read back. BadBag if nothing can be read.
    """
    unproven = out.with_name(f"{out.name}.unproven.mcap")
    written, read = Tally(), Tally()
    try:
        with BagReader(source) as reader, BagWriter(unproven) as writer:
            for record in reader.records():
                writer.write_record(record)
                written.add(record)
            if reader.losses and not written.counts:
                losses = " ".join(map(str, reader.losses))
                raise BadBag(f"{source.absolute()} holds no message that can be read: {losses}")
            proven = reader.is_proven
        with BagReader(unproven, strict=True) as copy:
            for record in copy.records():
                read.add(record)
        if read != written:
            raise BadBag(f"what was written to {out.parent.absolute()} reads back differently")
        os.replace(unproven, out)
    finally:
        unproven.unlink(missing_ok=True)
    return Salvaged(written.counts, reader.topics, tuple(reader.losses), proven)


def report(found: Salvaged) -> Iterable[str]:
    """What was recovered of each topic, then a sentence about each loss."""
    width = max(map(len, found.topics), default=0)
    for name, topic in sorted(found.topics.items()):
        count = found.recovered[name]
        of = f" of {topic.count}" if topic.count > count else ""
        yield f"  {name:{width}}  {count}{of} messages of {topic.type}"
    yield f"recovered: {found.recovered.total()} messages"
    sound = "nothing was lost" if found.proven else _UNPROVEN
    yield from [f"lost: {loss}" for loss in found.losses] or [sound]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; the exit code, or BadBag where nothing can be read."""
    parser = argparse.ArgumentParser(prog="salvage", description=__doc__.splitlines()[0])
    parser.add_argument("bag", type=Path, help="a rosbag2 directory, a .mcap file or a .db3 file")
    parser.add_argument("out", type=Path, help="the .mcap file to write")
    parser.add_argument("--force", action="store_true", help="replace the file OUT")
    options = parser.parse_args(arguments)
    if reason := _refusal(options.bag, options.out, options.force):
        parser.error(reason)
    try:
        found = salvage(options.bag, options.out)
    except OSError as error:
        where = options.out.absolute()
        reason = in_words(error)
        raise ResourceError(f"{where} cannot be written ({reason}); give another place.") from error
    print(*report(found), sep="\n")
    print(f"written to {options.out.absolute()}")
    return LOST if found.losses else NOTHING_LOST


def _refusal(bag: Path, out: Path, force: bool) -> str | None:
    if out.suffix != ".mcap":
        return f"OUT is {out}; give the name of an .mcap file."
    place, source = (Path(os.path.realpath(path)) for path in (out, bag))
    if place == source or source in place.parents:
        return f"OUT is {out}, part of the recording itself; give another place."
    if out.exists() and not (force and out.is_file()):
        return f"{out.absolute()} exists; give another name or --force."
    return None


if __name__ == "__main__":
    run_program(main)
