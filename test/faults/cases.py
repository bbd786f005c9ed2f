"""All cases of the machine: a vehicle without the packages of training has those of the nodes."""

from __future__ import annotations

from importlib import import_module

from faults.contract import Case

GROUPS = {
    "images": "A image messages",
    "bags": "B bags",
    "pictures": "C compressed images and pictures",
    "nodes": "D streaming node",
    "datasets": "E data sets and annotations",
    "checkpoints": "F checkpoints and configuration",
    "trainings": "G training",
    "inference": "H inference core",
    "fleets": "I fleet evaluation",
    "programs": "J reports, command line, supply chain",
    "openings": "K files that are none",
    "bombs": "L small files that want much",
    "damage": "M damage that nothing shows",
    "runtimes": "N files of other runtimes",
    "peers": "O peers that stop, and full disks",
    "signals": "P signals at the start of a program",
    "values": "Q values that parse and mean nothing",
    "again": "R what was there before, twice or later",
}
WITHOUT = {"rclpy", "sensor_msgs", "rosbags", "mcap", "pycocotools", "rich", "av", "cv2", "jinja2"}
WITHOUT |= {"onnx", "openvino"}


def _cases(module: str) -> list[Case]:
    try:
        return import_module(f"faults.{module}").CASES
    except ModuleNotFoundError as missing:
        if (missing.name or "").split(".")[0] in WITHOUT:
            return []
        raise


CASES: list[Case] = [case for module in GROUPS for case in _cases(module)]
