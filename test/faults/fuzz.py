"""Coverage-guided fuzzing of the targets, for some minutes: `make fuzz MINUTES=5`.

    python test/faults/fuzz.py --minutes 5 [TARGET ...]

Each target runs in a process of its own, by atheris where it is installed, else with random bytes
and no guidance, which is said. What it finds is kept in out/fuzz/, and named.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[2])]
NAMES = ("image_message", "compressed_image", "run_lengths", "bag", "annotations", "checkpoint")
OUT = Path("out/fuzz")


def main() -> int:
    """0: nothing was found, 1: something was."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", default=NAMES, metavar="TARGET", help=str(NAMES))
    parser.add_argument("--minutes", type=float, default=5, help="for all targets together")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    seconds = max(1, round(60 * options.minutes / len(options.targets)))
    if options.alone:
        feed(options.targets[0], seconds)
        return 0
    failed = [name for name in options.targets if not fed(name, seconds)]
    print(f"failed: {', '.join(failed)}; see {OUT}" if failed else "nothing was found")
    return bool(failed)


def fed(name: str, seconds: int) -> bool:
    """Whether a target stood it."""
    OUT.mkdir(parents=True, exist_ok=True)
    log = OUT / f"{name}.log"
    words = [sys.executable, str(HERE), name, "--alone", "--minutes", str(seconds / 60)]
    with log.open("w") as file:
        done = subprocess.run(words, stdout=file, stderr=subprocess.STDOUT)
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    told = next((line for line in reversed(lines) if "DONE" in line or "runs" in line), lines[-1:])
    print(f"{name:17} {'ok' if done.returncode == 0 else 'FOUND SOMETHING'}: {told}", flush=True)
    return done.returncode == 0


def feed(name: str, seconds: int) -> None:
    """Give a target bytes until the time is up; what it raises ends the process."""
    try:
        import atheris
    except ImportError:
        at_random(name, seconds)
        return
    with atheris.instrument_imports(
        include=["jointseg_core", "jointseg_ros", "jointseg_eval", "training"]
    ):
        from faults.targets import TARGETS
    corpus = OUT / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=4096", "-max_len=400"]
    atheris.Setup([name, str(corpus), f"-artifact_prefix={OUT}/{name}-", *limits], TARGETS[name])
    atheris.Fuzz()


def at_random(name: str, seconds: int) -> None:
    """Without atheris: random bytes; the last ones are written down before they are given."""
    import random

    from faults.targets import TARGETS

    rng, end, runs = random.Random(time.time_ns()), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        data = rng.randbytes(rng.randrange(400))
        (OUT / f"{name}-last").write_bytes(data)
        TARGETS[name](data)
        runs += 1
    print(f"atheris is not installed: {runs} runs of random bytes, without guidance")


if __name__ == "__main__":
    sys.exit(main())
