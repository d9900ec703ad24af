"""A year of a rover on the plant, without the bus: Sun, skyline, panel, battery, warm box, the soil under its wheels.

The host's policy is asked every ten minutes for what to do; the plant says what that costs. Where the host counts with
its machine file's numbers, the truth comes from the wheel-soil model on a drawn soil, the plant's own Sun and skyline,
and a battery with losses.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from control.host import Doing, Mission
from hil_sim.world.plant.battery import Battery, BatteryConfig
from hil_sim.world.plant.rover import POLAR, RoverPlant
from hil_sim.world.plant.rover_thermal import WarmBox
from hil_sim.world.plant.soil import draw_soil
from hil_sim.world.plant.sun import Panel, skyline, sun_place
from hil_sim.world.plant.terrain import Ground

STEP_S = 600.0
SLEEP_W = 1.8  # what the rover truly draws asleep
HEATER_W, HEATER_ON_C, HEATER_OFF_C = 10.0, -18.0, -12.0
COLD_C = -30.0  # a battery this cold is lost
Place = tuple[float, float]


@dataclass(frozen=True)
class MissionResult:
    """What a year came to: charge and temperature (n,) and what it did, at each step; nights slept through."""

    charge: NDArray[np.float64]
    temp_c: NDArray[np.float64]
    doing: list[str]
    used_wh: float
    nights: int
    longest_night_s: float
    dead_at_s: float | None

    @property
    def least_charge(self) -> float:
        """The lowest charge of the year."""
        return float(self.charge.min())


def live(
    mission: Mission,
    ground: Ground,
    work_m: Place,
    haven_m: Place,
    *,
    lat_deg: float,
    lon_deg: float,
    north_rad: float,
    start_s: float,
    days: float,
    seed: int = 0,
) -> MissionResult:
    """Let a rover live by its mission's decisions. It begins in its haven, charged to 90 %.

    ground: the heights around both places, in the map's frame; north_rad: the map's north there, ccw from +x.
    """
    sky = {"haven": skyline(ground, *haven_m), "work": skyline(ground, *work_m)}
    panel = Panel(mission.model.solar_w_max)
    drive_w, ground_m_s = _driving(random.Random(f"{seed}:soil"), mission)
    way_m = math.dist(work_m, haven_m) * mission.way.length_m / max(math.dist(*_ends(mission)), 1e-6)
    box = WarmBox()
    state = {"drawn_j": 0.0, "sun_w": 0.0}
    battery = Battery(
        BatteryConfig(cells=8, capacity_wh=mission.model.capacity_wh, charge0=0.9),
        lambda t_s: state["drawn_j"],
        sun_w=lambda t_s: state["sun_w"],
    )
    doing, gone_m, heating = Doing.CHARGE, 0.0, False
    used_wh = longest_s = spell_s = 0.0
    nights, slept_from_s = 0, None
    charges, temps, story = [], [], []
    dead_at_s = None
    for n in range(int(days * 86400.0 / STEP_S)):
        t_s = start_s + n * STEP_S
        place = "work" if doing in (Doing.WORK, Doing.TO_HAVEN) else "haven"
        azimuth_deg, elevation_deg = sun_place(t_s + STEP_S / 2, lat_deg, lon_deg)
        share = sky[place].share(north_rad - math.radians(azimuth_deg), elevation_deg)
        moving = doing in (Doing.TO_HAVEN, Doing.TO_WORK)
        load_w = SLEEP_W
        if moving or doing is Doing.WORK:
            load_w = POLAR.hotel_w + drive_w * (1.0 if moving else mission.work_drive_share)
        if heating := box.temp_c < (HEATER_OFF_C if heating else HEATER_ON_C):
            load_w += HEATER_W
        state["sun_w"] = panel.power_w(elevation_deg, share)
        state["drawn_j"] += load_w * STEP_S
        now_s = (n + 1) * STEP_S
        battery.settle(now_s)
        charge = battery.soc(now_s)
        temp_c = box.step(STEP_S, load_w, share)
        used_wh += load_w * STEP_S / 3600.0
        spell_s = 0.0 if share >= 0.5 else spell_s + STEP_S
        longest_s = max(longest_s, spell_s)
        charges.append(charge)
        temps.append(temp_c)
        story.append(doing.value)
        if dead_at_s is None and (left_wh(battery, temp_c, now_s) <= 0.0 or temp_c < COLD_C):
            dead_at_s = t_s
            break
        gone_m = gone_m + ground_m_s * STEP_S if moving else 0.0
        before = doing
        doing = mission.decide(t_s + STEP_S, doing, gone_m >= way_m, charge)
        if doing is Doing.SLEEP and before is not Doing.SLEEP:
            slept_from_s = t_s
        elif before is Doing.SLEEP and doing is not Doing.SLEEP and slept_from_s is not None:
            nights += t_s - slept_from_s > 86400.0
    return MissionResult(np.array(charges), np.array(temps), story, used_wh, nights, longest_s, dead_at_s)


def left_wh(battery: Battery, temp_c: float, t_s: float) -> float:
    """What can still be drawn of a battery that sits in a box of this temperature: the cold holds the last of it back
    until it is warm again.
    """
    battery.settle(t_s)
    battery.temp_c = temp_c
    return max(0.0, battery.charge_wh - (battery.config.capacity_wh - battery.capacity_wh(t_s)))


def _driving(rng: random.Random, mission: Mission) -> tuple[float, float]:
    """What the plant's motors take at the mission's wheel speed on level ground of a drawn soil, and the true speed."""
    flat = Ground(np.zeros((61, 61), np.float32), -60.0, -60.0, 2.0)
    plant = RoverPlant(POLAR, flat, draw_soil(rng), (-40.0, 0.0, 0.0))
    cruise_m_s = mission.way.predicted.length_m / max(mission.way.predicted.duration_s, 1.0)
    rolled_m_s = cruise_m_s / (1.0 - mission.model.slip(0.0))
    for name in plant.body.wheels:
        plant.motor(name).set_speed(0.0, rolled_m_s / plant.body.wheel.radius_m, 5.0)
    x0, y0 = plant.pose(20.0)[:2]
    x1, y1 = plant.pose(60.0)[:2]
    return plant.power_w(60.0) - POLAR.hotel_w, max(math.dist((x0, y0), (x1, y1)) / 40.0, 1e-3)


def _ends(mission: Mission) -> tuple[Place, Place]:
    return mission.way.start_m, mission.way.goal_m
