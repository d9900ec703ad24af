"""Are G2 and G3 the arcs that Marlin makes of them: short segments, each a block, on the circle?"""

from __future__ import annotations

import asyncio
from itertools import pairwise
from math import atan2, cos, dist, hypot, pi, sin

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from marlin_helpers import Host, framed, with_board

from hil_sim.world.emulators.marlin_arcs import MAX_SEGMENT_MM, centre_offset, segments

coordinates = st.floats(-50.0, 50.0)


@given(coordinates, coordinates, st.floats(0.0, 2.0 * pi), st.booleans())
def test_every_point_is_on_the_circle_and_no_segment_is_too_long(
    i: float, j: float, turn: float, clockwise: bool
) -> None:
    radius = hypot(i, j)
    assume(radius > 0.2)
    start = (7.0, -3.0, 1.0)
    centre = (start[0] + i, start[1] + j)
    angle = atan2(-j, -i) + turn
    end = (centre[0] + radius * cos(angle), centre[1] + radius * sin(angle), 4.0)
    points = [start, *segments(start, end, (i, j), clockwise=clockwise)]
    assert points[-1] == end
    for point in points:
        assert dist(point[:2], centre) == pytest.approx(radius, abs=1e-6)
    steps = [dist(a[:2], b[:2]) for a, b in pairwise(points)]
    assert max(steps) <= MAX_SEGMENT_MM * (1 + 1e-9)
    heights = [point[2] for point in points]
    assert heights == sorted(heights)


@pytest.mark.parametrize(
    ("end", "offset", "clockwise", "count", "length"),
    [
        ((0.0, 0.0, 0.0), (10.0, 0.0), False, 72, 20 * pi),  # a whole circle: 62.8 mm, but 72 segments at least
        ((0.0, 0.0, 0.0), (50.0, 0.0), True, 315, 100 * pi),  # a larger one: at most 1 mm each
        ((20.0, 0.0, 0.0), (10.0, 0.0), False, 36, 10 * pi),
        ((20.0, 0.0, 0.0), (10.0, 0.0), True, 36, 10 * pi),
        ((0.2, 0.0, 0.0), (0.1, 0.0), True, 3, 0.1 * pi),  # a tiny one: at least 0.1 mm each
    ],
)  # fmt: skip
def test_segments_are_counted_as_in_marlin(end, offset, clockwise: bool, count: int, length: float) -> None:
    points = [(0.0, 0.0, 0.0), *segments((0.0, 0.0, 0.0), end, offset, clockwise=clockwise)]
    assert len(points) == count + 1
    assert sum(dist(a, b) for a, b in pairwise(points)) == pytest.approx(length, rel=0.05)


@pytest.mark.parametrize(
    ("clockwise", "r", "expected"),
    [
        (False, 10.0, (0.0, 10.0)), (True, 10.0, (10.0, 0.0)),
        (False, -10.0, (10.0, 0.0)), (True, -10.0, (0.0, 10.0)),
        (True, 1.0, (5.0, 5.0)),  # too short for its ends: half-way between them, as in Marlin
    ],
)  # fmt: skip
def test_r_finds_the_centre_of_the_short_or_the_long_way(clockwise: bool, r: float, expected) -> None:
    found = centre_offset((0.0, 0.0, 0.0), (10.0, 10.0, 0.0), r, clockwise=clockwise)
    assert found == pytest.approx(expected)


def test_no_radius_or_no_way_is_no_arc() -> None:
    assert centre_offset((1.0, 1.0, 0.0), (1.0, 1.0, 0.0), 5.0, clockwise=True) is None
    assert centre_offset((1.0, 1.0, 0.0), (2.0, 1.0, 0.0), 0.0, clockwise=True) is None


def test_an_arc_is_run_block_by_block_with_its_line_and_power() -> None:
    async def story(host: Host) -> None:
        host.head.set_emission_capability(host.loop.time(), 100.0)
        await host.stream(["G28", "G1 X100 Y50 F6000", "M4 I"])
        await host.ask(framed(1, "G2 X100 Y50 I-20 J0 F3000 S500"))
        await host.ask("M400")
        host.settle()
        blocks = host.optics.executed
        assert len(blocks) == 126 and {block.line_no for block in blocks} == {1}
        assert sum(block.energy_j for block in blocks) == pytest.approx(0.5 * 100 * 40 * pi / 50, rel=1e-3)
        assert blocks[0].end_mm[1] < 50 < blocks[-1].start_mm[1], "clockwise: down first"
        assert host.gantry.position_at(host.loop.time()) == (100.0, 50.0, 0.0)

    with_board(story)


def test_an_arc_waits_for_the_planner_and_a_quick_stop_ends_it() -> None:
    async def story(host: Host) -> None:
        host.send("G2 X0 Y0 I40 J0 F600")
        await asyncio.sleep(5)
        assert host.oks == 0 and "echo:busy: processing" in host.lines and host.board.planner_free == 0
        host.send("M410")
        await asyncio.sleep(3)
        assert host.oks == 2 and host.board.planner.idle
        x, y, _ = host.gantry.position_at(host.loop.time())
        assert dist((x, y), (40.0, 0.0)) == pytest.approx(40.0, abs=0.02) and y > 10

    with_board(story)
