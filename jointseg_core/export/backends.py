"""Runtimes other than torch's own: what `jointseg_core.export` wrote, in the place of the networks.

An export is a folder:

    export.json                            what is in it, see `Export`
    weights.safetensors, weights.json      the checkpoint, which decoding needs
    dense.onnx                             the network; dense.pt2 or dense.xml and dense.bin as well
    regions.onnx                           SegRPN's region head

Every file is compared with its SHA-256 before it is read. ONNX and OpenVINO files are data. An aoti
package holds compiled code, which runs in this process: open only those that you trust as you trust
a program. A torch-export file is for other programs, no backend opens it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from jointseg_core.checkpoint import Model
from jointseg_core.errors import BadCheckpoint, BadConfig, SegError, in_words
from jointseg_core.export.graphs import Output, assemble
from jointseg_core.export.limits import LIMITS
from jointseg_core.files import open_file
from jointseg_core.runtime.malloc import return_memory
from jointseg_core.segrpn import SegRPN

_PACKAGES = {"torch": "torch", "onnx": "onnxruntime", "aoti": "torch", "openvino": "openvino"}
"""The backends, and the Python package that each of them needs."""
SUFFIXES = {"onnx": ".onnx", "torch-export": ".pt2", "aoti": ".pt2", "openvino": ".xml"}
"""What can be exported, and how the files with the graphs end."""
CHECKPOINT = "weights.safetensors"
"""The name of the checkpoint in an export's folder."""
_MANIFEST, _FORMAT = "export.json", 1
_LARGEST_GRAPH = 1 << 33  # bytes


_Graph = Callable[[Tensor], list[Tensor]]
"""One tensor in fp32 to the tensors of a graph in fp32, valid until the next call."""


@dataclass(frozen=True)
class Export:
    """What an export folder holds.

    form        one of SUFFIXES
    model       model type of the checkpoint
    precision   fp32, fp16, bf16 or int8
    batch       images in one call of the dense graph
    input_size  (height, width) of these in pixels
    device      cpu or cuda: where an aoti package runs; everything else runs on a CPU
    outputs     names of the dense graph's outputs, in order
    empty       shapes of the outputs without elements, which no graph has
    files       SHA-256 of every other file of the folder
    versions    of what wrote it
    self_check  what the self-check found, and as `time_to_torch` how long a call took, relative to
                torch in each precision of the device where it was written
    """

    form: str
    model: str
    precision: str
    batch: int
    input_size: tuple[int, int]
    device: str
    outputs: tuple[str, ...]
    empty: Mapping[str, list[int]]
    files: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    self_check: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Export:
        """What export.json of a folder says, with every file compared. Raises BadCheckpoint."""
        try:
            document = json.loads(_read(folder / _MANIFEST))
            if (found := document.pop("format")) != _FORMAT:
                if isinstance(found, int) and found > _FORMAT:
                    raise BadCheckpoint(
                        f"{folder / _MANIFEST}: written by a newer version of this package, in "
                        f"format {found}; this one reads {_FORMAT}: update it, or export again"
                    )
                raise ValueError(f"format {found}, this version reads {_FORMAT}")
            lists = {key: tuple(document[key]) for key in ("input_size", "outputs")}
            export = cls(**document | lists)
            if export.form not in SUFFIXES:
                raise ValueError(f"form {export.form}")
            files = dict(export.files).items()
        except BadCheckpoint:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BadCheckpoint(
                f"{folder / _MANIFEST}: not of this package ({in_words(error)})"
            ) from error
        for name, wanted in files:
            if _sha256(folder, name) != wanted:
                raise BadCheckpoint(
                    f"{folder / name}: SHA-256 is not the one in {_MANIFEST}; "
                    "the file is damaged or of another export, copy the folder again"
                )
        return export

    @staticmethod
    def folder(weights: str | Path, form: str, precision: str) -> Path:
        """Where an export of a checkpoint lies that is beside it, and beside no link to it."""
        file = Path(os.path.realpath(weights))
        return file.with_name(f"{file.stem}_{form}_{precision}")

    def check_source(self, folder: Path, weights: Path) -> None:
        """Raises BadCheckpoint where the export in that folder is not one of these weights."""
        wanted, found = _source(weights), _source(folder / CHECKPOINT)
        found["sha256"] = self.files.get(CHECKPOINT)
        if other := [key for key, value in wanted.items() if found[key] != value]:
            raise BadCheckpoint(
                f"{folder}: was exported from a checkpoint with another {other[0]} than {weights}; "
                "export these weights again"
            )

    def signed(self, folder: Path) -> Export:
        """With the SHA-256 of every file that lies in the folder."""
        files = {file.name: _sha256(folder, file.name) for file in sorted(folder.iterdir())}
        return replace(self, files=files)

    def save(self, folder: Path) -> None:
        """Write export.json."""
        document = {"format": _FORMAT, **asdict(self)}
        (folder / _MANIFEST).write_text(json.dumps(document, indent=2) + "\n")


@dataclass(frozen=True, eq=False)
class Exported:
    """An export whose graphs are ready to run."""

    export: Export
    graphs: Mapping[str, _Graph]

    @classmethod
    def load(cls, folder: Path, export: Export) -> Exported:
        """Open the graphs of a folder.

        Raises BadConfig where the machine lacks the runtime or the precision.
        """
        if export.form in _PACKAGES:
            _check_backend(export.form)
        names = {name: f"{name}{SUFFIXES[export.form]}" for name in ("dense", "regions")}
        found = {name: file for name, file in names.items() if file in export.files}
        if "dense" not in found:
            raise BadCheckpoint(f"{folder}: {names['dense']} is not among the files of its export")
        how = export.form, export.precision
        return cls(export, {name: open_graph(folder / file, *how) for name, file in found.items()})

    def network(self, model: Model) -> _Network:
        """What computes in the place of that model's layers; its region head is exchanged as well.

        The model's own backbone and pyramid, most of its weights, are given up.
        """
        model.backbone.to("meta")
        model.pyramid.to("meta")
        return_memory()
        if isinstance(model, SegRPN):
            model.region_head.classify = self._classify  # type: ignore[method-assign]  # of one head
        return _Network(model, self.export, self.graphs["dense"])

    def _classify(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """As `RegionHead.classify`; graphs are made for two regions and more."""
        count = len(pooled)
        logits, deltas = self.graphs["regions"](F.pad(pooled, (0, 0, 0, 0, 0, max(0, 2 - count))))
        return logits[:count], deltas[:count]


@dataclass(frozen=True, eq=False)
class _Network:
    """`forward` of a model, computed by a graph."""

    model: Model
    export: Export
    graph: _Graph

    def __call__(self, inputs: Tensor) -> Output:
        """Normalised images [B, 3, H, W] in fp32; the last call is filled up."""
        anchors = self.model.anchors(tuple(inputs.shape[-2:]), inputs.device)
        named = dict(zip(self.export.outputs, self._tensors(inputs), strict=True))
        return assemble(self.export.model, anchors, named, self.export.empty)

    def _tensors(self, inputs: Tensor) -> list[Tensor]:
        batch = self.export.batch
        if len(inputs) == batch:
            return self.graph(inputs)
        filled = F.pad(inputs, (0,) * 7 + (-len(inputs) % batch,))
        # the next call may overwrite what a call returned
        calls = [[t.clone() for t in self.graph(part)] for part in torch.split(filled, batch)]
        return [torch.cat(parts)[: len(inputs)] for parts in zip(*calls, strict=True)]


def is_export(path: str | Path) -> bool:
    """Whether a path is that of an export, and not of a checkpoint."""
    return (Path(path) / _MANIFEST).is_file()


def open_export(path: str | Path, backend: str, device: str, precision: str) -> Exported:
    """The export in that folder, ready to run by the backend of its form.

    precision is the export's, or "auto". For a checkpoint's file it is the export beside it, where
    just one is of that form and precision; "auto" is any but int8 then. Raises BadConfig for what
    this machine lacks and BadCheckpoint for a folder that is damaged or of another form.
    """
    _check_backend(backend)
    folder = file = Path(os.path.realpath(path))
    if file.is_file():
        folder = _beside(file, backend, precision)
    if not is_export(folder):
        raise BadCheckpoint(
            f"{folder} is no export for backend {backend} (there is no {_MANIFEST} in it); "
            f"make one with python -m jointseg_core.export WEIGHTS --to {backend}"
        )
    export = Export.read(folder)
    if export.form != backend:
        raise BadCheckpoint(
            f"{folder} was exported to {export.form}, which backend {backend} does not run; "
            f"export again with --to {backend}"
        )
    if precision not in ("auto", export.precision):
        raise BadConfig(
            f"precision {precision!r}: {folder} was exported in {export.precision}; "
            f"say that or auto, or export again with --precision {precision}"
        )
    if device.split(":")[0] not in ("auto", export.device):
        raise BadConfig(f"device {device!r}: {folder} was exported to run on {export.device}")
    if file.is_file():
        export.check_source(folder, file)
    return Exported.load(folder, export)


def _beside(file: Path, backend: str, precision: str) -> Path:
    """The folder of the only export beside a checkpoint that is to run so. Raises BadCheckpoint."""
    there = {p: folder for p in LIMITS if (folder := Export.folder(file, backend, p)).is_dir()}
    wanted = [p for p in there if p == precision or (precision == "auto" and p != "int8")]
    if len(wanted) == 1:
        return there[wanted[0]]
    found = ", ".join(folder.name for folder in there.values())
    raise BadCheckpoint(
        f"{file}: {len(wanted) or 'no'} export{'s' * bool(wanted)} for backend {backend} in "
        f"precision {precision} beside it{found and f' among {found}'}; say the folder of one or "
        f"its precision, or make one with python -m jointseg_core.export {file} --to {backend}"
    )


def _check_backend(name: str) -> None:
    """Raises BadConfig for an unknown backend, and for one that is not installed here."""
    if name not in _PACKAGES:
        raise BadConfig(f"backend {name!r}; want one of {', '.join(_PACKAGES)}")
    if find_spec(_PACKAGES[name]) is None:
        here = [backend for backend, package in _PACKAGES.items() if find_spec(package)]
        raise BadConfig(
            f"backend {name!r} needs the Python package {_PACKAGES[name]}, which is not installed; "
            f"this machine has {', '.join(here)}"
        )


def _source(weights: Path) -> dict[str, Any]:
    """What has to be the same for an export to be one of these weights."""
    file = weights.with_suffix(".json")
    try:
        document = json.loads(_read(file))
        found = {key: document[key] for key in ("sha256", "model", "config", "preprocessing")}
        return found | {"sha256": found["sha256"].lower()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadCheckpoint(
            f"{file}: not a manifest of this package ({in_words(error)})"
        ) from error


def _sha256(folder: Path, name: str) -> str:
    """Of a file in that folder, in hexadecimal digits. Raises BadCheckpoint where it is missing."""
    if Path(name).name != name or not (folder / name).is_file():
        raise BadCheckpoint(f"{folder / name}: missing, but listed in {_MANIFEST}; copy it again")
    return hashlib.sha256(_read(folder / name, _LARGEST_GRAPH)).hexdigest()


def _read(path: Path, most: int = 1 << 24) -> bytes:
    with open_file(path, most) as file:
        return file.read()


def open_graph(file: Path, form: str, precision: str) -> _Graph:
    """The network of one input in a file, ready to run on `torch.get_num_threads` threads.

    form is one of SUFFIXES and says which runtime opens the file; OpenVINO opens ONNX files too.
    It computes in that precision, the others in what the file was written in. Raises BadConfig for
    a precision that this machine lacks, BadCheckpoint for a file that its runtime does not open.
    """
    try:
        return _OPENERS[form](file, precision)
    except (SegError, MemoryError):
        raise
    except Exception as error:  # a runtime raises what it likes
        raise BadCheckpoint(
            f"{file}: {form} cannot open it ({in_words(error)}); copy it again, or export again"
        ) from error


def _open_onnx(file: Path, precision: str) -> _Graph:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    # a thread that waits by spinning takes the core from the other nodes
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    (only,) = session.get_inputs()

    def run(tensor: Tensor) -> list[Tensor]:
        arrays = session.run(None, {only.name: tensor.contiguous().numpy()})
        return [torch.from_numpy(array) for array in arrays]

    return run


def openvino_precisions() -> list[str]:
    """What OpenVINO computes in on this CPU."""
    import openvino

    known = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [name for name in ("fp32", "bf16", "int8") if name.upper() in known]


def _open_openvino(file: Path, precision: str) -> _Graph:
    import openvino

    known = openvino_precisions()
    if precision not in known:
        raise BadConfig(
            f"precision {precision!r}: OpenVINO computes in {', '.join(known)} on this CPU"
        )
    rest = "f32" if precision == "fp32" or "bf16" not in known else "bf16"
    settings = {
        "INFERENCE_PRECISION_HINT": rest,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
    }
    model = _channels_last(openvino.Core().read_model(file))
    compiled = openvino.Core().compile_model(model, "CPU", settings)

    def run(tensor: Tensor) -> list[Tensor]:
        given = tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor
        found = compiled(given.contiguous().numpy(), share_outputs=True)
        tensors = (torch.from_numpy(array) for array in found.to_tuple())
        return [t.permute(0, 3, 1, 2) if t.ndim == 4 else t for t in tensors]

    return run


def _channels_last(model: Any) -> Any:
    """Maps go in and come out as OpenVINO computes them, so that none is copied."""
    from openvino import Layout
    from openvino.preprocess import PrePostProcessor

    changed = PrePostProcessor(model)
    for ends, part in ((model.inputs, changed.input), (model.outputs, changed.output)):
        for number, end in enumerate(ends):
            if len(end.partial_shape) == 4:
                part(number).model().set_layout(Layout("NCHW"))
                part(number).tensor().set_layout(Layout("NHWC"))
    return changed.build()


def _open_aoti(file: Path, precision: str) -> _Graph:
    package = torch._inductor.aoti_load_package(str(file))
    return lambda tensor: package(tensor.contiguous())  # as it was compiled, it does not look


def _open_torch_export(file: Path, precision: str) -> _Graph:
    return torch.export.load(file).module()


_OPENERS = {
    "onnx": _open_onnx,
    "openvino": _open_openvino,
    "aoti": _open_aoti,
    "torch-export": _open_torch_export,
}
