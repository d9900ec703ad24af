"""Making a RepRapFirmware board's acquaintance: who it is, what it demands of a line, how it is set, where it stands.

Refused with a sentence: other firmware and releases before 3.4 (no CRC); a channel that takes lines without a CRC, for
then the tail of a damaged line is carried out unchecked; a board in emergency stop. What a stream relies on is set
here, in the board's memory alone: laser mode with the machine file's S of full power, G54 at the machine's zero and G55
beyond its limits.

Sources: Duet3D StringParser.h (`SetCommsProperties`: M575 S, 4 demands a CRC), GCodes2.cpp (M452, G10 L2, M564), the
object model's documentation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from firmware_bridge.errors import DeviceHalted, LinkError, LinkTimeout, Rejected, WrongModel
from firmware_bridge.links.line_framing import xor_checksum
from firmware_bridge.links.reprap_replies import (
    Answer,
    accelerations,
    end_switches,
    identity_fields,
    machine_position,
    model_value,
    version,
)
from firmware_bridge.links.reprap_talk import Talk

T = TypeVar("T")

AXES = "XYZ"
TRIES = 6
SETTLE_S = 0.05
STANDSTILL_S = 600.0  # what an earlier host left in the board may take this long
OLDEST = (3, 4)


@dataclass(frozen=True)
class Expected:
    """What the host wants of the board. `s_max`: S of full power. `rapid_mm_s`: at least so fast are its jumps."""

    s_max: float = 1000.0
    rapid_mm_s: float = 100.0


@dataclass(frozen=True)
class Board:
    """What the board told.

    `low_mm`, `high_mm`: its limits, X, Y, Z. `acceleration_mm_s2`: the least of X and Y. `ring_moves`: what its planner
    holds. `shift_mm`: what is added to X in G55, farther than X is long.
    """

    identity: dict[str, str] = field(default_factory=dict)
    low_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    high_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    is_homed: bool = False
    acceleration_mm_s2: float = 1.0
    ring_moves: int = 60
    shift_mm: float = 0.0


async def get_to_know(talk: Talk, expected: Expected, boot_timeout_s: float) -> Board:
    """From an unknown state to a known one, at rest. See the module; raises LinkTimeout when nobody answers."""
    fields = await _hello(talk, boot_timeout_s)
    talk.is_booting = False  # a banner behind the answer is another restart, and takes what is set below with it
    name = fields.get("FIRMWARE_NAME", "")
    release = version(fields)
    if not name.startswith("RepRapFirmware") or release is None:
        raise WrongModel(f"{talk.url}: the firmware calls itself '{name or 'nothing'}', and not RepRapFirmware.")
    if release < OLDEST:
        raise WrongModel(f"{talk.url}: RepRapFirmware {fields['FIRMWARE_VERSION']} knows no CRC. Install 3.4 or later.")
    if await model(talk, "state.status") == "halted":
        raise _halted(talk)
    await _demand_crc(talk)
    await _set(talk, b"M400", takes_s=STANDSTILL_S)
    for line in (b"G21 G90 G54 M220 S100", b"M564 H1 S1", b"M452 S0 R%g" % expected.s_max, b"M5"):
        await _set(talk, line)
    low_mm, high_mm, homed = await _axes(talk)
    shift_mm = 100.0 * (1 + (high_mm[0] - low_mm[0] + abs(low_mm[0])) // 100.0)
    await _set(talk, b"G10 L2 P1 X0 Y0 Z0 G10 L2 P2 X%g Y0 Z0" % -shift_mm)
    return Board(
        identity=fields,
        low_mm=low_mm,
        high_mm=high_mm,
        is_homed=homed,
        acceleration_mm_s2=await _acceleration(talk),
        ring_moves=_whole(talk, "move.queue[0].length", await model(talk, "move.queue[0].length")),
        shift_mm=shift_mm,
    )


async def _hello(talk: Talk, boot_timeout_s: float) -> dict[str, str]:
    """Who answers. A board that was reset by the opening, or works off an old line, is given the time."""
    ends_s = talk.loop.time() + boot_timeout_s
    while (left_s := ends_s - talk.loop.time()) > 0:
        try:
            fields = identity_fields(await talk.say(b"M115", silence_max_s=left_s))
        except LinkTimeout:
            break
        if fields:
            return fields
        await asyncio.sleep(SETTLE_S)
    if identity_fields(talk.last_answer):  # it reports, and says no token: so does a board that carries nothing out
        raise _halted(talk)
    raise LinkTimeout(
        f"{talk.url} does not answer M115 within {boot_timeout_s:g} s. Check power, cable and baud rate; a board that"
        " works off an earlier program answers when a move of it has ended."
    )


def _halted(talk: Talk) -> DeviceHalted:
    return DeviceHalted(
        f"the firmware on {talk.url} is in emergency stop. Find the cause, reset it (M999 or its button), home."
    )


async def _demand_crc(talk: Talk) -> None:
    """Rejected if the channel takes a line without a check, or with the weak one: asked for by trying both."""
    weak = b'N1 M118 S"weak check"'
    talk.listen_for("no check", "weak check")
    talk.write(b'\nM118 S"no check"\n%b*%d\n' % (weak, xor_checksum(weak)))
    await talk.say(b"M115")
    found = sorted(talk.naked)
    talk.listen_for()
    if found:
        raise Rejected(
            f"{talk.url} carries out lines with {' and with '.join(found)}: the tail of a damaged line could move the"
            " machine. Put M575 P0 S4 (USB; P1 S6 on a serial port) into its config.g, so that it demands CRCs."
        )


async def _set(talk: Talk, line: bytes, *, takes_s: float = 0.0) -> None:
    answer = await talk.say(line, takes_s=takes_s)
    if answer.troubles:
        raise Rejected(f"{talk.url} refuses {line.decode()}: {answer.troubles[0]}")


async def _axes(talk: Talk) -> tuple[tuple[float, float, float], tuple[float, float, float], bool]:
    rows = []
    homed = True
    for i, axis in enumerate(AXES):
        low, high = [await model(talk, f"move.axes[{i}].{end}") for end in ("min", "max")]
        if not all(isinstance(v, int | float) and abs(v) < 100_000 for v in (low, high)) or not low < high:
            raise Rejected(f"{talk.url} tells no limits for {axis} ({low!r} to {high!r}). Set them with M208.")
        rows.append((float(low), float(high)))
        homed = homed and await model(talk, f"move.axes[{i}].homed") is True
    return (rows[0][0], rows[1][0], rows[2][0]), (rows[0][1], rows[1][1], rows[2][1]), homed


async def _acceleration(talk: Talk) -> float:
    found = await _agreed(talk, b"M201", accelerations, "its accelerations (M201)")
    return min(found["X"], found["Y"])


def _whole(talk: Talk, key: str, value: Any) -> int:
    if isinstance(value, int) and 1 <= value <= 10_000:
        return value
    raise LinkError(f"{talk.url} says that its {key} is {value!r}, which cannot be.")


async def model(talk: Talk, key: str) -> Any:
    """A value of the object model (M409), as `_agreed`."""

    def value(answer: Answer) -> tuple[Any] | None:
        try:
            return (model_value(answer, key),)
        except ValueError:
            return None

    return (await _agreed(talk, b'M409 K"%b"' % key.encode(), value, key))[0]


async def place(talk: Talk) -> tuple[float, float, float]:
    """X, Y, Z in the machine's frame, mm, where the last move taken ends (M114), as `_agreed`."""
    return await _agreed(talk, b"M114", machine_position, "its position (M114)")


async def switches(talk: Talk) -> tuple[str, str]:
    """What the board says of the end switches of X and Y as they are now (M119), as `_agreed`."""
    return await _agreed(talk, b"M119", end_switches, "its end switches (M119)")


async def _agreed(talk: Talk, question: bytes, read: Callable[[Answer], T | None], what: str) -> T:
    """What two answers in a row agree on: an answer has no check of its own, and a flipped bit makes another number.

    LinkError when `TRIES` answers did not come to that.
    """
    before: list[T] = []
    for _ in range(TRIES):
        found = read(await talk.say(question))
        if found is None:
            before = []
        elif [found] == before:
            return found
        else:
            before = [found]
    raise LinkError(
        f"{talk.url} was asked {TRIES} times for {what}, and no two answers in a row agreed: it does not tell, or the"
        " line is too noisy. Check cable and shielding."
    )
