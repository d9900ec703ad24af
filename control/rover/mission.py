"""A rover that works between two places through lunar days and nights: when it works, leaves, charges, sleeps.

It works at one place while there is light, and is back at its haven, charged, before the long night. Everything is
decided from the map, the clock and the charge; the light ahead is known for the whole mission.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from control.errors import MoonkilnError
from control.rover.energy import EnergyModel
from control.rover.ground.dem import Dem
from control.rover.ground.ephemeris import SUN_RADIUS_DEG, map_azimuth_rad, sun_direction
from control.rover.ground.illumination import HorizonMap
from control.rover.ground.illumination_kernels import disc_share
from control.rover.route.havens import CHARGED, LIT_ENOUGH, lasts_s
from control.rover.route.route_file import Route

FRAME_S = 3600.0
NIGHT_S = 24 * 3600.0  # a longer dark spell is a night, to be slept through in the haven
MARGIN_S = 6 * 3600.0
SLOW_SHARE = 1.5  # a way may take so much longer and dearer than planned


class Doing(Enum):
    """What the rover does."""

    WORK = "work"
    TO_HAVEN = "to the haven"
    CHARGE = "charge"
    SLEEP = "sleep"
    TO_WORK = "to work"


class MissionError(MoonkilnError):
    """A mission that cannot be survived, known before it begins."""

    exit_code = 1


@dataclass(frozen=True, eq=False)
class Light:
    """Shares of the Sun's disc over one place, hourly from `start_s` on (n,)."""

    start_s: float
    shares: NDArray[np.float64]

    def at(self, t_s: float) -> float:
        """The share at a time; after the last hour, as in it."""
        return float(self.shares[min(max(int((t_s - self.start_s) / FRAME_S), 0), len(self.shares) - 1)])

    def dark_from_s(self, t_s: float, spell_s: float = NIGHT_S) -> float:
        """When the next dark spell of at least `spell_s` begins; t_s itself within one, infinite if none comes."""
        first = min(max(int((t_s - self.start_s) / FRAME_S), 0), len(self.shares) - 1)
        dark = self.shares < LIT_ENOUGH
        n, need = first, spell_s / FRAME_S
        while n < len(dark):
            if not dark[n]:
                n += 1
                continue
            begun = n
            while begun > 0 and dark[begun - 1] and begun > first - need:
                begun -= 1
            while n < len(dark) and dark[n]:
                n += 1
            if n - begun >= need:
                return max(t_s, self.start_s + begun * FRAME_S)
        return math.inf

    def longest_dark_s(self) -> float:
        """The longest spell under LIT_ENOUGH."""
        longest = spell = 0
        for share in self.shares:
            spell = 0 if share >= LIT_ENOUGH else spell + 1
            longest = max(longest, spell)
        return longest * FRAME_S


def light_at(horizons: HorizonMap, x_m: float, y_m: float, start_s: float, hours: int) -> Light:
    """The light over one place of a map, hour by hour."""
    dem: Dem = horizons.dem
    i, j = dem.index(x_m, y_m)
    times = start_s + FRAME_S * (np.arange(hours) + 0.5)
    azimuth_deg, elevation_deg = sun_direction(times, *dem.lat_lon_deg(x_m, y_m))
    azimuths = map_azimuth_rad(dem.north_rad(x_m, y_m), azimuth_deg)
    one = HorizonMap(dem, horizons.azimuths_rad, horizons.counts[:, i : i + 1, j : j + 1])
    shares = [
        disc_share(float(e) - float(one.elevation_deg(float(a))[0, 0]), SUN_RADIUS_DEG)
        for a, e in zip(azimuths, elevation_deg, strict=True)
    ]
    return Light(start_s, np.array(shares))


@dataclass(frozen=True)
class Forecast:
    """What a mission is expected to use, and the lowest charge on the way."""

    used_wh: float
    least_charge: float


@dataclass(frozen=True, eq=False)
class Mission:
    """A rover's year: its light at work and in the haven, the way between them, and its electricity.

    `work_drive_share`: share of the working time in which its wheels turn.
    """

    model: EnergyModel
    way: Route
    work_light: Light
    haven_light: Light
    reserve: float = 0.2
    work_drive_share: float = 0.25

    def check(self) -> None:
        """Raises MissionError if the haven's longest night is longer than the rover lasts."""
        night_s, lasts = self.haven_light.longest_dark_s(), lasts_s(self.model, self.reserve)
        if night_s > lasts:
            raise MissionError(
                f"the haven's longest night is {night_s / 86400:.1f} days and asleep the rover lasts"
                f" {lasts / 86400:.1f}: choose another haven, a larger battery, or less load at night"
            )

    def load_w(self, doing: Doing) -> float:
        """What is counted for each activity."""
        if doing in (Doing.SLEEP, Doing.CHARGE):
            return self.model.sleep_w
        cruise_m_s = self.way.predicted.length_m / max(self.way.predicted.duration_s, 1.0)
        share = self.work_drive_share if doing is Doing.WORK else 1.0
        return self.model.hotel_w + share * self.model.drive_w(cruise_m_s, 0.0)

    @property
    def way_s(self) -> float:
        """The way between work and haven, as it may take."""
        return SLOW_SHARE * self.way.predicted.duration_s

    def forecast(self, start_s: float, days: float, *, charge: float = 0.9, step_s: float = 600.0) -> Forecast:
        """The whole mission ahead, lived by its own decisions with its own numbers, from the haven and a charge on."""
        doing, left_s, used_wh, least = Doing.CHARGE, 0.0, 0.0, charge
        capacity_wh, gain = self.model.capacity_wh, self.model.solar_w_max * self.model.charge_efficiency
        for n in range(int(days * 86400.0 / step_s)):
            t_s = start_s + n * step_s
            load_w = self.load_w(doing)
            place = self.work_light if doing in (Doing.WORK, Doing.TO_HAVEN) else self.haven_light
            used_wh += load_w * step_s / 3600.0
            charge = min(1.0, charge + (gain * place.at(t_s) - load_w) * step_s / 3600.0 / capacity_wh)
            least = min(least, charge)
            left_s = left_s - step_s if doing in (Doing.TO_HAVEN, Doing.TO_WORK) else self.way.predicted.duration_s
            doing = self.decide(t_s + step_s, doing, left_s <= 0, charge)
        return Forecast(used_wh, least)

    def decide(self, t_s: float, doing: Doing, arrived: bool, charge: float) -> Doing:
        """What to do next.

        Args:
            doing: what it does now; `arrived`: a drive to work or to the haven has ended there.
            charge: of the battery, 0 to 1.
        """
        if doing in (Doing.TO_HAVEN, Doing.TO_WORK) and not arrived:
            return doing
        at_work = doing is Doing.WORK or doing is Doing.TO_WORK
        if at_work:
            return Doing.TO_HAVEN if self._must_leave(t_s, charge) else Doing.WORK
        lit = self.haven_light.at(t_s) >= LIT_ENOUGH
        if not lit:
            return Doing.SLEEP
        stay_s = self.work_light.dark_from_s(t_s) - t_s
        worth_it = stay_s > 2 * self.way_s + 2 * MARGIN_S + self._charging_s(0.5)
        return (
            Doing.TO_WORK if charge >= CHARGED and worth_it and self.work_light.at(t_s) >= LIT_ENOUGH else Doing.CHARGE
        )

    def _must_leave(self, t_s: float, charge: float) -> bool:
        """Whether a rover at work has to set out: by its charge, or because the night comes."""
        way_wh = self.load_w(Doing.TO_HAVEN) * self.way_s / 3600.0
        if charge <= self.reserve + 0.2 + way_wh / self.model.capacity_wh:
            return True
        night_s = min(self.work_light.dark_from_s(t_s), self.haven_light.dark_from_s(t_s))
        return t_s + self.way_s + self._charging_s(charge) + MARGIN_S >= night_s

    def _charging_s(self, charge: float) -> float:
        """How long it takes in the haven's light to be charged again."""
        gain_w = 0.6 * self.model.solar_w_max * self.model.charge_efficiency - self.model.sleep_w
        return max(0.0, CHARGED + 0.05 - charge) * self.model.capacity_wh * 3600.0 / max(gain_w, 1.0)
