"""Render synthetic driving scenes into a data set in a published layout, or into a recording.

python -m training.synthesize OUT --format cityscapes --frames 1600 --seed 1 --size 256x512
python -m training.synthesize OUT --format coco --frames 1600 --val-frames 500
python -m training.synthesize OUT --format cityscapes --frames 1600 --style wide
python -m training.synthesize OUT --format bag --frames 120 --seed 1000 --depth

Picture k of `train` is scene k of the seed, which is below 1000, and picture k of `val` is scene k
of 1000 + seed: what a network is validated on, it has never seen. OUT appears when it is complete;
`open_dataset(OUT, "train")` and `python -m jointseg_eval.check_data OUT` read it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
from rich.console import Console
from rich.progress import Progress, track

from jointseg_core.command import run_program
from jointseg_core.errors import BadConfig, BadInput, ResourceError
from jointseg_eval.arguments import bounded
from training.scenes import cityscapes_writer, coco_writer, render_scene
from training.scenes.driving_bag import FRAMES_PER_STREET, write_driving_bag
from training.scenes.scene import DIFFICULTIES, STYLES, check_request

WRITERS = {"cityscapes": cityscapes_writer, "coco": coco_writer}
FORMATS = (*WRITERS, "bag")
MANIFEST = "synthetic.json"
FIRST_UNSEEN_SEED = 1000
RECORDING = "drive.mcap"
CHUNK = 8  # scenes that a process renders before it reports


@dataclass(frozen=True)
class SyntheticSet:
    """What to render; OUT/synthetic.json says it again. Raises BadConfig.

    format      cityscapes, coco or bag
    frames      of `train`, or of the recording
    val_frames  of `val`; None: an eighth as many
    seed        of the scenes: below 1000 for data sets, at will for a recording
    size        (height, width) in pixels
    difficulty  easy, default or hard: how much traffic there is
    style       plain, or wide: drawn wider than real streets are, with highways among them
    depth       of a recording: with depth images, the calibration and true boxes in space
    """

    format: str = "cityscapes"
    frames: int = 1600
    val_frames: int | None = None
    seed: int = 1
    size: tuple[int, int] = (256, 512)
    difficulty: str = "default"
    style: str = "plain"
    depth: bool = False

    def __post_init__(self) -> None:
        if self.val_frames is None:
            count = 0 if self.format == "bag" else -(-self.frames // 8)
            object.__setattr__(self, "val_frames", count)
        for complaint in _complaints(self):
            raise BadConfig(complaint)


def _complaints(wanted: SyntheticSet) -> Iterator[str]:
    if wanted.format not in FORMATS:
        yield f"the format is {wanted.format!r}, expected one of {', '.join(FORMATS)}."
    try:
        check_request(wanted.size, wanted.difficulty, wanted.style)
    except ValueError as complaint:
        yield f"{complaint}."
    if min(wanted.frames, wanted.val_frames) < 0 or wanted.frames + wanted.val_frames == 0:
        yield f"there are {wanted.frames} and {wanted.val_frames} frames to render, expected some."
    if wanted.format != "bag" and not 0 <= wanted.seed < FIRST_UNSEEN_SEED:
        yield (
            f"the seed is {wanted.seed}, expected 0 to {FIRST_UNSEEN_SEED - 1} for a data set:"
            f" its val split takes {FIRST_UNSEEN_SEED} more, which nothing is trained on."
        )
    if wanted.format == "bag" and (
        wanted.val_frames or (wanted.difficulty, wanted.style) != ("default", "plain")
    ):
        yield "a recording has no val split and the default difficulty and style; leave those out."
    if wanted.depth and wanted.format != "bag":
        yield "only a recording has depth; leave it out, or write the format bag."
    if wanted.format == "bag" and (wanted.frames % FRAMES_PER_STREET or wanted.seed < 0):
        yield (
            f"a recording of {wanted.frames} frames with seed {wanted.seed} cannot be: it drives"
            f" through streets of {FRAMES_PER_STREET} frames, with a seed that is not negative."
        )


def synthesize(root: Path | str, wanted: SyntheticSet, workers: int | None = None) -> Path:
    """Render a set into the folder `root`; nothing to do where it already is.

    What is written does not depend on `workers`, the number of processes (None: one for each core);
    a recording is rendered by one. The folder appears when it is complete; after an error or an
    interruption nothing is left.
    Raises BadInput if `root` holds something else.
    """
    root = Path(root).expanduser().absolute()
    if not _is_there(root, wanted):
        with _appearing(root) as folder:
            if wanted.format == "bag":
                _record(folder, wanted)
            else:
                _render(folder, wanted, workers or len(os.sched_getaffinity(0)))
            (folder / MANIFEST).write_text(json.dumps(asdict(wanted)))
    return root


def _is_there(root: Path, wanted: SyntheticSet) -> bool:
    """Whether the set is complete at `root`; BadInput if something else is there."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    asked = json.loads(json.dumps(asdict(wanted)))
    try:
        found = {"style": "plain", "depth": False} | json.loads((root / MANIFEST).read_text())
    except (OSError, ValueError, TypeError):
        found = f"something without a {MANIFEST}"
    if found != asked:
        raise BadInput(f"{root} holds {found}, wanted {asked}; name another folder or remove it.")
    return True


@contextmanager
def _appearing(root: Path) -> Iterator[Path]:
    """A folder beside `root` that takes its name in the end; after an error it is gone."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{root.name}.", dir=root.parent) as unfinished:
        folder = Path(unfinished) / root.name
        folder.mkdir()
        yield folder
        folder.rename(root)


def _record(folder: Path, wanted: SyntheticSet) -> None:
    streets = wanted.frames // FRAMES_PER_STREET
    with Progress(**_terminal()) as bar:
        task = bar.add_task("rendering a drive", total=wanted.frames)
        write_driving_bag(
            folder / RECORDING,
            wanted.seed,
            streets,
            FRAMES_PER_STREET,
            wanted.size,
            progress=lambda done, _: bar.update(task, completed=done),
            depth=wanted.depth,
        )


def _render(folder: Path, wanted: SyntheticSet, workers: int) -> None:
    splits = (
        ("train", wanted.seed, wanted.frames),
        ("val", wanted.seed + FIRST_UNSEEN_SEED, wanted.val_frames),
    )
    with _processes(workers) as run:
        for split, seed, frames in splits:
            if frames:
                work = partial(_write_frame, folder, wanted, split, seed)
                records = track(
                    run(work, range(frames)), f"rendering {split}", frames, **_terminal()
                )
                records = list(records)
                if wanted.format == "coco":
                    coco_writer.finish(folder, split, records)


def _write_frame(
    folder: Path, wanted: SyntheticSet, split: str, seed: int, index: int
) -> coco_writer.Record | None:
    scene = render_scene(seed, index, wanted.size, wanted.difficulty, wanted.style)
    return WRITERS[wanted.format].write_frame(folder, split, index + 1, scene)


Run = Callable[[Callable[[int], Any], Sequence[int]], Iterator[Any]]


@contextmanager
def _processes(workers: int) -> Iterator[Run]:
    """Something like map() that spreads its work over processes; with one worker, map() itself."""
    if workers <= 1:
        yield map
        return
    # forked from a fresh process: the caller may have threads, of OpenCV or of CUDA
    context = get_context("forkserver")
    context.set_forkserver_preload(["jointseg_eval.datasets", "training.scenes.driving_bag"])
    try:
        with ProcessPoolExecutor(workers, context, _settle) as pool:
            yield partial(pool.map, chunksize=CHUNK)
    except BrokenProcessPool as problem:
        raise ResourceError(
            f"one of {workers} processes that render died, most likely for want of memory;"
            " try fewer --workers."
        ) from problem


def _settle() -> None:
    """One thread a process; an interruption is for the parent to handle."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _terminal() -> dict[str, Any]:
    """Where rich shows its bar; nowhere without a terminal."""
    console = Console(stderr=True, markup=False)
    return {"console": console, "disable": not console.is_terminal}


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = (int(side) for side in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; want HEIGHTxWIDTH, as 256x512") from None
    return height, width


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    standard = SyntheticSet()
    parser = argparse.ArgumentParser(
        prog="python -m training.synthesize", description=__doc__.splitlines()[0]
    )
    count = bounded(int, 0, 10**6)
    parser.add_argument("out", type=Path, help="the folder to write")
    parser.add_argument("--format", choices=FORMATS, required=True)
    parser.add_argument("--frames", type=count, default=standard.frames, help="of train or the bag")
    parser.add_argument(
        "--val-frames", type=count, help="of val; an eighth of --frames if left out"
    )
    parser.add_argument("--seed", type=int, default=standard.seed, help="below 1000; bags: any")
    parser.add_argument("--size", type=_size, default=standard.size, metavar="HxW", help="256x512")
    parser.add_argument("--difficulty", choices=DIFFICULTIES, default=standard.difficulty)
    parser.add_argument("--style", choices=STYLES, default=standard.style)
    parser.add_argument("--depth", action="store_true", help="in a bag; also true boxes in space")
    parser.add_argument(
        "--workers", type=bounded(int, 0, 1024), help="processes; one for each core if left out"
    )
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Write one data set or recording and say what is in it."""
    options = vars(parse(words))
    out, workers = options.pop("out"), options.pop("workers")
    wanted = SyntheticSet(**options)
    try:
        root = synthesize(out, wanted, workers)
    except OSError as problem:
        raise ResourceError(f"cannot write {out}: {problem}; name another place.") from problem
    print(
        f"{root}: {wanted.frames} frames, {wanted.val_frames} of val, in the format {wanted.format}"
    )


if __name__ == "__main__":
    run_program(main)
