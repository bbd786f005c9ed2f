"""Where a checkout keeps its environment, and what it remembers about it."""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """A checkout, and whether its environment stands on a sourced ROS 2."""

    root: Path
    ros: bool

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def colcon(self) -> Path:
        """The folder of colcon's build, install and log."""
        return self.venv / "ros"

    @property
    def install(self) -> Path:
        return self.colcon / "install"

    @property
    def activation(self) -> Path:
        return self.venv / "env.sh"

    @property
    def record(self) -> Path:
        """The file of stamps; its presence says that `.venv` is ours."""
        return self.venv / "set-up.json"

    def log(self, step: str) -> Path:
        return self.venv / f"set-up-{step}.log"

    def tool(self, name: str) -> Path:
        return self.root / "tools" / name

    def stamps(self) -> dict[str, str]:
        """What each finished step was made from; empty without a record, or with a damaged one."""
        try:
            return json.loads(self.record.read_text())
        except (OSError, ValueError):
            return {}

    def remember(self, step: str, key: str) -> None:
        self._write({**self.stamps(), step: key})

    def forget(self, steps: Iterable[str]) -> None:
        if not self.record.exists():
            return
        gone = set(steps)
        self._write({step: key for step, key in self.stamps().items() if step not in gone})

    def _write(self, stamps: dict[str, str]) -> None:
        write_whole(self.record, json.dumps(stamps, indent=1))


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
