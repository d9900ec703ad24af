"""The thermistor channels of a Marlin board: a lumped heater each, in closed form (no ticks, no PID), what can go wrong
with it, and the firmware's thermal protection that notices.

The bench printer heats its bed by another device; these stand for the hot end and bed outputs every Marlin board has,
so that hosts which insist on M104/M109/M140/M190 and temperature reports find them.

The world makes things happen by methods: `lose_power` (a cartridge has slipped out), `stick_sensor` (a wire is open or
short), `repair`. When the protection will strike is a formula of the moment at which something changed, so the board
keeps one timer for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, exp, inf, log

MINTEMP, MAXTEMP = "MINTEMP triggered", "MAXTEMP triggered"
RUNAWAY, HEATING_FAILED = "Thermal Runaway", "Heating failed"

_REACHED_C = 0.5  # a set-point counts as met within this
_WATCH_MARGIN_C = 4.0  # TEMP_HYSTERESIS 3 + 1: nearer to the set-point than the gain plus this, nothing is watched


@dataclass(frozen=True)
class Protection:
    """What the thermal protection was compiled with; the numbers of the two instances are stock ones.

    Runaway: `drop_c` below a set-point that was once met, for `drop_s`. Heating failed: less than `gain_c` warmer after
    `watch_s`. A short or open sensor reads beyond `min_c` (noticed while the heater is on) or `max_c` (always).
    """

    heater_id: str
    min_c: float
    max_c: float
    drop_c: float
    drop_s: float
    gain_c: float
    watch_s: float


HOTEND = Protection("0", 5.0, 275.0, 4.0, 40.0, 2.0, 40.0)  # WATCH_TEMP_PERIOD unverified
BED = Protection("bed", 5.0, 120.0, 2.0, 20.0, 2.0, 60.0)


class LumpedHeater:
    """First order: full power tends to `full_c`, no power to `ambient_c`, both with time constant `tau_s`; a
    set-point is held. `on_change` is called whenever the time of `trip` may have changed.
    """

    def __init__(
        self,
        *,
        ambient_c: float,
        full_c: float,
        tau_s: float,
        max_target_c: float,
        protection: Protection = HOTEND,
    ) -> None:
        self.ambient_c, self.full_c, self.tau_s, self.max_target_c = ambient_c, full_c, tau_s, max_target_c
        self.protection = protection
        self.target_c = 0.0
        self.on_change: Callable[[], None] = lambda: None
        self._from_c = ambient_c
        self._from_s = 0.0
        self._has_power = True
        self._stuck_c: float | None = None
        self._target_s = 0.0
        self._target_from_c = ambient_c  # reading when the set-point was given
        self._faulty_s = -inf  # since when something is wrong, by the later of fault and set-point
        self._was_met = True  # the set-point had been met when it went wrong
        self._watch: tuple[float, float] | None = None  # begin of the watched window, and the reading then

    # ---- what the firmware does -------------------------------------------------------------------------------------
    def set_target(self, t_s: float, target_c: float) -> None:
        """New set-point from `t_s`; above the board's maximum it is cut to that, as Marlin does; 0 switches off."""
        self._settle(t_s)
        self.target_c = min(max(target_c, 0.0), self.max_target_c)
        self._target_s, self._target_from_c = t_s, self.reading_c(t_s)
        if self._is_faulty:
            self._faulty_s = t_s
            self._was_met = self._target_from_c >= self.target_c - _REACHED_C
            self._watch = (t_s, self._target_from_c) if self._is_watched(self._target_from_c) else None
        self.on_change()

    def reading_c(self, t_s: float) -> float:
        """What the thermistor says at `t_s`: all that the firmware knows."""
        return self.temperature_c(t_s) if self._stuck_c is None else self._stuck_c

    def reached_s(self) -> float:
        """When the reading meets the set-point (the time of `set_target` when it does already), inf: never."""
        if self._stuck_c is not None:
            return self._from_s if abs(self._stuck_c - self.target_c) <= _REACHED_C else inf
        if not self._has_power and self.target_c > self.ambient_c:
            return self._from_s if abs(self._from_c - self.target_c) <= _REACHED_C else inf
        goal, asymptote = self._goal_c(), self._asymptote_c()
        if self._from_c == goal:
            return self._from_s
        if goal == asymptote:  # cooling to ambient ends within a tenth of a degree
            return self._from_s + self.tau_s * max(0.0, log(abs(self._from_c - asymptote) / 0.1))
        return self._from_s + self.tau_s * log((self._from_c - asymptote) / (goal - asymptote))

    def power(self, t_s: float) -> int:
        """Duty 0..127 as Marlin reports it after `@:`."""
        if self.target_c <= 0.0:
            return 0
        if self.reading_c(t_s) < self.target_c - _REACHED_C:
            return 127
        return round(127 * max(0.0, (self.target_c - self.ambient_c) / (self.full_c - self.ambient_c)))

    def trip(self, now_s: float) -> tuple[float, str] | None:
        """When the protection will stop the board, and with which words; None: not as things stand."""
        guard = self.protection
        if self._stuck_c is not None and self._stuck_c > guard.max_c:
            return now_s, MAXTEMP
        if self.target_c <= 0.0 or not self._is_faulty:
            return None
        if self._stuck_c is not None and self._stuck_c < guard.min_c:
            return now_s, MINTEMP
        if self._watch is not None:
            begin_s, begin_c = self._watch
            for _ in range(2):  # what was still gained in the window of the fault is not gained in the next
                end_s = begin_s + guard.watch_s
                end_c = self.reading_c(end_s)
                if end_c < begin_c + guard.gain_c:
                    return max(end_s, now_s), HEATING_FAILED
                begin_s, begin_c = end_s, end_c
            return None
        if not self._was_met:
            return None  # between the last watched window and the set-point nothing watches, in Marlin either
        low_c = self.target_c - guard.drop_c
        below_s = self._falls_below_s(low_c)
        return None if below_s == inf else (max(below_s + guard.drop_s, now_s), RUNAWAY)

    # ---- what the world does ----------------------------------------------------------------------------------------
    def temperature_c(self, t_s: float) -> float:
        """True temperature at `t_s` (not before the last change)."""
        goal = self._goal_c()
        asymptote = self._asymptote_c()
        elapsed = max(0.0, t_s - self._from_s)
        now = asymptote + (self._from_c - asymptote) * exp(-elapsed / self.tau_s)
        # Past the set-point the controller holds it.
        return min(now, goal) if self._from_c < goal else max(now, goal)

    def lose_power(self, t_s: float) -> None:
        """The heating element is gone: from now on this only cools, whatever the firmware switches."""
        self._note_fault(t_s)
        self._settle(t_s)
        self._has_power = False
        self.on_change()

    def stick_sensor(self, t_s: float, reading_c: float) -> None:
        """The thermistor reads `reading_c` from now on (an open one far below zero, a short one far above)."""
        self._note_fault(t_s)
        self._settle(t_s)
        self._stuck_c = reading_c
        self.on_change()

    def set_ambient(self, t_s: float, ambient_c: float) -> None:
        """The room has another temperature from now on."""
        self._settle(t_s)
        self.ambient_c = ambient_c
        self.on_change()

    def repair(self, t_s: float) -> None:
        """Element and sensor are in order again."""
        self._settle(t_s)
        self._has_power, self._stuck_c, self._watch = True, None, None
        self.on_change()

    # ---- inside -----------------------------------------------------------------------------------------------------
    @property
    def _is_faulty(self) -> bool:
        return not self._has_power or self._stuck_c is not None

    def _settle(self, t_s: float) -> None:
        self._from_c, self._from_s = self.temperature_c(t_s), t_s

    def _is_watched(self, reading_c: float) -> bool:
        return self.target_c > 0.0 and reading_c < self.target_c - self.protection.gain_c - _WATCH_MARGIN_C

    def _note_fault(self, t_s: float) -> None:
        """Where the protection stood when a healthy heater went wrong."""
        if self._is_faulty:
            return
        self._faulty_s = t_s
        self._was_met = self.target_c <= 0.0 or self.reading_c(t_s) >= self.target_c - _REACHED_C
        watch_s = self.protection.watch_s
        begin_s = self._target_s + watch_s * max(0, ceil((t_s - self._target_s) / watch_s) - 1)
        begin_c = self._target_from_c if begin_s == self._target_s else self.temperature_c(begin_s)
        self._watch = (begin_s, begin_c) if self._is_watched(begin_c) else None

    def _falls_below_s(self, low_c: float) -> float:
        if self._stuck_c is not None:
            return self._faulty_s if self._stuck_c < low_c else inf
        if self._from_c < low_c:
            return self._faulty_s
        if low_c <= self.ambient_c:
            return inf
        return self._from_s + self.tau_s * log((self._from_c - self.ambient_c) / (low_c - self.ambient_c))

    def _goal_c(self) -> float:
        return max(self.target_c, self.ambient_c) if self._has_power and self.target_c > 0.0 else self.ambient_c

    def _asymptote_c(self) -> float:
        return self.full_c if self._from_c < self._goal_c() else self.ambient_c
