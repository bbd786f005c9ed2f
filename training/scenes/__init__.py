"""Synthetic driving scenes: streets painted from far to near, with exact annotations."""

from training.scenes.drive import render_drive
from training.scenes.scene import Scene, SceneObject, render_scene

__all__ = ["Scene", "SceneObject", "render_drive", "render_scene"]
