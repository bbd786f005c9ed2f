"""Backends and precisions of the benchmark's entries: what names mean, what there is."""

import pytest

from benchmarks.networks.__main__ import main
from benchmarks.networks.entries import names_of
from benchmarks.networks.runs import Run, kind_of
from benchmarks.networks.settings import Settings, parse
from jointseg_core.command import exit_code


def settings_of(*arguments: str) -> Settings:
    return parse(["--preset", "tiny", "--baselines", "none", *arguments])[0]


@pytest.mark.parametrize(
    ("name", "kind", "run"),
    [
        ("ours-fp32", "ours", Run("torch", "fp32", 1)),
        ("ours-bf16-x4", "ours", Run("torch", "bf16", 4)),
        ("both-openvino-int8", "both", Run("openvino", "int8", 1)),
        ("ours-x8-x4:openvino-bf16", "file", Run("openvino", "bf16", 1)),  # of ours-x8-x4.onnx
        ("deeplab-treated", "deeplab", Run("torch", "bf16", 1)),
        ("yolact-bf16", "yolact", Run("torch", "bf16", 1)),
        ("released", "released", Run("torch", "fp32", 1)),
    ],
)
def test_an_entry_is_and_runs_as_its_name_says(name: str, kind: str, run: Run) -> None:
    assert (kind_of(name), Run.of(name)) == (kind, run)


def test_each_backend_has_an_entry_in_each_precision_that_it_has() -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("onnxscript")
    settings = settings_of("--precision", "fp32", "--backends", "torch,openvino,onnx")
    assert settings.runs == ("fp32", "openvino-fp32", "onnx-fp32")
    assert names_of(settings) == [*(f"ours-{run}" for run in settings.runs), "peak-fp32"]
    assert settings_of("--precision", "fp32,fp32").runs == ("fp32",)


def test_int8_is_refused_without_what_makes_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("benchmarks.networks.runs.find_spec", lambda name: None)
    assert exit_code(lambda: main(["--precision", "int8"])) == 2
    assert "needs openvino and nncf" in capsys.readouterr().err
