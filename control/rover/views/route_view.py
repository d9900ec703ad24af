"""A route to look at: the ground, what blocks, the way, its profile and what it is predicted to take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from control.report_drawing import Curve, line_chart
from control.rover.ground.dem import Dem
from control.rover.ground.terrain import analyse, level_for
from control.rover.route.costmap import CostSettings, cost_map, outside_fence
from control.rover.route.route_file import Route
from control.rover.surroundings import near_havens
from control.rover.views.drawing import Line, Spot, map_svg, shaded
from control.rover.views.page import Page, hours, write_page

CELLS_MAX = 1_000_000
MARGIN_SHARE, MARGIN_MIN_M = 0.15, 40.0


def around(route: Route, dem: Dem) -> Dem:
    """The part of a map that a route's picture shows, in cells that a picture can hold."""
    points = np.vstack((route.waypoints_m, [(h.x_m, h.y_m) for h in near_havens(route)] or route.waypoints_m[:1]))
    low, high = points.min(axis=0), points.max(axis=0)
    margin = max(MARGIN_MIN_M, MARGIN_SHARE * float((high - low).max()))
    return level_for(dem.crop(*(low - margin), *(high + margin)), CELLS_MAX)


def spots(route: Route) -> list[Spot]:
    """Start, goal and havens."""
    havens = [Spot(h.x_m, h.y_m, "haven", f"haven, lit {h.lit_fraction:.0%}") for h in near_havens(route)]
    return [*havens, Spot(*route.start_m, "start", "start"), Spot(*route.goal_m, "goal", "goal")]


def profile(route: Route) -> list[tuple[str, object, list[tuple[str, str]]]]:
    """Height and slope along the way, as charts."""
    p = route.predicted
    s, span = np.array(p.s_m), max(p.length_m, 1e-6)
    if len(s) < 2:
        return []
    height = line_chart([Curve("height", "cool", s, np.array(p.height_m))], span, "m", (), "Height", over="m")
    slope = line_chart([Curve("slope", "hot", s, np.array(p.slope_deg))], span, "deg", (), "Slope", over="m")
    return [("Height over the way", height, []), ("Slope of the ground", slope, [])]


def write_route_html(route: Route, dem: Dem, path: Path) -> Path:
    """Write a route's page. `dem`: the map that it was planned on. FileError if it cannot be written."""
    ground = around(route, dem)
    settings = replace(CostSettings(), slope_soft_deg=min(15.0, route.slope_max_deg), slope_max_deg=route.slope_max_deg)
    blocked = cost_map(analyse(ground), settings, forbidden=outside_fence(ground, route.fence)).hazards.blocked
    p = route.predicted
    page = Page(
        title=f"Route {route.name}",
        map=map_svg(
            ground,
            shaded(ground, blocked),
            [Line(route.waypoints_m, "plan", "planned way")],
            spots(route),
            "Map of the route",
        ),
        legend=[
            ("plan", "planned way"),
            ("blocked", f"over {route.slope_max_deg:g} deg, unknown or outside the fence"),
        ],
        sentences=[
            f"From {route.start_m[0]:.1f}, {route.start_m[1]:.1f} to {route.goal_m[0]:.1f}, {route.goal_m[1]:.1f} m on"
            f" {Path(route.map.path).name} ({route.map.crs.replace('_', ' ')}, cells of {dem.cell_m:g} m)."
        ],
        tiles=[
            (f"{p.length_m:.0f} m", "length"),
            (hours(p.duration_s), "driving"),
            (f"{p.energy_wh:.1f} Wh", "energy, without any Sun"),
            (f"{max(p.slope_deg, default=0.0):.1f} deg", "steepest ground"),
            *([(hours(sum(w.for_s for w in route.waits)), "waiting")] if route.waits else []),
            *([(route.departs_utc, "departs")] if route.departs_utc else []),
        ],
        charts=[("Profile", profile(route))],  # type: ignore[list-item]
        tables=[
            (
                "Havens",
                ("x, m", "y, m", "lit"),
                [(f"{h.x_m:.0f}", f"{h.y_m:.0f}", f"{h.lit_fraction:.0%}") for h in route.havens],
            ),
            ("Waits", ("at, m", "for"), [(f"{w.s_m:.0f}", hours(w.for_s)) for w in route.waits]),
        ],
        notes=[f"Map sha256 {route.map.sha256[:16]}; slopes are of the map's cells: what is smaller is not in it."],
    )
    return write_page(page, path)
