"""The sky: one Sun direction, and the horizons of 4.19 M cells.

    python benchmarks/bench_sky.py

Directions: a million epochs from 2026 to 2035 over Mons Mouton in one call, CPU time of one thread. Horizons: a crop of
2048 x 2048 cells of 5 m of the LOLA tile "peak near Shackleton" in 40 directions, all cores, best of three; the bar is
5 s for 36 directions. No peer does either in plain Python.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from control.rover.ground.dem import read_dem
from control.rover.ground.ephemeris import earth_direction, sun_direction, unix_s
from control.rover.ground.illumination import DIRECTIONS, horizon_map

HORIZON_BAR_S, BAR_DIRECTIONS = 5.0, 36
EPOCH_BAR_US = 2.0
EPOCHS, SIDE = 1_000_000, 2048


def best_s(work: Any, clock: Any, runs: int = 3) -> float:
    """The quickest of some runs."""
    times = []
    for _ in range(runs):
        start = clock()
        work()
        times.append(clock() - start)
    return min(times)


def run() -> dict[str, Any]:
    """Microseconds an epoch, and seconds for the horizons."""
    here = Path(__file__).resolve().parent.parent
    data = Path(os.environ.get("MOONKILN_DATA", here.parent / "shared" / "data"))
    dem = read_dem(data / "terrain" / "peak_near_shackleton_lola_5mpp_8bit.png")
    x, y = dem.point(0, 0)
    dem = dem.crop(x, y, x + (SIDE - 1) * dem.cell_m, y + (SIDE - 1) * dem.cell_m)
    horizon_map(dem.crop(x, y, x + 50 * dem.cell_m, y + 50 * dem.cell_m))  # compiled, or read from the cache
    horizons_s = best_s(lambda: horizon_map(dem), time.perf_counter)
    epochs = np.linspace(unix_s("2026-01-01"), unix_s("2036-01-01"), EPOCHS)
    sun_us = best_s(lambda: sun_direction(epochs, -84.6, 31.0), time.process_time)
    earth_us = best_s(lambda: earth_direction(epochs, -84.6, 31.0), time.process_time)
    at_bar_s = horizons_s * BAR_DIRECTIONS / len(DIRECTIONS)
    return {
        "bench": "sky",
        "horizons_36_s": round(at_bar_s, 2),
        "horizons_40_s": round(horizons_s, 2),
        "cell_azimuths_per_s": round(dem.heights_m.size * len(DIRECTIONS) / horizons_s),
        "sun_us": round(sun_us, 3),
        "earth_us": round(earth_us, 3),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "bar": f"horizons <= {HORIZON_BAR_S:g} s for 36 directions; {EPOCH_BAR_US:g} us an epoch",
        "passed": at_bar_s <= HORIZON_BAR_S and max(sun_us, earth_us) <= EPOCH_BAR_US,
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
