"""Grbl's homing and probing: motions that watch a switch.

Facts: Grbl `limits.c`, `motion_control.c`, alarm list (page hosts 1b). Homing: z first, then x and y together, each
axis stopping dead at its own switch; search, pull off, locate slowly, pull off. Only a reset or the safety door ends it
early; status reports wait until it is over.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, sqrt

from hil_sim.world.emulators.grbl_firmware import Firmware, Wait, raise_alarm, wait_until
from hil_sim.world.emulators.grbl_planner import Order
from hil_sim.world.emulators.grbl_report import probe
from hil_sim.world.emulators.grbl_settings import Point
from hil_sim.world.emulators.grbl_states import State
from hil_sim.world.plant.gantry import Move, Run

PROBE_WAS_TOUCHING, PROBE_MISSED = 4, 5
HOMING_RESET, HOMING_DOOR, HOMING_STILL_CLOSED, HOMING_NOT_FOUND = 6, 7, 8, 9
_CYCLES = ((2,), (0, 1))
_SEARCH, _LOCATE = 1.5, 5.0  # times the travel, times the pull-off
_HALVINGS = 48


class HomingFailed(Exception):
    """Homing ends with an alarm and a reset."""

    def __init__(self, alarm: int) -> None:
        super().__init__(f"ALARM:{alarm}")
        self.alarm = alarm


def first_true_s(run: Run, holds: Callable[[Point], bool]) -> float | None:
    """When along `run` a condition that stays once it is true becomes true; None: not on this run."""
    if not holds(run.point_mm(run.duration_s)):
        return None
    low, high = 0.0, run.duration_s
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if holds(run.point_mm(middle)) else (middle, high)
    return run.t0_s + high


class LimitWatch:
    """Hard limits ($21): which switch the motion in progress will close, and whether one has closed."""

    def __init__(self, fw: Firmware) -> None:
        self._fw = fw
        self._before = [False, False, False]

    def next_s(self) -> float:
        """When the run in progress closes a switch that is open now; inf: it does not."""
        fw = self._fw
        run = fw.gantry.run_at(fw.now_s)
        if not isinstance(run, Run):
            return inf
        self._before = fw.inputs.limits(fw.gantry.position_at(fw.now_s))
        closes_s = first_true_s(run, self._newly_closed)
        return inf if closes_s is None else max(closes_s, fw.now_s + 1e-9)

    def has_closed(self) -> bool:
        """Whether a switch is closed that was open when `next_s` was asked."""
        fw = self._fw
        run = fw.gantry.run_at(fw.now_s)
        at_mm = (
            fw.gantry.position_at(fw.now_s) if not isinstance(run, Run) else run.point_mm(fw.now_s + 1e-6 - run.t0_s)
        )
        return self._newly_closed(at_mm)

    def _newly_closed(self, at_mm: Point) -> bool:
        return any(now and not was for was, now in zip(self._before, self._fw.inputs.limits(at_mm)))


# ---- homing ---------------------------------------------------------------------------------------------------------
def homing_cycle(fw: Firmware) -> Wait:
    """`$H`. Raises HomingFailed with alarm 8 or 9."""
    fw.spindle.off(fw.now_s)
    for axes in _CYCLES:
        yield from _home(fw, axes)
    fw.sync_position()


def _home(fw: Firmware, axes: tuple[int, ...]) -> Wait:
    s = fw.settings
    mask, pull_off_mm = int(s[23]), s[27]
    signs = {axis: -1.0 if mask >> axis & 1 else 1.0 for axis in axes}
    search_mm = _SEARCH * max(s[130 + axis] for axis in axes)
    for way_mm, rate in ((search_mm, s[25]), (_LOCATE * pull_off_mm, s[24])):
        yield from _approach(fw, signs, way_mm, rate / 60.0)
        yield from wait_until(fw, fw.now_s + s[26] / 1000.0)
        yield from _pull_off(fw, signs, pull_off_mm, s[25] / 60.0)
        yield from wait_until(fw, fw.now_s + s[26] / 1000.0)
    at = list(fw.gantry.controller_at(fw.now_s))
    for axis in axes:
        travel = s[130 + axis]
        if fw.build.origin_at_home:
            at[axis] = 0.0
        else:
            at[axis] = pull_off_mm - travel if mask >> axis & 1 else -pull_off_mm
    fw.gantry.datum((at[0], at[1], at[2]))


def _acceleration(fw: Firmware, axes: list[int]) -> float:
    """Along a way that is equally long on each of `axes`."""
    return min(max(fw.settings[120 + axis], 1e-3) for axis in axes) * sqrt(len(axes))


def _approach(fw: Firmware, signs: dict[int, float], way_mm: float, rate_mm_s: float) -> Wait:
    """All axes towards their switches, equally fast; each stops dead at its own, the others go on."""
    here = fw.gantry.position_at(fw.now_s)
    meets = {axis: _to_switch(fw, axis, sign, here[axis]) for axis, sign in signs.items()}
    a = _acceleration(fw, list(signs)) / sqrt(len(signs))  # of each axis
    rate = max(rate_mm_s, 1e-3)
    done_mm, speed, moving = 0.0, 0.0, list(signs)
    stops = sorted({min(meets[axis], way_mm) for axis in signs})
    for stop_mm in stops:
        leg_mm = stop_mm - done_mm
        if leg_mm > 1e-12:
            end_speed = min(rate, sqrt(speed * speed + 2.0 * a * leg_mm))
            k = sqrt(len(moving))
            yield from _run(fw, moving, signs, leg_mm, speed * k, end_speed * k, end_speed * k, a * k)
            done_mm, speed = stop_mm, end_speed
        moving = [axis for axis in moving if meets[axis] > stop_mm]
        if not moving:
            return
    raise HomingFailed(HOMING_NOT_FOUND)


def _to_switch(fw: Firmware, axis: int, sign: float, at_mm: float) -> float:
    """How far it is to the switch at the end that `sign` points to; inf where none will close."""
    inputs = fw.inputs
    if inputs.limits(fw.gantry.position_at(fw.now_s))[axis]:
        return 0.0
    ends = inputs.limit_low_mm if sign < 0.0 else inputs.limit_high_mm
    if ends is None or "xyz"[axis] in inputs.broken:
        return inf
    return max((ends[axis] - at_mm) * sign, 0.0)


def _pull_off(fw: Firmware, signs: dict[int, float], way_mm: float, rate_mm_s: float) -> Wait:
    back = {axis: -sign for axis, sign in signs.items()}
    k = sqrt(len(signs))
    a = _acceleration(fw, list(signs))
    cruise = min(max(rate_mm_s, 1e-3) * k, sqrt(a * way_mm * k))
    if way_mm > 0.0:
        yield from _run(fw, list(signs), back, way_mm, 0.0, cruise, 0.0, a)
    closed = fw.inputs.limits(fw.gantry.position_at(fw.now_s))
    if any(closed[axis] for axis in signs) or way_mm <= fw.inputs.release_mm:
        raise HomingFailed(HOMING_STILL_CLOSED)


def _run(
    fw: Firmware,
    axes: list[int],
    signs: dict[int, float],
    way_mm: float,
    entry: float,
    cruise: float,
    exit_: float,
    acceleration: float,
) -> Wait:
    """One straight move of `way_mm` on each of `axes`."""
    start = fw.gantry.controller_at(fw.now_s)
    x, y, z = (p + signs[i] * way_mm if i in axes else p for i, p in enumerate(start))
    ends_s = fw.gantry.run(fw.now_s, Move(start, (x, y, z), entry, cruise, exit_, acceleration, cruise))
    yield from wait_until(fw, ends_s)


# ---- probing --------------------------------------------------------------------------------------------------------
def probe_cycle(fw: Firmware, code: str, target_mm: Point, order: Order) -> Wait:
    """G38.2 to G38.5: towards or away from contact; .2 and .4 raise an alarm when it does not come."""
    if fw.state is State.CHECK:
        fw.position_mm = target_mm
        return
    away, lenient = code in ("G38.4", "G38.5"), code in ("G38.3", "G38.5")
    yield from fw.synchronise()
    fw.probe_found = False

    def changed(at_mm: Point) -> bool:
        return fw.inputs.touches(at_mm) is not away

    if changed(fw.gantry.position_at(fw.now_s)):
        yield from raise_alarm(fw, PROBE_WAS_TOUCHING)
        return
    fw.planner.add(fw.now_s, target_mm, order)
    fw.auto_start()
    while fw.planner.running:
        look_s = min(fw.next_s(), max(fw.planner.begins_s(), fw.now_s + 1e-9))
        run = fw.gantry.run_at(fw.now_s)
        if not fw.probe_found and isinstance(run, Run):
            if changed(fw.gantry.position_at(fw.now_s)):
                fw.probe_found, fw.probe_mm = True, fw.machine_mm()
                fw.suspend.motion_cancel = True
                fw.planner.hold(fw.now_s)
                continue
            touch_s = first_true_s(run, changed)
            if touch_s is not None:
                look_s = min(look_s, max(touch_s, fw.now_s + 1e-9))
        yield look_s
    if not fw.probe_found:
        if lenient:
            fw.probe_mm = fw.machine_mm()
        else:
            yield from raise_alarm(fw, PROBE_MISSED)
    fw.planner.flush()
    fw.say(probe(fw))
    fw.sync_position()
