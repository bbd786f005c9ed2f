"""The SROS2 policy allows what the running nodes open, and nothing else."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

pytest.importorskip("jointseg_msgs.msg", reason="the messages are not built")

sys.path.insert(0, str(Path(__file__).parents[1]))
pytest.register_assert_rewrite("node_bench")
pytest_plugins = ["node_bench"]

from node_bench import Bench, until
from rclpy.parameter import Parameter

from jointseg_ros.outputs import ANNOTATIONS

POLICY = Path(__file__).parents[2] / "launch" / "config" / "sros2_policy.xml"
NEWER = {"get_type_description"}  # not in Humble


def allowed(node: str) -> dict[str, set[str]]:
    """publish, subscribe, reply and request: full names."""
    enclave = ElementTree.parse(POLICY).find(f".//enclave[@path='/{node}']")
    [profile] = enclave.findall("profiles/profile")
    assert (profile.get("ns"), profile.get("node")) == ("/", node)
    found: dict[str, set[str]] = {"publish": set(), "subscribe": set(), "reply": set()}
    for group in profile:
        for action, word in group.attrib.items():
            assert word == "ALLOW" and "*" not in "".join(group.itertext())
            names = {entry.text.replace("~/", f"/{node}/") for entry in group}
            found.setdefault(action, set()).update(names)
    return found


@pytest.mark.parametrize("model", ["rdsnet", "segrpn", "joint"])
def test_the_policy_is_what_the_running_node_opens(bench: Bench, model: str) -> None:
    overrides = [
        Parameter("model.type", value=model),
        Parameter("model.weights", value=str(bench.weights[model])),
    ]
    node = bench.start_named(model, overrides)
    until(lambda: node.receiving)
    names = {topic.name for topic in ANNOTATIONS}  # with Foxglove's messages there is one more

    def opened(kind: str) -> set[str]:
        found = getattr(node, f"get_{kind}_names_and_types_by_node")(model, "/")
        return {name for name, _ in found if name.rpartition("/")[2] not in names}

    wanted = allowed(model)
    assert opened("publisher") == wanted["publish"]
    assert opened("subscriber") == wanted["subscribe"]
    assert opened("client") == wanted.get("request", set())
    missing = wanted["reply"] - opened("service")
    assert opened("service") <= wanted["reply"]
    assert {name.rpartition("/")[2] for name in missing} <= NEWER
