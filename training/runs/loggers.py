"""Where losses, scores and pictures of a run also go: each where its package is installed."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np

from jointseg_core.errors import BadConfig, ResourceError


class Logger(Protocol):
    """Takes numbers and pictures (uint8 [H, W, 3] RGB) of steps."""

    def number(self, name: str, value: float, step: int) -> None: ...

    def picture(self, name: str, picture: np.ndarray, step: int) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in RUN/tensorboard."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(folder / "tensorboard"))

    def number(self, name: str, value: float, step: int) -> None:
        self._board.add_scalar(name, value, step)

    def picture(self, name: str, picture: np.ndarray, step: int) -> None:
        self._board.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        self._board.close()


class MLflow:
    """A run of MLflow, where MLFLOW_TRACKING_URI says."""

    def __init__(self, folder: Path) -> None:
        import mlflow

        self._mlflow = mlflow
        mlflow.start_run(run_name=folder.name)

    def number(self, name: str, value: float, step: int) -> None:
        self._mlflow.log_metric(name, value, step=step)

    def picture(self, name: str, picture: np.ndarray, step: int) -> None:
        self._mlflow.log_image(picture, f"{name}/{step:08}.png")

    def close(self) -> None:
        self._mlflow.end_run()


class WandB:
    """A run of Weights & Biases; WANDB_MODE=offline keeps it on this machine, in RUN/wandb."""

    def __init__(self, folder: Path) -> None:
        import wandb

        self._image = wandb.Image
        self._run = wandb.init(dir=str(folder), name=folder.name)

    def number(self, name: str, value: float, step: int) -> None:
        self._run.log({name: value}, step=step)

    def picture(self, name: str, picture: np.ndarray, step: int) -> None:
        self._run.log({name: self._image(picture)}, step=step)

    def close(self) -> None:
        self._run.finish()


LOGGERS = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB}


def check_loggers(names: Sequence[str]) -> None:
    """Raises BadConfig for a name that is none, ResourceError where its package lacks."""
    for name in names:
        if name not in LOGGERS:
            raise BadConfig(f"--log: there is no {name}; want some of {', '.join(LOGGERS)}")
        if find_spec(name) is None:
            raise ResourceError(f"--log {name}: its package is not installed; pip install {name}")


def open_loggers(names: Sequence[str], folder: Path) -> list[Logger]:
    """Those that are asked for, and TensorBoard where it is installed."""
    usual = ["tensorboard"] if find_spec("tensorboard") else []
    return [LOGGERS[name](folder) for name in dict.fromkeys((*usual, *names))]
