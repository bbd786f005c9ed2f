"""The thread that turns frames into results: take a batch, decode, predict, publish, account."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from jointseg_msgs.msg import InferenceStats
from rclpy.node import Node
from rclpy.publisher import Publisher

from jointseg_core.errors import BadImage
from jointseg_core.predictions import Predictions
from jointseg_core.predictor import Predictor
from jointseg_core.runtime.malloc import return_memory
from jointseg_ros.conversions import Result, without_nan
from jointseg_ros.depth_inputs import DepthInputs
from jointseg_ros.mailbox import Counts, Frame, Mailbox
from jointseg_ros.model import apply_settings
from jointseg_ros.monitor import Monitor
from jointseg_ros.outputs import CameraOutputs
from jointseg_ros.overlay import OverlayThread
from jointseg_ros.parameters import Settings
from jointseg_ros.places import Places
from jointseg_ros.tracking import CameraTracks


class Complaints:
    """Warnings to the log, at most one a second for each reason."""

    def __init__(self, log: Callable[[str], object]) -> None:
        self._log = log
        self._last: dict[str, float] = {}
        self._silent: dict[str, int] = {}

    def __call__(self, reason: str, text: str) -> None:
        """Log the text, or count it for the next time."""
        now = time.monotonic()
        if now - self._last.get(reason, -1e9) < 1:
            self._silent[reason] = self._silent.get(reason, 0) + 1
            return
        more = self._silent.pop(reason, 0)
        self._last[reason] = now
        self._log(f"{text} ({more} more since the last)" if more else text)


class Worker:
    """Frames from the mailbox through the predictor to the outputs, one batch after the other."""

    def __init__(
        self,
        node: Node,
        mailbox: Mailbox,
        predictor: Predictor,
        outputs: dict[str, CameraOutputs],
        stats: Publisher,
        monitor: Monitor,
        settings: Callable[[], Settings],
        depth: DepthInputs,
    ) -> None:
        self.predictor = predictor  # may be exchanged at any time; the next batch uses the new one
        self._node, self._mailbox, self._outputs = node, mailbox, outputs
        self._stats, self._monitor, self._settings = stats, monitor, settings
        self._tracks, self._depth, self._places = CameraTracks(), depth, Places(depth)
        self._complain = Complaints(node.get_logger().warning)
        self.device_error = ""  # until somebody has loaded the model anew: no frame is tried
        self._applied: tuple[Predictor, Settings] | None = None
        self._thread: threading.Thread | None = None
        self._overlay: OverlayThread | None = None

    def start(self) -> None:
        """Begin to take frames."""
        self._mailbox.reopen()
        self._overlay = OverlayThread(self._outputs, self._complain)
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 1.5) -> bool:
        """End after the batch at hand; False when that did not come to an end in time."""
        self._mailbox.close()
        if self._thread is None or self._overlay is None:
            return True
        thread, overlay = self._thread, self._overlay
        self._thread = self._overlay = None
        thread.join(timeout)
        overlay.close(timeout / 4)
        return not thread.is_alive()

    def _run(self) -> None:
        me = threading.current_thread()  # one that was given up on does not go on beside the next
        while self._thread is me and (batch := self._mailbox.take(self._settings)) is not None:
            self._monitor.begin()
            try:
                self._process(batch, self._settings(), self.predictor)
            except Exception as error:  # the thread lives on, and no frame is forgotten
                for frame in batch:
                    self._failed(frame, Failure.of(error, "internal"))
            finally:
                self._monitor.end()

    def _process(self, batch: list[Frame], settings: Settings, predictor: Predictor) -> None:
        """One batch; whatever happens, each of its frames ends as processed or as dropped."""
        started = time.monotonic()
        if self.device_error:
            for frame in batch:
                self._mailbox.drop(frame, "device")
            return
        self._apply(predictor, settings)
        for frame in batch:
            self._depth.expect(frame.camera, frame.stamp)
        pictures = self._decoded([frame for frame in batch if not self._too_old(frame, settings)])
        decoded = time.monotonic()
        seen = self._predicted(predictor, pictures)
        published = time.monotonic()
        frames = [
            frame
            for frame, image, predictions in seen
            if self._published(frame, image, predictions, settings, predictor)
        ]
        if frames:
            done = time.monotonic()
            stages = {
                "queue": started - min(frame.arrived for frame in frames),
                "preprocess": decoded - started + predictor.timing.preprocess_ms / 1e3,
                "inference": predictor.timing.inference_ms / 1e3,
                "postprocess": predictor.timing.postprocess_ms / 1e3,
                "publish": done - published,
            }
            stages = {name: 1e3 * seconds for name, seconds in stages.items()}
            self._account(frames, stages, 1e3 * (done - started), settings, predictor)

    def _apply(self, predictor: Predictor, settings: Settings) -> None:
        """Thresholds that changed go to the model between two batches; the one before is freed."""
        if self._applied != (predictor, settings):
            apply_settings(predictor, settings)
            before, self._applied = self._applied, (predictor, settings)
            if before is None or before[0] is not predictor:
                del before  # with the model, whose memory and that of the loading are given back
                return_memory()

    def _too_old(self, frame: Frame, settings: Settings) -> bool:
        limit = settings.max_input_age_ms
        if not limit or self._age_ms(frame) <= limit:
            return False
        self._mailbox.drop(frame, "too_old")
        return True

    def _age_ms(self, frame: Frame) -> float:
        """The time since the stamp, on the node's clock."""
        return (self._node.get_clock().now().nanoseconds - frame.stamp) / 1e6

    def _decoded(self, frames: list[Frame]) -> list[tuple[Frame, np.ndarray]]:
        """The frames with a usable picture [H, W, 3]; the others are dropped."""
        pictures = []
        for frame in frames:
            packed = getattr(frame.message, "format", None)
            encoding = frame.message.encoding if packed is None else packed
            try:
                image = frame.decoder(frame.message)
                frame.region.cut(image)
            except BadImage as error:
                self._mailbox.drop(frame, f"bad_image:{error.reason}")
                self._monitor.bad(frame.camera, encoding, str(error))
                self._complain(error.reason, f"{frame.camera}: frame dropped: {error}")
                continue
            if hint := frame.decoder.hint:
                self._complain("hint", f"{frame.camera}: {hint}")
            self._monitor.good(frame.camera, encoding, *image.shape[:2], hint)
            pictures.append((frame, image))
        return pictures

    def _predicted(
        self, predictor: Predictor, pictures: list[tuple[Frame, np.ndarray]]
    ) -> list[tuple[Frame, np.ndarray, Predictions]]:
        """With results; a batch that fails is tried again frame by frame: one costs only itself."""
        if not pictures:
            return []
        results = _attempt(predictor, pictures)
        if not isinstance(results, Failure):
            return [(*pair, result) for pair, result in zip(pictures, results, strict=True)]
        if results.reason == "out_of_memory":
            self._monitor.no_memory()
            free_memory()
        if results.reason == "device" or len(pictures) == 1:
            for frame, _ in pictures:
                self._failed(frame, results)
            return []
        return [seen for pair in pictures for seen in self._predicted(predictor, [pair])]

    def _published(
        self,
        frame: Frame,
        image: np.ndarray,
        predictions: Predictions,
        settings: Settings,
        predictor: Predictor,
    ) -> bool:
        classes = predictor.classes
        predictions = _wanted(without_nan(predictions), classes.things, settings.classes_filter)
        try:
            predictions, tracks = self._tracks(
                frame.camera, frame.stamp, predictions, settings, predictor
            )
            space = self._places(frame.camera, frame.header, predictions, classes, settings)
            result = Result(frame.header, image, predictions, classes, settings, tracks, space)
            self._outputs[frame.camera].publish(result)
        except Exception as error:
            self._failed(frame, Failure.of(error, "publish"))
            return False
        if (overlay := self._overlay) is not None:
            overlay.offer(frame.camera, result)
        return True

    def _failed(self, frame: Frame, failure: Failure) -> None:
        self._mailbox.drop(frame, failure.reason)
        if self._node.context.ok():
            text = f"{frame.camera}: {failure.reason} failed: {failure.text}"
            self._monitor.failed(text)
            if failure.reason == "device":
                self.device_error = text
            self._complain(failure.reason, text)

    def _account(
        self,
        frames: list[Frame],
        stages: dict[str, float],
        total_ms: float,
        settings: Settings,
        predictor: Predictor,
    ) -> None:
        """Count the frames, note the times and publish the statistics."""
        newest = max(frames, key=lambda frame: frame.stamp)
        latency_ms = max(0.0, self._age_ms(newest))  # the clock may have been set back
        for frame in frames:
            self._mailbox.processed(frame)
            deadline_ms = settings.diagnostics_deadline_ms
            self._monitor.published(frame.camera, self._age_ms(frame), deadline_ms)
        limit_ms = settings.diagnostics_max_processing_time_ms
        self._monitor.finished(stages, total_ms, latency_ms, limit_ms)
        message = InferenceStats(
            header=newest.header,
            model=predictor.model_type,
            device=str(predictor.device),
            batch_size=len(frames),
            latency_ms=latency_ms,
            **{f"{name}_ms": took for name, took in stages.items()},
            **_totals(self._mailbox.counts().values()),
        )
        if self._node.context.ok():
            self._stats.publish(message)


class Failure(NamedTuple):
    """Why a frame gave no results; the error is not kept, whose trace would keep its tensors.

    reason  its counter: inference, publish, internal, out_of_memory or device
    """

    reason: str
    text: str

    @classmethod
    def of(cls, error: Exception, reason: str) -> Failure:
        """What an error means, `reason` where it is none of the machine's."""
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return cls(_of_the_machine(error) or reason, text)


def _of_the_machine(error: Exception) -> str:
    """Whether there was no memory, or the GPU is unusable from here on; empty for the rest."""
    text = str(error)
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) or any(
        words in text for words in ("out of memory", "can't allocate memory", "ALLOC_FAILED")
    ):
        return "out_of_memory"
    broken = ("CUDA error", "CUDNN_STATUS", "CUBLAS_STATUS", "CUDA failure")
    return "device" if any(words in text for words in broken) else ""


def _attempt(
    predictor: Predictor, pictures: list[tuple[Frame, np.ndarray]]
) -> list[Predictions] | Failure:
    try:
        results = predictor([frame.region.cut(image) for frame, image in pictures])
        return [
            frame.region.restored(found, image.shape[:2])
            for (frame, image), found in zip(pictures, results, strict=True)
        ]
    except Exception as error:
        return Failure.of(error, "inference")


def free_memory() -> None:
    """Give back what is kept for later, here and on the GPU."""
    gc.collect()
    return_memory()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _wanted(
    predictions: Predictions, things: tuple[str, ...], names: tuple[str, ...]
) -> Predictions:
    """The objects of the classes named; all when none is."""
    if not names:
        return predictions
    labels = torch.tensor([things.index(name) for name in names if name in things])
    return predictions[torch.isin(predictions.labels, labels)]


def _totals(counts: Iterable[Counts]) -> dict[str, int]:
    total = {"frames_received": 0, "frames_processed": 0, "frames_dropped": 0}
    for one in counts:
        total["frames_received"] += one.received
        total["frames_processed"] += one.processed
        total["frames_dropped"] += sum(one.dropped.values())
    return total
