"""The topics of a recorded camera, and of the truth about it."""

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
