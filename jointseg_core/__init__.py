"""jointseg_core: joint perception networks in PyTorch: RDSNet, SegRPN, and one that joins both.

It needs neither ROS nor data sets nor a GPU. To read it, start with `predictions` (what comes out),
then `rdsnet` or `segrpn`. The names below are imported when they are first used: programs that only
play or mend recordings need the errors alone and should start without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jointseg_core.checkpoint import (
        Manifest,
        build_model,
        load_model,
        preset,
        save_model,
        shipped_weights,
    )
    from jointseg_core.classes import CITYSCAPES, UNLABELLED, Classes
    from jointseg_core.errors import BadCheckpoint, SegError
    from jointseg_core.joint import Joint, build_joint
    from jointseg_core.joint_config import JointConfig
    from jointseg_core.letterbox import Letterbox
    from jointseg_core.panoptic import PanopticFusion
    from jointseg_core.predictions import Masks, Panoptic, Predictions, Segment
    from jointseg_core.predictor import Predictor
    from jointseg_core.preprocessing import Preprocessing
    from jointseg_core.rdsnet import RDSNet, RDSNetConfig, build_rdsnet
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
    "SegError",
    "SegRPN",
    "SegRPNConfig",
    "Segment",
    "Target",
    "build_joint",
    "build_model",
    "build_rdsnet",
    "build_rdsnet_s",
    "build_segrpn",
    "load_model",
    "preset",
    "save_model",
    "shipped_weights",
]

_HOMES = {
    "checkpoint": "Manifest build_model load_model preset save_model shipped_weights",
    "classes": "CITYSCAPES UNLABELLED Classes",
    "errors": "BadCheckpoint SegError",
    "joint": "Joint build_joint",
    "joint_config": "JointConfig",
    "letterbox": "Letterbox",
    "panoptic": "PanopticFusion",
    "predictions": "Masks Panoptic Predictions Segment",
    "predictor": "Predictor",
    "preprocessing": "Preprocessing",
    "rdsnet": "RDSNet RDSNetConfig build_rdsnet",
    "rdsnet_s": "RDSNetS RDSNetSConfig build_rdsnet_s",
    "segrpn": "SegRPN SegRPNConfig build_segrpn",
    "targets": "Target",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
