"""An induction motor on a frequency inverter, turning an auger or a conveyor: ramps, slip, current, and what has been
turned so far, exact at any time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

_AT_REST_RPM = 1.0  # below this a coasting rotor stands


@dataclass(frozen=True, slots=True)
class MotorConfig:
    """Of a 0.75 kW four-pole gear motor (this project's own choice, of the size of such machines).

    Slip in parts of the synchronous speed at rated load; magnetising and rated current in A; the rotor coasts down with
    `coast_s`.
    """

    poles: int = 4
    rated_hz: float = 50.0
    rated_v: float = 230.0
    rated_kw: float = 0.75
    rated_a: float = 4.2
    magnetising_a: float = 2.1
    slip: float = 0.06
    coast_s: float = 1.5


@dataclass(frozen=True, slots=True)
class _Stretch:
    """From `t_s` on: frequency and its constant change."""

    t_s: float
    hz: float
    hz_per_s: float


class InductionMotor:
    """Frequency is signed: negative turns backwards. `load`: torque in parts of the rated one, changed by `set_load`;
    beyond 2.5 the rotor stalls.

    Lazily advanced: ask for any time at or after the last change.
    """

    STALL_LOAD = 2.5

    def __init__(self, config: MotorConfig = MotorConfig(), *, load: float = 0.5, t_s: float = 0.0) -> None:
        self.config = config
        self.load = load
        self.before_change: list[Callable[[float], object]] = []  # told before anything about it changes
        self._stretches = [_Stretch(t_s, 0.0, 0.0)]
        self._driven = False
        self._coast_rpm = 0.0
        self._since_s = t_s
        self._revolutions = 0.0

    # -- what is done to it
    def set_load(self, t_s: float, load: float) -> None:
        """From `t_s` on the shaft takes this torque, in parts of the rated one, >= 0 and finite."""
        if not (math.isfinite(load) and load >= 0.0):
            raise ValueError(f"a shaft cannot take {load} of the rated torque")
        self._account(t_s)
        self._coast_rpm = self.speed_rpm(t_s)
        self._stretches = self._from(t_s)
        self.load = load

    def ramp(self, t_s: float, target_hz: float, up_hz_s: float, down_hz_s: float) -> float:
        """Drive it to `target_hz` from its present speed, `down_hz_s` towards 0 Hz and `up_hz_s` away from it; returns
        when it will be there."""
        self._account(t_s)
        hz = self.frequency_hz(t_s) if self._driven else self._as_hz(self.speed_rpm(t_s))
        self._driven = True
        stretches: list[_Stretch] = []
        for goal in (0.0, target_hz) if hz * target_hz < 0.0 else (target_hz,):
            rate = up_hz_s if abs(goal) > abs(hz) else down_hz_s
            if goal != hz:
                stretches.append(_Stretch(t_s, hz, math.copysign(rate, goal - hz)))
                t_s += abs(goal - hz) / rate
                hz = goal
        self._stretches = [*stretches, _Stretch(t_s, target_hz, 0.0)]
        return t_s

    def release(self, t_s: float) -> None:
        """No current from now on: it coasts."""
        self._account(t_s)
        self._coast_rpm = self.speed_rpm(t_s)
        self._driven = False
        self._stretches = [_Stretch(t_s, 0.0, 0.0)]

    # -- what can be seen
    def frequency_hz(self, t_s: float) -> float:
        """What the inverter puts out; 0 while it puts out nothing."""
        stretch = self._stretch(t_s)
        return stretch.hz + stretch.hz_per_s * max(t_s - stretch.t_s, 0.0)

    def ramping(self, t_s: float) -> bool:
        return self._stretch(t_s).hz_per_s != 0.0

    def speed_rpm(self, t_s: float) -> float:
        """Of the shaft, signed."""
        if self._driven:
            return self._as_rpm(self.frequency_hz(t_s))
        rpm = self._coast_rpm * math.exp(-(t_s - self._stretches[0].t_s) / self.config.coast_s)
        return rpm if abs(rpm) > _AT_REST_RPM else 0.0

    def current_a(self, t_s: float) -> float:
        """Of one phase, A: magnetising and torque current in quadrature."""
        if not self._driven or self.frequency_hz(t_s) == 0.0:
            return 0.0
        config = self.config
        rated_torque_a = math.sqrt(config.rated_a**2 - config.magnetising_a**2)
        return math.hypot(config.magnetising_a, rated_torque_a * self.load)

    def power_kw(self, t_s: float) -> float:
        """Electrical, kW: what the shaft takes, and the slip's losses."""
        share = abs(self.frequency_hz(t_s)) / self.config.rated_hz
        return self.config.rated_kw * self.load * share if self._driven else 0.0

    def revolutions(self, t_s: float) -> float:
        """Turned so far, signed."""
        return self._revolutions + self._turned(t_s)

    # -- inside
    def _as_rpm(self, hz: float) -> float:
        slip = 1.0 if self.load > self.STALL_LOAD else min(self.config.slip * self.load, 1.0)
        return hz * 120.0 / self.config.poles * (1.0 - slip)

    def _as_hz(self, rpm: float) -> float:
        return rpm * self.config.poles / 120.0

    def _stretch(self, t_s: float) -> _Stretch:
        for stretch in reversed(self._stretches):
            if stretch.t_s <= t_s:
                return stretch
        return self._stretches[0]

    def _from(self, t_s: float) -> list[_Stretch]:
        """The plan, cut so that it begins at `t_s`."""
        now = self._stretch(t_s)
        rest = [stretch for stretch in self._stretches if stretch.t_s > t_s]
        return [_Stretch(t_s, self.frequency_hz(t_s), now.hz_per_s), *rest]

    def _account(self, t_s: float) -> None:
        if t_s < self._since_s:
            raise ValueError(f"the motor stands at {self._since_s} s and cannot go back to {t_s} s")
        for tell in self.before_change:
            tell(t_s)
        self._revolutions += self._turned(t_s)
        self._since_s = t_s

    def _turned(self, t_s: float) -> float:
        """Revolutions since the last change: the frequency is piecewise linear, a coasting speed exponential."""
        if not self._driven:
            start_s = self._stretches[0].t_s
            tau_s = self.config.coast_s
            began, ended = (math.exp(-(at_s - start_s) / tau_s) for at_s in (self._since_s, t_s))
            return self._coast_rpm * tau_s * (began - ended) / 60.0
        edges = [self._since_s, *(s.t_s for s in self._stretches if self._since_s < s.t_s < t_s), t_s]
        # a straight line has its mean in the middle
        hertz_s = sum(self.frequency_hz((begin + end) / 2.0) * (end - begin) for begin, end in pairwise(edges))
        return self._as_rpm(hertz_s) / 60.0
