"""Play a recording to the perception nodes, and record what they make of it.

    ros2 launch jointseg_ros replay.launch.py bag:=drive.mcap out:=replayed
    python -m jointseg_eval.evaluate_bag drive.mcap --weights ... --online replayed.mcap

The second line tells what the results were worth. The player starts when the recorder hears every
node, and all ends some seconds after the last frame. The recorder is this package's own, and so is
the player of .mcap files; folders and .db3 files are played by `ros2 bag`, where it is installed.
Everything runs on the recording's own time (/clock).
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
from launch.events.process import ProcessExited, ProcessIO
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from jointseg_ros.model_choices import DEFAULT_MODEL, MODELS

HERE = Path(get_package_share_directory("jointseg_ros")) / "launch"
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
RESUME = ["ros2", "service", "call", "/rosbag2_player/resume", "rosbag2_interfaces/srv/Resume"]
READY = "recording "  # says the recorder when it hears every node
CONNECTING_S = 3.0  # `ros2 bag` does not wait for those who listen
LAST_RESULTS_S = 5.0

# name, default, choices, description
ARGUMENTS = (
    ("bag", "", (), "the recording: a rosbag2 folder or a .mcap file"),
    ("out", "replayed", (), "the results become OUT.mcap, which must not be there yet"),
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
    given["image_topic"] = given["image_topic"].removesuffix("/compressed")
    nodes = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(HERE / "perception.launch.py")),
        launch_arguments={
            "use_sim_time": "true",
            "respawn": "false",
            **{k: given[k] for k in ("model", "image_topic", "transport", "weights", "device")},
        }.items(),
    )
    record = ExecuteProcess(cmd=recorder(given), output="screen")
    play = ExecuteProcess(cmd=player(given), output="screen")
    resume = ExecuteProcess(cmd=RESUME, output="screen")
    started = []

    def play_once_ready(event: ProcessIO) -> list | None:
        if started or READY not in event.text.decode(errors="replace"):
            return None
        started.append(play)
        if not is_ours(given["bag"]):
            started.append(TimerAction(period=CONNECTING_S, actions=[resume]))
        return started

    def after_playing(event: ProcessExited, _: LaunchContext) -> TimerAction | EmitEvent:
        if event.returncode:
            return ended("the player has failed")
        over = ended("the recording was played to its end")
        return TimerAction(period=LAST_RESULTS_S, actions=[over])

    def unless_resumed(event: ProcessExited, _: LaunchContext) -> EmitEvent | None:
        return ended("ros2 bag play could not be resumed") if event.returncode else None

    heard = OnProcessIO(target_action=record, on_stdout=play_once_ready)
    played = OnProcessExit(target_action=play, on_exit=after_playing)
    failed = OnProcessExit(target_action=record, on_exit=[ended("the recorder has ended")])
    resumed = OnProcessExit(target_action=resume, on_exit=unless_resumed)
    return [*map(RegisterEventHandler, (heard, played, failed, resumed)), nodes, record]


def ended(reason: str) -> EmitEvent:
    """The end of everything."""
    return EmitEvent(event=Shutdown(reason=reason))


def check(given: Mapping[str, str]) -> None:
    """Raise RuntimeError, in one sentence, for what cannot be played or recorded."""
    if not given["bag"] or not Path(given["bag"]).exists():
        raise RuntimeError(f"bag:={given['bag']} is not there; give the path of a recording")
    if (out := recorded(given)).exists():
        raise RuntimeError(f"out:={given['out']}: {out} is there already; name another one")
    if not given["rate"].replace(".", "", 1).isdigit() or float(given["rate"]) == 0:
        raise RuntimeError(f"rate:={given['rate']} is not a number above 0")
    if not is_ours(given["bag"]) and not has_ros2_bag():
        raise RuntimeError(
            f"bag:={given['bag']} needs ros2 bag; without it give a .mcap file, "
            f"which python -m jointseg_eval.salvage {given['bag']} OUT.mcap makes"
        )


def recorded(given: Mapping[str, str]) -> Path:
    """The file with the results."""
    return Path(f"{given['out'].removesuffix('.mcap')}.mcap")


def is_ours(bag: str) -> bool:
    """Whether the player of this package plays it, which waits until every node listens."""
    return Path(bag).suffix == ".mcap" and not Path(bag).is_dir()


def has_ros2_bag() -> bool:
    try:
        get_package_prefix("ros2bag")
    except PackageNotFoundError:
        return False
    return True


def recorder(given: Mapping[str, str]) -> list[str]:
    """The command that records every result."""
    results = [f"/{model}/{name}" for model in MODELS[given["model"]] for name in RESULTS[model]]
    command = [sys.executable, "-m", "jointseg_ros.recorder", str(recorded(given))]
    return [*command, "--topics", *results, "--ros-args", "-p", "use_sim_time:=true"]


def player(given: Mapping[str, str]) -> list[str]:
    """The command that plays the images; `ros2 bag` waits for RESUME."""
    name = given["image_topic"]
    images = f"{name}/compressed" if given["transport"] == "compressed" else name
    how = ["--rate", given["rate"], "--topics", images]
    if is_ours(given["bag"]):
        command = [sys.executable, "-m", "jointseg_ros.player", given["bag"]]
        return [*command, "--subscribers", str(len(MODELS[given["model"]])), *how]
    paused = ["--start-paused", "--disable-keyboard-controls", "--clock", "1000"]
    info = f"{name.rpartition('/')[0]}/camera_info"
    return ["ros2", "bag", "play", given["bag"], *paused, *how, info]
