"""The gantry: a Marlin motion controller with a laser build. Positions in mm in the machine frame."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from firmware_bridge.devices.gantry import SPEED_MM_S, TRAVEL_MM, Gantry, Place
from firmware_bridge.errors import DeviceHalted, LinkError, LinkTimeout, Unverified, WrongModel
from firmware_bridge.links.line_framing import parse_position
from firmware_bridge.links.marlin import MarlinLink, StreamJournal

__all__ = ["IDLE_TIMEOUT_S", "LASER_OFF_TIMEOUT_S", "SPEED_MM_S", "TRAVEL_MM", "MotionController"]

HOME_TIMEOUT_S = 120.0
IDLE_TIMEOUT_S = 120.0
LASER_OFF_TIMEOUT_S = 10.0
QUICK_STOP_EVERY_S = 1.25  # a board takes a second to drop its plan
QUICK_STOP_LIMIT_S = 20.0
PLANNED_MOVES = 16  # of Marlin's planner, and more than Grbl's 15


class MotionController(Gantry):
    """`travel_mm`: the end of each axis, from 0; `speed_mm_s_max` bounds jogging.

    Whether it was homed since its power-up the firmware does not tell: `home` it, or `take_as_homed`.
    """

    def __init__(
        self,
        link: MarlinLink,
        *,
        travel_mm: Place = TRAVEL_MM,
        speed_mm_s_max: float = SPEED_MM_S,
        name: str = "motion",
    ) -> None:
        super().__init__(travel_mm, speed_mm_s_max, name)
        self.link = link
        link.on_action = self._pressed
        self._is_homed = False

    async def identify(self) -> dict[str, str]:
        """M115's fields. WrongModel if the firmware is not Marlin."""
        firmware = self.link.identity.fields.get("FIRMWARE_NAME", "")
        if not firmware.startswith("Marlin"):
            raise WrongModel(f"{self.name}: the firmware calls itself '{firmware or 'nothing'}', and not Marlin.")
        await self.link.command(b"G21")  # millimetres
        await self.link.command(b"G90")  # absolute
        return dict(self.link.identity.fields)

    def _pressed(self, button: str) -> None:
        if self.on_button is not None:
            self.on_button(button)

    async def home(self) -> None:
        """Home all axes; returns when the machine stands there."""
        self._is_homed = False
        await self.link.command(b"G28", timeout_s=HOME_TIMEOUT_S)
        await self.wait_idle()
        self._is_homed = True

    async def position(self) -> Place:
        """x, y, z in mm as the firmware plans it (after wait_idle: where the machine stands). Asked twice at most."""
        for _ in range(2):
            for reply in await self.link.command(b"M114"):
                axes = parse_position(reply)
                if {"X", "Y", "Z"} <= axes.keys():
                    return axes["X"], axes["Y"], axes["Z"]
        raise LinkError(f"{self.name} was asked twice for its position and gave none that can be read.")

    def _knows_its_place(self) -> bool:
        return self._is_homed

    async def _move_to(self, target_mm: Place, speed_mm_s: float) -> Place:
        words = " ".join(f"{axis}{value:.3f}" for axis, value in zip("XYZ", target_mm))
        line = f"G0 {words} F{round(speed_mm_s * 60)} S0"
        await self.link.command(line.encode())
        await self.wait_idle()
        there = await self.position()
        if max(abs(at - wanted) for at, wanted in zip(there, target_mm)) > 0.01:
            raise Unverified(f"{self.name} was sent to {target_mm} mm and says it stands at {there} mm. Home it again.")
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
