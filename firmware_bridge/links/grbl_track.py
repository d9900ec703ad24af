"""Is the machine where one of the moves under way can have brought it? No I/O and no clock.

A report tells position, feed and power of one instant. Which block runs at that instant is known within bounds: the
planner's tail is `acked - used` or one further, the motors are up to a handful of segments behind the planner (so some
blocks behind, if those are short), and no line that was not sent can run. A position on none of these blocks, a feed
above all of theirs, or a power that none of them gives, is what a damaged line looks like from outside.

Reports are taken while the motor interrupt runs, on an 8-bit processor: one of thousands can be torn. So the second
one in a row counts, not the first. Sources: gnea/grbl, report.c, planner.c, stepper.c (SEGMENT_BUFFER_SIZE 6).
"""

from __future__ import annotations

import math
from collections import deque

from firmware_bridge.links.grbl_lines import Point, Report, State
from firmware_bridge.links.grbl_program import Block

SEGMENTS = 6
FEED_SHARE = 1.02
FEED_MM_MIN = 2.0
POWER_SHARE = 0.9
"""Power follows the feed within a report only as well as both are rounded and taken at one time."""
POWER_S = 2.0


class Track:
    """The moves that may be running."""

    def __init__(self, tolerance_mm: float, planner_blocks: int) -> None:
        self.sent = 0  # blocks told so far
        self.acked = 0  # of these, answered
        self._tolerance_mm = tolerance_mm
        self._planner_blocks = planner_blocks
        self._blocks: deque[Block] = deque()  # the last is number sent - 1

    def add(self, block: Block) -> None:
        """This block was sent."""
        self._blocks.append(block)
        self.sent += 1

    def passed(self, acked: int) -> None:
        """So many blocks are answered; those that can no longer run are forgotten."""
        self.acked = acked
        oldest = acked - self._planner_blocks - SEGMENTS - 1
        while self._blocks and self.sent - len(self._blocks) < oldest:
            self._blocks.popleft()

    def rest(self) -> None:
        """The machine stands, and everything sent is done."""
        self._blocks.clear()
        self.acked = self.sent

    def possible(self, planner_free: int | None) -> list[Block]:
        """The blocks that may be running, oldest first."""
        used = self._planner_blocks if planner_free is None else max(0, self._planner_blocks - planner_free)
        first = max(0, self.acked - used - SEGMENTS - 1 - (self.sent - len(self._blocks)))
        return list(self._blocks)[first:]

    def doubt(self, report: Report, place_mm: Point, *, is_dynamic: bool) -> str:
        """What in a report of a running machine cannot be, as the end of a sentence; "" where all can.

        `place_mm`: the report's position in the work frame. `is_dynamic`: power follows the feed (M4).
        """
        if report.state is not State.RUN:
            return ""
        blocks = self.possible(report.planner_free)
        if not blocks:
            return "it moves, and every move that was sent has ended"
        off_mm = min(distance_mm(place_mm, block) for block in blocks)
        if off_mm > self._tolerance_mm:
            where = ", ".join(f"{axis:.3f}" for axis in place_mm)
            return f"it is at {where} mm, {off_mm:.3f} mm off every move that is under way"
        if report.line is not None:  # of the block whose feed and power are reported
            numbered = [block for block in blocks if block.number == report.line]
            if not numbered:
                return f"it carries out line {report.line}, and that is none of the lines that are under way"
            blocks = numbered
        return _speed_doubt(report, blocks, is_dynamic)


def _speed_doubt(report: Report, blocks: list[Block], is_dynamic: bool) -> str:
    feed, power = report.feed_mm_min, report.power_s
    if feed is None:
        return ""
    feeds = [block.feed_mm_min for block in blocks]
    if None not in feeds:
        fastest = max(value for value in feeds if value is not None)
        if feed > FEED_SHARE * fastest + FEED_MM_MIN:
            return f"it moves at {feed:g} mm/min, and {fastest:g} is the fastest that was asked for"
    if power is None:
        return ""
    strongest = max(block.power_s for block in blocks)
    if power > strongest + POWER_S:
        return f"its power is S{power:g}, and S{strongest:g} is the most that was asked for"
    least = min(_least_power(block, feed, is_dynamic) for block in blocks)
    if power < POWER_SHARE * least - POWER_S:
        return f"its power is S{power:g} at {feed:g} mm/min, and S{least:.0f} is the least that was asked for"
    return ""


def _least_power(block: Block, feed_mm_min: float, is_dynamic: bool) -> float:
    if not is_dynamic or not block.feed_mm_min:
        return block.power_s
    return block.power_s * min(1.0, feed_mm_min / block.feed_mm_min)


def distance_mm(place_mm: Point, block: Block) -> float:
    """How far a place is from a block's straight line, mm."""
    start = [um / 1000.0 for um in block.start_um]
    along = [(b - a) / 1000.0 for a, b in zip(block.start_um, block.end_um)]
    to = [p - a for p, a in zip(place_mm, start)]
    length2 = sum(c * c for c in along)
    share = min(1.0, max(0.0, sum(a * b for a, b in zip(to, along)) / length2)) if length2 else 0.0
    return math.dist(to, [share * c for c in along])
