"""What numbers come from: the machine, the versions, the commit, the code."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision

ROOT = Path(__file__).parents[1]


def environment(command: str, device: torch.device, world: int) -> dict[str, Any]:
    """Command, versions, machine and source of this process."""
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": command,
        "device": device_name(device),
        "processes": world,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
        "cuda": torch.version.cuda,
        "git": git_state(),
    }


@cache
def code_digest(*places: str) -> str:
    """Digest of all Python files below some folders or files of the project, named from its root.

    With it go results that are kept: other code, other results. It needs no git, and commits that
    leave these places alone leave the results in use.
    """
    found = [file for place in places for file in _python_files(ROOT / place)]
    digest = hashlib.sha256()
    for file in sorted(found):
        digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _python_files(place: Path) -> list[Path]:
    return list(place.rglob("*.py")) if place.is_dir() else [place]


def device_name(device: torch.device) -> str:
    """What people call a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu {platform.processor() or platform.machine()}"


def git_state(root: Path = ROOT) -> dict[str, Any] | None:
    """Commit of the checkout and whether files differ from it; None where there is no git."""
    try:
        sha = _git(root, "rev-parse", "HEAD").strip()
        return {"commit": sha, "changed": bool(_git(root, "status", "--porcelain").strip())}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
