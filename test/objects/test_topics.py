import pytest

from jointseg_objects.topics import is_depth


@pytest.mark.parametrize(
    "topic",
    [
        "/camera/depth/image_raw",
        "/camera/depth/image_rect_raw",
        "/camera/aligned_depth_to_color/image_raw",
        "/zed/zed_node/depth/depth_registered",
        "/camera/depth/image_raw/compressedDepth",
        "/camera/depth/image_raw/compressed",
        "/depth",
    ],
)
def test_depth_is_known_by_its_name(topic: str) -> None:
    assert is_depth(topic)


@pytest.mark.parametrize("topic", ["/camera/image_raw", "/depth_camera/color/image_raw", "/image"])
def test_pictures_of_a_camera_that_also_has_depth_are_none(topic: str) -> None:
    assert not is_depth(topic)
