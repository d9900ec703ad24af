"""How far the ground has passed between two pictures of a camera that looks at it.

Both pictures are laid onto the ground plane ahead of the rover (a level patch of `PATCH_M`, seen from above); features
of the first are followed into the second (pyramidal Lucas-Kanade, there and back), and a turn and a shift are laid
through what moved alike. On slopes that bend within the patch the scale is off by the bend over the camera's height.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vision.camera_model import CameraModel
from vision.opencv import Picture, PictureError, decode

Floats = NDArray[np.float64]
CELL_M = 0.005
FEATURES = 300
FEATURES_MIN = 20
BACK_MAX_PX = 0.5  # there and back again must end where it began
OFF_MAX_PX = 1.0  # from the common motion
SCALE_SIGMA = 0.01  # of lengths: mount, bend of the ground


@dataclass(frozen=True, slots=True)
class GroundView:
    """Where the camera sits (m ahead, left, up; looking `down_rad` down) and the patch: metres ahead and to each
    side."""

    ahead_m: float = 0.2
    left_m: float = 0.0
    up_m: float = 0.8
    down_rad: float = 0.5
    near_m: float = 1.0
    far_m: float = 2.6
    side_m: float = 0.7


@dataclass(frozen=True, slots=True)
class VisualStep:
    """The rover's motion between two pictures, in its frame at the first; confidence: 0..1, the share of features that
    agreed."""

    distance_m: float
    sideways_m: float
    turn_rad: float
    sigma_m: float
    turn_sigma_rad: float
    confidence: float


def from_above(image: Picture | bytes, camera: CameraModel, view: GroundView) -> NDArray[np.uint8]:
    """The patch as seen from above, u1: row 0 farthest ahead, column 0 leftmost, `CELL_M` a pixel."""
    bgr = decode(image)
    if (bgr.shape[1], bgr.shape[0]) != camera.size_px:
        raise PictureError(f"the picture has not the size {camera.size_px} that the camera is calibrated for")
    grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    ahead = np.arange(view.far_m, view.near_m, -CELL_M)
    left = np.arange(view.side_m, -view.side_m, -CELL_M)
    x, y = np.meshgrid(ahead - view.ahead_m, left - view.left_m, indexing="ij")
    c, s = math.cos(view.down_rad), math.sin(view.down_rad)
    depth = c * x + s * view.up_m
    ideal = np.stack([-y / depth, (-s * x + c * view.up_m) / depth], axis=-1) * camera.focal_px + camera.centre_px
    seen = camera.distort(ideal).astype(np.float32)
    return np.asarray(cv2.remap(grey, seen[..., 0], seen[..., 1], cv2.INTER_LINEAR), np.uint8)


def visual_step(first: NDArray[np.uint8], second: NDArray[np.uint8], view: GroundView) -> VisualStep | None:
    """The motion between two patches of `from_above`; None where too little of the ground can be followed."""
    points = cv2.goodFeaturesToTrack(first, FEATURES, 0.01, 6)
    if points is None or len(points) < FEATURES_MIN:
        return None
    start = np.asarray(points, np.float32).reshape(-1, 1, 2)
    there, ok, _ = cv2.calcOpticalFlowPyrLK(first, second, start, np.zeros_like(start), winSize=(21, 21), maxLevel=4)
    there = np.asarray(there, np.float32)
    back, ok2, _ = cv2.calcOpticalFlowPyrLK(second, first, there, np.zeros_like(there), winSize=(21, 21), maxLevel=4)
    a, b = np.asarray(start, float).reshape(-1, 2), np.asarray(there, float).reshape(-1, 2)
    returned = np.linalg.norm(np.asarray(back, float).reshape(-1, 2) - a, axis=1) < BACK_MAX_PX
    inside = (b >= 10).all(axis=1) & (b[:, 0] < first.shape[1] - 10) & (b[:, 1] < first.shape[0] - 10)
    good = returned & inside & (np.asarray(ok).reshape(-1) > 0) & (np.asarray(ok2).reshape(-1) > 0)
    tracked = int(good.sum())
    if tracked < FEATURES_MIN:
        return None
    # pixels of the patch -> metres ahead and left of the rover
    p, q = (
        np.column_stack([view.far_m - k[:, 1] * CELL_M, view.side_m - k[:, 0] * CELL_M]) for k in (a[good], b[good])
    )
    use = np.ones(tracked, bool)
    turn, shift = 0.0, np.zeros(2)
    for _ in range(8):  # lay a motion through all, leave out what does not agree, again
        turn, shift = _rigid(q[use], p[use])
        off = np.linalg.norm(_turned(q, turn) + shift - p, axis=1)
        use = off < max(OFF_MAX_PX * CELL_M, 0.5 * float(np.median(off)))
        if int(use.sum()) < FEATURES_MIN:
            return None
    spread = float(np.sqrt((off[use] ** 2).mean()))
    count = int(use.sum())
    arm = float(np.linalg.norm(p[use] - p[use].mean(axis=0), axis=1).mean())
    turn_sigma = math.hypot(spread / arm / math.sqrt(count), 3e-4)
    reach = float(np.linalg.norm(p[use].mean(axis=0)))
    moved = float(np.linalg.norm(shift))
    sigma = math.hypot(spread / math.sqrt(count), reach * turn_sigma, SCALE_SIGMA * moved)
    return VisualStep(float(shift[0]), float(shift[1]), turn, sigma, turn_sigma, count / len(start))


def _turned(points: Floats, angle_rad: float) -> Floats:
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    return points @ np.array([[c, s], [-s, c]])


def _rigid(source: Floats, target: Floats) -> tuple[float, Floats]:
    """Turn and shift that lay (n, 2) onto (n, 2) by least squares (Kabsch in the plane)."""
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    angle = math.atan2(float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()), float((a * b).sum()))
    return angle, target.mean(axis=0) - _turned(source.mean(axis=0)[None], angle)[0]
