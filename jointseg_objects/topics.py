"""What a topic carries, by its name."""

from __future__ import annotations

import re

_DEPTH = re.compile(
    r"depth[^/]*(/[^/]+)?(/(compressed|ffmpeg|foxglove|theora|zstd))?$", re.IGNORECASE
)


def is_depth(topic: str) -> bool:
    """Whether images on it are depth: depth/image_raw, aligned_depth_to_color/image_raw ..."""
    return _DEPTH.search(topic) is not None
