"""The gantry on a RepRapFirmware board in laser mode: what `devices.motion` is for Marlin, verb for verb.

A print gives both the same lines, in the words of the slicer's Marlin program; `links.reprap_program` says them in the
board's. Positions in mm in the machine's frame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from firmware_bridge.devices.gantry import SPEED_MM_S, TRAVEL_MM, Gantry, Place
from firmware_bridge.devices.motion import IDLE_TIMEOUT_S, LASER_OFF_TIMEOUT_S
from firmware_bridge.errors import NotReady, Rejected, Unverified
from firmware_bridge.links.marlin_flight import StreamJournal
from firmware_bridge.links.reprap import RepRapLink
from firmware_bridge.links.reprap_program import Step, parse_planned


class RepRapMotionController(Gantry):
    """The gantry on a board that demands CRCs; `link` is its line."""

    def __init__(
        self,
        link: RepRapLink,
        *,
        travel_mm: Place = TRAVEL_MM,
        speed_mm_s_max: float = SPEED_MM_S,
        name: str = "motion",
    ) -> None:
        super().__init__(travel_mm, speed_mm_s_max, name)
        self.link = link

    async def identify(self) -> dict[str, str]:
        """M115's fields. Rejected if the board's axes end before the machine file's do; the link has refused other
        firmware when it was opened."""
        board = self.link.board
        for axis, end, low, high in zip("xyz", self.travel_mm, board.low_mm, board.high_mm):
            if low > self.reach_mm or high < end - self.reach_mm:
                raise Rejected(
                    f"{self.name}: the board's {axis} goes from {low:g} to {high:g} mm (M208), the machine file's from"
                    f" 0 to {end:g} mm. Make them agree."
                )
        return dict(board.identity)

    async def home(self) -> None:
        """Home all axes; returns when the machine stands there."""
        await self.link.home()

    async def position(self) -> Place:
        """x, y, z in mm as the firmware plans it (after wait_idle: where the machine stands)."""
        return await self.link.position()

    def take_as_homed(self) -> None:
        """The operator's word that it was homed since its power-up. NotReady if it says itself that it was not."""
        if self.has_lost_place:
            raise NotReady(f"{self.name} says that its axes are not homed: home it.")

    @property
    def has_lost_place(self) -> bool:
        """Whether the board says that its axes are not homed: its position is worth nothing."""
        return not self.link.is_homed

    @property
    def is_dark_at_rest(self) -> bool:
        """Whether the beam goes out where the motion waits for lines: without a move this firmware gives none."""
        return True

    @property
    def planned_moves(self) -> int:
        """How many moves the board may hold that it has taken and not carried out."""
        return self.link.board.ring_moves + 1

    def _knows_its_place(self) -> bool:
        return self.link.is_homed

    async def _move_to(self, target_mm: Place, speed_mm_s: float) -> Place:
        await self.link.jog(target_mm, speed_mm_s=speed_mm_s)
        there = await self.position()
        if max(abs(at - wanted) for at, wanted in zip(there, target_mm)) > 0.01:
            raise Unverified(f"{self.name} was sent to {target_mm} mm and says it stands at {there} mm. Home it again.")
        return there

    def check(self, lines: Sequence[bytes]) -> None:
        """Rejected where a line is none of a layer's program, or leads out of the travel. Sends nothing."""
        for line in lines:
            try:
                planned = parse_planned(line)
            except ValueError as error:
                raise Rejected(f"{self.name}: {line!r} is refused: {error}.") from error
            if isinstance(planned, Step):
                for axis, value, end in zip("xy", (planned.x_mm, planned.y_mm), self.travel_mm):
                    if not -self.reach_mm < value < end + self.reach_mm:
                        raise Rejected(
                            f"{self.name}: {line.decode()} is refused: the {axis} axis goes from 0 to {end:g} mm."
                        )

    async def stream(
        self, lines: Sequence[bytes], journal: StreamJournal, *, cancelled: Callable[[], bool] | None = None
    ) -> int:
        """Send the slicer's lines, each after `journal` has noted it; returns how many the board has taken.

        Rejected, before anything is sent, as `check` does.
        """
        self.check(lines)
        return await self.link.stream(lines, journal, cancelled=cancelled)

    async def wait_idle(self, *, timeout_s: float = IDLE_TIMEOUT_S) -> None:
        """Return when every move has ended."""
        await self.link.wait_idle(timeout_s=timeout_s)

    async def laser_off(self) -> None:
        """S = 0 for the moves to come; those that the board holds keep theirs, and go out with their end."""
        await self.link.beam_off()

    def silent_s(self) -> float:
        """Seconds since the board was last heard, or should have been: while a command waits it says nothing."""
        return asyncio.get_running_loop().time() - self.link.heard_s

    async def safe(self) -> None:
        """No beam from the controller: at rest it gives none. A board that does not come to rest in time, or whose link
        has failed, is halted (M112), and says so, or this raises."""
        if self.link.error is None:
            try:
                async with asyncio.timeout(LASER_OFF_TIMEOUT_S):
                    await self.link.beam_off()
                    await self.link.wait_idle(timeout_s=LASER_OFF_TIMEOUT_S)
                    return
            except TimeoutError:
                pass  # it moves on: what it holds is dropped
        await self.link.halt()

    async def quick_stop(self) -> None:
        """Stop where it is and drop what is planned. This firmware knows but one way, the emergency stop, after which
        it is restarted: open the line again and home."""
        await self.link.halt()
        await self.link.restart()

    def stop(self) -> None:
        """The software stop: M112, at once. Afterwards the position is unknown and the board needs a reset."""
        self.link.emergency_stop()
