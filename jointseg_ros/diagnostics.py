"""Messages for /diagnostics from what the monitor noticed: inputs, model, latency, outputs."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible

from jointseg_core.predictor import Predictor
from jointseg_ros.mailbox import Counts
from jointseg_ros.monitor import Input, Monitor
from jointseg_ros.parameters import Settings

if TYPE_CHECKING:
    from jointseg_ros.perception_node import PerceptionNode

OK, WARN, ERROR = 0, 1, 2
CLEARS_AFTER = 3.0
"""Seconds without the problem until a level goes down."""
RECENT = 3.0
"""Seconds that a bad frame or a failure is reported as such."""


class Level(NamedTuple):
    """How bad it is, and why in one sentence."""

    level: int
    text: str


class Hysteresis:
    """Levels rise at once and fall after some seconds without the problem: they do not flicker."""

    def __init__(self, clears_after: float = CLEARS_AFTER) -> None:
        self._clears_after = clears_after
        self._held: dict[str, tuple[float, Level]] = {}  # when it was last so, and what

    def __call__(self, name: str, now: float, found: Level) -> Level:
        """What to report under this name at this steady time."""
        at, held = self._held.get(name, (now, found))
        if found.level >= held.level or now - at >= self._clears_after:
            self._held[name] = (now, found)
            return found
        return Level(held.level, f"{held.text} (over since {now - at:.0f} s)")


@dataclass(frozen=True)
class Matched:
    """The publishers on a camera's topic, by whether their messages can arrive."""

    topic: str
    count: int = 0
    problems: tuple[str, ...] = ()  # one sentence each


def matched_publishers(node: Node, topic: str, kind: str, qos: QoSProfile | None) -> Matched:
    """Who publishes on the resolved topic, and whom we cannot hear; qos None: not subscribed."""
    if qos is None:
        return Matched(topic)
    endpoints = node.get_publishers_info_by_topic(topic)
    problems = []
    for endpoint in endpoints:
        who = f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}"
        compatible, reason = qos_check_compatible(endpoint.qos_profile, qos)
        if endpoint.topic_type != kind:
            problems.append(f"{who} publishes {endpoint.topic_type}, expected {kind}")
        elif compatible == QoSCompatibility.ERROR:
            problems.append(f"incompatible QoS of {who}: {reason.strip().rstrip(';')}")
    return Matched(topic, len(endpoints), tuple(problems))


def input_level(facts: Input, now: float, settings: Settings, matched: Matched) -> Level:
    """The worst that can be said of a camera; `now` in steady seconds."""
    silence_ms = 1e3 * (now - (facts.last_arrival or facts.watched_since))
    if matched.problems:
        return Level(ERROR, "; ".join(matched.problems))
    if silence_ms > settings.diagnostics_input_timeout_ms:
        publishers = f"{matched.count} publisher{'' if matched.count == 1 else 's'}"
        text = f"no frame for {silence_ms / 1e3:.1f} s on {matched.topic}, {publishers}"
        return Level(ERROR, text)
    if now - facts.last_bad < RECENT:
        level = ERROR if facts.last_bad > facts.last_good else WARN
        return Level(level, f"bad frame: {facts.bad_text}")
    if facts.last_arrival is None and not matched.count:
        return Level(WARN, f"no publisher on {matched.topic}")
    return _age_level(facts, now, settings)


def _age_level(facts: Input, now: float, settings: Settings) -> Level:
    age_ms = facts.ages_ms.quantile(now, 0.5)
    if age_ms is not None and age_ms > 3.6e6:
        hours = age_ms / 3.6e6
        return Level(WARN, f"stamps are {hours:.0f} h behind the clock; set use_sim_time for a bag")
    if age_ms is not None and age_ms > settings.diagnostics_max_age_ms:
        limit = settings.diagnostics_max_age_ms
        return Level(WARN, f"frames are {age_ms:.0f} ms old at arrival, limit {limit:.0f} ms")
    if now - facts.last_backwards < RECENT:
        return Level(WARN, "stamps went backwards")
    return Level(OK, "receiving" if facts.last_arrival else "waiting for the first frame")


def input_status(
    facts: Input, counts: Counts, now: float, level: Level, matched: Matched
) -> DiagnosticStatus:
    """One camera; what became of its frames adds up."""
    values = {
        "topic": matched.topic,
        "publishers matched": matched.count,
        "rate [Hz]": f"{facts.arrivals.rate(now):.1f}",
        "age p50 [ms]": _number(facts.ages_ms.quantile(now, 0.5)),
        "age p95 [ms]": _number(facts.ages_ms.quantile(now, 0.95)),
        "received": counts.received,
        "processed": counts.processed,
        "dropped": sum(counts.dropped.values()),
        "pending": counts.pending,
        "encoding": facts.encoding,
        "size": facts.size,
        "stamps backwards": facts.backwards,
        **{f"dropped {reason}": count for reason, count in sorted(counts.dropped.items())},
    }
    if facts.bad_text:
        values["last bad frame"] = facts.bad_text
    return _status(level, values)


def model_level(state: str, predictor: Predictor | None, trouble: str, device: str) -> Level:
    """`trouble` is what configure or a reload failed with last, `device` the parameter."""
    if predictor is None:
        return Level(ERROR, trouble) if trouble else Level(OK, f"not loaded, {state}")
    if trouble:
        return Level(ERROR, f"still running the old model: {trouble}")
    if device == "auto" and predictor.device.type == "cpu":
        return Level(WARN, "no GPU found, running on the CPU")
    return Level(OK, state)


def model_status(
    state: str, predictor: Predictor | None, level: Level, warm_up_ms: float
) -> DiagnosticStatus:
    """What is loaded, and where it runs."""
    values: dict[str, object] = {"state": state}
    if predictor is not None:
        values |= {
            "type": predictor.model_type,
            "weights": predictor.weights,
            "sha256": predictor.sha256[:12],
            "device": predictor.device,
            "precision": predictor.precision,
            "CPU threads": torch.get_num_threads(),
            "warm-up [ms]": f"{warm_up_ms:.0f}",
        }
        if predictor.device.type == "cuda":
            values["GPU memory allocated [MB]"] = torch.cuda.memory_allocated() >> 20
            values["GPU memory reserved [MB]"] = torch.cuda.memory_reserved() >> 20
    return _status(level, values)


def latency_level(monitor: Monitor, now: float, settings: Settings) -> Level:
    """WARN over the limit, ERROR when over it for long, or when a batch does not come to an end."""
    patience_ms = settings.diagnostics_max_consecutive_delay_ms
    if monitor.busy_since is not None and now - monitor.busy_since > max(2.0, patience_ms / 1e3):
        return Level(ERROR, f"a batch has been running for {now - monitor.busy_since:.1f} s")
    if monitor.failure and now - monitor.last_failure < RECENT:
        return Level(ERROR, monitor.failure)
    over_for_ms = monitor.budget.over_for_ms()
    if over_for_ms is None or now - monitor.budget.last > RECENT:
        return Level(OK, "in time")
    limit = settings.diagnostics_max_processing_time_ms
    text = f"the last batch took {monitor.budget.took_ms:.0f} ms, limit {limit:.0f} ms"
    if over_for_ms > patience_ms:
        return Level(ERROR, f"{text}, for {over_for_ms / 1e3:.1f} s now")
    return Level(WARN, text)


def latency_status(monitor: Monitor, now: float, level: Level) -> DiagnosticStatus:
    """Where the time of a batch goes, over the last ten seconds."""
    values = {}
    for stage, window in monitor.stages.items():
        took = window.values(now)
        values[f"{stage} mean [ms]"] = _number(sum(took) / len(took) if took else None)
    for q in (0.5, 0.95, 1.0):
        name = "max" if q == 1 else f"p{q * 100:.0f}"
        values[f"total {name} [ms]"] = _number(monitor.total_ms.quantile(now, q))
        values[f"stamp to publication {name} [ms]"] = _number(monitor.latency_ms.quantile(now, q))
    return _status(level, values)


def outputs_status(published: dict[str, Counter[str]], rates: dict[str, float]) -> DiagnosticStatus:
    """Messages and rates of each topic, `camera/topic`."""
    values = {}
    for camera, counts in published.items():
        for topic, count in sorted(counts.items()):
            name = f"{camera}/{topic}"
            values[f"{name} messages"] = count
            values[f"{name} [Hz]"] = f"{rates.get(name, 0):.1f}"
    return _status(Level(OK, "publishing" if values else "nothing yet"), values)


class Reporter:
    """Publishes /diagnostics once a second on a steady clock, in every state of the node."""

    def __init__(self, node: PerceptionNode) -> None:
        self._node = node
        self._settle = Hysteresis()
        self._counted: dict[str, int] = {}
        self._counted_at = time.monotonic()
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        node.create_timer(1.0, self.report, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def report(self) -> None:
        """Publish the present state."""
        node, now = self._node, time.monotonic()
        with node.monitor.lock:
            statuses = {
                **{f"input {camera}": self._input(camera, now) for camera in node.monitor.inputs},
                "model": self._model(),
                "latency": self._latency(now),
                "outputs": outputs_status(node.published(), self._rates(now)),
            }
        for name, status in statuses.items():
            status.name = f"{node.get_name()}: {name}"
            status.hardware_id = node.get_fully_qualified_name()
        message = DiagnosticArray(status=list(statuses.values()))
        message.header.stamp = node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def _input(self, camera: str, now: float) -> DiagnosticStatus:
        node, facts = self._node, self._node.monitor.inputs[camera]
        matched = node.matched(camera)
        if node.receiving:
            level = input_level(facts, now, node.settings, matched)
        else:
            level = Level(OK, f"not subscribed: {node.state}")
        level = self._settle(f"input {camera} {node.receiving}", now, level)
        return input_status(facts, node.counts()[camera], now, level, matched)

    def _model(self) -> DiagnosticStatus:
        node = self._node
        level = model_level(node.state, node.predictor, node.trouble, node.settings.device)
        return model_status(node.state, node.predictor, level, node.warm_up_ms)

    def _latency(self, now: float) -> DiagnosticStatus:
        level = latency_level(self._node.monitor, now, self._node.settings)
        return latency_status(self._node.monitor, now, self._settle("latency", now, level))

    def _rates(self, now: float) -> dict[str, float]:
        """Messages a second by topic since the last report."""
        counted = {
            f"{camera}/{topic}": count
            for camera, counts in self._node.published().items()
            for topic, count in counts.items()
        }
        seconds = max(now - self._counted_at, 1e-3)
        rates = {name: (n - self._counted.get(name, 0)) / seconds for name, n in counted.items()}
        self._counted, self._counted_at = counted, now
        return rates


def _status(level: Level, values: dict[str, object]) -> DiagnosticStatus:
    return DiagnosticStatus(
        level=bytes([level.level]),
        message=level.text,
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
