"""What a gantry does by hand, whatever firmware moves it: bounded jogging, and its place as readings."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from firmware_bridge.errors import NotReady, Rejected
from firmware_bridge.signals import LimitState, Quality, Reading

TRAVEL_MM = (250.0, 150.0, 100.0)
SPEED_MM_S = 100.0

Place = tuple[float, float, float]
"""x, y, z in mm."""


@runtime_checkable
class ChecksPlace(Protocol):
    """A gantry whose firmware tells its end switches while it stands."""

    async def check_place(self, margin_mm: float) -> str:
        """Whether x and y still stand where the firmware counts them: their end switches must be open `margin_mm` in
        front of 0 and closed as far behind it. What is wrong, as the beginning of a sentence; empty for nothing."""


class Gantry(ABC):
    """`travel_mm`: the end of each axis, from 0; `speed_mm_s_max` bounds jogging; `name`: its own, for sentences."""

    reach_mm = 0.001
    """How far beyond its travel an axis may be said to stand: positions come rounded."""

    on_button: Callable[[str], None] | None = None
    """Called with what the board's own buttons ask of its host, where its firmware has words for that."""

    stop_report = ""
    """What a person must know of how the last quick stop went; empty for nothing."""

    def __init__(self, travel_mm: Place, speed_mm_s_max: float, name: str) -> None:
        self.name = name
        self.travel_mm = travel_mm
        self.speed_mm_s_max = speed_mm_s_max

    @property
    def stop_queues(self) -> bool:
        """Whether a stop waits its turn on the board, behind lines that wait for planned moves to end."""
        return False

    @abstractmethod
    async def position(self) -> Place:
        """x, y, z in mm."""

    @abstractmethod
    async def wait_idle(self) -> None:
        """Return when every move has ended."""

    @abstractmethod
    def _knows_its_place(self) -> bool:
        """Whether it was homed since its power-up."""

    @abstractmethod
    async def _move_to(self, target_mm: Place, speed_mm_s: float) -> Place:
        """Go there with the beam off; where it stands then."""

    async def position_readings(self) -> dict[str, Reading]:
        """The position as readings: x_mm, y_mm, z_mm."""
        place = await self.position()
        time_s = asyncio.get_running_loop().time()
        named = zip(("x_mm", "y_mm", "z_mm"), place)
        return {n: Reading(n, v, "mm", time_s, Quality.GOOD, LimitState.NORMAL) for n, v in named}

    async def approach(self, x_mm: float, y_mm: float) -> Place:
        """Go to x and y with the beam off, as fast as jogging may, and return where it stands. For a machine that knows
        its place; Rejected beyond the travel."""
        await self.wait_idle()
        _, _, z_mm = await self.position()
        target_mm = (x_mm, y_mm, z_mm)
        self._check_within(target_mm)
        return await self._move_to(target_mm, self.speed_mm_s_max)

    async def jog(self, x_mm: float, y_mm: float, z_mm: float, *, speed_mm_s: float) -> Place:
        """Move by x, y, z mm with the beam off, and return where it stands. Rejected beyond the travel."""
        if not self._knows_its_place():
            raise NotReady(f"{self.name} does not know where it stands: home it before jogging.")
        if not 0 < speed_mm_s <= self.speed_mm_s_max:
            raise Rejected(f"{self.name}: {speed_mm_s:g} mm/s is refused: above 0 to {self.speed_mm_s_max:g} mm/s.")
        await self.wait_idle()
        x, y, z = await self.position()
        # an absolute target: a line that were executed twice would do no harm
        target_mm = (x + x_mm, y + y_mm, z + z_mm)
        self._check_within(target_mm)
        return await self._move_to(target_mm, speed_mm_s)

    def _check_within(self, target_mm: Place) -> None:
        for axis, value, end in zip("xyz", target_mm, self.travel_mm):
            if not (math.isfinite(value) and -self.reach_mm <= value <= end + self.reach_mm):
                raise Rejected(f"{self.name}: {axis} = {value:g} mm is refused: the axis goes from 0 to {end:g} mm.")
