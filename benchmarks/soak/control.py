"""A loop that does the same small work for ever and prints how long that took: ms a line.

Beside a node it tells whether the machine was steady: times of the node can be compared only then.
"""

from __future__ import annotations

import time

from benchmarks.arguments import Parser
from jointseg_core.command import run_program

PERIOD = 0.05  # seconds
WORK = 20_000


def turn() -> float:
    """Milliseconds from the moment it should wake up to the end of its work."""
    due = time.monotonic() + PERIOD
    time.sleep(PERIOD)
    sum(range(WORK))
    return 1e3 * (time.monotonic() - due)


def _main() -> None:
    Parser("benchmarks.soak.control", __doc__.splitlines()[0]).parse_args()
    while True:
        print(f"{turn():.3f}", flush=True)


if __name__ == "__main__":
    run_program(_main)
