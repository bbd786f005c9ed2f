"""Models are loaded in a thread of its own, as inference has one: the node answers meanwhile."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import asdict

from rclpy.exceptions import InvalidHandle
from rclpy.node import Node
from rclpy.task import Future

from jointseg_core.errors import BadConfig, SegError
from jointseg_core.predictor import Predictor
from jointseg_ros.levels import described
from jointseg_ros.liveness import Liveness
from jointseg_ros.model import load_predictor, unknown_classes
from jointseg_ros.parameters import Settings

BUSY = "a model is being loaded already; ask again when that is done"


class Loader:
    """Loads one model at a time. For the thread that spins the node.

    busy  whether a model is being prepared
    """

    def __init__(self, node: Node, liveness: Liveness) -> None:
        self.busy = False
        self._node, self._liveness = node, liveness
        self._prepared: Future | None = None

    async def prepare(self, settings: Settings) -> None:
        """Load the model that the next `take` returns. Raises SegError while another is loaded."""
        if self.busy:
            raise SegError(BUSY)
        self.busy, prepared = True, Future()
        thread = threading.Thread(
            target=self._work, args=(settings, prepared), name="loader", daemon=True
        )
        thread.start()
        with suppress(Exception):  # which `take` raises
            await prepared
        self._prepared, self.busy = prepared, False

    def take(self, settings: Settings) -> tuple[Predictor, float]:
        """The model, see `load_predictor`: as it was prepared, else loaded now, on this thread."""
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            with self._liveness.loading(blocking=True):
                found = load_predictor(settings, self._node.get_logger())
        else:
            found = prepared.result()
        if reason := self.problem(found[0], settings):
            raise BadConfig(reason)
        return found

    def problem(self, predictor: Predictor, settings: Settings) -> str:
        """Which of the settings does not go with a model, in a sentence; empty for none."""
        batch_ms = sum(asdict(predictor.timing).values())
        return unknown_classes(predictor, settings) or self._liveness.too_short(settings, batch_ms)

    def new_problem(self, predictor: Predictor, before: Settings, after: Settings) -> str:
        """The same of changed settings; empty also where it was so before, such as a slow batch."""
        found = self.problem(predictor, after)
        return "" if found == self.problem(predictor, before) else found

    async def anew(self, settings: Settings, error: str) -> tuple[Predictor, float] | None:
        """The model after an error of the device; None where that is lost, see `Liveness`."""
        if self._liveness.just_recovered():
            self._liveness.lost = f"the device failed again: {error}"
            return None
        self._node.get_logger().error(f"{error}; the model is loaded anew")
        try:
            await self.prepare(settings)
            found = self.take(settings)
        except Exception as again:
            lost = f"the device is lost: {error}; loading the model anew failed: {described(again)}"
            self._liveness.lost = lost
            return None
        self._liveness.recovered()
        return found

    def _work(self, settings: Settings, prepared: Future) -> None:
        try:
            with self._liveness.loading():
                prepared.set_result(load_predictor(settings, self._node.get_logger()))
        except Exception as error:
            prepared.set_exception(error)
        executor = self._node.executor
        if executor is not None:
            with suppress(InvalidHandle):  # of a node that has ended meanwhile
                executor.wake()  # so that it looks after who waits
