"""Do the axes move as their profiles say, and does every pass of the blade put the right powder in the right place?"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil_sim.world.faults.schedule import Fault, Faults, FaultSchedule
from hil_sim.world.plant.linear_axis import LinearAxis
from hil_sim.world.plant.recoater import THIN_FILL, Recoater

TRAVEL = (-2.0, 302.0)


def axis(at_mm: float = 0.0) -> LinearAxis:
    return LinearAxis("blade", travel_mm=TRAVEL, position_mm=at_mm)


def test_a_move_is_a_trapezoid() -> None:
    blade = axis()
    assert blade.move(0.0, 300.0, 100.0, 200.0, 400.0) == pytest.approx(0.5 + 0.25 + (300 - 25 - 12.5) / 100)
    assert blade.position_at(0.5) == pytest.approx(25.0)
    assert blade.velocity_at(1.0) == pytest.approx(100.0)
    assert blade.position_at(blade.rest_s - 0.1) == pytest.approx(300.0 - 0.5 * 400 * 0.1**2)
    assert blade.position_at(blade.rest_s) == 300.0 == blade.position_at(1e6)
    assert not blade.moving(blade.rest_s) and blade.moving(0.0)


def test_a_short_move_is_a_triangle() -> None:
    blade = axis()
    blade.move(0.0, 1.0, 100.0, 100.0, 100.0)
    assert blade.rest_s == pytest.approx(0.2)
    assert blade.velocity_at(0.1) == pytest.approx(10.0)


def test_stop_brakes_and_a_turn_brakes_first() -> None:
    blade = axis()
    blade.move(0.0, 300.0, 100.0, 1000.0, 1000.0)
    blade.stop(1.0, 500.0)
    assert blade.rest_s == pytest.approx(1.2)
    assert blade.position_at(9.0) == pytest.approx(95.0 + 10.0)
    blade.move(10.0, 300.0, 100.0, 1000.0, 1000.0)
    blade.move(10.5, 0.0, 100.0, 1000.0, 1000.0)
    assert blade.velocity_at(10.55) == pytest.approx(50.0)
    assert blade.velocity_at(11.0) == pytest.approx(-100.0)
    assert blade.position_at(blade.rest_s) == 0.0


def test_the_end_of_travel_strikes() -> None:
    blade = axis()
    blade.move(0.0, 400.0, 100.0, 1000.0, 1000.0)
    assert blade.struck_s == pytest.approx(0.05 + (302.0 - 5.0) / 100 + 0.05)
    assert blade.position_at(100.0) == 302.0 and blade.velocity_at(100.0) == 0.0
    assert blade.rest_s == blade.struck_s
    blade.move(200.0, 0.0, 100.0, 1000.0, 1000.0)
    assert blade.struck_s is None


def test_what_an_axis_refuses() -> None:
    with pytest.raises(ValueError, match="cannot stand"):
        axis(400.0)
    blade = axis()
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="cannot move"):
            blade.move(0.0, 1.0, bad, 1.0, 1.0)
    blade.move(5.0, 1.0, 1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="earlier"):
        blade.move(4.0, 1.0, 1.0, 1.0, 1.0)


COMMANDS = st.lists(
    st.tuples(
        st.floats(0.0, 4.0), st.floats(-20.0, 320.0), st.floats(1.0, 300.0), st.floats(10.0, 5e3), st.floats(10.0, 5e3)
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(COMMANDS)
def test_motion_is_continuous_within_its_limits_and_arrives(commands: list[tuple[float, ...]]) -> None:
    blade = axis()
    t_s = 0.0
    for wait_s, target, speed, acc, dec in commands:
        t_s += wait_s
        before, velocity = blade.position_at(t_s), blade.velocity_at(t_s)
        blade.move(t_s, target, speed, acc, dec)
        assert blade.position_at(t_s) == pytest.approx(before, abs=1e-9)
        for earlier, later in zip(blade.phases, blade.phases[1:]):
            assert later.t_s >= earlier.t_s
            assert earlier.position_at(later.t_s) == pytest.approx(later.position_mm, abs=1e-6)
            assert abs(earlier.acceleration_mm_s2) <= max(acc, dec)
            assert abs(later.velocity_mm_s) <= max(speed, abs(velocity)) + 1e-9
            if blade.struck_s is None:
                assert earlier.velocity_at(later.t_s) == pytest.approx(later.velocity_mm_s, abs=1e-6)
        assert TRAVEL[0] - 1e-9 <= blade.position_at(blade.rest_s) <= TRAVEL[1] + 1e-9
        assert (blade.struck_s is not None) or blade.position_at(blade.rest_s) == target


class Bed:
    """Remembers what was laid, and keeps a surface of 1 mm columns as depth below the first plane."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, float, float, float, float]] = []
        self.depth_mm = [0.0] * 250

    def spread(self, t_s: float, x_from_mm: float, x_to_mm: float, plane_drop_mm: float, fill_fraction: float) -> None:
        assert x_from_mm < x_to_mm
        self.calls.append((t_s, x_from_mm, x_to_mm, plane_drop_mm, fill_fraction))
        for x in range(250):
            if x_from_mm <= x + 0.5 < x_to_mm:
                # plane_drop is what the bed has sunk: its room is that less what was filled before
                self.depth_mm[x] -= fill_fraction * max(plane_drop_mm + self.depth_mm[x], 0.0)

    def room_mm(self, drop_mm: float) -> list[float]:
        return [drop_mm + filled for filled in self.depth_mm]


def machine(*faults: Fault) -> tuple[Recoater, Bed]:
    bed = Bed()
    piston = LinearAxis("piston", travel_mm=(-1.0, 101.0))
    return Recoater(axis(), piston, bed, faults=Faults(FaultSchedule(faults))), bed


def go(part: LinearAxis, t_s: float, target_mm: float) -> float:
    return part.move(t_s, target_mm, 100.0, 1000.0, 1000.0)


def there_and_back(recoater: Recoater, t_s: float) -> float:
    return go(recoater.blade, go(recoater.blade, t_s, 300.0) + 0.5, 0.0)


def test_one_stroke_fills_what_the_piston_made_room_for() -> None:
    recoater, bed = machine()
    t_s = go(recoater.piston, 0.0, 2.0)
    t_s = go(recoater.blade, t_s, 300.0)
    recoater.advance_to(t_s)
    assert bed.room_mm(2.0) == [0.0] * 250
    assert {call[3:] for call in bed.calls} == {(2.0, 1.0)}
    assert [call[1] for call in bed.calls] == [10.0 * k for k in range(25)]
    assert [call[0] for call in bed.calls] == sorted(call[0] for call in bed.calls)
    # the edge at x = 100 mm is passed when the blade's axis is at 125 mm
    by_hand = t_s - (300 / 100 + 0.1) + 0.1 + (125 - 5) / 100
    assert bed.calls[9][0] == pytest.approx(by_hand, abs=1e-9)


def test_a_short_feed_leaves_the_far_part_thin_and_one_more_pass_fills_it() -> None:
    recoater, bed = machine(Fault("short_feed", "recoater.feed", at_event=0, args=(("fraction", 0.63),)))
    t_s = there_and_back(recoater, go(recoater.piston, 0.0, 2.0))
    recoater.advance_to(t_s)
    room = bed.room_mm(2.0)
    edge = round(0.63 * 250)
    assert room[: edge - 1] == [0.0] * (edge - 1)
    thin = 2.0 * (1 - THIN_FILL) ** 2  # a fifth of what is missing, there and back
    assert room[edge + 1 :] == pytest.approx([thin] * (249 - edge))
    recoater.advance_to(there_and_back(recoater, t_s + 1.0))
    assert bed.room_mm(2.0) == pytest.approx([0.0] * 250, abs=1e-12)
    assert recoater.passes == 2


def test_a_short_feed_in_time_strikes_the_passes_that_begin_in_it() -> None:
    recoater, bed = machine(Fault("short_feed", "recoater.feed", at_s=2.0, for_s=10.0, args=(("fraction", 0.0),)))
    t_s = there_and_back(recoater, 1.0)  # over the bed at 1.3 s
    t_s = there_and_back(recoater, t_s + 1.0)
    recoater.advance_to(t_s)
    fills = [call[4] for call in bed.calls]
    assert fills == [1.0] * 50 + [THIN_FILL] * 50
    t_s = there_and_back(recoater, t_s + 5.0)
    recoater.advance_to(t_s)
    assert bed.calls[-1][4] == 1.0


def test_a_blade_that_stops_halfway_has_filled_half() -> None:
    recoater, bed = machine()
    t_s = go(recoater.piston, 0.0, 2.0)
    go(recoater.blade, t_s, 300.0)
    rest_s = recoater.blade.stop(t_s + 1.5, 1000.0)
    stands_mm = recoater.blade_x_mm(rest_s)
    recoater.advance_to(rest_s + 100.0)
    assert max(call[2] for call in bed.calls) == pytest.approx(stands_mm)
    assert bed.calls[-1][0] == rest_s
    recoater.advance_to(go(recoater.blade, rest_s + 100.0, 300.0))
    assert bed.room_mm(2.0) == [0.0] * 250
    assert recoater.passes == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.001, 0.7), max_size=30))
def test_it_does_not_matter_who_asks_when(asks: list[float]) -> None:
    def run(steps: list[float]) -> list[tuple[float, ...]]:
        recoater, bed = machine(Fault("short_feed", "recoater.feed", at_event=0, args=(("fraction", 0.333),)))
        t_s = go(recoater.piston, 0.0, 2.0)
        t_s = go(recoater.blade, t_s, 300.0)
        at_s = 0.0
        for step in steps:
            at_s = min(at_s + step, t_s)
            recoater.advance_to(at_s)
        recoater.advance_to(there_and_back(recoater, t_s + 1.0))
        return bed.calls

    once, often = run([]), run(asks)
    assert [call[1:] for call in often] == [call[1:] for call in once]
    assert [call[0] for call in often] == pytest.approx([call[0] for call in once], abs=1e-9)
