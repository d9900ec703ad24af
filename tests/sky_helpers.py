"""The sky over a place on the Moon by DE421 and its MOON_ME frame: the reference for our own series."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import lunarsky
import numpy as np
import skyfield_data
from skyfield.api import Loader, PlanetaryConstants


@lru_cache(1)
def _kernels() -> tuple[Any, Any, Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its table of the Earth's rotation has run out; nothing here asks for it
        load = Loader(skyfield_data.get_skyfield_data_path(), expire=False)
    bodies, times = load("de421.bsp"), load.timescale(builtin=True)
    data = Path(lunarsky.__file__).parent / "data"
    constants = PlanetaryConstants()
    constants.variables["BODY301_RADII"] = [1737.4, 1737.4, 1737.4]
    with open(data / "fk" / "satellites" / "moon_080317.tf", "rb") as file:
        constants.read_text(file)
    constants.read_binary(open(data / "pck" / "moon_pa_de421_1900-2050.bpc", "rb"))  # noqa: SIM115 - it is mapped
    return bodies, times, constants, constants.build_frame_named("MOON_ME_DE421")


def reference(body: str, t_s: Any, lat_deg: float, lon_deg: float) -> tuple[Any, Any]:
    """Azimuth and elevation (deg) of "sun" or "earth" at Unix times."""
    bodies, times, constants, frame = _kernels()
    place = bodies["moon"] + constants.build_latlon_degrees(frame, lat_deg, lon_deg)
    when = times.from_datetimes([datetime.fromtimestamp(float(t), UTC) for t in np.atleast_1d(t_s)])
    elevation, azimuth, _ = place.at(when).observe(bodies[body]).apparent().altaz()
    return azimuth.degrees, elevation.degrees
