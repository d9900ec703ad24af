"""What does the cold take from a rover, and does one live through a year on measured ground?"""

from __future__ import annotations

from pathlib import Path

import pytest

from control.host import Mission
from control.rover.config import energy_of, load_rover
from control.rover.ground.dem import read_dem, write_npz
from control.rover.ground.ephemeris import unix_s
from control.rover.ground.illumination import horizon_map
from control.rover.ground.terrain import pyramid
from control.rover.mission import light_at
from control.rover.planning import PlanRequest, plan_request
from hil_sim.harness.mission import left_wh, live
from hil_sim.world.plant.battery import Battery, BatteryConfig
from hil_sim.world.plant.terrain import Ground

START_S = unix_s("2028-08-01")
TILE = "peak_near_shackleton_lola_5mpp_8bit.png"


def test_the_cold_holds_back_the_last_of_the_charge() -> None:
    battery = Battery(BatteryConfig(capacity_wh=100.0, charge0=0.3), lambda t_s: 0.0)
    left = [left_wh(battery, temp_c, 0.0) for temp_c in (-40.0, -20.0, 20.0)]
    assert left == pytest.approx([0.0, 10.0, 30.0])  # and it is there again when it is warm


@pytest.mark.soak
def test_a_year_on_the_peak_near_shackleton(shared_data: Path, tmp_path: Path) -> None:
    """Bar: never under 20 %, alive, energy within 5 % of the forecast, from the tile's real heights in 20 m cells."""
    dem = pyramid(read_dem(shared_data / "terrain" / TILE), 2)[2]
    horizons = horizon_map(dem)
    haven, work = dem.point(386, 402), dem.point(403, 398)
    near = dem.crop(haven[0] - 1000, haven[1] - 1000, haven[0] + 1000, haven[1] + 1000)
    write_npz(near, tmp_path / "near.npz")
    way = plan_request(PlanRequest(tmp_path / "near.npz", work, haven, machine="polar"), tmp_path / "r.json")
    hours = 366 * 24 + 48
    mission = Mission(
        energy_of(load_rover("polar")),
        way,
        light_at(horizons, *work, START_S, hours),
        light_at(horizons, *haven, START_S, hours),
    )
    mission.check()
    lat, lon = dem.lat_lon_deg(*haven)
    year = live(
        mission,
        Ground(dem.heights_m, dem.x_m, dem.y_m, dem.cell_m, seed=1, details=None),
        work,
        haven,
        lat_deg=lat,
        lon_deg=lon,
        north_rad=dem.north_rad(*haven),
        start_s=START_S,
        days=366,
    )
    forecast = mission.forecast(START_S, 366)
    lit = float(mission.haven_light.shares.mean())
    print(
        f"haven lit {lit:.3f}, way {way.predicted.length_m:.0f} m, longest dark {year.longest_night_s / 86400:.1f} d,"
        f" least charge {year.least_charge:.3f}, used {year.used_wh:.0f} Wh, forecast {forecast.used_wh:.0f} Wh,"
        f" working {year.doing.count('work') / len(year.doing):.2f}, coldest {year.temp_c.min():.1f} degC"
    )
    assert year.dead_at_s is None and year.least_charge >= 0.20
    assert forecast.used_wh == pytest.approx(year.used_wh, rel=0.05)
    assert year.doing.count("work") > 0.2 * len(year.doing)
