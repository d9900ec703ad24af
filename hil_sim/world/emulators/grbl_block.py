"""A block of G-code checked against the modal state: what it will do, or which error it is.

Facts from Grbl's `gcode.c` and error list (page hosts 1b). Nothing is executed here and no state is changed: a block
that is refused leaves no trace, as on the board. Lengths in mm, feed in mm/min, in machine coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from hil_sim.world.emulators.grbl_settings import GrblError, Point
from hil_sim.world.emulators.grbl_words import NO_FEED, UNSUPPORTED, AxisUse, Group, Words

NO_AXIS_WORDS, BAD_LINE_NUMBER, VALUE_MISSING, NO_SUCH_SYSTEM, G53_NEEDS_LINE = 26, 27, 28, 29, 30
AXIS_WORDS_UNUSED, NONE_IN_PLANE, BAD_TARGET, BAD_RADIUS, NO_OFFSETS, UNUSED_WORDS, WRONG_TOOL_AXIS = range(31, 38)
BAD_JOG = 16

MM_PER_INCH = 25.4
LARGEST_LINE_NUMBER = 10_000_000
AXES = "XYZ"
G0, G1, G2, G3, G80 = "G0", "G1", "G2", "G3", "G80"
PROBES = ("G38.2", "G38.3", "G38.4", "G38.5")
CUTTING = (G1, G2, G3)
_PLANES = {17: (0, 1, 2), 18: (2, 0, 1), 19: (1, 2, 0)}  # two axes of the plane, and the one across it


@dataclass(frozen=True, slots=True)
class Modes:
    """The modal state that a block can change."""

    motion: str = G0
    plane: int = 17
    inches: bool = False
    relative: bool = False
    inverse_time: bool = False
    system: int = 0  # 0 is G54
    spindle: int = 5  # the M word: 3, 4 or 5
    mist: bool = False
    flood: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """What the parser must know of positions, mm: its own, the offsets, and what the EEPROM holds."""

    position_mm: Point
    system_mm: Point  # of the active G54 to G59
    g92_mm: Point
    tool_mm: float
    stored_mm: Mapping[str, Point]


@dataclass(frozen=True, slots=True)
class Block:
    """A block that passed every check. `target_mm` is where its axis words lead, in machine coordinates."""

    modes: Modes
    motion: str | None  # the motion to make; None: none
    target_mm: Point
    feed: float  # mm/min, or 1/min in inverse time
    speed: float  # S
    line_no: int
    tool: int
    non_modal: str | None
    action_mm: Point  # what G10, G28, G30 and G92 need: an offset, or a position to go to
    system_index: int  # of G10
    dwell_s: float
    tool_length_mm: float | None
    flow: int | None  # M0, M2 or M30
    centre_mm: tuple[float, float]  # of an arc, from its start, in its plane
    radius_mm: float
    has_axis_words: bool
    system_mm: Point  # of the system that this block selects


def check(words: Words, modes: Modes, frame: Frame, feed: float, speed: float, *, jog: bool = False) -> Block:
    """The block that `words` make under `modes`. `feed` and `speed`: the F and S in force.

    Raises:
        GrblError: 16, 20, 22 and 26 to 37 as Grbl's error list says.
    """
    values = dict(words.values)
    new = _new_modes(words, modes, jog)
    axis_words = [axis for axis in AXES if axis in values]
    use = words.axis_use
    if axis_words and use is AxisUse.NONE:
        use = AxisUse.MOTION
    if values.get("N", 0.0) > LARGEST_LINE_NUMBER:
        raise GrblError(BAD_LINE_NUMBER)
    scale = MM_PER_INCH if new.inches else 1.0
    feed = _feed(values, modes, new, use, feed, scale, jog)
    non_modal = _non_modal(words)
    dwell_s = 0.0
    if non_modal == "G4":
        if "P" not in values:
            raise GrblError(VALUE_MISSING)
        dwell_s = values.pop("P")
    tool_length_mm = None
    if use is AxisUse.TOOL_LENGTH:
        tool_length_mm = 0.0
        if words.commands[Group.TOOL_LENGTH][0] == 43:
            if axis_words != ["Z"]:
                raise GrblError(WRONG_TOOL_AXIS)
            tool_length_mm = values["Z"] * scale

    system_mm = frame.system_mm
    if new.system != modes.system:
        system_mm = frame.stored_mm[f"G{54 + new.system}"]
    asked = [values[axis] * scale if axis in values else None for axis in AXES]
    action_mm, system_index, target_mm = (0.0, 0.0, 0.0), 0, frame.position_mm
    if non_modal == "G10":
        system_index, action_mm = _coordinate_data(words, values, new, frame, asked)
    elif non_modal == "G92":
        if not axis_words:
            raise GrblError(NO_AXIS_WORDS)
        tool = (0.0, 0.0, frame.tool_mm)
        action_mm = _point(
            frame.g92_mm[i] if a is None else frame.position_mm[i] - system_mm[i] - a - tool[i]
            for i, a in enumerate(asked)
        )
    else:
        if use is not AxisUse.TOOL_LENGTH:
            target_mm = _target(asked, new.relative, non_modal == "G53", frame, system_mm)
        if non_modal in ("G28", "G30"):
            home = frame.stored_mm[non_modal]
            action_mm = home
            if axis_words:
                action_mm = _point(
                    home[i] if axis in axis_words else frame.position_mm[i] for i, axis in enumerate(AXES)
                )
            else:
                use = AxisUse.NONE
        elif non_modal == "G53" and new.motion not in (G0, G1):
            raise GrblError(G53_NEEDS_LINE)

    motion, centre_mm, radius_mm = None, (0.0, 0.0), 0.0
    if new.motion == G80:
        if axis_words:
            raise GrblError(AXIS_WORDS_UNUSED)
    elif use is AxisUse.MOTION:
        if new.motion != G0 and feed == 0.0:
            raise GrblError(NO_FEED)
        motion = new.motion
        if new.motion in (G0, G1):
            if not axis_words:
                motion, use = None, AxisUse.NONE
        elif not axis_words:
            raise GrblError(NO_AXIS_WORDS)
        elif new.motion in (G2, G3):
            centre_mm, radius_mm = _arc(values, new, frame.position_mm, target_mm, axis_words, scale)
        elif target_mm == frame.position_mm:
            raise GrblError(BAD_TARGET)

    for letter in "NF" if jog else "NFST":
        values.pop(letter, None)
    if use is not AxisUse.NONE:
        for axis in axis_words:
            del values[axis]
    if values:
        raise GrblError(UNUSED_WORDS)
    if jog and (set(words.commands) - {Group.DISTANCE, Group.UNITS, Group.NON_MODAL} or non_modal not in (None, "G53")):
        raise GrblError(BAD_JOG)
    flow = words.commands.get(Group.STOPPING, (1, 0))[0]
    return Block(
        modes=new,
        motion=motion,
        target_mm=target_mm,
        feed=feed,
        speed=words.values.get("S", speed),
        line_no=int(words.values.get("N", 0.0)),
        tool=words.whole("T"),
        non_modal=non_modal,
        action_mm=action_mm,
        system_index=system_index,
        dwell_s=dwell_s,
        tool_length_mm=tool_length_mm,
        flow=None if flow == 1 else flow,
        centre_mm=centre_mm,
        radius_mm=radius_mm,
        has_axis_words=bool(axis_words),
        system_mm=system_mm,
    )


def plane_axes(plane: int) -> tuple[int, int, int]:
    """The two axes of a plane (17, 18 or 19) and the one across it."""
    return _PLANES[plane]


def _new_modes(words: Words, modes: Modes, jog: bool) -> Modes:
    changes: dict[str, object] = {"motion": G1, "inverse_time": False} if jog else {}
    for group, (code, part) in words.commands.items():
        if group is Group.MOTION:
            changes["motion"] = f"G{code}.{part // 10}" if part else f"G{code}"
        elif group is Group.PLANE:
            changes["plane"] = code
        elif group is Group.DISTANCE:
            changes["relative"] = code == 91
        elif group is Group.FEED_MODE:
            changes["inverse_time"] = code == 93
        elif group is Group.UNITS:
            changes["inches"] = code == 20
        elif group is Group.COORDINATES:
            changes["system"] = code - 54
        elif group is Group.SPINDLE:
            changes["spindle"] = code
        elif group is Group.COOLANT:
            changes |= (
                {"mist": True} if code == 7 else {"flood": True} if code == 8 else {"mist": False, "flood": False}
            )
    return replace(modes, **changes) if changes else modes  # type: ignore[arg-type]


def _non_modal(words: Words) -> str | None:
    if Group.NON_MODAL not in words.commands:
        return None
    code, part = words.commands[Group.NON_MODAL]
    return f"G{code}.1" if part else f"G{code}"


def _feed(
    values: Mapping[str, float], old: Modes, new: Modes, use: AxisUse, feed: float, scale: float, jog: bool
) -> float:
    """The feed of this block, mm/min (1/min in inverse time), 0 where it is not known."""
    if jog:
        if "F" not in values:
            raise GrblError(NO_FEED)
        return values["F"] * scale
    if new.inverse_time:
        if use is AxisUse.MOTION and new.motion not in (G80, G0) and "F" not in values:
            raise GrblError(NO_FEED)
        return values.get("F", 0.0)
    if old.inverse_time:  # the unit of feed has changed: what was known before is not a feed any more
        return values.get("F", 0.0)
    return values["F"] * scale if "F" in values else feed


def _coordinate_data(
    words: Words, values: dict[str, float], new: Modes, frame: Frame, asked: list[float | None]
) -> tuple[int, Point]:
    """G10 L2 and L20: which system, and its new offset."""
    if all(a is None for a in asked):
        raise GrblError(NO_AXIS_WORDS)
    if "P" not in values and "L" not in values:  # of only one missing the firmware takes 0
        raise GrblError(VALUE_MISSING)
    index = int(values.get("P", 0.0)) & 0xFF
    if index > 6:
        raise GrblError(NO_SUCH_SYSTEM)
    kind = words.whole("L")
    if kind not in (2, 20) or (kind == 2 and "R" in values):
        raise GrblError(UNSUPPORTED)
    values.pop("P", None)
    values.pop("L", None)
    index = index - 1 if index else new.system
    stored = frame.stored_mm[f"G{54 + index}"]
    tool = (0.0, 0.0, frame.tool_mm)
    return index, _point(
        stored[i] if a is None else a if kind == 2 else frame.position_mm[i] - frame.g92_mm[i] - tool[i] - a
        for i, a in enumerate(asked)
    )


def _target(asked: list[float | None], relative: bool, absolute: bool, frame: Frame, system_mm: Point) -> Point:
    tool = (0.0, 0.0, frame.tool_mm)
    ends = []
    for i, a in enumerate(asked):
        if a is None:
            ends.append(frame.position_mm[i])
        elif absolute:
            ends.append(a)
        elif relative:
            ends.append(frame.position_mm[i] + a)
        else:
            ends.append(a + system_mm[i] + frame.g92_mm[i] + tool[i])
    return _point(ends)


def _arc(
    values: dict[str, float], modes: Modes, start: Point, end: Point, axis_words: list[str], scale: float
) -> tuple[tuple[float, float], float]:
    """Centre (from the start, in the plane) and radius of G2 or G3."""
    a, b, _ = plane_axes(modes.plane)
    if AXES[a] not in axis_words and AXES[b] not in axis_words:
        raise GrblError(NONE_IN_PLANE)
    x, y = end[a] - start[a], end[b] - start[b]
    if "R" in values:
        radius = values.pop("R") * scale
        if end == start:
            raise GrblError(BAD_TARGET)
        chord2 = x * x + y * y
        high2 = 4.0 * radius * radius - chord2  # four times the square of the centre's height over the chord
        if high2 < 0.0:
            raise GrblError(BAD_RADIUS)
        if chord2 == 0.0:  # only the third axis moves; the firmware divides by zero here
            raise GrblError(BAD_TARGET)
        k = math.sqrt(high2 / chord2)
        if (modes.motion == G2) == (radius > 0.0):
            k = -k
        return (0.5 * (x - y * k), 0.5 * (y + x * k)), abs(radius)
    offsets = [values.pop(letter, None) for letter in "IJK"]
    if offsets[a] is None and offsets[b] is None:
        raise GrblError(NO_OFFSETS)
    centre = ((offsets[a] or 0.0) * scale, (offsets[b] or 0.0) * scale)
    radius = math.hypot(*centre)
    off = abs(math.hypot(x - centre[0], y - centre[1]) - radius)
    if off > 0.5 or (off > 0.005 and off > 0.001 * radius):
        raise GrblError(BAD_TARGET)
    return centre, radius


def _point(values: Iterable[float]) -> Point:
    x, y, z = values
    return (x, y, z)
