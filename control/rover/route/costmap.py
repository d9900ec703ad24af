"""What each cell of a map costs to drive over, and why some cannot be driven over at all.

Cost is per cell of way, 1 on flat smooth lit ground. Slope costs (slope / 8 deg)^2, and beyond the soft limit a wall
that grows by the square up to the hard one; roughness counts as a slope hidden in the cell; shade and risky soil
multiply. Cells without data, too steep, too rough, stepped, or too near to such, are blocked: cost inf.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from control.rover.drive.hazard import Hazards
from control.rover.ground.dem import Dem
from control.rover.ground.terrain import Terrain

SLOPE_SCALE_DEG = 8.0
STEP_CELL_M = 1.0  # on coarser cells a step cannot be told from a slope: the slope judges it


class Why(IntEnum):
    """Why a cell is blocked."""

    OPEN = 0
    NO_DATA = 1
    TOO_STEEP = 2
    STEP = 3
    TOO_ROUGH = 4
    FORBIDDEN = 5
    TOO_NEAR = 6


@dataclass(frozen=True, slots=True)
class CostSettings:
    """What a rover bears and dislikes.

    Args:
        slope_soft_deg, slope_max_deg: dear from the one on, blocked over the other.
        step_max_m: the highest step that its wheels climb; judged on cells of up to 1 m.
        clearance_m: kept between the rover's middle and whatever blocks.
        shade_weight: a cell never lit costs 1 + this times one always lit.
        risk_weight: the same for soil risk 1.

    Raises:
        ValueError: a setting that is no number, under 0, or a soft limit over the hard one; a sentence.
    """

    slope_soft_deg: float = 15.0
    slope_max_deg: float = 20.0
    step_max_m: float = 0.10
    clearance_m: float = 0.5
    shade_weight: float = 1.0
    risk_weight: float = 3.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{item.name} is {value!r}; it must be a number from 0 on")
        if not 0 < self.slope_soft_deg <= self.slope_max_deg <= 60:
            raise ValueError(
                f"slopes dear from {self.slope_soft_deg:g} and blocked over {self.slope_max_deg:g} deg cannot be:"
                " 0 < soft <= hard <= 60"
            )


@dataclass(frozen=True, eq=False)
class CostMap:
    """Costs (rows, columns) f4, inf blocked, and for each cell a `Why` u1; with the map they belong to."""

    terrain: Terrain
    settings: CostSettings
    cost: NDArray[np.float32]
    why: NDArray[np.uint8]

    @property
    def hazards(self) -> Hazards:
        """The blocked cells that are hazards themselves (not only near one), for whoever drives."""
        dem = self.terrain.dem
        return Hazards((self.why != Why.OPEN) & (self.why != Why.TOO_NEAR), dem.x_m, dem.y_m, dem.cell_m)

    def sentence(self, i: int, j: int) -> str:
        """Why a cell is blocked, in words; "open" if it is not."""
        terrain, settings = self.terrain, self.settings
        match Why(int(self.why[i, j])):
            case Why.NO_DATA:
                return "the map has no data there, or ends"
            case Why.TOO_STEEP:
                return f"it is {terrain.slope_deg[i, j]:.1f} deg steep, over the limit of {settings.slope_max_deg:g}"
            case Why.STEP:
                return f"it has a step of {terrain.step_m[i, j]:.2f} m, over the limit of {settings.step_max_m:g}"
            case Why.TOO_ROUGH:
                return f"its heights stray by {terrain.roughness_m[i, j]:.2f} m from a plane: a peak, a pit or an edge"
            case Why.FORBIDDEN:
                return "it is outside the fence or was given up"
            case Why.TOO_NEAR:
                return f"it is within {settings.clearance_m:g} m of ground that cannot be driven over"
            case _:
                return "open"


def cost_map(
    terrain: Terrain,
    settings: CostSettings,
    *,
    lit: NDArray[np.float32] | None = None,
    risk: NDArray[np.float32] | None = None,
    forbidden: NDArray[np.bool_] | None = None,
) -> CostMap:
    """The cost of every cell.

    Args:
        lit: share of the time that a cell is lit, 0 to 1, (rows, columns); NaN counts as never.
        risk: what is feared of the soil, 0 (firm) to 1 (like dust), (rows, columns); NaN counts as 1.
        forbidden: cells that are blocked whatever the ground says, (rows, columns) bool.
    """
    for name, grid in (("lit", lit), ("risk", risk), ("forbidden", forbidden)):
        if grid is not None and grid.shape != terrain.dem.shape:
            raise ValueError(f"{name} has {grid.shape} cells, the map {terrain.dem.shape}")
    slope = terrain.slope_deg
    why = np.zeros(slope.shape, np.uint8)
    if terrain.dem.cell_m <= STEP_CELL_M:
        why[terrain.step_m > settings.step_max_m] = Why.STEP
    hidden = np.degrees(np.arctan(terrain.roughness_m / np.float32(terrain.dem.cell_m)))
    why[hidden > settings.slope_max_deg] = Why.TOO_ROUGH  # level on average, like the top of a spike
    why[slope > settings.slope_max_deg] = Why.TOO_STEEP
    if forbidden is not None:
        why[forbidden] = Why.FORBIDDEN
    why[~np.isfinite(slope)] = Why.NO_DATA
    near = _widened(why != Why.OPEN, settings.clearance_m, terrain.dem.cell_m)
    why[near & (why == Why.OPEN)] = Why.TOO_NEAR
    cost = 1 + (slope / SLOPE_SCALE_DEG) ** 2 + (hidden / SLOPE_SCALE_DEG) ** 2
    cost += np.maximum(slope - settings.slope_soft_deg, 0) ** 2
    if lit is not None:
        cost *= 1 + settings.shade_weight * (1 - np.clip(np.nan_to_num(lit), 0, 1))
    if risk is not None:
        cost *= 1 + settings.risk_weight * np.clip(np.nan_to_num(risk, nan=1.0), 0, 1)
    cost[why != Why.OPEN] = np.inf
    return CostMap(terrain, settings, np.ascontiguousarray(cost, dtype=np.float32), why)


def outside_fence(dem: Dem, fence: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    """Cells that are not wholly inside a polygon (x, y) of three corners or more; none without one."""
    if not fence:
        return np.zeros(dem.shape, np.bool_)
    corners = np.asarray(fence, dtype=np.float64)
    rows, columns = dem.shape
    x = dem.x_m + dem.cell_m * (np.arange(columns + 1) - 0.5)
    inside = np.zeros((rows + 1, columns + 1), np.bool_)  # of the cells' corners
    for i in range(rows + 1):  # where a row crosses the edges, inside and outside change places
        y = dem.y_m + (i - 0.5) * dem.cell_m
        (ax, ay), (bx, by) = corners.T, np.roll(corners, -1, axis=0).T
        spans = (ay > y) != (by > y)
        crossings = ax[spans] + (y - ay[spans]) / (by[spans] - ay[spans]) * (bx[spans] - ax[spans])
        inside[i] = np.searchsorted(np.sort(crossings), x) % 2 == 1
    return ~(inside[:-1, :-1] & inside[:-1, 1:] & inside[1:, :-1] & inside[1:, 1:])


def _widened(blocked: NDArray[np.bool_], clearance_m: float, cell_m: float) -> NDArray[np.bool_]:
    """Cells whose centre is within `clearance_m` of a blocked cell's edge.

    A way from centre to centre that cuts no corner keeps half a cell off whatever blocks: only more needs widening.
    """
    beyond = (clearance_m - cell_m / 2) / cell_m
    if beyond <= 0:
        return blocked
    import cv2

    # distance from a centre to the nearest blocked centre, in cells; the blocked cell's own edge is half a cell nearer
    away = cv2.distanceTransform((~blocked).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(away < beyond + 1.0)
