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
import json
import math
import os
import random
import shlex
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the node does

from rclpy.utilities import get_rmw_implementation_identifier

from benchmarks.ros.report import HEADINGS, row, searched_row
from benchmarks.ros.session import BenchmarkError, Session, Setup
from benchmarks.ros.trial import highest_rate, trial
from benchmarks.ros.usage import machine
from jointseg_core.checkpoint import shipped_weights
from jointseg_core.command import run_program
from jointseg_core.errors import BadConfig
from jointseg_core.images import MAX_PIXELS
from jointseg_core.predictor import Predictor
from jointseg_core.runtime.malloc import keep_memory
from jointseg_ros import large_images

MAX_CAMERAS = 16
REPORTED = (
    "ROS_DISTRO",
    "RMW_IMPLEMENTATION",
    "FASTDDS_BUILTIN_TRANSPORTS",
    "OMP_NUM_THREADS",
    *large_images.PROFILE_VARIABLES,
)
SMALL = {
    "cameras": [1],
    "rates": [10.0],
    "transport": ["raw"],
    "image": (540, 960),
    "seconds": 2.0,
    "search_seconds": 1.0,
}


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(BadConfig.exit_code, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Raises BenchmarkError where the node fails."""
    options = _options(arguments)
    keep_memory()
    predictor = Predictor.from_file(
        options.weights or shipped_weights(options.model),
        options.device,
        options.precision,
        model_type=options.model,
    )
    return _measure(options, predictor)


def _measure(options: argparse.Namespace, predictor: Predictor) -> int:
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(_environment(os.environ) | {"ROS_LOG_DIR": folder})
        report = _about(options, predictor) | {"cases": []}
        print(HEADINGS)
        for setup in _setups(options, predictor):
            with Session(setup) as session:
                case = _case(session, options)
            report["cases"].append(case)
            if options.json:
                options.json.parent.mkdir(parents=True, exist_ok=True)
                options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def _case(session: Session, options: argparse.Namespace) -> dict[str, Any]:
    """Every rate, and the highest one."""
    setup = session.setup
    what = {name: getattr(setup, name) for name in ("processes", "transport", "cameras")}
    fixed = []
    for rate in options.rates:
        fixed.append(trial(session, rate, options.seconds))
        print(row(what, fixed[-1]), flush=True)
    found = highest_rate(session, options.search_seconds) if options.search_seconds else None
    if found:
        print(searched_row(what, found), flush=True)
    return what | {"fixed_rates": fixed, "highest_rate": found}


def _setups(options: argparse.Namespace, predictor: Predictor) -> Iterator[Setup]:
    for processes in options.processes:
        for transport in options.transport:
            for cameras in options.cameras:
                yield Setup(
                    processes,
                    transport,
                    cameras,
                    options.image,
                    options.model,
                    predictor.weights,
                    options.device,
                    options.precision,
                )


def _about(options: argparse.Namespace, predictor: Predictor) -> dict[str, Any]:
    """What was measured, on what, and how to repeat it."""
    return {
        "command": shlex.join(["python", "-m", "benchmarks.ros", *options.given]),
        "machine": machine(),
        "rmw": get_rmw_implementation_identifier(),
        "environment": {
            name: Path(os.environ[name]).name for name in REPORTED if name in os.environ
        },
        "model": predictor.model_type,
        "weights": predictor.weights.name,
        "sha256": predictor.sha256,
        "device": str(predictor.device),
        "precision": predictor.precision,
        "image_size": options.image,
    }


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    """Shared memory for large images, and nobody else on the network; what is set already stays."""
    alone = {
        "ROS_DOMAIN_ID": str(_free_domain()),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }
    alone = {name: value for name, value in alone.items() if name not in given}
    return large_images.environment(large_images.profile(), given) | alone


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


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = _parser()
    if "--small" in given:
        parser.set_defaults(**SMALL)
    options = parser.parse_args(given)
    options.given = given
    return options


def _parser() -> Parser:
    parser = Parser(prog="benchmark", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", choices=("joint", "rdsnet", "segrpn"), default="joint")
    add("--weights", type=Path, help="default: the small ones of this package")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--precision", default="auto", help="auto, fp32, fp16 or bf16")
    add("--image", type=_size, default=(1080, 1920), metavar="HxW", help="default: 1080x1920")
    add("--cameras", type=_cameras, nargs="+", default=[1, 2, 4], help="default: 1 2 4")
    add("--rates", type=_positive, nargs="+", default=[10.0, 20.0, 30.0], help="default: 10 20 30")
    add("--processes", choices=("one", "two"), nargs="+", default=["one", "two"])
    add("--transport", choices=("raw", "compressed"), nargs="+", default=["raw", "compressed"])
    add("--seconds", type=_positive, default=20.0, help="at each rate; default: 20")
    add(
        "--search-seconds", type=_not_negative, default=5.0, help="at each rate tried; 0: no search"
    )
    add("--small", action="store_true", help="a quick look at one small camera at 10 Hz")
    add("--json", type=Path, help="where to write the results as well")
    return parser


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit() and 0 < int(height) * int(width) <= MAX_PIXELS):
        raise argparse.ArgumentTypeError(f"{text} is not HEIGHTxWIDTH such as 1080x1920")
    return int(height), int(width)


def _cameras(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MAX_CAMERAS:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 to {MAX_CAMERAS}")
    return int(text)


def _not_negative(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1e4:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 10000")
    return value


def _positive(text: str) -> float:
    if not (value := _not_negative(text)):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


if __name__ == "__main__":
    try:
        run_program(main)
    except SystemExit as end:
        os._exit(end.code)  # taking torch apart would last another two seconds
