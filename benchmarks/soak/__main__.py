"""Run the node for a while with faults mixed in, and judge what became of it.

    python -m benchmarks.soak --minutes 10 --out out/soak
    python -m benchmarks.soak.chart out/soak/soak.json        draws it (`make soak` does both)

Exit code 0 when everything passed, 1 when something did not, 2 for a wrong argument, 130 when
interrupted. See docs/safety.md for what is judged.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.arguments import Parser, number, size
from benchmarks.machine import Usage, machine
from benchmarks.soak.run import Plan, run
from benchmarks.soak.verdict import Finding, findings, warm_up_seconds
from jointseg_core.command import run_program


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see the module. Raises SoakError where the node ends by itself."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = vars(_parser().parse_args(arguments))
    folder, usage = options.pop("out"), Usage({})
    plan = Plan(**options)
    record, counts, found = run(plan, folder)
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
    (folder / "soak.json").write_text(json.dumps(document, indent=1) + "\n")
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


def _minutes(text: str) -> float:
    return 60 * number(0.1, 1e5)(text)


def _parser() -> Parser:
    parser = Parser("benchmarks.soak", __doc__.splitlines()[0])
    add = parser.add_argument
    add("--minutes", type=_minutes, dest="seconds", default=600.0, metavar="M", help="default: 10")
    add("--rate", type=number(0.1), dest="rate_hz", default=15.0, metavar="HZ", help="of frames")
    add("--faults", type=number(0, 1), default=0.05, help="share of the frames")
    add("--image", type=size, dest="image_size", default=(360, 640), metavar="HxW")
    add("--model", default="joint", choices=("joint", "rdsnet", "segrpn"))
    add("--weights", type=Path, help="default: the shipped ones")
    add("--device", default="auto")
    add("--seed", type=int, default=0, help="of the faults")
    add("--out", type=Path, default=Path("out/soak"), help="folder for soak.json")
    return parser


if __name__ == "__main__":
    run_program(main)
