"""Write a model's networks for another runtime, and keep them only if they agree with torch.

What comes out is a folder that `Predictor.from_file(FOLDER, backend="onnx")` and the node open, see
`backends` for its layout. It appears when everything in it is complete and has passed the check of
`self_check`; otherwise nothing is left.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from jointseg_core.checkpoint import Manifest, Model, load_model
from jointseg_core.errors import BadConfig, BadDataset
from jointseg_core.export.backends import (
    CHECKPOINT,
    SUFFIXES,
    Export,
    Exported,
    openvino_precisions,
)
from jointseg_core.export.graphs import empty_shapes, named_tensors, parts
from jointseg_core.export.limits import problem
from jointseg_core.export.quantization import calibration_inputs
from jointseg_core.export.self_check import compare, drawn_pictures
from jointseg_core.export.writers import REQUIRED, write
from jointseg_core.model_check import sign
from jointseg_core.predictor import (
    PRECISIONS,
    Predictor,
    choose_device,
    choose_precision,
    precisions_of,
    prepared,
)

_MOST_PICTURES = 200  # of a calibration: more do not change the ranges by much
_SUFFIXES = (".png", ".jpg", ".jpeg")
_REGION_OUTPUTS = ("class_logits", "box_deltas")


@dataclass(frozen=True)
class Request:
    """What to write. Raises BadConfig, in one sentence, for what this machine cannot do.

    weights      a checkpoint
    form         onnx, torch-export, aoti or openvino
    out          the folder that will appear, by default beside the weights
    precision    fp32, fp16, bf16 or int8; auto becomes torch's, if the form has that, else fp32
    batch        images in one call of the dense graph
    calibration  for int8: a folder of pictures such as the camera will send
    device       cpu, or cuda for an aoti package that runs there
    """

    weights: Path
    form: str
    out: Path | None = None
    precision: str = "fp32"
    batch: int = 1
    calibration: Path | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if reason := self._form_problem():
            raise BadConfig(reason)
        if self.precision == "auto":
            chosen = choose_precision("auto", choose_device(self.device))
            precision = chosen if chosen in self._precisions() else "fp32"
            object.__setattr__(self, "precision", precision)
        if reason := self._value_problem():
            raise BadConfig(reason)

    def _form_problem(self) -> str | None:
        if self.form not in SUFFIXES:
            return f"--to {self.form}: want one of {', '.join(SUFFIXES)}"
        if self.device != "cpu" and self.form != "aoti":
            return f"--device {self.device}: only aoti packages are written for a device"
        return self._missing(REQUIRED[self.form])

    def _missing(self, packages: tuple[str, ...]) -> str | None:
        if missing := [package for package in packages if find_spec(package) is None]:
            return (
                f"--to {self.form} in {self.precision} needs {', '.join(missing)}, which this "
                "machine lacks; pip install them"
            )
        return None

    def _value_problem(self) -> str | None:
        if self.folder.exists():
            return f"--out: {self.folder} exists; remove it, or name another folder"
        if self.batch < 1:
            return f"--batch {self.batch}: want 1 or more images in a call"
        if self.precision not in (known := self._precisions()):
            return f"--precision {self.precision}: {self.form} has {', '.join(known)} here"
        if (self.precision == "int8") != (self.calibration is not None):
            return "--precision int8 and --calibration FOLDER_OF_PICTURES belong together"
        return self._missing(("nncf",)) if self.precision == "int8" else None

    def _precisions(self) -> list[str]:
        if self.form == "openvino":
            return openvino_precisions()
        if self.form == "onnx":
            return ["fp32", "fp16", "int8"]  # ONNX Runtime's CPU has no convolution in bf16
        return precisions_of(choose_device(self.device))

    @property
    def folder(self) -> Path:
        """What will appear."""
        return self.out or Export.folder(self.weights, self.form, self.precision)

    @property
    def dtype(self) -> torch.dtype:
        """Of the traced layers; OpenVINO casts by itself, int8 is made from fp32."""
        own = {} if self.form == "openvino" else PRECISIONS
        return own.get(self.precision, torch.float32)


def export_model(request: Request, model: Model | None = None) -> Export:
    """Write the export that is asked for.

    model is written in the place of the checkpoint's network, with which it has to agree.
    Raises BadConfig where the self-check fails, BadCheckpoint for weights that cannot be used.
    """
    loaded, manifest = load_model(request.weights)
    if manifest.preprocessing.by_sides:
        raise BadConfig(
            f"{request.weights}: its input is as large as each image needs (by_sides), and a graph "
            "has one size; save it with a fixed input_size"
        )
    pictures = _read_pictures(request.calibration) if request.calibration else []
    with _appearing(request.folder) as folder:
        checkpoint = folder / CHECKPOINT
        shutil.copy(request.weights, checkpoint)
        shutil.copy(request.weights.with_suffix(".json"), checkpoint.with_suffix(".json"))
        if model is None and not manifest.self_test:
            sign(checkpoint)
        export = write_graphs(request, manifest, model or loaded, folder, pictures)
        export = _checked(folder, export.signed(folder), pictures)
        export.save(folder)
    return export


@contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """A folder to work in that becomes `out` at the end, or vanishes when something is raised."""
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=out.absolute().parent, prefix=f".{out.name}-", ignore_cleanup_errors=True
    ) as work:
        folder = Path(work) / "export"
        folder.mkdir()
        yield folder
        folder.rename(out)


def write_graphs(
    request: Request,
    manifest: Manifest,
    model: Model,
    folder: Path,
    pictures: list[np.ndarray],
) -> Export:
    """Write the files of the graphs, without the self-check; pictures are for int8."""
    device, size = choose_device(request.device), manifest.preprocessing.input_size
    inputs = {}
    if pictures:
        predictor = Predictor(model, manifest, "cpu", winograd=False)  # the layers stay as they are
        inputs = calibration_inputs(predictor, pictures, request.batch)
    network = prepared(model, device, request.dtype)
    found = parts(network, request.batch, size)
    with torch.no_grad():
        output = network(found["dense"][1].to(device, request.dtype))
    names = tuple(named_tensors(output))
    for name, (part, example) in found.items():
        file = folder / f"{name}{SUFFIXES[request.form]}"
        outputs = _REGION_OUTPUTS if name == "regions" else names
        write(request.form, part, example.to(device), file, outputs, inputs.get(name, []))
    return Export(
        request.form,
        manifest.model_type,
        request.precision,
        request.batch,
        size,
        device.type,
        names,
        empty_shapes(output),
        versions=_versions(request),
    )


def _versions(request: Request) -> dict[str, str]:
    packages = ["torch", "torchvision", *REQUIRED[request.form]]
    packages += ["nncf"] if request.precision == "int8" else []
    return {package: version(package) for package in packages}


def _checked(folder: Path, export: Export, pictures: list[np.ndarray]) -> Export:
    """The export with the numbers of its self-check. Raises BadConfig where they are too bad."""
    exported = Exported.load(folder, export)
    loaded = folder / CHECKPOINT
    by_torch = Predictor(*load_model(loaded), device=export.device, winograd=False)
    by_export = Predictor(*load_model(loaded), device=export.device, exported=exported)
    numbers = compare(by_torch, by_export, pictures or drawn_pictures(export.input_size))
    if reason := problem(numbers, export.precision):
        raise BadConfig(
            f"the export to {export.form} in {export.precision} does not see what the checkpoint "
            f"sees: {reason}; nothing was written"
        )
    if export.device == "cpu":
        batch = (pictures or drawn_pictures(export.input_size)) * export.batch
        numbers["time_to_torch"] = _time_to_torch(folder, export, batch[: export.batch])
    return replace(export, self_check=numbers)


def _time_to_torch(folder: Path, export: Export, batch: list[np.ndarray]) -> dict[str, float]:
    """CPU time of its network for a batch over that of torch, in each precision that torch has.

    On one thread, where neither waiting threads nor other programs count; they take turns.
    """
    precisions, threads = precisions_of(choose_device("cpu")), torch.get_num_threads()
    load = partial(load_model, folder / CHECKPOINT)
    rounds: list[list[float]] = []
    torch.set_num_threads(1)
    try:
        own = Predictor(*load(), exported=Exported.load(folder, export))
        rivals = [own, *(Predictor(*load(), "cpu", precision) for precision in precisions)]
        start = time.perf_counter()
        while len(rounds) < 5 or (len(rounds) < 50 and time.perf_counter() - start < 2.0):
            rounds.append([_cpu_seconds(predictor, batch) for predictor in rivals])
    finally:
        torch.set_num_threads(threads)
    least, *others = np.min(rounds, 0).tolist()
    return {name: round(least / other, 3) for name, other in zip(precisions, others, strict=True)}


def _cpu_seconds(predictor: Predictor, batch: list[np.ndarray]) -> float:
    start = time.process_time()
    predictor.raw(batch)
    return time.process_time() - start


def _read_pictures(folder: Path) -> list[np.ndarray]:
    """At most 200 of the PNG and JPEG files below a folder, spread, RGB [H, W, 3].

    Raises BadDataset where there are none, BadImage for one that cannot be read.
    """
    from jointseg_core.images import read_picture  # which need OpenCV

    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in _SUFFIXES)
    if not files:
        raise BadDataset(f"--calibration: no {' or '.join(_SUFFIXES)} file lies below {folder}")
    chosen = files[:: -(-len(files) // _MOST_PICTURES)]
    return [read_picture(file) for file in chosen]
