"""Videos that can be read back, whichever encoder there is."""

from pathlib import Path

import av
import numpy as np
import pytest

from jointseg_eval.video import Video


@pytest.mark.parametrize("codec, name", [("libx264", "h264"), ("mpeg4", "mpeg4")])
def test_pictures_come_back_in_their_order_and_of_one_size(
    codec: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(av, "codecs_available", frozenset({codec}))
    with Video(tmp_path / "a.mp4", 10) as video:
        for k, size in enumerate([(101, 203), (101, 203), (50, 60)]):
            video.add(np.full((*size, 3), 80 * k, np.uint8))
    with av.open(str(tmp_path / "a.mp4")) as container:
        (stream,) = container.streams.video
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert (stream.codec_context.name, stream.average_rate) == (name, 10)
    assert [picture.shape for picture in pictures] == 3 * [(100, 202, 3)]
    assert [picture.mean() for picture in pictures] == pytest.approx([0, 80, 160], abs=3)
