"""The route that a campaign drives when it is given none, and routes as one file that holds their map as well.

A winding lane of a few metres over rolling ground, between a drop on its right and a bank on its left, both too steep
to drive: a rover that goes astray by its own width has left the ground that it may be on. It takes every step that a
drive takes; what it leaves out is length. The same lane gives the same bytes.
"""

from __future__ import annotations

import io
import itertools
import math
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import msgspec
import numpy as np
from numpy.typing import NDArray

from control.host import Route, read_route, route_along, write_map
from hil_sim.harness.subjects import SubjectError

STEP_M, STEPS = 0.25, 10
SPEED_M_S = 0.15
STORY_STEPS, STORY_SPEED_M_S = 24, 0.1
"""Of a shipped scenario's drive, which takes a minute."""
START_M = (6.0, 8.0)
CELL_M, SIDES_M = 0.25, (24.0, 16.0)
SLOPE_MAX_DEG = 12.0
CORRIDOR_M = 1.0
EDGE_M = 1.2  # from the lane's middle to where drop and bank begin
ROUTE_NAME, MAP_NAME = "route.json", "lane.npz"
PACK_BYTES_MAX = 256 * 2**20
DATED = (1980, 1, 1, 0, 0, 0)


def heights_m() -> NDArray[np.float32]:
    """(rows, columns) f4: the lane's ground, to a millimetre."""
    x = np.arange(0.0, SIDES_M[0], CELL_M)[None, :]
    y = np.arange(0.0, SIDES_M[1], CELL_M)[:, None]
    beside = y - lane_y_m(x)
    rolling = 0.06 * np.sin(x / 1.7) * np.cos(y / 2.3) + 0.04 * np.sin(y / 1.3 + 0.5)
    drop = -0.5 * np.clip(-beside - EDGE_M, 0.0, 2.0)
    bank = 0.5 * np.clip(beside - EDGE_M, 0.0, 2.0)
    return np.round(rolling + drop + bank, 3).astype(np.float32)


def lane_y_m(x_m: NDArray[np.floating]) -> NDArray[np.floating]:
    """Where the lane's middle lies at each x."""
    return START_M[1] + 0.35 * np.sin((x_m - START_M[0]) / 1.2)


def small_route(folder: Path, *, steps: int = STEPS, speed_m_s: float = SPEED_M_S) -> Path:
    """Lay the lane with its map into `folder`; the path of the packed route."""
    write_map(heights_m(), CELL_M, "lane", folder / MAP_NAME)
    x_m = START_M[0] + STEP_M * np.arange(steps + 1)
    points = [(round(float(x), 3), round(float(y), 3)) for x, y in zip(x_m, lane_y_m(x_m), strict=True)]
    route_along(
        points,
        speed_m_s,
        folder / MAP_NAME,
        folder / ROUTE_NAME,
        name="lane",
        corridor_m=CORRIDOR_M,
        slope_max_deg=SLOPE_MAX_DEG,
    )
    return pack_route(folder / ROUTE_NAME, folder / "lane.zip")


def pack_route(route_path: Path, target: Path) -> Path:
    """One file of a route and the map that it was planned on. SubjectError: the map is not at hand, or too large."""
    route = read_route(route_path)
    names = [name for name in (route.map.path, route.map.georef) if name is not None]
    found = {Path(name).name: _at_hand(name, route_path.parent) for name in names}
    if (size := sum(path.stat().st_size for path in found.values())) > PACK_BYTES_MAX:
        raise SubjectError(
            f"the map of {route_path} has {size / 2**20:.0f} MiB: a run is kept with its map, which may have"
            f" {PACK_BYTES_MAX // 2**20}; plan the route on a part of it"
        )
    _write(target, {ROUTE_NAME: route_path.read_bytes(), **{name: path.read_bytes() for name, path in found.items()}})
    return target


def unpack_route(packed: Path, folder: Path) -> Path:
    """Lay a packed route and its map into `folder`; the route's path. SubjectError for a file that is none."""
    for name, data in _members(packed).items():
        (folder / name).write_bytes(data)
    return folder / ROUTE_NAME


def packed_route(packed: Path) -> Route:
    """The route alone."""
    try:
        return msgspec.json.decode(_members(packed)[ROUTE_NAME], type=Route)
    except msgspec.MsgspecError as error:
        raise SubjectError(f"{packed} holds no route that can be read: {error}") from error


def shortened(packed: Path, steps: int, target: Path) -> Path:
    """The same with the first `steps` legs of its way alone; the path of the new file."""
    members = _members(packed)
    route = packed_route(packed)
    points = route.waypoints[: steps + 1]
    length_m = sum(math.dist(a, b) for a, b in itertools.pairwise(points))
    short = msgspec.structs.replace(
        route,
        waypoints=points,
        speeds_m_s=route.speeds_m_s[: steps + 1],
        goal_m=points[-1],
        waits=[wait for wait in route.waits if wait.s_m <= length_m],
    )
    _write(target, {**members, ROUTE_NAME: msgspec.json.encode(short)})
    return target


def _at_hand(name: str, folder: Path) -> Path:
    for path in (Path(name), folder / Path(name).name):
        if path.is_file():
            return path
    raise SubjectError(f"the route's map {name} is not there, nor beside the route in {folder}: a run needs its ground")


def _write(target: Path, members: dict[str, bytes]) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members.items():
            packed.writestr(zipfile.ZipInfo(name, DATED), data)
    target.write_bytes(stream.getvalue())


def _members(packed: Path) -> dict[str, bytes]:
    """What a packed route holds, by plain file name; a file of somebody else's is distrusted."""
    try:
        with zipfile.ZipFile(packed) as file:
            entries = file.infolist()
            if sum(entry.file_size for entry in entries) > 2 * PACK_BYTES_MAX or len(entries) > 3:
                raise SubjectError(f"{packed} is no packed route: it is too large, or holds more than route and map")
            members = {PurePosixPath(entry.filename).name: file.read(entry) for entry in entries}
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, SubjectError):
            raise  # a packing that is unknown, a password, or data that end too soon: zipfile tells each its own way
        raise SubjectError(f"{packed} cannot be read as a packed route: {error}") from error
    if ROUTE_NAME not in members or members.keys() & {"", ".."}:
        raise SubjectError(f"{packed} is no packed route: it holds no {ROUTE_NAME}")
    return members
