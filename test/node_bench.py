"""A node under test and an observer over real DDS, for the tests of the node."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image

from jointseg_core import CITYSCAPES, Preprocessing, preset, save_model
from jointseg_core.checkpoint import build_model
from jointseg_ros.perception_node import PerceptionNode

PATIENCE = 15  # seconds; discovery alone may take three
SOME = {"score_threshold": 0.001, "max_detections": 5}  # an untrained network sees something
MODELS = ("rdsnet", "segrpn", "joint")


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained tiny models for small images."""
    folder = tmp_path_factory.mktemp("weights")
    for model_type in MODELS:
        torch.manual_seed(0)
        model = build_model(preset(model_type, "tiny"))
        save_model(
            model, folder / f"{model_type}.safetensors", CITYSCAPES, Preprocessing((64, 128))
        )
    return {model_type: folder / f"{model_type}.safetensors" for model_type in MODELS}


class Bench:
    """The node under test and an observer, each spinning in a thread of its own."""

    def __init__(self, weights: dict[str, Path]) -> None:
        self.weights = weights
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self._spinning: list[tuple[SingleThreadedExecutor, threading.Thread, Node]] = []
        self._closing = threading.Event()
        self.observer = Node("observer", context=self.context)
        self._spin(self.observer)
        self.node: PerceptionNode | None = None
        self.heard: dict[str, list[Any]] = {}

    def _spin(self, node: Node) -> None:
        executor = SingleThreadedExecutor(context=self.context)
        executor.add_node(node)
        thread = threading.Thread(target=self._work, args=(executor,), daemon=True)
        thread.start()
        self._spinning.append((executor, thread, node))

    def _work(self, executor: SingleThreadedExecutor) -> None:
        """Spin until closing: an executor that is shut down in the middle of a callback raises."""
        while not self._closing.is_set():
            executor.spin_once(timeout_sec=0.02)

    def run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Call a method of a node on the thread that spins it, and return what it returns.

        Whatever destroys entities goes this way: an executor that gathers what to wait for raises
        InvalidHandle, and its thread ends, when a publisher or subscription vanishes meanwhile.
        """
        task = work.__self__.executor.create_task(work, *arguments)
        until(task.done)
        return task.result()

    def start(self, model_type: str = "rdsnet", **parameters: Any) -> PerceptionNode:
        """Start the node; double underscores stand for the dots in names."""
        given = {"model__type": model_type, "model__weights": str(self.weights[model_type])}
        overrides = [
            Parameter(name.replace("__", "."), value=value)
            for name, value in (given | parameters).items()
        ]
        return self.start_named("jointseg", overrides)

    def start_named(self, name: str, overrides: list[Parameter]) -> PerceptionNode:
        """Start a node of this name."""
        self.node = PerceptionNode(name, context=self.context, parameter_overrides=overrides)
        self._spin(self.node)
        return self.node

    def active(self, model_type: str = "rdsnet", **parameters: Any) -> PerceptionNode:
        """Start the node and wait until it receives."""
        node = self.start(model_type, **parameters)
        until(lambda: node.receiving)
        return node

    def listen(self, topic: str, kind: type, latched: bool = False, depth: int = 50) -> list[Any]:
        """What arrives on a topic from now on; waits for the publisher when the node is there."""
        heard = self.heard.setdefault(topic, [])
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        self.observer.create_subscription(
            kind, topic, heard.append, QoSProfile(depth=depth, durability=durability)
        )
        if self.node is not None and self.node.receiving:
            until(lambda: self.observer.count_publishers(topic) > 0)
        return heard

    def camera(
        self, topic: str = "/camera/image_raw", kind: type = Image, qos: Any = 50
    ) -> Publisher:
        """A publisher that somebody hears."""
        publisher = self.observer.create_publisher(kind, topic, qos)
        until(lambda: publisher.get_subscription_count() > 0)
        return publisher

    def status(self, name: str) -> Any:
        """The newest diagnostics of that name, with `values` as a dictionary."""
        heard = self.heard.get("/diagnostics") or self.listen("/diagnostics", DiagnosticArray)
        for message in reversed(heard):
            for status in message.status:
                if status.name == f"jointseg: {name}":
                    return status, {pair.key: pair.value for pair in status.values}
        return None

    def call(self, kind: type, service: str, **fields: Any) -> Any:
        """The response of a service of the node."""
        client = self.observer.create_client(kind, service)
        assert client.wait_for_service(PATIENCE)
        future = client.call_async(kind.Request(**fields))
        until(future.done)
        return future.result()

    def set(self, name: str, value: Any) -> Any:
        """Set one parameter of the node; the result has `successful` and `reason`."""
        return self.node.set_parameters([Parameter(name, value=value)])[0]

    def close(self) -> None:
        self._closing.set()
        for _, thread, _ in self._spinning:
            thread.join(PATIENCE)
        stopped = self.node is None or self.node.close()
        self.node = self.observer = None
        while self._spinning:
            executor, thread, node = self._spinning.pop()
            executor.shutdown()
            node.destroy_node()
        rclpy.shutdown(context=self.context)
        del executor, thread, node
        gc.collect()  # a node leaves the network when its last handle is gone
        assert stopped, "the worker did not stop"


@pytest.fixture
def bench(weights: dict[str, Path], ros_domain: int) -> Iterator[Bench]:
    bench = Bench(weights)
    yield bench
    bench.close()


def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Wait for a condition and return its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return value


def frame(stamp: int = 1, camera: str = "front_optical", size: tuple[int, int] = (48, 96)) -> Image:
    """A noisy rgb8 image, another one for each stamp (in nanoseconds)."""
    height, width = size
    pixels = np.random.default_rng(stamp).integers(0, 255, (height, width, 3), dtype=np.uint8)
    image = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    image.data = pixels.tobytes()
    image.header.frame_id = camera
    image.header.stamp.sec, image.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
    return image


def stamp_of(message: Any) -> int:
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def send_until_heard(publisher: Any, message: Any, heard: list[Any]) -> Any:
    """Publish a frame until its result arrives: matching is not the same moment on both sides."""
    for _ in range(30):
        publisher.publish(message)
        try:
            return until(
                lambda: next((m for m in heard if stamp_of(m) == stamp_of(message)), None), 0.5
            )
        except AssertionError:
            continue
    raise AssertionError("no result")


@pytest.fixture(scope="module")
def shared(weights: dict[str, Path]) -> Iterator[Bench]:
    """One active node for tests that leave it as it was."""
    bench = Bench(weights)
    bench.active()
    yield bench
    bench.close()
