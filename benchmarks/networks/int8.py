"""A network in int8 by OpenVINO, from random weights.

    python -m benchmarks.networks.int8 FOLDER     what `in_int8` runs in another process

`jointseg_core.export` would refuse it, rightly: int8 of random weights sees something else. Nothing
is found in the benchmark but what is planted, so that only the time is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from torch import Tensor, nn

from benchmarks.networks.settings import Settings
from jointseg_core.checkpoint import Manifest, Model
from jointseg_core.export.backends import Export, Exported
from jointseg_core.export.model import Request, write_graphs
from jointseg_core.predictor import Predictor

EXPORT, PICTURES = "graphs.json", 4


class Hooked(nn.Module):
    """An exported network, which is no module, with the hooks of one."""

    def __init__(self, network: Callable[[Tensor], tuple]) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> tuple:
        return self.network(inputs)


def in_int8(settings: Settings, model: Model, manifest: Manifest) -> Predictor:
    """The model of these settings, quantised; RuntimeError where that fails.

    It is written in another process, whose memory does not count.
    """
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, "-m", "benchmarks.networks.int8", work]
        text = json.dumps(asdict(settings))
        done = subprocess.run(command, input=text, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        export = Export(**json.loads((Path(work) / EXPORT).read_text()))
        exported = Exported.load(Path(work), export)
    predictor = Predictor(model, manifest, exported=exported)
    predictor._network = Hooked(predictor._network)
    return predictor


def main() -> None:
    """Write the graphs of the settings on the standard input into a folder."""
    # not at the top: it imports this module
    from benchmarks.networks.ours import make_manifest, make_model, make_picture

    folder, fields = Path(sys.argv[1]), json.load(sys.stdin)
    lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    settings = Settings(**fields | lists)
    shown = replace(settings, image=settings.size)
    pictures = [make_picture(replace(shown, seed=number)) for number in range(PICTURES)]
    request = Request(folder, "openvino", folder / "none", "int8", calibration=folder)
    model, manifest = make_model(settings), make_manifest(settings)
    export = write_graphs(request, manifest, model, folder, pictures)
    files = {file.name: "" for file in folder.glob("*.xml")}
    (folder / EXPORT).write_text(json.dumps(asdict(replace(export, files=files))))


if __name__ == "__main__":
    main()
