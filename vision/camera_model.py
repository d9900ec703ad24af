"""The pinhole camera with radial distortion: between a pixel as seen and the pixel of an ideal lens.

Pixel (0, 0) is the centre of the first pixel, u to the right, v down (OpenCV's convention).
Distortion (Brown): with x, y the ideal ray at unit depth and r^2 = x^2 + y^2, the seen ray is (x, y) (1 + k1 r^2 + k2
r^4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

UNDISTORT_STEPS = 12  # of a fixed point that gains about one digit a step at |k1| r^2 < 0.1


@dataclass(frozen=True, slots=True)
class CameraModel:
    """What a calibration leaves: focal length and principal point in pixels of a picture of `size_px` (width,
    height)."""

    focal_px: float
    centre_px: tuple[float, float]
    size_px: tuple[int, int]
    k1: float = 0.0
    k2: float = 0.0

    def __post_init__(self) -> None:
        numbers = (self.focal_px, *self.centre_px, self.k1, self.k2)
        if not np.isfinite(numbers).all() or self.focal_px <= 0 or min(self.size_px) <= 0:
            raise ValueError(f"a camera model needs finite numbers, focal_px > 0 and a size > 0, not {self}")
        width, height = self.size_px
        if not (0 <= self.centre_px[0] < width and 0 <= self.centre_px[1] < height):
            raise ValueError(
                f"the principal point {self.centre_px} lies outside the picture of {width} x {height} pixels"
            )
        reach = (np.hypot(width, height) / 2 / self.focal_px) ** 2
        steepest = min(1.0 + 3 * self.k1 * r2 + 5 * self.k2 * r2 * r2 for r2 in np.linspace(0, reach, 9))
        if steepest <= 0:
            raise ValueError(
                f"distortion k1 {self.k1}, k2 {self.k2} folds the picture over inside its own frame; calibrate again"
            )

    def distort(self, ideal_px: ArrayLike) -> NDArray[np.float64]:
        """(..., 2) pixels of the ideal lens -> pixels as seen."""
        ideal = np.asarray(ideal_px, float)
        flat = ideal.reshape(-1, 2)
        return np.stack(self.distort_planes(flat[:, 0], flat[:, 1]), axis=-1).reshape(ideal.shape)

    def distort_planes(
        self, ideal_u: NDArray[np.float64], ideal_v: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The same for arrays of u and of v: a whole picture's worth goes through memory as few times as can be."""
        x, y = (ideal_u - self.centre_px[0]) / self.focal_px, (ideal_v - self.centre_px[1]) / self.focal_px
        r2 = x * x
        r2 += y * y
        scale = self.k1 * r2
        scale += 1.0
        if self.k2:
            scale += self.k2 * r2 * r2
        for ray, centre in ((x, self.centre_px[0]), (y, self.centre_px[1])):
            ray *= scale
            ray *= self.focal_px
            ray += centre
        return x, y

    def undistort(self, seen_px: ArrayLike) -> NDArray[np.float64]:
        """(..., 2) pixels as seen -> pixels of the ideal lens; the inverse of `distort`."""
        seen = (np.asarray(seen_px, float) - self.centre_px) / self.focal_px
        ray = seen
        for _ in range(UNDISTORT_STEPS):
            r2 = (ray * ray).sum(axis=-1, keepdims=True)
            ray = seen / (1.0 + self.k1 * r2 + self.k2 * r2 * r2)
        return ray * self.focal_px + self.centre_px


# The bench printer's top camera by its calibration; the machine file may give another.
BENCH_CAMERA = CameraModel(focal_px=1640.0, centre_px=(640.0, 479.0), size_px=(1280, 960), k1=-0.0595)
