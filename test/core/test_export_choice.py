"""Backend "auto" takes the export beside the weights that was faster than torch, or torch."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jointseg_core import CITYSCAPES, BadCheckpoint, Predictor, Preprocessing, preset, save_model
from jointseg_core.checkpoint import build_model, shipped_weights
from jointseg_core.command import exit_code
from jointseg_core.export.__main__ import main
from jointseg_core.export.backends import Export
from jointseg_core.export.model import Request, export_model
from jointseg_core.predictor import choose_device, choose_precision, precisions_of

pytestmark = [
    pytest.mark.timeout(600),  # tracing alone takes minutes on a busy machine
    pytest.mark.skipif(
        not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))), reason="no onnx packages"
    ),
]
AUTO = choose_precision("auto", torch.device("cpu"))
"""What torch computes in on this CPU when nobody says it."""
COMPUTED = precisions_of(torch.device("cpu"))
GRAY = [np.full((64, 128, 3), 128, np.uint8)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with its exports for fp32 beside it."""
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    torch.manual_seed(0)
    model = build_model(preset("rdsnet", "tiny"))
    save_model(model, path, CITYSCAPES, Preprocessing((64, 128)))
    for form in ("onnx", "openvino"):
        if find_spec(form):
            export_model(Request(path, form))
    return path


@pytest.fixture
def alone(weights: Path, tmp_path: Path) -> Path:
    """The same checkpoint without exports."""
    for suffix in (".safetensors", ".json"):
        shutil.copy(weights.with_suffix(suffix), tmp_path)
    return tmp_path / weights.name


def change(folder: Path, **changes: Any) -> Path:
    """Let export.json of a folder say something else."""
    document = json.loads((folder / "export.json").read_text()) | changes
    (folder / "export.json").write_text(json.dumps(document))
    return folder


def export_beside(
    alone: Path, weights: Path, form: str, precision: str = "fp32", **times: float
) -> Path:
    """A copy of the export to that form; it says that it is in that precision and took so long."""
    original = Export.folder(weights, form, "fp32")
    if not original.is_dir():
        pytest.skip(f"{form} is not installed")
    check = json.loads((original / "export.json").read_text())["self_check"]
    folder = shutil.copytree(original, Export.folder(alone, form, precision))
    return change(folder, precision=precision, self_check=check | {"time_to_torch": times})


def test_an_export_lies_beside_its_weights_and_says_how_long_it_took(weights: Path) -> None:
    folder = weights.with_name("net_onnx_fp32")
    times = Export.read(folder).self_check["time_to_torch"]
    assert list(times) == COMPUTED and all(0.01 < ratio < 100 for ratio in times.values())


def test_without_a_precision_the_one_of_this_cpu_is_exported(alone: Path) -> None:
    request = Request(alone, "torch-export", precision="auto")
    assert (request.precision, request.folder.name) == (AUTO, f"net_torch-export_{AUTO}")
    request = Request(alone, "onnx", precision="auto")
    assert request.precision == "fp32"  # ONNX Runtime has no bf16


def test_without_weights_the_shipped_ones_are_exported(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def noted(request: Request) -> Export:
        asked.append(request)
        return Export.read(weights.with_name("net_onnx_fp32"))

    monkeypatch.setattr("jointseg_core.export.__main__.export_model", noted)
    monkeypatch.setattr(sys, "argv", ["export", "--to", "onnx"])
    assert exit_code(main) == 0
    shipped = shipped_weights("joint")
    assert asked == [Request(shipped, "onnx")]
    assert asked[0].folder == shipped.with_name("joint_lite_onnx_fp32")


# Exports by form and precision, each with its time relative to torch in fp32.
CASES = [
    ({}, "fp32", "torch"),
    ({("onnx", "fp32"): 0.5}, "fp32", "onnx"),
    ({("onnx", "fp32"): 0.99}, "fp32", "onnx"),
    ({("onnx", "fp32"): 1.0}, "fp32", "torch"),
    ({("onnx", "fp32"): 1.5}, "fp32", "torch"),
    ({("onnx", "fp32"): float("nan")}, "fp32", "torch"),
    ({("onnx", "fp32"): -1.0}, "fp32", "torch"),
    ({("onnx", "fp32"): 0.9, ("openvino", "fp32"): 0.6}, "fp32", "openvino"),
    ({("onnx", "fp32"): 0.6, ("openvino", "fp32"): 0.9}, "fp32", "onnx"),
    ({("onnx", "fp32"): 0.6, ("openvino", "fp32"): 0.6}, "fp32", "openvino"),
    ({("onnx", "fp32"): 0.6, ("openvino", "fp32"): 1.1}, "fp32", "onnx"),
    ({("onnx", "int8"): 0.1}, "fp32", "torch"),
    ({("onnx", "int8"): 0.1}, "auto", "torch"),
    ({("onnx", "fp16"): 0.1}, "auto", "torch"),
    ({("onnx", "bf16"): 0.1}, "fp32", "torch"),
    ({("onnx", "int8"): 0.1, ("onnx", "fp32"): 0.9}, "fp32", "onnx"),
]


@pytest.mark.parametrize(("exports", "precision", "backend"), CASES)
def test_the_fastest_export_that_fits_is_taken(
    exports: dict[tuple[str, str], float],
    precision: str,
    backend: str,
    alone: Path,
    weights: Path,
) -> None:
    for (form, its_precision), ratio in exports.items():
        export_beside(alone, weights, form, its_precision, fp32=ratio, bf16=ratio)
    predictor = Predictor.from_file(alone, "cpu", precision)
    assert predictor.backend == backend and len(predictor(GRAY)) == 1
    assert predictor.weights == alone
    for form, its_precision in exports:
        assert f"net_{form}_{its_precision} " in predictor.reason
    assert predictor.reason


def test_auto_precision_compares_with_torch_in_the_precision_of_this_cpu(
    alone: Path, weights: Path
) -> None:
    others = {precision: 0.1 for precision in COMPUTED if precision != AUTO}
    folder = export_beside(alone, weights, "onnx", **others | {AUTO: 1.1})
    assert Predictor.from_file(alone, "cpu", "auto").backend == "torch"
    shutil.rmtree(folder)
    export_beside(alone, weights, "onnx", **{AUTO: 0.9})
    found = Predictor.from_file(alone, "cpu", "auto")
    assert (found.backend, found.precision) == ("onnx", "fp32")  # fp32 loses nothing


@pytest.mark.skipif("bf16" not in COMPUTED, reason="this CPU does not compute in bf16")
def test_auto_precision_is_either_of_what_this_cpu_computes_in(alone: Path, weights: Path) -> None:
    export_beside(alone, weights, "onnx", "bf16", fp32=0.6, bf16=0.6)
    export_beside(alone, weights, "openvino", "fp32", fp32=0.7, bf16=0.7)
    for precision, backend in (("auto", "onnx"), ("bf16", "onnx"), ("fp32", "openvino")):
        assert Predictor.from_file(alone, "cpu", precision).backend == backend


def test_an_export_of_several_images_is_no_choice_for_one(alone: Path, weights: Path) -> None:
    change(export_beside(alone, weights, "onnx", fp32=0.1, bf16=0.1), batch=4)
    predictor = Predictor.from_file(alone, "cpu")
    assert predictor.backend == "torch" and "4 images in a call" in predictor.reason


def test_an_old_export_that_says_no_time_is_no_choice(alone: Path, weights: Path) -> None:
    export_beside(alone, weights, "onnx")
    predictor = Predictor.from_file(alone, "cpu")
    assert predictor.backend == "torch" and "export again" in predictor.reason


def test_code_is_run_by_its_name_only(alone: Path, weights: Path) -> None:
    change(export_beside(alone, weights, "onnx", fp32=0.1), form="aoti")
    predictor = Predictor.from_file(alone, "cpu")
    assert predictor.backend == "torch"
    assert "aoti in fp32, which was not asked for" in predictor.reason


def test_weights_that_have_to_have_a_sum_are_run_by_torch(alone: Path, weights: Path) -> None:
    """It says nothing of the graphs, which anybody could have laid beside the weights."""
    export_beside(alone, weights, "onnx", fp32=0.1)
    sha256 = hashlib.sha256(alone.read_bytes()).hexdigest()
    predictor = Predictor.from_file(alone, "cpu", sha256=sha256)
    assert predictor.backend == "torch" and "SHA-256" in predictor.reason


def test_a_link_to_weights_leads_to_the_exports_beside_them(alone: Path, weights: Path) -> None:
    export_beside(alone, weights, "onnx", fp32=0.1)
    link = alone.with_name("current.safetensors")
    link.symlink_to(alone)
    for backend in ("auto", "onnx"):
        assert Predictor.from_file(link, "cpu", backend=backend).backend == "onnx"


def test_the_folder_of_an_export_is_judged_as_one_beside_the_weights(
    alone: Path, weights: Path
) -> None:
    folder = export_beside(alone, weights, "onnx", fp32=0.5)
    found = Predictor.from_file(folder, "cpu")
    assert (found.backend, found.weights) == ("onnx", folder)
    change(folder, self_check={})
    with pytest.warns(UserWarning, match="left out"):
        assert Predictor.from_file(folder, "cpu").backend == "torch"


def damaged_graph(folder: Path) -> None:
    (folder / "dense.onnx").write_bytes(b"?")


def graph_of_nonsense(folder: Path) -> None:
    """Its SHA-256 is right."""
    files = json.loads((folder / "export.json").read_text())["files"]
    (folder / "dense.onnx").write_bytes(b"?")
    change(folder, files=files | {"dense.onnx": hashlib.sha256(b"?").hexdigest()})


def no_graph(folder: Path) -> None:
    files = json.loads((folder / "export.json").read_text())["files"]
    change(folder, files={name: value for name, value in files.items() if name != "dense.onnx"})


def cut_short(folder: Path) -> None:
    (folder / "export.json").write_text("{")


def empty(folder: Path) -> None:
    (folder / "export.json").unlink()


def bad_check(folder: Path) -> None:
    check = json.loads((folder / "export.json").read_text())["self_check"]
    change(folder, self_check=check | {"largest_error": 0.5})


def other_precision(folder: Path) -> None:
    change(folder, precision="fp8")


def times_of_nonsense(folder: Path) -> None:
    check = json.loads((folder / "export.json").read_text())["self_check"]
    change(folder, self_check=check | {"time_to_torch": {"fp32": "fast"}})


def other_weights(folder: Path) -> None:
    torch.manual_seed(1)
    model = build_model(preset("rdsnet", "tiny"))
    save_model(model, folder.with_name("net.safetensors"), CITYSCAPES, Preprocessing((64, 128)))


def other_input(folder: Path) -> None:
    manifest = folder.with_name("net.json")
    document = json.loads(manifest.read_text())
    document["preprocessing"]["input_size"] = [128, 128]
    manifest.write_text(json.dumps(document))


DAMAGES = {
    damaged_graph: "dense.onnx: SHA-256",
    graph_of_nonsense: "onnx",
    no_graph: "dense.onnx is not among the files",
    cut_short: "export.json: not of this package",
    empty: "export.json: not of this package",
    bad_check: "did not pass its self-check: .* is off by 0.5",
    other_precision: "fp8",
    times_of_nonsense: "fast",
    other_weights: "another sha256",
    other_input: "another preprocessing",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_what_is_damaged_or_foreign_is_left_out_with_a_warning(
    damage: Callable[[Path], None], alone: Path, weights: Path
) -> None:
    damage(export_beside(alone, weights, "onnx", fp32=0.1))
    with pytest.warns(UserWarning, match=f"(?s)net_onnx_fp32 is left out.*{DAMAGES[damage]}"):
        predictor = Predictor.from_file(alone, "cpu")
    assert predictor.backend == "torch" and len(predictor(GRAY)) == 1
    assert "of torch's time" not in predictor.reason  # nothing of it counts


def test_the_next_best_is_taken_where_the_best_cannot_be_opened(
    alone: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_beside(alone, weights, "openvino", fp32=0.1)
    export_beside(alone, weights, "onnx", fp32=0.9)
    there = find_spec
    monkeypatch.setattr(
        "jointseg_core.export.backends.find_spec",
        lambda name: None if name == "openvino" else there(name),
    )
    with pytest.warns(UserWarning, match="net_openvino_fp32 is left out.*not installed"):
        assert Predictor.from_file(alone, "cpu").backend == "onnx"


def test_a_gpu_keeps_torch(alone: Path, weights: Path) -> None:
    if choose_device("auto").type == "cpu":
        pytest.skip("no GPU here")
    export_beside(alone, weights, "onnx", fp32=0.1)
    predictor = Predictor.from_file(alone)
    assert predictor.backend == "torch" and "GPU" in predictor.reason


# By name


def test_a_backend_by_name_finds_the_only_export_beside_the_weights(
    alone: Path, weights: Path
) -> None:
    export_beside(alone, weights, "onnx", fp32=2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor = Predictor.from_file(alone, "cpu", "auto", backend="onnx")
    assert (predictor.backend, predictor.weights, predictor.reason) == ("onnx", alone, "")


@pytest.mark.parametrize(
    ("precisions", "precision", "reason"),
    [
        ((), "auto", "no export for backend onnx"),
        (("int8",), "auto", "no export .* among net_onnx_int8; say the folder"),
        (("fp32", "bf16"), "auto", "2 exports .* among net_onnx_fp32, net_onnx_bf16"),
        (("int8",), "fp32", "no export for backend onnx in precision fp32"),
    ],
)
def test_none_and_several_are_refused_by_name(
    precisions: tuple[str, ...], precision: str, reason: str, alone: Path, weights: Path
) -> None:
    for one in precisions:
        export_beside(alone, weights, "onnx", one)
    with pytest.raises(BadCheckpoint, match=reason) as refused:
        Predictor.from_file(alone, "cpu", precision, backend="onnx")
    assert "\n" not in str(refused.value)


def test_the_precision_tells_several_apart(alone: Path, weights: Path) -> None:
    for one in ("fp32", "bf16", "int8"):
        export_beside(alone, weights, "onnx", one)
    for one in ("fp32", "bf16", "int8"):
        assert Predictor.from_file(alone, "cpu", one, backend="onnx").precision == one


@pytest.mark.parametrize("damage", [damaged_graph, cut_short, other_weights, other_input])
def test_what_is_damaged_or_foreign_is_refused_by_name(
    damage: Callable[[Path], None], alone: Path, weights: Path
) -> None:
    damage(export_beside(alone, weights, "onnx"))
    with pytest.raises(BadCheckpoint, match=DAMAGES[damage]):
        Predictor.from_file(alone, "cpu", backend="onnx")
