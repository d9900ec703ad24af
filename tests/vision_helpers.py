"""Beds for the camera to look at: a part under way, and hollows of any depth in the powder over it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil_sim.world.scene import CameraPose, SceneMaps

PLATE_MM = (250.0, 150.0)
OUTLINE = (np.array([[95.0, 55], [155, 55], [155, 95], [95, 95]]), np.array([0, 4]))
HOLLOW_RING = (
    np.array([[80.0, 40], [170, 40], [170, 110], [80, 110], [100, 60], [100, 90], [150, 90], [150, 60]]),
    np.array([0, 4, 8]),
)


class Bed:
    """A bed of 0.5 mm cells with the part sintered below and level powder over it, as after a good recoat."""

    def __init__(
        self, layer_mm: float = 2.0, pitch_mm: float = 0.5, part: tuple[float, float, float, float] = (95, 55, 155, 95)
    ):
        self.pitch_mm = pitch_mm
        self.shape = (round(PLATE_MM[1] / pitch_mm), round(PLATE_MM[0] / pitch_mm))
        self.x, self.y = np.meshgrid(*((np.arange(n) + 0.5) * pitch_mm for n in self.shape[::-1]))
        self.sintered = self.box(*part).astype(np.float32)
        self.layer_mm = layer_mm
        self.height = np.zeros(self.shape, np.float32)
        self.cover = np.full(self.shape, layer_mm, np.float32)
        self.temp = np.full(self.shape, 150.0, np.float32)

    def box(self, x0: float, y0: float, x1: float, y1: float) -> NDArray[np.bool_]:
        return (self.x > x0) & (self.x < x1) & (self.y > y0) & (self.y < y1)

    def starve(self, where: NDArray[np.bool_], filled: float = 0.2) -> Bed:
        """Only the part `filled` of the layer came to `where`."""
        self.height[where] = -(1 - filled) * self.layer_mm
        self.cover[where] = filled * self.layer_mm
        return self

    def expose(self, where: NDArray[np.bool_], sink_mm: float = 0.6) -> Bed:
        """`where` was sintered: bare, lower, dark."""
        self.sintered[where] = 1.0
        self.cover[where] = 0.0
        self.height[where] = -sink_mm
        return self

    def maps(self) -> SceneMaps:
        return SceneMaps(self.height, self.temp, self.sintered, self.cover, pitch_mm=self.pitch_mm)


def mountings(count: int, seed: int = 0) -> list[CameraPose]:
    """The bench camera as somebody else would have mounted it; the lens is the calibrated one."""
    rng = np.random.default_rng(seed)
    return [
        CameraPose(
            position_mm=(120 + rng.uniform(-4, 4), 82 + rng.uniform(-4, 4), 420 + rng.uniform(-5, 12)),
            tilt_x_deg=0.9 + rng.uniform(-0.4, 0.4),
            tilt_y_deg=-0.7 + rng.uniform(-0.4, 0.4),
            roll_deg=rng.uniform(-1.5, 1.5),
        )
        for _ in range(count)
    ]
