"""Run a model on pictures, videos, recordings or a camera; draw and write what was found.

python -m jointseg_eval.predict INPUT --weights WEIGHTS --out DIR

DIR gets the drawn pictures under their names, or one .mp4 video, and `predictions.json` with
`images.json` (see jointseg_eval/coco_results.py). All coordinates are pixels of the picture turned
upright, as its EXIF says. A camera or an address is looked at until it ends or Ctrl-C. Exit code 0;
2 for a wrong argument, 3 for an input that cannot be used, 4 when parts of it were damaged and left
out, 5 when the disk or the rights do not suffice.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from jointseg_core.classes import Classes
from jointseg_core.command import run_program
from jointseg_core.errors import BadInput
from jointseg_core.predictions import Predictions
from jointseg_core.visualize import draw
from jointseg_eval.arguments import BITS, WEIGHTS, add_model_arguments, bounded, weights
from jointseg_eval.coco_results import CocoResults
from jointseg_eval.frames import Frame, Frames, accepted, open_frames
from jointseg_eval.input_validation import check_folder, working_folder
from jointseg_eval.models import Models, open_predictors
from jointseg_eval.provenance import command_line
from jointseg_eval.recordings.topics import START_NS
from jointseg_eval.streams import is_stream, open_stream, title, without_password
from jointseg_eval.video import Video

EXIT_LOSSES = 4
NAMED_LOSSES = 10
KEPT_SUFFIXES = (".jpg", ".jpeg", ".png")
JPEG_QUALITY = 92
SEMANTIC = "semantic"
INPUT = (
    "a picture, a folder of pictures, a video, a recording, the number of a camera (0) or the "
    "address of a stream (rtsp://...)"
)


def main() -> int:
    """Predict as the command line says; BadInput for what cannot be used."""
    options = _parser().parse_args()
    with _progress(_title(options.input)) as done, _stopped_by_signals(options.input) as stop:
        images, objects, frames = run(options, done, stop)
    lost = frames.lost
    for hint, count in frames.hints.items():
        print(f"warning: {hint} ({count} images)", file=sys.stderr)
    print(f"{images} images with {objects} objects are in {options.out}")
    for sentence in lost[:NAMED_LOSSES]:
        print(f"left out: {sentence}", file=sys.stderr)
    if lost:
        print(f"{len(lost)} in all, named in {options.out}/images.json", file=sys.stderr)
    return EXIT_LOSSES if lost else 0


def run(
    options: argparse.Namespace,
    done: Callable[[], None] = lambda: None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[int, int, Frames]:
    """Do everything in a folder beside DIR, then move it there; DIR is untouched by a failure.

    done is called after every image; stop says when a stream is to end. Returns how many images and
    objects there are, and the frames with what was lost of them. BadInput for what cannot be used.
    """
    out = options.out.absolute()
    _check_output(out)
    models, classes = _models(options)
    frames = _frames(options, stop)
    about = _about(options, models)
    with working_folder(out) as temporary, ExitStack() as stack:
        folder = Path(temporary) / "out"
        folder.mkdir()
        results = CocoResults(folder, classes, about, frames.lost)
        stack.enter_context(results)
        takers = _takers(options, frames, folder, classes, stack)
        for frame in frames:
            if not results.images:
                print(_what(options, frames, frame), flush=True)
            ((found, _),) = models([frame.picture])
            results.add(found, _place(frame, frames))
            for take in takers:
                take(frame, found)
            done()
        if not results.images:
            if stop():
                sys.exit(128 + signal.SIGINT)
            where = options.input.absolute()
            why = f" ({frames.lost[0].rstrip('.')})" if frames.lost else ""
            raise BadInput(f"{where} holds no picture that can be read{why}; {accepted()}")
        stack.close()
        _move(folder, out)
    return results.images, results.objects, frames


def _frames(options: argparse.Namespace, stop: Callable[[], bool]) -> Frames:
    if isinstance(options.input, str):
        return open_stream(options.input, stop)
    return open_frames(options.input, options.topic, bits=options.bits)


def _what(options: argparse.Namespace, frames: Frames, frame: Frame) -> str:
    """What is about to be done, at the first frame."""
    height, width = frame.picture.shape[:2]
    is_known = frames.kind != "pictures" and frames.rate_hz
    rate = f", {frames.rate_hz:.4g} a second" if is_known else ""
    end = "; Ctrl-C ends it and keeps what there is" if frames.kind == "stream" else ""
    size = f"pictures of {width} x {height} pixels{rate}"
    return f"{_title(options.input)}: {size}; results go to {options.out}{end}"


def _title(source: Path | str) -> str:
    return title(source) if isinstance(source, str) else source.name


@contextmanager
def _stopped_by_signals(source: Path | str) -> Iterator[Callable[[], bool]]:
    """Whether to stop, which a first SIGINT or SIGTERM says of a stream; a second one kills."""
    stop = threading.Event()
    handlers = {}

    def note(*_: object) -> None:
        stop.set()
        for number, handler in handlers.items():
            signal.signal(number, handler)

    if isinstance(source, str):
        handlers |= {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop.is_set
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


Taker = Callable[[Frame, Predictions], None]


def _takers(
    options: argparse.Namespace, frames: Frames, folder: Path, classes: Classes, stack: ExitStack
) -> list[Taker]:
    """What is to be done with each frame and what was found in it."""
    takers = [_drawer(options.input, frames, folder, classes, stack)]
    if options.semantic:
        takers.append(_map_writer(folder))
    return takers


def _drawer(
    source: Path | str, frames: Frames, folder: Path, classes: Classes, stack: ExitStack
) -> Taker:
    """Draws into pictures of the same names, or into one video."""
    if isinstance(source, str):
        video = stack.enter_context(Video(folder / "stream.mp4", None))
        first: list[int] = []

        def add(frame: Frame, found: Predictions) -> None:
            first.append(frame.stamp)
            shown = draw(frame.picture, found, classes, min_score=0)
            video.add(shown, (frame.stamp - first[0]) / 1e9)

        return add
    if frames.kind == "pictures":
        return lambda frame, found: _save(
            folder / _output_name(source, frame.name),
            draw(frame.picture, found, classes, min_score=0),
        )
    name = source.resolve().name if source.is_dir() else source.stem
    video = stack.enter_context(Video(folder / f"{name}.mp4", frames.rate_hz))
    return lambda frame, found: video.add(draw(frame.picture, found, classes, min_score=0))


def _map_writer(folder: Path) -> Taker:
    """Writes class maps as PNG: the class of every pixel, 255 where there is none."""
    (folder / SEMANTIC).mkdir()
    numbers = iter(range(1, sys.maxsize))

    def write(frame: Frame, found: Predictions) -> None:
        if found.semantic is None:
            raise BadInput("--semantic: the weights make no class map; name some by --with.")
        name = f"{frame.name or f'{next(numbers):06d}'}.png"
        Image.fromarray(found.semantic.numpy()).save(folder / SEMANTIC / name)

    return write


def _output_name(source: Path, name: str) -> str:
    """That of the picture; where its kind is not written, with .png behind it.

    Once more where the input has a picture of that name: a.bmp beside a.bmp.png.
    """
    if Path(name).suffix.lower() not in KEPT_SUFFIXES:
        name = f"{name}.png"
        while (source / name).exists():
            name = f"{name}.png"
    return name


def _save(path: Path, picture: np.ndarray) -> None:
    Image.fromarray(picture).save(path, quality=JPEG_QUALITY)


def _place(frame: Frame, frames: Frames) -> dict[str, Any]:
    """How a frame is named in the results."""
    if frames.kind == "pictures":
        return {"file_name": frame.name}
    if frames.kind in ("recording", "stream"):
        return {"stamp_ns": frame.stamp}
    return {"seconds": (frame.stamp - START_NS) / 1e9}


def _models(options: argparse.Namespace) -> tuple[Models, Classes]:
    """The models, and the classes of what they find together."""
    first, other = open_predictors(options)
    first.configure(score_threshold=options.score)
    if other is None:
        return Models(first, _as_it_is), first.classes
    classes = Classes(first.classes.things, other.classes.semantic)
    return Models(first, _as_it_is, other, _as_it_is), classes


def _as_it_is(found: Predictions) -> Predictions:
    return found


def _about(options: argparse.Namespace, models: Models) -> dict[str, str | float]:
    """What the results are the results of."""
    source = without_password(str(options.input))
    about = {"input": source, "weights": str(models.predictor.weights)}
    about["sha256"] = models.predictor.sha256
    if models.other is not None:
        about |= {"with": str(models.other.weights), "with_sha256": models.other.sha256}
    command = without_password(command_line("jointseg_eval.predict"))
    return about | {"score": options.score, "command": command}


def _check_output(out: Path) -> None:
    """Nothing is overwritten or mixed with what was there."""
    check_folder(out.parent, "--out")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"--out: {out} is there and not empty; name another folder, or remove it.")


def _move(folder: Path, out: Path) -> None:
    if out.exists():
        out.rmdir()
    os.replace(folder, out)


@contextmanager
def _progress(name: str) -> Iterator[Callable[[], None]]:
    """A count on a terminal; nothing where nobody looks."""
    console = Console(stderr=True, markup=False)
    with Progress(console=console, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(name, total=None)
        yield lambda: progress.advance(task)


def _input(text: str) -> Path | str:
    """A stream stays the text that names it."""
    return text if is_stream(text) else Path(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="predict", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("input", type=_input, help=INPUT)
    add("--weights", type=weights, required=True, help=WEIGHTS)
    add("--out", type=Path, required=True, help="folder for the results: a new or an empty one")
    add("--topic", help="the images of a recording that has several")
    add("--bits", type=bounded(int, 0, 16), default=0, help=BITS)
    add("--score", type=bounded(float, 0, 1), default=0.3, help="less certain objects are left out")
    add("--semantic", action="store_true", help="write the class maps as well, as PNG")
    add_model_arguments(parser)
    return parser


if __name__ == "__main__":
    run_program(main, "nothing was written")
