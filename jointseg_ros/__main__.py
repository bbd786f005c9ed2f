"""Starts what the launch files start, with their arguments, where there is no `ros2 launch`.

    python -m jointseg_ros perception image_topic:=/camera/image_raw
    python -m jointseg_ros replay bag:=drive.mcap out:=replayed
    python -m jointseg_ros perception --show-args

Ends all that it has started at SIGINT and SIGTERM, and by itself when every node has ended.
"""

from __future__ import annotations

import argparse
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from typing import IO

from jointseg_core.command import run_program
from jointseg_core.errors import BadConfig
from jointseg_ros.launching import perception, replay
from jointseg_ros.launching.arguments import table, values
from jointseg_ros.launching.supervisor import LOOKS, Supervisor

LAUNCHES = {"perception": perception.ARGUMENTS, "replay": replay.ARGUMENTS}


def main() -> int:
    """Run one of the launches; the highest of the exit codes of what it has started."""
    options = _parser().parse_args()
    arguments = LAUNCHES[options.launch.removesuffix(".launch.py")]
    if options.show_args:
        print(table(arguments))
        return 0
    given = values(arguments, options.arguments)
    return _replay(given) if arguments is replay.ARGUMENTS else _perception(given)


def _perception(given: Mapping[str, str]) -> int:
    with Supervisor() as running:
        started = running.start(perception.programs(given))
        while any(process.look() is None for process in started):
            time.sleep(LOOKS)
        return max(process.look() or 0 for process in started)


def _replay(given: Mapping[str, str]) -> int:
    """Play when the recorder hears every node, and end some seconds after the last frame."""
    replay.check(given)
    if not replay.is_ours(given["bag"]):
        raise BadConfig(f"bag:={given['bag']} is played by `ros2 launch` alone; give a .mcap file")
    words = [":=".join(pair) for pair in replay.perception(given).items()]
    nodes = perception.programs(values(perception.ARGUMENTS, words))
    with Supervisor() as running:
        running.start(nodes)
        [recorder] = running.start([replay.recorder(given)], subprocess.PIPE)
        if not any(replay.READY in line for line in _told(recorder.output)):
            return recorder.wait()
        threading.Thread(target=lambda: list(_told(recorder.output)), daemon=True).start()
        [player] = running.start([replay.player(given)])
        if code := player.wait():
            return code
        time.sleep(replay.LAST_RESULTS_S)
    return recorder.wait()


def _told(output: IO[str]) -> Iterator[str]:
    for line in output:
        print(line, end="", flush=True)
        yield line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="launch",
        description=__doc__.splitlines()[0],
        epilog="The arguments of a launch: --show-args after its name.",
    )
    launches = [*LAUNCHES, *(f"{name}.launch.py" for name in LAUNCHES)]
    parser.add_argument("launch", choices=launches, metavar="|".join(LAUNCHES))
    parser.add_argument("arguments", nargs="*", metavar="name:=value")
    parser.add_argument(
        "--show-args", action="store_true", help="the arguments, and what they mean"
    )
    return parser


if __name__ == "__main__":
    run_program(main)
