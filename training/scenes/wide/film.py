"""How a real camera sees a wide scene: surfaces with texture, glare, its response, its file."""

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
    SKY,
    TERRAIN,
    VEGETATION,
    VOID,
    WALL,
)
from training.scenes.painter import Light
from training.scenes.sensor import (
    IS_GROUND,
    Sensor,
    fog_on_ground,
    illumination,
    in_colour,
    through_lens,
    white_noise,
)

_ROUGH = {  # contrast of the octaves of 1, 2, 5 and 16 pixels, as a share of the brightness
    ROAD: (0.03, 0.03, 0.02, 0.02),
    SIDEWALK: (0.04, 0.04, 0.03, 0.03),
    BUILDING: (0.04, 0.05, 0.05, 0.06),
    WALL: (0.06, 0.06, 0.05, 0.06),
    FENCE: (0.06, 0.06, 0.04, 0.04),
    VEGETATION: (0.14, 0.20, 0.18, 0.12),
    TERRAIN: (0.08, 0.10, 0.10, 0.10),
    VOID: (0.02, 0.02, 0.04, 0.06),
    **dict.fromkeys(range(FIRST_OBJECT, 256), (0.02, 0.02, 0.04, 0.06)),
}
_WORN = {ROAD: 0.06, SIDEWALK: 0.06, TERRAIN: 0.12}  # contrast of what lies along the road
_OCTAVES = (0.0, 1.2, 3.0, 9.0)  # standard deviations in pixels
_FINENESS = 16.0  # pixels of the field in a metre across the road
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


class Film(Sensor):
    """A random camera and the surfaces it sees, with a wider choice than a Sensor.

    Lens, JPEG, noise and dirt are a Sensor's; gain and gamma are not used.
    """

    def __init__(self, rng: np.random.Generator, night: bool) -> None:
        super().__init__(rng, night)
        self.field = 1 + (self.field - 1) * 0.5
        self.rough = np.zeros((len(_OCTAVES), 256), np.float32)
        self.rough[:, list(_ROUGH)] = np.transpose(list(_ROUGH.values()))
        self.rough *= np.exp(rng.normal(0, 0.3, (len(_OCTAVES), 256)))
        self.rough[:, FIRST_OBJECT:] = self.rough[:, FIRST_OBJECT : FIRST_OBJECT + 1]
        self.tone = np.exp(rng.normal(0, 0.15, 256)).astype(np.float32)  # how bright things are
        self.tone[FIRST_OBJECT:] = np.exp(rng.normal(-0.15, 0.35, 256 - FIRST_OBJECT))
        self.tone[SKY] = 1.0
        self.worn = np.zeros(256, np.float32)
        self.worn[list(_WORN)] = np.array(list(_WORN.values())) * np.exp(rng.normal(0, 0.5))
        self.exposure = float(np.exp(rng.uniform(-0.9, 0) if night else rng.normal(0.05, 0.2)))
        self.balance = 1 + rng.normal(0, 0.03, 3)
        self.contrast = 0.9 if night else float(np.exp(rng.uniform(np.log(0.75), np.log(2.2))))
        self.saturation = rng.uniform(0.2, 0.9)
        self.glow = rng.uniform(0.0, 0.35)
        self.darkness, self.beam = rng.uniform(0.04, 0.5), rng.uniform(0.3, 0.9)  # at night
        # [K, 6]: column and row from the horizon as shares of the width, radius in pixels, colour
        lamps = rng.uniform((0, -0.12, 0.6, 200, 60, 20), (1, 0.02, 3, 255, 250, 220), (12, 6))
        self.lamps = lamps[: int(rng.integers(13))]
        # what the windscreen mirrors, in grey values
        self.mirrored = rng.uniform(-40, 40, (4, 6)) * (rng.random() < (0.1 if night else 0.25))
        self.veil = rng.uniform(5, 35) if rng.random() < 0.3 else 0.0
        self.sharpening = rng.uniform(0.3, 1.2) if rng.random() < 0.4 else 0.0
        self.detail = rng.uniform(0.5, 0.9) if rng.random() < 0.4 else 1.0  # of the sensor's rows
        self.shadow = 0.1 if night else rng.uniform(0.2, 0.7)

    def develop(
        self,
        picture: np.ndarray,
        codes: np.ndarray,
        shadows: np.ndarray,
        light: Light,
        ground: tuple[float, float],
        rng: np.random.Generator,
    ) -> np.ndarray:
        image = picture.astype(np.float32)
        self._roughen(image, codes, ground, rng)
        flat = cv2.LUT(codes, IS_GROUND)
        fog_on_ground(image, flat, light, ground)
        dark = cv2.GaussianBlur(shadows, (5, 5), 0).astype(np.float32) * (self.shadow / 255)
        image *= in_colour(illumination(self, codes.shape) * (1 - dark * flat))
        if self.night:
            self._darken(image, ground[0])
        image = self._expose(image)
        return self._file(through_lens(image, self), rng)

    def _roughen(
        self,
        image: np.ndarray,
        codes: np.ndarray,
        ground: tuple[float, float],
        rng: np.random.Generator,
    ) -> None:
        """Noise of four octaves, as rough as each surface is; less on what is as bright as sky."""
        total = _streaks(codes.shape, ground, rng) * cv2.LUT(codes, self.worn)
        for field, strengths in zip(_octaves(), self.rough, strict=True):
            total += _cut(field, codes.shape, rng) * cv2.LUT(codes, strengths)
        change = np.clip(1 + total, 0.3, 1.6) * cv2.LUT(codes, self.tone) - 1
        image *= in_colour(1 + change * np.clip(1.5 - image[..., 1] / 160, 0.1, 1))

    def _darken(self, image: np.ndarray, horizon: float) -> None:
        """Night: dark but for the beam of the own headlamps and for lamps, which dazzle."""
        height, width = image.shape[:2]
        y = (np.arange(height, dtype=np.float32)[:, None] - horizon) / width
        x = np.linspace(-1, 1, width, dtype=np.float32)[None]
        beam = np.exp(-((y - 0.09) ** 2) / 0.012 - x * x / 0.4)
        image *= in_colour(np.float32(self.darkness) + np.float32(self.beam) * beam)
        light = np.zeros_like(image)
        for column, row, radius, *colour in self.lamps:
            centre = round(column * width), round(horizon + row * width)
            cv2.circle(light, centre, round(radius), colour, cv2.FILLED)
        image += light + 4 * cv2.GaussianBlur(light, (0, 0), 5)

    def _expose(self, image: np.ndarray) -> np.ndarray:
        """Colours as the sensor answers, 0 to 255 and above: glare, white balance, response."""
        grey = image @ _GREY
        image = in_colour(grey * (1 - self.saturation)) + image * np.float32(self.saturation)
        image *= (self.exposure * self.balance).astype(np.float32)
        if self.glow:
            height, width = grey.shape
            bright = cv2.resize(grey, (width // 8, height // 8), interpolation=cv2.INTER_AREA)
            bright = np.maximum(bright * self.exposure - 190, 0) * np.float32(self.glow)
            halo = cv2.resize(cv2.GaussianBlur(bright, (0, 0), 2.5), (width, height))
            image += in_colour(halo)
        if self.mirrored.any():
            mirrored = np.maximum(self.mirrored, 0).astype(np.float32)
            image += in_colour(
                cv2.resize(mirrored, grey.shape[::-1], interpolation=cv2.INTER_CUBIC)
            )
        return image

    def _file(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = image.shape[:2]
        if self.detail < 1:
            few = round(width * self.detail), round(height * self.detail)
            image = cv2.resize(image, few, interpolation=cv2.INTER_AREA)
            image = cv2.resize(image, (width, height))
        answer = (np.arange(256) / 255) ** self.contrast * (255 - self.veil)
        image = cv2.LUT(np.clip(image, 0, 255).astype(np.uint8), answer.astype(np.float32))
        image += white_noise(image.shape, rng) * np.float32(self.noise) + np.float32(self.veil)
        if self.sharpening:
            image += (image - cv2.GaussianBlur(image, (0, 0), 1.0)) * np.float32(self.sharpening)
        stored = np.clip(image, 0, 255).astype(np.uint8)
        if self.jpeg:
            _, data = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, self.jpeg])
            stored = cv2.imdecode(data, cv2.IMREAD_COLOR)
        return stored


@lru_cache(maxsize=1)
def _octaves() -> tuple[np.ndarray, ...]:
    """Fields of noise [768, 1536] of unit variance, from fine to coarse."""
    fields = []
    for k, sigma in enumerate(_OCTAVES):
        noise = np.random.default_rng([8, k]).standard_normal((768, 1536), np.float32)
        smooth = cv2.GaussianBlur(noise, (0, 0), sigma) if sigma else noise
        fields.append(smooth / smooth.std())
    return tuple(fields)


def _streaks(
    shape: tuple[int, int], ground: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Noise [H, W] drawn out along the road, in perspective; 0 above the horizon."""
    height, width = shape
    first = int(np.clip(ground[0] + 2, 0, height - 1))
    rows = np.arange(first, height)[:, None] + 0.5 - ground[0]
    depth = (ground[1] / rows).astype(np.float32)
    across = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None]
    x = depth * across * np.float32(_FINENESS) + np.float32(rng.uniform(0, 1536))
    z = np.repeat(depth * np.float32(_FINENESS / 5) + np.float32(rng.uniform(0, 768)), width, 1)
    total = np.zeros(shape, np.float32)
    total[first:] = cv2.remap(_octaves()[2], x, z, cv2.INTER_LINEAR, None, cv2.BORDER_WRAP)
    return total


def _cut(field: np.ndarray, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A random part of a field; of a larger picture, the field made larger."""
    height, width = shape
    y = int(rng.integers(max(field.shape[0] - height, 1)))
    x = int(rng.integers(max(field.shape[1] - width, 1)))
    part = field[y : y + height, x : x + width]
    return part if part.shape == shape else cv2.resize(field, (width, height))
