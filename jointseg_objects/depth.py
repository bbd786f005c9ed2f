"""Where objects stand: from a depth image that is registered to the picture they were seen in.

All places are in the camera's optical frame (REP-103): x to the right, y down, z forward, metres.
A mask leaks: its edges are left out, then what lies at another depth than most of the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jointseg_core.errors import BadInput
from jointseg_core.predictions import Predictions
from jointseg_objects.erosion import eroded
from jointseg_objects.surfaces import Surface, dominant

_Array = np.ndarray[Any, Any]

_GRID = 32  # each mask is read at so many places across and down its window
_FEW = 64  # with fewer measurements on the grid every pixel is read, as of a lidar
_LEAST, _MOST = 1e-3, 1e6  # pixels, of a focal length and of all numbers of a camera
_FAINT = 0.05  # of the fullest row: an emptier one at the end of a mask is a leak


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera without distortion; pixels, whole numbers being centres of pixels.

    Raises BadInput where the focal lengths are not above 0: an uncalibrated camera says zeros; and
    for numbers that are no camera's, by which places would not be finite.
    """

    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        numbers = (self.fx, self.fy, self.cx, self.cy)
        far = any(not abs(n) <= _MOST for n in numbers)
        if far or not (self.fx >= _LEAST and self.fy >= _LEAST):
            text = ", ".join(f"{n:g}" for n in numbers)
            raise BadInput(f"the camera is uncalibrated: fx, fy, cx, cy are {text}")

    @classmethod
    def from_matrix(cls, k: Sequence[float] | _Array) -> Intrinsics:
        """Of the 3x3 matrix K, also as nine numbers in a row, such as CameraInfo.k."""
        flat = np.asarray(k, np.float64).reshape(-1)
        if len(flat) != 9:
            raise BadInput(f"K has {len(flat)} numbers, expected 3x3")
        return cls(*(float(flat[i]) for i in (0, 4, 2, 5)))


@dataclass(frozen=True)
class Limits:
    """What counts as a measurement, and what is known of objects.

    nearest, farthest  metres; depths outside are no measurements
    erode              of a mask's width and height that is left out at each of its edges
    least_pixels       an object with fewer measurements is left out
    correlated         so many pixels of a depth image err together
    extents            by label, how far such objects reach back from what is seen of them, in
                       metres; 0, and for labels beyond: as far as is seen
    """

    nearest: float = 0.1
    farthest: float = 200.0
    erode: float = 0.08
    least_pixels: int = 5
    correlated: float = 256.0
    extents: tuple[float, ...] = ()

    def extent(self, labels: _Array) -> _Array:
        """Metres by label, float [N]; 0 where nothing is known."""
        table = np.zeros(max(int(labels.max(initial=0)) + 1, len(self.extents)))
        table[: len(self.extents)] = self.extents
        return table[labels]


_OF_EACH: dict[str, tuple[int, ...]] = {
    "index": (),
    "position": (3,),
    "covariance": (3, 3),
    "center": (3,),
    "size": (3,),
    "pixels": (),
}
"""Fields of `Objects3D` with an entry for each object, and its shape."""


@dataclass(frozen=True, eq=False)
class Objects3D:
    """M of the N objects of a picture in space, best first; float64, metres, optical frame.

    index       [M]     int64  place among the objects of the `Predictions`
    position    [M, 3]  middle of the visible surface: of its pixels, at their median depth
    covariance  [M, 3, 3]  of that position
    center      [M, 3]  middle of the box: as far behind the surface as half its depth
    size        [M, 3]  of the box along x, y, z: what the mask covers at the object's depth, and
                        the depth that is seen, or that is known of the class
    pixels      [M]     int64  measurements that speak for it
    without_depth       objects left out, for too few measurements
    """

    index: _Array
    position: _Array
    covariance: _Array
    center: _Array
    size: _Array
    pixels: _Array
    without_depth: int = 0

    def __post_init__(self) -> None:
        for name, more in _OF_EACH.items():
            if (shape := getattr(self, name).shape) != (expected := (len(self), *more)):
                raise ValueError(f"{name} is {list(shape)}, expected {list(expected)}")

    def __len__(self) -> int:
        return len(self.index)

    @classmethod
    def empty(cls, without_depth: int = 0) -> Objects3D:
        """None in space."""
        none, places = np.zeros(0, np.int64), np.zeros((0, 3))
        return cls(none, places, np.zeros((0, 3, 3)), places, places, none, without_depth)

    def __getitem__(self, keep: _Array) -> Objects3D:
        """Those chosen by a boolean mask or indices; the others count as left out."""
        chosen = {name: getattr(self, name)[keep] for name in _OF_EACH}
        left_out = self.without_depth + len(self) - len(chosen["index"])
        return Objects3D(**chosen, without_depth=left_out)

    def or_else(self, other: Objects3D) -> Objects3D:
        """Those of the same picture, and of the others those that are not among them."""
        more = ~np.isin(other.index, self.index)
        both = {n: np.concatenate([getattr(self, n), getattr(other, n)[more]]) for n in _OF_EACH}
        order = np.argsort(both["index"])
        left_out = self.without_depth - int(more.sum())
        return Objects3D(**{n: v[order] for n, v in both.items()}, without_depth=left_out)

    @property
    def distance(self) -> _Array:
        """Metres from the camera to the position, float64 [M]."""
        distances: _Array = np.linalg.norm(self.position, axis=1)
        return distances


def metres(depth: _Array) -> _Array:
    """Depth as float32 metres along the optical axis, 0 where nothing was measured.

    Of uint16 millimetres or float metres (REP 118); 0, NaN, negative and infinite numbers are no
    measurements. Any shape. Raises BadInput for another type.
    """
    if depth.dtype == np.uint16:
        return np.multiply(depth, np.float32(1e-3), dtype=np.float32)
    if depth.dtype.kind != "f":
        raise BadInput(f"depth is {depth.dtype}; it is uint16 millimetres or float metres")
    with np.errstate(over="ignore"):
        values = depth.astype(np.float32)
    values[~(np.isfinite(values) & (values > 0))] = 0
    return values


def lift(
    predictions: Predictions,
    depth: _Array,
    intrinsics: Intrinsics,
    limits: Limits | None = None,
) -> Objects3D:
    """The objects of a picture in space, by the depth of their masks' pixels.

    depth: [H, W] of the picture's size, as `metres` takes or gives it; only the masks' pixels are
    read. Raises BadInput for another size, ValueError for predictions without masks.
    """
    limits = limits or Limits()
    if predictions.masks is None:
        raise ValueError("the predictions have no masks to look for depth in")
    if depth.shape != predictions.image_size:
        raise BadInput(f"depth is {depth.shape}, the picture {predictions.image_size} (H, W)")
    windows = predictions.masks.windows.cpu().numpy()
    index = np.flatnonzero((windows[:, 2:] > windows[:, :2]).all(1))
    if not len(index):
        return Objects3D.empty(len(windows))
    samples = _read(windows, predictions.masks.pixels.cpu().numpy(), index, depth, limits)
    surface = dominant(np.where(samples.inner, samples.z, 0))
    kept = samples.inner & surface.holds(samples.z)
    pixels = np.round(kept.sum(1) * samples.each).astype(np.int64)
    enough = (pixels >= limits.least_pixels) & kept.any(1)
    position, covariance = _position(samples, kept, pixels, surface.depth, intrinsics, limits)
    center, size = _extents(samples, surface, intrinsics)
    known = limits.extent(predictions.labels.cpu().numpy()[index])
    center[:, 2] = surface.depth + known / 2
    size[:, 2] = np.where(known > 0, known, surface.spread)
    found = Objects3D(index, position, covariance, center, size, pixels, len(windows) - len(index))
    return found[enough]


class _Samples(NamedTuple):
    """What was read of N masks, at S places of each."""

    windows: _Array  # [N, 4] of the masks
    cells: _Array  # bool [N, GRID, GRID], in the mask
    cell_z: _Array  # float32 [N, GRID, GRID] metres, 0 for no measurement
    inner: _Array  # bool [N, S], measured and well inside of the mask
    z: _Array  # float32 [N, S] metres
    column: _Array  # float32 [N, S] pixels
    row: _Array  # float32 [N, S] pixels
    each: _Array  # float [N], pixels that a sample stands for


def _read(windows: _Array, mask: _Array, index: _Array, depth: _Array, limits: Limits) -> _Samples:
    starts = np.concatenate([[0], (windows[:, 2:] - windows[:, :2]).prod(1).cumsum()])[index]
    windows = windows[index]
    steps = (np.arange(_GRID) + 0.5) / _GRID
    sizes = windows[:, 2:] - windows[:, :2]
    columns, rows = ((steps * sizes[:, i, None]).astype(np.int64) for i in (0, 1))  # [N, GRID]
    cells = mask[
        starts[:, None, None] + rows[:, :, None] * sizes[:, 0, None, None] + columns[:, None]
    ]
    rows, columns = rows + windows[:, 1, None], columns + windows[:, 0, None]
    raw = depth[rows[:, :, None], columns[:, None]]
    z = _measured(raw, limits)
    well = eroded(cells, sizes, limits.erode)
    flat = (len(index), _GRID * _GRID)
    samples = _Samples(
        windows,
        cells,
        z,
        (well & (z > 0)).reshape(flat),
        z.reshape(flat).copy(),
        np.broadcast_to(columns[:, None].astype(np.float32), z.shape).reshape(flat),
        np.broadcast_to(rows[:, :, None].astype(np.float32), z.shape).reshape(flat),
        sizes.prod(1) / _GRID**2,
    )
    found = (well & (raw > 0)).sum((1, 2))
    for k in np.flatnonzero((found < _FEW) & (samples.each > 1)).tolist():
        _read_all(samples, k, well[k], mask[starts[k] :], depth, limits)
    return samples


def _read_all(
    samples: _Samples, k: int, well: _Array, mask: _Array, depth: _Array, limits: Limits
) -> None:
    """Read every pixel of a mask, in place of some: few were measured."""
    x1, y1, x2, y2 = samples.windows[k].tolist()
    height, width = y2 - y1, x2 - x1
    patch = depth[y1:y2, x1:x2]
    row, column = ((patch > 0) & mask[: height * width].reshape(height, width)).nonzero()
    chosen = well[row * _GRID // height, column * _GRID // width].nonzero()[0]
    measured = len(chosen)
    count = min(measured, samples.z.shape[1])
    chosen = chosen[np.linspace(0, measured - 1, count).astype(np.int64)]
    row, column = row[chosen], column[chosen]
    z = _measured(patch[row, column], limits)
    samples.inner[k, :count], samples.inner[k, count:] = z > 0, False
    samples.z[k, :count] = z
    samples.column[k, :count], samples.row[k, :count] = column + x1, row + y1
    samples.each[k] = measured / max(count, 1)


def _measured(depth: _Array, limits: Limits) -> _Array:
    z = metres(depth)
    z[(z < limits.nearest) | (z > limits.farthest)] = 0
    return z


def _position(
    samples: _Samples,
    kept: _Array,
    pixels: _Array,
    depth: _Array,
    intrinsics: Intrinsics,
    limits: Limits,
) -> tuple[_Array, _Array]:
    """Middle [N, 3] of the surface and its covariance, by the measurements that are kept."""
    z = np.where(kept, samples.z, 0)
    weights = kept * np.float32(1) / np.maximum(kept.sum(1, keepdims=True), 1).astype(np.float32)
    across = (samples.column - np.float32(intrinsics.cx)) * np.float32(1 / intrinsics.fx)
    down = (samples.row - np.float32(intrinsics.cy)) * np.float32(1 / intrinsics.fy)
    middle = [np.einsum("ns,ns->n", v, weights, dtype=np.float64) for v in (across, down)]
    position = np.stack([*middle, np.ones(len(z))], 1) * depth[:, None]
    points = np.stack([across * z, down * z, z], 1) - position[..., None].astype(np.float32)
    points *= np.sqrt(weights)[:, None]
    covariance = (points @ points.transpose(0, 2, 1)).astype(np.float64)
    covariance /= np.maximum(pixels / limits.correlated, 1)[:, None, None]
    covariance += 1e-4 * np.eye(3)  # nothing is known better than to a centimetre
    return position, covariance


def _extents(samples: _Samples, surface: Surface, intrinsics: Intrinsics) -> tuple[_Array, _Array]:
    """Middle and size [N, 3] across and down, of what of the masks was not measured elsewhere."""
    z = samples.cell_z
    own = samples.cells & ((z == 0) | surface.holds(z.reshape(len(z), -1)).reshape(z.shape))
    middle, size = np.zeros((len(own), 3)), np.zeros((len(own), 3))
    lens = ((intrinsics.fx, intrinsics.cx), (intrinsics.fy, intrinsics.cy))
    for i, (focal, center) in enumerate(lens):
        line = own.sum(1 + i)  # of axis 1 across, of axis 2 down: [N, GRID]
        full = (line > 0) & (line >= _FAINT * line.max(1, keepdims=True))
        first, last = full.argmax(1), _GRID - full[:, ::-1].argmax(1)
        start, stop = samples.windows[:, i], samples.windows[:, i + 2]
        low, high = (start + edge * (stop - start) / _GRID for edge in (first, last))
        size[:, i] = (high - low) * surface.depth / focal
        middle[:, i] = ((low + high - 1) / 2 - center) * surface.depth / focal  # edges to centres
    return middle, size
