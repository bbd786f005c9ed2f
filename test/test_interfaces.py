"""The built messages are those of the definitions, and keep the hashes of their types."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def fields(file: Path) -> dict[str, str]:
    """Name to type, in order, as a .msg file declares them; constants left out."""
    lines = [line.split("#")[0].strip() for line in file.read_text().splitlines()]
    pairs = [line.split() for line in lines if line and "=" not in line]
    return {name: kind for kind, name in pairs}


def built_fields(message: type) -> dict[str, str]:
    return {
        name: kind.replace("sequence<", "").replace(">", "[]")
        for name, kind in message.get_fields_and_field_types().items()
    }


PLAIN = {"bool": "boolean", "float32": "float", "float64": "double"}


def as_built(kind: str, package: str) -> str:
    """A type of a .msg file as the generated class calls it."""
    base, array = re.fullmatch(r"([\w/]+)((?:\[\])?)", kind).groups()
    if base[0].isupper():
        base = f"{package}/{base}"
    return PLAIN.get(base, base) + array


@pytest.mark.parametrize("package", ["jointseg_msgs", "vision_msgs"])
def test_the_built_messages_are_those_of_the_definitions(package: str) -> None:
    built = pytest.importorskip(f"{package}.msg", reason="the messages are not built")
    folder = ROOT if package == "jointseg_msgs" else ROOT / "tools" / "interfaces" / "vision_msgs"
    files = sorted((folder / "msg").glob("*.msg"))
    assert len(files) == {"jointseg_msgs": 5, "vision_msgs": 16}[package]
    for file in files:
        wanted = {name: as_built(kind, package) for name, kind in fields(file).items()}
        found = built_fields(getattr(built, file.stem))
        assert list(found.items()) == list(wanted.items()), file.name


# The hashes by which two ROS 2 nodes recognise that they speak of the same type. Those of
# vision_msgs are the public ones; changing one of ours breaks every recorded bag.
TYPE_HASHES = {
    "jointseg_msgs": {
        "InferenceStats": "94eb3e7a0509903708333a9ee7fbb7bf39cc990b1830bdbd7206cb15d7dd44fe",
        "InstanceMask": "5998bb5bd9c5b8f7ebae0b58c6c926ceca92e0b1aba9f8ea5b279eb93489fdff",
        "InstanceMaskArray": "9dc54a9ceaed98b3f6dda66dcbe6d74f10a1d5dd3198a93aabce81e47b92250a",
        "PanopticSegment": "108266c682ec97ef9beb84a8f5aa02df081b8b511cdf730c82b3ef0e06244987",
        "PanopticSegmentArray": "f6fb71fc01e4acfecf78333742d5701b0f98796d25aed49327051ea8098eec62",
    },
    "vision_msgs": {
        "Detection2DArray": "214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968",
        "Detection3DArray": "793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018",
        "LabelInfo": "3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783",
        "BoundingBox2DArray": "2464e82838009386d371b523211c21c91d74d313fcdd6788223c531d621cf691",
        "BoundingBox3DArray": "a81938db9576b10c2eecd7c5a5da3eac496efd00221b25ed051dfbc81fb56da6",
        "Classification": "f74db28d0eaef3afb78f48bf2161cd709a1383a0309d3454383b25be11345143",
        "VisionInfo": "95d3116a17484ad91c9a2686e1d54890bbfc3ff6c6a2de137738c4950d45d284",
    },
}


def test_python_finds_the_messages_under_their_earlier_name_too() -> None:
    built = pytest.importorskip("jointseg_msgs.msg", reason="the messages are not built")
    from jointseg_ros import msg

    for file in (ROOT / "msg").glob("*.msg"):
        assert getattr(msg, file.stem) is getattr(built, file.stem)


@pytest.mark.parametrize("package", ["jointseg_msgs", "vision_msgs"])
def test_the_types_keep_their_hashes(package: str) -> None:
    pytest.importorskip(f"{package}.msg", reason="the messages are not built")
    index = pytest.importorskip("ament_index_python", reason="no ROS 2")
    share = Path(index.get_package_share_directory(package))
    for name, wanted in TYPE_HASHES[package].items():
        document = json.loads((share / "msg" / f"{name}.json").read_text())
        hashes = {entry["type_name"]: entry["hash_string"] for entry in document["type_hashes"]}
        assert hashes[f"{package}/msg/{name}"] == f"RIHS01_{wanted}", name
