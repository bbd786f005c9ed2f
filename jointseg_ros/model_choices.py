"""The models that a node can run; launch files read it, so it imports nothing."""

DEFAULT_MODEL = "joint"
MODELS = {
    "joint": ("joint",),
    "both": ("rdsnet", "segrpn"),
    "rdsnet": ("rdsnet",),
    "segrpn": ("segrpn",),
}
"""What the launch argument `model` may be: the model of each node that it starts."""
