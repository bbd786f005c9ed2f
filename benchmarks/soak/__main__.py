"""Run the node for a while with faults mixed in, and judge what became of it.

    python -m benchmarks.soak --minutes 10 --out out/soak
    python -m benchmarks.soak.chart out/soak/soak.json        draws it (`make soak` does both)

Exit code 0 when everything passed, 1 when something did not, 2 for a wrong argument, 130 when
interrupted. See docs/safety.md for what is judged.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.ros.usage import Usage, machine
from benchmarks.soak.run import Plan, run
from benchmarks.soak.verdict import Finding, findings, warm_up_seconds
from jointseg_core.command import run_program


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see the module. Raises SoakError where the node ends by itself."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(arguments)
    usage = Usage({})
    plan = _plan(options)
    record, counts, found = run(plan, options.out)
    found += findings(record, plan.seconds)
    document = {
        "command": shlex.join(["python", "-m", "benchmarks.soak", *arguments]),
        "plan": asdict(plan) | {"weights": str(plan.weights or "shipped")},
        "machine": machine() | usage.so_far(),
        "warm_up_seconds": warm_up_seconds(plan.seconds),
        "counts": counts,
        "findings": [one._asdict() for one in found],
        **record.document(),
    }
    file = options.out / "soak.json"
    file.write_text(json.dumps(document, indent=1) + "\n")
    print(report(counts, found))
    return int(any(one.passed is False for one in found))


def report(counts: dict, found: Sequence[Finding]) -> str:
    """The verdict for people."""
    words = {True: "ok", False: "FAILED", None: "not judged"}
    lines = [f"{one.name:12} {words[one.passed]:10} {one.text}" for one in found]
    faults = ", ".join(f"{count} {name}" for name, count in sorted(counts["events"].items()))
    failed = sum(one.passed is False for one in found)
    verdict = f"{failed} of {len(found)} failed" if failed else "passed"
    head = f"{counts['frames']} frames ({faults}), {counts['answered']} answered"
    return "\n".join([head, *lines, f"soak: {verdict}"])


def _plan(options: argparse.Namespace) -> Plan:
    return Plan(
        seconds=60 * options.minutes,
        rate_hz=options.rate,
        faults=options.faults,
        image_size=options.image,
        model=options.model,
        weights=options.weights,
        device=options.device,
        seed=options.seed,
    )


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long")
    parser.add_argument("--rate", type=float, default=15.0, help="frames a second")
    parser.add_argument("--faults", type=float, default=0.05, help="share of the frames")
    parser.add_argument("--image", type=_size, default=(360, 640), help="HEIGHTxWIDTH of a frame")
    parser.add_argument("--model", default="joint", choices=("joint", "rdsnet", "segrpn"))
    parser.add_argument("--weights", type=Path, help="default: the shipped ones")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--out", type=Path, default=Path("out/soak"), help="folder for soak.json")
    return parser


if __name__ == "__main__":
    run_program(main)
