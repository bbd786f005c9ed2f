"""A program that ROS does not let start says why in one sentence, and ends with the code for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="no rclpy: neither a ROS 2 nor its wheels are here")

from jointseg_core.errors import BadConfig
from jointseg_ros.start import own_arguments, parser_of_none, start_ros

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--params-file /nowhere.yaml", "'--params-file /nowhere.yaml'. Error: Error opening YAML"),
        ("-r foo", "Couldn't parse remap rule: '-r foo'"),
        ("-r __node:=bad-name", "'-r __node:=bad-name'"),
        ("-r __ns:=relative", "'-r __ns:=relative'"),
        ("-p score_threshold", "Couldn't parse parameter override rule: '-p score_threshold'"),
        ("--log-level nonsense", "does not use a valid severity level"),
        ("--enclave relative", "it must lead with a '/'"),
        ("--nonsense", "nobody knows ['--nonsense']"),
    ],
)
def test_arguments_that_rcl_refuses_are_bad_config(words: str, reason: str) -> None:
    with pytest.raises(BadConfig) as refused:
        start_ros(["program", "--ros-args", *words.split()])
    assert reason in f"{refused.value}" and "project/src" not in f"{refused.value}"


def test_a_broken_file_of_parameters_is_bad_config(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("/**:\n  ros__parameters:\n    a: [1, 'b']\n")
    with pytest.raises(BadConfig, match=r"broken.yaml.* line_num 3"):
        start_ros(["program", "--ros-args", "--params-file", str(tmp_path / "broken.yaml")])


def test_a_domain_that_is_no_number_is_bad_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "seven")
    with pytest.raises(BadConfig, match="ROS_DOMAIN_ID is not an integral number"):
        start_ros(["program"])


def test_a_program_s_own_arguments_are_without_those_of_ros(monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["player", "a.mcap", "--ros-args", "-p", "b:=1", "--", "-x"])
    assert own_arguments() == ["a.mcap", "-x"]
    monkeypatch.setattr(sys, "argv", ["player", "a.mcap", "--ros-args", "-r", "foo"])
    with pytest.raises(BadConfig, match="-r foo"):
        own_arguments()


def test_words_before_those_for_ros_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    parser = parser_of_none("perception_node", "The node")
    assert vars(parser.parse_args(own_arguments(["x", "--ros-args", "-p", "a:=1"]))) == {}
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(own_arguments(["x", "score_threshold:=0.5"]))
    said = capsys.readouterr().err
    assert "unrecognized arguments: score_threshold:=0.5" in said
    with pytest.raises(SystemExit, match="0"):
        parser.parse_args(own_arguments(["x", "--help"]))
    assert "--params-file FILE" in capsys.readouterr().out


NODE = "jointseg_ros.perception_node"
NO_LOGS = {"ROS_LOG_DIR": "/proc/none"}


@pytest.mark.parametrize(
    ("module", "words", "variables", "code", "reason"),
    [
        (NODE, "--ros-args -r foo", {}, 2, "perception_node: Couldn't parse remap rule: '-r foo'"),
        ("jointseg_ros.player", "a.mcap --ros-args -r foo", {}, 2, "'-r foo'"),
        ("jointseg_ros.recorder", "a.mcap --topics /a", NO_LOGS, 5, "set ROS_LOG_DIR to a"),
    ],
)
def test_programs_end_with_the_reason_and_its_code(module, words, variables, code, reason) -> None:
    command = [sys.executable, "-m", module, *words.split()]
    environment = os.environ | variables
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stderr
    assert reason in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
