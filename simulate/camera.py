"""The camera of a clip: where it stands, the light it sees, and the noise it adds."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

SCENE_WIDTH, SCENE_HEIGHT = 320, 240  # scene units; at 320x240 one unit is one pixel
GRAIN_SPARE = 64
SUPERSAMPLE = 2  # drawn at this many times the size, then shrunk


@dataclass(frozen=True)
class Camera:
    """Fixed for one clip, drawn independently of the behaviour."""

    scale: float
    tilt: float  # degrees
    shift: tuple[float, float]  # scene units
    gain: tuple[float, float, float]  # light and colour cast
    slope: tuple[float, float]  # how much brighter the right and the lower edge are
    noise: float  # standard deviation in grey levels
    quality: int  # JPEG

    def matrix(self, width: int, height: int) -> np.ndarray:
        """Scene units → pixels of a picture of that size, (2, 3)."""
        fit = max(width / SCENE_WIDTH, height / SCENE_HEIGHT)
        angle = np.radians(self.tilt)
        linear = fit * self.scale * np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
        middle = np.array((SCENE_WIDTH / 2, SCENE_HEIGHT / 2))
        offset = np.array((width / 2, height / 2)) + fit * np.array(self.shift) - linear @ middle
        return np.column_stack([linear, offset])

    def light(self, width: int, height: int) -> np.ndarray:
        """The factor of every pixel, (height, width, 3) float32: compute it once for a clip."""
        across = np.linspace(-0.5, 0.5, width)[None, :] * self.slope[0]
        down = np.linspace(-0.5, 0.5, height)[:, None] * self.slope[1]
        return ((1 + across + down)[..., None] * np.array(self.gain)).astype(np.float32)

    def expose(self, large: np.ndarray, light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The finished picture: shrink, light, sensor noise. RGB uint8 (H, W, 3)."""
        height, width = light.shape[:2]
        small = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
        lit = cv2.multiply(small, light, dtype=cv2.CV_32F)
        grain = rng.integers(GRAIN_SPARE, size=2)
        lit = cv2.scaleAdd(_grain(width, height)[grain[0] :, grain[1] :][:height, :width], self.noise, lit)
        return lit.clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def _grain(width: int, height: int) -> np.ndarray:
    """Unit noise somewhat larger than a picture; every frame takes another part of it, which costs little."""
    size = (height + GRAIN_SPARE, width + GRAIN_SPARE, 3)
    return np.random.default_rng(0).standard_normal(size, dtype=np.float32)


def draw_camera(rng: np.random.Generator) -> Camera:
    """A random camera in front of the desk."""
    brightness, cast = rng.uniform(0.78, 1.02), rng.uniform(-0.05, 0.05, 3)
    return Camera(
        scale=rng.uniform(0.94, 1.1),
        tilt=rng.normal(0, 2.0),
        shift=(rng.uniform(-12, 12), rng.uniform(-5, 6)),
        gain=tuple(brightness * (1 + cast)),
        slope=(rng.uniform(-0.3, 0.3), rng.uniform(-0.15, 0.15)),
        noise=rng.uniform(0.8, 3.8),
        quality=int(rng.integers(70, 91)),
    )
