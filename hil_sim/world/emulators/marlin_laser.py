"""Marlin's laser commands: M3, M4, M5, at once or inline."""

from __future__ import annotations

from hil_sim.world.emulators.marlin_firmware import CONTINUOUS, DYNAMIC, STANDARD, Firmware
from hil_sim.world.emulators.marlin_moves import Handler, Wait, synchronise
from hil_sim.world.emulators.marlin_protocol import Words

_STARTUP_S = 0.8  # SPEED_POWER_STARTUP: an M3 without S in standard mode is not a beam of zero


def _m3_m4(fw: Firmware, words: Words, mode: str) -> Wait:
    if fw.cutter == STANDARD:
        yield from synchronise(fw)
    if words.seen("I"):
        fw.cutter = mode
        fw.inline_s = 0.0
    s = words.number("S")
    fraction = None if s is None else min(max(s / fw.build.s_max, 0.0), 1.0)
    if fw.cutter != STANDARD:
        yield from synchronise(fw)  # LASER_POWER_SYNC is off in stock
        if fraction is not None:
            fw.inline_s = fraction
        return
    fw.standard_s = _STARTUP_S if fraction is None else fraction
    fw.stand(fw.standard_s)


def m3(fw: Firmware, words: Words) -> Wait:
    """Laser on: at once (standard), or with `I` continuous inline, the S of each block."""
    return _m3_m4(fw, words, CONTINUOUS)


def m4(fw: Firmware, words: Words) -> Wait:
    """As M3; with `I` dynamic inline: power follows the speed."""
    return _m3_m4(fw, words, DYNAMIC)


def m5(fw: Firmware, words: Words) -> Wait:
    """Laser off once the moves before it have ended; with `I` also leave inline mode."""
    yield from synchronise(fw)
    fw.standard_s = 0.0
    fw.stand(0.0)
    if words.seen("I"):
        fw.inline_s = 0.0
        fw.cutter = STANDARD


COMMANDS: dict[str, Handler] = {"M3": m3, "M4": m4, "M5": m5}
