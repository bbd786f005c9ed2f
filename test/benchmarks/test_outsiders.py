"""Networks of others from ONNX files: what runs, what is refused, what the report says of them."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks.networks.__main__ import main
from benchmarks.networks.clock import StageClock
from benchmarks.networks.entries import build, count_objects, names_of
from benchmarks.networks.models import make_picture
from benchmarks.networks.outsiders import outsiders
from benchmarks.networks.report import report
from benchmarks.networks.settings import Settings, parse
from benchmarks.networks.summary import Results
from benchmarks.networks.worker import measure
from jointseg_core.command import exit_code
from jointseg_core.errors import BadConfig

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

FLOAT, UINT8, INT64 = (getattr(onnx.TensorProto, name) for name in ("FLOAT", "UINT8", "INT64"))
WEIGHT = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
OPEN = ["n", 3, "height", "width"]


def network(
    file: Path, shape: list | None, kind: int = FLOAT, others: dict[str, list] | None = None
) -> Path:
    """A convolution in a file. shape is that of its input `image`, others are more inputs."""
    helper = onnx.helper
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=FLOAT),
        helper.make_node("Conv", ["pixels", "weight"], ["found"], pads=[1] * 4, strides=[2, 2]),
    ]
    inputs = {"image": shape, **(others or {})}
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("found", FLOAT, None)],
        [onnx.numpy_helper.from_array(WEIGHT, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, file)
    return file


def settings_of(*arguments: object) -> Settings:
    tiny = ["--preset", "tiny", "--size", "64x128", "--threads", "1", "--baselines", "none"]
    return parse([*tiny, "--precision", "fp32", *map(str, arguments)])[0]


# What runs


@pytest.mark.parametrize("shape", [OPEN, ["n", "c", "side", "width"], [1, 3, 64, 128]])
@pytest.mark.parametrize("kind", [FLOAT, UINT8])
def test_both_runtimes_compute_the_network_at_our_size(
    tmp_path: Path, shape: list, kind: int
) -> None:
    settings = settings_of("--onnx", network(tmp_path / "a.onnx", shape, kind))
    picture = make_picture(settings)
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None] / (255 if kind == FLOAT else 1)
    wanted = F.conv2d(pixels.float(), torch.from_numpy(WEIGHT), padding=1, stride=2)
    for name in ("a:openvino-fp32", "a:onnx-fp32"):
        clock = StageClock("cpu")
        see = build(name, settings, clock)
        (found,) = see(picture)
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))
        assert list(measure(see, picture, clock)["stages"]) == ["net", "rest"]
        assert count_objects([found]) is None


def test_each_file_is_an_entry_in_each_runtime(tmp_path: Path) -> None:
    files = [network(tmp_path / name, OPEN) for name in ("ours-a.onnx", "peak-b.onnx")]
    names = names_of(settings_of("--onnx", *files))
    assert names[0] == "ours-fp32" and names[-1] == "peak-fp32"
    for stem in ("ours-a", "peak-b"):
        runs = [name.partition(":")[2] for name in names if name.startswith(f"{stem}:")]
        assert [run for run in runs if run != "openvino-bf16"] == ["openvino-fp32", "onnx-fp32"]


def test_weights_may_be_listed_as_inputs(tmp_path: Path) -> None:
    # as in files of before 2019
    file = network(tmp_path / "a.onnx", OPEN, others={"weight": list(WEIGHT.shape)})
    assert "a:onnx-fp32" in settings_of("--onnx", file).outsiders


def test_the_picture_may_have_another_size_than_the_network(tmp_path: Path) -> None:
    file = network(tmp_path / "a.onnx", OPEN)
    settings = settings_of("--onnx", file, "--image", "100x300")
    (found,) = build("a:onnx-fp32", settings, StageClock("cpu"))(make_picture(settings))
    assert found.shape == (1, 4, 32, 64)


# What is refused


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shape": [1, 3, 640, 640]}, "takes [1, 3, 640, 640], and our input is [1, 3, 64, 128]"),
        ({"shape": [8, 3, 64, 128]}, "takes [8, 3, 64, 128], and our input is [1, 3, 64, 128]"),
        ({"shape": ["n", 3, "side", "side"]}, "fixed size of 64 with 128"),
        ({"shape": [1, 64, 128, 3]}, "takes image, float [1, 64, 128, 3]; expected one image"),
        ({"shape": ["n", 1, "h", "w"]}, "takes image, float [?, 1, ?, ?]; expected one image"),
        ({"shape": OPEN, "kind": INT64}, "takes image, int64 [?, 3, ?, ?]; expected one image"),
        ({"shape": None}, "takes image, float []; expected one image"),
        (
            {"shape": OPEN, "others": {"sizes": [1, 2]}},
            "takes image, float [?, 3, ?, ?] and sizes, float [1, 2]; expected one image",
        ),
    ],
)
def test_what_is_no_network_of_one_image_is_refused_by_name(
    tmp_path: Path, given: dict, message: str, capsys: pytest.CaptureFixture
) -> None:
    file = network(tmp_path / "odd.onnx", **given)
    assert_refused(["--onnx", file], f"--onnx {file}: ", message, capsys)


def test_a_file_that_is_no_onnx_file_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    whole = network(tmp_path / "a.onnx", OPEN).read_bytes()
    damaged = whole.replace(b"Conv", b"Cnov")
    contents = {"text": b"# A page", "half": whole[: len(whole) // 2], "odd": damaged, "none": b""}
    messages = {"odd": "not opened by ONNX Runtime, ", "none": "takes nothing; expected one image"}
    for name, content in contents.items():
        file = tmp_path / f"{name}.onnx"
        file.write_bytes(content)
        message = messages.get(name, "no ONNX file to be read, ")
        assert_refused(["--onnx", file], f"--onnx {file}: ", message, capsys)
    assert_refused(["--onnx", tmp_path / "gone.onnx"], "gone.onnx", "No such file", capsys)
    assert_refused(["--onnx", tmp_path], str(tmp_path), "no ONNX file to be read", capsys)


def test_two_files_of_one_name_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "b").mkdir()
    files = [network(folder / "a.onnx", OPEN) for folder in (tmp_path, tmp_path / "b")]
    assert_refused(["--onnx", *files], "two files named a", "rename one", capsys)


def test_a_missing_runtime_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    file = network(tmp_path / "a.onnx", OPEN)
    monkeypatch.setattr("benchmarks.networks.runs.find_spec", lambda name: None)
    assert_refused(["--onnx", file], "needs", "onnxruntime and openvino; pip install", capsys)


def test_files_are_measured_on_a_cpu(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="on a CPU, not on cuda"):
        outsiders([network(tmp_path / "a.onnx", OPEN)], (64, 128), "cuda")


def assert_refused(
    arguments: list, named: str, message: str, capsys: pytest.CaptureFixture
) -> None:
    """In one sentence, with exit code 2."""
    assert exit_code(lambda: main(["--size", "64x128", *map(str, arguments)])) == 2
    said = capsys.readouterr()
    assert named in said.err and message in said.err
    assert len(said.err.splitlines()) == 1 and not said.out


# What is said of them


def test_the_report_says_that_an_outsider_is_its_network_alone(tmp_path: Path) -> None:
    settings = settings_of("--onnx", network(tmp_path / "ours-a.onnx", OPEN))
    rounds, facts = {}, {}
    for name, ms in (("ours-fp32", 3.0), ("ours-a:onnx-fp32", 6.0)):
        frame = {"wall_ms": ms, "cpu_ms": ms, "faults": 0, "stages": {"net": [ms, ms]}}
        rounds[name] = [[frame]]
        facts[name] = {"objects": None, "memory_mb": 1.0, "gflop": 0.0}
    document = {
        "settings": asdict(settings),
        "machine": {"processor": "", "cores": 1, "torch": ""},
        "gate": {"pipeline": {}},
        "crop_share": 0.0,
        "load_average": [0.0],
        **Results(settings, rounds, facts).document(),
    }
    told = report(document)
    assert "The network alone, without decoding: ours-a:onnx-fp32." in told
    assert "ours-fp32 vs ours-a:onnx-fp32: 2.00" in told
    measured = {name: one["measured"] for name, one in document["contenders"].items()}
    assert measured == {
        "ours-fp32": "from picture to results",
        "ours-a:onnx-fp32": "the network alone, without decoding",
    }


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_against_an_outsider(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file, told = network(tmp_path / "a.onnx", OPEN), tmp_path / "out.json"
    small = ["--preset", "tiny", "--size", "64x128", "--dets", "3", "--rounds", "1"]
    ours = ["--threads", "1", "--baselines", "none", "--precision", "fp32"]
    others = ["--backends", "torch,openvino", "--onnx", str(file), "--json", str(told)]
    assert main([*small, *ours, *others]) == 0
    said = capsys.readouterr().out
    assert "ours-openvino-fp32 vs ours-fp32" in said
    assert "ours-openvino-fp32 vs a:onnx-fp32" in said
    entries = json.loads(told.read_text())["contenders"]
    operations = {name: one["gflop"] for name, one in entries.items()}
    assert operations["ours-openvino-fp32"] == operations["ours-fp32"] > operations["a:onnx-fp32"]
    assert entries["ours-openvino-fp32"]["share_after_net"]["value"] > 0
    assert entries["a:onnx-fp32"]["share_after_net"] is None
