"""What replay.launch.py starts: the nodes, a recorder of their results, and a player of images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jointseg_core.errors import BadConfig
from jointseg_ros.launching.arguments import Argument
from jointseg_ros.launching.program import Program, is_installed
from jointseg_ros.model_choices import DEFAULT_MODEL, MODELS
from jointseg_ros.transports import TRANSPORTS, transport_of

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

ARGUMENTS = (
    Argument("bag", "", (), "the recording: a rosbag2 folder or a .mcap file"),
    Argument("out", "replayed", (), "the results become OUT.mcap, which must not be there yet"),
    Argument("model", DEFAULT_MODEL, tuple(MODELS), "which nodes it is played to"),
    Argument("image_topic", "/camera/image_raw", (), "the images in it"),
    Argument("transport", "raw", (), f"kind of the images: {', '.join(TRANSPORTS)}"),
    Argument("rate", "1.0", (), "how many times faster than it was"),
    Argument("weights", "", (), "path of the weights of one model; the shipped ones when empty"),
    Argument("device", "", (), "auto, cpu, cuda or cuda:N; auto when empty"),
)


def check(given: Mapping[str, str]) -> None:
    """Raise BadConfig, in one sentence, for what cannot be played or recorded."""
    if not given["bag"] or not Path(given["bag"]).exists():
        raise BadConfig(f"bag:={given['bag']} is not there; give the path of a recording")
    if (out := recorded(given)).exists():
        raise BadConfig(f"out:={given['out']}: {out} is there already; name another one")
    if not given["rate"].replace(".", "", 1).isdigit() or float(given["rate"]) == 0:
        raise BadConfig(f"rate:={given['rate']} is not a number above 0")
    if not is_ours(given["bag"]) and not is_installed("ros2bag"):
        raise BadConfig(
            f"bag:={given['bag']} needs ros2 bag; without it give a .mcap file, "
            f"which python -m jointseg_eval.salvage {given['bag']} OUT.mcap makes"
        )


def perception(given: Mapping[str, str]) -> dict[str, str]:
    """The arguments of perception.launch.py for the nodes."""
    topic = given["image_topic"].removesuffix(transport_of(given["transport"]).suffix)
    passed_on = {k: given[k] for k in ("model", "transport", "weights", "device")}
    return passed_on | {"image_topic": topic, "use_sim_time": "true", "respawn": "false"}


def recorded(given: Mapping[str, str]) -> Path:
    """The file with the results."""
    return Path(f"{given['out'].removesuffix('.mcap')}.mcap")


def is_ours(bag: str) -> bool:
    """Whether the player of this package plays it, which waits until every node listens."""
    return Path(bag).suffix.lower() == ".mcap" and not Path(bag).is_dir()


def recorder(given: Mapping[str, str]) -> Program:
    """Records every result."""
    results = [f"/{model}/{name}" for model in MODELS[given["model"]] for name in RESULTS[model]]
    arguments = (str(recorded(given)), "--topics", *results)
    return Program("recorder", arguments=arguments, parameters={"use_sim_time": True})


def player(given: Mapping[str, str]) -> Program:
    """Plays the images of a .mcap file when every node listens."""
    nodes = str(len(MODELS[given["model"]]))
    how = ("--subscribers", nodes, "--rate", given["rate"], "--topics", _images(given))
    return Program("player", arguments=(given["bag"], *how))


def bag_player(given: Mapping[str, str]) -> list[str]:
    """The command that plays the images of a folder or a .db3 file, once RESUME was called."""
    paused = ("--start-paused", "--disable-keyboard-controls", "--clock", "1000")
    images = _images(given)
    suffix = transport_of(given["transport"]).suffix
    info = f"{images.removesuffix(suffix).rpartition('/')[0]}/camera_info"
    command = ["ros2", "bag", "play", given["bag"], *paused]
    return [*command, "--rate", given["rate"], "--topics", images, info]


def _images(given: Mapping[str, str]) -> str:
    suffix = transport_of(given["transport"]).suffix
    return given["image_topic"].removesuffix(suffix) + suffix
