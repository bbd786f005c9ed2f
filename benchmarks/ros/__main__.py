"""Measures from message to message: frames lost, latency, and the highest rate.

    python -m benchmarks.ros --json out/ros_benchmark.json
    python -m benchmarks.ros --small

Cameras publish pictures to the perception node, a listener waits for the results; all in one
process, or the node in a second one, over real DDS. Latency is from right before a frame is
published to the arrival of the last of its results. Everything runs on this machine, in a ROS
domain that nobody uses.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shlex
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the node does

from rclpy.utilities import get_rmw_implementation_identifier

from benchmarks.arguments import Parser, number, size, whole
from benchmarks.machine import machine
from benchmarks.ros.processes import with_large_images
from benchmarks.ros.report import HEADINGS, row
from benchmarks.ros.session import BenchmarkError, Session, Setup
from benchmarks.ros.trial import highest_rate, trial
from jointseg_core.checkpoint import shipped_weights
from jointseg_core.command import run_program
from jointseg_core.predictor import Predictor
from jointseg_core.runtime.malloc import keep_memory
from jointseg_ros.large_images import PROFILE_VARIABLES

REPORTED = (
    *("ROS_DISTRO", "RMW_IMPLEMENTATION", "FASTDDS_BUILTIN_TRANSPORTS", "OMP_NUM_THREADS"),
    *PROFILE_VARIABLES,
)
SMALL = {
    "cameras": [1],
    "rates": [10.0],
    "transport": ["raw"],
    "image": (540, 960),
    "seconds": 2.0,
    "search_seconds": 1.0,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Raises BenchmarkError where the node fails."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = _parser()
    if "--small" in given:
        parser.set_defaults(**SMALL)
    options = parser.parse_args(given)
    keep_memory()
    weights = options.weights or shipped_weights(options.model)
    chosen = options.device, options.precision
    predictor = Predictor.from_file(weights, *chosen, model_type=options.model)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(alone(folder))
        command = shlex.join(["python", "-m", "benchmarks.ros", *given])
        report = {"command": command, **_about(options, predictor), "cases": []}
        print(HEADINGS)
        for setup in _setups(options, predictor):
            with Session(setup) as session:
                report["cases"].append(_case(session, options))
            if options.json:
                options.json.parent.mkdir(parents=True, exist_ok=True)
                options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def alone(folder: str) -> dict[str, str]:
    """Shared memory for large images, and nobody else on the network; what is set already stays."""
    own = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", **with_large_images(os.environ)}
    if "ROS_DOMAIN_ID" not in own:
        own["ROS_DOMAIN_ID"] = str(_free_domain())
    return own | {"ROS_LOG_DIR": folder}


def _free_domain() -> int:
    """A domain of which nobody on this machine uses the first unicast port."""
    for domain in random.sample(range(1, 102), 101):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", 7410 + 250 * domain))
                return domain
            except OSError:
                continue
    raise BenchmarkError("every ROS domain from 1 to 101 is in use; set ROS_DOMAIN_ID")


def _setups(options: argparse.Namespace, predictor: Predictor) -> Iterator[Setup]:
    node = options.model, predictor.weights, options.device, options.precision
    for case in itertools.product(options.processes, options.transport, options.cameras):
        yield Setup(*case, options.image, *node)


def _case(session: Session, options: argparse.Namespace) -> dict[str, Any]:
    """Every rate, and the highest one."""
    setup = session.setup
    what = {name: getattr(setup, name) for name in ("processes", "transport", "cameras")}
    fixed, found = [], None
    for rate in options.rates:
        fixed.append(trial(session, rate, options.seconds))
        print(row(what, fixed[-1]), flush=True)
    if options.search_seconds:
        found = highest_rate(session, options.search_seconds)
        lowest = min(tried["rate_hz"] for tried in found["tried"])
        missed = f"none: more than 5 % lost at {lowest:g} Hz as well"
        rate = f"highest {found['rate_hz']:g}" if found["trial"] else missed
        print(row(what, found["trial"], rate), flush=True)
    return what | {"fixed_rates": fixed, "highest_rate": found}


def _about(options: argparse.Namespace, predictor: Predictor) -> dict[str, Any]:
    """What was measured, and on what."""
    known = {name: Path(os.environ[name]).name for name in REPORTED if name in os.environ}
    return {
        "machine": machine(),
        "rmw": get_rmw_implementation_identifier(),
        "environment": known,
        "model": predictor.model_type,
        "weights": predictor.weights.name,
        "sha256": predictor.sha256,
        "device": str(predictor.device),
        "precision": predictor.precision,
        "image_size": options.image,
    }


def _parser() -> Parser:
    parser, positive = Parser("benchmarks.ros", __doc__.splitlines()[0]), number(0.001)
    add = parser.add_argument
    add("--model", choices=("joint", "rdsnet", "segrpn"), default="joint")
    add("--weights", type=Path, help="default: the small ones of this package")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--precision", default="auto", help="auto, fp32, fp16 or bf16")
    add("--image", type=size, default=(1080, 1920), metavar="HxW", help="default: 1080x1920")
    add("--cameras", type=whole(1, 16), nargs="+", default=[1, 2, 4], help="default: 1 2 4")
    add("--rates", type=positive, nargs="+", default=[10.0, 20.0, 30.0], help="default: 10 20 30")
    add("--processes", choices=("one", "two"), nargs="+", default=["one", "two"])
    add("--transport", choices=("raw", "compressed"), nargs="+", default=["raw", "compressed"])
    add("--seconds", type=positive, default=20.0, help="at each rate; default: 20")
    add("--search-seconds", type=number(0), default=5.0, help="at each rate tried; 0: no search")
    add("--small", action="store_true", help="a quick look at one small camera at 10 Hz")
    add("--json", type=Path, help="where to write the results as well")
    return parser


if __name__ == "__main__":
    try:
        run_program(main)
    except SystemExit as end:
        sys.stdout.flush()
        os._exit(end.code)  # taking torch apart would last another two seconds
