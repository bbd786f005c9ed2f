"""The topics of a recorded camera, and of the truth about it."""

from __future__ import annotations

from jointseg_core.errors import BadBag
from jointseg_eval.recordings.bags import BagReader

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
IMAGE, CAMERA_INFO = "/camera/image_raw", "/camera/camera_info"
TRUE_DETECTIONS = "/camera/ground_truth/detections"
TRUE_MASKS = "/camera/ground_truth/instance_masks"
IGNORED_MASKS = "/camera/ground_truth/ignored_masks"
TRUE_SEMANTIC = "/camera/ground_truth/semantic/image"
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
    """The camera images of a bag, or those on this topic; BadBag, naming all, if not one."""
    images = {t.name: t for t in bag.topics.values() if t.type in IMAGE_TYPES}
    listed = ", ".join(f"{t.name} ({t.type.split('/')[-1]}, {t.count})" for t in images.values())
    where = bag.path.absolute()
    if topic in images:
        return topic
    if not images:
        raise BadBag(f"{where} holds no images but {', '.join(bag.topics) or 'no topic at all'}")
    if topic is not None:
        raise BadBag(f"{where} holds no images on {topic}; it has {listed}.")
    cameras = [name for name in images if "/ground_truth/" not in name]
    if len(cameras) != 1:
        raise BadBag(f"{where} holds several images; choose one by --topic: {listed}.")
    return cameras[0]
