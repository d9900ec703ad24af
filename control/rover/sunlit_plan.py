"""A route planned by light: when to leave, where to wait for the Sun, and the havens on the way."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from control.rover.ground.dem import Dem
from control.rover.ground.ephemeris import unix_s, utc_text
from control.rover.ground.illumination import HorizonMap, comms_mask, horizon_map, lit_share
from control.rover.ground.terrain import Terrain, analyse, level_for
from control.rover.route.costmap import cost_map
from control.rover.route.havens import find_havens
from control.rover.route.kernels import cost_to_go
from control.rover.route.planner import PlanSettings, RouteError, open_cell, route_over
from control.rover.route.route_file import Haven, MapRef, Route, Wait
from control.rover.route.timed import Frames, TimedPlan, TimedSettings, plan_timed

HORIZON_CELLS_MAX = 1_000_000  # horizons are worked out on no more
COARSE_CELLS_MAX = 4_000  # time is planned on no more
HAVEN_CELLS_MAX = 40_000
FRAME_S = 3600.0
AHEAD_S = 15 * 86400.0
HAVEN_FRAME_S, HAVEN_SPAN_S = 6 * 3600.0, 59 * 86400.0  # two lunations
HAVEN_NEAR_M = 3000.0  # of the way; farther ones are left out of the route
WAIT_MIN_S = 900.0  # shorter stands are the plan's own coarseness
FULL = 1.0


def plan_by_light(
    ground: Terrain,
    start_m: tuple[float, float],
    goal_m: tuple[float, float],
    settings: PlanSettings,
    place: MapRef,
    sun_utc: str,
    *,
    forbidden: NDArray[np.bool_] | None = None,
    with_earth: bool = False,
) -> Route:
    """Plan the earliest arrival for a departure at `sun_utc` or later, with waits and havens in the route.

    `with_earth`: drive only where and when the Earth stands 2 deg over the horizon.

    At the goal there is charge left for the way on to the nearest haven, if the map has any. The map must know where on
    the Moon it lies (DemError otherwise). What lies beyond it is taken for level ground, so light is an upper bound.

    Raises:
        RouteError, TimedError: as the planners say; TimeError: no date.
    """
    depart_s = unix_s(sun_utc)
    fine = cost_map(ground, settings.costs, forbidden=forbidden)
    for what, point in (("start", start_m), ("goal", goal_m)):
        open_cell(fine, point, what)
    horizons = horizon_map(level_for(ground.dem, HORIZON_CELLS_MAX))
    coarse = level_for(ground.dem, COARSE_CELLS_MAX)
    costs = cost_map(analyse(coarse), settings.costs)
    times_s = depart_s + FRAME_S * np.arange(round(AHEAD_S / FRAME_S))
    lit = np.stack([_on(coarse, lit_share(horizons, t)) for t in times_s])
    heard = np.stack([_on(coarse, comms_mask(horizons, t)) >= 0.5 for t in times_s]) if with_earth else None
    ends = _open_near(costs.cost, coarse, start_m), _open_near(costs.cost, coarse, goal_m)
    havens = _havens(ground.dem, horizons, depart_s, settings)
    speed_m_s = 0.75 * settings.cruise_m_s  # what slopes leave of it; coarse ways take rather longer than fine ones
    plan = plan_timed(
        costs.cost,
        costs.terrain.slope_deg,
        coarse.cell_m,
        *ends,
        FULL if settings.charge is None else settings.charge,
        Frames(depart_s, FRAME_S, lit, heard),
        settings.energy,
        TimedSettings(
            speed_m_s, settings.reserve, _on_arrival(costs.cost, coarse, ends[1], havens, settings, speed_m_s)
        ),
    )
    route = _along(ground, plan, coarse, start_m, goal_m, settings, place, forbidden)
    return _timed(route, plan, coarse, havens)


def _on(coarse: Dem, grid: NDArray) -> NDArray[np.float32]:
    """A finer map's grid on the coarse map's cells: means, unknown cells counted as 0."""
    times = grid.shape[0] // coarse.shape[0]
    rows, columns = coarse.shape
    squares = grid[: rows * times, : columns * times].reshape(rows, times, columns, times)
    return np.asarray(np.nan_to_num(squares).mean(axis=(1, 3)), dtype=np.float32)


def _open_near(cost: NDArray[np.float32], coarse: Dem, point_m: tuple[float, float]) -> tuple[int, int]:
    """The open coarse cell nearest to a place."""
    i, j = np.nonzero(np.isfinite(cost))
    if not len(i):
        raise RouteError(f"the map has no open ground in cells of {coarse.cell_m:g} m")
    x, y = coarse.x_m + j * coarse.cell_m, coarse.y_m + i * coarse.cell_m
    n = int(np.argmin((x - point_m[0]) ** 2 + (y - point_m[1]) ** 2))
    return int(i[n]), int(j[n])


def _on_arrival(
    cost: NDArray[np.float32],
    coarse: Dem,
    goal: tuple[int, int],
    havens: list[Haven],
    settings: PlanSettings,
    speed_m_s: float,
) -> float:
    """The charge that must be left at the goal: the reserve, and the way on to the nearest haven."""
    to_go = [float(cost_to_go(cost, _open_near(cost, coarse, (h.x_m, h.y_m)))[goal]) * coarse.cell_m for h in havens]
    if not to_go or not np.isfinite(min(to_go)):
        return settings.reserve
    model = settings.energy
    way_wh = min(to_go) / speed_m_s * (model.hotel_w + model.drive_w(speed_m_s, 0.0)) / 3600.0
    return min(0.95, settings.reserve + way_wh / model.capacity_wh)


def _havens(dem: Dem, horizons: HorizonMap, t_s: float, settings: PlanSettings) -> list[Haven]:
    """Havens of the map, by two lunations of light."""
    cells = level_for(dem, HAVEN_CELLS_MAX)
    costs = cost_map(analyse(cells), settings.costs)
    times_s = t_s + HAVEN_FRAME_S * np.arange(round(HAVEN_SPAN_S / HAVEN_FRAME_S))
    lit = np.stack([_on(cells, lit_share(horizons, t)) for t in times_s])
    return find_havens(
        cells,
        costs.terrain.slope_deg,
        np.isfinite(costs.cost),
        lit,
        HAVEN_FRAME_S,
        settings.energy,
        reserve=settings.reserve,
        apart_m=max(50.0, 2 * cells.cell_m),
    )


def _along(
    ground: Terrain,
    plan: TimedPlan,
    coarse: Dem,
    start_m: tuple[float, float],
    goal_m: tuple[float, float],
    settings: PlanSettings,
    place: MapRef,
    forbidden: NDArray[np.bool_] | None,
) -> Route:
    """The fine way within a cell or two of the coarse one; anywhere, if that holds none."""
    import cv2

    marked = np.zeros(coarse.shape, np.uint8)
    marked[plan.cells[:, 0], plan.cells[:, 1]] = 1
    near = cv2.dilate(marked, np.ones((5, 5), np.uint8)) > 0
    rows, columns = ground.dem.shape
    i = np.clip(((np.arange(rows) * ground.dem.cell_m) / coarse.cell_m).astype(np.int64), 0, coarse.shape[0] - 1)
    j = np.clip(((np.arange(columns) * ground.dem.cell_m) / coarse.cell_m).astype(np.int64), 0, coarse.shape[1] - 1)
    outside = ~near[np.ix_(i, j)]
    both = outside if forbidden is None else outside | forbidden
    uncharged = replace(settings, charge=None)  # the plan over time has answered that, Sun included
    try:
        return route_over(cost_map(ground, settings.costs, forbidden=both), start_m, goal_m, uncharged, place)
    except RouteError:
        return route_over(cost_map(ground, settings.costs, forbidden=forbidden), start_m, goal_m, uncharged, place)


def _timed(route: Route, plan: TimedPlan, coarse: Dem, havens: list[Haven]) -> Route:
    """The route with its departure, its waits and the least charge on the way."""
    way = route.waypoints_m
    havens = [h for h in havens if np.hypot(*(way - (h.x_m, h.y_m)).T).min() <= HAVEN_NEAR_M]
    moved = np.any(np.diff(plan.cells, axis=0) != 0, axis=1)
    first = int(np.argmax(moved)) if moved.any() else 0
    waits: list[Wait] = []
    points = route.waypoints_m
    s = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))))
    n = first
    while n < len(moved):
        if moved[n]:
            n += 1
            continue
        since = n
        while n < len(moved) and not moved[n]:
            n += 1
        for_s = float(plan.times_s[n] - plan.times_s[since])
        if for_s >= WAIT_MIN_S:
            x, y = coarse.point(int(plan.cells[since, 0]), int(plan.cells[since, 1]))
            at = float(s[int(np.argmin(np.hypot(points[:, 0] - x, points[:, 1] - y)))])
            waits.append(Wait(round(max(at, waits[-1].s_m if waits else 0.0), 2), round(for_s, 1)))
    predicted = msgspec.structs.replace(route.predicted, charge_least=round(float(plan.charge.min()), 4))
    return msgspec.structs.replace(
        route, departs_utc=utc_text(float(plan.times_s[first])), waits=waits, havens=havens, predicted=predicted
    )
