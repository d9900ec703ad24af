"""A way from cell to cell -> waypoints that a rover can follow: straightened, rounded, and kept off whatever blocks.

Cells turn by 45 degrees at a time. First the way is pulled straight wherever the straight line costs no more; then it
is rounded by a running mean whose width the turning radius and the ground around decide. The first shape whose whole
strip is free and whose turns are wide enough is taken: from the smoothest to the cells themselves.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from control.rover.drive.hazard import Hazards
from control.rover.route.costmap import CostMap

Floats = NDArray[np.float64]
LOOK_AHEAD = (96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2)
STRAIGHT_COSTS_MORE = 1.01  # a straight line may cost so much of what the cells cost
TURN_MARGIN = 1.2  # turns are planned so much wider than the tightest that the rover can


def shaped(costs: CostMap, cells: NDArray[np.int32], start_m: Floats, goal_m: Floats, turn_m: float) -> Floats | None:
    """Waypoints (n, 2) f8 from start to goal, at most 0.5 m apart; None if no shape of this way can be driven.

    cells: (m, 2) i4, a way from the start's cell to the goal's; turn_m: the tightest turn of the rover.
    """
    dem = costs.terrain.dem
    points = np.column_stack((dem.x_m + cells[:, 1] * dem.cell_m, dem.y_m + cells[:, 0] * dem.cell_m)).astype(float)
    points[0], points[-1] = start_m, goal_m
    if len(points) == 1:
        points = np.vstack((start_m, goal_m))
    straight = points[_pulled(costs, points)]
    turn_m = max(turn_m, 0.3)
    widths = [width for width in (3 * dem.cell_m, dem.cell_m, dem.cell_m / 2) if width > 1.1 * turn_m]
    for line in (straight, points):
        for width_m in (*widths, 1.1 * turn_m, 0.6 * turn_m):
            shape = rounded(line, width_m)
            if is_free(costs.hazards, shape, costs.settings.clearance_m) and tightest_m(shape) >= TURN_MARGIN * turn_m:
                return shape
    return None


def _pulled(costs: CostMap, points: Floats) -> list[int]:
    """Which of the points are kept: from each, straight to the farthest whose line costs no more than the way there."""
    steps = [_line_cost(costs, a, b) for a, b in pairwise(points)]
    so_far = np.concatenate(([0.0], np.cumsum(steps)))
    kept, at, last = [0], 0, len(points) - 1
    while at < last:
        for ahead in LOOK_AHEAD:
            to = min(at + ahead, last)
            if _line_cost(costs, points[at], points[to]) <= STRAIGHT_COSTS_MORE * (so_far[to] - so_far[at]):
                break
        else:
            to = at + 1
        kept.append(to)
        at = to
    return kept


def _line_cost(costs: CostMap, a: Floats, b: Floats) -> float:
    """What a straight line costs, in cells of flat ground; infinite through a blocked cell."""
    dem = costs.terrain.dem
    length = float(np.hypot(*(b - a))) / dem.cell_m
    share = (np.arange(max(2, int(np.ceil(3 * length)))) + 0.5) / max(2, int(np.ceil(3 * length)))
    i = np.rint((a[1] + share * (b[1] - a[1]) - dem.y_m) / dem.cell_m).astype(np.int64)
    j = np.rint((a[0] + share * (b[0] - a[0]) - dem.x_m) / dem.cell_m).astype(np.int64)
    return length * float(costs.cost[i, j].mean())


def rounded(line_m: Floats, width_m: float) -> Floats:
    """A polyline as points at most 0.5 m apart, its corners rounded by a Gaussian mean of this sigma; the ends stay."""
    pieces = np.hypot(*np.diff(line_m, axis=0).T)
    length_m = float(pieces.sum())
    count = max(2, int(np.ceil(length_m / 0.1)))
    s = np.concatenate(([0.0], np.cumsum(pieces)))
    even = np.linspace(0.0, length_m, count + 1)
    points = np.column_stack([np.interp(even, s, line_m[:, axis]) for axis in (0, 1)])
    sigma = min(width_m, length_m / 6) / (length_m / count)
    reach = min(count, int(np.ceil(3 * sigma)))
    if reach >= 1:
        weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        weights /= weights.sum()
        before, after = 2 * points[0] - points[reach:0:-1], 2 * points[-1] - points[-2 : -reach - 2 : -1]
        padded = np.vstack((before, points, after))
        points = np.column_stack([np.convolve(padded[:, axis], weights, mode="valid") for axis in (0, 1)])
    s = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))))
    even = np.linspace(0.0, s[-1], max(2, int(np.ceil(s[-1] / 0.5))) + 1)
    shape = np.column_stack([np.interp(even, s, points[:, axis]) for axis in (0, 1)])
    shape[0], shape[-1] = line_m[0], line_m[-1]
    return shape


def is_free(hazards: Hazards, line_m: Floats, half_width_m: float) -> bool:
    """Whether a strip along a line touches nothing that blocks."""
    pace_m = min(hazards.cell_m / 4, 0.25)
    s = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(line_m, axis=0).T))))
    along = np.arange(0.0, s[-1] + pace_m, pace_m)
    x, y = (np.interp(along, s, line_m[:, axis]) for axis in (0, 1))
    heading = np.arctan2(np.gradient(y), np.gradient(x))
    aside = np.linspace(-half_width_m, half_width_m, 1 + 2 * max(1, int(np.ceil(half_width_m / pace_m))))
    across_x, across_y = x[:, None] - np.sin(heading)[:, None] * aside, y[:, None] + np.cos(heading)[:, None] * aside
    return not bool(hazards.at(across_x, across_y).any())


def tightest_m(line_m: Floats) -> float:
    """The smallest radius of a line's turns, m; infinite for a straight one."""
    if len(line_m) < 3:
        return float("inf")
    step = np.diff(line_m, axis=0)
    turn = np.abs(np.diff(np.unwrap(np.arctan2(step[:, 1], step[:, 0]))))
    length = np.hypot(*step.T)
    curvature = turn / (0.5 * (length[1:] + length[:-1]))
    return float(1.0 / max(curvature.max(), 1e-12))
