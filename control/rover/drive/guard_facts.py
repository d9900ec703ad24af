"""What a guard is told and how far things may go: actions, causes, commands, limits with their ranges, facts."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum, IntEnum
from operator import attrgetter

from control.rover.drive.kinematics import STOP, Twist2D


class Action(IntEnum):
    """What a rover does about it, from the least to the furthest step."""

    GO = 0
    SLOW = 1
    HOLD = 2
    BACK_OUT = 3
    HAVEN = 4
    HIBERNATE = 5


class Cause(Enum):
    """Why; in the table's order."""

    BATTERY_EMPTY = "battery empty"
    BATTERY_COLD = "battery cold"
    OPERATOR_STOP = "operator stop"
    OPERATOR_HOLD = "operator hold"
    BAD_FACT = "bad fact"
    BAD_READING = "bad reading"
    DEAD_WHEEL = "dead wheel unit"
    TIPPING = "tipping"
    TILT_RATE = "tilt rate"
    CURRENT_TRIP = "current trip"
    MOTOR_HOT = "motor hot"
    BOARD_HOT = "board hot"
    BATTERY_HOT = "battery hot"
    OUTSIDE_FENCE = "outside the fence"
    LOST = "lost"
    BACK_OUT_FAILED = "back-out failed"
    COMMAND_STALE = "command stale"
    HAZARD_AHEAD = "hazard ahead"
    STEEP = "steep"
    STUCK = "stuck"
    SLIP_HIGH = "slip high"
    CURRENT_HIGH = "current high"
    OFF_CORRIDOR = "off the corridor"
    BATTERY_LOW = "battery low"
    COMMS_SILENT = "comms silent"
    TILTED = "tilted"
    SLIPPING = "slipping"
    WARM = "warm"
    UNSURE = "unsure of place"
    HAZARD_NEAR = "hazard near"


class Release(Enum):
    """How an active cause ends once nothing raises it any more."""

    SELF = "by itself, after the row's clear time"
    OPERATOR = "after the clear time, by an operator's release that is newer than the cause"
    BACKED_OUT = "after the clear time, once the rover has driven back far enough"


@dataclass(frozen=True, slots=True)
class Command:
    """One order to move: a newer one has a larger `seq`, and none is good after `valid_until_s`."""

    seq: int
    valid_until_s: float
    twist: Twist2D = STOP


def fresh(command: Command | None, now_s: float, after_seq: int, valid_max_s: float = 10.0) -> bool:
    """True if a command may be acted on: newer than `after_seq`, still valid, for no longer than `valid_max_s` ahead
    (a command that never expires is a latched one), and a motion in numbers.
    """
    if command is None or command.seq <= after_seq or not command.twist.is_finite:
        return False
    return now_s < command.valid_until_s <= now_s + valid_max_s  # a NaN on either side is False


def _limit(default: float, low: float, high: float) -> float:
    """A limit with the range that it must lie in."""
    return field(default=default, metadata={"range": (low, high)})


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """Every threshold, each within its range. `..._clear` values are where a cause ends (hysteresis).

    Raises:
        ValueError: a value that is no number or out of its range, or two that are in the wrong order; a sentence.
    """

    tilt_slow_deg: float = _limit(18.0, 2.0, 45.0)
    tilt_back_deg: float = _limit(24.0, 3.0, 50.0)
    tilt_hold_deg: float = _limit(28.0, 4.0, 60.0)
    tilt_hysteresis_deg: float = _limit(1.5, 0.1, 10.0)
    tip_margin_min_deg: float = _limit(8.0, 1.0, 45.0)
    tilt_rate_max_deg_s: float = _limit(25.0, 1.0, 180.0)
    tilt_after_s: float = _limit(0.2, 0.0, 5.0)
    slip_slow: float = _limit(0.5, 0.05, 0.99)
    slip_back: float = _limit(0.8, 0.1, 0.99)
    slip_hysteresis: float = _limit(0.1, 0.01, 0.5)
    slip_after_s: float = _limit(5.0, 0.0, 120.0)
    current_high_a: float = _limit(3.0, 0.05, 100.0)
    current_trip_a: float = _limit(6.0, 0.1, 200.0)
    current_after_s: float = _limit(1.5, 0.0, 60.0)
    warm_margin_c: float = _limit(10.0, 1.0, 50.0)
    motor_temp_max_c: float = _limit(85.0, 20.0, 200.0)
    board_temp_max_c: float = _limit(80.0, 20.0, 120.0)
    temp_hysteresis_c: float = _limit(5.0, 0.5, 50.0)
    battery_temp_max_c: float = _limit(50.0, 20.0, 90.0)
    battery_temp_min_c: float = _limit(-20.0, -80.0, 20.0)
    charge_hibernate: float = _limit(0.20, 0.01, 0.9)
    charge_wake: float = _limit(0.30, 0.02, 0.95)
    haven_margin: float = _limit(0.05, 0.0, 0.5)
    haven_hysteresis: float = _limit(0.05, 0.0, 0.5)
    comms_silent_s: float = _limit(3600.0, 1.0, 1e6)
    command_valid_max_s: float = _limit(10.0, 0.1, 600.0)
    sigma_slow_m: float = _limit(0.5, 0.001, 50.0)
    sigma_hold_m: float = _limit(1.5, 0.002, 100.0)
    heading_sigma_hold_deg: float = _limit(10.0, 0.1, 90.0)
    sigma_hysteresis: float = _limit(0.1, 0.01, 0.9)
    fence_clear_m: float = _limit(0.2, 0.0, 10.0)
    corridor_hysteresis: float = _limit(0.2, 0.01, 0.9)
    hazard_stop_m: float = _limit(0.5, 0.0, 50.0)
    hazard_slow_m: float = _limit(1.5, 0.0, 100.0)
    hazard_hysteresis_m: float = _limit(0.1, 0.0, 10.0)
    hazard_behind_m: float = _limit(0.15, 0.0, 10.0)
    back_out_m: float = _limit(1.0, 0.05, 20.0)
    back_out_max_s: float = _limit(120.0, 1.0, 3600.0)
    clear_s: float = _limit(1.0, 0.0, 600.0)
    slow_factor: float = _limit(0.5, 0.05, 1.0)

    def __post_init__(self) -> None:
        for item in fields(self):
            low, high = item.metadata["range"]
            value = getattr(self, item.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise ValueError(f"{item.name} is {value!r}; it must be a number from {low:g} to {high:g}")
        for less, more in (
            ("tilt_slow_deg", "tilt_back_deg"),
            ("tilt_back_deg", "tilt_hold_deg"),
            ("tilt_hysteresis_deg", "tilt_slow_deg"),
            ("slip_slow", "slip_back"),
            ("slip_hysteresis", "slip_slow"),
            ("current_high_a", "current_trip_a"),
            ("battery_temp_min_c", "battery_temp_max_c"),
            ("charge_hibernate", "charge_wake"),
            ("sigma_slow_m", "sigma_hold_m"),
            ("hazard_stop_m", "hazard_slow_m"),
        ):
            if not getattr(self, less) < getattr(self, more):
                raise ValueError(
                    f"{less} is {getattr(self, less):g} and {more} {getattr(self, more):g}:"
                    " the first must be below the second"
                )


def limits_from(changes: Mapping[str, float]) -> GuardLimits:
    """The default limits with some changed, as a machine file names them.

    Raises:
        ValueError: an unknown name (the nearest known one is named), or a value that GuardLimits refuses.
    """
    known = [item.name for item in fields(GuardLimits)]
    for name in changes:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise ValueError(f"there is no guard limit {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return GuardLimits(**changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known at one step. Nothing has a default that would pass: who asks the guard has to say.

    Args:
        now_s: the loop's time, which never goes back.
        command: the newest order to move, from whoever drives.
        roll_rad, pitch_rad, tilt_rate_rad_s: attitude and how fast it changes.
        tip_margin_rad: how much steeper it may stand before it tips (`attitude.tip_margin_rad`).
        slip: longitudinal, 0 none to 1 no progress; its sign does not matter.
        stuck: the tracker's word.
        wheel_current_a, motor_temp_c, board_temp_c: by name; empty where there is no such sensor.
        battery_temp_c, charge: of the battery; charge 0 to 1.
        haven_charge: what it takes to reach the nearest haven and last there, 0 to 1.
        fence_m: how far inside the geofence (outside: negative); infinite where there is none.
        cross_track_m, corridor_m: how far beside the path, and how far it may be.
        sigma_m, heading_sigma_rad: how unsure the localisation is.
        comms_silent_s: since the operators were last heard.
        bad_readings: names of readings that are stale or bad and matter.
        dead_wheels: wheel units that do not answer or do not turn.
        hazard_ahead_m: along the path to where it is too steep or blocked; infinite: nothing within sight, or backing.
        hazard_behind_m: the same the way it came, while it backs out; infinite otherwise.
        operator_stop, operator_hold: as they stand now.
        release_seq: the newest of the operator's releases; each has a larger number.
        backed_m: length driven backwards since the drive began; never gets less.
    """

    now_s: float
    command: Command | None
    roll_rad: float
    pitch_rad: float
    tilt_rate_rad_s: float
    tip_margin_rad: float
    slip: float
    stuck: bool
    wheel_current_a: Mapping[str, float]
    motor_temp_c: Mapping[str, float]
    board_temp_c: Mapping[str, float]
    battery_temp_c: float
    charge: float
    haven_charge: float
    fence_m: float
    cross_track_m: float
    corridor_m: float
    sigma_m: float
    heading_sigma_rad: float
    comms_silent_s: float
    bad_readings: tuple[str, ...]
    dead_wheels: tuple[str, ...]
    hazard_ahead_m: float
    hazard_behind_m: float
    operator_stop: bool
    operator_hold: bool
    release_seq: int
    backed_m: float

    @property
    def tilt_deg(self) -> float:
        """Angle between the rover's z and the vertical, whatever its direction; NaN if the attitude is no number."""
        if not (math.isfinite(self.roll_rad) and math.isfinite(self.pitch_rad)):
            return math.nan
        cosine = math.cos(self.roll_rad) * math.cos(self.pitch_rad)
        return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


MAY_BE_INFINITE = {"fence_m", "hazard_ahead_m", "hazard_behind_m", "corridor_m"}
_NUMBERS = tuple(item.name for item in fields(Facts) if item.type in ("float", "int"))  # types are strings here
_numbers_of = attrgetter(*_NUMBERS)
_TABLES = ("wheel_current_a", "motor_temp_c", "board_temp_c")


def bad_facts(facts: Facts) -> list[str]:
    """Names of the facts that are no number."""
    bad = []
    for name, value in zip(_NUMBERS, _numbers_of(facts), strict=True):
        if not (math.isfinite(value) or (name in MAY_BE_INFINITE and value == math.inf)):
            bad.append(name)
    for table in _TABLES:
        bad += [f"{table} of {name}" for name, value in getattr(facts, table).items() if not math.isfinite(value)]
    command = facts.command
    if command is not None and not (math.isfinite(command.valid_until_s) and command.twist.is_finite):
        bad.append("command")
    return bad
