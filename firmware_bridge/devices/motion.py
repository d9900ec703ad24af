"""The gantry: a Marlin motion controller with a laser build. Positions in mm in the machine frame."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from firmware_bridge.devices.gantry import SPEED_MM_S, TRAVEL_MM, Gantry, Place
from firmware_bridge.errors import LinkError, LinkTimeout, Rejected, Unverified, WrongModel
from firmware_bridge.links.line_framing import parse_end_switches, parse_position
from firmware_bridge.links.marlin import MarlinLink, StreamJournal

__all__ = ["IDLE_TIMEOUT_S", "LASER_OFF_TIMEOUT_S", "SPEED_MM_S", "TRAVEL_MM", "MotionController"]

HOME_TIMEOUT_S = 120.0
IDLE_TIMEOUT_S = 120.0
LASER_OFF_TIMEOUT_S = 10.0
QUICK_STOP_EVERY_S = 1.25  # a board takes a second to drop its plan
QUICK_STOP_LIMIT_S = 20.0
PLANNED_MOVES = 16  # of Marlin's planner, and more than Grbl's 15


class MotionController(Gantry):
    """`travel_mm`: the end of each axis, from 0; `speed_mm_s_max` bounds jogging. `needs_emergency_parser`: a board
    built without EMERGENCY_PARSER, which hears a stop in its turn, is refused.

    Whether it was homed since its power-up the firmware does not tell: `home` it, or `take_as_homed`.
    """

    def __init__(
        self,
        link: MarlinLink,
        *,
        travel_mm: Place = TRAVEL_MM,
        speed_mm_s_max: float = SPEED_MM_S,
        needs_emergency_parser: bool = True,
        name: str = "motion",
    ) -> None:
        super().__init__(travel_mm, speed_mm_s_max, name)
        self.link = link
        link.on_action = self._pressed
        self.needs_emergency_parser = needs_emergency_parser
        self._is_homed = False

    async def identify(self) -> dict[str, str]:
        """M115's fields. WrongModel if the firmware is not Marlin; Rejected if it lacks an EMERGENCY_PARSER."""
        firmware = self.link.identity.fields.get("FIRMWARE_NAME", "")
        if not firmware.startswith("Marlin"):
            raise WrongModel(f"{self.name}: the firmware calls itself '{firmware or 'nothing'}', and not Marlin.")
        if self.stop_queues:
            await self.link.ask_identity()  # a capability is not said to lack because a line was lost
        if self.stop_queues and self.needs_emergency_parser:
            raise Rejected(
                f"{self.name}: the board's M115 does not say Cap:EMERGENCY_PARSER:1. On such a board a stop waits until"
                f" its queue frees, up to {PLANNED_MOVES} planned moves. Build its firmware with EMERGENCY_PARSER, or"
                " accept that: emergency_parser = false in the machine file's [devices.motion]."
            )
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

    async def check_place(self, margin_mm: float) -> str:
        """Whether x and y still stand where the firmware counts them: their end switches must be open `margin_mm` in
        front of 0 and closed as far behind it. What is wrong, as the beginning of a sentence; empty for nothing.

        For machines whose x and y home to switches at 0, with twice the margin between switch and metal. The beam stays
        off; the machine goes back to where it stood. On the way to the switches every move ends at a switch (M120), so
        that metal is not met however much was lost; the step behind them needs the soft end stops off (M211), which
        this switches on again, or, had it been broken off, the next check.
        """
        if not 0.0 < margin_mm <= 5.0:
            raise ValueError(f"margin_mm is {margin_mm}; give above 0 to 5 mm")
        self._is_homed = False  # until it is known
        x_mm, y_mm, _ = await self.position()
        await self._all(b"M211 S1", b"M120", *self._to(margin_mm, margin_mm), b"M121")
        early = [axis for axis, is_closed in (await self._end_switches()).items() if is_closed]
        if early:
            return f"the end switch of {' and '.join(early)} is closed {margin_mm:g} mm in front of its place"
        await self._all(b"M211 S0", *self._to(-margin_mm, -margin_mm))
        late = [axis for axis, is_closed in (await self._end_switches()).items() if not is_closed]
        await self._all(*self._to(margin_mm, margin_mm), b"M211 S1")
        if late:
            return f"the end switch of {' and '.join(late)} is open {margin_mm:g} mm behind its place"
        await self._all(*self._to(x_mm, y_mm))
        self._is_homed = True
        return ""

    def _to(self, x_mm: float, y_mm: float) -> tuple[bytes, bytes]:
        feed = round(self.speed_mm_s_max * 60)
        return f"G0 X{x_mm:.3f} Y{y_mm:.3f} F{feed} S0".encode(), b"M400"

    async def _all(self, *commands: bytes) -> None:
        for command in commands:
            await self.link.command(command, timeout_s=IDLE_TIMEOUT_S)

    async def _end_switches(self) -> dict[str, bool]:
        """Of x and y, closed or not. Asked twice at most."""
        for _ in range(2):
            said = parse_end_switches(await self.link.command(b"M119"))
            if {"x_min", "y_min"} <= said.keys():
                return {axis: said[f"{axis}_min"] for axis in "xy"}
        raise LinkError(
            f"{self.name} was asked twice for its end switches and named none of x and y: a machine without them cannot"
            " check its place (home_check_layers = 0)."
        )

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
    def stop_queues(self) -> bool:
        """Whether a stop waits its turn on the board: M115 does not say that it has an EMERGENCY_PARSER."""
        return not self.link.capabilities.get("EMERGENCY_PARSER", False)

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
        """Beam off at the controller. Firmware that says it has halted is safe already; one that does not answer is
        told to (M112), and LinkTimeout says whether it did."""
        if self.link.has_halted:
            return
        try:
            async with asyncio.timeout(LASER_OFF_TIMEOUT_S):
                await self.link.command(b"M5", timeout_s=LASER_OFF_TIMEOUT_S)
        except TimeoutError as error:
            raise LinkTimeout(
                f"{self.name} did not switch its laser output off within {LASER_OFF_TIMEOUT_S:g} s;"
                f" {await self._halt()}"
            ) from error

    async def quick_stop(self) -> None:
        """Stop where it is and drop what is planned (M410), again and again until the queue is empty; then S = 0.

        The position survives in the firmware but for steps lost by the sudden stop: home before going on. Firmware that
        has not answered within `QUICK_STOP_LIMIT_S` is told to halt (M112), and LinkTimeout says whether it did.
        `stop_report` tells of a stop that had to wait its turn.
        """
        if self.link.has_halted:
            return
        self._is_homed, self.stop_report = False, ""
        asked_s = asyncio.get_running_loop().time()
        off = asyncio.ensure_future(self.link.command(b"M5", timeout_s=QUICK_STOP_LIMIT_S))
        try:
            for _ in range(round(QUICK_STOP_LIMIT_S / QUICK_STOP_EVERY_S)):
                self.link.quick_stop()
                await asyncio.wait({off}, timeout=QUICK_STOP_EVERY_S)
                if off.done():
                    off.result()
                    if not self.needs_emergency_parser and self.stop_queues:
                        took_s = asyncio.get_running_loop().time() - asked_s
                        self.stop_report = (
                            f"{self.name} went on for up to {took_s:.1f} s after the stop, which its board hears in its"
                            " turn"
                        )
                    return
        finally:
            off.cancel()
        self.stop_report = (
            f"{self.name} did not come to rest within {QUICK_STOP_LIMIT_S:g} s of the stop; {await self._halt()}"
        )
        raise LinkTimeout(self.stop_report)

    async def _halt(self) -> str:
        """M112, and what is known of it: the end of a sentence."""
        if await self.link.halt():
            return "it was halted (M112), and says so. Reset it and home again."
        return "M112 was sent and nobody confirmed it: it may still be moving. Cut its power, then home again."

    def stop(self) -> None:
        """The software stop: M112, sent at once. Afterwards the position is unknown and the firmware needs a reset."""
        self._is_homed = False
        self.link.emergency_stop()
