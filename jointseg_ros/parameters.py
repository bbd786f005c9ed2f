"""Parameters of the node: a frozen dataclass, declared with descriptions and ranges.

What cannot change at run time is refused with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import Field, dataclass, fields, replace

from rclpy.exceptions import InvalidTopicNameException
from rclpy.expand_topic_name import expand_topic_name
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.validate_full_topic_name import validate_full_topic_name

from jointseg_core.errors import BadConfig
from jointseg_ros import checks, given, region, transports
from jointseg_ros.depth_parameters import DepthSettings
from jointseg_ros.levels import Limits
from jointseg_ros.model_choices import DEFAULT_MODEL
from jointseg_ros.parameter_fields import (
    descriptor,
    fixed,
    now,
    on_configure,
    on_reload,
    parameter,
    plain,
)
from jointseg_ros.transports import TRANSPORTS, transport_of

KEPT_FRAMES = 5
"""Of a camera, while others are waited for: what comes in 0.16 s at 30 Hz."""
GROUPS = ("model", "batch", "tracking", "depth", "overlay", "diagnostics", "watchdog")


@dataclass(frozen=True)
class Camera:
    """Where the frames of one camera come from."""

    name: str
    image_topic: str
    transport: str  # one of TRANSPORTS or TYPES
    bits: int = 0  # of 16 that a sample uses; 0: all
    roi: str = ""  # see `Region`
    republish_info: bool = False
    depth_topic: str = ""  # empty: no depth
    camera_info_topic: str = ""  # empty: beside the images
    ground_height: float = 0.0  # metres of the camera above flat ground; 0: not known
    ground_pitch: float = 0.0  # radians that it looks down by

    @property
    def in_space(self) -> bool:
        """Whether objects of this camera get a place in space."""
        return bool(self.depth_topic or self.ground_height)

    def info_topic(self, node: Node) -> str:
        """Where `node` finds the calibration: as named, else beside the images, by convention."""
        beside = f"{node.resolve_topic_name(self.image_topic).rpartition('/')[0]}/camera_info"
        return self.camera_info_topic or beside

    def topic(self, node: Node) -> str:
        """What `node` has to subscribe to; a remapping of the raw images is one of these too.

        Compressed images lie beside the raw ones by convention.
        """
        resolved = node.resolve_topic_name(self.image_topic)
        suffix = transport_of(self.transport).suffix
        return resolved if resolved.endswith(suffix) else f"{resolved}{suffix}"


@dataclass(frozen=True)
class Settings(DepthSettings):
    """A snapshot of every parameter; `model_type` here is `model.type` there."""

    camera_names: tuple[str, ...] = fixed(("camera",), "names of the cameras, used in topics")
    cameras: tuple[Camera, ...] = ()
    model_type: str = on_configure(
        DEFAULT_MODEL, "the model to run", choices=("joint", "rdsnet", "segrpn")
    )
    model_weights: str = on_reload("", "path or name of the weights; empty: those of this package")
    model_sha256: str = on_reload("", "SHA-256 that the weights must have; empty: not compared")
    model_input_size: str = on_reload(
        "", "HEIGHTxWIDTH of the network's input in pixels, say 384x768; empty: as the weights say"
    )
    device: str = on_configure("auto", "auto (a GPU if there is one), cpu, cuda or cuda:N")
    precision: str = on_configure(
        "auto",
        "number format of the network; auto: bf16 on a CPU that is faster in it, else fp32",
        choices=("auto", "fp32", "fp16", "bf16", "int8"),
    )
    backend: str = on_configure(
        "auto",
        "what runs the network: torch, or one that jointseg_core.export wrote the weights for; "
        "auto: an export beside the weights, if it is the faster one on a CPU",
        choices=("auto", "torch", "onnx", "aoti", "openvino"),
    )
    num_threads: int = on_configure(
        0, "CPU threads of the network; 0: one less than the cores", limits=(0, 256)
    )
    score_threshold: float = now(0.3, "objects with lower scores are left out", 0.0, 1.0)
    nms_iou: float = now(
        0.0,
        "of two objects of a class that overlap more, the worse goes; 0: as the weights say",
        0.0,
        1.0,
    )
    mask_threshold: float = now(
        0.0, "probability from which a pixel is in a mask; 0: as the weights say", 0.0, 1.0
    )
    max_detections: int = now(100, "objects in one image, the best ones", 1, 1000)
    classes_filter: tuple[str, ...] = now((), "names of the classes to publish; empty: all")
    class_id_format: str = on_configure(
        "name", "class_id in detections: name or number", choices=("name", "id")
    )
    batch_max_size: int = now(0, "frames in one batch; 0: one for each camera", 0, 64)
    batch_max_wait_ms: float = now(5.0, "wait for the other cameras after the first", 0.0, 1000.0)
    batch_anchor_camera: str = now("", "only a frame of this camera starts a batch; empty: any")
    batch_max_stamp_difference_ms: float = now(
        0.0, "frames older than the newest of the batch by more are dropped; 0: none", 0.0, 60000.0
    )
    batch_sync: str = parameter(
        "none",
        "approximate: a batch is a frame of each camera that is not silent, with stamps that "
        "differ by no more than batch.max_stamp_difference_ms",
        None,
        ("none", "approximate"),
        "now",
    )
    max_input_age_ms: float = now(0.0, "older frames are dropped; 0: none", 0.0, 3.6e6)
    max_rate_hz: float = now(
        0.0, "frames of one camera above this rate are dropped; 0: none", 0.0, 1e3
    )
    tracking_enabled: bool = now(False, "objects keep an id from frame to frame")
    tracking_low_score: float = now(
        0.1, "objects down to this score continue tracks, and are published then", 0.0, 1.0
    )
    tracking_high_score: float = now(0.4, "objects from this score on begin tracks", 0.0, 1.0)
    tracking_max_gap_ms: float = now(1000.0, "a track not seen for longer ends", 0.0, 60000.0)
    overlay_alpha: float = now(0.5, "opacity of masks in the overlay", 0.0, 1.0)
    overlay_min_score: float = now(0.3, "objects with lower scores are not drawn", 0.0, 1.0)
    overlay_max_rate_hz: float = now(10.0, "overlays of one camera in a second at most", 0.1, 120.0)
    overlay_scale: float = now(1.0, "size of the overlay relative to the image", 0.1, 4.0)
    diagnostics_max_processing_time_ms: float = now(
        100.0, "a batch that takes longer is a WARN", 1.0, 1e5
    )
    diagnostics_max_consecutive_delay_ms: float = now(
        1000.0, "batches over the limit for longer than this are an ERROR", 0.0, 1e6
    )
    diagnostics_input_timeout_ms: float = now(
        1000.0, "no frame for longer than this is an ERROR", 1.0, 1e6
    )
    diagnostics_input_warn_rate_hz: float = now(
        5.0, "a camera slower than this is a WARN; 0: not judged", 0.0, 1e3
    )
    diagnostics_input_error_rate_hz: float = now(
        2.0, "a camera slower than this is an ERROR; 0: not judged", 0.0, 1e3
    )
    diagnostics_output_timeout_ms: float = now(
        1500.0, "no results for longer than this are an ERROR", 1.0, 1e6
    )
    diagnostics_output_warn_rate_hz: float = now(
        5.0, "results at a lower rate are a WARN; 0: not judged", 0.0, 1e3
    )
    diagnostics_output_error_rate_hz: float = now(
        2.0, "results at a lower rate are an ERROR; 0: not judged", 0.0, 1e3
    )
    diagnostics_deadline_ms: float = now(
        0.0, "results later than this after the stamp are counted, and a WARN; 0: none", 0.0, 3.6e6
    )
    diagnostics_max_age_ms: float = now(300.0, "older frames at arrival are a WARN", 0.0, 3.6e6)
    watchdog_timeout_ms: float = now(
        10000.0,
        "a batch, or the node's thread, that hangs for longer ends the process; 0: never, else "
        "1000 at least, and twice what a batch takes",
        0.0,
        3.6e6,
    )
    watchdog_loading_timeout_ms: float = now(
        600000.0,
        "loading a model for longer than this ends the process; 0: never, else 1000 at least, and "
        "what loading takes",
        0.0,
        3.6e6,
    )
    autostart: bool = fixed(True, "configure and activate without being asked")

    def __post_init__(self) -> None:
        for name in ("camera_names", "classes_filter", "depth_extents"):
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


def declare(node: Node) -> Settings:
    """Declare every parameter and return what they are.

    Raises BadConfig with the reason when a value given at the start makes no sense.
    """
    values = {
        f.name: given.declare(node, name, plain(f.default), descriptor(f))
        for name, f in _FIELDS.items()
    }
    if problem := checks.bad_camera_names(tuple(values["camera_names"])):
        raise BadConfig(problem)
    settings = Settings(**values)
    cameras = tuple(_declare_camera(node, name) for name in settings.camera_names)
    return checked(replace(settings, cameras=cameras))


def _declare_camera(node: Node, name: str) -> Camera:
    specs = {
        "image_topic": on_configure(
            f"{name}/image_raw", "topic of the images; others lie at this name + /compressed, ..."
        ),
        "transport": on_configure(
            "raw", f"kind of the images: {', '.join(TRANSPORTS)}, or a message type of the topic"
        ),
        "bits": on_configure(
            0, "of 16 that a sample of the images uses, such as 10 or 12; 0: all", limits=(0, 16)
        ),
        "depth_topic": on_configure(
            "", "topic of depth that is registered to the images, 16UC1 or 32FC1; empty: none"
        ),
        "camera_info_topic": on_configure(
            "",
            "topic of the calibration, read where objects are placed in space; empty: "
            "camera_info beside image_topic",
        ),
        "ground_height": on_configure(
            0.0,
            "metres of the camera above flat ground, by which objects without depth are placed; "
            "0: they are not",
            limits=(0.0, 100.0),
        ),
        "ground_pitch": on_configure(
            0.0, "radians that the camera looks down by", limits=(-1.5, 1.5)
        ),
        "republish_info": on_configure(
            False, "camera_info is published again beside the results, where viewers look for it"
        ),
        "roi": on_configure("", "X,Y,WIDTH,HEIGHT: what the network sees of the images; else all"),
    }
    values = {
        key: given.declare(node, f"cameras.{name}.{key}", spec.default, descriptor(spec))
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
    for name, value in ((one.name, one.value) for one in parameters):
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


def _with(cameras: tuple[Camera, ...], name: str, value: str | float) -> tuple[Camera, ...]:
    """The cameras with `cameras.<camera>.<key>` set."""
    _, camera, key = name.split(".")
    return tuple(replace(c, **{key: value}) if c.name == camera else c for c in cameras)


def _only_unconfigured(name: str) -> str:
    return (
        f"{name} is read by configure and the node is configured; deactivate and clean up "
        "the node, set it, then configure again"
    )


def _bad_choice(settings: Settings) -> str | None:
    for name, spec in _FIELDS.items():
        choices, value = spec.metadata["choices"], getattr(settings, spec.name)
        if choices and value not in choices:
            return f"{name} is {value!r}; it is one of {', '.join(choices)}"
    for camera in settings.cameras:
        if problem := transports.problem(camera.transport):
            return f"cameras.{camera.name}.transport is {camera.transport!r}; {problem}"
        for key in ("image_topic", "depth_topic", "camera_info_topic"):
            topic = getattr(camera, key)
            if (topic or key == "image_topic") and (problem := _bad_topic(topic)):
                return f"cameras.{camera.name}.{key} is {topic!r}; {problem}"
        if camera.depth_topic and settings.model_type == "segrpn":
            return f"cameras.{camera.name}.depth_topic: segrpn has no masks to look for depth in"
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
