#!/usr/bin/env python3
"""The programs of this package by their names, wherever it was installed.

    jointseg predict street.png --weights joint --out seen      after pip install
    ros2 run jointseg_ros predict street.png ...                after colcon build
    python -m jointseg_eval predict street.png ...              in a checkout

colcon installs this file under each of the names but train, pip the one that takes a name as first
argument.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import runpy
import sys
from typing import NamedTuple, NoReturn

if __name__ == "__main__" and not __package__:  # a file in a folder of programs
    sys.path.pop(0)  # with links to the sources it would be this one, whose modules hide others
    sys.path.append(os.path.dirname(os.path.abspath(sys.argv[0])))  # where the benchmarks are

from jointseg_core.command import exit_code
from jointseg_core.errors import BadConfig, ResourceError


class Program(NamedTuple):
    """A module to run, and what it does."""

    module: str
    text: str


PROGRAMS = {
    "perception_node": Program("jointseg_ros.perception_node", "the node itself"),
    "launch": Program("jointseg_ros", "start what the launch files start, without ros2 launch"),
    "player": Program("jointseg_ros.player", "play an .mcap file to the node"),
    "recorder": Program("jointseg_ros.recorder", "record topics into an .mcap file"),
    "benchmark": Program("benchmarks.ros", "measure the node, from message to message"),
    "predict": Program("jointseg_eval.predict", "see pictures, folders and videos"),
    "evaluate": Program("jointseg_eval.evaluate", "score weights on a data set"),
    "evaluate_bag": Program("jointseg_eval.evaluate_bag", "score weights or a node on recordings"),
    "salvage": Program("jointseg_eval.salvage", "recover a damaged recording"),
    "check_data": Program("jointseg_eval.check_data", "name every defect of a data set"),
    "train": Program("training.train", "train on your own pictures"),
    "export": Program("jointseg_core.export", "write weights for another runtime"),
}
OF_ROS = {"benchmarks", "jointseg_ros", "rclpy"}


def program() -> NoReturn:
    """The console script; what runs in the end handles signals itself."""
    sys.exit(exit_code(main))


def main() -> int:
    """Run the program that the name of this one says, else the first argument.

    Raises BadConfig for a name that no program has, ResourceError where it lacks a package.
    """
    name = os.path.basename(sys.argv[0])
    if name not in PROGRAMS:
        name = sys.argv.pop(1) if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print(_help())
        return 0
    if name not in PROGRAMS:
        near = difflib.get_close_matches(name, PROGRAMS, 1) or PROGRAMS
        raise BadConfig(f"no program is called {name}; there is {', '.join(near)}")
    module = PROGRAMS[name].module
    try:
        if importlib.util.find_spec(module) is None:  # runpy's error does not name the package
            raise ModuleNotFoundError(name=module)
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except ModuleNotFoundError as error:
        raise ResourceError(f"{name} needs {_lacking(error)}") from error
    return 0


def _lacking(error: ModuleNotFoundError) -> str:
    package = (error.name or "").partition(".")[0]
    if package in OF_ROS:
        return "ROS 2, and this package built there by colcon: source its install/setup.bash"
    return f"the Python package {package}, which is not installed; README.md says what to install"


def _help() -> str:
    lines = [f"  {name:16}{program.text}" for name, program in PROGRAMS.items()]
    return "\n".join(["usage: jointseg PROGRAM [--help] ...", "", *lines])


if __name__ == "__main__":
    program()
