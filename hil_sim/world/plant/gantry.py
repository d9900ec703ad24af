"""The gantry that really moves: what each executed move did, in closed form.

A motion controller hands every move to `Gantry.run` at the instant its first step is made. From then on the position at
any time is a formula of that move (trapezoid: ramp up, cruise, ramp down), so nothing here ticks and nothing is rounded
to a step.

Two frames: a `Move` is written in the controller's own coordinates; the gantry keeps the truth (origin at the end
switches) and the offset between both. They part when the board resets, or when a move runs into the frame and steps are
lost.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from math import sqrt
from operator import attrgetter
from typing import NamedTuple

Point = tuple[float, float, float]
_T0 = attrgetter("t0_s")


class Move(NamedTuple):
    """One executed straight move: a trapezoid from `entry` over `cruise` to `exit`, speeds in mm/s, in the controller's
    frame.

    `s_fraction` is the beam's S word over S_max while it runs; `dynamic` (M4) scales that by speed / `nominal_mm_s`.
    """

    start_mm: Point
    end_mm: Point
    entry_mm_s: float
    cruise_mm_s: float
    exit_mm_s: float
    acceleration_mm_s2: float
    nominal_mm_s: float
    s_fraction: float = 0.0
    dynamic: bool = False
    line_no: int | None = None


class Run:
    """A move in time and in true machine coordinates. `full_s` is the whole profile, `duration_s` less when it was
    cut short. `joins`: it goes on with the block of the run before it, whose profile was changed on the way.
    """

    __slots__ = (
        "accelerate_mm", "accelerate_s", "brake_from_mm", "brake_from_s", "duration_s", "end_mm", "full_s", "joins",
        "length_mm", "move", "start_mm", "t0_s", "t1_s", "unit",
    )  # fmt: skip

    def __init__(self, t0_s: float, move: Move, start_mm: Point, end_mm: Point) -> None:
        entry, cruise, exit_, acceleration = move[2:6]
        x0, y0, z0 = start_mm
        x1, y1, z1 = end_mm
        dx, dy, dz = x1 - x0, y1 - y0, z1 - z0
        length = sqrt(dx * dx + dy * dy + dz * dz)
        if not (length > 0.0 and cruise > 0.0 and acceleration > 0.0):
            raise ValueError(f"a move needs a length, a cruise speed and an acceleration above 0, got {move}")
        accelerate_s = (cruise - entry) / acceleration
        brake_s = (cruise - exit_) / acceleration
        self.accelerate_mm = accelerate_mm = 0.5 * (entry + cruise) * accelerate_s
        cruise_mm = length - accelerate_mm - 0.5 * (cruise + exit_) * brake_s
        # A triangle's cruise length is zero up to rounding; anything clearly negative is a planner's error.
        if cruise_mm < 0.0:
            if cruise_mm < -1e-6 * length - 1e-9:
                raise ValueError(f"the ramps of {move} are {-cruise_mm:.3g} mm longer than its {length:.6g} mm")
            cruise_mm = 0.0
        self.brake_from_mm = accelerate_mm + cruise_mm
        self.t0_s = t0_s
        self.move = move
        self.start_mm = start_mm
        self.end_mm = end_mm
        self.unit = (dx / length, dy / length, dz / length)
        self.length_mm = length
        self.accelerate_s = accelerate_s
        self.brake_from_s = brake_from_s = accelerate_s + cruise_mm / cruise
        self.full_s = self.duration_s = full_s = brake_from_s + brake_s
        self.t1_s = t0_s + full_s
        self.joins = False

    def distance_mm(self, tau_s: float) -> float:
        """Millimetres travelled `tau_s` seconds after the start (d = v t + a t^2 / 2, per ramp)."""
        tau_s = min(tau_s, self.duration_s)
        if tau_s <= 0.0:
            return 0.0
        move = self.move
        if tau_s < self.accelerate_s:
            return tau_s * (move.entry_mm_s + 0.5 * move.acceleration_mm_s2 * tau_s)
        if tau_s <= self.brake_from_s:
            return self.accelerate_mm + move.cruise_mm_s * (tau_s - self.accelerate_s)
        left = self.full_s - tau_s  # measured from the end, so that the end is met exactly
        return self.length_mm - left * (move.exit_mm_s + 0.5 * move.acceleration_mm_s2 * left)

    def speed_mm_s(self, tau_s: float) -> float:
        """Speed along the path `tau_s` seconds after the start; the end speeds hold at the ends."""
        move = self.move
        tau_s = min(max(tau_s, 0.0), self.duration_s)
        if tau_s < self.accelerate_s:
            return move.entry_mm_s + move.acceleration_mm_s2 * tau_s
        if tau_s <= self.brake_from_s:
            return move.cruise_mm_s
        return move.exit_mm_s + move.acceleration_mm_s2 * (self.full_s - tau_s)

    def point_mm(self, tau_s: float) -> Point:
        """True position `tau_s` seconds after the start."""
        d = self.distance_mm(tau_s)
        (x, y, z), (ux, uy, uz) = self.start_mm, self.unit
        return (x + ux * d, y + uy * d, z + uz * d)


class Stand:
    """The beam left on (or off) while the gantry rests: S fraction `s_fraction` from `t0_s` until `t1_s` or the
    next event.
    """

    __slots__ = ("at_mm", "s_fraction", "t0_s", "t1_s")

    def __init__(self, t0_s: float, t1_s: float, at_mm: Point, s_fraction: float) -> None:
        self.t0_s, self.t1_s, self.at_mm, self.s_fraction = t0_s, t1_s, at_mm, s_fraction


class Gantry:
    """Position truth of a three-axis gantry (mm, s).

    Its mechanics can fail without a word to the controller, which only counts its own steps: `lose_steps`, `stalled`
    (axes whose motor hums and does not turn), `play_mm` (backlash of each axis), `switch_mm` (where each end switch
    truly closes).

    frame_mm: (low, high) corners that metal allows, or None. A move that would leave it loses steps: it ends at the
    frame, after the time it would have taken, and every later move is off by what was lost (`crashes` counts them).
    switches_mm: where the end switches were built in; None: at the frame's low corner.

    `history` holds `Run` and `Stand` in time order; whoever consumed it may call `forget_before`.
    """

    def __init__(
        self,
        *,
        start_mm: Point = (0.0, 0.0, 0.0),
        frame_mm: tuple[Point, Point] | None = None,
        switches_mm: Point | None = None,
    ) -> None:
        self.history: list[Run | Stand] = []
        self.frame_mm = frame_mm
        self.crashes = 0
        self.moves_run = 0
        self.on_entry: Callable[[Run | Stand], None] | None = None  # told of each entry of the history
        self._advance: Callable[[float], None] | None = None
        self._rest_mm: Point = start_mm  # true position once everything in history has run
        self._offset: Point = start_mm  # true = controller's + offset; a controller that wakes up says 0, 0, 0
        self._shifted = any(start_mm)
        self.stalled: set[int] = set()
        self.play_mm = [0.0, 0.0, 0.0]
        low_mm = (0.0, 0.0, 0.0) if frame_mm is None else frame_mm[0]
        self.built_switch_mm: Point = low_mm if switches_mm is None else switches_mm
        self.switch_mm = list(self.built_switch_mm)
        self._side = [0.0, 0.0, 0.0]  # of each axis' last motion
        self._is_off = False  # the next move begins elsewhere than the controller thinks

    def lose_steps(self, t_s: float, axis: int, mm: float) -> None:
        """From the next move on axis 0, 1 or 2 stands `mm` farther along than the controller thinks (under 0: less)."""
        self.advance_to(t_s)
        self._shift(axis, mm)

    def driven_by(self, advance: Callable[[float], None]) -> None:
        """Name the controller's function that hands over, up to a time, the moves that have begun by then (it works
        lazily).
        """
        self._advance = advance

    def advance_to(self, t_s: float) -> None:
        """Have the controller hand over every move begun by `t_s`."""
        if self._advance is not None:
            self._advance(t_s)

    def run(self, t0_s: float, move: Move, *, joins: bool = False) -> float:
        """Begin `move` at `t0_s`, not before the last one ended; return the time at which it ends.

        joins: the controller has changed its mind about a block in work; this is the rest of the same block.
        """
        end_mm = move.end_mm
        if any(self.play_mm):
            self._take_up_play(move)
        if self.stalled:
            return self._hum(t0_s, move)
        if self._shifted:
            x, y, z = end_mm
            ox, oy, oz = self._offset
            end_mm = (x + ox, y + oy, z + oz)
        if self.frame_mm is not None:
            (x0, y0, z0), (x1, y1, z1) = self.frame_mm
            x, y, z = end_mm
            if not (x0 <= x <= x1 and y0 <= y <= y1 and z0 <= z <= z1):
                return self._crash(t0_s, move, end_mm)
        if self._is_off:
            self._is_off = False
            return self._other_way(t0_s, move, end_mm)
        run = Run(t0_s, move, self._rest_mm, end_mm)
        run.joins = joins
        self._append(run)
        self._rest_mm = end_mm
        self.moves_run += 1
        return run.t1_s

    def stand(self, t0_s: float, s_fraction: float, until_s: float) -> None:
        """From `t0_s`, while nothing moves, the beam's S fraction is `s_fraction`; at `until_s` it falls to 0."""
        self._append(Stand(t0_s, until_s, self._rest_mm, s_fraction))

    def cut(self, t_s: float) -> None:
        """Stop dead at `t_s` (steppers cease): the running move ends there, without a ramp. A stand goes on."""
        if not self.history:
            return
        last = self.history[-1]
        if isinstance(last, Run) and last.t1_s > t_s:
            last.duration_s = max(0.0, t_s - last.t0_s)
            self._rest_mm = last.end_mm = last.point_mm(last.duration_s)
            last.t1_s = t_s

    def datum(self, controller_mm: Point) -> None:
        """The controller now calls the present rest position `controller_mm` (reset, or an end switch found)."""
        rest = self._rest_mm
        self._offset = (rest[0] - controller_mm[0], rest[1] - controller_mm[1], rest[2] - controller_mm[2])
        self._shifted = any(self._offset)

    @property
    def rest_mm(self) -> Point:
        """True position once every move handed over has ended."""
        return self._rest_mm

    def run_at(self, t_s: float) -> Run | Stand | None:
        """The move or stand in force at `t_s`, None at plain rest. The begin belongs to it, the end does not."""
        self.advance_to(t_s)
        i = bisect_right(self.history, t_s, key=_T0) - 1
        if i < 0 or self.history[i].t1_s <= t_s:
            return None
        return self.history[i]

    def position_at(self, t_s: float) -> Point:
        """True position at `t_s`, mm. Times before what `forget_before` dropped give the oldest position still
        known.
        """
        self.advance_to(t_s)
        history = self.history
        i = bisect_right(history, t_s, key=_T0) - 1
        if i < 0:
            if not history:
                return self._rest_mm
            first = history[0]
            return first.start_mm if isinstance(first, Run) else first.at_mm
        entry = history[i]
        if isinstance(entry, Stand):
            return entry.at_mm
        if i == len(history) - 1 and entry.t1_s <= t_s:
            return self._rest_mm
        return entry.point_mm(t_s - entry.t0_s)

    def controller_at(self, t_s: float) -> Point:
        """The same position in the controller's frame: what its step counters say."""
        x, y, z = self.position_at(t_s)
        ox, oy, oz = self._offset
        return (x - ox, y - oy, z - oz)

    def forget_before(self, t_s: float) -> None:
        """Drop what ended before `t_s`, but the latest entry: memory stays bounded by what is still of interest."""
        history = self.history
        keep = 0
        while keep < len(history) - 1 and history[keep].t1_s < t_s:
            keep += 1
        if keep:
            del history[:keep]

    def _append(self, entry: Run | Stand) -> None:
        if self.history:
            last = self.history[-1]
            if last.t1_s > entry.t0_s:
                # Only a stand gives way; a move's end is the next one's begin, up to one rounding of a large clock.
                if isinstance(last, Run) and last.t1_s - entry.t0_s > 1e-9:
                    raise ValueError(f"a move begins at {entry.t0_s:.9f} s while another runs until {last.t1_s:.9f} s")
                last.t1_s = max(last.t0_s, entry.t0_s)
        self.history.append(entry)
        if self.on_entry is not None:
            self.on_entry(entry)

    def _shift(self, axis: int, mm: float) -> None:
        self._is_off = True
        offset = list(self._offset)
        offset[axis] += mm
        self._offset = (offset[0], offset[1], offset[2])
        self._shifted = True

    def _take_up_play(self, move: Move) -> None:
        """An axis that turns round lags behind by its play."""
        for axis, play_mm in enumerate(self.play_mm):
            way_mm = move.end_mm[axis] - move.start_mm[axis]
            side = (way_mm > 0.0) - (way_mm < 0.0)
            if play_mm and side and self._side[axis] and side != self._side[axis]:
                self._shift(axis, -side * play_mm)
            self._side[axis] = side or self._side[axis]

    def _hum(self, t0_s: float, move: Move) -> float:
        """A move of which the stalled axes take no part."""
        wanted: Point = (
            move.end_mm[0] + self._offset[0],
            move.end_mm[1] + self._offset[1],
            move.end_mm[2] + self._offset[2],
        )
        x, y, z = (self._rest_mm[axis] if axis in self.stalled else wanted[axis] for axis in range(3))
        return self._fall_short(t0_s, move, wanted, (x, y, z))

    def _crash(self, t0_s: float, move: Move, wanted_mm: Point) -> float:
        assert self.frame_mm is not None
        low, high = self.frame_mm
        reached: Point = (
            min(max(wanted_mm[0], low[0]), high[0]),
            min(max(wanted_mm[1], low[1]), high[1]),
            min(max(wanted_mm[2], low[2]), high[2]),
        )
        self.crashes += 1
        return self._fall_short(t0_s, move, wanted_mm, reached)

    def _fall_short(self, t0_s: float, move: Move, wanted_mm: Point, reached: Point) -> float:
        """The controller makes the move in its time; the gantry comes to `reached`, and the rest of the steps is
        lost."""
        self.moves_run += 1
        self._offset = (
            self._offset[0] + reached[0] - wanted_mm[0],
            self._offset[1] + reached[1] - wanted_mm[1],
            self._offset[2] + reached[2] - wanted_mm[2],
        )
        self._shifted = True
        return self._other_way(t0_s, move, reached)

    def _other_way(self, t0_s: float, move: Move, reached: Point) -> float:
        """From where it truly stands to `reached`, in the time of the controller's move: its profile, scaled."""
        rest = self._rest_mm
        asked = Run(t0_s, move, move.start_mm, move.end_mm)
        got_mm = sqrt(sum((b - a) ** 2 for a, b in zip(rest, reached)))
        if got_mm == 0.0:  # the motor hums for the move's time, the beam with it: M4's gives what the move would have
            share = asked.length_mm / (move.nominal_mm_s * asked.full_s) if move.dynamic else 1.0
            self.stand(t0_s, move.s_fraction * share, asked.t1_s)
            return asked.t1_s
        k = got_mm / asked.length_mm
        other = move._replace(
            entry_mm_s=move.entry_mm_s * k,
            cruise_mm_s=move.cruise_mm_s * k,
            exit_mm_s=move.exit_mm_s * k,
            acceleration_mm_s2=move.acceleration_mm_s2 * k,
            nominal_mm_s=move.nominal_mm_s * k,
        )
        self._append(Run(t0_s, other, rest, reached))
        self._rest_mm = reached
        return asked.t1_s
