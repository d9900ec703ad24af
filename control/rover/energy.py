"""What a rover's battery is asked for: driving by the metre, standing by the hour, and what the Sun gives back.

The numbers are the machine file's: a lab measures them on its own rover (current over a few metres on the flat and on a
slope). The planner counts with them and with nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DOWNHILL_SHARE = 0.3  # gears and soil take so much of the flat's energy however steep it goes down: assumed


@dataclass(frozen=True, slots=True)
class EnergyModel:
    """A rover's electricity as plans count with it.

    Args:
        capacity_wh: of the full battery.
        hotel_w: awake, standing or driving: computer, radio, boards.
        sleep_w: asleep: clock and heaters.
        drive_j_m: by the motors for each metre that the wheels roll on the flat.
        drive_j_m_deg: more of it for each degree of slope.
        slip_flat, slip_deg: share of the rolled length that is lost to slip on the flat, and more for each degree.
        solar_w_max: the panel in full Sun.
        charge_efficiency: of what the panel gives, the share that is there again later.

    Raises:
        ValueError: a number that is not finite or out of its range; a sentence.
    """

    capacity_wh: float = 160.0
    hotel_w: float = 8.0
    sleep_w: float = 2.0
    drive_j_m: float = 90.0
    drive_j_m_deg: float = 4.5
    slip_flat: float = 0.2
    slip_deg: float = 0.035
    solar_w_max: float = 40.0
    charge_efficiency: float = 0.95

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            high = 1.0 if item.name in ("slip_flat", "slip_deg", "charge_efficiency") else math.inf
            if not (math.isfinite(value) and 0 <= value <= high):
                raise ValueError(f"{item.name} is {value!r}; it must be a number from 0 to {high:g}")
        if self.capacity_wh == 0:
            raise ValueError("capacity_wh is 0: a rover without a battery plans nothing")

    def slip(self, slope_deg: float) -> float:
        """The share of the rolled length that is lost, 0 to 0.9; `slope_deg` is under 0 downhill."""
        return max(0.0, min(0.9, self.slip_flat + self.slip_deg * slope_deg))

    def drive_w(self, speed_m_s: float, slope_deg: float) -> float:
        """What the motors take at a speed over ground, on top of `hotel_w`, W; downhill, not under DOWNHILL_SHARE."""
        rolled_m_s = speed_m_s / (1.0 - self.slip(slope_deg))
        return max(self.drive_j_m + self.drive_j_m_deg * slope_deg, DOWNHILL_SHARE * self.drive_j_m) * rolled_m_s

    def way(self, steps_m: Floats, slopes_deg: Floats, speeds_m_s: Floats) -> tuple[float, float]:
        """Seconds and Wh of a way without any Sun: (n,) lengths of its pieces, slopes (under 0: down) and speeds."""
        seconds = np.asarray(steps_m) / np.asarray(speeds_m_s)
        motors_w = np.array([self.drive_w(v, a) for v, a in zip(speeds_m_s, slopes_deg, strict=True)])
        return float(seconds.sum()), float(((motors_w + self.hotel_w) * seconds).sum()) / 3600.0


def forecast(model: EnergyModel, step_s: float, solar_share: Floats, load_w: Floats, charge_0: float) -> Floats:
    """The charge (n + 1,) over n steps: Sun (share of the full panel, 0 to 1) in, load out; never over full.

    It may fall under 0: whoever asks sees how much is missing.
    """
    share, load = np.broadcast_arrays(np.asarray(solar_share, float), np.asarray(load_w, float))
    charge = np.empty(len(share) + 1)
    charge[0] = charge_0
    for n, (sun, out_w) in enumerate(zip(share, load, strict=True)):
        net_w = model.solar_w_max * sun - out_w
        if net_w > 0:
            net_w *= model.charge_efficiency
        charge[n + 1] = min(1.0, charge[n] + net_w * step_s / 3600.0 / model.capacity_wh)
    return charge
