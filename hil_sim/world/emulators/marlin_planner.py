"""Marlin's motion planner: a ring of blocks, junction deviation, look-ahead, and the block that runs.

What is Marlin's here (formulas re-stated, facts: Marlin `planner.cpp`):
* a ring of 16 blocks of which 15 are usable (`P15` when idle), and the end of the ring is always a stop;
* junction speed v^2 = a d s / (1 - s), s = sqrt((1 - cos) / 2), cos = -u0.u1, acceleration the block's own; for blocks
  under 1 mm with an angle above 135 degrees also v^2 <= L a / (pi - angle);
* backward and forward pass over the blocks held; the block that runs keeps the profile it started with, so the entry of
  the one after it is fixed as well (and no other speed is of consequence before that one starts: the passes are made
  when a block starts, and only for its own exit);
* the first block after rest waits 100 ms for company, or for three blocks.

The planner works lazily: between two calls nothing can change its plan, so `advance(t)` replays exactly what the step
interrupt did by `t`, and no timer is needed for it.
"""

from __future__ import annotations

from math import acos, inf, pi, sqrt

from hil_sim.world.plant.gantry import Gantry, Move, Point

_MIN_LENGTH_MM = 1e-9
_new_tuple = tuple.__new__  # all that a NamedTuple's own constructor does, without its call


class Block:
    """A planned straight move. Squared speeds, so that the passes need no root."""

    __slots__ = (
        "acceleration", "at_limit", "dynamic", "end", "entry2", "gain2", "length", "line_no", "max_entry2", "nominal",
        "s_fraction", "start", "unit",
    )  # fmt: skip

    start: Point
    end: Point
    unit: Point
    length: float
    nominal: float
    acceleration: float
    gain2: float  # 2 a L: what v^2 can change over this block
    max_entry2: float  # junction limit
    entry2: float  # fixed when the block before it starts: what it can reach and from where one can still stop
    at_limit: bool  # so many blocks lie behind it that one can stop from max_entry2; more of them change nothing
    s_fraction: float
    dynamic: bool
    line_no: int | None


class Planner:
    """The block ring of one board. All times in s (the caller's clock), mm, mm/s; positions in the controller's frame.

    beam_timeout_s: how long the last S fraction stands once the ring ran dry.
    """

    def __init__(
        self,
        gantry: Gantry,
        *,
        ring: int = 16,
        junction_deviation_mm: float = 0.01,
        first_block_delay_s: float = 0.1,
        beam_timeout_s: float = 1.0,
    ) -> None:
        self.gantry = gantry
        self.usable = ring - 1
        self.free = self.usable  # blocks that still fit (the P of an advanced ok)
        self.changes_s = inf  # when the state next changes by itself: a block ends, the first one starts; inf: idle
        self.junction_deviation_mm = junction_deviation_mm
        self.first_block_delay_s = first_block_delay_s
        self.beam_timeout_s = beam_timeout_s
        self.limit_axes((inf, inf, inf), (inf, inf, inf))
        self.position: Point = (0.0, 0.0, 0.0)  # where the last planned block ends
        self.dry_runs = 0  # times the ring ran dry with the beam on
        self._blocks: list[Block] = []  # [0] is the running one when _running
        self._gains2: list[float] = []  # gain2 of each
        self._limits2: list[float] = []  # and max_entry2
        self._running = False

    # ---- what the firmware asks -------------------------------------------------------------------------------------
    @property
    def idle(self) -> bool:
        """No block planned or running."""
        return not self._blocks

    def limit_axes(self, speed_mm_s: Point, acceleration_mm_s2: Point) -> None:
        """Largest speed and acceleration of each axis, for moves planned from now on."""
        self._axis_speed, self._axis_acceleration = speed_mm_s, acceleration_mm_s2
        self._flat_speed = min(speed_mm_s[:2])  # no move in the plane is limited below these
        self._flat_acceleration = min(acceleration_mm_s2[:2])

    def next_change_s(self) -> float | None:
        """`changes_s`, or None when idle."""
        return self.changes_s if self._blocks else None

    def advance(self, t_s: float) -> None:
        """Do what the step interrupt did until `t_s`: end blocks, start the next ones, stand with the beam when dry."""
        blocks = self._blocks
        while self.changes_s <= t_s:
            at_s = self.changes_s
            if self._running:
                done = blocks.pop(0)
                del self._gains2[0], self._limits2[0]
                self.free += 1
                if not blocks:
                    self._running = False
                    self.changes_s = inf
                    if done.s_fraction > 0.0:
                        self.dry_runs += 1
                        self.gantry.stand(at_s, done.s_fraction, at_s + self.beam_timeout_s)
                    return
            self._start(at_s)

    def add(
        self,
        now_s: float,
        end: Point,
        speed_mm_s: float,
        acceleration_mm_s2: float,
        s_fraction: float,
        dynamic: bool,
        line_no: int | None,
    ) -> bool:
        """Plan a straight move to `end`; the caller saw `free` > 0 and called `advance(now_s)`. False: too short,
        dropped.
        """
        start = self.position
        x0, y0, z0 = start
        x1, y1, z1 = end
        dx, dy, dz = x1 - x0, y1 - y0, z1 - z0
        length = sqrt(dx * dx + dy * dy + dz * dz)
        if length < _MIN_LENGTH_MM:
            return False
        blocks = self._blocks
        block = Block()
        block.start, block.end, block.length = start, end, length
        block.unit = ux, uy, uz = dx / length, dy / length, dz / length
        if uz or speed_mm_s > self._flat_speed or acceleration_mm_s2 > self._flat_acceleration:
            # v = min(F, vmax_i / |u_i|), a = min(a, amax_i / |u_i|)
            for u, v, a in zip(block.unit, self._axis_speed, self._axis_acceleration):
                if u:
                    speed_mm_s = min(speed_mm_s, v / abs(u))
                    acceleration_mm_s2 = min(acceleration_mm_s2, a / abs(u))
        block.nominal, block.acceleration = speed_mm_s, acceleration_mm_s2
        block.gain2 = gain2 = 2.0 * acceleration_mm_s2 * length
        block.s_fraction, block.dynamic, block.line_no = s_fraction, dynamic, line_no
        self.position = end
        self.free -= 1

        self._gains2.append(gain2)
        block.at_limit = False
        block.entry2 = 0.0  # right behind a running block, which was planned to stop, it stays so
        if not blocks:
            block.max_entry2 = 0.0
            self._limits2.append(0.0)
            blocks.append(block)
            self.changes_s = now_s + self.first_block_delay_s
            return True
        previous = blocks[-1]
        px, py, pz = previous.unit
        cos = -(px * ux + py * uy + pz * uz)
        limit = speed_mm_s if speed_mm_s < previous.nominal else previous.nominal
        limit *= limit
        if cos > 0.999999:
            limit = 0.0
        elif cos > -0.999999:
            s = sqrt(0.5 * (1.0 - cos))
            limit = min(limit, acceleration_mm_s2 * self.junction_deviation_mm * s / (1.0 - s))
            if length < 1.0 and cos < -0.7071067811865475:
                limit = min(limit, length * acceleration_mm_s2 / (pi - acos(cos)))
        block.max_entry2 = limit
        self._limits2.append(limit)
        blocks.append(block)
        if not self._running and len(blocks) >= 3 and self.changes_s > now_s:
            self.changes_s = now_s
        return True

    def stop(self, now_s: float) -> float:
        """Quick stop at `now_s`: the running move is cut, the ring is emptied, the position is read back from the
        steppers.

        Returns the S fraction of the block that was cut (0 when none ran).
        """
        self.advance(now_s)
        fraction = self._blocks[0].s_fraction if self._running else 0.0
        self.gantry.cut(now_s)
        for ring in (self._blocks, self._gains2, self._limits2):
            ring.clear()
        self._running = False
        self.free, self.changes_s = self.usable, inf
        self.position = self.gantry.controller_at(now_s)
        return fraction

    # ---- inside -----------------------------------------------------------------------------------------------------
    def _replan(self) -> None:
        """The entry of the second block, where the first one's stays: backward pass over the ring, one step forward."""
        blocks = self._blocks
        before, after = blocks[0], blocks[1]
        speed2 = after.max_entry2  # from here one can still stop at the end of the ring
        if not after.at_limit:
            speed2 = sum(self._gains2[:1:-1])
            if speed2 < min(self._limits2[2:], default=inf):  # nearly always: no junction behind it is met at its limit
                speed2 += after.gain2
                if speed2 >= after.max_entry2:
                    speed2 = after.max_entry2
                    after.at_limit = True
            else:
                speed2 = 0.0
                for block in blocks[:0:-1]:
                    speed2 += block.gain2
                    if speed2 >= block.max_entry2:
                        speed2 = block.max_entry2
                        block.at_limit = True
        reach2 = before.entry2 + before.gain2
        after.entry2 = reach2 if reach2 < speed2 else speed2

    def _start(self, t_s: float) -> None:
        """The step interrupt takes the first block: from here its profile is fixed."""
        blocks = self._blocks
        block = blocks[0]
        entry2, exit2, cruise = block.entry2, 0.0, block.nominal
        if len(blocks) > 1:
            self._replan()
            exit2 = blocks[1].entry2
        if 2.0 * cruise * cruise - entry2 - exit2 > block.gain2:  # the ramps meet: a triangle
            cruise = sqrt(max(0.5 * (entry2 + exit2 + block.gain2), entry2, exit2))
        self._running = True
        self.changes_s = self.gantry.run(
            t_s,
            _new_tuple(
                Move,
                (
                    block.start,
                    block.end,
                    entry if (entry := sqrt(entry2)) < cruise else cruise,
                    cruise,
                    exit_ if (exit_ := sqrt(exit2)) < cruise else cruise,
                    block.acceleration,
                    block.nominal,
                    block.s_fraction,
                    block.dynamic,
                    block.line_no,
                ),
            ),
        )
