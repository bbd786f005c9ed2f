"""The launch file starts the models, and its files name only what the nodes have."""

import importlib.util
import inspect
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

rclpy = pytest.importorskip("rclpy", reason="no rclpy: neither a ROS 2 nor its wheels are here")
pytest.importorskip("jointseg_msgs.msg", reason="the messages are not built")

from jointseg_msgs.msg import InferenceStats, InstanceMaskArray
from rclpy.node import Node
from sensor_msgs.msg import Image

from demo.models import DEFAULT_MODELS
from jointseg_core.errors import BadConfig
from jointseg_ros.__main__ import LAUNCHES
from jointseg_ros.launching import perception, replay
from jointseg_ros.launching.arguments import misspelt, values
from jointseg_ros.launching.program import Program
from jointseg_ros.launching.supervisor import Supervisor
from jointseg_ros.model_choices import DEFAULT_MODEL
from jointseg_ros.outputs import CameraOutputs
from jointseg_ros.parameters import Camera, Settings
from jointseg_ros.perception_node import PerceptionNode

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
CONFIGS = sorted((LAUNCH / "config").glob("*.yaml"))
MULTI_CAMERA = LAUNCH / "config" / "multi_camera.yaml"
TOPICS = {
    "/rdsnet/camera/detections",
    "/rdsnet/camera/instance_masks",
    "/rdsnet/camera/instance_labels",
    "/rdsnet/camera/instance_labels/color",
    "/rdsnet/camera/label_info",
    "/rdsnet/camera/overlay",
    "/rdsnet/camera/overlay/compressed",
    "/rdsnet/stats",
    "/segrpn/camera/detections",
    "/segrpn/camera/semantic/image",
    "/segrpn/camera/semantic/image/compressed",
    "/segrpn/camera/semantic/color",
    "/segrpn/camera/semantic/confidence",
    "/segrpn/camera/semantic/label_info",
    "/segrpn/camera/foreground/image",
    "/segrpn/camera/label_info",
    "/segrpn/camera/overlay",
    "/segrpn/camera/overlay/compressed",
    "/segrpn/stats",
    "/diagnostics",
}
JOINT_TOPICS = {
    *(topic.replace("segrpn", "joint").replace("rdsnet", "joint") for topic in TOPICS),
    "/joint/camera/panoptic/image",
    "/joint/camera/panoptic/segments",
    "/joint/camera/panoptic/color",
}
MODELS = ("rdsnet", "segrpn", "joint")
IN_THE_MIDDLE = "rviz_default_plugins/MarkerArray"  # of the window: without a panel of its own
SHOWN = {
    "rviz_default_plugins/Image": "sensor_msgs/msg/Image",
    IN_THE_MIDDLE: "visualization_msgs/msg/MarkerArray",
}


@pytest.fixture
def ros(ros_domain: int) -> Iterator[None]:
    rclpy.init()
    yield
    rclpy.try_shutdown()


# Files, with or without launch


def rviz_topics(file: str) -> dict[str, str]:
    """The topics of the displays of an rviz file, with the type that each display shows."""
    document = yaml.safe_load((LAUNCH / "rviz" / file).read_text())
    displays = document["Visualization Manager"]["Displays"]
    return {display["Topic"]["Value"]: SHOWN[display["Class"]] for display in displays}


def published(cameras: list[str]) -> set[tuple[str, str]]:
    """The topics and types of the nodes of all models for these cameras."""
    found: set[tuple[str, str]] = set()
    for model in MODELS:
        node = Node(model)
        seen = [Camera(camera, "image", "raw", depth_topic="depth") for camera in cameras]
        outputs = [CameraOutputs(node, camera, model) for camera in seen]
        for name, types in node.get_publisher_names_and_types_by_node(model, "/"):
            found |= {(name, kind) for kind in types}
        for one in outputs:
            one.destroy()
        node.destroy_node()
    return found


@pytest.mark.parametrize("files", [("perception", "multi_camera"), ("joint", "joint_multi_camera")])
def test_rviz_shows_only_what_the_nodes_publish(files: tuple[str, str], ros: None) -> None:
    one, three = (rviz_topics(f"{name}.rviz") for name in files)
    assert (len(one), len(three)) == (5 if files[0] == "joint" else 4, 6)
    assert set(one.items()) <= published(["camera"])
    names = configured(MULTI_CAMERA, "rdsnet")["camera_names"]
    assert set(three.items()) <= published(names)


@pytest.mark.parametrize("file", [file.name for file in (LAUNCH / "rviz").glob("*.rviz")])
def test_every_view_of_rviz_has_a_panel_that_is_open(file: str) -> None:
    document = yaml.safe_load((LAUNCH / "rviz" / file).read_text())
    for display in document["Visualization Manager"]["Displays"]:
        if display["Class"] == IN_THE_MIDDLE:
            continue
        assert document["Window Geometry"][display["Name"]] == {"collapsed": False}
        name = display["Name"].encode("utf-16-be").hex()
        assert name in document["Window Geometry"]["QMainWindow State"]  # its place in the window


def test_the_layout_of_foxglove_shows_what_the_node_publishes(ros: None) -> None:
    layout = json.loads((LAUNCH / "foxglove" / "joint.json").read_text())
    panels, placed = layout["configById"], set(re.findall(r"\w+!\w+", f"{layout['layout']}"))
    assert placed == panels.keys()
    topics = {name for name, _ in published(["camera"])}
    topics |= {"/camera/image_raw", "/joint/camera/annotations", "/diagnostics"}
    for panel in panels.values():
        shown = panel.get(
            "imageMode", {"imageTopic": panel.get("topicToRender"), "annotations": {}}
        )
        assert {shown["imageTopic"], *shown["annotations"]} <= topics | {None}
        for path in panel.get("paths", ()):
            topic, field = path["value"].split(".")
            assert topic == "/joint/stats"
            assert field in InferenceStats.get_fields_and_field_types()


def flat(values: dict, prefix: str = "") -> dict[str, object]:
    """{"a": {"b": 1}} to {"a.b": 1}."""
    found: dict[str, object] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found


def configured(file: Path, model: str) -> dict[str, object]:
    """What a parameter file says to the node of a model."""
    document = yaml.safe_load(file.read_text())
    values: dict[str, object] = {}
    for pattern in ("/**", f"/**/{model}"):
        values |= flat(document.get(pattern, {}).get("ros__parameters", {}))
    return values


def declared(model: str, *arguments: str) -> dict[str, object]:
    """The parameters of a node that starts with these arguments."""
    options = ["--ros-args", "-p", "autostart:=false", "-p", f"model.type:={model}", *arguments]
    node = PerceptionNode(model, cli_args=options)
    names = node.list_parameters([], 0).names
    values = {name: node.get_parameter_or(name).value for name in names}
    node.close()
    node.destroy_node()
    return values


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_the_node_takes_every_value_of_a_parameter_file(file: Path, model: str, ros: None) -> None:
    wanted = configured(file, model)
    values = declared(model, "--params-file", str(file))
    assert wanted
    assert {name: values.get(name, "not declared") for name in wanted} == wanted


def test_the_file_for_a_single_camera_holds_the_defaults(ros: None) -> None:
    wanted = configured(LAUNCH / "config" / "single_camera.yaml", "rdsnet")
    values = declared("rdsnet")
    assert {name: values[name] for name in wanted} == wanted


# Launching


STARTERS = {
    "ros2 launch": ["ros2", "launch", "jointseg_ros"],
    "python -m": [sys.executable, "-m", "jointseg_ros"],
}
each_starter = pytest.mark.parametrize("starter", STARTERS)


def needs_launch(starter: str = "ros2 launch") -> None:
    here = importlib.util.find_spec("launch_ros") and shutil.which("ros2")
    if starter == "ros2 launch" and not here:
        pytest.skip("launch_ros and ros2 are not installed: the wheels of ROS 2 have neither")


def launching(starter: str, file: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*STARTERS[starter], f"{file}.launch.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


@each_starter
def test_show_args_explains_every_argument(starter: str) -> None:
    needs_launch(starter)
    shown = launching(starter, "perception", "--show-args")
    names = [
        *["model", "params_file", "weights", "device", "precision", "cameras", "image_topic"],
        *["depth_topic", "camera_info_topic"],
        *["transport", "namespace", "name", "autostart", "use_sim_time", "log_level"],
        *["respawn", "respawn_delay", "rviz", "overlay", "foxglove"],
    ]
    lines = [line.strip() for line in shown.stdout.splitlines()]
    assert shown.returncode == 0, shown.stderr
    for name in names:
        description = lines[lines.index(f"'{name}':") + 1]
        assert len(description) > 10, name


@each_starter
def test_replay_explains_its_arguments_and_refuses_what_it_cannot_play(
    starter: str, tmp_path: Path
) -> None:
    needs_launch(starter)
    shown = launching(starter, "replay", "--show-args")
    assert shown.returncode == 0 and all(f"'{n}':" in shown.stdout for n in ("bag", "out", "rate"))
    refused = launching(starter, "replay", f"bag:={tmp_path / 'none.mcap'}")
    assert "none.mcap is not there" in refused.stdout + refused.stderr


@pytest.mark.parametrize(
    ("transport", "topic"), [("raw", "/a/image_raw"), ("compressed", "/a/image_raw/compressed")]
)
def test_replay_plays_files_by_its_own_player_and_folders_by_ros2_bag(transport, topic) -> None:
    words = ["out:=seen", "model:=both", "rate:=2", "image_topic:=/a/image_raw"]
    given = values(replay.ARGUMENTS, [*words, "bag:=drive.mcap", f"transport:={transport}"])
    ours = replay.player(given).command()
    assert ours[1:4] == ["-m", "jointseg_ros.player", "drive.mcap"] and ours[-1] == topic
    assert ours[ours.index("--subscribers") + 1] == "2"
    other = replay.bag_player(given | {"bag": "drive"})
    assert other[:4] == ["ros2", "bag", "play", "drive"] and "--start-paused" in other
    assert other[-2:] == [topic, "/a/camera_info"]
    recorder = replay.recorder(given).command()
    assert "seen.mcap" in recorder and recorder[-2:] == ["-p", "use_sim_time:=true"]
    nodes = perception.programs(
        values(perception.ARGUMENTS, map(":=".join, replay.perception(given).items()))
    )
    assert [node.name for node in nodes] == ["rdsnet", "segrpn"]
    assert not any(node.starts_again_after(1) for node in nodes)


@each_starter
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["model:=yolo"], "joint"),
        (
            ["model:=both", "weights:=/w.safetensors"],
            "is the file of one model, and model:=both starts two",
        ),
        (["cameras:=front,rear", "image_topic:=/image"], "write {camera} where"),
        (["cameras:=front,rear", "depth_topic:=/depth"], "depth_topic:=/depth is one topic"),
        ([f"params_file:={MULTI_CAMERA}", "image_topic:=/image"], "front, left, right are several"),
        (["params_file:=/nowhere.yaml"], "params_file:=/nowhere.yaml is not a file"),
        (["respawn_delay:=soon"], "respawn_delay:=soon is not a number of seconds"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    starter: str, arguments: list[str], sentence: str
) -> None:
    needs_launch(starter)
    result = launching(starter, "perception", *arguments)
    assert result.returncode in (1, 2) and sentence in result.stdout + result.stderr
    assert "process started" not in result.stdout + result.stderr


def test_launch_files_and_python_m_have_one_table_of_arguments() -> None:
    assert LAUNCHES == {"perception": perception.ARGUMENTS, "replay": replay.ARGUMENTS}
    for name in LAUNCHES:
        text = (LAUNCH / f"{name}.launch.py").read_text()
        assert "in ARGUMENTS\n" in text and f"jointseg_ros.launching.{name} import" in text


def test_arguments_that_nobody_has_are_said_with_the_nearest_name() -> None:
    with pytest.raises(BadConfig, match="no argument is called modl; there is model"):
        values(perception.ARGUMENTS, ["modl:=rdsnet"])
    with pytest.raises(BadConfig, match="write name:=value"):
        values(perception.ARGUMENTS, ["model=rdsnet"])
    of_others = ["robot", "model", "modl", "image_topics"]
    assert list(misspelt(perception.ARGUMENTS, of_others)) == [
        "no argument is called image_topics; did you mean image_topic?",
        "no argument is called modl; did you mean model?",
    ]


def test_a_command_says_to_the_node_what_the_arguments_say() -> None:
    words = ["model:=rdsnet", "namespace:=car", "name:=eyes", "weights:=/1e3", "cameras:=a,b"]
    topics = ["image_topic:=/{camera}/image", "depth_topic:=/{camera}/depth"]
    given = values(perception.ARGUMENTS, [*words, *topics])
    [node] = perception.programs(given)
    command = node.command()
    assert command[1:3] == ["-m", "jointseg_ros.perception_node"]
    said = {w for word, w in itertools.pairwise(command) if word in ("-p", "-r", "--params-file")}
    assert said == {
        *("__node:=eyes", "__ns:=/car", given["params_file"]),
        *('model.type:="rdsnet"', 'model.weights:="/1e3"'),
        *('camera_names:=["a", "b"]', 'cameras.a.image_topic:="/a/image"'),
        *('cameras.b.image_topic:="/b/image"', 'cameras.a.depth_topic:="/a/depth"'),
        'cameras.b.depth_topic:="/b/depth"',
    }


@pytest.mark.parametrize(
    ("section", "words", "topics"),
    [
        ("/**", [], ["/a/image", "/b/image"]),
        ("/joint", [], ["/a/image", "/b/image"]),
        ("/**/joint", ["namespace:=car"], ["/a/image", "/b/image"]),
        ("/car/*", ["namespace:=/car/", "name:=eyes"], ["/a/image", "/b/image"]),
        ("/rdsnet", [], ["/camera/image"]),
    ],
)
def test_cameras_of_the_file_that_a_node_reads_are_those_of_the_arguments(
    section: str, words: list[str], topics: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump({section: {"ros__parameters": {"camera_names": ["a", "b"]}}}))
    words = [*words, f"params_file:={file}", "image_topic:=/{camera}/image"]
    [node] = perception.programs(values(perception.ARGUMENTS, words))
    assert [node.parameters[f"cameras.{t.split('/')[1]}.image_topic"] for t in topics] == topics


def test_what_no_argument_says_is_left_to_the_file() -> None:
    [node] = perception.programs(values(perception.ARGUMENTS, []))
    assert node.parameters == {"model.type": "joint"}
    words = ["autostart:=false", "use_sim_time:=true"]
    [node] = perception.programs(values(perception.ARGUMENTS, words))
    assert (node.parameters["autostart"], node.parameters["use_sim_time"]) == (False, True)


def test_paths_are_understood_as_people_write_them(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert (
        values(replay.ARGUMENTS, ["bag:=~/a.mcap", "out:=$HOME/b"])["bag"] == f"{tmp_path}/a.mcap"
    )
    (tmp_path / "own.yaml").write_text("- 1")
    for file in ("own", "none"):
        with pytest.raises(BadConfig, match=rf"{tmp_path}/{file}.yaml is no"):
            perception.programs(values(perception.ARGUMENTS, [f"params_file:=~/{file}.yaml"]))


# Again after the end


def test_a_wrong_start_is_not_tried_again_and_a_lost_device_is() -> None:
    again = Program("perception_node", respawn_delay=2.0)
    assert [again.starts_again_after(code) for code in (2, 5, 1, 0, -9)] == [False, *[True] * 4]
    assert not Program("perception_node").starts_again_after(-9)


class Counting(Program):
    """Ends with the next code each time that it is started."""

    def command(self) -> list[str]:
        code = (
            "import os, sys; file = open(sys.argv[1], 'a'); number = file.tell(); file.write('x');"
            "file.close(); os._exit(int(sys.argv[2:][number]))"
        )
        return [sys.executable, "-c", code, *self.arguments]


@pytest.mark.parametrize(
    ("codes", "code", "starts"), [("5 1 2 0", 2, 3), ("2 0", 2, 1)], ids=["at last", "at once"]
)
def test_the_supervisor_starts_again_until_it_is_hopeless(codes, code, starts, tmp_path) -> None:
    count = tmp_path / "starts"
    arguments = (str(count), *codes.split())
    with Supervisor() as running:
        [process] = running.start([Counting("x", arguments=arguments, respawn_delay=0.01)])
        assert process.wait() == code
    assert len(count.read_text()) == starts


class Sleeping(Program):
    """Runs for long, and ignores SIGINT where its argument says so."""

    def command(self) -> list[str]:
        code = (
            "import signal, time; signal.signal(2, signal.{}); print(1, flush=True); time.sleep(60)"
        )
        return [sys.executable, "-c", code.format(self.arguments[0])]


def test_the_supervisor_ends_all_and_kills_who_does_not_listen(monkeypatch) -> None:
    monkeypatch.setattr("jointseg_ros.launching.supervisor.PATIENCE", 0.3)
    programs = [
        Sleeping("x", arguments=(how,), respawn_delay=0.0) for how in ("SIG_DFL", "SIG_IGN")
    ]
    with Supervisor() as running:
        started = running.start(programs, subprocess.PIPE)
        assert [process.output.readline() for process in started] == ["1\n", "1\n"]
    assert [process.code for process in started] == [-signal.SIGINT, -signal.SIGKILL]


class Signalled(Sleeping):
    """Somebody wants all to end while this is started."""

    def command(self) -> list[str]:
        signal.raise_signal(signal.SIGTERM)
        return super().command()


def test_a_signal_in_the_middle_of_a_start_leaves_no_process() -> None:
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        with pytest.raises(SystemExit) as end, Supervisor() as running:
            running.start([Signalled("x", arguments=("SIG_DFL",))] * 2)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert end.value.code == 128 + signal.SIGTERM
    assert len(running._processes) == 2 and None not in [one.code for one in running._processes]


class Launched:
    """A running launch file, and what it has said so far."""

    def __init__(self, log: Path, *arguments: str, starter: str = "ros2 launch") -> None:
        self.log = log
        command = [*STARTERS[starter], "perception.launch.py", *arguments]
        streams = {"stdout": log.open("w"), "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(command, cwd=ROOT, **streams, start_new_session=True)

    def wait_until(self, condition: Callable[[], bool], node: Node, seconds: float = 100) -> None:
        """Spin `node` until the condition holds; fails with the log, at once when a node died."""
        end = time.monotonic() + seconds
        while not condition():
            said = self.log.read_text()
            assert "has died" not in said and time.monotonic() < end, said
            rclpy.spin_once(node, timeout_sec=0.1)

    def interrupted(self) -> str:
        """Press Ctrl-C, as a terminal does for the whole group, and return all that was said."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(timeout=60)
        return self.log.read_text()


def test_everything_starts_the_joint_network_where_no_model_is_named() -> None:
    for arguments in LAUNCHES.values():
        assert values(arguments, [])["model"] == DEFAULT_MODEL
    assert [DEFAULT_MODEL, Settings().model_type, *DEFAULT_MODELS] == ["joint"] * 3


def test_a_node_without_a_name_is_called_as_the_pages_call_it() -> None:
    assert inspect.signature(PerceptionNode).parameters["node_name"].default == "joint"


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Callable[..., Launched]]:
    """Launches with arguments; everything that was started is gone after the test."""
    running: list[Launched] = []

    def launch(*arguments: str, **options: str) -> Launched:
        running.append(Launched(tmp_path / "launch.log", *arguments, **options))
        return running[-1]

    yield launch
    for one in running:
        if one.process.poll() is None:
            os.killpg(one.process.pid, signal.SIGKILL)
            one.process.wait()


def topics_with_publishers(node: Node) -> set[str]:
    names = [name for name, _ in node.get_topic_names_and_types()]
    return {name for name in names if node.count_publishers(name)}


@pytest.fixture
def weights_file(
    rdsnet_weights: Path, segrpn_weights: Path, joint_weights: Path, tmp_path: Path
) -> Path:
    """A parameter file that names the untrained weights of every model."""
    weights = {"rdsnet": rdsnet_weights, "segrpn": segrpn_weights, "joint": joint_weights}
    document = {
        f"/**/{model}": {"ros__parameters": {"model": {"weights": str(path)}}}
        for model, path in weights.items()
    }
    file = tmp_path / "weights.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_both_models_start_and_publish_every_topic_and_stop_cleanly(
    ros: None, weights_file: Path, launched: Callable[..., Launched]
) -> None:
    needs_launch()
    node = Node("listener")
    arguments = ("model:=both", "image_topic:=/front/image", f"params_file:={weights_file}")
    both = launched(*arguments)
    both.wait_until(lambda: topics_with_publishers(node) >= TOPICS, node)
    both.wait_until(lambda: node.count_subscribers("/front/image") == 2, node)
    said = both.interrupted()
    node.destroy_node()
    assert said.count("process has finished cleanly") == 2, said
    assert "Traceback" not in said and "has died" not in said, said


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_joint_model_publishes_the_topics_of_both_from_one_node(
    ros: None, weights_file: Path, launched: Callable[..., Launched]
) -> None:
    needs_launch()
    node = Node("listener")
    joint = launched("model:=joint", f"params_file:={weights_file}")
    joint.wait_until(lambda: topics_with_publishers(node) >= JOINT_TOPICS, node)
    said = joint.interrupted()
    node.destroy_node()
    assert said.count("process has finished cleanly") == 1, said


@pytest.mark.slow
@pytest.mark.timeout(300)
@each_starter
def test_a_frame_comes_back_from_the_camera_that_the_arguments_name(
    ros: None, rdsnet_weights: Path, launched: Callable[..., Launched], starter: str
) -> None:
    needs_launch(starter)
    node, received = Node("listener"), []
    camera = node.create_publisher(Image, "/rear/image", 1)
    topic = "/car/eyes/rear/instance_masks"
    node.create_subscription(InstanceMaskArray, topic, received.append, 1)
    image = Image(height=32, width=64, encoding="rgb8", step=192, data=bytes(32 * 192))
    image.header.frame_id = "rear_optical"
    node.create_timer(0.2, lambda: camera.publish(image))
    eyes = launched(
        *["model:=rdsnet", f"weights:={rdsnet_weights}", "namespace:=car", "name:=eyes"],
        *["cameras:=front,rear", "image_topic:=/{camera}/image"],
        starter=starter,
    )
    eyes.wait_until(lambda: bool(received), node)
    assert "has died" not in eyes.interrupted()
    node.destroy_node()
    assert received[0].header == image.header
    assert (received[0].height, received[0].width) == (32, 64)
