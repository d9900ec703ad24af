"""Where the rover must not go: how far ahead along the lane that begins, and how far inside its fence it is.

Which cells are blocked the cost map says (too steep, a step, unknown: `control.rover.route.costmap`); so is everything
outside the grid. What is looked at is the whole strip that the rover's wheels will pass over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from control.rover.drive.kinematics import Floats
from control.rover.drive.lane import Lane


@dataclass(frozen=True, slots=True, eq=False)
class Hazards:
    """Blocked cells: `blocked[i, j]` bool, cell centre (i, j) at x = x_m + j*cell_m, y = y_m + i*cell_m."""

    blocked: NDArray[np.bool_]
    x_m: float
    y_m: float
    cell_m: float

    def at(self, x_m: Floats, y_m: Floats) -> NDArray[np.bool_]:
        """Is the cell that each point lies in blocked? Outside the grid: yes. A NaN: yes."""
        x, y = np.asarray(x_m, dtype=np.float64), np.asarray(y_m, dtype=np.float64)
        rows, columns = self.blocked.shape
        i, j = np.floor((y - self.y_m) / self.cell_m + 0.5), np.floor((x - self.x_m) / self.cell_m + 0.5)
        inside = (i >= 0) & (i < rows) & (j >= 0) & (j < columns)
        blocked = np.ones(x.shape, dtype=np.bool_)
        blocked[inside] = self.blocked[i[inside].astype(np.int64), j[inside].astype(np.int64)]
        return blocked


def hazard_ahead_m(
    hazards: Hazards,
    lane: Lane,
    progress_m: float,
    left_m: float,
    *,
    reach_m: float,
    front_m: float,
    half_width_m: float,
    lateral_m: float = 0.6,
    backwards: bool = False,
) -> float:
    """How far the rover's front is from the first blocked place of its way; 0 under it, infinite if none in reach.

    Args:
        progress_m, left_m: where the rover is along the lane and beside it (a TrackStep's `progress_m` and
            `cross_track_m`); it comes back onto the lane over about `lateral_m`.
        reach_m: how far ahead of the front is looked; the lane's end ends the look (it stops there).
        front_m, half_width_m: from the rover's origin to its front and to its sides, margins included.
        backwards: look the other way.

    A place or width that is no number sees a hazard at 0.
    """
    if not all(map(math.isfinite, (progress_m, left_m, reach_m, front_m, half_width_m))):
        return 0.0
    pace = min(hazards.cell_m / 2, 0.25)
    end_m = (progress_m if backwards else max(0.0, lane.length_m - progress_m)) + front_m
    gone = np.arange(0.0, max(min(reach_m + front_m, end_m), front_m) + pace, pace)
    place, heading = lane.at(progress_m - gone if backwards else progress_m + gone)
    aside = np.linspace(-half_width_m, half_width_m, 1 + 2 * max(1, math.ceil(half_width_m / pace)))
    offset = left_m * np.exp(-gone / lateral_m)
    left = offset[:, None] + aside[None, :]
    x = place[:, :1] - np.sin(heading)[:, None] * left
    y = place[:, 1:] + np.cos(heading)[:, None] * left
    struck = hazards.at(x, y).any(axis=1)
    if not struck.any():
        return math.inf
    return max(0.0, float(gone[int(np.argmax(struck))]) - front_m)


def inside_fence_m(fence_m: Floats, x_m: float, y_m: float) -> float:
    """How far inside a fence a place is (outside: negative), m; NaN for a place that is no number.

    Args:
        fence_m: (n >= 3, 2) f8, the corners of a simple polygon, in either sense; it closes itself.

    Raises:
        ValueError: a fence of fewer than three corners, or with a corner that is no number.
    """
    corners = np.asarray(fence_m, dtype=np.float64)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3 or not np.isfinite(corners).all():
        raise ValueError("a fence has three corners or more, each a finite x and y")
    if not (math.isfinite(x_m) and math.isfinite(y_m)):
        return math.nan
    ax, ay = corners.T
    bx, by = np.roll(corners, -1, axis=0).T
    length2 = np.maximum((bx - ax) ** 2 + (by - ay) ** 2, 1e-18)
    share = np.clip(((x_m - ax) * (bx - ax) + (y_m - ay) * (by - ay)) / length2, 0.0, 1.0)
    distance = float(np.hypot(x_m - ax - share * (bx - ax), y_m - ay - share * (by - ay)).min())
    spans = (ay > y_m) != (by > y_m)  # edges that a ray to the right may cross
    rise = np.where(spans, by - ay, 1.0)
    crossed = spans & (x_m < ax + (y_m - ay) * (bx - ax) / rise)
    return distance if int(crossed.sum()) % 2 else -distance
