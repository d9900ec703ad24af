"""What a guard looks at, how far each thing may go, and the one ordered table from causes to actions.

The table is read from the top: the first row whose cause is active decides, all that are active are told. Rows that
forbid motion stand above rows that ask for it (a stuck rover with an operator's stop stays where it is), and survival
stands above both, because a hibernating rover does not move either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from control.rover.drive.guard_facts import Action, Cause, Facts, GuardLimits, Release, bad_facts, fresh


@dataclass(frozen=True, slots=True)
class Memory:
    """What a check may know of the steps before: was its cause active, the command barrier, the running back-out."""

    was: bool
    after_seq: int
    newest_seq: int
    last_s: float
    backing_since_s: float | None


Check = Callable[[Facts, GuardLimits, Memory], str | None]


@dataclass(frozen=True, slots=True)
class Row:
    """One cause: what it leads to, what raises it (a sentence, or None), how it ends, and how long before it counts."""

    cause: Cause
    action: Action
    check: Check
    release: Release = Release.SELF
    after: str | None = None
    """The limit (s) for which it must be raised before it is active; None: at once."""
    clears_at_once: bool = False
    excused_by: Cause | None = None
    """It does not decide while that one is active (it is still told)."""


def _beyond(value: float, on: float, off: float, was: bool) -> bool:
    """At or over `on`; once active, until at or under `off`. A NaN never ends it."""
    return not value <= off if was else value >= on


def _battery_empty(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    if _beyond(-f.charge, -m.charge_hibernate, -m.charge_wake, memory.was):
        return f"the battery is at {f.charge:.0%}; under {m.charge_hibernate:.0%} only the heaters run"
    return None


def _battery_cold(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    low = m.battery_temp_min_c
    if _beyond(-f.battery_temp_c, -low, -(low + m.temp_hysteresis_c), memory.was):
        return f"the battery is at {f.battery_temp_c:.0f} degC; under {low:.0f} it must be warmed, not used"
    return None


def _operator_stop(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    return "the operator stopped the rover" if f.operator_stop else None


def _operator_hold(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    return "the operator holds the rover" if f.operator_hold else None


def _bad_fact(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    if bad := bad_facts(f):
        return f"{_listed(bad)} {'is' if len(bad) == 1 else 'are'} no finite number"
    if f.now_s < memory.last_s:
        return f"the clock went back from {memory.last_s:.3f} to {f.now_s:.3f} s"
    return None


def _bad_reading(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    return f"stale or bad: {_listed(f.bad_readings)}" if f.bad_readings else None


def _dead_wheel(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    return f"wheel unit {_listed(f.dead_wheels)} does not answer or does not turn" if f.dead_wheels else None


def _tipping(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    margin = math.degrees(f.tip_margin_rad)
    low = m.tip_margin_min_deg
    if _beyond(f.tilt_deg, m.tilt_hold_deg, m.tilt_hold_deg - m.tilt_hysteresis_deg, memory.was) or _beyond(
        -margin, -low, -(low + m.tilt_hysteresis_deg), memory.was
    ):
        return (
            f"tilt {f.tilt_deg:.1f} deg (limit {m.tilt_hold_deg:g}), {margin:.1f} deg from tipping"
            f" (at least {low:g} must be left)"
        )
    return None


def _tilt_rate(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    rate, limit = abs(math.degrees(f.tilt_rate_rad_s)), m.tilt_rate_max_deg_s
    if _beyond(rate, limit, 0.8 * limit, memory.was):
        return f"the rover tilts at {rate:.0f} deg/s, over {limit:g}"
    return None


def _current_trip(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    return _hottest(f.wheel_current_a, m.current_trip_a, 0.8 * m.current_trip_a, memory.was, "the current of", "A")


def _motor_hot(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    off = m.motor_temp_max_c - m.temp_hysteresis_c
    return _hottest(f.motor_temp_c, m.motor_temp_max_c, off, memory.was, "motor", "degC")


def _board_hot(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    off = m.board_temp_max_c - m.temp_hysteresis_c
    return _hottest(f.board_temp_c, m.board_temp_max_c, off, memory.was, "board", "degC")


def _battery_hot(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    off = m.battery_temp_max_c - m.temp_hysteresis_c
    return _hottest({"battery": f.battery_temp_c}, m.battery_temp_max_c, off, memory.was, "the", "degC")


def _outside_fence(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    if _beyond(-f.fence_m, 0.0, -m.fence_clear_m, memory.was):
        return f"the rover is {max(0.0, -f.fence_m):.1f} m outside its fence"
    return None


def _lost(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    degrees, keep = math.degrees(f.heading_sigma_rad), 1 - m.sigma_hysteresis
    if _beyond(f.sigma_m, m.sigma_hold_m, m.sigma_hold_m * keep, memory.was) or _beyond(
        degrees, m.heading_sigma_hold_deg, m.heading_sigma_hold_deg * keep, memory.was
    ):
        return (
            f"the position is known to {f.sigma_m:.2f} m and {degrees:.1f} deg only"
            f" (limits {m.sigma_hold_m:g} m, {m.heading_sigma_hold_deg:g} deg)"
        )
    return None


def _back_out_failed(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    since = memory.backing_since_s
    if since is not None and f.now_s - since >= m.back_out_max_s:
        return f"backing out has not helped in {m.back_out_max_s:g} s"
    if since is not None and not f.hazard_behind_m > m.hazard_behind_m:
        return f"the way back is blocked or too steep {f.hazard_behind_m:.1f} m behind"
    return None


def _command_stale(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    command = f.command
    if command is None:
        return "there is no command"
    if command.seq < memory.newest_seq:
        return f"command {command.seq} is older than {memory.newest_seq}, which came before it"
    if command.seq <= memory.after_seq:
        return f"command {command.seq} was given before the rover held; it waits for a newer one"
    if not fresh(command, f.now_s, memory.after_seq, m.command_valid_max_s):
        if command.valid_until_s > f.now_s:
            return f"command {command.seq} is valid for longer than {m.command_valid_max_s:g} s, or no motion"
        return f"command {command.seq} ran out {f.now_s - command.valid_until_s:.1f} s ago"
    return None


def _hazard_ahead(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    if _beyond(-f.hazard_ahead_m, -m.hazard_stop_m, -(m.hazard_stop_m + m.hazard_hysteresis_m), memory.was):
        return f"the path is blocked or too steep {f.hazard_ahead_m:.1f} m ahead"
    return None


def _steep(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    return _tilt_over(f, m.tilt_back_deg, m, memory)


def _stuck(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    return "the wheels turn and the rover does not get on" if f.stuck else None


def _slip_high(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    return _slip_over(f, m.slip_back, m, memory)


def _current_high(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    return _hottest(f.wheel_current_a, m.current_high_a, 0.8 * m.current_high_a, memory.was, "the current of", "A")


def _off_corridor(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    if _beyond(abs(f.cross_track_m), f.corridor_m, f.corridor_m * (1 - m.corridor_hysteresis), memory.was):
        return f"the rover is {abs(f.cross_track_m):.2f} m beside its path, whose corridor is {f.corridor_m:g} m"
    return None


def _battery_low(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    need = f.haven_charge + m.haven_margin
    if _beyond(-f.charge, -need, -(need + m.haven_hysteresis), memory.was):
        return f"the battery is at {f.charge:.0%} and the way to the nearest haven takes {need:.0%}, margin included"
    return None


def _comms_silent(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    if f.comms_silent_s >= m.comms_silent_s:
        return f"nobody was heard for {f.comms_silent_s:.0f} s (limit {m.comms_silent_s:g} s)"
    return None


def _tilted(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    return _tilt_over(f, m.tilt_slow_deg, m, memory)


def _slipping(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    return _slip_over(f, m.slip_slow, m, memory)


def _warm(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    for what, table, limit in (
        ("motor", f.motor_temp_c, m.motor_temp_max_c),
        ("board", f.board_temp_c, m.board_temp_max_c),
        ("the", {"battery": f.battery_temp_c}, m.battery_temp_max_c),
    ):
        on = limit - m.warm_margin_c
        if sentence := _hottest(table, on, on - m.temp_hysteresis_c, memory.was, what, "degC"):
            return sentence
    return None


def _unsure(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    if _beyond(f.sigma_m, m.sigma_slow_m, m.sigma_slow_m * (1 - m.sigma_hysteresis), memory.was):
        return f"the position is known to {f.sigma_m:.2f} m only (full speed under {m.sigma_slow_m:g} m)"
    return None


def _hazard_near(f: Facts, m: GuardLimits, memory: Memory) -> str | None:
    if _beyond(-f.hazard_ahead_m, -m.hazard_slow_m, -(m.hazard_slow_m + m.hazard_hysteresis_m), memory.was):
        return f"the path is blocked or too steep {f.hazard_ahead_m:.1f} m ahead"
    return None


def _tilt_over(f: Facts, limit_deg: float, m: GuardLimits, memory: Memory) -> str | None:
    if _beyond(f.tilt_deg, limit_deg, limit_deg - m.tilt_hysteresis_deg, memory.was):
        return f"tilt {f.tilt_deg:.1f} deg (limit {limit_deg:g})"
    return None


def _slip_over(f: Facts, limit: float, m: GuardLimits, memory: Memory) -> str | None:
    if _beyond(abs(f.slip), limit, limit - m.slip_hysteresis, memory.was):
        return f"slip {abs(f.slip):.0%} (limit {limit:.0%})"
    return None


def _hottest(values: Mapping[str, float], on: float, off: float, was: bool, what: str, unit: str) -> str | None:
    """The worst of some values by name, if it is beyond."""
    over = {name: value for name, value in values.items() if _beyond(value, on, off, was)}
    if not over:
        return None
    name = max(over, key=lambda key: over[key])
    return f"{what} {name} is at {over[name]:.1f} {unit} (limit {on:g})"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


C, A, R = Cause, Action, Release
TABLE: tuple[Row, ...] = (
    Row(C.BATTERY_EMPTY, A.HIBERNATE, _battery_empty),
    Row(C.BATTERY_COLD, A.HIBERNATE, _battery_cold),
    Row(C.OPERATOR_STOP, A.HOLD, _operator_stop, R.OPERATOR),
    Row(C.OPERATOR_HOLD, A.HOLD, _operator_hold, clears_at_once=True),
    Row(C.BAD_FACT, A.HOLD, _bad_fact),
    Row(C.BAD_READING, A.HOLD, _bad_reading),
    Row(C.DEAD_WHEEL, A.HOLD, _dead_wheel, R.OPERATOR),
    Row(C.TIPPING, A.HOLD, _tipping, R.OPERATOR),
    Row(C.TILT_RATE, A.HOLD, _tilt_rate),
    Row(C.CURRENT_TRIP, A.HOLD, _current_trip, R.OPERATOR),
    Row(C.MOTOR_HOT, A.HOLD, _motor_hot),
    Row(C.BOARD_HOT, A.HOLD, _board_hot),
    Row(C.BATTERY_HOT, A.HOLD, _battery_hot),
    Row(C.OUTSIDE_FENCE, A.HOLD, _outside_fence, R.OPERATOR),
    Row(C.LOST, A.HOLD, _lost),
    Row(C.BACK_OUT_FAILED, A.HOLD, _back_out_failed, R.OPERATOR),
    Row(C.COMMAND_STALE, A.HOLD, _command_stale, clears_at_once=True, excused_by=C.COMMS_SILENT),
    Row(C.HAZARD_AHEAD, A.BACK_OUT, _hazard_ahead, R.BACKED_OUT),
    Row(C.STEEP, A.BACK_OUT, _steep, R.BACKED_OUT, after="tilt_after_s"),
    Row(C.STUCK, A.BACK_OUT, _stuck, R.BACKED_OUT),
    Row(C.SLIP_HIGH, A.BACK_OUT, _slip_high, R.BACKED_OUT, after="slip_after_s"),
    Row(C.CURRENT_HIGH, A.BACK_OUT, _current_high, R.BACKED_OUT, after="current_after_s"),
    Row(C.OFF_CORRIDOR, A.BACK_OUT, _off_corridor, R.BACKED_OUT),
    Row(C.BATTERY_LOW, A.HAVEN, _battery_low),
    Row(C.COMMS_SILENT, A.HAVEN, _comms_silent),
    Row(C.TILTED, A.SLOW, _tilted, after="tilt_after_s"),
    Row(C.SLIPPING, A.SLOW, _slipping),
    Row(C.WARM, A.SLOW, _warm),
    Row(C.UNSURE, A.SLOW, _unsure),
    Row(C.HAZARD_NEAR, A.SLOW, _hazard_near),
)
"""From causes to actions; the first active row decides."""
