"""Start a perception node: the joint network, or RDSNet, SegRPN, or both of these.

    ros2 launch jointseg_ros perception.launch.py image_topic:=/camera/image_raw
    ros2 launch jointseg_ros perception.launch.py --show-args

Values come from params_file; an argument that is given wins over it, and `model` alone says which
models run. The nodes configure and activate themselves unless autostart is false. Where nothing
else is chosen, they send large images through shared memory (docs/large_images.md).
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml
from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
)
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from jointseg_ros import large_images
from jointseg_ros.model_choices import DEFAULT_MODEL, MODELS

SHARE = Path(get_package_share_directory("jointseg_ros"))
HERE = SHARE / "launch"
YES_OR_NO = ("true", "false")
IN_FILE = "as in params_file when empty"

# name, default, choices, description
ARGUMENTS = (
    (
        "model",
        DEFAULT_MODEL,
        tuple(MODELS),
        "joint: one node with all topics; both: a node for each of RDSNet and SegRPN",
    ),
    ("params_file", str(HERE / "config" / "single_camera.yaml"), (), "ROS parameters of the nodes"),
    ("weights", "", (), f"path of the weights of one model; {IN_FILE}"),
    ("device", "", (), f"auto, cpu, cuda or cuda:N; {IN_FILE}"),
    (
        "precision",
        "",
        ("", "auto", "fp32", "fp16", "bf16", "int8"),
        f"number format of the network; {IN_FILE}",
    ),
    (
        "backend",
        "",
        ("", "auto", "torch", "onnx", "aoti", "openvino"),
        f"what runs the network; auto: an export beside the weights if it is faster; {IN_FILE}",
    ),
    ("cameras", "", (), f"names of the cameras, with commas between; {IN_FILE}"),
    (
        "image_topic",
        "",
        (),
        "topic of the images; with several cameras it holds {camera}, as in /{camera}/image_raw; "
        + IN_FILE,
    ),
    ("transport", "", ("", "raw", "compressed"), f"kind of the images; {IN_FILE}"),
    ("namespace", "", (), "namespace of the nodes"),
    ("name", "", (), "name of the node, else that of its model; with both it comes in front of it"),
    ("autostart", "true", YES_OR_NO, "configure and activate; false: leave it to a manager"),
    ("use_sim_time", "false", YES_OR_NO, "take the time from /clock, as when a bag is played"),
    ("log_level", "info", ("debug", "info", "warn", "error", "fatal"), "what the nodes log"),
    ("respawn", "true", YES_OR_NO, "start a node again when its process has ended by itself"),
    ("respawn_delay", "2.0", (), "seconds until then"),
    (
        "rviz",
        "false",
        YES_OR_NO,
        "open rviz: overlay, masks, classes, panoptic picture; less of each with several cameras",
    ),
    ("overlay", "false", YES_OR_NO, "open a window with the overlay of each model"),
    ("foxglove", "false", YES_OR_NO, "start the bridge to Foxglove"),
)
# Parameters that have an argument.
PASSED_ON = {
    "device": "device",
    "precision": "precision",
    "backend": "backend",
    "model.weights": "weights",
}
# What the files in rviz/ show, below /<model>/<camera>/; those named multi_camera of three cameras.
IN_RVIZ = {
    "perception.rviz": {
        "rdsnet": ("overlay", "instance_labels/color"),
        "segrpn": ("overlay", "semantic/color"),
    },
    "multi_camera.rviz": {"rdsnet": ("overlay",), "segrpn": ("overlay",)},
    "joint.rviz": {
        "joint": ("overlay", "panoptic/color", "instance_labels/color", "semantic/color")
    },
    "joint_multi_camera.rviz": {"joint": ("overlay", "panoptic/color")},
}
ONE_CAMERA, THREE_CAMERAS = ("camera",), ("front", "left", "right")


def generate_launch_description() -> LaunchDescription:
    """The arguments, and the nodes that follow from them."""
    declared = [
        DeclareLaunchArgument(
            name, default_value=default, description=text, choices=choices or None
        )
        for name, default, choices, text in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[Node]:
    """The nodes for the values that the arguments have."""
    given = {name: LaunchConfiguration(name).perform(context) for name, *_ in ARGUMENTS}
    check(given)
    return [
        *(perception_node(given, model) for model in MODELS[given["model"]]),
        *viewers(given),
    ]


def check(given: Mapping[str, str]) -> None:
    """Raise RuntimeError, in one sentence, where the arguments do not go together."""
    if given["weights"] and given["model"] == "both":
        raise RuntimeError(
            f"weights:={given['weights']} is the file of one model, and model:=both starts two; "
            "give model:=joint, rdsnet or segrpn as well, or both files in params_file"
        )
    if not Path(given["params_file"]).is_file():
        raise RuntimeError(f"params_file:={given['params_file']} is not a file; give its full path")
    if len(cameras(given)) > 1 and given["image_topic"] and "{camera}" not in given["image_topic"]:
        raise RuntimeError(
            f"image_topic:={given['image_topic']} is one topic, and {', '.join(cameras(given))} "
            "are several cameras; write {camera} where their names differ"
        )
    if not given["respawn_delay"].replace(".", "", 1).isdigit():
        raise RuntimeError(f"respawn_delay:={given['respawn_delay']} is not a number of seconds")


def cameras(given: Mapping[str, str]) -> list[str]:
    """The cameras named by the arguments, else by params_file, else one called `camera`."""
    names = [name.strip() for name in given["cameras"].split(",")]
    return [name for name in names if name] or in_file(given["params_file"]) or ["camera"]


def in_file(params_file: str) -> list[str]:
    """camera_names for all nodes in a parameter file; none where it has none."""
    sections = yaml.safe_load(Path(params_file).read_text()) or {}
    shared = sections.get("/**") or {}
    return list((shared.get("ros__parameters") or {}).get("camera_names") or [])


def perception_node(given: Mapping[str, str], model: str) -> Node:
    return Node(
        package="jointseg_ros",
        executable="perception_node",
        namespace=given["namespace"],
        name=node_name(given, model),
        parameters=[given["params_file"], dict(parameters(given, model))],
        ros_arguments=["--log-level", given["log_level"]],
        additional_env=large_images.environment(SHARE / large_images.PROFILE, os.environ),
        output="screen",
        respawn=given["respawn"] == "true",
        respawn_delay=float(given["respawn_delay"]),
    )


def node_name(given: Mapping[str, str], model: str) -> str:
    if given["model"] == "both" and given["name"]:
        return f"{given['name']}_{model}"
    return given["name"] or model


def parameters(given: Mapping[str, str], model: str) -> Iterator[tuple[str, object]]:
    """The parameters that the arguments set."""
    yield "model.type", text(model)
    yield "autostart", given["autostart"] == "true"
    yield "use_sim_time", given["use_sim_time"] == "true"
    for name, argument in PASSED_ON.items():
        if given[argument]:
            yield name, text(given[argument])
    if given["cameras"] or given["image_topic"] or given["transport"]:
        yield from camera_parameters(given)


def camera_parameters(given: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    yield "camera_names", ParameterValue(cameras(given), value_type=list[str])
    for camera in cameras(given):
        if given["image_topic"]:
            topic = given["image_topic"].replace("{camera}", camera)
            yield f"cameras.{camera}.image_topic", text(topic)
        if given["transport"]:
            yield f"cameras.{camera}.transport", text(given["transport"])


def text(value: str) -> ParameterValue:
    """A string that stays one, also when YAML would read a number or a truth value in it."""
    return ParameterValue(value, value_type=str)


def viewers(given: Mapping[str, str]) -> Iterator[Node]:
    """What the user wants to look with."""
    if given["rviz"] == "true":
        config = str(HERE / "rviz" / rviz_file(given))
        yield viewer("rviz", "rviz2", arguments=["-d", config], remappings=rviz_topics(given))
    if given["foxglove"] == "true":
        yield viewer("foxglove", "foxglove_bridge")
    if given["overlay"] == "true":
        for model in MODELS[given["model"]]:
            topic = f"{prefix(given, model, cameras(given)[0])}/overlay"
            yield viewer("overlay", "rqt_image_view", name=f"{model}_overlay", arguments=[topic])


def viewer(argument: str, package: str, **options: object) -> Node:
    """The program of the same name as its package; RuntimeError when it is not installed."""
    try:
        get_package_prefix(package)
    except PackageNotFoundError as error:
        name = package.replace("_", "-")
        raise RuntimeError(
            f"{argument}:=true needs the package {package}, which is not installed; "
            f"sudo apt install ros-$ROS_DISTRO-{name}"
        ) from error
    return Node(package=package, executable=package, **options)


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
    parts = [given["namespace"].strip("/"), node_name(given, model), camera]
    return "".join(f"/{part}" for part in parts if part)
