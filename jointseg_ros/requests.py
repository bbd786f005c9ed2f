"""Every request to a node gets an answer, and none ends it.

What a callback raises leaves `spin`, and with it the program. Of services that are rclpy's own this
is a transition that the node's state does not have, and a parameter of a type that does not exist.
"""

from __future__ import annotations

import inspect
import sys
from argparse import ArgumentParser
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from lifecycle_msgs.msg import Transition
from rclpy.callback_groups import CallbackGroup
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.service import Service
from rclpy.utilities import remove_ros_args

from jointseg_ros.levels import described
from jointseg_ros.worker import Complaints

_CONFIGURE = ("configure", Transition.TRANSITION_CONFIGURE)


def answer_all(
    node: LifecycleNode, group: CallbackGroup, prepare: Callable[[], Awaitable[None]]
) -> None:
    """Log what a service raises; its answer is the response as far as it is filled, which is no.

    prepare: is waited for before the node is configured, in `group`, so that it answers meanwhile
    """
    changes_state = node._service_change_state
    changes_state.callback_group = group
    changes_state.callback = _of_the_state(node, changes_state.callback, prepare)
    for service in node.services:
        service.callback = _answering(node, service, service.callback)


def _answering(node: LifecycleNode, service: Service, callback: Callable) -> Callable:
    async def answer(request: Any, response: Any) -> Any:
        try:
            answered = callback(request, response)
            return await answered if inspect.isawaitable(answered) else answered
        except Exception as error:
            node.get_logger().error(f"{service.srv_name} failed: {described(error)}")
            return response

    return answer


def _of_the_state(
    node: LifecycleNode, trigger: Callable, prepare: Callable[[], Awaitable[None]]
) -> Callable:
    """Refuse a transition that does not begin at the present state."""

    complain = Complaints(node.get_logger().warning)

    async def change_state(request: Any, response: Any) -> Any:
        wanted = request.transition
        reason = _refusal(node, wanted)
        if not reason and (wanted.label or wanted.id) in _CONFIGURE:
            await prepare()
            reason = _refusal(node, wanted)  # the state may be another one now
        if reason:
            complain("transition", reason)
            return response
        return trigger(request, response)

    return change_state


def _refusal(node: LifecycleNode, wanted: Transition) -> str:
    """Why the node cannot make a transition now; empty where it can. A label counts more."""
    there = {label: number for number, label, *_ in node._state_machine.available_transitions}
    if wanted.label in there or (not wanted.label and wanted.id in there.values()):
        return ""
    named = repr(wanted.label[:40]) if wanted.label else f"number {wanted.id}"
    state = node._state_machine.current_state[1]
    possible = ", ".join(f"{label} ({number})" for label, number in there.items()) or "nothing"
    return f"transition {named} refused: the node is {state}, where it can do {possible}"


def refuse_words(program: str, description: str, arguments: Sequence[str] | None) -> None:
    """Answer --help, and refuse what are no ROS arguments: both end the program."""
    words = remove_ros_args(sys.argv if arguments is None else arguments)[1:]
    ArgumentParser(program, description=description).parse_args(words)


def spin(node: LifecycleNode, failed: Callable[[str], object]) -> None:
    """Work until a signal comes; what any other callback raises is told to `failed`."""
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    while node.context.ok():
        try:
            executor.spin()
        except ExternalShutdownException:
            raise
        except Exception as error:
            if not node.context.ok():  # a signal came meanwhile
                raise
            failed(f"a callback failed: {described(error)}")
