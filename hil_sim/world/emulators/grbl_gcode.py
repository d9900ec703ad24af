"""Executing a checked block of G-code on a Grbl board, in the firmware's order.

Facts: Grbl `gcode.c`, `motion_control.c`, `laser_mode.md` (page hosts 1b). A function that must wait is a generator: it
yields the time (s) at which to look again; it may be woken earlier, so every wait is a loop around its condition. The
line's answer is given when it ends; GrblError is the other answer.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from math import atan2, ceil, cos, floor, pi, sin, sqrt

from hil_sim.world.emulators.grbl_block import CUTTING, G0, G1, G2, PROBES, Block, check, plane_axes
from hil_sim.world.emulators.grbl_cycles import probe_cycle
from hil_sim.world.emulators.grbl_firmware import Firmware, Wait, raise_alarm
from hil_sim.world.emulators.grbl_planner import Order
from hil_sim.world.emulators.grbl_settings import GrblError, Point
from hil_sim.world.emulators.grbl_spindle import CONSTANT, OFF
from hil_sim.world.emulators.grbl_states import Event, State
from hil_sim.world.emulators.grbl_words import read_words

TRAVEL_EXCEEDED = 15
_DWELL_STEP_S = 0.05
_FULL_CIRCLE_RAD = 5e-7  # an arc that turns by less is a whole turn
_MOST_ARC_SEGMENTS = 65535  # the firmware counts them in 16 bits


def execute(fw: Firmware, text: str) -> Wait:
    """One line of G-code, its text without blanks and comments."""
    block = check(read_words(text, mist=fw.build.mist_coolant), fw.modes, fw.frame(), fw.feed, fw.speed)
    order = yield from _prepare(fw, block)
    if block.non_modal == "G4":
        yield from dwell(fw, block.dwell_s)
    fw.modes = replace(fw.modes, plane=block.modes.plane, inches=block.modes.inches)
    yield from _offsets(fw, block)
    fw.modes = replace(fw.modes, relative=block.modes.relative)
    yield from _non_modal(fw, block, order)
    fw.modes = replace(fw.modes, motion=block.modes.motion)
    yield from _motion(fw, block, order)
    if block.flow is not None:
        yield from _flow(fw, block.flow)


def jog(fw: Firmware, text: str) -> Wait:
    """`$J=`: a G1 that leaves the modal state alone, in Idle or on top of other jogs."""
    words = read_words(text, mist=fw.build.mist_coolant)
    block = check(words, fw.modes, fw.frame(), 0.0, fw.speed, jog=True)
    if fw.settings.flag(20) and fw.out_of_travel(block.target_mm):
        raise GrblError(TRAVEL_EXCEEDED)
    mode = fw.modes.spindle
    order = Order(
        feed=block.feed / 60.0, overridable=False, mode=mode, speed=0.0 if mode == OFF else fw.speed,
        dynamic=fw.is_dynamic(mode), line_no=block.line_no,
    )  # fmt: skip
    yield from line(fw, block.target_mm, order, soft_limits=False)
    if fw.state is State.IDLE and fw.planner.queued:
        fw.event(Event.JOG_START)
        fw.planner.start(fw.now_s)
    fw.position_mm = block.target_mm


def dwell(fw: Firmware, seconds: float) -> Wait:
    """G4, after the moves before it; a hold stops the clock."""
    if fw.state is State.CHECK:
        return
    yield from fw.synchronise()
    begin_s, held_s = fw.now_s, fw.suspended_s
    steps = ceil(seconds / _DWELL_STEP_S - 1e-9)
    while fw.now_s < (until_s := begin_s + steps * _DWELL_STEP_S + fw.suspended_s - held_s):
        yield until_s


def line(fw: Firmware, target_mm: Point, order: Order, *, soft_limits: bool = True) -> Wait:
    """Plan a straight move; waits for a free block. A target beyond the soft limits stops everything (ALARM:2)."""
    if soft_limits and fw.settings.flag(20) and fw.out_of_travel(target_mm):
        yield from _soft_limit(fw)
    if fw.state is State.CHECK:
        return
    while not fw.planner.free:
        fw.auto_start()
        yield fw.next_s()
    if not fw.planner.add(fw.now_s, target_mm, order) and fw.laser and order.mode == CONSTANT:
        yield from spindle_sync(fw, CONSTANT, order.speed)


def spindle_sync(fw: Firmware, mode: int, speed: float) -> Wait:
    """Set the spindle once everything before it has moved."""
    if fw.state is State.CHECK:
        return
    yield from fw.synchronise()
    fw.spindle.put(fw.now_s, mode, speed, fw.settings)
    fw.overrides_in = 0


def _soft_limit(fw: Firmware) -> Wait:
    """Come to a controlled stop, then an alarm that only a reset ends. The position is kept."""
    if fw.state is State.RUN:
        fw.suspend.soft_limit = True
        fw.event(Event.FEED_HOLD)
        fw.planner.hold(fw.now_s)
        while fw.planner.running:
            yield fw.next_s()
    fw.planner.kill(fw.now_s)
    fw.kill_outputs()
    yield from raise_alarm(fw, 2)


def _prepare(fw: Firmware, block: Block) -> Generator[float, None, Order]:
    """Feed, spindle and coolant of a block; returns what its motion will ask of the planner."""
    new, laser = block.modes, fw.laser
    dark = laser and new.motion not in CUTTING  # rapids and probing never light the laser
    moves = laser and block.motion is not None and block.has_axis_words
    force = False
    if laser and not moves and fw.modes.spindle == CONSTANT:
        force = (fw.modes.motion in CUTTING) == dark  # the laser's right to be lit changes without a motion
    fw.modes = replace(fw.modes, inverse_time=new.inverse_time)
    fw.feed = block.feed
    if fw.speed != block.speed or force:
        if fw.modes.spindle != OFF and not moves:
            yield from spindle_sync(fw, fw.modes.spindle, 0.0 if dark else block.speed)
        fw.speed = block.speed
    speed = 0.0 if dark else fw.speed
    fw.tool = block.tool
    if fw.modes.spindle != new.spindle:
        yield from spindle_sync(fw, new.spindle, speed)
        fw.modes = replace(fw.modes, spindle=new.spindle)
    if (fw.modes.mist, fw.modes.flood) != (new.mist, new.flood):
        if fw.state is not State.CHECK:
            yield from fw.synchronise()
            fw.mist, fw.flood = new.mist, new.flood
            fw.overrides_in = 0
        fw.modes = replace(fw.modes, mist=new.mist, flood=new.flood)
    mode = new.spindle
    return Order(
        feed=block.feed / 60.0,
        inverse_time=new.inverse_time,
        mode=mode,
        speed=0.0 if mode == OFF else speed,
        dynamic=fw.is_dynamic(mode),
        line_no=block.line_no,
    )


def _offsets(fw: Firmware, block: Block) -> Wait:
    """Tool length and coordinate system."""
    if block.tool_length_mm is not None and block.tool_length_mm != fw.tool_mm:
        fw.tool_mm = block.tool_length_mm
        yield from _wco_changed(fw)
    if block.modes.system != fw.modes.system:
        fw.modes = replace(fw.modes, system=block.modes.system)
        fw.system_mm = block.system_mm
        yield from _wco_changed(fw)


def _wco_changed(fw: Firmware) -> Wait:
    """The next report shows the new offset; the moves before it are awaited, so that it is true of what moves."""
    yield from fw.synchronise()
    fw.wco_in = 0


def _non_modal(fw: Firmware, block: Block, order: Order) -> Wait:
    command = block.non_modal
    if command == "G10":
        name = f"G{54 + block.system_index}"
        yield from fw.synchronise()
        yield from fw.write(fw.eeprom.store_coordinates(name, block.action_mm))
        if block.system_index == fw.modes.system:
            fw.system_mm = block.action_mm
            yield from _wco_changed(fw)
    elif command in ("G28", "G30"):
        rapid = replace(order, rapid=True)
        if block.has_axis_words:
            yield from line(fw, block.target_mm, rapid)
        yield from line(fw, block.action_mm, rapid)
        fw.position_mm = block.action_mm
    elif command in ("G28.1", "G30.1"):
        yield from fw.synchronise()
        yield from fw.write(fw.eeprom.store_coordinates(command[:3], fw.position_mm))
    elif command in ("G92", "G92.1"):
        fw.g92_mm = block.action_mm if command == "G92" else (0.0, 0.0, 0.0)
        yield from _wco_changed(fw)


def _motion(fw: Firmware, block: Block, order: Order) -> Wait:
    if block.motion is None:
        return
    if block.motion == G0:
        yield from line(fw, block.target_mm, replace(order, rapid=True))
    elif block.motion == G1:
        yield from line(fw, block.target_mm, order)
    elif block.motion in PROBES:
        yield from probe_cycle(fw, block.motion, block.target_mm, replace(order, overridable=False))
        return
    else:
        yield from _arc(fw, block, order)
    fw.position_mm = block.target_mm


def _arc(fw: Firmware, block: Block, order: Order) -> Wait:
    """G2 and G3 as chords that stay within the arc tolerance ($12)."""
    a, b, across = plane_axes(block.modes.plane)
    start, end, (i, j) = fw.position_mm, block.target_mm, block.centre_mm
    centre_a, centre_b = start[a] + i, start[b] + j
    from_a, from_b, to_a, to_b = -i, -j, end[a] - centre_a, end[b] - centre_b
    turn = atan2(from_a * to_b - from_b * to_a, from_a * to_a + from_b * to_b)
    if block.motion == G2:
        if turn >= -_FULL_CIRCLE_RAD:
            turn -= 2.0 * pi
    elif turn <= _FULL_CIRCLE_RAD:
        turn += 2.0 * pi
    tolerance = fw.settings[12]
    chord = sqrt(max(tolerance * (2.0 * block.radius_mm - tolerance), 0.0))
    segments = min(floor(abs(0.5 * turn * block.radius_mm) / chord), _MOST_ARC_SEGMENTS) if chord else 0
    if segments and order.inverse_time:
        order = replace(order, feed=order.feed * segments)
    for n in range(1, segments):
        angle, share = turn * n / segments, n / segments
        point = [0.0, 0.0, 0.0]
        point[a] = centre_a + from_a * cos(angle) - from_b * sin(angle)
        point[b] = centre_b + from_a * sin(angle) + from_b * cos(angle)
        point[across] = start[across] + (end[across] - start[across]) * share
        yield from line(fw, (point[0], point[1], point[2]), order)
    yield from line(fw, end, order)


def _flow(fw: Firmware, flow: int) -> Wait:
    """M0 pauses until a cycle start; M2 and M30 end the program and put most modes back."""
    yield from fw.synchronise()
    if flow == 0:
        if fw.state is State.IDLE:
            fw.event(Event.FEED_HOLD)
            fw.suspend_at_rest()
            yield fw.now_s
        return
    fw.modes = replace(
        fw.modes, motion=G1, plane=17, relative=False, inverse_time=False, system=0, spindle=OFF, mist=False,
        flood=False,
    )  # fmt: skip
    fw.planner.set_overrides(fw.now_s, 100, 100)
    fw.spindle.percent = 100
    if fw.state is not State.CHECK:
        fw.system_mm = fw.eeprom.coordinates["G54"]
        fw.wco_in = fw.overrides_in = 0
        fw.kill_outputs()
    fw.say("[MSG:Pgm End]")
