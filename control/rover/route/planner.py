"""From here to there over a map: what the ground costs, the cheapest way, a line that can be driven, and what it takes.

    route = plan_route(read_dem("site.tif"), (120.0, 80.0), (310.0, 200.0), settings, place)

What cannot be planned is a RouteError that says why, and where the nearest way out is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from control.errors import MoonkilnError
from control.rover.energy import EnergyModel
from control.rover.ground.dem import Dem, DemError
from control.rover.ground.terrain import analyse
from control.rover.route.costmap import CostMap, CostSettings, cost_map
from control.rover.route.kernels import Cell, astar, corridor_astar, cost_to_go
from control.rover.route.route_file import Haven, MapRef, Predicted, Route
from control.rover.route.shaping import shaped

Point = tuple[float, float]
CORRIDOR_CELLS = 1_000_000  # larger maps are searched along the coarse map's way first
PROFILE_MAX = 2000
SLOW_SHARE = 0.6  # at the steepest allowed slope a rover is planned to drive so much slower


class RouteError(MoonkilnError):
    """No route, and why; the sentence names the nearest way out."""

    exit_code = 1


@dataclass(frozen=True)
class PlanSettings:
    """What a plan is made for: the rover's bounds, its electricity, and its charge at the start (None: not asked).

    `reserve`: the charge that must be left at the goal.
    """

    costs: CostSettings = field(default_factory=CostSettings)
    energy: EnergyModel = field(default_factory=EnergyModel)
    cruise_m_s: float = 0.1
    turn_radius_min_m: float = 0.45
    corridor_m: float = 1.5
    charge: float | None = None
    reserve: float = 0.2
    name: str = "route"


def map_ref(dem: Dem, path: str, *, georef: str | None = None, layer: int | None = None) -> MapRef:
    """How a route names the map that it was planned on."""
    rows, columns = dem.shape
    return MapRef(path, dem.sha256, dem.crs.kind, dem.x_m, dem.y_m, dem.cell_m, rows, columns, layer, georef)


def plan_route(
    dem: Dem,
    start_m: Point,
    goal_m: Point,
    settings: PlanSettings,
    place: MapRef,
    *,
    lit: NDArray[np.float32] | None = None,
    risk: NDArray[np.float32] | None = None,
    forbidden: NDArray[np.bool_] | None = None,
    havens: Sequence[Haven] = (),
) -> Route:
    """Plan the cheapest way from start to goal (x, y in m). `lit`, `risk`, `forbidden`: as `cost_map` takes them.

    Raises:
        RouteError: start or goal outside the map, without data or in a hazard; no way between them; none wide enough;
            too little charge.
    """
    costs = cost_map(analyse(dem), settings.costs, lit=lit, risk=risk, forbidden=forbidden)
    return route_over(costs, start_m, goal_m, settings, place, havens=havens)


def route_over(
    costs: CostMap,
    start_m: Point,
    goal_m: Point,
    settings: PlanSettings,
    place: MapRef,
    *,
    havens: Sequence[Haven] = (),
) -> Route:
    """The same over a cost map that is at hand. RouteError."""
    start, goal = open_cell(costs, start_m, "start"), open_cell(costs, goal_m, "goal")
    if math.dist(start_m, goal_m) < 0.01:
        raise RouteError(f"start and goal are both at {_said(start_m)}: there is nowhere to go")
    points = _way(costs, start, goal, start_m, goal_m, settings)
    speeds = _speeds(costs, points, settings)
    predicted = _predicted(costs, points, speeds, settings.energy)
    _check_charge(settings, predicted, havens, start_m)
    return Route(
        name=settings.name,
        map=place,
        start_m=start_m,
        goal_m=goal_m,
        waypoints=[(round(float(x), 4), round(float(y), 4)) for x, y in points],
        speeds_m_s=[round(float(v), 4) for v in speeds],
        corridor_m=settings.corridor_m,
        slope_max_deg=settings.costs.slope_max_deg,
        predicted=predicted,
        havens=list(havens),
    )


def open_cell(costs: CostMap, point_m: Point, what: str) -> Cell:
    """The cell of a place that must be drivable. RouteError with the reason and the nearest open ground."""
    dem = costs.terrain.dem
    try:
        cell = dem.index(*point_m)
    except DemError as error:
        raise RouteError(f"the {what} cannot be: {error}") from error
    if np.isfinite(costs.cost[cell]):
        return cell
    out = _nearest_m(costs, np.isfinite(costs.cost), point_m)
    way_out = "the map has no open ground at all" if out is None else f"the nearest open ground is at {_said(out)}"
    if out is not None:
        way_out += f", {math.dist(out, point_m):.1f} m away"
    raise RouteError(f"the {what} at {_said(point_m)} cannot be driven on: {costs.sentence(*cell)}; {way_out}")


def _way(
    costs: CostMap, start: Cell, goal: Cell, start_m: Point, goal_m: Point, settings: PlanSettings
) -> NDArray[np.float64]:
    """Waypoints of the cheapest way that can be driven."""
    search = corridor_astar if costs.cost.size > CORRIDOR_CELLS else astar
    cells, _ = search(costs.cost, start, goal)
    if not len(cells):
        reached = np.isfinite(cost_to_go(costs.cost, start))
        out = _nearest_m(costs, reached, goal_m)
        assert out is not None  # the start itself is reached
        raise RouteError(
            f"there is no way from {_said(start_m)} to {_said(goal_m)}: ground that cannot be driven over lies between"
            f" them all around; the nearest place that can be reached is {_said(out)}, {math.dist(out, goal_m):.1f} m"
            " from the goal"
        )
    ends = np.array(start_m), np.array(goal_m)
    points = shaped(costs, cells, *ends, settings.turn_radius_min_m)
    if points is None:  # somewhere it is too narrow: once more, with what blocks widened
        wider = replace(settings.costs, clearance_m=settings.costs.clearance_m + costs.terrain.dem.cell_m)
        roomy = cost_map(costs.terrain, wider, forbidden=~np.isfinite(costs.cost))
        cells, _ = search(roomy.cost, start, goal)
        points = shaped(costs, cells, *ends, settings.turn_radius_min_m) if len(cells) else None
    if points is None:
        raise RouteError(
            f"every way from {_said(start_m)} to {_said(goal_m)} is somewhere narrower than"
            f" {2 * settings.costs.clearance_m:g} m or turns tighter than {settings.turn_radius_min_m:g} m"
        )
    return points


def _nearest_m(costs: CostMap, among: NDArray[np.bool_], point_m: Point) -> Point | None:
    """The centre of the cell nearest to a place, among those marked; None if none is."""
    i, j = np.nonzero(among)
    if not len(i):
        return None
    dem = costs.terrain.dem
    x, y = dem.x_m + j * dem.cell_m, dem.y_m + i * dem.cell_m
    n = int(np.argmin((x - point_m[0]) ** 2 + (y - point_m[1]) ** 2))
    return float(x[n]), float(y[n])


def _cells_under(costs: CostMap, points: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    dem = costs.terrain.dem
    i, j = np.rint((points[:, 1] - dem.y_m) / dem.cell_m), np.rint((points[:, 0] - dem.x_m) / dem.cell_m)
    return i.astype(np.int64), j.astype(np.int64)


def _speeds(costs: CostMap, points: NDArray[np.float64], settings: PlanSettings) -> NDArray[np.float64]:
    """Cruise on the flat, less the steeper it is: wheels that slip must turn faster for the same speed."""
    slope = costs.terrain.slope_deg[_cells_under(costs, points)]
    return settings.cruise_m_s * (1 - SLOW_SHARE * np.minimum(slope / settings.costs.slope_max_deg, 1.0))


def _predicted(
    costs: CostMap, points: NDArray[np.float64], speeds: NDArray[np.float64], energy: EnergyModel
) -> Predicted:
    """Length, time and energy, and the profile every few waypoints."""
    steps = np.hypot(*np.diff(points, axis=0).T)
    s = np.concatenate(([0.0], np.cumsum(steps)))
    height = costs.terrain.dem.height_at(points[:, 0], points[:, 1])
    slope = costs.terrain.slope_deg[_cells_under(costs, points)].astype(np.float64)
    grade_deg = np.degrees(np.arctan2(np.diff(height), steps))
    duration_s, energy_wh = energy.way(steps, grade_deg, 0.5 * (speeds[1:] + speeds[:-1]))
    kept = np.unique(np.linspace(0, len(s) - 1, min(len(s), PROFILE_MAX)).round().astype(np.int64))
    return Predicted(
        length_m=round(float(s[-1]), 3),
        duration_s=round(duration_s, 1),
        energy_wh=round(energy_wh, 3),
        s_m=[round(float(v), 2) for v in s[kept]],
        height_m=[round(float(v), 3) for v in height[kept]],
        slope_deg=[round(float(v), 2) for v in slope[kept]],
    )


def _check_charge(settings: PlanSettings, predicted: Predicted, havens: Sequence[Haven], start_m: Point) -> None:
    """The drive must leave its reserve in the battery, counted without any Sun."""
    if settings.charge is None:
        return
    left = settings.charge - predicted.energy_wh / settings.energy.capacity_wh
    if left >= settings.reserve:
        return
    wait_wh = (settings.reserve - left) * settings.energy.capacity_wh
    haven = min(havens, key=lambda h: math.dist((h.x_m, h.y_m), start_m), default=None)
    where = "" if haven is None else f" at the haven {_said((haven.x_m, haven.y_m))}"
    raise RouteError(
        f"the way of {predicted.length_m:.0f} m takes {predicted.energy_wh:.0f} Wh and would leave"
        f" {100 * left:.0f} % of the charge, under the reserve of {100 * settings.reserve:.0f} %: charge"
        f" {wait_wh:.0f} Wh more first{where}, or go a shorter way"
    )


def _said(point_m: Point) -> str:
    return f"{point_m[0]:.1f}, {point_m[1]:.1f} m"
