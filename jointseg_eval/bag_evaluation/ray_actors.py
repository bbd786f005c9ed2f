"""Windows evaluated by the machines of a Ray cluster; needs the `ray` extra.

Recordings, weights and this project have to be at the same paths on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jointseg_core.errors import BadConfig, ResourceError
from jointseg_eval.bag_evaluation.processes import ATTEMPTS, Answer, Failure, answer
from jointseg_eval.bag_evaluation.settings import Settings
from jointseg_eval.bag_evaluation.windows import Window
from jointseg_eval.provenance import ROOT


class Evaluator:
    """What runs as an actor: models that are loaded once, and windows one after the other."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._models = settings, settings.models()

    def answer(self, window: Window) -> Answer:
        """What comes of a window."""
        return answer(window, self._settings, self._models)


def in_cluster(
    jobs: Sequence[Window], settings: Settings, address: str, workers: int
) -> Iterator[tuple[int, Answer]]:
    """The answers by the number of their window, in the order in which they come.

    address: of a cluster, "auto" for the one that this machine belongs to, "local" for one of its
    own that ends with the run. A window whose actor dies is tried three times. BadInput where Ray
    is not installed or the cluster is not there.
    """
    ray = _connected(address, workers)
    gpus = 1 if settings.device.startswith("cuda") else 0
    actor_class = ray.remote(num_cpus=1, num_gpus=gpus)(Evaluator)
    waiting = [(number, 1) for number in range(len(jobs))][::-1]
    running: dict = {}

    def give(actor: object) -> None:
        number, attempt = waiting.pop()
        running[actor.answer.remote(jobs[number])] = actor, number, attempt

    try:
        for _ in range(min(workers, len(jobs))):
            give(actor_class.remote(settings))
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            actor, number, attempt = running.pop(done)
            try:
                yield number, ray.get(done)
            except ray.exceptions.RayActorError as error:
                actor = actor_class.remote(settings)
                if attempt < ATTEMPTS:
                    waiting.append((number, attempt + 1))
                else:
                    reason = str(error).splitlines()[0]
                    yield (
                        number,
                        Failure(f"{jobs[number]}: its actor died {ATTEMPTS} times ({reason})"),
                    )
            if waiting:
                give(actor)
    finally:
        ray.shutdown()


def _connected(address: str, workers: int):
    try:
        import ray
    except ImportError as error:
        raise BadConfig("--ray needs Ray; install it with: pip install ray") from error
    local = {"num_cpus": workers, "include_dashboard": False} if address == "local" else {}
    try:
        ray.init(
            address=None if address == "local" else address,
            runtime_env={"env_vars": {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}},
            log_to_driver=False,
            logging_level="error",
            **local,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ResourceError(
            f"no Ray cluster at {address} ({reason}); start one with ray start."
        ) from error
    return ray
