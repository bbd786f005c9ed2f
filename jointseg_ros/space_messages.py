"""Objects in space as messages: boxes for programs, markers for people, points with classes."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import ColorRGBA
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import Marker, MarkerArray

from jointseg_core.classes import UNLABELLED
from jointseg_core.visualize import instance_colors
from jointseg_objects.depth import metres
from jointseg_objects.messages import detections_3d_message as of_objects
from jointseg_ros.conversions import Result, class_names, instance_labels
from jointseg_ros.serialized import message_class

THINNEST = 0.05
"""Metres; a flat surface would be no box to look at."""
SHOWN_FOR = Duration(sec=1)
POINT = np.dtype(
    {
        "names": ["x", "y", "z", "confidence", "instance", "class"],
        "formats": ["<f4", "<f4", "<f4", "<f4", "<u2", "u1"],
        "offsets": [0, 4, 8, 12, 16, 18],
        "itemsize": 20,
    }
)
_KINDS = {"f4": PointField.FLOAT32, "u2": PointField.UINT16, "u1": PointField.UINT8}


def detections_3d_message(result: Result) -> Detection3DArray:
    """The objects that have a place, best first; the header's frame is the optical one."""
    return of_objects(
        message_class,
        result.header,
        result.space.objects,
        result.predictions.scores.tolist(),
        class_names(result),
        result.track_ids(),
    )


def markers_message(result: Result) -> MarkerArray:
    """A box and a line of text for each object that has a place, in place of all before."""
    objects, predictions = result.space.objects, result.predictions
    names, tracks = class_names(result), result.track_ids()
    colors = instance_colors(
        predictions.labels.numpy(), predictions.boxes.numpy(), result.classes, result.tracks
    )
    message = MarkerArray(markers=[Marker(header=result.header, action=Marker.DELETEALL)])
    for k, index in enumerate(objects.index.tolist()):
        red, green, blue = (colors[index] / 255).tolist()
        color = ColorRGBA(r=red, g=green, b=blue, a=0.5)
        size = np.maximum(objects.size[k], THINNEST)
        box = _marker(result, k, Marker.CUBE, objects.center[k], size, color)
        above = objects.center[k] - (0, size[1] / 2 + 0.4, 0)  # y points down
        text = _marker(result, k, Marker.TEXT_VIEW_FACING, above, (0, 0, 0.6), ColorRGBA(a=1.0))
        text.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
        text.text = f"{names[index]} {tracks[index]} {objects.distance[k]:.1f} m".replace("  ", " ")
        message.markers += [box, text]
    return message


def _marker(
    result: Result, number: int, kind: int, place: np.ndarray, size: np.ndarray, color: ColorRGBA
) -> Marker:
    x, y, z = (float(v) for v in place)
    return Marker(
        header=result.header,
        ns="texts" if kind == Marker.TEXT_VIEW_FACING else "boxes",
        id=number,
        type=kind,
        action=Marker.ADD,
        pose=Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(w=1.0)),
        scale=Vector3(**dict(zip("xyz", map(float, size), strict=True))),
        color=color,
        lifetime=SHOWN_FOR,
    )


def points_message(result: Result) -> PointCloud2:
    """The measured pixels of the picture, one of every `depth.points_step` across and down.

    class: of the pixel, a key into semantic/label_info, or without classes of pixels one into
    label_info, of its object; 255 for none. instance: as in instance_labels. confidence: of the
    class, or of the object.
    """
    points = _points(result)
    fields = [
        PointField(name=name, offset=offset, datatype=_KINDS[kind.str[1:]], count=1)
        for name, (kind, offset) in POINT.fields.items()
    ]
    return PointCloud2(
        header=result.header,
        height=1,
        width=len(points),
        fields=fields,
        point_step=POINT.itemsize,
        row_step=points.nbytes,
        data=points.tobytes(),
        is_dense=True,
    )


def _points(result: Result) -> np.ndarray:
    """[P] of type POINT."""
    space, predictions = result.space, result.predictions
    if space.registered is None or space.registered.depth is None:
        return np.zeros(0, POINT)
    step, limits = result.settings.depth_points_step, space.limits
    lens, depth = space.registered
    z = metres(depth[::step, ::step])
    rows, columns = ((z >= limits.nearest) & (z <= limits.farthest)).nonzero()
    points = np.zeros(len(rows), POINT)
    points["z"] = z = z[rows, columns]
    rows, columns = rows * step, columns * step
    points["x"] = (columns - lens.cx) / lens.fx * z
    points["y"] = (rows - lens.cy) / lens.fy * z
    instance = instance_labels(predictions)[rows, columns].astype(np.int64)
    points["instance"] = instance
    if predictions.semantic is not None:
        points["class"] = predictions.semantic.numpy()[rows, columns]
        points["confidence"] = predictions.confidence.numpy()[rows, columns]
    else:
        points["class"] = np.append(predictions.labels.numpy(), UNLABELLED)[instance - 1]
        points["confidence"] = np.append(predictions.scores.numpy(), 0)[instance - 1]
    return points
