"""From a rover's machine file and a map to a route: the one orchestration of a plan."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from control.errors import MoonkilnError
from control.rover.config import RoverConfig, energy_of, load_rover
from control.rover.ground.dem import Dem, read_dem
from control.rover.ground.terrain import analyse
from control.rover.route.costmap import CostSettings, cost_map, outside_fence
from control.rover.route.planner import PlanSettings, RouteError, map_ref, route_over
from control.rover.route.route_file import Predicted, Route, Tag, write_route
from control.rover.surroundings import Size

TAG_UP_M = 0.6  # the middle of a tag on its stand, over the ground
MARGIN_M = 0.15  # beyond the wheels' outlines


def plan_settings(config: RoverConfig, *, name: str = "route", charge: float | None = None) -> PlanSettings:
    """What a route for this rover is planned with. `charge`: at the start; None plans without asking."""
    drive = config.drive
    return PlanSettings(
        costs=CostSettings(
            slope_soft_deg=drive.slope_soft_deg,
            slope_max_deg=drive.slope_max_deg,
            step_max_m=drive.step_max_m,
            clearance_m=drive.clearance_m,
        ),
        energy=energy_of(config),
        cruise_m_s=drive.cruise_m_s,
        turn_radius_min_m=config.body.turn_radius_min_m,
        corridor_m=drive.corridor_m,
        charge=charge,
        reserve=config.energy.reserve_fraction,
        name=name,
    )


def size_of(config: RoverConfig) -> Size:
    """The rover's outline, with a margin."""
    body = config.body
    wheels = body.wheels.values()
    return Size(
        front_m=max(wheel.x_m for wheel in wheels) + body.wheel_radius_m + MARGIN_M,
        half_width_m=max(abs(wheel.y_m) for wheel in wheels) + MARGIN_M,
    )


@dataclass(frozen=True)
class PlanRequest:
    """What a user asks of a plan; see `moonkiln rover plan --help`."""

    map_path: Path
    start_m: tuple[float, float]
    goal_m: tuple[float, float]
    machine: str | Path = "osr"
    sun_utc: str | None = None
    with_earth: bool = False
    charge: float | None = None
    slope_max_deg: float | None = None
    fence: tuple[tuple[float, float], ...] = ()
    tags: tuple[tuple[int, float, float, float], ...] = ()
    """Number, x, y (m), direction that it faces (deg ccw from +x) of each AprilTag at the site."""
    georef: Path | None = None
    layer: int | None = None


def plan_request(asked: PlanRequest, route_path: Path, page: Path | None = None) -> Route:
    """Plan what was asked, write the route, and a page to look at if one is wanted.

    Raises:
        MoonkilnError: a map or machine file that cannot be used; DemError, ConfigError and RouteError say why.
    """
    config = load_rover(asked.machine)
    dem = read_dem(asked.map_path, georef=asked.georef, layer=asked.layer)
    settings = plan_settings(config, name=route_path.stem, charge=asked.charge)
    if asked.slope_max_deg is not None:
        soft = min(settings.costs.slope_soft_deg, asked.slope_max_deg)
        costs = replace(settings.costs, slope_max_deg=asked.slope_max_deg, slope_soft_deg=soft)
        settings = replace(settings, costs=costs)
    place = map_ref(
        dem,
        str(asked.map_path.resolve()),
        georef=None if asked.georef is None else str(asked.georef.resolve()),
        layer=asked.layer,
    )
    if asked.with_earth and asked.sun_utc is None:
        raise MoonkilnError("whether the Earth is heard depends on the date: give --sun DATE as well", 2)
    ground = analyse(dem)
    forbidden = outside_fence(dem, asked.fence) if asked.fence else None
    if asked.sun_utc is None:
        route = route_over(
            cost_map(ground, settings.costs, forbidden=forbidden), asked.start_m, asked.goal_m, settings, place
        )
    else:
        from control.rover.sunlit_plan import plan_by_light

        route = plan_by_light(
            ground,
            asked.start_m,
            asked.goal_m,
            settings,
            place,
            asked.sun_utc,
            forbidden=forbidden,
            with_earth=asked.with_earth,
        )
    route = msgspec.structs.replace(route, fence=list(asked.fence), tags=_tags(dem, asked.tags))
    write_route(route, route_path)
    if page is not None:
        from control.rover.views.route_view import write_route_html

        write_route_html(route, dem, page)
    return route


def _tags(dem: Dem, tags: tuple[tuple[int, float, float, float], ...]) -> list[Tag]:
    """Tags with their heights. RouteError for one that stands off the map."""
    placed = []
    for number, x_m, y_m, facing_deg in tags:
        ground_m = float(dem.height_at(x_m, y_m))
        if not math.isfinite(ground_m):
            raise RouteError(f"tag {number} at {x_m:.1f}, {y_m:.1f} m stands where the map has no heights")
        placed.append(Tag(number, x_m, y_m, round(ground_m + TAG_UP_M, 3), facing_deg))
    return placed


def route_along(
    waypoints: list[tuple[float, float]],
    speed_m_s: float,
    map_path: Path,
    route_path: Path,
    *,
    name: str,
    corridor_m: float,
    slope_max_deg: float,
    machine: str | Path = "osr",
) -> Route:
    """Write the route of a way that nobody planned: these waypoints (m, of the map's frame) at one speed. The map lies
    beside the route, and is named by its file name alone.

    Raises:
        MoonkilnError: a map, a machine file or a way that cannot be used.
    """
    energy = energy_of(load_rover(machine))
    dem = read_dem(map_path)
    length_m = sum(math.dist(a, b) for a, b in itertools.pairwise(waypoints))
    duration_s = length_m / speed_m_s
    predicted_wh = duration_s * (energy.drive_w(speed_m_s, 0.0) + energy.hotel_w) / 3600.0
    route = Route(
        name=name,
        map=map_ref(dem, map_path.name),
        start_m=waypoints[0],
        goal_m=waypoints[-1],
        waypoints=waypoints,
        speeds_m_s=[speed_m_s] * len(waypoints),
        corridor_m=corridor_m,
        slope_max_deg=slope_max_deg,
        predicted=Predicted(length_m, duration_s, predicted_wh),
    )
    write_route(route, route_path)
    return route
