"""What a run ran on and with, so that its numbers can be understood later."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision

ROOT = Path(__file__).parent.parent


def command_line(arguments: Sequence[str]) -> str:
    """The command as it can be typed again."""
    return shlex.join(["python", "-m", "training.train", *arguments])


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
