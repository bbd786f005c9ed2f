"""A ROS program to start: what the launch files make a `Node` of, and `supervisor` a process."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
)

from jointseg_core.errors import BadConfig

PACKAGE = "jointseg_ros"
Value = str | bool | float | list[str]


@dataclass(frozen=True)
class Program:
    """A program of a package, its parameters (from files, then by name), and what it starts with.

    respawn_delay  seconds until it is started again, should it end by itself; None: never
    """

    executable: str
    package: str = PACKAGE
    name: str = ""
    namespace: str = ""
    arguments: tuple[str, ...] = ()
    parameter_files: tuple[str, ...] = ()
    parameters: Mapping[str, Value] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()
    log_level: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    respawn_delay: float | None = None

    def starts_again_after(self, code: int) -> bool:
        """Whether a new process may do better than one that ended so: a wrong start stays wrong."""
        return self.respawn_delay is not None and code != BadConfig.exit_code

    def command(self) -> list[str]:
        """The command line, without `ros2`."""
        ros = list(self._for_ros())
        return [*self._started_by(), *self.arguments, *(["--ros-args", *ros] if ros else [])]

    def _started_by(self) -> list[str]:
        if self.package == PACKAGE:
            return [sys.executable, "-m", f"{PACKAGE}.{self.executable}"]
        return [str(Path(installed(self.package)) / "lib" / self.package / self.executable)]

    def _for_ros(self) -> Iterator[str]:
        names = {"__node": self.name, "__ns": self.namespace and f"/{self.namespace.strip('/')}"}
        if self.log_level:
            yield from ("--log-level", self.log_level)
        for rule in (*((k, v) for k, v in names.items() if v), *self.remappings):
            yield from ("-r", ":=".join(rule))
        for file in self.parameter_files:
            yield from ("--params-file", file)
        for name, value in self.parameters.items():
            yield from ("-p", f"{name}:={json.dumps(value)}")  # which is YAML of the same type


def installed(package: str) -> str:
    """Where a package is; PackageNotFoundError for none."""
    return get_package_prefix(package)


def is_installed(package: str) -> bool:
    """Whether there is such a package."""
    try:
        installed(package)
    except PackageNotFoundError:
        return False
    return True


def launch_folder() -> Path:
    """Parameters, views and launch files: of this checkout, else installed."""
    here = Path(__file__).resolve().parents[2] / "launch"
    return here if here.is_dir() else Path(get_package_share_directory(PACKAGE)) / "launch"
