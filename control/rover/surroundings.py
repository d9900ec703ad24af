"""The map around a drive: what blocks the way ahead, how far inside its bounds the rover is, where it can shelter, and
another way when this one does not go.

Made once before the drive; asked at every cycle. Without the route's map there are no surroundings: the drive says so,
and goes by its route and its instruments alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from control.rover.drive.hazard import hazard_ahead_m, inside_fence_m
from control.rover.drive.lane import Lane
from control.rover.ground.dem import Dem, DemError, read_dem
from control.rover.ground.terrain import analyse
from control.rover.route.costmap import CostMap, cost_map, outside_fence
from control.rover.route.kernels import cost_to_go
from control.rover.route.planner import PlanSettings, route_over
from control.rover.route.route_file import Haven, Route

MARGIN_M = 50.0  # of the map that is kept around the route and its havens: room to go round, and to a haven
HAVEN_REACH_M = 1000.0  # havens farther than this from the route are of no use to its drive
REACH_M = 3.0  # how far ahead of its front a rover looks on the map
LOOK_EVERY_M = 0.05
TROUBLE_M = 0.7  # so much ground around a place that did not let the rover pass is given up
TROUBLE_MAX = 50


@dataclass(frozen=True)
class Size:
    """From the rover's middle to its front and to its sides, margins included, m."""

    front_m: float
    half_width_m: float


class Surroundings:
    """What the map says of the rover's place and way. `costs` covers the route and its havens."""

    def __init__(self, route: Route, costs: CostMap, settings: PlanSettings, size: Size) -> None:
        self.route = route
        self._costs = costs
        self._settings = settings
        self._size = size
        self._hazards = costs.hazards
        self._fence = np.array(route.fence) if route.fence else None
        self._havens = near_havens(route)
        self._fields = [self._field(haven) for haven in self._havens]
        self._troubles: list[tuple[float, float]] = []
        self._looked: tuple[int, float, float, bool] | None = None
        self._seen_m = math.inf

    # -- what the guard asks ----------------------------------------------------------------------------------------

    def hazard_ahead_m(self, lane: Lane, progress_m: float, left_m: float, *, backwards: bool = False) -> float:
        """How far the rover's front is from ground that blocks its way; infinite if none is within reach."""
        asked = id(lane), progress_m, left_m, backwards
        before = self._looked
        if before is not None and (before[0], before[3]) == (asked[0], backwards):
            gone_m = abs(progress_m - before[1])
            if gone_m < LOOK_EVERY_M and abs(left_m - before[2]) < LOOK_EVERY_M:
                return max(0.0, self._seen_m - gone_m)
        self._looked = asked
        self._seen_m = hazard_ahead_m(
            self._hazards,
            lane,
            progress_m,
            left_m,
            reach_m=REACH_M,
            front_m=self._size.front_m,
            half_width_m=self._size.half_width_m,
            backwards=backwards,
        )
        return self._seen_m

    def fence_m(self, x_m: float, y_m: float) -> float:
        """How far inside the route's fence the rover is (outside: negative); infinite without one."""
        return math.inf if self._fence is None else inside_fence_m(self._fence, x_m, y_m)

    def haven_charge(self, x_m: float, y_m: float) -> float:
        """The charge that it takes to get to the nearest haven with the reserve left; the reserve if there is none."""
        to_go = self._to_havens(x_m, y_m)
        if not to_go or not math.isfinite(min(to_go)):
            return self._settings.reserve
        model, cruise = self._settings.energy, self._settings.cruise_m_s
        seconds = min(to_go) * self._costs.terrain.dem.cell_m / cruise  # the cost counts slopes as length
        needed_wh = seconds * (model.drive_w(cruise, 0.0) + model.hotel_w) / 3600.0
        return min(1.0, self._settings.reserve + needed_wh / model.capacity_wh)

    # -- other ways -------------------------------------------------------------------------------------------------

    def nearest_haven(self, x_m: float, y_m: float) -> Haven | None:
        """The haven that costs least to reach; None if none can be."""
        to_go = self._to_havens(x_m, y_m)
        if not to_go or not math.isfinite(min(to_go)):
            return None
        return self._havens[int(np.argmin(to_go))]

    def give_up(self, x_m: float, y_m: float) -> None:
        """From here on, ways lead around this place."""
        if len(self._troubles) < TROUBLE_MAX:
            self._troubles.append((x_m, y_m))

    def way(self, start_m: tuple[float, float], goal_m: tuple[float, float]) -> Route:
        """Another way, around every place that was given up. RouteError if there is none."""
        return route_over(self._without_troubles(start_m), start_m, goal_m, self._settings, self.route.map)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _without_troubles(self, start_m: tuple[float, float]) -> CostMap:
        """The costs with the given-up places blocked, but for the cell that the rover stands in."""
        dem = self._costs.terrain.dem
        if not self._troubles:
            return self._costs
        i, j = np.mgrid[0 : dem.shape[0], 0 : dem.shape[1]]
        x, y = dem.x_m + j * dem.cell_m, dem.y_m + i * dem.cell_m
        forbidden = outside_fence(dem, self.route.fence)
        for place in self._troubles:
            forbidden |= np.hypot(x - place[0], y - place[1]) <= max(TROUBLE_M, 0.5 * dem.cell_m)
        forbidden[dem.index(*start_m)] = False
        return cost_map(self._costs.terrain, self._settings.costs, forbidden=forbidden)

    def _field(self, haven: Haven) -> NDArray[np.float32]:
        return cost_to_go(self._costs.cost, self._costs.terrain.dem.index(haven.x_m, haven.y_m))

    def _to_havens(self, x_m: float, y_m: float) -> list[float]:
        """What it costs to reach each haven from here, in cells of flat ground."""
        try:
            cell = self._costs.terrain.dem.index(x_m, y_m)
        except DemError:
            return []
        return [float(field[cell]) for field in self._fields]


def surroundings_of(route: Route, settings: PlanSettings, size: Size, beside: str | Path = ".") -> Surroundings:
    """Read the route's map, from where the route says or from the folder `beside`, and work out what is around.

    Raises:
        MoonkilnError: the map is not there, cannot be read, or is another one than the route was planned on.
    """
    dem = map_of(route, beside)
    around = dem.crop(*extent_m(route, MARGIN_M))
    soft_deg = min(settings.costs.slope_soft_deg, route.slope_max_deg)
    limits = replace(settings.costs, slope_soft_deg=soft_deg, slope_max_deg=route.slope_max_deg)
    costs = cost_map(analyse(around), limits, forbidden=outside_fence(around, route.fence))
    return Surroundings(route, costs, replace(settings, costs=limits), size)


def near_havens(route: Route) -> list[Haven]:
    """The route's havens that its drive may turn to."""
    points = route.waypoints_m
    return [h for h in route.havens if np.hypot(*(points - (h.x_m, h.y_m)).T).min() <= HAVEN_REACH_M]


def extent_m(route: Route, margin_m: float) -> tuple[float, float, float, float]:
    """The rectangle (low x, low y, high x, high y) of a route and its near havens, and so much around them."""
    places = np.vstack((route.waypoints_m, [(h.x_m, h.y_m) for h in near_havens(route)] or route.waypoints_m[:1]))
    (x0, y0), (x1, y1) = places.min(axis=0) - margin_m, places.max(axis=0) + margin_m
    return float(x0), float(y0), float(x1), float(y1)


def map_of(route: Route, beside: str | Path = ".") -> Dem:
    """The map that a route was planned on. DemError if it is gone, or another one."""
    path = next((p for p in (Path(route.map.path), Path(beside) / Path(route.map.path).name) if p.is_file()), None)
    dem = read_dem(path or route.map.path, georef=route.map.georef, layer=route.map.layer)
    if dem.sha256 != route.map.sha256:
        raise DemError(f"{path} is not the map that the route was planned on: plan it again")
    return dem
