"""The gantry: a Marlin motion controller with a laser build. Positions in mm in the machine frame."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence

from firmware_bridge.errors import DeviceHalted, LinkError, LinkTimeout, NotReady, Rejected, Unverified, WrongModel
from firmware_bridge.links.line_framing import parse_position
from firmware_bridge.links.marlin import MarlinLink, StreamJournal
from firmware_bridge.signals import LimitState, Quality, Reading

HOME_TIMEOUT_S = 120.0
IDLE_TIMEOUT_S = 120.0
LASER_OFF_TIMEOUT_S = 10.0
QUICK_STOP_EVERY_S = 1.25  # a board takes a second to drop its plan
QUICK_STOP_LIMIT_S = 20.0
PLANNED_MOVES = 16  # of Marlin's planner, and more than Grbl's 15
TRAVEL_MM = (250.0, 150.0, 100.0)
SPEED_MM_S = 100.0


class MotionController:
    """`travel_mm`: the end of each axis, from 0; `speed_mm_s_max` bounds jogging.

    Whether it was homed since its power-up the firmware does not tell: `home` it, or `take_as_homed`.
    """

    def __init__(
        self,
        link: MarlinLink,
        *,
        travel_mm: tuple[float, float, float] = TRAVEL_MM,
        speed_mm_s_max: float = SPEED_MM_S,
        name: str = "motion",
    ) -> None:
        self.name = name
        self.link = link
        self.travel_mm = travel_mm
        self.speed_mm_s_max = speed_mm_s_max
        self._is_homed = False

    async def identify(self) -> dict[str, str]:
        """M115's fields. WrongModel if the firmware is not Marlin."""
        firmware = self.link.identity.fields.get("FIRMWARE_NAME", "")
        if not firmware.startswith("Marlin"):
            raise WrongModel(f"{self.name}: the firmware calls itself '{firmware or 'nothing'}', and not Marlin.")
        await self.link.command(b"G21")  # millimetres
        await self.link.command(b"G90")  # absolute
        return dict(self.link.identity.fields)

    async def home(self) -> None:
        """Home all axes; returns when the machine stands there."""
        self._is_homed = False
        await self.link.command(b"G28", timeout_s=HOME_TIMEOUT_S)
        await self.wait_idle()
        self._is_homed = True

    async def position(self) -> tuple[float, float, float]:
        """x, y, z in mm as the firmware plans it (after wait_idle: where the machine stands). Asked twice at most."""
        for _ in range(2):
            for reply in await self.link.command(b"M114"):
                axes = parse_position(reply)
                if {"X", "Y", "Z"} <= axes.keys():
                    return axes["X"], axes["Y"], axes["Z"]
        raise LinkError(f"{self.name} was asked twice for its position and gave none that can be read.")

    async def position_readings(self) -> dict[str, Reading]:
        """The same as readings: x_mm, y_mm, z_mm."""
        place = await self.position()
        time_s = asyncio.get_running_loop().time()
        named = zip(("x_mm", "y_mm", "z_mm"), place)
        return {n: Reading(n, v, "mm", time_s, Quality.GOOD, LimitState.NORMAL) for n, v in named}

    async def jog(self, x_mm: float, y_mm: float, z_mm: float, *, speed_mm_s: float) -> tuple[float, float, float]:
        """Move by x, y, z mm with the beam off, and return where it stands. Rejected beyond the travel."""
        if not self._is_homed:
            raise NotReady(f"{self.name} does not know where it stands: home it before jogging.")
        if not 0 < speed_mm_s <= self.speed_mm_s_max:
            raise Rejected(f"{self.name}: {speed_mm_s:g} mm/s is refused: above 0 to {self.speed_mm_s_max:g} mm/s.")
        await self.wait_idle()
        here = await self.position()
        # an absolute target: a line that were executed twice would do no harm
        target = [at + by for at, by in zip(here, (x_mm, y_mm, z_mm))]
        for axis, value, end in zip("xyz", target, self.travel_mm):
            if not (math.isfinite(value) and -0.001 <= value <= end + 0.001):
                raise Rejected(f"{self.name}: {axis} = {value:g} mm is refused: the axis goes from 0 to {end:g} mm.")
        words = " ".join(f"{axis}{value:.3f}" for axis, value in zip("XYZ", target))
        line = f"G0 {words} F{round(speed_mm_s * 60)} S0"
        await self.link.command(line.encode())
        await self.wait_idle()
        there = await self.position()
        if max(abs(at - wanted) for at, wanted in zip(there, target)) > 0.01:
            raise Unverified(f"{self.name} was sent to {target} mm and says it stands at {there} mm. Home it again.")
        return there

    def check(self, lines: Sequence[bytes]) -> None:
        """Rejected where the controller cannot give what a line asks for: Marlin's can, as far as it tells."""

    async def stream(
        self, lines: Sequence[bytes], journal: StreamJournal, *, cancelled: Callable[[], bool] | None = None
    ) -> int:
        """Send G-code lines, each after `journal` has noted it; returns how many the firmware has taken."""
        return await self.link.stream(lines, journal, cancelled=cancelled)

    async def wait_idle(self, *, timeout_s: float = IDLE_TIMEOUT_S) -> None:
        """Return when every move has ended (M400). LinkTimeout after `timeout_s` without a sign of life."""
        await self.link.command(b"M400", timeout_s=timeout_s)

    async def laser_off(self) -> None:
        """S = 0 once the planned moves have ended (M5)."""
        await self.link.command(b"M5", timeout_s=IDLE_TIMEOUT_S)

    def take_as_homed(self) -> None:
        """The operator's word that the machine was homed since its power-up."""
        self._is_homed = True

    @property
    def has_lost_place(self) -> bool:
        """Whether the firmware says that its position is not known: Marlin never does."""
        return False

    @property
    def planned_moves(self) -> int:
        """How many moves the board may hold that it has taken and not carried out."""
        return PLANNED_MOVES

    @property
    def is_dark_at_rest(self) -> bool:
        """Whether the beam goes out where the motion waits for lines: Marlin's keeps the last block's power."""
        return False

    def silent_s(self) -> float:
        """Seconds since the firmware was last heard (any line)."""
        return asyncio.get_running_loop().time() - self.link.heard_s

    async def safe(self) -> None:
        """Beam off at the controller. Halted firmware is safe already; one that does not answer is halted (M112)."""
        if isinstance(self.link.error, DeviceHalted):
            return
        try:
            async with asyncio.timeout(LASER_OFF_TIMEOUT_S):
                await self.link.command(b"M5", timeout_s=LASER_OFF_TIMEOUT_S)
        except TimeoutError as error:
            self.link.emergency_stop()
            raise LinkTimeout(
                f"{self.name} did not switch its laser output off within {LASER_OFF_TIMEOUT_S:g} s: it was halted by "
                "M112. Reset it and home again."
            ) from error

    async def quick_stop(self) -> None:
        """Stop where it is and drop what is planned (M410), again and again until the queue is empty; then S = 0.

        The position survives in the firmware but for steps lost by the sudden stop: home before going on. Firmware that
        goes on moving after `QUICK_STOP_LIMIT_S` is halted (M112).
        """
        if isinstance(self.link.error, DeviceHalted):
            return
        self._is_homed = False
        off = asyncio.ensure_future(self.link.command(b"M5", timeout_s=QUICK_STOP_LIMIT_S))
        try:
            for _ in range(round(QUICK_STOP_LIMIT_S / QUICK_STOP_EVERY_S)):
                self.link.quick_stop()
                await asyncio.wait({off}, timeout=QUICK_STOP_EVERY_S)
                if off.done():
                    off.result()
                    return
        finally:
            off.cancel()
        self.link.emergency_stop()
        raise LinkTimeout(
            f"{self.name} went on moving for {QUICK_STOP_LIMIT_S:g} s after it was told to stop; it was halted (M112)."
        )

    def stop(self) -> None:
        """The software stop: M112, at once. Afterwards the position is unknown and the firmware needs a reset."""
        self._is_homed = False
        self.link.emergency_stop()
