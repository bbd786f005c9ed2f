"""The topics of a recorded camera, and of the truth about it."""

from __future__ import annotations

from jointseg_core.errors import BadBag
from jointseg_eval.recordings.bags import BagReader
from jointseg_objects.topics import is_depth

IMAGE_TYPES = (
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CompressedImage",
    "ffmpeg_image_transport_msgs/msg/FFMPEGPacket",
    *(f"foxglove{kind}Image" for kind in ("_msgs/msg/Raw", "_msgs/msg/Compressed")),
    *(f"foxglove.{kind}" for kind in ("RawImage", "CompressedImage", "CompressedVideo")),
    "foxglove_msgs/msg/CompressedVideo",
)
TRANSPORTS = ("compressed", "compressedDepth", "ffmpeg", "foxglove", "theora", "zstd")
RESULTS = (
    *("/overlay", "/instance_labels", "/instance_labels/color", "/panoptic/image"),
    *("/panoptic/color", "/semantic/image", "/semantic/color", "/semantic/confidence"),
    "/foreground/image",
)
"""How pictures end that a node of this package publishes."""
CAMERA = "/camera"
IMAGE, CAMERA_INFO = "/camera/image_raw", "/camera/camera_info"
TRUE_DETECTIONS = "/camera/ground_truth/detections"
TRUE_MASKS = "/camera/ground_truth/instance_masks"
IGNORED_MASKS = "/camera/ground_truth/ignored_masks"
TRUE_SEMANTIC = "/camera/ground_truth/semantic/image"
DEPTH, TRUE_DETECTIONS_3D = "/camera/depth/image_raw", "/camera/ground_truth/detections_3d"
TRUTH = {
    "detections": TRUE_DETECTIONS,
    "masks": TRUE_MASKS,
    "ignored": IGNORED_MASKS,
    "semantic": TRUE_SEMANTIC,
}
"""The topics by what `read_target` calls their messages."""
FRAME_ID = "camera_optical"
START_NS = 1_700_000_000_000_000_000
"""When recordings begin that have no clock of their own; zero would mean that no time is known."""


def image_topic(bag: BagReader, topic: str | None = None) -> str:
    """The camera images of a bag, or those on this topic; BadBag, naming all, if not one.

    Of one camera on several topics, the raw images go first.
    """
    images = {t.name: t for t in bag.topics.values() if t.type in IMAGE_TYPES}
    listed = ", ".join(f"{t.name} ({t.type.split('/')[-1]}, {t.count})" for t in images.values())
    where = bag.path.absolute()
    if topic in images:
        return topic
    if not images:
        raise BadBag(f"{where} holds no images but {', '.join(bag.topics) or 'no topic at all'}")
    if topic is not None:
        raise BadBag(f"{where} holds no images on {topic}; it has {listed}.")
    seen = cameras(bag)
    if len(seen) != 1:
        many = "several images" if seen else "no images of a camera"
        raise BadBag(f"{where} holds {many}; choose one by --topic: {listed}.")
    return next(iter(seen.values()))


def cameras(bag: BagReader) -> dict[str, str]:
    """The image topic of each camera in a bag, by what its topics have in common.

    Neither truth nor depth, nor what a node of this package has drawn.
    """
    names = [t.name for t in bag.topics.values() if t.type in IMAGE_TYPES]
    names = [n for n in names if "/ground_truth/" not in n and not is_depth(n)]
    found: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (base_topic(name) != name, name)):
        if not base_topic(name).endswith(RESULTS):
            found.setdefault(base_topic(name), name)
    return found


def base_topic(topic: str) -> str:
    """A topic without the name of the transport at its end."""
    start, _, last = topic.rpartition("/")
    return start if start and last in TRANSPORTS else topic


def truth_topics(bag: BagReader, images: str) -> dict[str, str]:
    """The topics of annotations of a camera, by kind; none without detections.

    They are in a `ground_truth` beside the camera's topics or above them; anywhere else only where
    the bag has no other camera.
    """
    place = base_topic(images)
    while place:
        place = place.rpartition("/")[0]
        if found := _truth_in(bag, place):
            return found
    last = TRUE_DETECTIONS.removeprefix(CAMERA)
    places = [name.removesuffix(last) for name in bag.topics if name.endswith(last)]
    return _truth_in(bag, places[0]) if len(places) == 1 and len(cameras(bag)) == 1 else {}


def _truth_in(bag: BagReader, place: str) -> dict[str, str]:
    names = {kind: place + topic.removeprefix(CAMERA) for kind, topic in TRUTH.items()}
    found = {kind: name for kind, name in names.items() if name in bag.topics}
    return found if "detections" in found else {}
