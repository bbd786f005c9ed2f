"""Where a checkout keeps its environments. What one is made from is in its name.

    .venv                            a link to the one used last
    .venv-pypi-<digest>/             Python and packages; .venv-jazzy-<digest> on a sourced Jazzy
        ros-<digest>/env.sh          the messages, built by colcon, and what to source
        env.sh                       a link to that

A folder with other contents gets another name, so nothing is changed under those who use it. The
file `made` in it is written last: a folder without it was left half-made.
"""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ANY = "[0-9a-f]" * 16  # a glob of digests


@dataclass(frozen=True)
class Place:
    """One environment: of which checkout, on which sourced ROS 2 ("" for none), made from what."""

    root: Path
    ros: str
    packages: str
    messages: str

    @property
    def link(self) -> Path:
        return self.root / ".venv"

    @property
    def venv(self) -> Path:
        return self.root / f"{self.family}{self.packages}"

    @property
    def family(self) -> str:
        """The beginning of the names of environments that replace each other."""
        return f".venv-{self.ros or 'pypi'}-"

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def colcon(self) -> Path:
        """The folder of colcon's build, install and log."""
        return self.venv / f"ros-{self.messages}"

    @property
    def install(self) -> Path:
        return self.colcon / "install"

    @property
    def activation(self) -> Path:
        return self.colcon / "env.sh"

    def log(self, step: str) -> Path:
        return self.venv / f"set-up-{step}.log"

    def tool(self, name: str) -> Path:
        return self.root / "tools" / name


def made(folder: Path) -> str | None:
    """What the mark of a folder says, such as what links are in it; None if it is not made."""
    mark = folder / "made"
    return mark.read_text() if mark.exists() else None


def write_whole(file: Path, text: str) -> None:
    """Write a file so that whoever reads it finds the old text or the new one, never a part."""
    part = file.with_name(file.name + ".part")
    part.write_text(text)
    os.replace(part, file)


def digest(values: Iterable[object], files: Iterable[Path] = ()) -> str:
    """A key that changes with the values and with the names and contents of the files."""
    sha = hashlib.sha256(repr([str(value) for value in values]).encode())
    for file in sorted(files):
        sha.update(f"{file.name}\0{file.stat().st_size}\0".encode() + file.read_bytes())
    return sha.hexdigest()[:16]
