"""`predict` on cameras and addresses: real streams of a server here, ended in every way."""

import io
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from jointseg_core import CITYSCAPES, Preprocessing, build_model, preset, save_model
from jointseg_core.command import exit_code
from jointseg_core.errors import BadInput
from jointseg_eval import streams
from jointseg_eval.predict import main
from jointseg_eval.streams import DAMAGED, UNREAD, is_stream, open_stream

SIZE = (64, 96)
RATE = 20


def video(form: str, count: int = 12) -> bytes:
    """A video whose picture k has the brightness 8 k."""
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream("libx264", RATE, {"tune": "zerolatency", "crf": "10"})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        stream.gop_size = 6
        for k in range(count):
            frame = av.VideoFrame.from_ndarray(np.full((*SIZE, 3), 8 * k, np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


class Server:
    """Answers every request with HTTP and what `send` writes; until told it keeps quiet."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://user:secret@127.0.0.1:{self._socket.getsockname()[1]}/drive.ts"
        self.send: Callable[[socket.socket], None] | None = None
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        self._kept = []
        while True:
            connection, _ = self._socket.accept()
            self._kept.append(connection)
            if self.send is not None:
                connection.recv(4096)
                self.send(connection)

    def file(self, content: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        self.send = lambda connection: connection.sendall(head + content)

    def live(self, content: bytes, then: Callable[[socket.socket], None]) -> None:
        """Without a length, and not all at once."""

        def send(connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\n\r\n")
            for at in range(0, len(content), 1 << 11):
                connection.sendall(content[at : at + (1 << 11)])
                time.sleep(0.005)
            then(connection)

        self.send = send


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "rdsnet.safetensors"
    small = Preprocessing(input_size=SIZE)
    save_model(build_model(preset("rdsnet", "tiny")), path, CITYSCAPES, small)
    return path


@pytest.fixture
def predict(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable]:
    def run(source: str) -> int:
        words = [source, "--weights", str(weights), "--out", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", ["predict", *words])
        return exit_code(main)

    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    yield run
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


def shown(out: Path) -> list[float]:
    """Seconds of the pictures in the video."""
    with av.open(str(out / "stream.mp4")) as container:
        frames = list(container.decode(video=0))
    assert all((f.height, f.width) == SIZE for f in frames)
    return [f.time for f in frames]


def test_what_names_a_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert all(map(is_stream, ["0", "12", "/dev/video0", "rtsp://a/b", "udp://0.0.0.0:5000"]))
    assert not any(map(is_stream, ["a.mp4", "drive", "/data/0", "-1"]))
    Path("0").mkdir()
    assert not is_stream("0")


def test_no_password_is_shown() -> None:
    for told, shown in {
        "rtsp://me:a@b@10.0.0.2:554/ch1": "rtsp://10.0.0.2:554/ch1",
        "predict 'http://cam/v?user=me&pwd=a1&ch=2' --out x": "predict 'http://cam/v?user=me"
        "&pwd=...&ch=2' --out x",
        "http://cam/a@b.mjpg": "http://cam/a@b.mjpg",
    }.items():
        assert streams.without_password(told) == shown


def test_of_a_file_at_an_address_every_picture_is_seen(
    server: Server, predict: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.file(video("mpegts"))
    assert predict(server.address) == 0
    told = capsys.readouterr()
    assert "/drive.ts: pictures of 96 x 64 pixels, 20 a second; results go to " in told.out
    assert "Ctrl-C ends it" in told.out and "12 images with" in told.out and not told.err
    assert shown(tmp_path / "out") == pytest.approx([k / RATE for k in range(12)], abs=2e-3)
    kept = (tmp_path / "out/images.json").read_text()
    assert "secret" not in kept + told.out and len(json.loads(kept)["images"]) == 12


def test_ctrl_c_ends_a_stream_with_all_that_was_seen(
    server: Server, predict: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.live(video("mpegts", 30), lambda _: time.sleep(1) or os.kill(os.getpid(), signal.SIGINT))
    assert predict(server.address) == 0
    told = capsys.readouterr()
    images = json.loads((tmp_path / "out/images.json").read_text())["images"]
    assert f"{len(images)} images with" in told.out
    stamps = np.array([image["stamp_ns"] for image in images])
    assert abs(stamps[-1] / 1e9 - time.time()) < 60
    assert shown(tmp_path / "out") == pytest.approx((stamps - stamps[0]) / 1e9, abs=0.02)


def test_a_stream_that_stops_keeps_what_came(
    server: Server, predict: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(streams, "ANSWER_S", 1.0)
    server.live(video("mpegts", 30), lambda connection: None)
    assert predict(server.address) == 4
    assert "(nothing came within 1 s)." in capsys.readouterr().err
    assert shown(tmp_path / "out")


def test_what_cannot_be_read_is_one_sentence_within_the_bound(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert streams.ANSWER_S == 5
    monkeypatch.setattr(streams, "ANSWER_S", 0.5)
    quiet = server.address.replace("http", "rtsp")
    for source, sentence in {
        "/dev/null": "/dev/null cannot be read: Inappropriate ioctl",
        server.address: "/drive.ts cannot be read: nothing came within 0.5 s; check the address",
        quiet: "/drive.ts cannot be read: nothing came within 0.5 s; check the address",
        "udp://127.0.0.1:39997": "nothing came within 0.5 s",
        "http://127.0.0.1:1/a": "Connection refused",
        "shttp://a/b": "Protocol not found",
    }.items():
        began = time.monotonic()
        with pytest.raises(BadInput) as said:
            list(open_stream(source))
        assert sentence in str(said.value) and "secret" not in str(said.value)
        assert time.monotonic() - began < 2


def test_no_camera_is_one_sentence_and_nothing_is_written(
    predict: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict("97") == 3
    words = "camera 97 cannot be read: No such file or directory; `ls /dev/video*` shows which"
    told = capsys.readouterr().err
    assert told == f"{words} there are.\n" and not (tmp_path / "out").exists()


def test_a_busy_reader_gets_the_newest_picture_and_damage_is_counted(server: Server) -> None:
    content = bytearray(video("mpegts", 30))
    server.live(bytes(content[188 * 30 :]), lambda connection: connection.close())
    frames = open_stream(server.address)
    seen = []
    for frame in frames:
        seen.append(round(frame.picture.mean() / 8))
        time.sleep(0.2)
    assert seen == sorted(seen) and seen[-1] > 25
    assert frames.hints[UNREAD] > 0 and frames.hints.keys() <= {UNREAD, DAMAGED}
