"""A network in int8 by OpenVINO, from random weights.

    python -m jointseg_core.benchmark.int8 FOLDER     what `in_int8` runs in another process

`jointseg_core.export` would refuse it, rightly: int8 of random weights sees something else. Nothing
is found in the benchmark but what is planted, so that only the time is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.io import write_png

from jointseg_core.backends import Export, Exported, open_graphs
from jointseg_core.checkpoint import Manifest, Model, load_model, save_model
from jointseg_core.export import Request, write_graphs
from jointseg_core.predictor import Predictor
from jointseg_core.quantization import read_pictures

WEIGHTS, EXPORT = "weights.safetensors", "graphs.json"


class Hooked(nn.Module):
    """An exported network, which is no module, with the hooks of one."""

    def __init__(self, network: Callable[[Tensor], tuple]) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> tuple:
        return self.network(inputs)


def in_int8(model: Model, manifest: Manifest, pictures: Sequence[np.ndarray]) -> Predictor:
    """The model quantised by these pictures; RuntimeError where that fails.

    It is written in another process, whose memory does not count.
    """
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        save_model(model, folder / WEIGHTS, manifest.classes, manifest.preprocessing)
        for number, picture in enumerate(pictures):
            write_png(torch.from_numpy(picture).permute(2, 0, 1), str(folder / f"{number}.png"))
        command = [sys.executable, "-m", "jointseg_core.benchmark.int8", work]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        export = Export(**json.loads((folder / EXPORT).read_text()))
        predictor = Predictor(
            model, manifest, exported=Exported(export, open_graphs(folder, export))
        )
    predictor._network = Hooked(predictor._network)
    return predictor


def main() -> None:
    """Write the graphs of the checkpoint in a folder by the pictures there."""
    folder = Path(sys.argv[1])
    model, manifest = load_model(folder / WEIGHTS)
    request = Request(folder / WEIGHTS, "openvino", folder / "none", "int8", calibration=folder)
    export = write_graphs(request, manifest, model, folder, read_pictures(folder))
    files = {file.name: "" for file in folder.glob("*.xml")}
    (folder / EXPORT).write_text(json.dumps(asdict(replace(export, files=files))))


if __name__ == "__main__":
    main()
