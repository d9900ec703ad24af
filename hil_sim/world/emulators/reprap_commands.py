"""RepRapFirmware's commands, one function each: they return the reply's text, or are generators that wait first.

Refusals are raised. What a command of another machine mode or an unknown one is told is the board's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from math import sqrt

from hil_sim.world.emulators.reprap_endstops import g28, is_special, m119, sensing_move, with_axis
from hil_sim.world.emulators.reprap_lines import Words
from hil_sim.world.emulators.reprap_machine import (
    AXES,
    CNC,
    ELECTRONICS,
    FFF,
    LASER,
    MARLIN,
    NAME,
    REPRAP,
    Machine,
    Refused,
    Wait,
    look_up,
)
from hil_sim.world.plant.gantry import Point

Handler = Callable[[Machine, Words], "str | Wait"]

_CLOSE_ENOUGH_C = 1.0  # TemperatureCloseEnough


# ---- motion ---------------------------------------------------------------------------------------------------------
def _move(m: Machine, words: Words, *, coordinated: bool) -> Wait:
    """G0 or G1: taken when the ring has room. In laser and CNC mode G0 has a feed rate of its own."""
    if is_special(words):
        speed = _speed(m, words, coordinated=coordinated)
        fraction = m.beam(coordinated=coordinated, s=words.number("S"))
        return (yield from sensing_move(m, words, speed, fraction))
    planner = m.planner
    planner.advance(m.now_s)
    while not planner.free:
        yield planner.changes_s
        planner.advance(m.now_s)
    speed = _speed(m, words, coordinated=coordinated)
    end = m.target(words.values)
    fraction = m.beam(coordinated=coordinated, s=words.number("S"))
    m.position = end
    planner.add(m.now_s, end, speed, sqrt(3) * max(m.max_acceleration_mm_s2), fraction, True, m.line_no)
    m.moves_done += 1
    return ""


def _speed(m: Machine, words: Words, *, coordinated: bool) -> float:
    """By the move's own F or the last one's, mm/s."""
    is_rapid = not coordinated and m.mode != FFF
    feed = words.number("F")
    if feed is not None and feed > 0.0:
        if is_rapid:
            m.rapid_mm_s = feed / 60.0
        else:
            m.feed_mm_s = feed / 60.0
    return (m.rapid_mm_s if is_rapid else m.feed_mm_s) * m.speed_factor


def g0(m: Machine, words: Words) -> Wait:
    """Rapid move: dark."""
    return _move(m, words, coordinated=False)


def g1(m: Machine, words: Words) -> Wait:
    """Straight move with its own S."""
    return _move(m, words, coordinated=True)


def g4(m: Machine, words: Words) -> Wait:
    """Dwell behind the moves: S seconds or P milliseconds."""
    yield from m.synchronise()
    seconds = words.number("S") if words.seen("S") else (words.number("P") or 0.0) / 1000.0
    ends_s = m.now_s + (seconds or 0.0)
    while m.now_s < ends_s:
        yield ends_s
    return ""


def g10(m: Machine, words: Words) -> str:
    """G10 L2 P1..9: where a workplace has its zero, mm in the machine's frame. Other uses (tools) are not emulated."""
    number = words.number("P")
    if words.number("L") != 2.0 or number is None or not 1 <= number <= len(m.workplaces):
        raise Refused("parameters are not supported")  # wording unverified
    place = int(number) - 1
    for i, axis in enumerate(AXES):
        if (value := words.number(axis)) is not None:
            m.workplaces[place] = with_axis(m.workplaces[place], i, value)
    return ""


def g54(m: Machine, words: Words) -> str:
    """G54 to G59.3: the workplace of the moves to come. Nothing is waited for."""
    whole, _, tenth = words.code[1:].partition(".")
    place = int(whole) - 54 + int(tenth or 0)
    if place >= len(m.workplaces):
        raise Refused("Command is not supported", is_warning=True)
    m.workplace = place
    return ""


def g90(m: Machine, words: Words) -> str:
    """Absolute coordinates."""
    m.relative = False
    return ""


def g91(m: Machine, words: Words) -> str:
    """Relative coordinates."""
    m.relative = True
    return ""


def g92(m: Machine, words: Words) -> Wait:
    """The axes stand at these coordinates from now on, and count as homed (the latter unverified)."""
    yield from m.synchronise()
    at = m.position
    for i, axis in enumerate(AXES):
        if words.seen(axis):
            at = with_axis(at, i, (words.number(axis) or 0.0) + m.workplaces[m.workplace][i])
            m.homed[i] = True
    m.gantry.datum(at)
    m.position = m.planner.position = at
    return ""


def m84(m: Machine, words: Words) -> Wait:
    """Motors off at standstill: the axes are not homed any more."""
    yield from m.synchronise()
    named = [i for i, axis in enumerate(AXES) if words.seen(axis)]
    for i in named or ([] if words.seen("S") else [0, 1, 2]):
        m.homed[i] = False
    return ""


def m400(m: Machine, words: Words) -> Wait:
    """Wait for standstill."""
    yield from m.synchronise()
    return ""


def _limits(m: Machine, words: Words, old: Point, factor: float) -> Point:
    x, y, z = ((words.number(axis) or value / factor) * factor for axis, value in zip(AXES, old))
    return x, y, z


def m201(m: Machine, words: Words) -> str:
    """Largest accelerations, mm/s2."""
    if not any(words.seen(axis) for axis in AXES):
        return "Accelerations (mm/sec^2): " + ", ".join(
            f"{axis}: {a:.1f}" for axis, a in zip(AXES, m.max_acceleration_mm_s2)
        ) + ", E: 250.0"  # fmt: skip
    m.max_acceleration_mm_s2 = _limits(m, words, m.max_acceleration_mm_s2, 1.0)
    m.apply_limits()
    return ""


def m203(m: Machine, words: Words) -> str:
    """Largest speeds, mm/min."""
    m.max_speed_mm_s = _limits(m, words, m.max_speed_mm_s, 1.0 / 60.0)
    m.apply_limits()
    return ""


def m220(m: Machine, words: Words) -> str:
    """Speed factor, percent."""
    percent = words.number("S")
    if percent is None:
        return f"Speed factor: {100 * m.speed_factor:.1f}%"
    if percent < 1.0:
        raise Refused("Invalid speed factor")
    m.speed_factor = percent / 100.0
    return ""


def m564(m: Machine, words: Words) -> str:
    """S0: moves beyond the limits are allowed; H0: moves before homing."""
    if words.seen("S"):
        m.limits_axes = (words.number("S") or 0.0) > 0.0
    if words.seen("H"):
        m.moves_before_homing = not (words.number("H") or 0.0) > 0.0
    if words.seen("S") or words.seen("H"):
        return ""
    return (
        f"Movement outside the bed is {'not ' * m.limits_axes}permitted, movement before homing is"
        f" {'not ' * (not m.moves_before_homing)}permitted"
    )


def m566(m: Machine, words: Words) -> str:
    """Largest instantaneous speed changes, mm/min."""
    if not any(words.seen(axis) for axis in AXES):
        return "Maximum jerk rates (mm/min): " + "".join(
            f"{axis}: {60 * jerk:.1f}, " for axis, jerk in zip(AXES, m.planner.jerk_mm_s)
        ) + "E: 120.0"  # fmt: skip
    m.planner.jerk_mm_s = _limits(m, words, m.planner.jerk_mm_s, 1.0 / 60.0)
    return ""


# ---- laser and modes ------------------------------------------------------------------------------------------------
def m3(m: Machine, words: Words) -> str:
    """Laser mode: S of the moves to come, where M452 S1 made it sticky."""
    if m.mode != LASER or words.code != "M3" or words.number("S") is None:
        raise Refused(f"Command is not supported in machine mode {m.mode}")
    m.laser_fraction = min(max((words.number("S") or 0.0) / m.laser_max, 0.0), 1.0)
    return ""


def m5(m: Machine, words: Words) -> str:
    """No power for the moves to come; those planned keep theirs."""
    if m.mode == FFF:
        raise Refused(f"Command is not supported in machine mode {m.mode}")
    m.laser_fraction = 0.0
    return ""


def m450(m: Machine, words: Words) -> str:
    """Which mode."""
    return f"PrinterMode:{m.mode}"


def m451(m: Machine, words: Words) -> Wait:
    """M451 FFF, M452 laser (R largest S, S1 sticky), M453 CNC."""
    yield from m.synchronise()
    m.mode = {"M451": FFF, "M452": LASER, "M453": CNC}[words.code]
    m.laser_fraction = 0.0
    if m.mode == LASER:
        if words.seen("S"):
            m.laser_sticky = words.number("S") == 1.0
        if words.seen("R"):
            m.laser_max = max(1.0, words.number("R") or 0.0)
    return ""


# ---- heat, fan ------------------------------------------------------------------------------------------------------
def m104(m: Machine, words: Words) -> str:
    """Set-point of the tool (M104) or the bed (M140)."""
    heater = m.bed_heater if words.code == "M140" else m.tool_heater
    if words.seen("S"):
        heater.set_target(m.now_s, words.number("S") or 0.0)
    elif words.code == "M140":
        return f"Bed heater 0 (slot 0) is currently at {heater.reading_c(m.now_s):.1f}\u00b0C"
    return ""


def m109(m: Machine, words: Words) -> Wait:
    """Set-point of the tool (M109) or the bed (M190), and wait for it; R waits for cooling too."""
    yield from m.synchronise()
    heater = m.bed_heater if words.code == "M190" else m.tool_heater
    target = words.number("R") if words.seen("R") else words.number("S")
    if target is None:
        return ""
    heater.set_target(m.now_s, target)
    while not _is_there(heater.reading_c(m.now_s), heater.target_c, cooling=words.seen("R")):
        yield min(heater.reached_s(), m.now_s + 1.0)
    return ""


def _is_there(reading_c: float, target_c: float, *, cooling: bool) -> bool:
    return abs(reading_c - target_c) <= _CLOSE_ENOUGH_C or (reading_c > target_c and not cooling)


def m105(m: Machine, words: Words) -> str:
    """Temperatures."""
    return m.temperatures()


def m106(m: Machine, words: Words) -> str:
    """Fan: S 0..1, or 0..255 when above 1; M107 off."""
    s = 0.0 if words.code == "M107" else words.number("S")
    if s is not None:
        m.fan = min(max(s / 255.0 if s > 1.0 else s, 0.0), 1.0)
    return ""


# ---- reports --------------------------------------------------------------------------------------------------------
def m114(m: Machine, words: Words) -> str:
    """Position."""
    return m.coordinates()


def m115(m: Machine, words: Words) -> str:
    """Who am I."""
    return (
        f"FIRMWARE_NAME: {NAME} FIRMWARE_VERSION: {m.build.version} ELECTRONICS: {ELECTRONICS}"
        f" FIRMWARE_DATE: {m.build.date}"
    )


def m117(m: Machine, words: Words) -> str:
    """A message for the display."""
    m.message = words.text[4:].strip()
    return ""


def m118(m: Machine, words: Words) -> str:
    """Say S"text"."""
    if not words.seen("S"):
        raise Refused("missing parameter 'S'")  # wording unverified
    return words.quoted("S")


def m122(m: Machine, words: Words) -> str:
    """Diagnostics, in short."""
    completed = m.moves_done - (m.planner.usable - m.planner.free)
    return (
        f"=== Diagnostics ===\n{NAME} version {m.build.version} running on {ELECTRONICS} (standalone mode)\n"
        f"=== DDARing 0 ===\nScheduled moves {m.moves_done}, completed {completed},"
        f" hiccups 0, stepErrors 0, LaErrors 0, Underruns [0, 0, {m.planner.dry_runs}],"
        f" CDDA state {3 if m.is_moving else -1}"
    )


def m408(m: Machine, words: Words) -> str:
    """Old status report, S0 alone."""
    letter = {"idle": "I", "busy": "B", "halted": "H"}[m.status]
    now, bed, tool = m.now_s, m.bed_heater, m.tool_heater
    return _json(
        {
            "status": letter,
            "heaters": [round(bed.reading_c(now), 1), round(tool.reading_c(now), 1)],
            "active": [bed.target_c, tool.target_c],
            "pos": [round(value, 3) for value in m.position],
            "machine": [round(value, 3) for value in m.gantry.controller_at(now)],
            "sfactor": 100.0 * m.speed_factor,
            "fanPercent": [round(100.0 * m.fan, 1)],
            "homed": [int(homed) for homed in m.homed],
        }
    )


def m409(m: Machine, words: Words) -> str:
    """Object model: K"path"."""
    key = words.quoted("K")
    model = m.model()
    return _json({"key": key, "flags": words.quoted("F"), "result": look_up(model, key) if key else model})


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":")) + "\n"


def m555(m: Machine, words: Words) -> str:
    """Which firmware's manner of answering: P2 Marlin, P0 and P1 its own, without ok."""
    p = words.number("P")
    if p is None:
        return f"Output mode: {m.compatibility}"
    m.compatibility = REPRAP if p in (0.0, 1.0) else MARLIN
    return ""


def nothing(m: Machine, words: Words) -> str:
    """Taken, and without effect here: G21, M17, M82, M83, M108 (the channel that waits hears nothing), M110, M111."""
    return ""


def reporting_commands() -> frozenset[str]:
    """Commands answered although the machine is stopped: they only report."""
    return frozenset(("M105", "M114", "M115", "M122", "M408", "M409", "M450", "M555"))


COMMANDS: dict[str, Handler] = {
    "G0": g0, "G1": g1, "G4": g4, "G10": g10, "G21": nothing, "G28": g28, "G90": g90, "G91": g91, "G92": g92,
    "M3": m3, "M4": m3, "M5": m5, "M17": nothing, "M18": m84, "M82": nothing, "M83": nothing, "M84": m84, "M104": m104,
    "M105": m105, "M106": m106, "M107": m106, "M108": nothing, "M109": m109, "M110": nothing, "M111": nothing,
    "M114": m114, "M115": m115, "M117": m117, "M118": m118, "M119": m119, "M122": m122, "M140": m104, "M190": m109,
    "M201": m201, "M203": m203, "M220": m220, "M400": m400, "M408": m408, "M409": m409, "M450": m450, "M451": m451,
    "M452": m451, "M453": m451, "M555": m555, "M564": m564, "M566": m566,
    **dict.fromkeys(("G54", "G55", "G56", "G57", "G58", "G59", "G59.1", "G59.2", "G59.3"), g54),
}  # fmt: skip
