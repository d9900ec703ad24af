"""A short route on generated ground, for the tests that drive."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np

from control.host import GroundMap
from control.rover.ground.dem import Crs, Dem, write_npz
from control.rover.route.route_file import MapRef, Predicted, Route, write_route
from hil_sim.world.plant.terrain import generated_heights

HILLS = GroundMap(generated_heights(3, 200.0, 2.0, relief_m=0.8), 0.0, 0.0, 2.0)


def lane(path: Path, length_m: float, *, speed_m_s: float = 0.1, corridor_m: float = 1.5) -> Path:
    """A sine lane from (60, 100) along x, written to `path`."""
    points = [(60.0 + s, 100.0 + 2.0 * math.sin(s / 6.0)) for s in map(float, np.arange(0.0, length_m, 0.5))]
    route = Route(
        name="lane",
        map=MapRef("hills.npz", "0" * 64, "local", 0.0, 0.0, 2.0, 100, 100),
        start_m=points[0],
        goal_m=points[-1],
        waypoints=points,
        speeds_m_s=[speed_m_s] * len(points),
        corridor_m=corridor_m,
        predicted=Predicted(length_m, length_m / speed_m_s, 1.0),
    )
    write_route(route, path)
    return path


def mapped_lane(folder: Path, length_m: float) -> Path:
    """The lane with its map beside it: `folder/route.json`."""
    write_npz(Dem(HILLS.heights_m, HILLS.x_m, HILLS.y_m, HILLS.cell_m, Crs("local"), "hills"), folder / "hills.npz")
    path = lane(folder / "route.json", length_m)
    document = json.loads(path.read_text())
    document["map"]["sha256"] = hashlib.sha256((folder / "hills.npz").read_bytes()).hexdigest()
    path.write_text(json.dumps(document))
    return path
