"""What pictures of ever other sizes leave in memory, in a process without ROS.

    python -m benchmarks.soak.sizes joint_lite joint_tiny rdsnet_tiny segrpn_tiny --json sizes.json

Every one of the weights, a file or a name of shipped ones, gets a process of its own, in which
torch computes on the CPU. Exit code 1 where the memory of the process grows by more than 5 % from
the hundredth picture to the last.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.arguments import Parser, whole
from benchmarks.machine import machine
from benchmarks.ros.cameras import pictures
from benchmarks.soak.samples import sample
from jointseg_core.checkpoint import shipped_weights
from jointseg_core.command import run_program
from jointseg_core.predictor import Predictor

SIDES = (8, 700)
EVERY = 50
SETTLED = 100
FLAT = 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(arguments)
    rows = {}
    for weights in options.weights:
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            rows[weights] = process.submit(_measured, weights, options.pictures).result()
        print(f"{weights}: {report(rows[weights])}", flush=True)
    if options.json:
        command = shlex.join(["python", "-m", "benchmarks.soak.sizes", *arguments])
        document = {"command": command, "machine": machine(), "sides": SIDES, "memory": rows}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    return int(max(map(growth, rows.values())) > FLAT)


def growth(rows: Sequence[dict[str, float]]) -> float:
    """Of the memory from the hundredth picture to the last, relative to that."""
    settled = next(row for row in rows if row["pictures"] >= SETTLED)
    return rows[-1]["anon_mb"] / settled["anon_mb"] - 1


def report(rows: Sequence[dict[str, float]]) -> str:
    """Own memory after each fifty pictures, for people."""
    values = ", ".join(f"{row['anon_mb']:.0f}" for row in rows)
    return f"{values} MB after every {EVERY} pictures, {growth(rows):+.1%} after {SETTLED}"


def _measured(weights: str, count: int) -> list[dict[str, float]]:
    """MB of this process after every fifty pictures."""
    shipped = shipped_weights(weights)
    predictor = Predictor.from_file(shipped if shipped.is_file() else weights, backend="torch")
    predictor.configure(score_threshold=0.02)
    rows = []
    for number, picture in enumerate(_pictures(count), 1):
        predictor([picture])
        if number % EVERY == 0:
            now = sample(os.getpid(), 0.0)
            mb = {name: round(getattr(now, name), 1) for name in ("rss_mb", "anon_mb")}
            rows.append({"pictures": number, **mb})
    return rows


def _pictures(count: int) -> Iterator[np.ndarray]:
    sizes = np.random.default_rng(0).integers(*SIDES, (count, 2), endpoint=True)
    for height, width in sizes.tolist():
        yield next(pictures((height, width)))[..., ::-1]


def _parser() -> Parser:
    parser = Parser("benchmarks.soak.sizes", __doc__.splitlines()[0])
    parser.add_argument("weights", nargs="+", metavar="WEIGHTS")
    parser.add_argument("--pictures", type=whole(150), default=400, help="default: 400")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the numbers go")
    return parser


if __name__ == "__main__":
    run_program(main)
