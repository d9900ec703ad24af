"""Which motor hangs on which channel of which board, what its counts mean, and what that costs on the line."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from firmware_bridge.links.roboclaw import ALONE_BYTES, ALONE_S
from firmware_bridge.links.roboclaw_frames import ADDRESSES
from firmware_bridge.signals import Limits

SPEED, SPEEDS, POSITION = 35, 37, 65
AT_ONCE = 1
STOP_RAMP_MIN_S = 0.05  # full duty to none at 655,359 a second, the most a board takes (p. 98)
JUMP_SPARE_TICKS = 100
FAST_READ_BYTES = 2 + 10  # both counters of a board: the question and its answer
SLOW_READS_BYTES = 5 * 4 + 13  # status, timeout, currents, supply, temperature
SLOW_READS = 5
CURRENT_LIMITS = Limits(warn_high=8.0, alarm_high=15.0)
VOLTS_LIMITS = Limits(alarm_low=9.0, warn_low=10.5, warn_high=17.0, alarm_high=34.0)
TEMP_LIMITS = Limits(alarm_low=-40.0, warn_low=-20.0, warn_high=70.0, alarm_high=85.0)


@dataclass(frozen=True)
class BoardPlan:
    """One board: channel (1 or 2) -> (wheel, +1 or -1 if mounted mirrored)."""

    address: int
    drives: dict[int, tuple[str, int]]
    steers: dict[int, tuple[str, int]]

    @property
    def channels(self) -> set[int]:
        """Those that are used."""
        return {*self.drives, *self.steers}


@dataclass(frozen=True)
class RoboClawLayout:
    """The rover's motors. `wheels` and `steers`: name -> (board address, channel).

    `ticks_per_rad` and `steer_ticks_per_rad`: counts for one radian at the wheel and at the steering axis. `qpps_max`:
    the largest speed of a wheel, counts/s. `mirrored` and `steers_mirrored`: motors that count backwards.
    `steer_zero_ticks`: counts at which a steered wheel stands straight (0 where it is not named). `stop_ramp_s`: the
    time from full duty to none. `model`: what the firmware's text must hold. Raises ValueError for a motor that is
    named twice or a number that cannot be.
    """

    wheels: Mapping[str, tuple[int, int]]
    steers: Mapping[str, tuple[int, int]]
    ticks_per_rad: float
    steer_ticks_per_rad: float
    qpps_max: float
    steer_max_rad: float = 0.8
    steer_speed_rad_s: float = 1.0
    steer_accel_rad_s2: float = 5.0
    stop_ramp_s: float = 0.1
    mirrored: frozenset[str] = frozenset()
    steers_mirrored: frozenset[str] = frozenset()
    steer_zero_ticks: Mapping[str, int] = field(default_factory=dict)
    model: str = "roboclaw"
    current_limits: Limits = CURRENT_LIMITS
    volts_limits: Limits = VOLTS_LIMITS
    temp_limits: Limits = TEMP_LIMITS

    def __post_init__(self) -> None:
        taken: dict[tuple[int, int], str] = {}
        for name, (address, channel) in [*self.wheels.items(), *self.steers.items()]:
            if address not in ADDRESSES or channel not in (1, 2):
                raise ValueError(f"{name}: board {address} channel {channel}: addresses are 128 to 135, channels 1, 2")
            if (address, channel) in taken:
                raise ValueError(f"{name} and {taken[address, channel]} are both on board {address} channel {channel}")
            taken[address, channel] = name
        for what in ("ticks_per_rad", "steer_ticks_per_rad", "qpps_max", "steer_max_rad", "steer_speed_rad_s",
                     "steer_accel_rad_s2", "stop_ramp_s"):  # fmt: skip
            if not (math.isfinite(getattr(self, what)) and getattr(self, what) > 0):
                raise ValueError(f"{what} is {getattr(self, what)}; it is a finite number over 0")
        if self.stop_ramp_s < STOP_RAMP_MIN_S:
            raise ValueError(f"stop_ramp_s is {self.stop_ramp_s}; a board ramps in {STOP_RAMP_MIN_S} s at the fastest")

    @property
    def speed_max_rad_s(self) -> float:
        """`qpps_max` at the wheel."""
        return self.qpps_max / self.ticks_per_rad

    @property
    def stop_rate(self) -> int:
        """The ramp of a stop, in units of duty (32767 is all) per second."""
        return round(32767 / self.stop_ramp_s)

    def boards(self) -> list[BoardPlan]:
        """The boards by address."""
        plans: dict[int, BoardPlan] = {}
        for table, mirrored, which in ((self.wheels, self.mirrored, 0), (self.steers, self.steers_mirrored, 1)):
            for name, (address, channel) in table.items():
                plan = plans.setdefault(address, BoardPlan(address, {}, {}))
                (plan.steers if which else plan.drives)[channel] = (name, -1 if name in mirrored else 1)
        return [plans[address] for address in sorted(plans)]

    def jump_ticks(self, plan: BoardPlan, channel: int, dt_s: float) -> float:
        """More counts than this in `dt_s` are no motion."""
        if channel in plan.drives:
            return 2 * self.qpps_max * dt_s + JUMP_SPARE_TICKS
        return 2 * self.steer_speed_rad_s * self.steer_ticks_per_rad * dt_s + JUMP_SPARE_TICKS

    def commands(
        self, plan: BoardPlan, speeds_rad_s: Mapping[str, float], steers_rad: Mapping[str, float]
    ) -> Iterator[tuple[int, bytes]]:
        """The writes that give `plan`'s motors their speeds and angles: (command, data)."""
        speeds = {
            channel: round(sign * speeds_rad_s[name] * self.ticks_per_rad)
            for channel, (name, sign) in plan.drives.items()
        }
        if len(speeds) == 2:
            yield SPEEDS, struct.pack(">ii", speeds[1], speeds[2])
        else:
            for channel, speed in speeds.items():
                yield SPEED + channel - 1, struct.pack(">i", speed)
        accel = round(self.steer_accel_rad_s2 * self.steer_ticks_per_rad)
        top = round(self.steer_speed_rad_s * self.steer_ticks_per_rad)
        for channel, ticks in self.steer_ticks(plan, steers_rad).items():  # one by one: a short packet gets through
            yield POSITION + channel - 1, struct.pack(">IIIiB", accel, top, accel, ticks, AT_ONCE)

    def steer_ticks(self, plan: BoardPlan, steers_rad: Mapping[str, float]) -> dict[int, int]:
        """Where `plan`'s steering motors shall stand, by channel."""
        return {
            channel: round(sign * steers_rad[name] * self.steer_ticks_per_rad) + self.steer_zero_ticks.get(name, 0)
            for channel, (name, sign) in plan.steers.items()
        }

    def cycle_s(self, baud: int, *, hz: float = 10.0, turnaround_s: float = 0.0014) -> float:
        """The line time (8N1) of one poll and one drive() at `hz`, with its share of the slow reads.

        `turnaround_s`: what each exchange takes beside its bytes (a board's 1 ms, and the way there and back).
        """
        speeds, steers = dict.fromkeys(self.wheels, 0.0), dict.fromkeys(self.steers, 0.0)
        size = exchanges = 0.0
        for plan in self.boards():
            size += FAST_READ_BYTES + SLOW_READS_BYTES / hz
            exchanges += 1 + SLOW_READS / hz
            for _, data in self.commands(plan, speeds, steers):
                size += len(data) + 5 + ALONE_BYTES
                exchanges += 1 + ALONE_S / turnaround_s
        return size * 10 / baud + exchanges * turnaround_s
