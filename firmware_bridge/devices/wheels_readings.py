"""What RoboClaw boards said last, as readings: scaled, dated, judged, and BAD once it is too old to be believed."""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from firmware_bridge.devices.wheels_layout import BoardPlan, RoboClawLayout
from firmware_bridge.signals import LimitState, Quality, Reading

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


class BoardReadings:
    """What `boards` said last, as readings; those of a slow read are made anew when it has come, or has grown old."""

    def __init__(self, layout: RoboClawLayout, boards: Sequence[BoardState]) -> None:
        self._layout = layout
        self._boards = [
            (board, _motors_of(layout, board.plan), functools.partial(self._currents, _amps_of(board.plan)))
            for board in boards
        ]
        self._kept: dict[tuple[int, int], tuple[_Said, list[Reading]]] = {}
        self._over: tuple[list[Reading], list[Reading]] = [], []  # what was there last, and its sum

    def at(self, now_s: float) -> dict[str, Reading]:
        """All readings, by name (see RoboClawWheels.poll)."""
        found: list[Reading] = []
        volts, temps, status = [], [], []
        for board, motors, currents in self._boards:
            for motor in motors:
                found += _moving(board, motor, now_s)
            found += self._slow(board, GET_CURRENTS, now_s, currents)
            volts += self._slow(board, GET_MAIN_VOLTS, now_s, self._volts)
            temps += self._slow(board, GET_TEMP, now_s, self._temps)
            status += self._slow(board, GET_STATUS, now_s, _status)
        found += (of_boards := [*volts, *temps, *status])
        if of_boards != self._over[0]:
            over = [_over(min, "volts_v", volts), _over(max, "board_temp_c", temps), _all_bits(status)]
            self._over = of_boards, over
        found += self._over[1]
        return {reading.name: reading for reading in found}

    def _slow(
        self, board: BoardState, command: int, now_s: float, readings_of: Callable[[_Said], list[Reading]]
    ) -> list[Reading]:
        """The readings of a slow read; the old ones while nothing has changed."""
        raw, time_s = board.slow.get(command, (b"", 0.0))
        is_good = bool(raw) and now_s - time_s <= SLOW_FRESH_S
        said = _Said(board.address, raw, time_s, Quality.GOOD if is_good else Quality.BAD)
        kept = self._kept.get((board.address, command))
        if kept is not None and kept[0] == said:
            return kept[1]
        readings = readings_of(said)
        self._kept[board.address, command] = said, readings
        return readings

    def _currents(self, amps: Sequence[tuple[int, str]], said: _Said) -> list[Reading]:
        values = said.values(">hh")
        found = []
        for channel, name in amps:
            amp = values[channel - 1] / 100
            limit = self._layout.current_limits.state_of(abs(amp))
            found.append(Reading(name, amp, "A", said.time_s, said.quality, limit))
        return found

    def _volts(self, said: _Said) -> list[Reading]:
        value = said.values(">H")[0] / 10
        limit = self._layout.volts_limits.state_of(value)
        return [Reading(f"board{said.address}_volts_v", value, "V", said.time_s, said.quality, limit)]

    def _temps(self, said: _Said) -> list[Reading]:
        value = said.values(">h")[0] / 10
        limit = self._layout.temp_limits.state_of(value)
        return [Reading(f"board{said.address}_temp_c", value, "degC", said.time_s, said.quality, limit)]


class _Said(NamedTuple):
    """A slow read's data (empty: never answered), when they came, and what they are worth now."""

    address: int
    raw: bytes
    time_s: float
    quality: Quality

    def values(self, form: str) -> tuple[float, ...]:
        """The numbers; NaN where there are none."""
        return struct.unpack(form, self.raw) if self.raw else (math.nan, math.nan)


class _Motor(NamedTuple):
    """A motor's channel, the names of its angle and speed (None: steering), rad of one count, count of 0 rad."""

    channel: int
    angle: str
    speed: str | None
    rad: float
    zero: int


def _motors_of(layout: RoboClawLayout, plan: BoardPlan) -> list[_Motor]:
    drives = [
        _Motor(channel, f"{wheel}_angle_rad", f"{wheel}_speed_rad_s", sign / layout.ticks_per_rad, 0)
        for channel, (wheel, sign) in plan.drives.items()
    ]
    steers = [
        _Motor(
            channel,
            f"{wheel}_steer_rad",
            None,
            sign / layout.steer_ticks_per_rad,
            layout.steer_zero_ticks.get(wheel, 0),
        )
        for channel, (wheel, sign) in plan.steers.items()
    ]
    return drives + steers


def _amps_of(plan: BoardPlan) -> list[tuple[int, str]]:
    """Channel and name of each current."""
    return [
        (channel, wheel + name)
        for motors, name in ((plan.drives, "_current_a"), (plan.steers, "_steer_a"))
        for channel, (wheel, _) in motors.items()
    ]


def _moving(board: BoardState, motor: _Motor, now_s: float) -> list[Reading]:
    """Angle, and speed if it has a name."""
    _, angle, speed, rad, zero = motor
    tick = board.ticks.get(motor.channel)
    if tick is None:
        nothing = Reading(angle, math.nan, "rad", 0.0, Quality.BAD, LimitState.ALARM)
        return [nothing] if speed is None else [nothing, nothing._replace(name=speed, unit="rad/s")]
    is_good = board.lost is None and now_s - tick.time_s <= FRESH_S
    quality = Quality.GOOD if is_good else Quality.BAD
    found = [Reading(angle, (tick.total - zero) * rad, "rad", tick.time_s, quality, LimitState.NORMAL)]
    if speed is not None:
        found.append(Reading(speed, tick.speed * rad, "rad/s", tick.time_s, quality, LimitState.NORMAL))
    return found


def _status(said: _Said) -> list[Reading]:
    bits = said.values(">I")[0]
    limit = LimitState.ALARM if math.isnan(bits) else status_limit(int(bits))
    return [Reading(f"board{said.address}_status", float(bits), "", said.time_s, said.quality, limit)]


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
