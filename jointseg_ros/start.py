"""The start of every ROS program here: rclpy, and in one sentence why it does not start."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import rclpy
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from jointseg_core.errors import BadConfig, ResourceError

_PLACE_IN_RCL = re.compile(r", at [^\s,]+:\d+")
_ERRORS_OF_RCL = {"RCLError", "RCLInvalidROSArgsError", "UnknownROSArgsError"}


def start_ros(arguments: Sequence[str] | None = None) -> None:
    """Initialise rclpy by these arguments, else by those of the process; signals stay as they are.

    Raises BadConfig for arguments or variables that mean nothing, and ResourceError where there is
    no place for the logs, with what rcl says of them.
    """
    with _said_in_a_sentence():
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)


def own_arguments(arguments: Sequence[str] | None = None) -> list[str]:
    """A command line, else that of the process, without the program and what is for ROS.

    Raises BadConfig as above.
    """
    with _said_in_a_sentence():
        return remove_ros_args(sys.argv if arguments is None else list(arguments))[1:]


def parser_of_none(program: str, description: str) -> argparse.ArgumentParser:
    """Of a program whose arguments are all for ROS: it explains that, and refuses others."""
    epilog = "parameters: --ros-args -p NAME:=VALUE --params-file FILE; names: -r OLD:=NEW"
    return argparse.ArgumentParser(program, description=description, epilog=epilog)


def within(low: float, high: float = 1e6, kind: type = float) -> Callable[[str], float]:
    """Type of an option that is a number from low to high."""

    def number(text: str) -> float:
        value: float = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not within {low:g} and {high:g}")
        return value

    return number


@contextmanager
def _said_in_a_sentence() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # rclpy has the classes of these in a private module
        if type(error).__name__ not in _ERRORS_OF_RCL:
            raise
        text = _PLACE_IN_RCL.sub("", f"{error}")
        if "logging" in text:
            raise ResourceError(
                f"{text}; set ROS_LOG_DIR to a folder that can be written"
            ) from error
        reason = re.sub("^failed to initialize rcl: |^Failed to parse ROS arguments: ", "", text)
        if "UnknownROSArgs" in type(error).__name__:
            reason = f"nobody knows {text}"
        raise BadConfig(f"{reason}; check what follows --ros-args, and ROS_DOMAIN_ID") from error
