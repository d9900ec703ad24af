"""G2 and G3: an arc becomes straight segments, each a planner block of its own.

Geometry as in Marlin's `plan_arc` (2.1): the centre by I and J or by R, segments of at most 1 mm and at least 0.1 mm,
72 to a full circle at least; the XY plane alone (CNC_WORKSPACE_PLANES is off in stock), Z along the way as a helix.
"""

from __future__ import annotations

from math import atan2, ceil, cos, floor, hypot, pi, sin, sqrt

from hil_sim.world.emulators.marlin_firmware import DYNAMIC, Firmware
from hil_sim.world.emulators.marlin_moves import Handler, Wait, free_block, take_feed
from hil_sim.world.emulators.marlin_protocol import Words
from hil_sim.world.plant.gantry import Point

MIN_SEGMENT_MM, MAX_SEGMENT_MM = 0.1, 1.0
MIN_CIRCLE_SEGMENTS = 72
_NEAR_MM = 1e-5
_SHORTEST_MM = 1e-4
_LONGEST_SEGMENTS = 65535  # the firmware counts them in 16 bits


def centre_offset(start: Point, end: Point, r_mm: float, *, clockwise: bool) -> tuple[float, float] | None:
    """Centre relative to `start` for a radius (negative: the longer way round), None when there is no arc."""
    half = ((end[0] - start[0]) / 2.0, (end[1] - start[1]) / 2.0)
    length = hypot(*half)
    if r_mm == 0.0 or length == 0.0:
        return None
    side = -1.0 if clockwise != (r_mm < 0.0) else 1.0
    height = sqrt(max(0.0, (r_mm - length) * (r_mm + length)))
    return half[0] - half[1] / length * side * height, half[1] + half[0] / length * side * height


def segments(start: Point, end: Point, offset: tuple[float, float], *, clockwise: bool) -> list[Point]:
    """End points of the segments of an arc about `start + offset`; the last one is `end` itself."""
    radius = hypot(*offset)
    centre = (start[0] + offset[0], start[1] + offset[1])
    a, b = -offset[0], -offset[1]
    c, d = end[0] - centre[0], end[1] - centre[1]
    turn = atan2(a * d - b * c, a * c + b * d)
    if clockwise:
        turn = turn - 2.0 * pi if turn > 0.0 else turn
    elif turn < 0.0:
        turn += 2.0 * pi
    is_closed = abs(end[0] - start[0]) < _NEAR_MM and abs(end[1] - start[1]) < _NEAR_MM
    if abs(turn) < _NEAR_MM and is_closed:
        turn = -2.0 * pi if clockwise else 2.0 * pi
    flat_mm = radius * abs(turn)
    if flat_mm < _SHORTEST_MM and abs(end[2] - start[2]) < _SHORTEST_MM:
        return []
    least = max(1, ceil(MIN_CIRCLE_SEGMENTS * abs(turn) / (2.0 * pi)))
    count = max(floor(flat_mm / MAX_SEGMENT_MM), least)
    if flat_mm / count > MAX_SEGMENT_MM:
        count = ceil(flat_mm / MAX_SEGMENT_MM)
    elif flat_mm / count < MIN_SEGMENT_MM:
        count = max(1, floor(flat_mm / MIN_SEGMENT_MM))
    count = min(count, _LONGEST_SEGMENTS)
    points: list[Point] = []
    for i in range(1, count):
        angle = turn * i / count
        points.append(
            (
                centre[0] + a * cos(angle) - b * sin(angle),
                centre[1] + a * sin(angle) + b * cos(angle),
                start[2] + (end[2] - start[2]) * i / count,
            )
        )
    return [*points, end]


def _arc(fw: Firmware, words: Words, *, clockwise: bool) -> Wait:
    take_feed(fw, words)
    start = fw.position
    end = fw.destination(words.number("X"), words.number("Y"), words.number("Z"))
    radius = words.number("R")
    offset = (
        (words.number("I", 0.0) or 0.0, words.number("J", 0.0) or 0.0)
        if radius is None
        else centre_offset(start, end, radius, clockwise=clockwise)
    )
    fraction = fw.beam_fraction(rapid=False, s=words.number("S"))
    if offset is None or offset == (0.0, 0.0):
        fw.say("Error:G2/G3 bad parameters")
        return
    for point in segments(start, end, offset, clockwise=clockwise):
        yield from free_block(fw)
        fw.position = fw.clamped(point)
        fw.planner.add(
            fw.now_s,
            fw.position,
            fw.feed_mm_s * fw.feed_percent / 100.0,
            fw.settings.acceleration_mm_s2,
            fraction,
            fw.cutter == DYNAMIC,
            fw.line_no,
        )


def g2(fw: Firmware, words: Words) -> Wait:
    """Clockwise arc."""
    return _arc(fw, words, clockwise=True)


def g3(fw: Firmware, words: Words) -> Wait:
    """Counter-clockwise arc."""
    return _arc(fw, words, clockwise=False)


COMMANDS: dict[str, Handler] = {"G2": g2, "G3": g3}
