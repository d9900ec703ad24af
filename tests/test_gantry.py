"""Is the gantry where its moves say, at any time, after cuts, crashes and resets?"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil_sim.world.plant.gantry import Gantry, Move, Run, Stand


def rest_to_rest(start, end, cruise=50.0, a=500.0, **more) -> Move:
    return Move(start, end, 0.0, cruise, 0.0, a, cruise, **more)


def test_position_is_the_trapezoid_in_closed_form() -> None:
    gantry = Gantry()
    ends = gantry.run(10.0, rest_to_rest((0, 0, 0), (40, 0, 0)))
    assert ends == pytest.approx(10.9)
    for t, x in [(9.0, 0), (10.0, 0), (10.05, 0.625), (10.1, 2.5), (10.45, 20), (10.8, 37.5), (10.9, 40), (99.0, 40)]:
        assert gantry.position_at(t)[0] == pytest.approx(x, abs=1e-9), t


@settings(max_examples=100, deadline=None)
@given(st.floats(0.0, 40.0), st.floats(0.0, 40.0), st.floats(5.0, 60.0), st.floats(0.0, 1e6))
def test_speed_is_the_slope_of_distance(entry: float, exit_: float, length: float, t0: float) -> None:
    move = Move((0, 0, 0), (length, 0, 0), entry, 50.0, exit_, 500.0, 50.0)
    run = Run(t0, move, (0, 0, 0), (length, 0, 0))
    n = 4000
    step = run.full_s / n
    travelled = sum(run.speed_mm_s((i + 0.5) * step) for i in range(n)) * step
    assert travelled == pytest.approx(length, rel=1e-5)
    for i in range(1, 20):
        tau = run.full_s * i / 20
        slope = (run.distance_mm(tau + 1e-6) - run.distance_mm(tau - 1e-6)) / 2e-6
        assert slope == pytest.approx(run.speed_mm_s(tau), abs=1e-2)


def test_moves_must_be_possible_and_in_turn() -> None:
    gantry = Gantry()
    with pytest.raises(ValueError, match="longer than its"):
        gantry.run(0.0, rest_to_rest((0, 0, 0), (1, 0, 0)))
    with pytest.raises(ValueError, match="needs a length"):
        gantry.run(0.0, rest_to_rest((0, 0, 0), (0, 0, 0)))
    gantry.run(0.0, rest_to_rest((0, 0, 0), (40, 0, 0)))
    with pytest.raises(ValueError, match="while another runs"):
        gantry.run(0.5, rest_to_rest((40, 0, 0), (0, 0, 0)))


def test_a_cut_stops_dead_where_it_was() -> None:
    gantry = Gantry()
    gantry.run(0.0, rest_to_rest((0, 0, 0), (40, 0, 0)))
    gantry.cut(0.45)
    assert gantry.position_at(0.3)[0] == pytest.approx(12.5)
    assert gantry.position_at(7.0)[0] == gantry.rest_mm[0] == pytest.approx(20.0)
    assert gantry.run_at(0.45) is None


def test_a_controller_that_reset_is_elsewhere_than_it_thinks() -> None:
    gantry = Gantry(start_mm=(100.0, 50.0, 0.0))
    gantry.run(0.0, rest_to_rest((0, 0, 0), (40, 0, 0)))
    assert gantry.position_at(9.0) == (140.0, 50.0, 0.0) and gantry.controller_at(9.0) == (40.0, 0.0, 0.0)
    gantry.datum((0.0, 0.0, 0.0))
    gantry.run(10.0, rest_to_rest((0, 0, 0), (0, 40, 0)))
    assert gantry.position_at(99.0) == (140.0, 90.0, 0.0) and gantry.controller_at(99.0) == (0.0, 40.0, 0.0)


def test_the_frame_takes_steps_and_they_stay_lost() -> None:
    gantry = Gantry(frame_mm=((0, 0, 0), (100, 100, 100)))
    ends = gantry.run(0.0, rest_to_rest((0, 0, 0), (200, 0, 0)))
    assert ends == pytest.approx(4.1) and gantry.position_at(9.0)[0] == 100.0 and gantry.crashes == 1
    assert gantry.position_at(2.05)[0] == pytest.approx(50.0)
    gantry.run(10.0, rest_to_rest((200, 0, 0), (250, 0, 0)))  # already there: the motor hums
    assert gantry.position_at(99.0)[0] == 100.0 and gantry.crashes == 2
    gantry.run(20.0, rest_to_rest((250, 0, 0), (200, 0, 0)))
    assert gantry.position_at(99.0)[0] == 50.0


def test_history_can_be_forgotten_but_not_the_place() -> None:
    gantry = Gantry()
    t = 0.0
    for i in range(100):
        t = gantry.run(t, rest_to_rest((10 * i, 0, 0), (10 * i + 10, 0, 0)))
    gantry.forget_before(t - 0.5)
    assert len(gantry.history) < 5 and gantry.moves_run == 100
    assert gantry.position_at(t)[0] == 1000.0
    assert gantry.position_at(t - 0.15)[0] == pytest.approx(995.0, abs=2.0)
    gantry.forget_before(t + 99)
    assert len(gantry.history) == 1


def test_a_stand_gives_way_to_the_next_move() -> None:
    gantry = Gantry()
    t = gantry.run(0.0, rest_to_rest((0, 0, 0), (40, 0, 0), s_fraction=0.5))
    gantry.stand(t, 0.5, t + 1.0)
    assert isinstance(gantry.run_at(t + 0.9), Stand) and gantry.run_at(t + 1.0) is None
    gantry.run(t + 0.2, rest_to_rest((40, 0, 0), (0, 0, 0)))
    assert gantry.history[1].t1_s == t + 0.2 and isinstance(gantry.run_at(t + 0.2), Run)
