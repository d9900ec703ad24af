"""Roll and pitch from gyro and accelerometer: the gyro follows at once, gravity corrects slowly (complementary filter).

Only the direction of the specific force is used, so that it works under any gravity. Rover frame: x forward, y left,
z up; roll about x (left side up is positive), pitch about y (nose down is positive).
"""

from __future__ import annotations

import math

TRUST_GRAVITY_S = 2.0  # time constant with which gravity pulls the gyro's integral straight
GAP_MAX_S = 1.0  # after a longer silence the gyro's integral is worth nothing: begin again from gravity


class Inclination:
    """The filter. `roll_rad`, `pitch_rad`, and `rate_rad_s` (how fast it tilts) are NaN before the first step."""

    def __init__(self) -> None:
        self.roll_rad = self.pitch_rad = self.rate_rad_s = math.nan
        self._last_s = -math.inf

    def step(self, t_s: float, gyro_rad_s: tuple[float, float, float], force_m_s2: tuple[float, float, float]) -> None:
        """New samples taken at `t_s`; samples that are not newer, or no numbers, change nothing."""
        if not (t_s > self._last_s and all(map(math.isfinite, (*gyro_rad_s, *force_m_s2)))):
            return
        fx, fy, fz = force_m_s2
        size = math.sqrt(fx * fx + fy * fy + fz * fz)
        if size < 1e-3:  # falling: there is nothing to be upright by
            return
        roll, pitch = math.atan2(fy, fz), math.atan2(-fx, math.hypot(fy, fz))
        dt_s = t_s - self._last_s
        self._last_s = t_s
        gx, gy, _ = gyro_rad_s
        if not math.isfinite(self.roll_rad) or dt_s > GAP_MAX_S:
            self.roll_rad, self.pitch_rad = roll, pitch
        else:
            share = dt_s / (TRUST_GRAVITY_S + dt_s)
            self.roll_rad += gx * dt_s
            self.roll_rad += share * math.remainder(roll - self.roll_rad, math.tau)
            self.pitch_rad += gy * dt_s
            self.pitch_rad += share * (pitch - self.pitch_rad)
        self.rate_rad_s = math.hypot(gx, gy)
