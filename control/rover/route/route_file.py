"""A route on disk: where to drive and how fast, on which map, and what it was predicted to take. JSON, written whole.

Positions in the map's frame (m). Whoever reads a route distrusts it until it is checked: a version, sizes, finite
numbers, waypoints that lie on the map and follow each other closely enough to be driven.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from control.errors import MoonkilnError
from control.files import write_atomically

SCHEMA_VERSION = 1
BYTES_MAX = 64 * 1024 * 1024
WAYPOINTS_MAX = 1_000_000
SPACING_MAX_M = 1.5

Place = tuple[float, float]
Length = Annotated[float, Meta(ge=0, le=1e7)]


class RouteFileError(MoonkilnError):
    """A route file that cannot be used."""

    exit_code = 2


class MapRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The map that a route was planned on: its file, and where its cells lie."""

    path: str
    sha256: str
    crs: Literal["polar_stereographic", "orthographic", "local"]
    x_m: float
    y_m: float
    cell_m: Annotated[float, Meta(gt=0, le=10_000)]
    rows: Annotated[int, Meta(ge=2, le=100_000)]
    columns: Annotated[int, Meta(ge=2, le=100_000)]
    layer: int | None = None
    georef: str | None = None


class Haven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A place to wait at: flat, and lit for this share of the time."""

    x_m: float
    y_m: float
    lit_fraction: Annotated[float, Meta(ge=0, le=1)]


class Tag(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An AprilTag (36h11) that stands upright at the site: its number, centre, the direction it faces (ccw from +x)."""

    tag_id: Annotated[int, Meta(ge=0, le=586)]
    x_m: float
    y_m: float
    z_m: float
    facing_deg: float
    side_m: Annotated[float, Meta(ge=0.01, le=5)] = 0.30


class Wait(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stand on the way: at this length along the route, for so long."""

    s_m: Length
    for_s: Length


class Predicted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the planner expects, by length along the route; the lists are of one length. `charge_least`: with Sun."""

    length_m: Length
    duration_s: Length
    energy_wh: Length
    s_m: list[float] = []
    height_m: list[float] = []
    slope_deg: list[float] = []
    charge_least: float | None = None


class Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One route. `waypoints` (x, y) no further apart than 1.5 m; `speeds_m_s` one for each.

    `waits` in the order of their lengths; `fence`: corners of a polygon that the rover must not leave, or none;
    `tags`: what its camera may find its place by.
    """

    schema_version: Annotated[int, Meta(ge=1)] = SCHEMA_VERSION
    kind: Literal["route"] = "route"
    name: str
    map: MapRef
    start_m: Place
    goal_m: Place
    waypoints: list[Place]
    speeds_m_s: list[Annotated[float, Meta(gt=0, le=5)]]
    corridor_m: Annotated[float, Meta(gt=0, le=1000)]
    slope_max_deg: Annotated[float, Meta(gt=0, le=60)] = 20.0
    predicted: Predicted
    havens: list[Haven] = []
    waits: list[Wait] = []
    fence: list[Place] = []
    tags: list[Tag] = []
    departs_utc: str | None = None

    @property
    def waypoints_m(self) -> NDArray[np.float64]:
        """(n, 2) f8."""
        return np.array(self.waypoints, dtype=np.float64)

    @property
    def speed_m_s(self) -> NDArray[np.float64]:
        """(n,) f8."""
        return np.array(self.speeds_m_s, dtype=np.float64)

    @property
    def length_m(self) -> float:
        """Along the waypoints."""
        return float(np.hypot(*np.diff(self.waypoints_m, axis=0).T).sum())


def write_route(route: Route, path: str | Path) -> None:
    """Leave the route at `path`, whole or not at all. RouteFileError for one that could not be read back."""
    _check(route, path)
    write_atomically(Path(path), msgspec.json.format(msgspec.json.encode(route), indent=1) + b"\n")


def read_route(path: str | Path) -> Route:
    """Read and check a route file.

    Raises:
        RouteFileError: absent, too large, not JSON, of a newer schema, or with what cannot be driven.
    """
    path = Path(path)
    try:
        if path.stat().st_size > BYTES_MAX:
            raise RouteFileError(f"route {path} has over {BYTES_MAX // 2**20} MiB: no route is that long")
        content = path.read_bytes()
    except OSError as error:
        raise RouteFileError(f"route {path} cannot be read: {error.strerror}") from error
    try:
        route = msgspec.json.decode(content, type=Route)
    except msgspec.MsgspecError as error:
        raise RouteFileError(f"route {path} is no route, or it was damaged: {error}") from error
    _check(route, path)
    return route


def route_sha256(path: str | Path) -> str:
    """The digest by which a drive's outcome names its route."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _check(route: Route, path: str | Path) -> None:
    if route.schema_version > SCHEMA_VERSION:
        raise RouteFileError(
            f"route {path} has schema version {route.schema_version}, this moonkiln reads up to {SCHEMA_VERSION}:"
            " upgrade"
        )
    count = len(route.waypoints)
    if not 2 <= count <= WAYPOINTS_MAX or len(route.speeds_m_s) != count:
        raise RouteFileError(
            f"route {path} has {count} waypoints and {len(route.speeds_m_s)} speeds: two or more, as many of each"
        )
    m, p = route.map, route.predicted
    if len({len(p.s_m), len(p.height_m), len(p.slope_deg)}) != 1:
        raise RouteFileError(f"route {path}: its profile has lists of different lengths")
    if route.fence and len(route.fence) < 3:
        raise RouteFileError(f"route {path}: a fence of {len(route.fence)} corners encloses nothing; it needs three")
    if len({tag.tag_id for tag in route.tags}) != len(route.tags):
        raise RouteFileError(f"route {path} names a tag twice: each number stands for one place")
    if sorted(w.s_m for w in route.waits) != [w.s_m for w in route.waits]:
        raise RouteFileError(f"route {path}: its waits are not in the order of the way")
    points = route.waypoints_m
    havens = [(haven.x_m, haven.y_m) for haven in route.havens] or points[:1]
    places = np.vstack((points, [route.start_m, route.goal_m], havens, route.fence or points[:1]))
    numbers = [m.x_m, m.y_m, *p.s_m, *p.height_m, *p.slope_deg, *route.speeds_m_s, route.corridor_m]
    numbers += [number for tag in route.tags for number in (tag.x_m, tag.y_m, tag.z_m, tag.facing_deg)]
    numbers += [number for wait in route.waits for number in (wait.s_m, wait.for_s)]
    if not (np.isfinite(places).all() and all(map(math.isfinite, numbers))):
        raise RouteFileError(f"route {path} holds a number that is not finite")
    low = np.array([m.x_m, m.y_m])
    high = low + m.cell_m * np.array([m.columns - 1, m.rows - 1])
    if (points < low - m.cell_m / 2).any() or (points > high + m.cell_m / 2).any():
        raise RouteFileError(f"route {path} leaves its map: plan it again")
    steps = np.hypot(*np.diff(points, axis=0).T)
    if steps.max() > SPACING_MAX_M or steps.min() <= 0:
        raise RouteFileError(
            f"route {path}: waypoints are {steps.min():.3g} to {steps.max():.3g} m apart; over 0 and at most"
            f" {SPACING_MAX_M:g} m can be driven"
        )
    for what, place, end in (("start", route.start_m, points[0]), ("goal", route.goal_m, points[-1])):
        if math.dist(place, end) > max(m.cell_m, 1.0):
            raise RouteFileError(
                f"route {path}: its {what} is not where its waypoints {'begin' if what == 'start' else 'end'}"
            )
