"""A process that has imported everything once and forks for every case: 50 ms instead of seconds.

    python -m faults.server                  (asked by `Server`, in JSON lines)

It imports and never computes, so that no thread is lost in a fork.
"""

from __future__ import annotations

import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from faults.contract import Case, Outcome

ROOT = Path(__file__).resolve().parents[2]
FILE_BYTES = 256 << 20
ROOM_BYTES = 3 << 30
"""Address space beyond what the imports take: what stops a bomb before the machine suffers."""
GRACE_S = 2.0


class Server:
    """The process, used by the tests: `outcome` runs one case."""

    def __init__(self, log: Path) -> None:
        path = os.pathsep.join([str(ROOT / "test"), str(ROOT), os.environ.get("PYTHONPATH", "")])
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "faults.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            text=True,
        )

    def outcome(self, case: Case, folder: Path) -> Outcome:
        """What becomes of it, in an empty folder."""
        domain = os.environ.get("ROS_DOMAIN_ID", "0")
        self._process.stdin.write(json.dumps([str(case), str(folder), domain]) + "\n")
        self._process.stdin.flush()
        for answer in self._process.stdout:
            name, found = json.loads(answer)
            if name == str(case):  # others are of cases whose test was given up
                return Outcome(**found | {"raised": tuple(found["raised"])})
        raise RuntimeError(f"the server ended: {Path(self._log.name).read_text()[-3000:]}")

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(60)
        self._log.close()


def serve(questions: IO[str], answers: IO[str], cases: Mapping[str, Case]) -> None:
    """Answer until there is no more question."""
    for line in questions:
        name, folder, domain = json.loads(line)
        outcome = _forked(cases[name], Path(folder), domain)
        answers.write(json.dumps([name, asdict(outcome)]) + "\n")
        answers.flush()


def _forked(case: Case, folder: Path, domain: str) -> Outcome:
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            _be(case, folder, domain)
        finally:  # whatever happens, no second server
            os._exit(99)
    status, usage = _wait(child, case.seconds)
    left = _end_group(child)
    noted = _noted(folder)
    grown = (usage.ru_maxrss >> 10) - noted.get("base", 0.0)
    text = noted.get("text", "") or (folder / "printed").read_text(errors="replace")
    return Outcome(
        status, noted.get("raised", ()), text, noted.get("seconds", case.seconds), grown, left
    )


def _wait(child: int, seconds: float) -> tuple[int | None, Any]:
    """Its exit code, or minus its signal; None where it had to be killed."""
    give_up = time.monotonic() + seconds + GRACE_S
    while time.monotonic() < give_up:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status), usage
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    return None, os.wait4(child, 0)[2]


def _end_group(child: int) -> bool:
    """Kill what the process has started; whether anything was still there after a moment."""
    for _ in range(int(GRACE_S / 0.05)):
        try:
            os.killpg(child, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    return True


def _noted(folder: Path) -> dict[str, Any]:
    """What the process wrote down: what it raised, how long it took."""
    notes = [json.loads(f.read_text()) for f in sorted(folder.glob("noted-*.json"))]
    return {name: value for note in notes for name, value in note.items()}


# In the forked process


def _be(case: Case, folder: Path, domain: str) -> None:
    os.setsid()
    out = os.open(folder / "printed", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(out, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
    work = folder / "work"
    work.mkdir()
    os.chdir(work)
    os.environ |= {"ROS_DOMAIN_ID": domain, "ROS_LOG_DIR": str(folder), "HOME": str(folder)}
    made = [*case.made(work)]
    _limit(case)
    _note(folder, "begun", base=_fresh_peak())
    began = time.monotonic()
    code, raised, text = _run(case, made)
    _note(folder, "ended", seconds=time.monotonic() - began, raised=raised, text=text)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _limit(case: Case) -> None:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    cpu = int(2 * case.seconds + resource.getrusage(resource.RUSAGE_SELF).ru_utime) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))  # SIGXCPU first, which tells of it
    for name, limit in (
        (resource.RLIMIT_AS, size + ROOM_BYTES),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(name, (limit, limit))


def _fresh_peak() -> float:
    """Forget the peak of memory so far; megabytes in use now."""
    Path("/proc/self/clear_refs").write_text("5")
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


def _run(case: Case, made: list[Any]) -> tuple[int, list[str], str]:
    """Exit code, the classes of what was raised, and its text."""
    try:
        if isinstance(case.run, str):
            sys.argv = [case.run.replace(".", "/") + ".py", *map(str, made)]
            warnings.filterwarnings("ignore", "'training", RuntimeWarning)  # imported before
            runpy.run_module(case.run, run_name="__main__", alter_sys=True)
        else:
            case.run(*made)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else bool(end.code), [], ""
    except Exception as error:
        traceback.print_exc()
        kinds = [kind.__name__ for kind in type(error).__mro__]
        place = "" if "SegError" in kinds else " " + traceback.format_exc()[-1200:]
        return 0, kinds, f"{error}{place}"
    return 0, [], ""


def _note(folder: Path, name: str, **values: object) -> None:
    (folder / f"noted-{name}.json").write_text(json.dumps(values))


if __name__ == "__main__":
    from faults.broken import BROKEN
    from faults.cases import CASES

    with suppress(ImportError):
        import_module("jointseg_eval.recordings.bags").message_types()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever an import prints
    serve(sys.stdin, answers, {str(case): case for case in (*CASES, *BROKEN)})
