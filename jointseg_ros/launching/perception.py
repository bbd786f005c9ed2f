"""What perception.launch.py starts: a node for each model, and what to look at them with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jointseg_core.errors import BadConfig
from jointseg_ros import large_images
from jointseg_ros.launching.arguments import YES_OR_NO, Argument, positive_seconds
from jointseg_ros.launching.program import Program, Value, is_installed, launch_folder
from jointseg_ros.model_choices import DEFAULT_MODEL, MODELS
from jointseg_ros.parameter_files import matches, sections
from jointseg_ros.transports import TRANSPORTS, problem

IN_FILE = "as in params_file when empty"
YES_NO_OR_FILE = ("", *YES_OR_NO)
SEVERAL = f"with several cameras it holds {{camera}}, as in /{{camera}}/image_raw; {IN_FILE}"
CAMERA_TOPICS = ("image_topic", "depth_topic", "camera_info_topic")
"""Arguments that are parameters of each camera."""

ARGUMENTS = (
    Argument(
        "model",
        DEFAULT_MODEL,
        tuple(MODELS),
        "joint: one node with all topics; both: a node for each of RDSNet and SegRPN",
    ),
    Argument(
        "params_file",
        str(launch_folder() / "config/single_camera.yaml"),
        (),
        "ROS parameters of the nodes",
    ),
    Argument("weights", "", (), f"path or name of the weights of one model; {IN_FILE}"),
    Argument("input_size", "", (), f"HEIGHTxWIDTH of the network's input; {IN_FILE}"),
    Argument("device", "", (), f"auto, cpu, cuda or cuda:N; {IN_FILE}"),
    Argument(
        "precision",
        "",
        ("", "auto", "fp32", "fp16", "bf16", "int8"),
        f"number format of the network; {IN_FILE}",
    ),
    Argument(
        "backend",
        "",
        ("", "auto", "torch", "onnx", "aoti", "openvino"),
        f"what runs the network; auto: an export beside the weights if it is faster; {IN_FILE}",
    ),
    Argument("cameras", "", (), f"names of the cameras, with commas between; {IN_FILE}"),
    Argument(
        "image_topic",
        "",
        (),
        f"topic of the images; {SEVERAL}",
    ),
    Argument(
        "depth_topic",
        "",
        (),
        "topic of depth that is registered to the images, by which objects are placed in space; "
        + SEVERAL,
    ),
    Argument(
        "camera_info_topic",
        "",
        (),
        f"topic of the calibration, for depth; empty: camera_info beside the images; {SEVERAL}",
    ),
    Argument("transport", "", (), f"kind of the images: {', '.join(TRANSPORTS)}; {IN_FILE}"),
    Argument("namespace", "", (), "namespace of the nodes"),
    Argument(
        "name",
        "",
        (),
        "name of the node, else that of its model; with both it comes in front of it",
    ),
    Argument(
        "autostart",
        "",
        YES_NO_OR_FILE,
        f"configure and activate, the default; false: leave it to a manager; {IN_FILE}",
    ),
    Argument(
        "use_sim_time",
        "",
        YES_NO_OR_FILE,
        f"take the time from /clock, as when a bag is played; {IN_FILE}",
    ),
    Argument(
        "log_level", "info", ("debug", "info", "warn", "error", "fatal"), "what the nodes log"
    ),
    Argument(
        "respawn", "true", YES_OR_NO, "start a node again when its process has ended by itself"
    ),
    Argument("respawn_delay", "2.0", (), "seconds until then"),
    Argument(
        "rviz",
        "false",
        YES_OR_NO,
        "open rviz: overlay, masks, classes, panoptic picture; less of each of several cameras",
    ),
    Argument("overlay", "false", YES_OR_NO, "open a window with the overlay of each model"),
    Argument("foxglove", "false", YES_OR_NO, "start the bridge to Foxglove"),
)
# Parameters that have an argument.
PASSED_ON = {
    "device": "device",
    "precision": "precision",
    "backend": "backend",
    "model.weights": "weights",
    "model.input_size": "input_size",
}
# What the files in rviz/ show, below /<model>/<camera>/; those named multi_camera of three cameras.
IN_RVIZ = {
    "perception.rviz": {
        "rdsnet": ("overlay", "instance_labels/color"),
        "segrpn": ("overlay", "semantic/color"),
    },
    "multi_camera.rviz": {"rdsnet": ("overlay",), "segrpn": ("overlay",)},
    "joint.rviz": {
        "joint": (
            *("overlay", "panoptic/color", "instance_labels/color", "semantic/color"),
            "markers",
        )
    },
    "joint_multi_camera.rviz": {"joint": ("overlay", "panoptic/color")},
}
ONE_CAMERA, THREE_CAMERAS = ("camera",), ("front", "left", "right")


def programs(given: Mapping[str, str]) -> list[Program]:
    """The nodes and viewers for the values of the arguments.

    Raises BadConfig, in one sentence, where these do not go together or a viewer is missing.
    """
    check(given)
    nodes = [perception_node(given, model) for model in MODELS[given["model"]]]
    return [*nodes, *viewers(given)]


def check(given: Mapping[str, str]) -> None:
    """Raise BadConfig, in one sentence, where the arguments do not go together."""
    if given["weights"] and given["model"] == "both":
        raise BadConfig(
            f"weights:={given['weights']} is the file of one model, and model:=both starts two; "
            "give model:=joint, rdsnet or segrpn as well, or both files in params_file"
        )
    if not Path(given["params_file"]).is_file():
        raise BadConfig(f"params_file:={given['params_file']} is not a file; give its full path")
    for name in CAMERA_TOPICS:
        if len(cameras(given)) > 1 and given[name] and "{camera}" not in given[name]:
            raise BadConfig(
                f"{name}:={given[name]} is one topic, and {', '.join(cameras(given))} "
                "are several cameras; write {camera} where their names differ"
            )
    if given["transport"] and (reason := problem(given["transport"])):
        raise BadConfig(f"transport:={given['transport']}: {reason}")
    positive_seconds("respawn_delay", given["respawn_delay"])


def cameras(given: Mapping[str, str]) -> list[str]:
    """The cameras named by the arguments, else by params_file, else one called `camera`."""
    names = [name.strip() for name in given["cameras"].split(",")]
    return [name for name in names if name] or in_file(given) or ["camera"]


def in_file(given: Mapping[str, str]) -> list[str]:
    """camera_names of the nodes in params_file, of which later sections win; none without any."""
    nodes = [full_name(given, model) for model in MODELS[given["model"]]]
    found: list[str] = []
    for section, values in sections(given["params_file"]).items():
        if any(matches(section, node) for node in nodes):
            found = list(values.get("camera_names") or found)
    return found


def perception_node(given: Mapping[str, str], model: str) -> Program:
    """The node of one model."""
    delay = positive_seconds("respawn_delay", given["respawn_delay"])
    return Program(
        "perception_node",
        name=node_name(given, model),
        namespace=given["namespace"],
        parameter_files=(given["params_file"],),
        parameters=dict(parameters(given, model)),
        log_level=given["log_level"],
        environment=large_images.environment(large_images.profile(), os.environ),
        respawn_delay=delay if given["respawn"] == "true" else None,
    )


def node_name(given: Mapping[str, str], model: str) -> str:
    if given["model"] == "both" and given["name"]:
        return f"{given['name']}_{model}"
    return given["name"] or model


def parameters(given: Mapping[str, str], model: str) -> Iterator[tuple[str, Value]]:
    """The parameters that the arguments set."""
    yield "model.type", model
    for name in ("autostart", "use_sim_time"):
        if given[name]:
            yield name, given[name] == "true"
    for name, argument in PASSED_ON.items():
        if given[argument]:
            yield name, given[argument]
    if any(given[name] for name in ("cameras", "transport", *CAMERA_TOPICS)):
        yield from camera_parameters(given)


def camera_parameters(given: Mapping[str, str]) -> Iterator[tuple[str, Value]]:
    yield "camera_names", cameras(given)
    for camera in cameras(given):
        for name in CAMERA_TOPICS:
            if given[name]:
                yield f"cameras.{camera}.{name}", given[name].replace("{camera}", camera)
        if given["transport"]:
            yield f"cameras.{camera}.transport", given["transport"]


def viewers(given: Mapping[str, str]) -> Iterator[Program]:
    """What the user wants to look with."""
    if given["rviz"] == "true":
        config = str(launch_folder() / "rviz" / rviz_file(given))
        topics = tuple(rviz_topics(given))
        yield viewer("rviz", "rviz2", arguments=("-d", config), remappings=topics)
    if given["foxglove"] == "true":
        yield viewer("foxglove", "foxglove_bridge")
    if given["overlay"] == "true":
        for model in MODELS[given["model"]]:
            topic = f"{prefix(given, model, cameras(given)[0])}/overlay"
            yield viewer("overlay", "rqt_image_view", name=f"{model}_overlay", arguments=(topic,))


def viewer(argument: str, package: str, **options: Any) -> Program:
    """The program of the same name as its package; BadConfig when it is not installed."""
    if not is_installed(package):
        name = package.replace("_", "-")
        raise BadConfig(
            f"{argument}:=true needs the package {package}, which is not installed; "
            f"sudo apt install ros-$ROS_DISTRO-{name}"
        )
    return Program(package, package, **options)


def rviz_file(given: Mapping[str, str]) -> str:
    """The file in rviz/ for one camera or for several."""
    one = len(cameras(given)) == 1
    if given["model"] == "joint":
        return "joint.rviz" if one else "joint_multi_camera.rviz"
    return "perception.rviz" if one else "multi_camera.rviz"


def rviz_topics(given: Mapping[str, str]) -> list[tuple[str, str]]:
    """From the topics written in the rviz file to those of these nodes and their first cameras."""
    file = rviz_file(given)
    named = ONE_CAMERA if len(cameras(given)) == 1 else THREE_CAMERAS
    return [
        (f"/{model}/{written}/{topic}", f"{prefix(given, model, camera)}/{topic}")
        for model in MODELS[given["model"]]
        for written, camera in zip(named, cameras(given), strict=False)
        for topic in IN_RVIZ[file][model]
    ]


def prefix(given: Mapping[str, str], model: str, camera: str) -> str:
    """Where a model's results for a camera are published."""
    return f"{full_name(given, model)}/{camera}"


def full_name(given: Mapping[str, str], model: str) -> str:
    """The name of a model's node with its namespace."""
    namespace = given["namespace"].strip("/")
    return f"{'/' if namespace else ''}{namespace}/{node_name(given, model)}"
