"""The smallest host: one program of G-code lines to a machine's motion controller, and where it stands afterwards.

It does what a print does with a layer, without the rest of the machine: open, identify, home, stream the lines, wait
until the machine stands, ask where. Only the motion's wire is opened. The beam head is not armed, so that nothing is
exposed on a bench; the lines' S words have a meaning for the motion controller alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from control.assembly import open_motion
from control.config import envelope_from, load_machine
from control.dry_planner import late_line_s, stood_s
from control.errors import MoonkilnError
from control.outcome import Status
from firmware_bridge.errors import BridgeError

CLOSE_MM = 0.05
NOTE_S = 0.0003
"""What a commit of a journal takes: lines are sent when they are noted."""


class StreamEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a program ended.

    began_s: loop time of the first line, None: none was sent. is_safe: the controller has confirmed that its beam is
    off, or was never reached. position_mm: what it said at the end. stood_s: how long the controller must have waited
    for lines, or may have for one, with the last power on; 0 where that cannot be, is no more than what is usual at a
    program's end, or does no harm.
    """

    status: Status
    reason: str
    lines_taken: int = 0
    began_s: float | None = None
    is_safe: bool = True
    position_mm: tuple[float, float, float] | None = None
    stood_s: float = 0.0


class _Noted:
    """A journal in memory: which lines were announced, and which were taken, each with its loop time."""

    def __init__(self) -> None:
        self.sent_s: list[float] = []
        self.taken: list[int] = []
        self.taken_s: list[float] = []

    async def ahead(self, first: int, last: int) -> None:
        await asyncio.sleep(NOTE_S)
        now_s = asyncio.get_running_loop().time()
        self.sent_s += [now_s] * (last + 1 - len(self.sent_s))

    def acked(self, index: int) -> None:
        self.taken.append(index)
        self.taken_s.append(asyncio.get_running_loop().time())


async def stream_host(
    lines: Sequence[bytes],
    machine_toml: str | Path,
    *,
    ends_mm: tuple[float, float],
    urls: dict[str, str] | None = None,
) -> StreamEnd:
    """Stream a program to the motion controller of a machine.

    Args:
        lines: G-code as the controller takes it, without line numbers, checksums and line ends.
        ends_mm: x and y where the last line ends: the position must close there.
        urls: where wires are, other than the machine file says.

    Raises:
        ConfigError: the machine file cannot be used. What the world does is told in the result instead.
    """
    config = load_machine(machine_toml).with_urls(urls or {})
    noted = _Noted()
    loop = asyncio.get_running_loop()
    began_s, is_safe, place, reason, waited_s = None, True, None, "", 0.0
    try:
        async with open_motion(config) as motion:
            is_safe = False
            try:
                await motion.home()
                start_mm = await motion.position()
                began_s = loop.time()
                taken = await motion.stream(lines, noted)
                await motion.wait_idle()
                took_s = loop.time() - began_s
                place = await motion.position()
                _check_closed(taken, noted, lines, place, ends_mm)
                if not motion.is_dark_at_rest:
                    where = lines, start_mm[:2], envelope_from(config)
                    waited_s = max(stood_s(took_s, *where), late_line_s(noted.sent_s, noted.taken_s, *where))
                is_safe = True
            except (BridgeError, MoonkilnError) as error:
                reason = str(error)
                await motion.safe()
                is_safe = True
    except (BridgeError, MoonkilnError) as error:
        reason = f"{reason} Nor was it made safe: {error}" if reason else str(error)
    return StreamEnd(
        status=Status.FAILED if reason else Status.DONE,
        reason=reason or f"{len(lines)} lines were taken and the position closes",
        lines_taken=len(noted.taken),
        began_s=began_s,
        is_safe=is_safe,
        position_mm=place,
        stood_s=waited_s,
    )


def _check_closed(
    taken: int, noted: _Noted, lines: Sequence[bytes], place: tuple[float, float, float], ends_mm: tuple[float, float]
) -> None:
    """Refuse an end that does not add up. Raises MoonkilnError."""
    if taken != len(lines) or noted.taken != list(range(len(lines))):
        raise MoonkilnError(f"{taken} of {len(lines)} lines were taken, not each of them once, in order", 3)
    off_mm = max(abs(at - due) for at, due in zip(place, ends_mm, strict=False))
    if off_mm > CLOSE_MM:
        raise MoonkilnError(
            f"the program ends at {ends_mm} mm and the controller stands at {place[:2]}: a line was lost or changed."
            " Home again and inspect the layer",
            3,
        )
