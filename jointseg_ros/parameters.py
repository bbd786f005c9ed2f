"""Parameters of the node: a frozen dataclass, declared with descriptions and ranges.

What cannot change at run time is refused with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidTopicNameException
from rclpy.expand_topic_name import expand_topic_name
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.validate_full_topic_name import validate_full_topic_name

from jointseg_core.errors import BadConfig
from jointseg_ros import checks, given, region, transports
from jointseg_ros.levels import Limits
from jointseg_ros.model_choices import DEFAULT_MODEL
from jointseg_ros.transports import TRANSPORTS, transport_of

KEPT_FRAMES = 5
"""Of a camera, while others are waited for: what comes in 0.16 s at 30 Hz."""
GROUPS = ("model", "batch", "tracking", "overlay", "diagnostics", "watchdog")


def _parameter(default: Any, text: str, limits: tuple | None, choices: tuple, when: str) -> Any:
    metadata = {"text": text, "limits": limits, "choices": choices, "when": when}
    return field(default=default, metadata=metadata)


def _now(default: Any, text: str, low: float | None = None, high: float | None = None) -> Any:
    """A parameter that takes effect with the next batch."""
    return _parameter(default, text, None if low is None else (low, high), (), "now")


def _on_reload(default: str, text: str) -> Any:
    """A parameter that may be set at any time and is read by configure and ~/reload_model."""
    return _parameter(default, text, None, (), "reload")


def _on_configure(
    default: Any, text: str, *, limits: tuple | None = None, choices: tuple = ()
) -> Any:
    """A parameter that may be changed while the node is unconfigured."""
    return _parameter(default, text, limits, choices, "configure")


def _fixed(default: Any, text: str) -> Any:
    """A read-only parameter."""
    return _parameter(default, text, None, (), "never")


@dataclass(frozen=True)
class Camera:
    """Where the frames of one camera come from."""

    name: str
    image_topic: str
    transport: str  # one of TRANSPORTS or TYPES
    bits: int = 0  # of 16 that a sample uses; 0: all
    roi: str = ""  # see `Region`

    def topic(self, node: Node) -> str:
        """What `node` has to subscribe to; a remapping of the raw images is one of these too.

        Compressed images lie beside the raw ones by convention.
        """
        resolved = node.resolve_topic_name(self.image_topic)
        suffix = transport_of(self.transport).suffix
        return resolved if resolved.endswith(suffix) else f"{resolved}{suffix}"


@dataclass(frozen=True)
class Settings:
    """A snapshot of every parameter; `model_type` here is `model.type` there."""

    camera_names: tuple[str, ...] = _fixed(("camera",), "names of the cameras, used in topics")
    cameras: tuple[Camera, ...] = ()
    model_type: str = _on_configure(
        DEFAULT_MODEL, "the model to run", choices=("joint", "rdsnet", "segrpn")
    )
    model_weights: str = _on_reload("", "path or name of the weights; empty: those of this package")
    model_sha256: str = _on_reload("", "SHA-256 that the weights must have; empty: not compared")
    model_input_size: str = _on_reload(
        "", "HEIGHTxWIDTH of the network's input in pixels, say 384x768; empty: as the weights say"
    )
    device: str = _on_configure("auto", "auto (a GPU if there is one), cpu, cuda or cuda:N")
    precision: str = _on_configure(
        "auto",
        "number format of the network; auto: bf16 on a CPU that is faster in it, else fp32",
        choices=("auto", "fp32", "fp16", "bf16", "int8"),
    )
    backend: str = _on_configure(
        "auto",
        "what runs the network: torch, or one that jointseg_core.export wrote the weights for; "
        "auto: an export beside the weights, if it is the faster one on a CPU",
        choices=("auto", "torch", "onnx", "aoti", "openvino"),
    )
    num_threads: int = _on_configure(
        0, "CPU threads of the network; 0: one less than the cores", limits=(0, 256)
    )
    score_threshold: float = _now(0.3, "objects with lower scores are left out", 0.0, 1.0)
    nms_iou: float = _now(
        0.0,
        "of two objects of a class that overlap more, the worse goes; 0: as the weights say",
        0.0,
        1.0,
    )
    mask_threshold: float = _now(
        0.0, "probability from which a pixel is in a mask; 0: as the weights say", 0.0, 1.0
    )
    max_detections: int = _now(100, "objects in one image, the best ones", 1, 1000)
    classes_filter: tuple[str, ...] = _now((), "names of the classes to publish; empty: all")
    class_id_format: str = _on_configure(
        "name", "class_id in detections: name or number", choices=("name", "id")
    )
    batch_max_size: int = _now(0, "frames in one batch; 0: one for each camera", 0, 64)
    batch_max_wait_ms: float = _now(5.0, "wait for the other cameras after the first", 0.0, 1000.0)
    batch_anchor_camera: str = _now("", "only a frame of this camera starts a batch; empty: any")
    batch_max_stamp_difference_ms: float = _now(
        0.0, "frames older than the newest of the batch by more are dropped; 0: none", 0.0, 60000.0
    )
    batch_sync: str = _parameter(
        "none",
        "approximate: a batch is a frame of each camera that is not silent, with stamps that "
        "differ by no more than batch.max_stamp_difference_ms",
        None,
        ("none", "approximate"),
        "now",
    )
    max_input_age_ms: float = _now(0.0, "older frames are dropped; 0: none", 0.0, 3.6e6)
    max_rate_hz: float = _now(
        0.0, "frames of one camera above this rate are dropped; 0: none", 0.0, 1e3
    )
    tracking_enabled: bool = _now(False, "objects keep an id from frame to frame")
    tracking_low_score: float = _now(
        0.1, "objects down to this score continue tracks, and are published then", 0.0, 1.0
    )
    tracking_high_score: float = _now(0.4, "objects from this score on begin tracks", 0.0, 1.0)
    tracking_max_gap_ms: float = _now(1000.0, "a track not seen for longer ends", 0.0, 60000.0)
    overlay_alpha: float = _now(0.5, "opacity of masks in the overlay", 0.0, 1.0)
    overlay_min_score: float = _now(0.3, "objects with lower scores are not drawn", 0.0, 1.0)
    overlay_max_rate_hz: float = _now(
        10.0, "overlays of one camera in a second at most", 0.1, 120.0
    )
    overlay_scale: float = _now(1.0, "size of the overlay relative to the image", 0.1, 4.0)
    diagnostics_max_processing_time_ms: float = _now(
        100.0, "a batch that takes longer is a WARN", 1.0, 1e5
    )
    diagnostics_max_consecutive_delay_ms: float = _now(
        1000.0, "batches over the limit for longer than this are an ERROR", 0.0, 1e6
    )
    diagnostics_input_timeout_ms: float = _now(
        1000.0, "no frame for longer than this is an ERROR", 1.0, 1e6
    )
    diagnostics_input_warn_rate_hz: float = _now(
        5.0, "a camera slower than this is a WARN; 0: not judged", 0.0, 1e3
    )
    diagnostics_input_error_rate_hz: float = _now(
        2.0, "a camera slower than this is an ERROR; 0: not judged", 0.0, 1e3
    )
    diagnostics_output_timeout_ms: float = _now(
        1500.0, "no results for longer than this are an ERROR", 1.0, 1e6
    )
    diagnostics_output_warn_rate_hz: float = _now(
        5.0, "results at a lower rate are a WARN; 0: not judged", 0.0, 1e3
    )
    diagnostics_output_error_rate_hz: float = _now(
        2.0, "results at a lower rate are an ERROR; 0: not judged", 0.0, 1e3
    )
    diagnostics_deadline_ms: float = _now(
        0.0, "results later than this after the stamp are counted, and a WARN; 0: none", 0.0, 3.6e6
    )
    diagnostics_max_age_ms: float = _now(300.0, "older frames at arrival are a WARN", 0.0, 3.6e6)
    watchdog_timeout_ms: float = _now(
        10000.0,
        "a batch, or the node's thread, that hangs for longer ends the process; 0: never, else "
        "1000 at least, and twice what a batch takes",
        0.0,
        3.6e6,
    )
    watchdog_loading_timeout_ms: float = _now(
        600000.0,
        "loading a model for longer than this ends the process; 0: never, else 1000 at least, and "
        "what loading takes",
        0.0,
        3.6e6,
    )
    autostart: bool = _fixed(True, "configure and activate without being asked")

    def __post_init__(self) -> None:
        for name in ("camera_names", "classes_filter"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def lowest_score(self) -> float:
        """Of an object that may be published."""
        low = self.tracking_low_score if self.tracking_enabled else 1.0
        return min(self.score_threshold, low)

    @property
    def input_limits(self) -> Limits:
        """When a camera is slow or silent."""
        return Limits(
            self.diagnostics_input_warn_rate_hz,
            self.diagnostics_input_error_rate_hz,
            self.diagnostics_input_timeout_ms,
        )

    @property
    def output_limits(self) -> Limits:
        """When a topic of results is slow or silent."""
        return Limits(
            self.diagnostics_output_warn_rate_hz,
            self.diagnostics_output_error_rate_hz,
            self.diagnostics_output_timeout_ms,
        )

    @property
    def batch_size(self) -> int:
        """The largest batch, to which each camera gives one frame."""
        cameras = len(self.camera_names)
        return min(self.batch_max_size or cameras, cameras)

    @property
    def synchronised(self) -> bool:
        """Whether only frames that belong together are processed."""
        return self.batch_sync == "approximate"

    @property
    def kept_frames(self) -> int:
        """How many frames of a camera may wait for those of others."""
        return KEPT_FRAMES if self.synchronised else 1

    def problem(self) -> str | None:
        """What is wrong between or within the values, apart from ranges."""
        return (
            checks.bad_camera_names(self.camera_names) or _bad_choice(self) or checks.problem(self)
        )


def parameter_name(name: str) -> str:
    """`model_type` to `model.type`."""
    group, _, rest = name.partition("_")
    return f"{group}.{rest}" if group in GROUPS else name


_FIELDS: dict[str, Field] = {
    parameter_name(f.name): f for f in fields(Settings) if f.name != "cameras"
}
_WHEN = {
    "now": "takes effect with the next batch",
    "reload": "used by configure and by ~/reload_model",
    "configure": "changeable while the node is unconfigured",
    "never": "read-only",
}


def declare(node: Node) -> Settings:
    """Declare every parameter and return what they are.

    Raises BadConfig with the reason when a value given at the start makes no sense.
    """
    values = {
        f.name: given.declare(node, name, _plain(f.default), _descriptor(f))
        for name, f in _FIELDS.items()
    }
    if problem := checks.bad_camera_names(tuple(values["camera_names"])):
        raise BadConfig(problem)
    settings = Settings(**values)
    cameras = tuple(_declare_camera(node, name) for name in settings.camera_names)
    return checked(replace(settings, cameras=cameras))


def _declare_camera(node: Node, name: str) -> Camera:
    specs = {
        "image_topic": _on_configure(
            f"{name}/image_raw", "topic of the images; others lie at this name + /compressed, ..."
        ),
        "transport": _on_configure(
            "raw", f"kind of the images: {', '.join(TRANSPORTS)}, or a message type of the topic"
        ),
        "bits": _on_configure(
            0, "of 16 that a sample of the images uses, such as 10 or 12; 0: all", limits=(0, 16)
        ),
        "roi": _on_configure("", "X,Y,WIDTH,HEIGHT: what the network sees of the images; else all"),
    }
    values = {
        key: given.declare(node, f"cameras.{name}.{key}", spec.default, _descriptor(spec))
        for key, spec in specs.items()
    }
    return Camera(name, **values)


def checked(settings: Settings) -> Settings:
    """The same settings; raises BadConfig with the reason when they make no sense."""
    if problem := settings.problem():
        raise BadConfig(problem)
    return settings


def changed(
    settings: Settings, parameters: Iterable[Parameter], configured: bool
) -> tuple[Settings, str]:
    """The settings after a change, or the old ones and the reason why it is refused."""
    wanted = settings
    for name, value in ((parameter.name, parameter.value) for parameter in parameters):
        before = wanted
        if name in _FIELDS:
            wanted = replace(wanted, **{_FIELDS[name].name: value})
        elif name.startswith("cameras."):
            wanted = replace(wanted, cameras=_with(wanted.cameras, name, value))
        if configured and wanted != before and _when(name) == "configure":
            return settings, _only_unconfigured(name)
    problem = wanted.problem()
    return (settings, problem) if problem else (wanted, "")


def _when(name: str) -> str:
    return _FIELDS[name].metadata["when"] if name in _FIELDS else "configure"


def _with(cameras: tuple[Camera, ...], name: str, value: str | int) -> tuple[Camera, ...]:
    """The cameras with `cameras.<camera>.<key>` set."""
    _, camera, key = name.split(".")
    return tuple(replace(c, **{key: value}) if c.name == camera else c for c in cameras)


def _only_unconfigured(name: str) -> str:
    return (
        f"{name} is read by configure and the node is configured; deactivate and clean up "
        "the node, set it, then configure again"
    )


def _plain(default: Any) -> Any:
    """A default as ROS has it."""
    return list(default) if isinstance(default, tuple) else default


def _descriptor(spec: Field) -> ParameterDescriptor:
    when, choices, limits = (spec.metadata[key] for key in ("when", "choices", "limits"))
    constraints = [f"one of {', '.join(choices)}"] if choices else []
    descriptor = ParameterDescriptor(
        description=spec.metadata["text"],
        additional_constraints="; ".join([*constraints, _WHEN[when]]),
        read_only=when == "never",
    )
    if limits and isinstance(spec.default, int):
        low, high = limits
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high)]
    elif limits:
        low, high = limits
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    return descriptor


def _bad_choice(settings: Settings) -> str | None:
    for name, spec in _FIELDS.items():
        choices, value = spec.metadata["choices"], getattr(settings, spec.name)
        if choices and value not in choices:
            return f"{name} is {value!r}; it is one of {', '.join(choices)}"
    for camera in settings.cameras:
        if problem := transports.problem(camera.transport):
            return f"cameras.{camera.name}.transport is {camera.transport!r}; {problem}"
        if problem := _bad_topic(camera.image_topic):
            return f"cameras.{camera.name}.image_topic is {camera.image_topic!r}; {problem}"
        if problem := region.problem(camera.roi):
            return f"cameras.{camera.name}.roi is {camera.roi!r}; {problem}"
    return None


def _bad_topic(topic: str) -> str | None:
    """Why no node can subscribe to it."""
    try:
        validate_full_topic_name(expand_topic_name(topic, "node", "/"))
    except (InvalidTopicNameException, ValueError) as error:
        reason = re.search(r"(?:invalid|name): (.+?)(?:, at |: '|$)", " ".join(f"{error}".split()))
        return reason[1] if reason else f"{error}"
    return None
