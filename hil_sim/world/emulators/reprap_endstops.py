"""RepRapFirmware's end switches: homing, moves that stop at them, their report. Each axis has one at its low end.

Source: Duet3D `EndstopsManager.cpp` (`GetM119report`), `SwitchEndstop.cpp`, `GCodes.cpp` (`DoStraightMove`), 3.4 and
later; the G-code dictionary on G1 H and M119. Unverified: the course of a move of several axes of which one has
stopped (here from rest to rest in between; what is said is only that the others go on), and that a switch is still
closed where its axis has stopped dead.
"""

from __future__ import annotations

from math import sqrt

from hil_sim.world.emulators.reprap_lines import Words
from hil_sim.world.emulators.reprap_machine import AXES, Machine, Refused, Wait
from hil_sim.world.plant.gantry import Move, Point

SWITCH_MM = 0.005  # a switch that closed at a place is closed there again within this
_HOME_BUMP_MM = 5.0
_SENSING = 4  # of H: stop at the switches and count on from there
_MOVE_TYPES = 5
_ROUNDING_MM = 1e-6


def is_special(words: Words) -> bool:
    """Whether a G0 or G1 is one of the moves that H names, which know neither limits nor workplaces.

    H1 (homing), H2 (one motor) and H3 (measuring) are not emulated, and refused here.
    """
    kind = words.number("H") or 0.0
    if kind >= _MOVE_TYPES:
        raise Refused("parameter 'H' too high")
    if kind not in (0.0, _SENSING):
        raise Refused(f"H{kind:g} is not emulated")
    return kind != 0.0


def sensing_move(m: Machine, words: Words, speed_mm_s: float, fraction: float) -> Wait:
    """G1 H4: behind all other moves; an axis whose switch closes, or is closed, stops where it is and is counted there,
    and the others go on. Places are the machine's, whatever the workplace; limits and homing are not asked for. It is
    done when it stands."""
    yield from m.synchronise()
    gantry = m.gantry
    at = _counted(m, words)
    ends = list(at)
    for i, axis in enumerate(AXES):
        if (value := words.number(axis)) is not None:
            ends[i] = m.position[i] + value if m.relative else value
    watched = [i for i, axis in enumerate(AXES) if words.number(axis) is not None]
    while True:
        share = 1.0
        here = gantry.position_at(m.now_s)
        for i in watched:
            to_switch_mm = gantry.switch_mm[i] - here[i]
            if to_switch_mm >= -SWITCH_MM:
                ends[i] = at[i]
            elif ends[i] - at[i] < to_switch_mm:
                share = min(share, to_switch_mm / (ends[i] - at[i]))
        if ends == at:
            return ""
        start = _point(at)
        at = list(ends) if share == 1.0 else [a + share * (b - a) for a, b in zip(at, ends)]
        done_s = gantry.run(m.now_s, _straight(m, start, _point(at), speed_mm_s, fraction))
        m.position = m.planner.position = _point(at)
        m.moves_done += 1
        while m.now_s < done_s:
            yield done_s


def _straight(m: Machine, start: Point, end: Point, speed_mm_s: float, fraction: float) -> Move:
    """From rest to rest, within what each axis may do."""
    ways_mm = [abs(b - a) for a, b in zip(start, end)]
    length_mm = sqrt(sum(way_mm * way_mm for way_mm in ways_mm))
    shares = [way_mm / length_mm for way_mm in ways_mm]
    speeds = [limit / share for limit, share in zip(m.max_speed_mm_s, shares) if share]
    a = min(limit / share for limit, share in zip(m.max_acceleration_mm_s2, shares) if share)
    cruise = min(speed_mm_s, *speeds, sqrt(a * length_mm))
    return Move(start, end, 0.0, cruise, 0.0, a, cruise, fraction, True, m.line_no)


def _counted(m: Machine, words: Words) -> list[float]:
    """Where the axes are counted. Of one that moves this is the plant's word, which knows at once of steps that were
    lost, though the plant itself moves only with the next move."""
    return [
        at if words.number(axis) is None or abs(at - truly) < _ROUNDING_MM else truly
        for axis, at, truly in zip(AXES, m.position, m.gantry.controller_at(m.now_s))
    ]


def _point(at: list[float]) -> Point:
    return (at[0], at[1], at[2])


def g28(m: Machine, words: Words) -> Wait:
    """Home the named axes (all when none is), as usual homing macros do: fast to the switch, back, slowly to it."""
    yield from m.synchronise()
    gantry = m.gantry
    for i in [i for i, axis in enumerate(AXES) if words.seen(axis)] or [0, 1, 2]:
        speed = m.build.homing_speed_mm_s[i]
        for way_mm, speed_mm_s in (
            (gantry.switch_mm[i] - gantry.position_at(m.now_s)[i], speed),
            (_HOME_BUMP_MM, speed),
            (-_HOME_BUMP_MM, speed / 5),
        ):
            if way_mm == 0.0:
                continue
            start = gantry.controller_at(m.now_s)
            end = with_axis(start, i, start[i] + way_mm)
            a = m.max_acceleration_mm_s2[i]
            cruise = min(speed_mm_s, sqrt(a * abs(way_mm)))
            ends_s = gantry.run(m.now_s, Move(start, end, 0.0, cruise, 0.0, a, speed_mm_s))
            while m.now_s < ends_s:
                yield ends_s
        here = with_axis(gantry.controller_at(m.now_s), i, 0.0)
        gantry.datum(here)
        m.position = m.planner.position = here
        m.homed[i] = True
    return ""


def with_axis(point: Point, i: int, value: float) -> Point:
    """The point with another value for one axis."""
    at = list(point)
    at[i] = value
    return _point(at)


def m119(m: Machine, words: Words) -> str:
    """The end switches as they are now; there is no Z probe."""
    here = m.gantry.position_at(m.now_s)
    states = [
        f"{axis}: {'at min stop' if at_mm <= switch_mm + SWITCH_MM else 'not stopped'}"
        for axis, at_mm, switch_mm in zip(AXES, here, m.gantry.switch_mm)
    ]
    return f"Endstops - {', '.join(states)}, Z probe: not stopped"
