"""What RoboClaw boards said last, as readings: scaled, dated, judged, and BAD once it is too old to be believed."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from firmware_bridge.devices.wheels_layout import BoardPlan, RoboClawLayout
from firmware_bridge.signals import Limits, LimitState, Quality, Reading

GET_TIMEOUT, GET_MAIN_VOLTS, GET_CURRENTS, GET_COUNTERS, GET_TEMP, GET_STATUS = 15, 24, 49, 78, 82, 90
SLOW_READS = ((GET_STATUS, 4), (GET_TIMEOUT, 1), (GET_CURRENTS, 4), (GET_MAIN_VOLTS, 2), (GET_TEMP, 2))
"""What is read once a second: command, bytes."""

FRESH_S = 0.3  # for what each poll reads
SLOW_FRESH_S = 3.0

STATUS_BITS = {
    0: "emergency stop", 1: "temperature error", 2: "temperature 2 error", 3: "main supply too high",
    4: "logic supply too high", 5: "logic supply too low", 6: "driver fault of motor 1", 7: "driver fault of motor 2",
    8: "speed error of motor 1", 9: "speed error of motor 2", 10: "position error of motor 1",
    11: "position error of motor 2", 12: "current error of motor 1", 13: "current error of motor 2",
    16: "current warning of motor 1", 17: "current warning of motor 2", 18: "main supply high", 19: "main supply low",
    20: "temperature warning", 21: "temperature 2 warning", 22: "input S4", 23: "input S5",
    24: "speed error limit", 25: "position error limit",
}  # fmt: skip
"""Bits of command 90 (user manual p. 73). 0 to 15 are errors: the board stops its motors. The rest are warnings."""
ERROR_BITS = 0xFFFF


def status_words(status: int) -> list[str]:
    """The set bits in words."""
    return [STATUS_BITS.get(bit, f"status bit {bit}") for bit in range(32) if status >> bit & 1]


def status_limit(status: int) -> LimitState:
    """ALARM for any error bit, WARN for any other."""
    if status & ERROR_BITS:
        return LimitState.ALARM
    return LimitState.WARN if status else LimitState.NORMAL


class Tick(NamedTuple):
    """A counter: as it reads (signed 32 bits), without the wraps, its speed in counts/s, and when it was read."""

    wrapped: int
    total: int
    speed: float
    time_s: float


class BoardState:
    """What is known of one board.

    `ticks`: its counters by channel; `sure`: those read last before it was seen not to have restarted; `told`: where
    its steering motors were sent; `slow`: command -> (data, loop time). `has_failed`: its last question went
    unanswered. `lost`: why it is not driven any more. `alarm`: the errors that it reported, in words; it has stopped
    its motors and would run them again as soon as the error is gone.
    """

    def __init__(self, plan: BoardPlan) -> None:
        self.plan = plan
        self.address = plan.address
        self.ticks: dict[int, Tick] = {}
        self.sure: dict[int, Tick] = {}
        self.told: dict[int, int] = {}
        self.slow: dict[int, tuple[bytes, float]] = {}
        self.has_failed = False
        self.lost: str | None = None
        self.alarm: str | None = None

    def slow_values(self, command: int, form: str, now_s: float) -> tuple[tuple[float, ...], float, Quality]:
        """The numbers of a slow read, their time and quality; NaN where it was never answered."""
        raw, time_s = self.slow.get(command, (b"", 0.0))
        if not raw:
            return (math.nan, math.nan), 0.0, Quality.BAD
        return struct.unpack(form, raw), time_s, Quality.GOOD if now_s - time_s <= SLOW_FRESH_S else Quality.BAD


def readings_of(layout: RoboClawLayout, boards: Sequence[BoardState], now_s: float) -> dict[str, Reading]:
    """All readings, by name (see RoboClawWheels.poll)."""
    found: list[Reading] = []
    for board in boards:
        amps, amps_s, amps_quality = board.slow_values(GET_CURRENTS, ">hh", now_s)
        for channel, (wheel, sign) in board.plan.drives.items():
            found += _motor(
                board, channel, f"{wheel}_angle_rad", f"{wheel}_speed_rad_s", sign / layout.ticks_per_rad, 0, now_s
            )
        for channel, (wheel, sign) in board.plan.steers.items():
            zero = layout.steer_zero_ticks.get(wheel, 0)
            found += _motor(board, channel, f"{wheel}_steer_rad", None, sign / layout.steer_ticks_per_rad, zero, now_s)
        for motors, name in ((board.plan.drives, "_current_a"), (board.plan.steers, "_steer_a")):
            for channel, (wheel, _) in motors.items():
                amp = amps[channel - 1] / 100
                limit = layout.current_limits.state_of(abs(amp))
                found.append(Reading(wheel + name, amp, "A", amps_s, amps_quality, limit))
    volts = [_slow(board, GET_MAIN_VOLTS, ">H", "board{}_volts_v", "V", layout.volts_limits, now_s) for board in boards]
    temps = [_slow(board, GET_TEMP, ">h", "board{}_temp_c", "degC", layout.temp_limits, now_s) for board in boards]
    status = [_status(board, now_s) for board in boards]
    found += [*volts, *temps, *status]
    found.append(_over(min, "volts_v", volts))
    found.append(_over(max, "board_temp_c", temps))
    found.append(_all_bits(status))
    return {reading.name: reading for reading in found}


def _motor(
    board: BoardState, channel: int, angle: str, speed: str | None, rad: float, zero: int, now_s: float
) -> list[Reading]:
    """Angle, and speed if it has a name; `rad`: of one count."""
    tick = board.ticks.get(channel)
    if tick is None:
        nothing = Reading(angle, math.nan, "rad", 0.0, Quality.BAD, LimitState.ALARM)
        return [nothing] if speed is None else [nothing, nothing._replace(name=speed, unit="rad/s")]
    is_good = board.lost is None and now_s - tick.time_s <= FRESH_S
    quality = Quality.GOOD if is_good else Quality.BAD
    found = [Reading(angle, (tick.total - zero) * rad, "rad", tick.time_s, quality, LimitState.NORMAL)]
    if speed is not None:
        found.append(Reading(speed, tick.speed * rad, "rad/s", tick.time_s, quality, LimitState.NORMAL))
    return found


def _slow(board: BoardState, command: int, form: str, name: str, unit: str, limits: Limits, now_s: float) -> Reading:
    values, time_s, quality = board.slow_values(command, form, now_s)
    value = values[0] / 10
    return Reading(name.format(board.address), value, unit, time_s, quality, limits.state_of(value))


def _status(board: BoardState, now_s: float) -> Reading:
    (bits, *_), time_s, quality = board.slow_values(GET_STATUS, ">I", now_s)
    limit = LimitState.ALARM if math.isnan(bits) else status_limit(int(bits))
    return Reading(f"board{board.address}_status", float(bits), "", time_s, quality, limit)


def _over(pick: Callable[..., Reading], name: str, of: Sequence[Reading]) -> Reading:
    """The lowest or highest of all that is known, with the oldest time and the worst quality."""
    known = [reading for reading in of if not math.isnan(reading.value)] or of
    worst = pick(known, key=lambda reading: reading.value)
    return worst._replace(name=name, time_s=min(r.time_s for r in of), quality=_quality(of))


def _all_bits(of: Sequence[Reading]) -> Reading:
    bits = 0
    for reading in of:
        bits |= 0 if math.isnan(reading.value) else int(reading.value)
    return Reading("status", float(bits), "", min(r.time_s for r in of), _quality(of), status_limit(bits))


def _quality(of: Sequence[Reading]) -> Quality:
    return Quality.GOOD if all(reading.quality is Quality.GOOD for reading in of) else Quality.BAD
