"""Somebody who asks a running node for things, of which it cannot do some: one after another."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool, Trigger

SERVICES = {
    "change_state": ChangeState,
    "enable": SetBool,
    "reload_model": Trigger,
    "set_parameters": SetParameters,
}
REQUESTS = {  # what is asked for: (service, what it is given, whether it has to be done) in turn
    "wrong transition": [("change_state", "activate", False)],
    "unknown transition": [("change_state", 213, False)],
    "impossible values": [
        ("set_parameters", {"score_threshold": 7.0}, False),
        ("set_parameters", {"watchdog.timeout_ms": 1.0}, False),
        ("set_parameters", {"max_detections": "many"}, False),
        ("set_parameters", {"no.such": 1}, False),
    ],
    "other values": [
        ("set_parameters", {"score_threshold": 0.5, "max_detections": 7}, True),
        ("set_parameters", {"score_threshold": 0.3, "max_detections": 100}, True),
    ],
    "weights that are none": [
        ("set_parameters", {"model.weights": "/dev/zero"}, True),
        ("reload_model", None, False),
        ("set_parameters", {"model.weights": None}, True),
    ],
    "reload": [("reload_model", None, True)],
    "disable": [("enable", False, True), ("enable", True, True)],
    "deactivate": [("change_state", name, True) for name in ("deactivate", "activate")],
    "clean up": [
        ("change_state", name, True) for name in ("deactivate", "cleanup", "configure", "activate")
    ],
}


class Operator:
    """Asks on behalf of `node`, which somebody else spins, for what another node serves.

    weights  the value of model.weights to return to
    """

    def __init__(self, node: Node, served_by: str, weights: str) -> None:
        self._clients = {
            name: node.create_client(kind, f"/{served_by}/{name}")
            for name, kind in SERVICES.items()
        }
        self._weights = weights
        self._waiting: deque[tuple[str, Any, bool]] = deque()
        self._asked = False  # and not answered yet
        self.counts: Counter[str] = Counter()

    def ask(self, name: str) -> None:
        """Ask for one of REQUESTS when all before have been answered."""
        self._waiting.extend(REQUESTS[name])
        if not self._asked:
            self._next()

    def _next(self) -> None:
        self._asked = bool(self._waiting)
        if not self._waiting:
            return
        service, given, done = self._waiting.popleft()
        self.counts["asked"] += 1
        future = self._clients[service].call_async(self._request(service, given))
        future.add_done_callback(lambda future: self._answered(future.result(), done))

    def _answered(self, response: Any, done: bool) -> None:
        self.counts["answered"] += 1
        self.counts["as expected"] += _done(response) is done
        self._next()

    def _request(self, service: str, given: Any) -> Any:
        request = SERVICES[service].Request()
        if service == "enable":
            request.data = given
        elif service == "set_parameters":
            request.parameters = list(self._parameters(given))
        elif isinstance(given, int):
            request.transition.id = given
        elif given:
            request.transition.label = given
        return request

    def _parameters(self, values: dict[str, Any]) -> Iterator[Any]:
        for name, value in values.items():
            kept = self._weights if value is None else value
            yield Parameter(name, value=kept).to_parameter_msg()


def _done(response: Any) -> bool:
    results = getattr(response, "results", None)
    if results is None:
        return response.success
    return all(one.successful for one in results)
