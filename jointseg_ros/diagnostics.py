"""How the node is, from what the monitor noticed: /diagnostics, ~/ready and ~/live."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from functools import partial
from typing import Protocol

import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Bool

from jointseg_core.predictor import Predictor
from jointseg_ros.depth_diagnostics import depth_status
from jointseg_ros.inputs import Matched
from jointseg_ros.levels import (
    ERROR,
    OK,
    WARN,
    Hysteresis,
    Level,
    Rhythm,
    described,
    stamps_level,
    topic_level,
    worst,
)
from jointseg_ros.mailbox import Counts
from jointseg_ros.monitor import Input, Monitor
from jointseg_ros.parameters import Settings
from jointseg_ros.statuses import status

AHEAD_MS = 500.0  # so much may stamps be ahead of a simulated clock, which ticks seldom
RECENT = 3.0  # seconds that a bad frame or a failure is reported as such
LOOKS = 0.25  # seconds; what got worse or better is told at once, all of it once a second


def input_level(facts: Input, now: float, settings: Settings, matched: Matched) -> Level:
    """The worst that can be said of a camera; `now` in steady seconds."""
    return worst(_of_input(facts, now, settings, matched))


def _of_input(facts: Input, now: float, settings: Settings, matched: Matched) -> Iterator[Level]:
    """All that can be said of a camera, what matters most first."""
    publishers = f"{matched.count} publisher{'' if matched.count == 1 else 's'}"
    rhythm = topic_level(facts.rhythm, now, settings.input_limits, matched.topic, publishers)
    if matched.problems:
        yield Level(ERROR, "; ".join(matched.problems), rhythm.state)
    elif facts.rhythm.last is None and not matched.count:
        yield worst((rhythm, Level(WARN, f"no publisher on {matched.topic}", rhythm.state)))
    if now - facts.last_bad < RECENT and rhythm.state != "TIMEOUT":
        level = ERROR if facts.last_bad > facts.last_good else WARN
        yield Level(level, f"bad frame: {facts.bad_text}", rhythm.state)
    if rhythm.level:
        yield rhythm
    if now - facts.last_late < RECENT:
        yield Level(WARN, f"{facts.late_text} are allowed", rhythm.state)
    if off := _off_the_clock(facts, now, settings):
        yield Level(WARN, off, rhythm.state)
    if facts.hint:
        yield Level(WARN, facts.hint, rhythm.state)
    if now - facts.last_backwards < RECENT:
        yield Level(WARN, "stamps went backwards", rhythm.state)
    yield Level(OK, "receiving", rhythm.state) if facts.rhythm.last else rhythm


def _off_the_clock(facts: Input, now: float, settings: Settings) -> str:
    age_ms = facts.ages_ms.quantile(now, 0.5)
    if facts.last_stamp == 0:
        return "the driver sets no stamp: header.stamp is 0"
    if age_ms is None:
        return ""
    if age_ms < -AHEAD_MS:
        difference = f"{-age_ms / 1e3:.1f} s" if age_ms > -6e4 else f"{-age_ms / 6e4:.0f} min"
        return f"stamps are {difference} ahead of the clock; set the clocks of camera and computer"
    if age_ms > 3.6e6:
        behind = f"{age_ms / 3.6e6:.0f} h" if age_ms < 1.728e8 else f"{age_ms / 8.64e7:.0f} days"
        newest = datetime.fromtimestamp((facts.last_stamp or 0) / 1e9, timezone.utc)
        of = f" ({newest:%Y-%m-%d %H:%M} UTC)" if facts.last_stamp else ""
        return f"stamps are {behind} behind the clock{of}; set use_sim_time for a bag"
    if age_ms > settings.diagnostics_max_age_ms:
        limit = settings.diagnostics_max_age_ms
        return f"frames are {age_ms:.0f} ms old at arrival, limit {limit:.0f} ms"
    return ""


def _age(facts: Input, now: float, q: float) -> float | None:
    """A quantile of the ages in ms; nothing is younger than 0."""
    age_ms = facts.ages_ms.quantile(now, q)
    return None if age_ms is None else max(0.0, age_ms)


def input_status(
    facts: Input, counts: Counts, now: float, level: Level, matched: Matched
) -> DiagnosticStatus:
    """One camera; what became of its frames adds up."""
    values = {
        "topic": matched.topic,
        "state": level.state,
        "publishers matched": matched.count,
        "rate [Hz]": f"{facts.rhythm.rate(now):.1f}",
        "age p50 [ms]": _number(_age(facts, now, 0.5)),
        "age p95 [ms]": _number(_age(facts, now, 0.95)),
        "received": counts.received,
        "processed": counts.processed,
        "dropped": sum(counts.dropped.values()),
        "pending": counts.pending,
        "encoding": facts.encoding,
        "size": facts.size,
        "stamps backwards": facts.backwards,
        "results after the deadline": facts.late,
        **{f"dropped {reason}": count for reason, count in sorted(counts.dropped.items())},
    }
    if facts.bad_text:
        values["last bad frame"] = facts.bad_text
    return status(level, values)


def model_level(state: str, predictor: Predictor | None, trouble: str, device: str) -> Level:
    """`trouble` is what configure or a reload failed with last, `device` the parameter."""
    if trouble:
        return Level(ERROR, trouble)
    if predictor is None:
        return Level(OK, f"not loaded, {state}")
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
            "backend": predictor.backend,
            "precision": predictor.precision,
            "CPU threads": torch.get_num_threads(),
            "warm-up [ms]": f"{warm_up_ms:.0f}",
        }
        if predictor.device.type == "cuda":
            values["GPU memory allocated [MB]"] = torch.cuda.memory_allocated() >> 20
            values["GPU memory reserved [MB]"] = torch.cuda.memory_reserved() >> 20
    return status(level, values)


def latency_level(monitor: Monitor, now: float, settings: Settings) -> Level:
    """WARN over the limit, ERROR when over it for long, or when a batch does not come to an end."""
    patience_ms = settings.diagnostics_max_consecutive_delay_ms
    allowed_ms = settings.diagnostics_max_processing_time_ms + patience_ms
    if monitor.busy_since is not None and now - monitor.busy_since > allowed_ms / 1e3:
        return Level(ERROR, f"a batch has been running for {now - monitor.busy_since:.1f} s")
    if monitor.failure and now - monitor.last_failure < RECENT:
        return Level(ERROR, monitor.failure)
    over_for_ms = monitor.budget.over_for_ms()
    if over_for_ms is None or now - monitor.budget.last > RECENT:
        apart_ms = monitor.differences_ms.quantile(now, 0.5)
        return stamps_level(apart_ms, settings.batch_max_stamp_difference_ms)
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
        if (differ_ms := monitor.differences_ms.quantile(now, q)) is not None:
            values[f"stamps differ {name} [ms]"] = _number(differ_ms)
    values["batches over the limit"] = monitor.over_limit
    values["batches without memory"] = monitor.out_of_memory
    return status(level, values)


def output_level(
    rhythms: dict[str, Rhythm], now: float, settings: Settings, settle: Hysteresis
) -> tuple[Level, dict[str, str]]:
    """The worst topic, and the state of each, `camera/topic`."""
    levels = {
        name: settle(f"output {name}", now, topic_level(rhythm, now, settings.output_limits, name))
        for name, rhythm in rhythms.items()
    }
    level = worst(levels.values())
    text = level.text if level.level else "publishing" if levels else "nothing yet"
    return level._replace(text=text), {name: level.state for name, level in levels.items()}


def outputs_status(
    rhythms: dict[str, Rhythm], now: float, level: Level, states: dict[str, str]
) -> DiagnosticStatus:
    """Messages, rate and state of each topic, `camera/topic`."""
    values: dict[str, object] = {}
    for name, rhythm in rhythms.items():
        if rhythm.count:
            values[f"{name} messages"] = rhythm.count
        if rhythm.watched_since is not None:
            values[f"{name} [Hz]"] = f"{rhythm.rate(now):.1f}"
            values[f"{name} state"] = states[name]
    return status(level, values)


class Health(Protocol):
    """What is asked of the node.

    state          of its lifecycle: unconfigured, inactive, active ...
    ready          whether there is a model that is loaded, warmed up and has passed its check
    trouble        why the last configure or reload failed; empty when it did not
    loading_since  when the model began to load that is loading now, steady seconds
    """

    settings: Settings
    monitor: Monitor
    predictor: Predictor | None
    trouble: str
    warm_up_ms: float

    @property
    def state(self) -> str: ...
    @property
    def ready(self) -> bool: ...
    @property
    def loading_since(self) -> float | None: ...
    def alive(self, now: float) -> bool:
        """Whether the node gets on with its work, at this steady time; loading is work."""

    def hopeless(self, now: float) -> str:
        """Why nothing but a new process can help, at this steady time; empty while all is well."""

    def counts(self) -> dict[str, Counts]:
        """What became of the frames, by camera."""

    def rhythms(self) -> dict[str, Rhythm]:
        """Of every topic with results, `camera/topic`."""

    def matched(self, camera: str) -> Matched:
        """The publishers on a camera's topic."""


class Reporter:
    """Tells how the node is, from a thread of its own that goes on while a model is loaded.

    /diagnostics, ~/live and ~/ready (latched) once a second and when something changes, in every
    state of the node.
    """

    def __init__(self, node: Node, health: Health) -> None:
        self._node, self._health = node, health
        self._settle = Hysteresis()
        self._has_namesake = False
        self._told: list[tuple] = []  # levels and states, as they were published last
        self._told_at = -1e9
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._ready_publisher = node.create_publisher(Bool, "~/ready", latched)
        self._live_publisher = node.create_publisher(Bool, "~/live", QoSProfile(depth=1))
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Say nothing more."""
        self._closing.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(1.0)

    def _run(self) -> None:
        while not self._closing.wait(LOOKS):
            try:
                self.look()
            except Exception as error:
                if self._closing.is_set() or not self._node.context.ok():
                    return
                self._node.get_logger().error(
                    f"diagnostics failed: {described(error)}", throttle_duration_sec=1.0
                )

    def look(self, at_once: bool = False) -> None:
        """Publish what changed; all of it once a second, or now."""
        node, health, now = self._node, self._health, time.monotonic()
        statuses = self._statuses(now)
        gist = [_gist(entry) for entry in statuses.values()]
        gist.append((health.ready,))
        if not at_once and gist == self._told and now - self._told_at < 1 - LOOKS / 2:
            return
        self._told, self._told_at = gist, now
        for name, entry in statuses.items():
            entry.name = f"{node.get_name()}: {name}"
            entry.hardware_id = node.get_fully_qualified_name()
        message = DiagnosticArray(status=list(statuses.values()))
        message.header.stamp = node.get_clock().now().to_msg()
        self._diagnostics.publish(message)
        self._ready_publisher.publish(Bool(data=health.ready))
        self._live_publisher.publish(Bool(data=health.alive(now)))

    def _statuses(self, now: float) -> dict[str, DiagnosticStatus]:
        monitor = self._health.monitor
        entries: dict[str, Callable[[float], DiagnosticStatus]] = {
            **{f"input {camera}": partial(self._input, camera) for camera in monitor.inputs},
            "model": self._model,
            "latency": self._latency,
            "outputs": self._outputs,
        }
        if monitor.depth:
            entries["depth"] = partial(depth_status, dict(monitor.depth))
        with monitor.lock:
            return {name: self._looked_at(entry, now) for name, entry in entries.items()}

    def _looked_at(
        self, entry: Callable[[float], DiagnosticStatus], now: float
    ) -> DiagnosticStatus:
        """What cannot be looked at is told in its own entry: the others are as they are."""
        try:
            return entry(now)
        except Exception as error:
            if self._closing.is_set() or not self._node.context.ok():
                raise
            return status(Level(ERROR, f"cannot be looked at: {error}"), {})

    def _input(self, camera: str, now: float) -> DiagnosticStatus:
        health, facts = self._health, self._health.monitor.inputs[camera]
        matched = health.matched(camera)
        watched = facts.rhythm.watched_since is not None
        if watched:
            level = input_level(facts, now, health.settings, matched)
        else:
            level = Level(OK, f"not subscribed: {health.state}")
        level = self._settle(f"input {camera} {watched}", now, level)
        if stopped := self._stopped_clock():
            level = worst((Level(WARN, stopped, level.state), level))
        return input_status(facts, health.counts()[camera], now, level, matched)

    def _stopped_clock(self) -> str:
        if self._node.get_clock().now().nanoseconds:
            return ""
        text = "use_sim_time is set, but nothing has come on /clock"
        self._node.get_logger().warning(text, throttle_duration_sec=5.0)
        return text

    def _model(self, now: float) -> DiagnosticStatus:
        health, predictor = self._health, self._health.predictor
        level = model_level(health.state, predictor, health.trouble, health.settings.device)
        if (since := health.loading_since) is not None:
            level = worst((level, Level(WARN, f"loading a model for {now - since:.0f} s")))
        level = worst((self._namesake(), level))
        if hopeless := health.hopeless(now):
            level = Level(ERROR, hopeless)
        return model_status(health.state, predictor, level, health.warm_up_ms)

    def _namesake(self) -> Level:
        """WARN while another node has this one's name: what is sent to one comes to either."""
        node = self._node
        own = (node.get_name(), node.get_namespace())
        had = self._has_namesake
        self._has_namesake = node.get_node_names_and_namespaces().count(own) > 1
        if not self._has_namesake:
            return Level(OK, "")
        text = f"another node is called {node.get_fully_qualified_name()} as well"
        if not had:
            node.get_logger().warning(f"{text}; one that died is counted for half a minute")
        return Level(WARN, text)

    def _latency(self, now: float) -> DiagnosticStatus:
        level = latency_level(self._health.monitor, now, self._health.settings)
        return latency_status(self._health.monitor, now, self._settle("latency", now, level))

    def _outputs(self, now: float) -> DiagnosticStatus:
        rhythms = self._health.rhythms()
        level, states = output_level(rhythms, now, self._health.settings, self._settle)
        return outputs_status(rhythms, now, level, states)


def _gist(status: DiagnosticStatus) -> tuple:
    """What a change of is told at once."""
    return status.level, [pair.value for pair in status.values if pair.key.endswith("state")]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
