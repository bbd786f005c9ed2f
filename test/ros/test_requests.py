"""What a callback raises costs that call alone."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("jointseg_msgs.msg", reason="the messages are not built")

sys.path.insert(0, str(Path(__file__).parents[1]))

import rclpy
from node_bench import until
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode

from jointseg_ros.requests import spin


def test_a_callback_that_raises_does_not_end_the_spinning(ros_domain: int) -> None:
    context, told = rclpy.Context(), []
    rclpy.init(context=context)
    node = LifecycleNode("raises", context=context)
    clock = Clock(clock_type=ClockType.STEADY_TIME)
    node.create_timer(0.01, lambda: [][1], clock=clock)

    def work() -> None:
        with suppress(ExternalShutdownException):
            spin(node, told.append)

    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: len(told) >= 3)
    rclpy.shutdown(context=context)
    thread.join(5)
    assert not thread.is_alive()
    assert told[0] == "a callback failed: IndexError: list index out of range"
    node.destroy_node()
