"""The environment variables of an environment: for the build, and as a script to source."""

import os
import shlex
from pathlib import Path

from tools.machine import SetUpError
from tools.place import Place

# With this set, the wheels trust LD_LIBRARY_PATH to be complete; it leaks into child processes.
BOOTSTRAP = "_ROS_WHEELS_BOOTSTRAP_COMPLETE"
# What another environment may have left behind, and what would lead back into it.
FOREIGN = (
    "AMENT_PREFIX_PATH",
    "CMAKE_PREFIX_PATH",
    "LD_LIBRARY_PATH",
    "PYTHONHOME",
    "PYTHONPATH",
    "ROS_DISTRO",
    BOOTSTRAP,
)


def build_environment(place: Place) -> dict[str, str]:
    """The variables with which pip and colcon run."""
    variables = dict(os.environ)
    if not place.ros:
        variables = {name: value for name, value in variables.items() if name not in FOREIGN}
        variables["AMENT_PREFIX_PATH"] = str(place.venv)
    variables["VIRTUAL_ENV"] = str(place.venv)
    variables["PATH"] = f"{place.venv / 'bin'}:{os.environ['PATH']}"
    variables["COLCON_HOME"] = str(place.colcon / "home")
    return variables


def activation_script(place: Place) -> str:
    """A script for any POSIX shell that puts the environment and the messages on the paths."""
    underlay = [] if place.ros else [place.venv]
    lines = [
        "# Written by the set-up; source it to use ROS 2 and the messages of this checkout.",
        *([] if place.ros else [f"unset {' '.join(FOREIGN)}"]),
        f"export VIRTUAL_ENV={shlex.quote(str(place.venv))}",
        prefixed("PATH", [place.venv / "bin"]),
        prefixed("AMENT_PREFIX_PATH", [place.install, *underlay]),
        prefixed("CMAKE_PREFIX_PATH", [place.install, *underlay]),
        prefixed("LD_LIBRARY_PATH", [place.install / "lib"]),
        prefixed("PYTHONPATH", [message_modules(place)]),
    ]
    return "\n".join(lines) + "\n"


def prefixed(name: str, folders: list[Path]) -> str:
    """The line that puts folders in front of a list of paths, which may be unset."""
    front = ":".join(shlex.quote(str(folder)) for folder in folders)
    return f'export {name}={front}"${{{name}:+:${name}}}"'


def message_modules(place: Place) -> Path:
    """The folder that colcon installed the generated Python modules into."""
    for module in place.install.glob("**/jointseg_msgs/msg/__init__.py"):
        return module.parents[2]
    raise SetUpError(
        f"colcon left no jointseg_msgs/msg under {place.install}; "
        f"remove {place.venv} and run the command again"
    )
