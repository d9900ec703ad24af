"""The gantry on a Grbl controller in laser mode: what `devices.motion` is for Marlin, verb for verb.

A print gives both the same lines, in the words of the slicer's Marlin program; `in_grbl_words` says each of them in
Grbl's, one for one, so that what a journal calls line 17 is line 17 on either machine. Positions in mm in the work
frame (G54), whose zero must be the machine file's.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable, Sequence

from firmware_bridge.devices.gantry import SPEED_MM_S, TRAVEL_MM, Gantry, Place
from firmware_bridge.devices.motion import IDLE_TIMEOUT_S, LASER_OFF_TIMEOUT_S, PLANNED_MOVES
from firmware_bridge.errors import BridgeError, LinkTimeout, NotReady, Rejected
from firmware_bridge.links.grbl import GrblLink
from firmware_bridge.links.grbl_program import power_error
from firmware_bridge.links.marlin_flight import StreamJournal

_JUMP = re.compile(rb"(G0(?: [XYZ]-?[\d.]+)+)(?: F[\d.]+)?(?: S0)?")
_WAIT = re.compile(rb"G4 P(\d+)")
_BEAM = re.compile(rb"(M[345]) I( S[\d.]+)?")
_POWER = re.compile(rb" S([\d.]+)$")

POWER_ERROR_MAX = 0.005
"""Half of what a block's energy may be off: the other half is for its ends, which are rounded to steps."""


def in_grbl_words(line: bytes) -> bytes:
    """One line of the slicer's Marlin program in Grbl's words. Any other line is left as it is.

    `M4 I` and `M5 I` lose the I (laser mode is always in step with the motion), `G0` its feed and S0 (it is dark and as
    fast as the axes may), `G4 P` is in seconds, and `M400` needs nothing: a stream ends at rest.
    """
    if line == b"M400":
        return b"G4 P0"
    if found := _JUMP.fullmatch(line):
        return found[1]
    if found := _BEAM.fullmatch(line):
        return found[1] + (found[2] or b"")
    if found := _WAIT.fullmatch(line):
        return b"G4 P%.3f" % (int(found[1]) / 1000.0)
    return line


@functools.lru_cache(4096)
def _power_error(digits: bytes, s_max: float) -> float:
    return power_error(float(digits), s_max)


class GrblMotionController(Gantry):
    """`travel_mm`: the end of each axis, from 0; `speed_mm_s_max` bounds jogging."""

    reach_mm = 0.02  # a reading is rounded to steps

    def __init__(
        self,
        link: GrblLink,
        *,
        travel_mm: Place = TRAVEL_MM,
        speed_mm_s_max: float = SPEED_MM_S,
        name: str = "motion",
    ) -> None:
        super().__init__(travel_mm, speed_mm_s_max, name)
        self.link = link

    async def identify(self) -> dict[str, str]:
        """What `$I` told; the link has refused other firmware, and settings that do not suit, when it was opened."""
        build = self.link.identity
        return {"FIRMWARE_NAME": f"Grbl {build.version}", "MACHINE_TYPE": build.name, "OPTIONS": build.options}

    async def home(self) -> None:
        """Home all axes; returns when the machine stands there. Rejected where homing is switched off."""
        await self.link.home()

    async def position(self) -> Place:
        """x, y, z in mm, where the machine is now."""
        return await self.link.position()

    def take_as_homed(self) -> None:
        """The operator's word that it was homed since its power-up. NotReady if it says itself that it was not."""
        if self.has_lost_place:
            raise NotReady(f"{self.name} is locked, and does not know where it stands: home it.")
        self.link.is_homed = True

    @property
    def has_lost_place(self) -> bool:
        """Whether the controller is locked, as after a power-up or a reset in motion: its position is worth nothing."""
        return self.link.is_locked

    @property
    def planned_moves(self) -> int:
        """How many moves the board may hold that it has taken and not carried out."""
        return PLANNED_MOVES

    @property
    def is_dark_at_rest(self) -> bool:
        """Whether the beam goes out where the motion waits for lines: with M4 in laser mode it does."""
        return True

    def _knows_its_place(self) -> bool:
        return self.link.is_homed

    async def _move_to(self, target_mm: Place, speed_mm_s: float) -> Place:
        return await self.link.jog(target_mm, speed_mm_s=speed_mm_s)

    def check(self, lines: Sequence[bytes]) -> None:
        """Rejected where the controller's output comes in too large steps for a line's power. Sends nothing."""
        for line in lines:
            self._check_power(line)

    async def stream(
        self, lines: Sequence[bytes], journal: StreamJournal, *, cancelled: Callable[[], bool] | None = None
    ) -> int:
        """Send the slicer's lines, each after `journal` has noted it; returns how many are proven done, at rest.

        Rejected, before anything is sent, as `check` does.
        """
        self.check(lines)
        return await self.link.stream([in_grbl_words(line) for line in lines], journal, cancelled=cancelled)

    def _check_power(self, line: bytes) -> None:
        found = _POWER.search(line)
        if found is None or abs(off := _power_error(found[1], self.link.expected.s_max)) <= POWER_ERROR_MAX:
            return
        raise Rejected(
            f"{self.name}: {line.decode()} is refused: the controller's output has 255 steps, and S{found[1].decode()}"
            f" of {self.link.expected.s_max:g} would come out {off:+.1%} off (allowed {POWER_ERROR_MAX:.1%}). Give the"
            " layer's vectors powers nearer to its largest, or one that falls on a step."
        )

    async def wait_idle(self, *, timeout_s: float = IDLE_TIMEOUT_S) -> None:
        """Return when every move has ended. LinkTimeout after `timeout_s` in which nothing changes."""
        await self.link.wait_idle(timeout_s=timeout_s)

    async def laser_off(self) -> None:
        """S = 0 once the planned moves have ended (M5)."""
        await self.link.beam_off()

    def silent_s(self) -> float:
        """Seconds since the controller was last heard; 0 while it homes, when it says nothing (bounded by `home`)."""
        if self.link.is_homing:
            return 0.0
        return asyncio.get_running_loop().time() - self.link.heard_s

    async def safe(self) -> None:
        """Beam off at the controller: M5 at rest; in motion, or without an answer, what is planned is dropped.

        A link that has failed has made its machine stand already.
        """
        if self.link.error is not None:
            await self._is_down()
            return
        try:
            async with asyncio.timeout(LASER_OFF_TIMEOUT_S):
                if await self.link.is_moving():
                    await self.link.abort()
                await self.link.beam_off()
        except TimeoutError as error:
            self.link.emergency_stop()
            await self._is_down()  # raises where nobody confirms the reset
            raise LinkTimeout(
                f"{self.name} did not switch its laser output off within {LASER_OFF_TIMEOUT_S:g} s: it was reset, and"
                " stands. Open the line again and home."
            ) from error

    async def quick_stop(self) -> None:
        """Stop where it is and drop what is planned: hold, and a reset once it stands. The position survives."""
        if self.link.error is not None:
            await self._is_down()
            return
        try:
            await self.link.abort()
        except BridgeError:
            if self.link.error is None:
                self.link.emergency_stop()
            raise

    async def _is_down(self) -> None:
        """A halted or failed controller is safe once its reset is confirmed; one that is not, raises."""
        await self.link.is_down()
        error = self.link.error
        if error is not None and not self.link.is_stopped:
            raise type(error)(str(error))

    def stop(self) -> None:
        """The software stop: a reset at once. Afterwards the position is unknown; open the line again and home."""
        self.link.emergency_stop()
