"""What people write for parameters, taken as it is meant; and what of it nobody reads, said.

1 stands for 1.0, an empty list, which has no type of its own, for one of the declared type, and
`car,bus` for the list of both.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

from jointseg_core.errors import BadConfig
from jointseg_ros.parameter_files import matches, sections

_OF_ROS = ("qos_overrides.", "use_sim_time", "start_type_description_service")
_LISTS = range(Parameter.Type.BYTE_ARRAY.value, Parameter.Type.STRING_ARRAY.value + 1)
_NEAR = 0.75
"""How alike two names are of which one may be meant for the other, of 1."""
_SAID = 100
"""Letters of a name that are told."""


def as_declared(parameter: Parameter, kind: Parameter.Type) -> Parameter:
    """The parameter as one of the declared type, where that means the same; else as it is."""
    if kind is Parameter.Type.DOUBLE and parameter.type_ is Parameter.Type.INTEGER:
        return Parameter(parameter.name, kind, float(parameter.value))
    if kind is Parameter.Type.STRING_ARRAY and parameter.type_ is Parameter.Type.STRING:
        return Parameter(parameter.name, kind, parameter.value.split(","))
    if kind.value in _LISTS and parameter.type_.value in _LISTS and not len(parameter.value):
        return Parameter(parameter.name, kind, [])
    return parameter


def take_as_declared(node: Node) -> None:
    """Let changes of the parameters that are declared by now be taken `as_declared`."""

    def taken(changes: Sequence[Parameter]) -> list[Parameter]:
        known = [one for one in changes if node.has_parameter(one.name)]
        kinds = {one.name: Parameter.Type(node.describe_parameter(one.name).type) for one in known}
        return [as_declared(one, kinds.get(one.name, one.type_)) for one in changes]

    if hasattr(node, "add_pre_set_parameters_callback"):  # not on Humble
        node.add_pre_set_parameters_callback(taken)


def overrides(node: Node) -> dict[str, Parameter]:
    """What was given at the start; rclpy has no other way to it."""
    return node._parameter_overrides


def declare(node: Node, name: str, default: Any, descriptor: Any) -> Any:
    """Declare a parameter that has a value from then on, and return the value.

    Raises BadConfig with the reason where what was given does not fit.
    """
    kind = (
        Parameter.Type.STRING_ARRAY
        if isinstance(default, list)
        else Parameter.Type.from_parameter_value(default)
    )
    if name in overrides(node):
        overrides(node)[name] = as_declared(overrides(node)[name], kind)
    try:
        if default != []:
            node.declare_parameter(name, default, descriptor)
        elif node.declare_parameter(name, kind, descriptor).value is None:
            node.set_parameters([Parameter(name, kind, [])])
        return node.get_parameter(name).value
    except ParameterException as error:
        raise BadConfig(f"{error}") from error


def unknown(node: Node, parameters: Iterable[Parameter]) -> str:
    """What of these the node has not declared, in sentences; empty for none."""
    declared = node.list_parameters([], 0).names
    return "; ".join(unheard_parameters((one.name for one in parameters), declared))


def warn_of_unheard(node: Node, arguments: Sequence[str]) -> None:
    """Log what this command line gives to a node that the node does not read."""
    declared = node.list_parameters([], 0).names
    for sentence in (
        *unheard_parameters(overrides(node), declared),
        *unheard_sections(arguments, node.get_fully_qualified_name()),
    ):
        node.get_logger().warning(sentence)


def unheard_parameters(given: Iterable[str], declared: Sequence[str]) -> Iterator[str]:
    """A sentence for each name that was given, is not declared, and is like one that is.

    The others are one sentence at the end: a file for all nodes of a robot has many of them.
    """
    others = []
    for name in given:
        if name in declared or name.startswith(_OF_ROS):
            continue
        alike = [one for one in declared if _alike(name, one)]
        if near := difflib.get_close_matches(name, alike, 1, _NEAR):
            yield f"no parameter is called {name}; did you mean {near[0]}?"
        else:
            others.append(f"{name:.{_SAID}}")
    if others:
        yield f"parameters that this node does not have were given: {', '.join(others)}"


def _alike(name: str, other: str) -> bool:
    """Whether each part is: `cameras.left.bits` is not what `cameras.camera.bits` may mean."""
    if name.count(".") != other.count("."):
        return False
    pairs = zip(name.split("."), other.split("."), strict=True)
    matchers = [difflib.SequenceMatcher(None, *pair) for pair in pairs]
    bounded = all(one.real_quick_ratio() >= _NEAR for one in matchers)  # by their lengths alone
    return bounded and all(one.ratio() >= _NEAR for one in matchers)


def unheard_sections(arguments: Sequence[str], node_name: str) -> Iterator[str]:
    """A sentence for each parameter file in a command line that seems to miss the node's full name.

    It has no section for the node, or none but for all nodes and one of a name that is like it.
    """
    for word, file in pairwise(arguments):
        if word != "--params-file":
            continue
        names = list(sections(file))
        matching = [section for section in names if matches(section, node_name)]
        own = node_name.rpartition("/")[2]
        if not matching:
            yield f"{file} has no section for {node_name}; it has {', '.join(names) or 'none'}"
        elif all(section.endswith("*") for section in matching):
            last = {section.rpartition("/")[2]: section for section in names}
            for near in difflib.get_close_matches(own, last.keys() - {own}, 1, _NEAR):
                yield f"{last[near]} in {file} is not {node_name}; did you mean that?"
