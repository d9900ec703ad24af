"""Does a rover live through a lunar year: Sun, skyline, nights in the haven, and a forecast that holds?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from sky_helpers import reference

from control.host import Doing, Mission
from control.rover.config import energy_of, load_rover
from control.rover.ground.dem import Crs, Dem, read_dem, write_npz
from control.rover.ground.ephemeris import unix_s
from control.rover.ground.illumination import horizon_map
from control.rover.mission import Light, MissionError, light_at
from control.rover.planning import PlanRequest, plan_request
from hil_sim.harness.mission import MissionResult, live
from hil_sim.world.plant.rover_thermal import WarmBox
from hil_sim.world.plant.sun import Panel, Skyline, skyline, sun_place
from hil_sim.world.plant.terrain import Ground, generated_heights

START_S = unix_s("2028-08-01")
YEAR = 366


@dataclass(frozen=True)
class Site:
    """A made-up site near Mons Mouton: gentle hills, a work place 670 m of way from the haven."""

    mission: Mission
    ground: Ground
    work_m: tuple[float, float]
    haven_m: tuple[float, float]
    dem: Dem

    def live(self, mission: Mission | None = None, *, days: float = YEAR, seed: int = 0) -> MissionResult:
        lat, lon = self.dem.lat_lon_deg(*self.haven_m)
        return live(
            mission or self.mission,
            self.ground,
            self.work_m,
            self.haven_m,
            lat_deg=lat,
            lon_deg=lon,
            north_rad=self.dem.north_rad(*self.haven_m),
            start_s=START_S,
            days=days,
            seed=seed,
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    crs = Crs("polar_stereographic")
    x, y = crs.xy_m(-84.6, 31.0)
    write_npz(Dem(generated_heights(11, 2000.0, 20.0, relief_m=20.0), x, y, 20.0, crs, "site"), folder / "site.npz")
    dem = read_dem(folder / "site.npz")
    haven, work = dem.point(50, 50), dem.point(70, 72)
    way = plan_request(PlanRequest(folder / "site.npz", work, haven, machine="polar"), folder / "r.json")
    horizons = horizon_map(dem)
    hours = YEAR * 24 + 48
    mission = Mission(
        energy_of(load_rover("polar")),
        way,
        light_at(horizons, *work, START_S, hours),
        light_at(horizons, *haven, START_S, hours),
    )
    ground = Ground(dem.heights_m, dem.x_m, dem.y_m, dem.cell_m, seed=1, details=None)
    return Site(mission, ground, work, haven, dem)


def test_a_year_is_lived_above_a_fifth_of_the_charge_and_its_energy_was_foreseen(site: Site) -> None:
    """Bar: never under 20 %, every night slept through, energy within 5 % of the forecast made before."""
    site.mission.check()
    forecast = site.mission.forecast(START_S, YEAR)
    year = site.live()
    assert year.dead_at_s is None and year.least_charge >= 0.20
    assert year.nights >= 12 and year.longest_night_s > 17.3 * 86400
    assert year.temp_c.min() > -20.0
    assert forecast.used_wh == pytest.approx(year.used_wh, rel=0.05)
    assert forecast.least_charge >= 0.20
    assert year.doing.count("work") > 0.05 * len(year.doing)  # it did not just sleep


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_a_year_on_another_soil(site: Site, seed: int) -> None:
    year = site.live(seed=seed)
    assert year.dead_at_s is None and year.least_charge >= 0.20
    assert site.mission.forecast(START_S, YEAR).used_wh == pytest.approx(year.used_wh, rel=0.05)


def test_a_rover_that_ignores_its_haven_does_not_live(site: Site) -> None:
    class Stubborn(Mission):
        def decide(self, t_s: float, doing: Doing, arrived: bool, charge: float) -> Doing:
            return Doing.WORK

    stubborn = Stubborn(site.mission.model, site.mission.way, site.mission.work_light, site.mission.haven_light)
    assert site.live(stubborn, days=40).dead_at_s is not None


def test_a_night_longer_than_the_battery_is_known_before(site: Site) -> None:
    weak = replace(site.mission, model=replace(site.mission.model, sleep_w=4.0))
    with pytest.raises(MissionError, match="longest night is 1"):
        weak.check()
    assert site.live(replace(weak), days=2).least_charge > 0  # the plant's own sleep load is not the host's


def test_dark_spells_are_found() -> None:
    light = Light(0.0, np.array([1, 1, 0, 1, 1, 0, 0, 0, 1, 1], float))
    assert light.dark_from_s(0.0, 3 * 3600.0) == 5 * 3600.0
    assert light.dark_from_s(6 * 3600.0, 3 * 3600.0) == 6 * 3600.0
    assert light.dark_from_s(8 * 3600.0, 3 * 3600.0) == math.inf
    assert light.longest_dark_s() == 3 * 3600.0


# ---- the plant's own Sun


def test_the_plants_sun_is_within_a_twelfth_of_a_degree_of_de421() -> None:
    times = START_S + 86400.0 * np.random.default_rng(2).uniform(0, 3650, 200)
    mine = np.array([sun_place(t, -84.6, 31.0) for t in times])
    azimuth, elevation = reference("sun", times, -84.6, 31.0)
    assert abs((mine[:, 0] - azimuth + 180) % 360 - 180).max() < 0.08
    assert abs(mine[:, 1] - elevation).max() < 0.05


def test_a_wall_is_the_skyline() -> None:
    heights = np.zeros((101, 101), np.float32)
    heights[:, 80:] = 50.0
    edges = skyline(Ground(heights, 0.0, 0.0, 10.0), 500.0, 500.0).edge_deg
    assert edges[0] == pytest.approx(math.degrees(math.atan(50 / 300)), abs=0.3) and abs(edges[90]) < 0.05
    line = Skyline(edges)
    assert line.share(0.0, 5.0) == 0.0 and line.share(math.pi, 5.0) == 1.0


def test_a_panel_gives_less_with_dust_and_height() -> None:
    panel = Panel(100.0, dust_share=0.1)
    assert panel.power_w(0.0, 1.0) == pytest.approx(90.0) and panel.power_w(60.0, 0.5) == pytest.approx(22.5)


def test_the_warm_box_stays_warm_through_the_longest_night_on_isotopes_alone() -> None:
    box = WarmBox()
    assert box.step(18.6 * 86400.0, 1.8, 0.0) > -20.0


def test_without_isotopes_it_freezes() -> None:
    from hil_sim.world.plant.rover_thermal import BoxConfig

    assert WarmBox(BoxConfig(isotope_w=0.0)).step(18.6 * 86400.0, 1.8, 0.0) < -100.0
