"""What people write for parameters is taken as it is meant, and what nobody reads is said."""

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="no rclpy: neither a ROS 2 nor its wheels are here")

from rclpy.parameter import Parameter

from jointseg_ros.given import as_declared, unheard_parameters, unheard_sections

DECLARED = ["score_threshold", "cameras.front.image_topic", "model.weights", "device"]
Type = Parameter.Type


@pytest.mark.parametrize(
    ("kind", "given", "type_", "value"),
    [
        (Type.DOUBLE, Parameter("p", value=1), Type.DOUBLE, 1.0),
        (Type.DOUBLE, Parameter("p", value="1"), Type.STRING, "1"),
        (Type.DOUBLE, Parameter("p", value=True), Type.BOOL, True),
        (Type.INTEGER, Parameter("p", value=1), Type.INTEGER, 1),
        (Type.STRING_ARRAY, Parameter("p", Type.BOOL_ARRAY, []), Type.STRING_ARRAY, []),
        (Type.STRING_ARRAY, Parameter("p", value=[True]), Type.BOOL_ARRAY, [True]),
        (Type.STRING_ARRAY, Parameter("p"), Type.NOT_SET, None),
    ],
)
def test_what_means_the_same_becomes_the_declared_type(kind, given, type_, value) -> None:
    taken = as_declared(given, kind)
    assert (taken.type_, taken.value) == (type_, value)


@pytest.mark.parametrize(
    ("names", "sentences"),
    [
        (["device", "use_sim_time", "qos_overrides./a.subscription.depth"], []),
        (
            ["score_treshold"],
            ["no parameter is called score_treshold; did you mean score_threshold?"],
        ),
        (
            ["max_speed", "weights", "cameras.rear.image_topic", "cameras.fornt.image_topic"],
            [
                "no parameter is called cameras.fornt.image_topic; "
                "did you mean cameras.front.image_topic?",
                "parameters that this node does not have were given: "
                "max_speed, weights, cameras.rear.image_topic",
            ],
        ),
    ],
)
def test_a_misspelt_parameter_is_said_with_the_nearest_name(names, sentences) -> None:
    assert list(unheard_parameters(names, DECLARED)) == sentences


def file_of(folder: Path, *sections: str) -> list[str]:
    file = folder / "given.yaml"
    file.write_text("".join(f"{one}:\n  ros__parameters:\n    device: cpu\n" for one in sections))
    return ["--ros-args", "--params-file", str(file)]


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        (["/**"], ""),
        (["joint"], ""),
        (["/**/joint", "/**/rdsnet", "/**/segrpn"], ""),
        (["/*/rdsnet", "/**"], ""),
        (["/**/joints", "/**/joint"], ""),
        (["/jiont"], "has no section for /joint; it has /jiont"),
        (["/*/joint"], "has no section for /joint; it has /*/joint"),
        (["/**", "/jiont"], "is not /joint; did you mean that?"),
    ],
)
def test_a_misspelt_node_in_a_file_is_said(sections, sentence, tmp_path: Path) -> None:
    said = list(unheard_sections(file_of(tmp_path, *sections), "/joint"))
    assert len(said) == bool(sentence)
    assert all(sentence in one for one in said)


def test_sections_may_be_nested_and_in_a_namespace(tmp_path: Path) -> None:
    file = tmp_path / "nested.yaml"
    file.write_text("car:\n  joint:\n    ros__parameters:\n      device: cpu\n")
    words = ["--params-file", str(file)]
    assert list(unheard_sections(words, "/car/joint")) == []
    assert "it has /car/joint" in next(unheard_sections(words, "/joint"))
