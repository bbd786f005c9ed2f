"""Large images get through shared memory, and whoever chose something else keeps it."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="no rclpy: neither a ROS 2 nor its wheels are here")

import rclpy
from rclpy.qos import qos_profile_sensor_data
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import Image

from jointseg_ros import large_images
from jointseg_ros.large_images import PROFILE_VARIABLES

SHARED_MEMORY = Path("/dev/shm")
TWICE_A_SEGMENT = 128 << 20

SENDER = """
import rclpy, time
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("sender")
publisher = node.create_publisher(Image, "/large", qos_profile_sensor_data)
image = Image(height=1080, width=1920, step=5760, encoding="bgr8", data=bytes(1080 * 5760))
while True:
    publisher.publish(image)
    time.sleep(0.1)
"""


def added(given: Mapping[str, str]) -> dict[str, str]:
    return large_images.environment(Path("/profile.xml"), given)


def test_both_releases_of_fast_dds_are_told() -> None:
    both = dict.fromkeys(PROFILE_VARIABLES, "/profile.xml")
    assert added({}) == both
    assert added({"RMW_IMPLEMENTATION": "rmw_fastrtps_dynamic_cpp"}) == both


@pytest.mark.parametrize("name", [*PROFILE_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS"])
def test_what_the_user_chose_stays(name: str) -> None:
    assert added({name: "mine"}) == {}
    assert added({name: ""}) != {}


@pytest.mark.parametrize("rmw", ["rmw_cyclonedds_cpp", "rmw_zenoh_cpp"])
def test_another_middleware_is_left_alone(rmw: str) -> None:
    assert added({"RMW_IMPLEMENTATION": rmw}) == {}


def test_the_profile_has_room_for_several_images_and_keeps_the_network() -> None:
    root = ElementTree.parse(large_images.profile()).getroot()
    space = {"": root.tag.partition("}")[0].strip("{")}
    kinds = {d.find("type", space).text: d for d in root.iterfind(".//transport_descriptor", space)}
    assert set(kinds) == {"SHM", "UDPv4"}
    assert int(kinds["SHM"].find("segment_size", space).text) > 8 * 1080 * 1920 * 3
    used = {t.text for t in root.iterfind(".//userTransports/transport_id", space)}
    assert used == {d.find("transport_id", space).text for d in kinds.values()}


def test_a_large_image_crosses_to_a_process_without_the_profile(ros_domain: int) -> None:
    if "fastrtps" not in get_rmw_implementation_identifier():
        pytest.skip(f"the profile is for Fast DDS, this is {get_rmw_implementation_identifier()}")
    if os.statvfs(SHARED_MEMORY).f_bavail * os.statvfs(SHARED_MEMORY).f_frsize < TWICE_A_SEGMENT:
        pytest.skip(f"{SHARED_MEMORY} has no room for a segment; give the container more shm-size")
    context, received = rclpy.Context(), []
    rclpy.init(context=context)
    node = rclpy.create_node("receiver", context=context)
    node.create_subscription(Image, "/large", received.append, qos_profile_sensor_data)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    environment = os.environ | large_images.environment(large_images.profile(), {})
    sender = subprocess.Popen([sys.executable, "-c", SENDER], env=environment)
    try:
        for _ in range(300):
            executor.spin_once(timeout_sec=0.1)
            if len(received) >= 10:
                break
    finally:
        sender.terminate()
        sender.wait(10)
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)
    assert len(received) >= 10
    assert all(len(image.data) == 1080 * 5760 for image in received)
