"""Which Modbus drive turns what, what is known of each, and what that says as readings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from firmware_bridge.devices.register_access import RegisterAccess
from firmware_bridge.links.modbus import SILENCE_MIN_S
from firmware_bridge.register_map import RegisterMap, Signal
from firmware_bridge.signals import LimitState, Quality, Reading

MODE_ABSOLUTE, TRIGGER_PR0 = 1, 0x10
FRESH_S = 0.3  # a wheel whose position is older than this is not driven
STEER_FRESH_S = 1.0
STATUS_FRESH_S = 3.0
STEER_SAME_RAD = 0.03  # a steering drive that was switched off and reads this close to before has kept its counter
WRITES_PER_COMMAND = 5  # of moves: the drives' and what is left for the steering, see cycle_s


@dataclass(frozen=True)
class ModbusLayout:
    """The rover's drives. `drive` and `steer`: name -> Modbus unit, all on one bus.

    `wheel_rad_per_rev`, `steer_rad_per_rev`: angle at the wheel and at the steering axis for one turn of the motor.
    Speeds go to the drive in whole rpm of the motor, so a wheel without a gear is driven coarsely. `mirrored`,
    `steers_mirrored`: motors that turn the other way. ValueError for a unit that is named twice or a number that
    cannot be.
    """

    drive: Mapping[str, int]
    steer: Mapping[str, int]
    wheel_rad_per_rev: float
    steer_rad_per_rev: float
    speed_max_rad_s: float = 3.0
    steer_max_rad: float = 1.6
    steer_speed_rad_s: float = 1.0
    accel_rad_s2: float = 10.0
    steer_accel_rad_s2: float = 10.0
    mirrored: frozenset[str] = frozenset()
    steers_mirrored: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        units = [*self.drive.values(), *self.steer.values()]
        for unit in units:
            if not 1 <= unit <= 31:
                raise ValueError(f"unit {unit}: these drives have units 1 to 31")
            if units.count(unit) > 1:
                raise ValueError(f"unit {unit} is named {units.count(unit)} times: each motor has a drive of its own")
        for what in ("wheel_rad_per_rev", "steer_rad_per_rev", "speed_max_rad_s", "steer_max_rad", "steer_speed_rad_s",
                     "accel_rad_s2", "steer_accel_rad_s2"):  # fmt: skip
            if not (math.isfinite(getattr(self, what)) and getattr(self, what) > 0):
                raise ValueError(f"{what} is {getattr(self, what)}; it is a finite number over 0")

    def cycle_s(self, table: RegisterMap, baud: int = 115200, *, all_steers: bool = False) -> float:
        """The bus time (8N1) of one drive() and one poll(), with all wheels turning: what has to fit into one period.

        As they are: WRITES_PER_COMMAND moves, all wheels' positions, one steering position and one status. With
        `all_steers`: a move and a position for each motor.
        """
        byte_s = 10.0 / baud
        silence_s = 3.5 * byte_s if baud <= 19200 else SILENCE_MIN_S
        exchange_s = table.reply_delay_s(baud) + 2 * silence_s
        motors, drives = len(self.drive) + len(self.steer), len(self.drive)
        moves = motors if all_steers else min(motors, max(drives + 1, WRITES_PER_COMMAND))
        positions = motors if all_steers else drives + min(1, len(self.steer))
        size = moves * (9 + 16 + 8) + positions * (8 + 9) + (8 + 7)
        return size * byte_s + (moves + positions + 1) * exchange_s


class DriveMotor:
    """One drive and what is known of it. Positions in pulses, signed as the wheel turns forward."""

    def __init__(self, access: RegisterAccess, wheel: str, is_steer: bool, sign: int, rad_per_rev: float) -> None:
        self.access = access
        self.wheel = wheel
        self.is_steer = is_steer
        self.sign = sign
        self.rad_per_rev = rad_per_rev
        self.rad_per_pulse = rad_per_rev / 10000.0
        self.raw = 0  # the drive's own counter
        self.offset = 0  # what it had counted before it was set to 0
        self.read_s = -math.inf
        self.speed_rad_s = 0.0
        self.status: float | None = None
        self.status_s = -math.inf
        self.told_rad: float | None = None  # where a steering motor was sent, once it took that
        self.sure_raw: int | None = None  # the counter when the drive last said that it is enabled
        self.sent_raw: int | None = None  # where a steering motor was sent last, whether it took that or not
        self.is_standing = False  # a stop was taken, and no move since
        self.failed_s: float | None = None
        self.lost: str | None = None

    @property
    def angle_rad(self) -> float:
        return self.sign * (self.raw + self.offset) * self.rad_per_pulse

    def stands_as_before(self, raw: int) -> bool:
        """Whether a steering motor's counter has survived what happened: it reads what it last did, and is where it
        was sent."""
        known = [was for was in (self.sure_raw, self.sent_raw) if was is not None]
        return bool(known) and all(abs(raw - was) * self.rad_per_pulse <= STEER_SAME_RAD for was in known)

    def forget(self) -> None:
        """What was known belongs to a time before."""
        self.read_s = -math.inf
        self.speed_rad_s = 0.0
        self.told_rad = None
        self.is_standing = False


def readings_of(motors: Sequence[DriveMotor], table: Signal, now_s: float) -> dict[str, Reading]:
    """All readings, by name (see ModbusWheels.poll). `table`: the status signal, which knows its bits."""
    found: list[Reading] = []
    for motor in motors:
        fresh_s = STEER_FRESH_S if motor.is_steer else FRESH_S
        is_good = motor.lost is None and now_s - motor.read_s <= fresh_s
        quality, state = (Quality.GOOD if is_good else Quality.BAD), LimitState.NORMAL
        time_s = max(motor.read_s, 0.0)
        name = f"{motor.wheel}_steer_rad" if motor.is_steer else f"{motor.wheel}_angle_rad"
        found.append(Reading(name, motor.angle_rad, "rad", time_s, quality, state))
        if not motor.is_steer:
            name = f"{motor.wheel}_speed_rad_s"
            found.append(Reading(name, motor.speed_rad_s, "rad/s", time_s, quality, state))
    bits, oldest_s, all_good, worst = 0, now_s, True, LimitState.NORMAL
    for motor in motors:
        status = motor.status
        if status is None:
            value, state = math.nan, LimitState.ALARM
        else:
            is_wrong = table.has(status, "fault") or not table.has(status, "enabled")
            value, state = status, LimitState.ALARM if is_wrong else LimitState.NORMAL
            bits |= int(status)
        is_good = status is not None and now_s - motor.status_s <= STATUS_FRESH_S
        time_s = max(motor.status_s, 0.0)
        quality = Quality.GOOD if is_good else Quality.BAD
        found.append(Reading(f"status_{motor.access.unit}", value, "", time_s, quality, state))
        oldest_s, all_good = min(oldest_s, time_s), all_good and is_good
        worst = LimitState.ALARM if LimitState.ALARM in (worst, state) else worst
    quality = Quality.GOOD if all_good else Quality.BAD
    found.append(Reading("status", float(bits), "", oldest_s, quality, worst))
    return {reading.name: reading for reading in found}


def move_values(motor: DriveMotor, target: int, rpm: int, accel_rad_s2: float) -> dict[str, float]:
    """Path 0, absolute, started by its own last word: one request."""
    ramp = min(max(round(1e6 * motor.rad_per_rev / (accel_rad_s2 * 60)), 1), 10000)
    return {
        "pr0_mode": MODE_ABSOLUTE, "pr0_position": target, "pr0_velocity_rpm": rpm, "pr0_acceleration": ramp,
        "pr0_deceleration": ramp, "pr0_pause": 0, "pr0_trigger": TRIGGER_PR0,
    }  # fmt: skip
