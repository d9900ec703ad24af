"""Marlin's commands of motion: coordinates, homing, dwelling, extruding. One function each, on the state of
`marlin_firmware.Firmware`.

A function that must wait is a generator: it yields the time (s) at which to look again; it may be woken earlier, so
every wait is a loop around its condition. When it ends, the serial side sends `ok`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from math import sqrt

from hil_sim.world.emulators.marlin_firmware import AXES, Firmware
from hil_sim.world.emulators.marlin_protocol import Words, parse
from hil_sim.world.plant.gantry import Move, Point

Wait = Generator[float, None, None]
Handler = Callable[[Firmware, Words], Wait | None]

_E_SPEED_MM_S = 25.0  # of the extruder; stock DEFAULT_MAX_FEEDRATE
_E_LONGEST_MM = 200.0  # EXTRUDE_MAXLENGTH
_RETRACT_MM, _RETRACT_SPEED_MM_S = 3.0, 45.0  # stock RETRACT_LENGTH and RETRACT_FEEDRATE, unverified


# ---- waiting --------------------------------------------------------------------------------------------------------
def synchronise(fw: Firmware) -> Wait:
    """Wait until every planned move has ended."""
    planner = fw.planner
    planner.advance(fw.now_s)
    while (until := planner.next_change_s()) is not None:
        yield until
        planner.advance(fw.now_s)


SWITCH_MM = 0.005  # a switch that closed at a place is closed there again within this


def wait_until(fw: Firmware, t_s: float) -> Wait:
    """Wait for a time."""
    while fw.now_s < t_s:
        yield t_s


def free_block(fw: Firmware) -> Wait:
    """Wait until the planner has room for a block."""
    planner = fw.planner
    planner.advance(fw.now_s)
    while not planner.free:
        yield planner.changes_s
        planner.advance(fw.now_s)


def travel(fw: Firmware, native_mm: Point, speed_mm_s: float) -> Wait:
    """Go to a native position, beam off, as a blocking internal move does: before and after it nothing is planned."""
    yield from synchronise(fw)
    fw.position = native_mm
    fw.planner.add(fw.now_s, native_mm, speed_mm_s, fw.settings.acceleration_mm_s2, 0.0, False, None)
    yield from synchronise(fw)


# ---- moves ----------------------------------------------------------------------------------------------------------
def linear_words(number: bytes | None, words: Words) -> tuple[bytes | None, ...]:
    """A G0/G1 in any writing, as the quick road would have read it."""

    def word(letter: str) -> bytes | None:
        value = words.number(letter)
        return None if value is None else repr(value).encode()

    rapid = b"0" if words.code == "G0" else b"1"
    return (number, rapid, word("X"), word("Y"), word("Z"), word("F"), word("S"), None)


def take_feed(fw: Firmware, words: Words) -> None:
    """F, mm/min, when it is above 0."""
    feed = words.number("F", 0.0) or 0.0
    if feed > 0.0:
        fw.feed_mm_s = feed / 60.0


def extruding_move(fw: Firmware, words: Words) -> Wait | None:
    """The E of a G0/G1. None: what is left is a plain move (E rides along with it, or was refused).

    A move of E alone is done by itself behind the moves before it; the real planner would queue it, which on a gantry
    without an extruder's plant shows nowhere but in the time of its ok.
    """
    e = words.number("E")
    if e is None or not fw.build.extruders:
        return None
    target_mm = fw.e_mm + e if fw.e_relative else e
    way_mm = abs(target_mm - fw.e_mm) * fw.flow_percent / 100.0
    fw.e_mm = target_mm  # as if it had taken place, whatever follows
    if way_mm == 0.0 or fw.debug_flags & 8:
        return None
    if fw.hotend.reading_c(fw.now_s) < fw.extrude_min_c:
        fw.say("echo: cold extrusion prevented")
        return None
    if way_mm > _E_LONGEST_MM:
        fw.say("echo: too long extrusion prevented")
        return None
    if any(words.seen(axis) for axis in AXES):
        return None
    take_feed(fw, words)
    return extrude(fw, way_mm, fw.feed_mm_s)


def watched_move(fw: Firmware, words: Words) -> Wait:
    """A G0/G1 under M120: it ends where an end switch closes, and what is left of it is lost; the firmware goes on
    counting as if it had been made (unverified; the wording of its line too)."""
    yield from synchronise(fw)
    take_feed(fw, words)
    fw.beam_fraction(rapid=words.code == "G0", s=words.number("S"))
    gantry, now_s = fw.gantry, fw.now_s
    x, y, z = (words.number(axis) for axis in AXES)
    target = fw.clamped(fw.destination(x, y, z))
    here, counted = gantry.position_at(now_s), gantry.controller_at(now_s)
    share, struck = 1.0, ""
    for i, axis in enumerate(AXES):
        way_mm = target[i] - counted[i]
        to_switch_mm = gantry.switch_mm[i] - here[i]
        if way_mm < 0.0 and target[i] != fw.position[i] and way_mm < to_switch_mm - SWITCH_MM:
            struck += f" {axis}:{counted[i] + to_switch_mm:.2f}"
            share = min(share, max(to_switch_mm / way_mm, 0.0))
    end: Point = (
        counted[0] + share * (target[0] - counted[0]),
        counted[1] + share * (target[1] - counted[1]),
        counted[2] + share * (target[2] - counted[2]),
    )
    if share == 1.0:
        end = target
    if end != fw.position:
        yield from travel(fw, end, fw.feed_mm_s * fw.feed_percent / 100.0)
    if struck:
        fw.say(f"echo:endstops hit: {struck}")
        gantry.datum(target)
        fw.position = fw.planner.position = target


def extrude(fw: Firmware, way_mm: float, speed_mm_s: float) -> Wait:
    """Move E alone, in or out."""
    yield from synchronise(fw)
    yield from wait_until(fw, fw.now_s + way_mm / min(speed_mm_s, _E_SPEED_MM_S))


def g4(fw: Firmware, words: Words) -> Wait:
    """Dwell after the moves before it: P milliseconds or S seconds."""
    dwell_s = (words.number("P", 0.0) or 0.0) / 1000.0
    if words.seen("S"):
        dwell_s = words.number("S", 0.0) or 0.0
    yield from synchronise(fw)
    yield from wait_until(fw, fw.now_s + dwell_s)


def g10(fw: Firmware, words: Words) -> Wait | None:
    """Retract by the compiled-in length, once."""
    return _retract(fw, retract=True)


def g11(fw: Firmware, words: Words) -> Wait | None:
    """Recover what G10 retracted."""
    return _retract(fw, retract=False)


def _retract(fw: Firmware, *, retract: bool) -> Wait | None:
    if fw.retracted == retract:
        return None
    fw.retracted = retract
    if fw.hotend.reading_c(fw.now_s) < fw.extrude_min_c:
        fw.say("echo: cold extrusion prevented")
        return None
    return extrude(fw, _RETRACT_MM, _RETRACT_SPEED_MM_S)


def g28(fw: Firmware, words: Words) -> Wait:
    """Home the named axes (all when none is named): fast to the switch, back off, slowly to the switch; beam off."""
    yield from synchronise(fw)
    build, gantry = fw.build, fw.gantry
    named = [i for i, axis in enumerate(AXES) if words.seen(axis)] or [0, 1, 2]
    for i in named:
        speed, bump = build.homing_speed_mm_s[i], build.homing_bump_mm[i]
        legs = [(gantry.switch_mm[i] - gantry.position_at(fw.now_s)[i], speed), (bump, speed), (-bump, speed / 2)]
        for way_mm, speed_mm_s in legs:
            if way_mm == 0.0:
                continue
            start = gantry.controller_at(fw.now_s)
            end = (
                start[0] + way_mm * (i == 0),
                start[1] + way_mm * (i == 1),
                start[2] + way_mm * (i == 2),
            )
            a = fw.settings.acceleration_mm_s2
            cruise = min(speed_mm_s, sqrt(a * abs(way_mm)))
            ends_s = gantry.run(fw.now_s, Move(start, end, 0.0, cruise, 0.0, a, speed_mm_s))
            yield from wait_until(fw, ends_s)
        here = list(gantry.controller_at(fw.now_s))
        here[i] = 0.0
        gantry.datum((here[0], here[1], here[2]))
        fw.position = fw.planner.position = (here[0], here[1], here[2])
        fw.set_homed(i)
    fw.say(fw.position_report())


# ---- coordinates ----------------------------------------------------------------------------------------------------
def g21(fw: Firmware, words: Words) -> None:
    """Millimetres: the only unit of this build."""


def g53(fw: Firmware, words: Words) -> Wait | None:
    """Back to native coordinates; with a move behind it on the line, for that move alone."""
    before = fw.workspace
    fw.select_workspace(-1)
    chained = parse(words.tail.encode("latin-1"))
    if chained.code not in ("G0", "G1"):
        return None
    return _move_and_return(fw, chained, before)


def _move_and_return(fw: Firmware, words: Words, workspace: int) -> Wait:
    yield from free_block(fw)
    take_feed(fw, words)
    x, y, z, s = (words.number(letter) for letter in "XYZS")
    fw.move(words.code == "G0", x, y, z, s, fw.line_no)
    fw.select_workspace(workspace)


def g54(fw: Firmware, words: Words) -> None:
    """G54 to G59, G59.1 to G59.3: another workspace, whose offset G92 sets."""
    whole, _, part = words.code[1:].partition(".")
    if fw.select_workspace(int(whole) - 54 + int(part or 0)):
        fw.say(f"Select workspace {fw.workspace}")
        fw.say(fw.position_report())


def g90(fw: Firmware, words: Words) -> None:
    """Absolute coordinates, E with them."""
    fw.relative = fw.e_relative = False


def g91(fw: Firmware, words: Words) -> None:
    """Relative coordinates, E with them."""
    fw.relative = fw.e_relative = True


def g92(fw: Firmware, words: Words) -> None:
    """Call the present position by other numbers; without axis words, all become 0 (as in Marlin)."""
    named = [axis for axis in AXES if words.seen(axis)]
    for i, axis in enumerate(AXES):
        if axis in named or (not named and not words.values):
            fw.shift[i] = (words.number(axis, 0.0) or 0.0) - fw.position[i]
    if words.seen("E") or not words.values:
        fw.e_mm = words.number("E", 0.0) or 0.0
    if fw.workspace >= 0:
        fw.workspaces[fw.workspace] = list(fw.shift)


def m82(fw: Firmware, words: Words) -> None:
    """Absolute E."""
    fw.e_relative = False


def m83(fw: Firmware, words: Words) -> None:
    """Relative E, until the next G90."""
    fw.e_relative = True


# ---- motors, reports, factors ---------------------------------------------------------------------------------------
def m17(fw: Firmware, words: Words) -> None:
    """Motors on: they are."""


def m18(fw: Firmware, words: Words) -> Wait:
    """Motors off after the moves (M18, M84). Stock firmware goes on believing its position, and so does this one."""
    yield from synchronise(fw)


def m114(fw: Firmware, words: Words) -> None:
    """Position: the planned one, before motion has ended."""
    fw.say(fw.position_report())


def m119(fw: Firmware, words: Words) -> None:
    """End switches as they are now."""
    fw.say("Reporting endstop status")
    gantry = fw.gantry
    for axis, at_mm, switch_mm in zip("xyz", gantry.position_at(fw.now_s), gantry.switch_mm):
        fw.say(f"{axis}_min: {'TRIGGERED' if at_mm <= switch_mm + SWITCH_MM else 'open'}")


def m120(fw: Firmware, words: Words) -> None:
    """From now on every move ends at an end switch."""
    fw.switches_watched = True


def m121(fw: Firmware, words: Words) -> None:
    """From now on only homing looks at the end switches."""
    fw.switches_watched = False


def m211(fw: Firmware, words: Words) -> None:
    """Soft end stops: on, off, and told of."""
    if words.seen("S"):
        fw.soft_stops = bool(words.number("S", 1.0))
    x, y, z = fw.build.size_mm
    state = "On" if fw.soft_stops else "Off"
    fw.say(f"echo:Soft endstops: {state}  Min:  X0.00 Y0.00 Z0.00   Max:  X{x:.2f} Y{y:.2f} Z{z:.2f}")


def m220(fw: Firmware, words: Words) -> None:
    """Feed-rate percentage."""
    percent = words.number("S")
    if percent is not None:
        fw.feed_percent = min(max(percent, 10.0), 999.0)
    elif not words.values:
        fw.say(f"FR:{fw.feed_percent:.0f}%")


def m221(fw: Firmware, words: Words) -> None:
    """Flow percentage."""
    percent = words.number("S")
    if percent is None:
        fw.say(f"echo:E0 Flow: {fw.flow_percent:.0f}%")
    else:
        fw.flow_percent = percent


def m302(fw: Firmware, words: Words) -> None:
    """Coldest extrusion: S degC, or P1 to allow any. Text of the report unverified."""
    if words.seen("S"):
        fw.extrude_min_c = words.number("S", 0.0) or 0.0
    elif words.seen("P"):
        fw.extrude_min_c = 0.0 if words.number("P") else fw.build.extrude_min_c
    else:
        state = "dis" if fw.extrude_min_c > 0.0 else "en"
        fw.say(f"echo:Cold extrudes are {state}abled (min temp {fw.extrude_min_c:.0f}C)")


def m400(fw: Firmware, words: Words) -> Wait:
    """Wait for the moves."""
    return synchronise(fw)


def m410(fw: Firmware, words: Words) -> Wait:
    """Quick stop, then a second in which no move is taken (with EMERGENCY_PARSER it happened when its bytes came
    in).
    """
    if not fw.build.emergency_parser:
        fw.quick_stop(beam_stays=True)
        yield from wait_until(fw, fw.now_s + 1.0)


COMMANDS: dict[str, Handler] = {
    "G4": g4, "G10": g10, "G11": g11, "G21": g21, "G28": g28, "G53": g53, "G54": g54, "G55": g54, "G56": g54,
    "G57": g54, "G58": g54, "G59": g54, "G59.0": g54, "G59.1": g54, "G59.2": g54, "G59.3": g54, "G90": g90, "G91": g91,
    "G92": g92, "M17": m17, "M18": m18, "M82": m82, "M83": m83, "M84": m18, "M114": m114, "M119": m119, "M120": m120,
    "M121": m121, "M211": m211, "M220": m220,
    "M221": m221, "M302": m302, "M400": m400, "M410": m410,
}  # fmt: skip
