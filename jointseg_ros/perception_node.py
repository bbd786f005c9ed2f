#!/usr/bin/env python3
"""The node: camera topics in; detections, instance masks and semantic segmentation out.

One process runs one model for any number of cameras. This file is the wiring: lifecycle,
parameters, subscriptions, services. The work is done by `worker.Worker`.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Sequence

if __name__ == "__main__":  # a signal during the imports, which take seconds, is no error either
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads leave the cores to other nodes

import rclpy
import torch
from jointseg_msgs.msg import InferenceStats
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions, install_signal_handlers
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger

from jointseg_core.errors import SegError
from jointseg_core.predictor import Predictor
from jointseg_core.runtime.malloc import keep_memory, return_memory
from jointseg_ros import given, parameters
from jointseg_ros.diagnostics import Reporter
from jointseg_ros.inputs import CameraInputs, Matched
from jointseg_ros.levels import Rhythm, described
from jointseg_ros.liveness import Liveness
from jointseg_ros.loader import BUSY, Loader
from jointseg_ros.mailbox import Counts, Frame, Mailbox
from jointseg_ros.model_choices import DEFAULT_MODEL
from jointseg_ros.monitor import Monitor
from jointseg_ros.outputs import CameraOutputs, reliable
from jointseg_ros.parameters import Settings
from jointseg_ros.requests import answer_all, spin
from jointseg_ros.start import own_arguments, parser_of_none, start_ros
from jointseg_ros.watchdog import Watchdog
from jointseg_ros.worker import Worker

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class PerceptionNode(LifecycleNode):
    """One model on the images of one or more cameras.

    Raises BadConfig with the reason when a start parameter makes no sense.
    """

    def __init__(self, node_name: str = DEFAULT_MODEL, **options) -> None:
        super().__init__(node_name, **options)
        self.settings: Settings = parameters.declare(self)
        given.take_as_declared(self)
        self.add_on_set_parameters_callback(self._check_parameters)
        self._takes_after = hasattr(self, "add_post_set_parameters_callback")  # not on Humble
        if self._takes_after:
            self.add_post_set_parameters_callback(self._take_parameters)
        names = self.settings.camera_names
        self.monitor = Monitor(names)
        self._mailbox = Mailbox(names, self.monitor.differ)
        self.predictor: Predictor | None = None
        self.trouble = ""  # why the last configure or reload failed
        self.warm_up_ms = 0.0
        self.liveness = Liveness()
        self._loader = Loader(self, self.liveness)
        self._worker: Worker | None = None
        self._stats = None
        self._outputs: dict[str, CameraOutputs] = {}
        self._inputs = CameraInputs(self, lambda: self.settings.cameras, self._receive)
        self.monitor.depth = self._inputs.depth.facts
        self.reporter = Reporter(self, health=self)
        self.create_service(SetBool, "~/enable", self._enable)
        waiting = ReentrantCallbackGroup()  # what waits for a model lets others go on
        self.create_service(Trigger, "~/reload_model", self._reload, callback_group=waiting)
        answer_all(self, waiting, lambda: self._loader.prepare(self.settings))
        how = {"clock": Clock(clock_type=ClockType.STEADY_TIME), "callback_group": waiting}
        self.create_timer(0.5, self._look_after_device, **how)
        if self.settings.autostart:
            self._autostart = self.create_timer(0.0, self._start, **how)

    # What the diagnostics read

    @property
    def state(self) -> str:
        """The lifecycle state: unconfigured, inactive, active ..."""
        return self._state_machine.current_state[1]

    @property
    def receiving(self) -> bool:
        """Whether the node subscribes to its cameras."""
        return self._inputs.subscribed

    @property
    def ready(self) -> bool:
        """Whether there is a model that is loaded, warmed up and has passed its self-test."""
        worker = self._worker
        return self.predictor is not None and not (worker is not None and worker.device_error)

    @property
    def loading_since(self) -> float | None:
        """When the model began to load that is loading now, steady seconds."""
        return self.liveness.loading_since

    def alive(self, now: float) -> bool:
        """Whether the node gets on with its work, at this steady time; loading is work."""
        return not self.hopeless(now) and self.liveness.moving(now)

    def hopeless(self, now: float) -> str:
        """Why nothing but a new process can help, at this steady time; empty while all is well."""
        return self.liveness.hopeless(now, self.monitor.busy_since, self.settings)

    def counts(self) -> dict[str, Counts]:
        """What became of the frames, by camera."""
        return self._mailbox.counts()

    def rhythms(self) -> dict[str, Rhythm]:
        """Of every topic with results, `camera/topic`."""
        return {
            f"{camera}/{topic}": rhythm
            for camera, outputs in self._outputs.items()
            for topic, rhythm in outputs.rhythms.items()
        }

    def matched(self, camera: str) -> Matched:
        """The publishers on a camera's topic."""
        return self._inputs.matched(camera)

    def failed(self, text: str) -> None:
        """Tell of what cost a callback of the node, and nothing else."""
        self.monitor.failed(text)
        self.get_logger().error(text, throttle_duration_sec=1.0)

    def give_up(self, reason: str) -> None:
        """Say that the process ends, and why; the watchdog then ends it."""
        self.get_logger().fatal(f"{reason}; the process ends, to be started again")
        self.reporter.look(at_once=True)

    # Lifecycle

    async def _start(self) -> None:
        """Configure and activate by itself, once."""
        self.destroy_timer(self._autostart)
        if self.state == "unconfigured" and not self._loader.busy:
            await self._loader.prepare(self.settings)
            if self.state == "unconfigured" and self.trigger_configure() == SUCCESS:
                self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load and warm up the model, create the publishers."""
        try:
            self.predictor, self.warm_up_ms = self._loader.take(self.settings)
            self._create_outputs()
        except Exception as error:  # rclpy would swallow it without a word
            self._tear_down()
            self.trouble = described(error)
            if self.context.ok():  # else it was a signal that came meanwhile
                self.get_logger().error(f"configure failed: {self.trouble}")
            return FAILURE
        self.trouble = ""
        self._publish_label_info()
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the cameras and start to work."""
        try:
            self._worker.start()
            self._subscribe()
        except Exception as error:
            self.failed(f"activate failed: {described(error)}")
            self._stop_working("deactivated")
            return FAILURE
        return SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Drop the subscriptions, finish the batch at hand, keep the model."""
        self._stop_working("deactivated")
        return SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget the model and the publishers."""
        self._tear_down()
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop whatever runs."""
        self._stop_working("shutdown")
        self._tear_down()
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured."""
        self._stop_working("error")
        self._tear_down()
        return SUCCESS

    async def _look_after_device(self) -> None:
        """A sign of life; and after an error of the device the model is loaded anew, once."""
        self.liveness.spun()
        worker = self._worker
        if worker is None or not worker.device_error or self.liveness.lost or self._loader.busy:
            return
        found = await self._loader.anew(self.settings, worker.device_error)
        if found is not None and worker is self._worker:
            self._exchange(*found)
            worker.device_error = ""

    def close(self) -> bool:
        """Stop the threads; False when inference did not come to an end.

        Like every transition, it removes subscriptions: call it on the thread that spins the node,
        or when nobody spins it any more.
        """
        self.reporter.close()
        return self._stop_working("shutdown")

    def destroy_node(self) -> None:
        """Leave the network, also without `close`."""
        self.reporter.close()
        super().destroy_node()

    # Model and outputs

    def _create_outputs(self) -> None:
        model_type = self.predictor.model_type
        self._outputs = {c.name: CameraOutputs(self, c, model_type) for c in self.settings.cameras}
        self._stats = self.create_publisher(InferenceStats, "~/stats", reliable(10))
        parts = self._mailbox, self.predictor, self._outputs, self._stats, self.monitor
        self._worker = Worker(self, *parts, lambda: self.settings, self._inputs.depth)

    def _exchange(self, predictor: Predictor, warm_up_ms: float) -> None:
        """Another model from the next batch on."""
        self.warm_up_ms = warm_up_ms
        self.predictor = self._worker.predictor = predictor
        self.trouble = ""
        self._publish_label_info()

    def _publish_label_info(self) -> None:
        header = Header(stamp=self.get_clock().now().to_msg())
        for outputs in self._outputs.values():
            outputs.publish_label_info(header, self.predictor.classes, self.settings.lowest_score)

    def _tear_down(self) -> None:
        for outputs in self._outputs.values():
            outputs.destroy()
        if self._stats is not None:
            self.destroy_publisher(self._stats)
        self._outputs, self._stats, self._worker, self.predictor = {}, None, None, None
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        return_memory()

    # Frames

    def _watch(self, now: float | None) -> None:
        """Frames and results are due from this steady time on; None: not any more."""
        self.monitor.watch(now)
        for outputs in self._outputs.values():
            outputs.watch(now)

    def _subscribe(self) -> None:
        self._watch(time.monotonic())
        self._inputs.subscribe()

    def _receive(self, frame: Frame) -> None:
        """Put the frame into its slot; all work is done elsewhere."""
        now = self.get_clock().now().nanoseconds
        age_ms = (now - frame.stamp) / 1e6 if now else None  # below 0 where the clocks disagree
        self.monitor.arrived(frame.camera, frame.stamp, age_ms)
        self._mailbox.put(frame, self.settings.max_rate_hz, self.settings.kept_frames)

    def _unsubscribe(self) -> None:
        self._inputs.unsubscribe()
        self._watch(None)

    def _stop_working(self, reason: str) -> bool:
        self._unsubscribe()
        done = self._worker is None or self._worker.stop()
        if not done:
            self.get_logger().error("the batch at hand did not come to an end, its thread is left")
        self._mailbox.clear(reason)
        return done

    # Parameters and services

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """As of any node; names without a parameter are refused with the nearest one."""
        if reason := given.unknown(self, parameter_list):
            return SetParametersResult(successful=False, reason=reason)
        return super().set_parameters_atomically(parameter_list)

    def _check_parameters(self, changes: Sequence[Parameter]) -> SetParametersResult:
        """All of the changes or none of them."""
        configured = self.state != "unconfigured" or self._loader.busy
        settings, reason = parameters.changed(self.settings, changes, configured)
        if not reason and self.predictor is not None:
            reason = self._loader.new_problem(self.predictor, self.settings, settings)
        if not reason and not self._takes_after:
            self._take_parameters(changes)
        return SetParametersResult(successful=not reason, reason=reason)

    def _take_parameters(self, changes: Sequence[Parameter]) -> None:
        """Use what was checked, and what no other callback has refused, in one step."""
        told = self.settings.lowest_score
        self.settings, _ = parameters.changed(self.settings, changes, configured=False)  # checked
        if self.settings.lowest_score != told:
            self._publish_label_info()

    def _enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """False drops the subscriptions and keeps the model, true takes them up again."""
        if self.state != "active":
            response.message = f"the node is {self.state}; activate it first"
            return response
        if request.data and not self.receiving:
            self._subscribe()
        elif not request.data:
            self._unsubscribe()
            self._mailbox.clear("disabled")
        response.success, response.message = True, "enabled" if request.data else "disabled"
        return response

    async def _reload(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Load the weights beside the present model, exchange the two between two batches."""
        if self.predictor is None:
            response.message = f"the node is {self.state}; configure it first"
            return response
        if self._loader.busy:
            response.message = BUSY
            return response
        try:
            await self._loader.prepare(self.settings)
            if self.predictor is None:
                raise SegError(f"the node is {self.state} meanwhile")
            loaded = self._loader.take(self.settings)
        except Exception as error:
            response.message = described(error)
            self.trouble = f"still running the old model: {response.message}"
            self.get_logger().error(f"reload failed, {self.trouble}")
            return response
        self._exchange(*loaded)
        response.success, response.message = True, f"running {self.predictor.weights}"
        return response


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM, which end it within three seconds in any state.

    Returns 0 after those alone; 2 for arguments or parameters that make no sense, which no new
    process can mend; 5 when the device is lost, a batch hangs, or the logs have no place.
    """
    node = watchdog = None
    try:
        parser_of_none("perception_node", __doc__).parse_args(own_arguments(arguments))
        keep_memory()
        start_ros(arguments)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        install_signal_handlers(SignalHandlerOptions.ALL)
        watchdog = Watchdog()
        node = watchdog.node = PerceptionNode()
        given.warn_of_unheard(node, sys.argv if arguments is None else arguments)
        spin(node, node.failed)
        code = 0
    except (KeyboardInterrupt, ExternalShutdownException):
        code = 0
    except Exception as error:
        if isinstance(error, SegError) and node is None:
            print(f"perception_node: {error}", file=sys.stderr)
            return error.exit_code
        if watchdog is None or rclpy.ok():
            raise
        code = 0  # the signal came in the middle of a call, which then found nothing to speak to
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C comes twice: from the terminal and launch
    if node is not None:
        watchdog.node = None  # one handle less: the node leaves the network with the last of them
        node.close()  # a batch that hangs is left to its thread, which ends with the process
        node.destroy_node()
    rclpy.try_shutdown()
    return code if watchdog is None else watchdog.code or code


if __name__ == "__main__":
    code = main()
    gc.collect()  # lets go of the last handles, so that the node says goodbye to the network
    sys.stdout.flush()
    os._exit(code)  # taking torch apart would last another two seconds
