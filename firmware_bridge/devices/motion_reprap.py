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

SWITCH_SPEED_MM_S = 5.0
"""At which an axis may be stopped dead by its switch without losing steps: that of a homing macro's second touch."""

CLOSED, OPEN = "at min stop", "not stopped"
NEAR_MM = 0.01


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

    async def check_place(self, margin_mm: float) -> str:
        """Whether x and y still stand where the board counts them: their end switches must be open `margin_mm` in front
        of 0 and closed as far behind it. What is wrong, as the beginning of a sentence; empty for nothing.

        For machines whose x and y home to switches at 0, with twice the margin between switch and metal. The beam stays
        off; the machine goes back to where it stood. Every move towards the switches ends at a switch (G1 H4), so that
        metal is not met however much was lost. The board's limits hold all the while, for a stream rests on them: they
        do not bind such a move. Between the two looks the axes creep, since they are stopped dead. NotReady if it is
        not homed; while it is unsure, and where something is wrong, it does not count as homed.
        """
        if not 0.0 < margin_mm <= 5.0:
            raise ValueError(f"margin_mm is {margin_mm}; give above 0 to 5 mm")
        link = self.link
        if not link.is_homed:
            raise NotReady(f"{self.name} does not know where it stands: home it before its place is checked.")
        link.is_homed = False  # until it is known
        x_mm, y_mm, z_mm = stood_mm = await self.position()
        if min(x_mm, y_mm) < margin_mm:  # a switch that is closed already would hold its axis
            front_mm = (max(x_mm, margin_mm), max(y_mm, margin_mm), z_mm)
            await link.move(front_mm, speed_mm_s=self.speed_mm_s_max)
        await link.move_to_switches((margin_mm, margin_mm), speed_mm_s=self.speed_mm_s_max)
        if early := await self._switches_that_are(CLOSED):
            return f"the end switch of {early} is closed {margin_mm:g} mm in front of its place"
        self._check_there((margin_mm, margin_mm, z_mm), await self.position())
        await link.move_to_switches((-margin_mm, -margin_mm), speed_mm_s=SWITCH_SPEED_MM_S)
        if late := await self._switches_that_are(OPEN):
            return f"the end switch of {late} is open {margin_mm:g} mm behind its place"
        await link.move(stood_mm, speed_mm_s=self.speed_mm_s_max)
        self._check_there(stood_mm, await self.position())
        link.is_homed = True
        return ""

    async def _switches_that_are(self, state: str) -> str:
        """The names of the axes, x and y, whose end switch is in that state. Rejected for a machine without them."""
        said = await self.link.switches()
        if not {CLOSED, OPEN}.issuperset(said):
            raise Rejected(
                f"{self.name} says of the end switches of x and y '{said[0]}' and '{said[1]}': a machine that does not"
                " have them at 0 cannot check its place (home_check_layers = 0)."
            )
        return " and ".join(axis for axis, is_so in zip("xy", said) if is_so == state)

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
        self._check_there(target_mm, there)
        return there

    def _check_there(self, target_mm: Place, there_mm: Place) -> None:
        if max(abs(at - wanted) for at, wanted in zip(there_mm, target_mm)) > NEAR_MM:
            raise Unverified(
                f"{self.name} was sent to {target_mm} mm and says it stands at {there_mm} mm. Home it again."
            )

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
        has failed, is told to halt (M112) until it says that it has, or this raises."""
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
