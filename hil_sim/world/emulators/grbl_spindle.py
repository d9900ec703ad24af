"""Grbl's spindle output, which drives the beam: S to an 8-bit pulse width, laser mode, and the override.

Facts: Grbl `spindle_control.c`, `laser_mode.md` (page hosts 1b). The pulse width has 255 levels: S 100 of 1000 gives
26/255, which is 2 % more than a tenth. In laser mode M3 is constant (and stays on when the motion ends), M4 follows the
speed and is dark at rest.
"""

from __future__ import annotations

from math import floor, inf

from hil_sim.world.emulators.grbl_settings import Settings
from hil_sim.world.plant.gantry import Gantry

CONSTANT, DYNAMIC, OFF = 3, 4, 5  # the M words
_TOP = 255


class Spindle:
    """The output pin of one board. `mode` and `speed` are what the pin was told last; moves bring their own."""

    def __init__(self, gantry: Gantry) -> None:
        self._gantry = gantry
        self.percent = 100
        self.mode = OFF
        self.speed = 0.0  # S as put out, override included: the second number of `FS:`

    def limited(self, speed: float, settings: Settings) -> float:
        """S under the override, within $31 and $30."""
        least, most = settings[31], settings[30]
        speed *= self.percent / 100.0
        if least >= most or speed >= most:
            return most
        if speed <= least:
            return 0.0 if speed == 0.0 else least
        return speed

    def fraction(self, speed: float, settings: Settings) -> float:
        """The pulse width, 0 to 1, that S gives."""
        least, most = settings[31], settings[30]
        speed = speed * self.percent / 100.0
        if least >= most or speed >= most:
            return 1.0
        if speed <= least:
            return 0.0 if speed == 0.0 else 1.0 / _TOP
        return (floor((speed - least) * (_TOP - 1) / (most - least)) + 1) / _TOP

    def put(self, now_s: float, mode: int, speed: float, settings: Settings) -> None:
        """Set the pin while nothing moves: in laser mode M4 is dark then."""
        if mode == OFF:
            self.off(now_s)
            return
        if mode == DYNAMIC and settings.flag(32):
            speed = 0.0
        self.mode, self.speed = mode, self.limited(speed, settings)
        self._gantry.stand(now_s, self.fraction(speed, settings), inf)

    def left_on(self, mode: int, speed: float, dynamic: bool, settings: Settings) -> None:
        """Motion has ended, and the pin stays as its last block left it: dark in dynamic mode."""
        self.mode, self.speed = mode, 0.0 if dynamic else self.limited(speed, settings)

    def off(self, now_s: float) -> None:
        """Pulse width 0."""
        self.mode, self.speed = OFF, 0.0
        self._gantry.stand(now_s, 0.0, inf)
