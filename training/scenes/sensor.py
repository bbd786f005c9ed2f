"""Weather, lens and sensor: what happens to the picture between the street and the file."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from training.scenes.codes import (
    BUILDING,
    FENCE,
    FIRST_OBJECT,
    ROAD,
    SIDEWALK,
    TERRAIN,
    VEGETATION,
    WALL,
)
from training.scenes.painter import Light

IS_GROUND = np.isin(np.arange(256), (ROAD, SIDEWALK, TERRAIN)).astype(np.float32)
_GRAIN = {  # strength of the fine and of the coarse grain in grey values
    ROAD: (6, 3),
    SIDEWALK: (6, 3),
    BUILDING: (4, 3),
    WALL: (9, 5),
    FENCE: (8, 4),
    VEGETATION: (14, 24),
    TERRAIN: (9, 12),
    **dict.fromkeys(range(FIRST_OBJECT, 256), (2.5, 1.5)),
}
_STRENGTHS = np.zeros((2, 256), np.float32)  # of both for each code
_STRENGTHS[:, list(_GRAIN)] = np.transpose(list(_GRAIN.values()))


class Sensor:
    """A random camera and its settings."""

    def __init__(self, rng: np.random.Generator, night: bool) -> None:
        dirty = rng.random() < 0.1
        self.night = night
        # of red, green and blue
        self.gain = rng.uniform(0.92, 1.08, 3) * rng.uniform(0.8, 1.12)
        # uneven illumination around 1
        self.field = rng.uniform(0.88, 1.12, (4, 6))
        self.gamma = float(np.exp(rng.uniform(np.log(0.75), np.log(0.95 if night else 1.35))))
        self.vignette = rng.uniform(0, 0.3)
        # standard deviation in pixels
        self.blur = rng.uniform(0.3, 0.9) if rng.random() < 0.4 else 0.0
        # length in pixels, direction in radians
        self.motion = (3, rng.uniform(0, np.pi)) if rng.random() < 0.08 else None
        # standard deviation in grey values
        self.noise = rng.uniform(1, 3) if rng.random() < 0.8 else rng.uniform(3, 7)
        self.jpeg = int(rng.integers(55, 96)) if rng.random() < 0.5 else None
        # [K, 4]: column, row, radius as shares of the width, strength
        spots = int(rng.integers(1, 5)) * dirty
        self.dirt = rng.uniform((0, 0, 0.01, 0.2), (1, 0.5, 0.04, 0.5), (spots, 4))
        self.shadow = 0.15 if night else rng.uniform(0.2, 0.5)

    def develop(
        self,
        picture: np.ndarray,
        codes: np.ndarray,
        shadows: np.ndarray,
        light: Light,
        ground: tuple[float, float],
        rng: np.random.Generator,
    ) -> np.ndarray:
        """The picture as the camera stores it: uint8 [H, W, 3].

        picture  uint8 [H, W, 3], painted
        codes    uint8 [H, W]
        shadows  uint8 [H, W], 255 where the ground lies in shadow
        ground   row of the horizon; depth in metres of the ground one row below it
        """
        image = picture.astype(np.float32)
        _grainy(image, codes, light, rng)
        flat = cv2.LUT(codes, IS_GROUND)
        fog_on_ground(image, flat, light, ground)
        brightness = illumination(self, codes.shape)
        dark = cv2.GaussianBlur(shadows, (5, 5), 0).astype(np.float32) * (self.shadow / 255)
        brightness *= 1 - dark * flat
        image *= in_colour(brightness)
        if self.night:
            headlamps(image)
        image = through_lens(image, self)
        image += white_noise(image.shape, rng) * np.float32(self.noise)
        return _stored(image, self)


@lru_cache(maxsize=1)
def _grain() -> tuple[np.ndarray, np.ndarray]:
    """Two fields of noise [768, 1536] of unit variance, fine and coarse."""
    noise = np.random.default_rng(7).normal(size=(2, 768, 1536)).astype(np.float32)
    coarse = cv2.GaussianBlur(noise[1], (0, 0), 1.6)
    return noise[0], coarse / coarse.std()


def in_colour(plane: np.ndarray) -> np.ndarray:
    """A plane [H, W] three times, [H, W, 3]; numpy would be slow to repeat it in the last axis."""
    return cv2.merge([plane] * 3)


def _grainy(image: np.ndarray, codes: np.ndarray, light: Light, rng: np.random.Generator) -> None:
    """Roughness of surfaces and leaves; fog takes some of it."""
    height, width = codes.shape
    total = np.zeros(codes.shape, np.float32)
    for k, field in enumerate(_grain()):
        y = int(rng.integers(max(field.shape[0] - height, 1)))
        x = int(rng.integers(max(field.shape[1] - width, 1)))
        part = field[y : y + height, x : x + width]
        if part.shape != codes.shape:
            part = cv2.resize(field, (width, height))
        total += part * cv2.LUT(codes, _STRENGTHS[k])
    image += in_colour(total * np.float32(np.exp(-25 * light.fog_density)))


def fog_on_ground(
    image: np.ndarray, flat: np.ndarray, light: Light, ground: tuple[float, float]
) -> None:
    first = int(np.clip(ground[0], 0, len(image) - 1))
    rows = np.arange(first, len(image)) + 0.5 - ground[0]
    depth = np.minimum(ground[1] / np.maximum(rows, 0.05), 200)
    thick = depth * light.fog_density > 0.02
    first, last = first, first + int(np.count_nonzero(thick))  # further down it does not show
    share = (1 - np.exp(-light.fog_density * depth[thick])).astype(np.float32)
    share = in_colour(share[:, None] * flat[first:last])
    colour = np.tile(light.fog_colour.astype(np.float32), (image.shape[1], 1))
    image[first:last] += (colour - image[first:last]) * share


def illumination(sensor: Sensor, size: tuple[int, int]) -> np.ndarray:
    """Brightness [H, W] around 1: uneven light, vignette and dirt on the lens, all smooth."""
    height, width = size[0] // 4, size[1] // 4
    field = cv2.resize(
        sensor.field.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    field *= 1 - np.float32(sensor.vignette) * (x * x + y * y) / 2
    for column, row, radius, strength in sensor.dirt:
        near = ((x + 1) / 2 - column) ** 2 + ((y + 1) / 2 * height / width - row) ** 2
        field *= 1 - strength * np.exp(-near / (2 * radius**2)).astype(np.float32)
    return cv2.resize(field, (size[1], size[0]))


def headlamps(image: np.ndarray) -> None:
    """Dark and bluish, but for the light of the own headlamps on what is before the car."""
    height, width = image.shape[:2]
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    beam = np.exp(-((y - 0.66) ** 2) / 0.045 - x * x / 0.5)
    bright = np.clip((image.max(axis=2) - 225) / 25, 0, 1)
    level = 0.52 + 0.5 * beam + 0.4 * bright * (1 - beam)
    image *= level[..., None] * np.array([0.94, 0.97, 1.08], np.float32)


def through_lens(image: np.ndarray, sensor: Sensor) -> np.ndarray:
    if sensor.blur:
        image = cv2.GaussianBlur(image, (0, 0), sensor.blur)
    if sensor.motion:
        length, way = sensor.motion
        steps = np.linspace(-1, 1, 2 * length + 1) * length / 2
        kernel = np.zeros((2 * length + 1, 2 * length + 1), np.float32)
        for step in steps:
            kernel[round(length + step * np.sin(way)), round(length + step * np.cos(way))] += 1
        image = cv2.filter2D(image, -1, kernel / kernel.sum())
    return image


def white_noise(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """White noise [H, W, 3] of unit variance, cut out of one field."""
    field = _grain()[0].ravel()
    count = int(np.prod(shape))
    if count > field.size:
        return rng.standard_normal(shape, np.float32)
    start = int(rng.integers(field.size - count + 1))
    return field[start : start + count].reshape(shape)


def _stored(image: np.ndarray, sensor: Sensor) -> np.ndarray:
    """Gain, gamma curve and, for some cameras, JPEG."""
    level = np.minimum(np.arange(256)[:, None] * sensor.gain / 255, 1)
    curve = np.round(255 * level**sensor.gamma).astype(np.uint8)
    stored = cv2.LUT(np.clip(image, 0, 255).astype(np.uint8), curve[None])
    if sensor.jpeg:
        _, data = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, sensor.jpeg])
        stored = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return stored
