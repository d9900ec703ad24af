"""Grbl's motion: a ring of planned blocks, junction deviation, look-ahead, and the segments that are already out.

What is Grbl's here (formulas re-stated; facts: Grbl `planner.c`, `stepper.c`, pages hosts 1b and 5):
* 16 blocks of which 15 are usable (15 and 14 with line numbers compiled in); the ring's end is always a stop;
* junction speed v^2 = a d s / (1 - s), s = sqrt((1 - cos) / 2), cos = -u0.u1, where a is the axis limits' acceleration
  along the unit vector of u1 - u0; a reversal is a stop, a straight line has no limit; capped by both nominal speeds;
* the block in work is re-planned too, from the point up to which segments have gone to the stepper interrupt: about
  50 ms ahead of the motors. So a block leaves the ring 50 ms before it ends, a feed hold begins to brake 50 ms after it
  was asked for, and a line that comes in the last 50 ms of a motion finds an empty ring and begins from rest;
* positions are whole steps; a move of no step is no block.

The planner works lazily: between two calls nothing can change its plan, so `advance(t)` replays exactly what happened
by `t`, and no timer is needed for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, sqrt

from hil_sim.world.plant.gantry import Gantry, Move, Point, Run

SEGMENTS_S = 0.05  # five segments of 10 ms lie between planner and stepper interrupt
_INSTANT_S = 1e-9
_NO_WAY_MM = 1e-12
_LEAST_SPEED_MM_S = 1.0 / 60.0  # MINIMUM_FEED_RATE
_STRAIGHT = 0.999999


@dataclass(frozen=True, slots=True)
class Limits:
    """What the `$` settings say of the axes: mm/s, mm/s2, steps/mm, mm."""

    speed_mm_s: Point
    acceleration_mm_s2: Point
    steps_per_mm: Point
    junction_deviation_mm: float


@dataclass(frozen=True, slots=True)
class Order:
    """What a motion line asks of its block besides the way.

    feed: mm/s, or 1/s with `inverse_time`; not used by a rapid. mode, speed: the spindle's M word and S (0 with M5).
    `dynamic` scales the beam by speed over feed (M4 in laser mode). `overridable`: the feed override applies.
    """

    feed: float
    rapid: bool = False
    inverse_time: bool = False
    overridable: bool = True
    mode: int = 5
    speed: float = 0.0
    dynamic: bool = False
    line_no: int = 0


class _Block:
    """A planned straight move. Squared speeds, so that the passes need no root."""

    __slots__ = (
        "acceleration", "begun", "end", "entry2", "length", "max_entry2", "max_junction2", "nominal", "order",
        "programmed", "rapid_rate", "start", "unit",
    )  # fmt: skip

    start: Point  # moves on when the block is stopped half way
    end: Point
    unit: Point
    length: float  # what is left of it
    acceleration: float
    rapid_rate: float
    programmed: float
    nominal: float  # with the overrides of the moment
    max_junction2: float
    max_entry2: float
    entry2: float
    order: Order
    begun: bool


@dataclass(slots=True)
class _Piece:
    """A stretch of one profile. The last one is still open: it can be cut where no segment has gone out yet."""

    run: Run
    block: _Block
    ends_block: bool
    planned_exit2: float
    end_s: float
    joins: bool
    handed: bool = False


class GrblPlanner:
    """The motion of one board. All times in s (the caller's clock), mm, mm/s; positions in the controller's frame."""

    def __init__(self, gantry: Gantry, limits: Limits, *, ring: int = 16) -> None:
        self.gantry = gantry
        self.limits = limits
        self.usable = ring - 1
        self.feed_percent = 100
        self.rapid_percent = 100
        self.beam_of: Callable[[float], float] = _no_beam  # S -> fraction; the spindle's business
        self.running = False  # the stepper interrupt is on
        self.holding = False  # braking for a hold, or stopped by one
        self.dry_runs = 0  # times the motion ended with the beam left on
        self.last_order: Order | None = None  # of the block that moved last
        self._steps = (0, 0, 0)  # where the last planned block ends
        self._blocks: list[_Block] = []  # [0] is the one that segments are made of
        self._pieces: deque[_Piece] = deque()  # laid out, not yet ended; the last may be open
        self._open = False
        self._end_s = -inf  # when the last piece laid out ends
        self._unit: Point = (0.0, 0.0, 0.0)  # of the block planned last
        self._nominal = 0.0

    # ---- what the firmware asks -------------------------------------------------------------------------------------
    @property
    def free(self) -> int:
        """Blocks that still fit: the first number of `Bf:`."""
        return self.usable - len(self._blocks)

    @property
    def queued(self) -> bool:
        """Whether the ring holds a block."""
        return bool(self._blocks)

    @property
    def position_mm(self) -> Point:
        """Where the last planned block ends."""
        return self._mm(self._steps)

    @property
    def line_no(self) -> int:
        """Line number of the block that segments are made of, 0 for none."""
        return self._blocks[0].order.line_no if self._blocks else 0

    @property
    def end_s(self) -> float:
        """When the motion laid out so far ends, or ended."""
        return self._end_s

    def changes_s(self) -> float:
        """When the ring or the motion next changes by itself; inf when it does not."""
        if not self.running:
            return inf
        if self._open:
            return self._pieces[-1].end_s - SEGMENTS_S
        return self._end_s

    def begins_s(self) -> float:
        """When the next stretch of motion, laid out and not yet begun, begins; inf where there is none."""
        for piece in self._pieces:
            if not piece.handed:
                return piece.run.t0_s
        return inf

    def speed_mm_s(self, t_s: float) -> float:
        """Speed at the end of the segments made so far: what Grbl reports as its feed."""
        piece = self._pieces[-1] if self._pieces else None
        if piece is None or not self.running:
            return 0.0
        return piece.run.speed_mm_s(min(t_s + SEGMENTS_S, piece.end_s) - piece.run.t0_s)

    def running_order(self, t_s: float) -> tuple[Order, float] | None:
        """What moves at `t_s`: its order, and its speed over its feed."""
        for piece in reversed(self._pieces):
            if piece.handed and piece.run.t0_s <= t_s:
                return piece.block.order, piece.run.speed_mm_s(t_s - piece.run.t0_s) / piece.block.programmed
        return None

    def made_order(self, t_s: float) -> tuple[Order, float] | None:
        """The order that segments were last made for, and the speed over its feed at their end: see `speed_mm_s`."""
        piece = self._pieces[-1] if self._pieces else None
        if piece is None or not self.running:
            return None
        return piece.block.order, self.speed_mm_s(t_s) / piece.block.programmed

    def first_order(self) -> Order | None:
        """Of the block at the head of the ring."""
        return self._blocks[0].order if self._blocks else None

    # ---- time -------------------------------------------------------------------------------------------------------
    def advance(self, t_s: float) -> None:
        """Do what segments and steps did until `t_s`: end blocks, begin the next ones, come to rest."""
        if not self.running:
            return
        self._lay_out(t_s + SEGMENTS_S)
        pieces = self._pieces
        while pieces:
            piece = pieces[0]
            if not piece.handed:
                if piece.run.t0_s > t_s:
                    break
                self._hand_over(piece)
            if piece.end_s > t_s or (self._open and len(pieces) == 1):
                break
            pieces.popleft()
            if not pieces:
                self._rest(piece)

    def _hand_over(self, piece: _Piece) -> None:
        run = piece.run
        self.gantry.run(run.t0_s, run.move, joins=piece.joins)
        piece.handed = True
        if piece.end_s < run.t1_s:
            self.gantry.cut(piece.end_s)

    def _rest(self, last: _Piece) -> None:
        """The steppers have nothing left: in constant mode the beam stays as it was, for ever."""
        self.running = False
        self.last_order = last.block.order
        fraction = last.run.move.s_fraction
        if fraction > 0.0 and not last.block.order.dynamic:
            self.dry_runs += 1
            self.gantry.stand(last.end_s, fraction, inf)

    # ---- planning ---------------------------------------------------------------------------------------------------
    def add(self, now_s: float, end_mm: Point, order: Order) -> bool:
        """Plan a straight move to `end_mm`; the caller saw `free` > 0 and called `advance(now_s)`. False: no step of
        way, no block.
        """
        limits = self.limits
        steps = _whole_steps(end_mm, limits.steps_per_mm)
        if steps == self._steps:
            return False
        start, end = self._mm(self._steps), self._mm(steps)
        dx, dy, dz = end[0] - start[0], end[1] - start[1], end[2] - start[2]
        block = _Block()
        block.start, block.end, block.order, block.begun = start, end, order, False
        block.length = length = sqrt(dx * dx + dy * dy + dz * dz)
        block.unit = unit = (dx / length, dy / length, dz / length)
        block.acceleration = _limit(limits.acceleration_mm_s2, unit)
        block.rapid_rate = _limit(limits.speed_mm_s, unit)
        block.programmed = block.rapid_rate if order.rapid else order.feed * (length if order.inverse_time else 1.0)
        block.max_junction2 = self._junction2(unit) if self._blocks else 0.0
        block.entry2 = 0.0
        self._set_nominal(block, self._nominal)
        self._nominal, self._unit, self._steps = block.nominal, unit, steps
        self._blocks.append(block)
        if self.running and not self._open and not self.holding:
            self._next_piece(max(self._end_s, now_s), 0.0)
        elif len(self._blocks) > 1:
            self._replan(now_s)
        return True

    def set_overrides(self, now_s: float, feed_percent: int, rapid_percent: int) -> None:
        """New overrides, for every block in the ring and the one in work."""
        self.advance(now_s)
        self.feed_percent, self.rapid_percent = feed_percent, rapid_percent
        before = inf
        for block in self._blocks:
            self._set_nominal(block, before)
            block.entry2 = min(block.entry2, block.max_entry2)
            before = block.nominal
        if self._blocks:
            self._nominal = before
            self._replan(now_s, anew=True)

    def beam_changed(self, now_s: float) -> None:
        """The spindle override has changed: the block in work goes on with another S fraction."""
        self.advance(now_s)
        if self._blocks:
            self._replan(now_s, anew=True)

    def _set_nominal(self, block: _Block, before: float) -> None:
        """Nominal speed under the overrides of the moment, and with the block before it the largest entry speed."""
        if block.order.rapid:
            nominal = block.rapid_rate * self.rapid_percent / 100.0
        else:
            percent = self.feed_percent if block.order.overridable else 100
            nominal = min(block.programmed * percent / 100.0, block.rapid_rate)
        block.nominal = max(nominal, _LEAST_SPEED_MM_S)
        block.max_entry2 = min(min(block.nominal, before) ** 2, block.max_junction2)

    def _junction2(self, unit: Point) -> float:
        """Squared speed limit between the block planned last and one along `unit`."""
        (px, py, pz), (ux, uy, uz) = self._unit, unit
        cos = -(px * ux + py * uy + pz * uz)
        if cos > _STRAIGHT:
            return 0.0
        if cos < -_STRAIGHT:
            return inf
        dx, dy, dz = ux - px, uy - py, uz - pz
        d = sqrt(dx * dx + dy * dy + dz * dz)
        a = _limit(self.limits.acceleration_mm_s2, (dx / d, dy / d, dz / d))
        s = sqrt(0.5 * (1.0 - cos))
        return a * self.limits.junction_deviation_mm * s / (1.0 - s)

    def _replan(self, now_s: float, *, anew: bool = False) -> None:
        """Backward and forward pass over the ring, then the rest of the block in work. `anew`: whatever its exit."""
        blocks = self._blocks
        piece = self._pieces[-1] if self._open else None
        if piece is None:
            speed, left = 0.0, blocks[0].length
        else:
            tau = min(now_s + SEGMENTS_S, piece.end_s) - piece.run.t0_s
            speed = piece.run.speed_mm_s(tau)
            left = _distance(piece.run.point_mm(tau), blocks[0].end)
        entry2 = 0.0
        for block in blocks[:0:-1]:
            entry2 = min(block.max_entry2, entry2 + 2.0 * block.acceleration * block.length)
            block.entry2 = entry2
        reach2 = speed * speed + 2.0 * blocks[0].acceleration * left
        for block in blocks[1:]:
            block.entry2 = min(block.entry2, reach2)
            reach2 = block.entry2 + 2.0 * block.acceleration * block.length
        if piece is not None and (anew or self._exit2() != piece.planned_exit2) and not self.holding:
            self._cut_open(now_s + SEGMENTS_S)

    def _exit2(self) -> float:
        return self._blocks[1].entry2 if len(self._blocks) > 1 else 0.0

    # ---- start and stop ---------------------------------------------------------------------------------------------
    def start(self, now_s: float) -> None:
        """Cycle start: the first block begins, or goes on where a hold has stopped it."""
        self.advance(now_s)
        self.holding = False
        if self._blocks and not self.running:
            self.running = True
            self._next_piece(max(now_s, self._end_s), 0.0)

    def hold(self, now_s: float) -> None:
        """Brake along the path, from the end of the segments that are out; the ring keeps what is left."""
        self.advance(now_s)
        self.holding = True
        if self._open:
            self._cut_open(now_s + SEGMENTS_S)

    def replan_from_rest(self) -> None:
        """After a hold has come to rest: every speed is planned anew from there."""
        if self._blocks:
            self._replan(self._end_s)

    def flush(self) -> None:
        """At rest: forget the ring; the position is where the steps have led."""
        self.holding = False
        self._forget(self.gantry.controller_at(max(self._end_s, 0.0)))

    def kill(self, now_s: float) -> None:
        """Steppers off at once, without a ramp; the ring is forgotten."""
        self.advance(now_s)
        if self.running:
            self.gantry.cut(now_s)
        self.running = self.holding = False
        self._end_s = min(self._end_s, now_s)
        self._forget(self.gantry.controller_at(now_s))

    def place(self, at_mm: Point) -> None:
        """The controller now stands at `at_mm` (homing, power-up)."""
        self._steps = _whole_steps(at_mm, self.limits.steps_per_mm)

    def _forget(self, at_mm: Point) -> None:
        self._blocks.clear()
        self._pieces.clear()
        self._open = self.running = False
        self._unit, self._nominal = (0.0, 0.0, 0.0), 0.0
        self.place(at_mm)

    # ---- laying out -------------------------------------------------------------------------------------------------
    def _lay_out(self, until_s: float) -> None:
        """Make segments up to `until_s`: blocks whose last segment is out leave the ring."""
        while self._open:
            piece = self._pieces[-1]
            if piece.end_s > until_s:
                return
            self._open = False
            speed = piece.run.speed_mm_s(piece.end_s - piece.run.t0_s)
            if piece.ends_block:
                self._blocks.pop(0)
            else:
                self._cut_block(piece.run.end_mm)
            if not self._blocks or (self.holding and speed <= 0.0):
                return
            self._next_piece(piece.end_s, speed)

    def _cut_open(self, at_s: float) -> None:
        """End the open piece at `at_s` and lay out the rest of its block under what holds now."""
        piece = self._pieces[-1]
        tau = at_s - piece.run.t0_s
        if piece.end_s - at_s <= _INSTANT_S:
            return  # its last segment is out; the next piece will know
        self._open = False
        if tau <= _INSTANT_S:  # not one segment of it is out
            self._pieces.pop()
            piece.block.begun = piece.joins
            self._next_piece(piece.run.t0_s, piece.run.move.entry_mm_s)
            return
        piece.end_s = at_s
        speed = piece.run.speed_mm_s(tau)
        self._cut_block(piece.run.point_mm(tau))
        if piece.handed:
            self.gantry.cut(at_s)
        self._next_piece(at_s, speed)

    def _cut_block(self, at_mm: Point) -> None:
        block = self._blocks[0]
        block.start, block.length = at_mm, _distance(at_mm, block.end)

    def _next_piece(self, t0_s: float, speed: float) -> None:
        """Lay out the first block of the ring, or what is left of it, from `speed` on."""
        block = self._blocks[0]
        a, length, nominal = block.acceleration, block.length, block.nominal
        way, exit2 = length, self._exit2()
        slowest2 = speed * speed - 2.0 * a * length  # squared speed at the end if it only brakes
        if self.holding or exit2 < slowest2:  # braking is all that is left
            cruise, exit2 = speed, max(0.0, slowest2)
            if slowest2 < 0.0:
                way = speed * speed / (2.0 * a)
        elif speed > nominal + 1e-6:  # an override has slowed it: down to the new speed first
            way = min(length, (speed * speed - nominal * nominal) / (2.0 * a))
            cruise, exit2 = speed, max(0.0, speed * speed - 2.0 * a * way)
        else:
            exit2 = min(exit2, speed * speed + 2.0 * a * length)
            peak2 = 0.5 * (speed * speed + exit2 + 2.0 * a * length)
            cruise = max(min(nominal, sqrt(peak2)), speed, sqrt(exit2))
        if self.holding and way <= _NO_WAY_MM:  # it finds it at rest
            self._end_s = t0_s
            self._open = False
            return
        whole = length - way <= _NO_WAY_MM
        (x, y, z), (ux, uy, uz) = block.start, block.unit
        end = block.end if whole else (x + ux * way, y + uy * way, z + uz * way)
        move = Move(
            block.start, end, speed, cruise, min(sqrt(exit2), cruise), a, block.programmed,
            self.beam_of(block.order.speed), block.order.dynamic, block.order.line_no or None,
        )  # fmt: skip
        run = Run(t0_s, move, block.start, end)
        self._pieces.append(_Piece(run, block, whole, self._exit2(), run.t1_s, block.begun))
        block.begun = True
        self._open = True
        self._end_s = run.t1_s

    def _mm(self, steps: tuple[int, int, int]) -> Point:
        kx, ky, kz = (_usable(k) for k in self.limits.steps_per_mm)
        return (steps[0] / kx, steps[1] / ky, steps[2] / kz)


def _no_beam(speed: float) -> float:
    return 0.0


def _usable(value: float, least: float = 1e-3, most: float = 1e6) -> float:
    """A setting as a number that one can divide by: the board takes any, and what it does then is undefined."""
    return min(max(value, least), most)


def _whole_steps(at_mm: Point, steps_per_mm: Point) -> tuple[int, int, int]:
    """The nearest step of each axis, within 32 bits."""
    x, y, z = (max(-(2**31), min(2**31 - 1, round(p * _usable(k)))) for p, k in zip(at_mm, steps_per_mm))
    return (x, y, z)


def _limit(of_axes: Point, unit: Point) -> float:
    """The largest value along `unit` that no axis exceeds."""
    return min(_usable(limit) / abs(u) for limit, u in zip(of_axes, unit) if u)


def _distance(a: Point, b: Point) -> float:
    return sqrt((b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2 + (b[2] - a[2]) ** 2)
