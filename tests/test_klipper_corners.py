"""Are corners taken as Klipper's planner takes them, by a square corner velocity?"""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil_sim.world.emulators.klipper_planner import CornerVelocityPlanner
from hil_sim.world.emulators.marlin import MarlinEmulator
from hil_sim.world.emulators.marlin_firmware import MarlinBuild
from hil_sim.world.plant.gantry import Gantry, Run

ACCELERATION = 500.0


def executed(points: list[tuple[float, float]], speed_mm_s: float = 50.0, corner_mm_s: float = 5.0) -> list[Run]:
    gantry = Gantry()
    planner = CornerVelocityPlanner(gantry, square_corner_mm_s=corner_mm_s)
    for i, (x, y) in enumerate(points):
        planner.add(0.0, (x, y, 0.0), speed_mm_s, ACCELERATION, 0.0, False, i)
    while (until := planner.next_change_s()) is not None:
        planner.advance(until)
    return [entry for entry in gantry.history if isinstance(entry, Run)]


def test_the_worked_example_of_a_right_angle() -> None:
    """E3 of the facts: X20 then Y20 at 50 mm/s and 500 mm/s2; 1 % asked, 0.01 % met."""
    runs = executed([(20, 0), (20, 20)])
    assert runs[0].move.exit_mm_s == pytest.approx(5.0, rel=1e-9)
    assert runs[-1].t1_s - runs[0].t0_s == pytest.approx(0.9810, rel=1e-4)


@given(st.floats(0.05, 3.0), st.floats(0.1, 30.0), st.floats(0.1, 30.0))
def test_no_corner_is_faster_than_any_of_its_bounds(turn: float, first_mm: float, second_mm: float) -> None:
    """`turn` rad away from straight on, the angle between the moves is pi less that; after the plainest reading."""
    end = (first_mm + second_mm * math.cos(turn), second_mm * math.sin(turn))
    before, after = executed([(first_mm, 0.0), end])
    corner = before.move.exit_mm_s
    s = math.sin((math.pi - turn) / 2)
    deviation = 25.0 * (math.sqrt(2.0) - 1.0) / ACCELERATION
    bounds = [
        50.0,
        math.sqrt(ACCELERATION * deviation * s / (1.0 - s)),
        *(math.sqrt(0.5 * mm * math.tan((math.pi - turn) / 2) * ACCELERATION) for mm in (first_mm, second_mm)),
        *(math.sqrt(2.0 * ACCELERATION * mm) for mm in (first_mm, second_mm)),  # from rest, and to rest
    ]
    assert corner == pytest.approx(min(bounds), rel=1e-6)
    assert after.move.entry_mm_s == pytest.approx(corner)


def test_a_reversal_stops_and_a_straight_line_does_not() -> None:
    assert executed([(20, 0), (0, 0)])[0].move.exit_mm_s == 0.0
    assert executed([(20, 0), (40, 0)])[0].move.exit_mm_s == pytest.approx(50.0)


def test_a_board_can_be_built_with_it() -> None:
    board = MarlinEmulator(Gantry(), MarlinBuild(square_corner_mm_s=5.0))
    assert isinstance(board.planner, CornerVelocityPlanner) and board.planner.square_corner_mm_s == 5.0
