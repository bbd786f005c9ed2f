"""Play a recording to the perception nodes, and record what they make of it.

    ros2 launch jointseg_ros replay.launch.py bag:=drive.mcap out:=replayed
    python -m training.evaluate_bag drive.mcap --weights ... --online replayed

The second line tells what the results were worth. The player starts when the recorder hears every
node, and all ends some seconds after the last frame. `ros2 bag` plays and records where it is
installed, else the player and the recorder of this package do, for single .mcap files. Everything
runs on the recording's own time (/clock).
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
)
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    TimerAction,
)
from launch.event_handlers import OnProcessExit, OnProcessIO
from launch.events import Shutdown
from launch.events.process import ProcessIO
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

HERE = Path(get_package_share_directory("jointseg_ros")) / "launch"
MODELS = {
    "joint": ("joint",),
    "both": ("rdsnet", "segrpn"),
    "rdsnet": ("rdsnet",),
    "segrpn": ("segrpn",),
}
DEFAULT_MODEL = "joint"
RESULTS = {
    "rdsnet": ("camera/detections", "camera/instance_masks", "camera/label_info", "stats"),
    "segrpn": (
        *("camera/detections", "camera/semantic/image", "camera/foreground/image"),
        *("camera/label_info", "camera/semantic/label_info", "stats"),
    ),
    "joint": (
        *("camera/detections", "camera/instance_masks", "camera/semantic/image"),
        *("camera/foreground/image", "camera/label_info", "camera/semantic/label_info", "stats"),
    ),
}
READY = ("All requested topics are subscribed", "recording ")  # of ros2 bag, of our recorder
LAST_RESULTS_S = 5.0

# name, default, choices, description
ARGUMENTS = (
    ("bag", "", (), "the recording: a rosbag2 folder or a .mcap file"),
    ("out", "replayed", (), "where the results are recorded; must not be there yet"),
    ("model", DEFAULT_MODEL, tuple(MODELS), "which nodes it is played to"),
    ("image_topic", "/camera/image_raw", (), "the images in it"),
    ("transport", "raw", ("raw", "compressed"), "kind of the images"),
    ("rate", "1.0", (), "how many times faster than it was"),
    ("weights", "", (), "path of the weights of one model; the shipped ones when empty"),
    ("device", "", (), "auto, cpu, cuda or cuda:N; auto when empty"),
)


def generate_launch_description() -> LaunchDescription:
    """The arguments, and what follows from them."""
    declared = [
        DeclareLaunchArgument(
            name, default_value=default, description=text, choices=choices or None
        )
        for name, default, choices, text in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list:
    """Nodes and recorder now, the player when they are ready, and the end when it has ended."""
    given = {name: LaunchConfiguration(name).perform(context) for name, *_ in ARGUMENTS}
    check(given)
    nodes = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(HERE / "perception.launch.py")),
        launch_arguments={
            "use_sim_time": "true",
            "respawn": "false",
            **{k: given[k] for k in ("model", "image_topic", "transport", "weights", "device")},
        }.items(),
    )
    record, play = (ExecuteProcess(cmd=c, output="screen") for c in commands(given))
    over = [EmitEvent(event=Shutdown(reason="the recording was played to its end"))]
    started = []

    def play_once_ready(event: ProcessIO) -> list | None:
        if started or not any(word in event.text.decode(errors="replace") for word in READY):
            return None
        started.append(play)
        return started

    heard = OnProcessIO(target_action=record, on_stdout=play_once_ready, on_stderr=play_once_ready)
    ended = OnProcessExit(
        target_action=play, on_exit=[TimerAction(period=LAST_RESULTS_S, actions=over)]
    )
    failed = OnProcessExit(
        target_action=record, on_exit=[EmitEvent(event=Shutdown(reason="the recorder has ended"))]
    )
    return [*map(RegisterEventHandler, (heard, ended, failed)), nodes, record]


def check(given: Mapping[str, str]) -> None:
    """Raise RuntimeError, in one sentence, for what cannot be played or recorded."""
    if not given["bag"] or not Path(given["bag"]).exists():
        raise RuntimeError(f"bag:={given['bag']} is not there; give the path of a recording")
    for out in (Path(given["out"]), ours(given["out"])):
        if out.exists():
            raise RuntimeError(f"out:={given['out']}: {out} is there already; name another one")
    if not given["rate"].replace(".", "", 1).isdigit() or float(given["rate"]) == 0:
        raise RuntimeError(f"rate:={given['rate']} is not a number above 0")
    if not has_ros2_bag() and Path(given["bag"]).suffix != ".mcap":
        raise RuntimeError(f"bag:={given['bag']} needs ros2 bag; without it give a .mcap file")


def ours(out: str) -> Path:
    """The file that the recorder of this package writes."""
    return Path(f"{out}.mcap")


def has_ros2_bag() -> bool:
    try:
        get_package_prefix("ros2bag")
    except PackageNotFoundError:
        return False
    return True


def commands(given: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """What records, and what plays."""
    results = [f"/{model}/{name}" for model in MODELS[given["model"]] for name in RESULTS[model]]
    images = given["image_topic"]
    info = images.rsplit("/", 1)[0] + "/camera_info"
    if has_ros2_bag():
        bag = ["ros2", "bag"]
        options = ["--clock", "100", "--rate", given["rate"], "--topics", images, info]
        record = [*bag, "record", "--use-sim-time", "-s", "mcap", "-o", given["out"], *results]
        return record, [*bag, "play", given["bag"], *options]
    python = [sys.executable, "-m"]
    sim_time = ["--ros-args", "-p", "use_sim_time:=true"]
    wait = ["--rate", given["rate"], "--subscribers", str(len(MODELS[given["model"]]))]
    record = [*python, "jointseg_ros.recorder", str(ours(given["out"])), "--topics", *results]
    play = [*python, "jointseg_ros.player", given["bag"], *wait, "--topics", images]
    return [*record, *sim_time], play
