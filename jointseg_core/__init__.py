"""jointseg_core: joint perception networks in PyTorch: RDSNet, SegRPN, and one of both.

Readable and usable without ROS, data sets or a GPU.
"""

from jointseg_core.checkpoint import (
    BadCheckpoint,
    Manifest,
    build_model,
    load_model,
    preset,
    save_model,
    shipped_weights,
)
from jointseg_core.classes import CITYSCAPES, UNLABELLED, Classes
from jointseg_core.joint import Joint, JointConfig, build_joint
from jointseg_core.panoptic import Panoptic, PanopticFusion, Segment
from jointseg_core.predictions import Masks, Predictions
from jointseg_core.predictor import Predictor
from jointseg_core.preprocessing import Letterbox, Preprocessing
from jointseg_core.rdsnet import RDSNet, RDSNetConfig, build_rdsnet, build_rdsnet_printed
from jointseg_core.rdsnet_s import RDSNetS, RDSNetSConfig, build_rdsnet_s
from jointseg_core.segrpn import SegRPN, SegRPNConfig, build_segrpn
from jointseg_core.targets import Target

__all__ = [
    "CITYSCAPES",
    "UNLABELLED",
    "BadCheckpoint",
    "Classes",
    "Joint",
    "JointConfig",
    "Letterbox",
    "Manifest",
    "Masks",
    "Panoptic",
    "PanopticFusion",
    "Predictions",
    "Predictor",
    "Preprocessing",
    "RDSNet",
    "RDSNetConfig",
    "RDSNetS",
    "RDSNetSConfig",
    "SegRPN",
    "SegRPNConfig",
    "Segment",
    "Target",
    "build_joint",
    "build_model",
    "build_rdsnet",
    "build_rdsnet_printed",
    "build_rdsnet_s",
    "build_segrpn",
    "load_model",
    "preset",
    "save_model",
    "shipped_weights",
]
