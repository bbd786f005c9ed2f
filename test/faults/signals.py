"""P. Signals that come while a program starts: it ends at once, with its code, without a word."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from faults.contract import Case

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {  # and what Python imports of each before its own module
    "jointseg_ros.perception_node": "jointseg_ros",
    "jointseg_ros.recorder": "jointseg_ros",
    "jointseg_ros": "jointseg_ros",
    "jointseg_core.export": "jointseg_core.export",
    "jointseg_eval.evaluate": "jointseg_eval",
    "jointseg_eval.salvage": "jointseg_eval",
    "training.train": "training",
    "demo": "demo",
    "benchmarks.soak": "benchmarks",
}
ENDS_WELL = "jointseg_ros.perception_node"
"""With 0 at each of the two signals."""


def _signalled(program: str, number: int) -> None:
    """The signal comes right after the package, when the program imports all that it needs."""
    command = [sys.executable, "-X", "importtime", "-m", program, "--help"]
    process = subprocess.Popen(command, stdout=-1, stderr=-1, cwd=ROOT, text=True)
    for line in process.stderr:
        if line.split("|")[-1].strip() == PROGRAMS[program]:
            break
    process.send_signal(number)
    said = process.communicate()[1]
    codes = (0, 128 + number) if program == ENDS_WELL else (128 + number,)  # as the moment has it
    assert process.returncode in codes, (process.returncode, said)
    assert "Traceback" not in said, said


def signalled(program: str, number: signal.Signals) -> Case:
    return Case(
        "signals",
        f"{number.name} while {program} is imported",
        lambda folder: (program, number),
        _signalled,
        often=program in (ENDS_WELL, "training.train"),
        seconds=40,
    )


CASES = [
    signalled(program, number) for program in PROGRAMS for number in (signal.SIGINT, signal.SIGTERM)
]
