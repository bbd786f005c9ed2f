"""D. The running node: bad frames, strange clocks, nonsense parameters; over real DDS."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from node_bench import SOME, Bench, frame, send_until_heard, stamp_of, until
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from sensor_msgs.msg import CompressedImage
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Detection2DArray

from faults.contract import Case
from jointseg_core import CITYSCAPES, Preprocessing, build_model, preset, save_model

DETECTIONS = "/jointseg/camera/detections"
CHANGE_STATE = "/jointseg/change_state"


def played(name: str, play: Callable[[Bench], None], often: bool = False, **limits: Any) -> Case:
    """A node and an observer; `play` says what happens."""

    def made(folder: Path) -> tuple[Path]:
        torch.manual_seed(0)
        path = folder / "a.safetensors"
        model = build_model(preset("rdsnet", "tiny"))
        save_model(model, path, CITYSCAPES, Preprocessing((64, 128)))
        return (path,)

    def run(weights: Path) -> None:
        bench = Bench({"rdsnet": weights})
        try:
            play(bench)
        finally:
            bench.close()

    limits = {"seconds": 60, "megabytes": 500, "often": often} | limits
    return Case("nodes", name, made, run, **limits)


def spoiled(stamp: int, **fields: Any) -> Any:
    message = frame(stamp)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


BAD = {
    "step": {"step": 7},
    "data_size": {"data": bytes(5)},
    "zero_size": {"height": 0},
    "too_large": {"height": 1 << 31, "width": 1 << 31, "step": (1 << 32) - 1},
    "encoding": {"encoding": "foo8" * 5000},
}


def _bad_frames(bench: Bench) -> None:
    """Each costs itself alone, is counted by its reason, and the next good one is processed."""
    node = bench.active()
    detections, camera = bench.listen(DETECTIONS, Detection2DArray), bench.camera()
    send_until_heard(camera, frame(1), detections)
    for number, (reason, fields) in enumerate(BAD.items(), start=1):
        camera.publish(spoiled(100 + number, **fields))
        until(lambda key=f"bad_image:{reason}": node.counts()["camera"].dropped.get(key) == 1)
        sent = send_until_heard(camera, frame(10 + number), detections)
        assert sent.header.frame_id == "front_optical"
    assert not {stamp_of(m) for m in detections} & set(range(101, 106))


def _many_bad_frames(bench: Bench) -> None:
    """Memory after 2,000 bad frames is that after 200, within 5 %."""
    node = bench.active()
    detections, camera = bench.listen(DETECTIONS, Detection2DArray), bench.camera(qos=1)
    send_until_heard(camera, frame(1), detections)
    pages = {}
    for count in (200, 2000):
        while sum(node.counts()["camera"].dropped.values()) < count:
            before = node.counts()["camera"].received
            camera.publish(spoiled(5, step=7))
            until(lambda before=before: node.counts()["camera"].received > before)
        pages[count] = int(Path("/proc/self/statm").read_text().split()[1])
    assert pages[2000] <= 1.05 * pages[200], pages
    send_until_heard(camera, frame(2), detections)


def _clocks(bench: Bench) -> None:
    """Stamps that are zero, go back, repeat or lie in the future are copied as they are."""
    bench.active()
    detections, camera = bench.listen(DETECTIONS, Detection2DArray), bench.camera()
    for stamp in (5_000_000_000, 1, 0, 2_000_000_000_000_000_000, 3, 3):
        send_until_heard(camera, frame(stamp), detections)


def _sizes(bench: Bench) -> None:
    bench.active()
    detections, camera = bench.listen(DETECTIONS, Detection2DArray), bench.camera()
    sizes = [(480, 640), (720, 1280), (480, 640), (1, 1), (7, 13), (640, 480)]
    for stamp, size in enumerate(sizes, start=1):
        send_until_heard(camera, frame(stamp, size=size), detections)


def _burst(bench: Bench) -> None:
    """300 frames at once: the newest is processed, and every other one is counted."""
    node = bench.active(**SOME)
    detections, camera = bench.listen(DETECTIONS, Detection2DArray, depth=400), bench.camera(qos=5)
    send_until_heard(camera, frame(1), detections)
    for stamp in range(2, 302):
        camera.publish(frame(stamp))
    send_until_heard(camera, frame(500), detections)
    counts = until(lambda: (c := node.counts()["camera"]).pending == 0 and c)
    assert counts.received == counts.processed + sum(counts.dropped.values())


def _parameters(bench: Bench) -> None:
    """What makes no sense is refused with a reason; the old value stays."""
    node = bench.active()
    before = node.settings
    for name, value in [
        ("score_threshold", 1.5),
        ("score_threshold", float("nan")),
        ("score_threshold", "high"),
        ("score_threshold", -1),
        ("max_detections", 0),
        ("max_detections", 1 << 62),
        ("device", "cuda:0"),
        ("classes_filter", ["unicorn"]),
        ("model.type", "segrpn"),
    ]:
        result = bench.set(name, value)
        assert not result.successful and result.reason, name
        assert node.settings is before
    for number in range(200):
        assert bench.set("score_threshold", 0.1 + number / 1000).successful
    detections = bench.listen(DETECTIONS, Detection2DArray)
    send_until_heard(bench.camera(), frame(1), detections)


def _reload(bench: Bench) -> None:
    """Damaged weights do not replace those that work."""
    node = bench.active()
    old = node.predictor
    for name, data in {"cut": old.weights.read_bytes()[:999], "garbage": b"x" * 50}.items():
        path = old.weights.with_name(f"{name}.safetensors")
        path.write_bytes(data)
        path.with_suffix(".json").write_bytes(old.weights.with_suffix(".json").read_bytes())
        assert bench.set("model.weights", str(path)).successful
        response = bench.call(Trigger, "/jointseg/reload_model")
        assert not response.success and str(path) in response.message
        assert node.predictor is old
    detections = bench.listen(DETECTIONS, Detection2DArray)
    send_until_heard(bench.camera(), frame(1), detections)


def _no_files(bench: Bench) -> None:
    """Weights that are no file are refused before they are read."""
    node = bench.active()
    old, folder = node.predictor, node.predictor.weights.parent
    os.mkfifo(folder / "pipe.safetensors")
    for path in (folder / "pipe.safetensors", Path("/dev/zero"), Path("/dev/null"), folder):
        assert bench.set("model.weights", str(path)).successful
        response = bench.call(Trigger, "/jointseg/reload_model")
        assert not response.success and str(path) in response.message
        assert node.predictor is old


def _cycles(bench: Bench, rounds: int) -> None:
    """Configure, activate, deactivate, clean up: no thread is left, and memory settles."""
    node = bench.start(autostart=False)
    threads, pages = threading.active_count(), []
    for _ in range(rounds):
        for step in ("configure", "activate", "deactivate", "cleanup"):
            bench.run(getattr(node, f"trigger_{step}"))
        assert threading.active_count() == threads
        pages.append(int(Path("/proc/self/statm").read_text().split()[1]))
    assert pages[-1] <= 1.05 * pages[rounds // 2], pages


def _transitions(bench: Bench, count: int) -> None:
    """Three clients ask for what they like, with numbers and words that there are not."""
    node, random = bench.active(), Random(0)
    clients = [bench.observer.create_client(ChangeState, CHANGE_STATE) for _ in range(3)]
    until(lambda: all(client.service_is_ready() for client in clients))
    known = [1, 2, 3, 4, *range(256)]  # not 5 to 7 alone, after which there is nothing to ask for
    words = ["", "", "", "configure", "transition_success", "destroy", "x" * 999, "\u202e"]
    for _ in range(count // len(clients)):
        asked = []
        for client in clients:
            wanted = Transition(id=random.choice(known), label=random.choice(words))
            if wanted.id not in range(5, 8) or wanted.label:
                asked.append(client.call_async(ChangeState.Request(transition=wanted)))
        until(lambda asked=asked: all(future.done() for future in asked))
    bench.call(ChangeState, CHANGE_STATE, transition=Transition(id=Transition.TRANSITION_CONFIGURE))
    bench.call(ChangeState, CHANGE_STATE, transition=Transition(id=Transition.TRANSITION_ACTIVATE))
    detections = bench.listen(DETECTIONS, Detection2DArray)
    send_until_heard(bench.camera(), frame(1), detections)
    assert node.state == "active"


def _requests(bench: Bench) -> None:
    """Every service answers what makes no sense, in every state, and does none of it."""
    node = bench.start(autostart=False)
    asked = [
        (SetParameters, "set_parameters", {"parameters": [_nonsense(77), _nonsense(1)]}),
        (SetParametersAtomically, "set_parameters_atomically", {"parameters": [_nonsense(255)]}),
        (SetParameters, "set_parameters", {"parameters": [_nonsense(1, "a\0b")]}),
        (SetParameters, "set_parameters", {"parameters": [_nonsense(4, "x" * 99_999)] * 99}),
        (GetParameters, "get_parameters", {"names": ["", "nothing", "cameras"]}),
        (DescribeParameters, "describe_parameters", {"names": ["nothing"] * 999}),
        (ListParameters, "list_parameters", {"prefixes": [".", ""], "depth": 1 << 63}),
        (ChangeState, "change_state", {"transition": Transition(id=3)}),
    ]
    for move in ("configure", "activate", "deactivate", "cleanup", "shutdown"):
        before = node.state, node.settings
        for kind, service, fields in asked:
            if (before[0], service) != ("inactive", "change_state"):  # where it makes sense
                bench.call(kind, f"/jointseg/{service}", **fields)
        assert (node.state, node.settings) == before
        if before[0] == "unconfigured":
            assert not bench.call(SetBool, "/jointseg/enable", data=True).success
            assert not bench.call(Trigger, "/jointseg/reload_model").success
        number = getattr(Transition, f"TRANSITION_{move.upper()}", 5)
        transition = Transition(id=number)
        assert bench.call(ChangeState, CHANGE_STATE, transition=transition).success
    assert node.state == "finalized"


def _nonsense(kind: int, name: str = "score_threshold") -> ParameterMessage:
    return ParameterMessage(name=name, value=ParameterValue(type=kind))


# Requests one by one: the node answers what makes no sense, and then what does

STATE = (ChangeState, "change_state")
REQUESTS: dict[str, tuple[type, str, dict[str, Any]]] = {
    "a transition of another state": (*STATE, {"transition": Transition(id=3)}),
    "transition 255": (*STATE, {"transition": Transition(id=255)}),
    "transition 0": (*STATE, {"transition": Transition()}),
    "a transition that is its own": (*STATE, {"transition": Transition(id=60)}),
    "a label in capitals": (*STATE, {"transition": Transition(label="SHUTDOWN")}),
    "a label of 100 kB": (*STATE, {"transition": Transition(label="x" * 99_999)}),
    "a label against its number": (*STATE, {"transition": Transition(id=1, label="cleanup")}),
    "true before there is a model": (SetBool, "enable", {"data": True}),
    "false before there is a model": (SetBool, "enable", {"data": False}),
    "another model before there is one": (Trigger, "reload_model", {}),
    "a value of no type": (SetParameters, "set_parameters", {"parameters": [_nonsense(99)]}),
    "nothing in a name": (SetParameters, "set_parameters", {"parameters": [_nonsense(3, "")]}),
    "ten thousand names": (GetParameters, "get_parameters", {"names": ["nothing"] * 10_000}),
    "one value thrice": (
        SetParametersAtomically,
        "set_parameters_atomically",
        {"parameters": [_nonsense(4)] * 3},
    ),
}


def asked(name: str, kind: type, service: str, fields: dict[str, Any]) -> Case:
    def run() -> None:
        bench = Bench({"rdsnet": Path("none.safetensors")})
        try:
            node = bench.start(autostart=False)
            before = node.settings
            for _ in range(3):
                bench.call(kind, f"/jointseg/{service}", **fields)
            found = bench.call(GetParameters, "/jointseg/get_parameters", names=["score_threshold"])
            assert found.values[0].double_value == before.score_threshold
            assert (node.state, node.settings) == ("unconfigured", before)
        finally:
            bench.close()

    return Case("nodes", f"a request: {name}", lambda folder: (), run, seconds=30, megabytes=200)


def _missing(bench: Bench) -> None:
    node = bench.start(autostart=False, model__weights="/nowhere/a.safetensors")
    bench.run(node.trigger_configure)
    assert node.state == "unconfigured" and "/nowhere/a.safetensors" in node.trouble


def _compressed(bench: Bench) -> None:
    """What is no picture is counted; a topic of nonsense does not stop the node."""
    node = bench.active(cameras__camera__transport="compressed")
    camera = bench.camera("/camera/image_raw/compressed", CompressedImage)
    for number, data in enumerate((b"", b"\xff\xd8\xff", bytes(range(256)), b"%!PS-Adobe"), 1):
        until(lambda: node.counts()["camera"].pending == 0)
        camera.publish(CompressedImage(header=frame(number).header, format="jpeg", data=data))
        until(lambda n=number: sum(node.counts()["camera"].dropped.values()) == n)
    assert node.counts()["camera"].processed == 0 and node.receiving


CASES = [
    played("bad frames of every kind", _bad_frames, often=True),
    played("2,000 bad frames", _many_bad_frames),
    played("stamps of zero, going back, in the future", _clocks, often=True),
    played("sizes that change", _sizes),
    played("300 frames at once", _burst),
    played("parameters of nonsense, then 200 that are good", _parameters),
    played("damaged weights to reload", _reload),
    played("weights that are no file", _no_files, often=True, seconds=10, megabytes=150),
    played("weights that are not there", _missing),
    played("30 turns through the states", partial(_cycles, rounds=30), seconds=90),
    played("compressed images that are none", _compressed),
    played("30 transitions by three clients", partial(_transitions, count=30), often=True),
    played("1,000 transitions by three clients", partial(_transitions, count=1000), seconds=150),
    played("requests of nonsense in every state", _requests, often=True),
    *(asked(name, *request) for name, request in REQUESTS.items()),
]
