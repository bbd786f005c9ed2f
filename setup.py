"""`pip install .` brings the networks alone, without ROS; colcon builds from CMakeLists.txt."""

from setuptools import find_packages, setup

TRAINING = [
    "apsw>=3.40",
    "av>=12",
    "jinja2>=3.0",
    "lz4>=4.0",
    "markupsafe>=2.0",
    "mcap>=1.2",
    "opencv-python-headless<5",
    "pillow>=10.1",
    "pycocotools>=2.0.6",
    "rich>=12",
    "rosbags>=0.11",
    "ruamel.yaml>=0.17",
    "zstandard>=0.21",
]

setup(
    name="jointseg-core",
    version="0.1.0",
    description="RDSNet, SegRPN, and both in one: objects, masks and the class of every pixel",
    author="jointseg maintainers",
    author_email="maintainers@jointseg.invalid",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["jointseg_core", "jointseg_core.*"]),
    package_data={"jointseg_core": ["weights/*.safetensors", "weights/*.json"]},
    install_requires=["torch>=2.11", "torchvision>=0.26", "numpy>=1.21", "safetensors>=0.4.3"],
    extras_require={
        "training": TRAINING,
        "tensorboard": ["tensorboard>=2.10"],
        "ray": ["ray>=2.40"],
        "onnx": ["onnx>=1.18", "onnxruntime>=1.22", "onnxscript>=0.5"],
        "openvino": ["openvino>=2025.2"],
        "int8": ["nncf>=3.0"],
        "visualize": ["opencv-python-headless<5", "pillow>=10.1"],
    },
)
