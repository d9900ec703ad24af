"""A Leadshine drive that turns a motor of the rover instead of a screw: the same registers, a new target at any time.

A wheel does not stand at the end of its move because a calculation says so: it may slip, stall or lag. So a path is
done when the motor is there, and a motor that is still far off a while after it should be is a following error, which
is an alarm.
"""

from __future__ import annotations

import math
from typing import Protocol

from hil_sim.world.emulators.leadshine import LeadshineDrive

AT_REST_RAD_S = 1e-3
FOLLOWING_S = 1.0  # this long after its time a move has ended, or failed
HERE_PULSES = 20


class MotorPort(Protocol):
    """One motor of the world. Angles in rad at the wheel or the steering axis, loop time in s first."""

    def set_speed(self, t_s: float, rad_s: float, accel_rad_s2: float) -> None:
        """Hold this speed, reached at that acceleration."""

    def set_position(self, t_s: float, angle_rad: float, speed_rad_s: float, accel_rad_s2: float) -> None:
        """Go to this angle and hold it."""

    def angle_rad(self, t_s: float) -> float:
        """Where it stands, cumulative."""

    def speed_rad_s(self, t_s: float) -> float:
        """How fast it turns."""


class MotorAxis:
    """A motor port seen as an axis: what `LeadshineDrive` asks for, with rad in the place of mm."""

    travel_mm = (-math.inf, math.inf)
    struck_s: float | None = None  # a wheel has no end of travel

    def __init__(self, port: MotorPort) -> None:
        self.port = port
        self.target_rad: float | None = None
        self._rest_s = -math.inf

    def position_at(self, t_s: float) -> float:
        return self.port.angle_rad(t_s)

    def velocity_at(self, t_s: float) -> float:
        return self.port.speed_rad_s(t_s)

    def moving(self, t_s: float) -> bool:
        return t_s < self._rest_s or abs(self.port.speed_rad_s(t_s)) > AT_REST_RAD_S

    def move(self, t_s: float, target: float, speed: float, acceleration: float, deceleration: float) -> float:
        """Go there from the present motion; returns when an unloaded motor would rest."""
        accel = min(acceleration, deceleration)
        away = target - self.port.angle_rad(t_s)
        towards = self.port.speed_rad_s(t_s) * math.copysign(1.0, away)
        back_s = max(-towards, 0.0) / accel  # brake first, and come back over what that took
        distance = abs(away) + max(-towards, 0.0) ** 2 / (2 * accel)
        self.target_rad = target
        self.port.set_position(t_s, target, speed, accel)
        self._rest_s = t_s + back_s + distance / speed + speed / accel
        return self._rest_s

    def stop(self, t_s: float, deceleration: float) -> float:
        """Brake to rest."""
        self.target_rad = None
        self.port.set_speed(t_s, 0.0, deceleration)
        self._rest_s = t_s + abs(self.port.speed_rad_s(t_s)) / deceleration
        return self._rest_s


class LeadshineWheel(LeadshineDrive):
    """The drive on a motor port. `rad_per_rev`: of the wheel or steering axis for one turn of the motor; negative when
    a positive count turns it backwards. The counter is 0 wherever the motor stands at power-up."""

    def __init__(self, port: MotorPort, *, rad_per_rev: float, baud: int = 115200, t_s: float = 0.0) -> None:
        self.wheel = MotorAxis(port)
        self._start_s = t_s
        super().__init__(self.wheel, mm_per_rev=rad_per_rev, baud=baud, t_s=t_s)

    def power_cycle(self, t_s: float) -> None:
        """Power goes and comes: the motor is let go, counter and every setting that was not saved are as delivered."""
        port, seconds, worn = self.wheel.port, self.reply_delay_s, self.nonvolatile_writes
        port.set_speed(t_s, 0.0, 1000.0)
        self.__init__(port, rad_per_rev=self.mm_per_rev, t_s=t_s)  # type: ignore[misc]
        self.reply_delay_s, self.nonvolatile_writes = seconds, worn

    def _settle(self, t_s: float) -> None:
        target = self.wheel.target_rad
        if self._running and target is not None and t_s >= self._done_s:
            off = abs(self.wheel.position_at(t_s) - target)
            if off > HERE_PULSES * abs(self.mm_per_rev) / self._parameters[1]:
                if t_s < self._done_s + FOLLOWING_S:
                    return
                self._trip(t_s)
        super()._settle(t_s)
