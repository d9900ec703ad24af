"""Do exposure rows and executed blocks say exactly where the beam's energy went?"""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil_sim.world.plant.gantry import Gantry, Move, Run
from hil_sim.world.plant.optics import NO_BLOCK, Head, Optics, _ends


def plant(**options) -> tuple[Gantry, Head, Optics]:
    gantry, head = Gantry(), Head()
    return gantry, head, Optics(gantry, head, **options)


def across(dynamic: bool, s: float = 0.5) -> Move:
    """40 mm from rest to rest: ramps of 0.1 s, cruise 50 mm/s from 0.1 to 0.8 s."""
    return Move((0, 0, 0), (40, 0, 0), 0.0, 50.0, 0.0, 500.0, 50.0, s, dynamic, 7)


def row_energy(rows: np.ndarray) -> np.ndarray:
    return 0.5 * (rows[:, 6] + rows[:, 7]) * (rows[:, 1] - rows[:, 0])


def test_rows_are_split_at_the_trapezoids_knots() -> None:
    gantry, head, optics = plant()
    head.set_emission_capability(0.0, 100.0)
    gantry.run(1.0, across(dynamic=True))
    rows = optics.take_exposures(5.0)
    expected = [
        [1.0, 1.1, 0.0, 0, 2.5, 0, 0, 50, 0],
        [1.1, 1.8, 2.5, 0, 37.5, 0, 50, 50, 0],
        [1.8, 1.9, 37.5, 0, 40.0, 0, 50, 0, 0],
    ]
    np.testing.assert_allclose(rows, expected, atol=1e-9)
    (block,) = optics.executed
    assert (block.index, block.line_no, block.s_fraction) == (0, 7, 0.5)
    assert block.energy_j == pytest.approx(50.0 * 40 / 50, rel=1e-12) == pytest.approx(row_energy(rows).sum())
    assert optics.take_exposures(6.0).shape == (0, 9)


def test_the_head_changing_in_the_middle_of_a_move_cuts_it_there() -> None:
    gantry, head, optics = plant()
    gantry.run(0.0, across(dynamic=False))
    head.set_emission_capability(0.05, 100.0)
    head.set_emission_capability(0.45, 20.0)
    head.set_emission_capability(0.6, 0.0)
    rows = optics.take_exposures(5.0)
    np.testing.assert_allclose(rows[:, 0], [0.05, 0.1, 0.45])
    np.testing.assert_allclose(rows[:, 1], [0.1, 0.45, 0.6])
    np.testing.assert_allclose(rows[:, 6], [50, 50, 10])
    np.testing.assert_allclose(rows[:, 2], [0.625, 2.5, 20.0])
    assert optics.executed[0].energy_j == pytest.approx(50 * 0.4 + 10 * 0.15, rel=1e-12)
    assert optics.emission_w(5.0) == 0


def test_a_block_the_head_slept_through_is_executed_with_no_energy() -> None:
    gantry, _, optics = plant()
    gantry.run(0.0, across(dynamic=True))
    gantry.run(1.0, Move((40, 0, 0), (0, 0, 0), 0.0, 50.0, 0.0, 500.0, 50.0))  # travel: no block
    assert optics.take_exposures(5.0).shape == (0, 9)
    assert [block.energy_j for block in optics.executed] == [0.0]


def test_emission_now_follows_speed_head_and_stand() -> None:
    gantry, head, optics = plant()
    head.set_emission_capability(0.0, 100.0)
    end = gantry.run(1.0, across(dynamic=True))
    gantry.stand(end, 0.5, end + 1.0)
    for t, watts in [(0.5, 0), (1.05, 25), (1.5, 50), (1.85, 25), (2.0, 50), (2.8, 50), (2.95, 0)]:
        assert optics.emission_w(t) == pytest.approx(watts), t


def test_a_standing_beam_is_a_row_that_goes_nowhere() -> None:
    gantry, head, optics = plant()
    head.set_emission_capability(0.0, 100.0)
    end = gantry.run(0.0, across(dynamic=True))
    gantry.stand(end, 0.5, end + 1.0)
    optics.settle(end + 0.3)
    assert not optics.dwells, "it has not ended"
    gantry.run(end + 0.4, Move((40, 0, 0), (0, 0, 0), 0.0, 50.0, 0.0, 500.0, 50.0))
    rows = optics.take_exposures(9.0)
    still = rows[rows[:, 8] == NO_BLOCK]
    assert (still[:, 2] == 40).all() and (still[:, 4] == 40).all()
    assert row_energy(still).sum() == pytest.approx(20.0)
    (dwell,) = optics.dwells
    assert dwell.energy_j == pytest.approx(20.0) and dwell.after_block == 0


@settings(max_examples=100, deadline=None)
@given(
    st.booleans(),
    st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(0.0, 200.0)), max_size=6),
    st.lists(st.floats(0.0, 4.0), max_size=8),
    st.sampled_from([0.0, 1e3, 1e6]),
)
def test_when_it_is_settled_does_not_matter(dynamic: bool, changes, stops, origin: float) -> None:
    def world() -> Optics:
        gantry, head, optics = plant(keep_history=True)
        for t, watts in sorted(changes):
            head.set_emission_capability(origin + t, watts)
        t = gantry.run(origin + 0.2, across(dynamic, 0.8))
        t = gantry.run(t, Move((40, 0, 0), (0, 30, 0), 0.0, 50.0, 0.0, 500.0, 50.0, 0.3, dynamic))
        gantry.stand(t, 0.3, t + 1.0)
        return optics

    whole, pieces = world(), world()
    whole.settle(origin + 9.0)
    for stop in sorted(stops):
        pieces.settle(origin + stop)
    pieces.settle(origin + 9.0)
    tolerance = {"rel": 1e-9, "abs": 1e-9} if origin < 1e6 else {"rel": 1e-6, "abs": 1e-6}
    assert [b.energy_j for b in pieces.executed] == pytest.approx([b.energy_j for b in whole.executed], **tolerance)
    assert pieces.total_energy_j == pytest.approx(whole.total_energy_j, **tolerance)
    assert row_energy(pieces.exposures).sum() == pytest.approx(whole.total_energy_j, rel=1e-6, abs=1e-5)
    rows = pieces.exposures
    assert (rows[1:, 0] >= rows[:-1, 1] - 1e-9).all(), "rows overlap"
    # a fine sum over what the head's read-back would say is the same energy
    n = 20000
    ts = origin + (np.arange(n) + 0.5) * 4.0 / n
    summed = sum(pieces.emission_w(float(t)) for t in ts) * 4.0 / n
    assert summed == pytest.approx(whole.total_energy_j, rel=5e-3, abs=0.1)


def test_memory_stays_bounded() -> None:
    gantry, head, optics = plant()
    t = 0.0
    for i in range(3000):
        head.set_emission_capability(t, 100.0 + i % 2)
        x0, x1 = (0, 40) if i % 2 == 0 else (40, 0)
        t = gantry.run(t, Move((x0, 0, 0), (x1, 0, 0), 0.0, 50.0, 0.0, 500.0, 50.0, 0.5, True))
        if i % 10 == 9:
            optics.take_exposures(t - 0.1)
            assert len(gantry.history) < 200 and len(head._times) < 30
    optics.take_exposures(t)
    assert [block.index for block in optics.executed] == list(range(3000))
    assert gantry.moves_run == 3000


def test_the_head_must_make_sense() -> None:
    head = Head()
    head.set_emission_capability(1.0, 50.0)
    with pytest.raises(ValueError, match="time runs forward"):
        head.set_emission_capability(0.5, 10.0)
    for watts in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="number of watts"):
            head.set_emission_capability(2.0, watts)


@pytest.mark.parametrize("seed", range(200))
def test_a_whole_run_ends_as_its_formulas_say(seed: int) -> None:
    rng = random.Random(seed)
    length_mm, acceleration = rng.uniform(0.01, 50.0), rng.uniform(50.0, 2000.0)
    cruise = rng.uniform(1.0, 0.99 * (acceleration * length_mm) ** 0.5)
    entry, exit_ = rng.choice((0.0, 0.5 * cruise, cruise)), rng.choice((0.0, 0.5 * cruise, cruise))
    move = Move((0.0, 0.0, 0.0), (length_mm, 0.0, 0.0), entry, cruise, exit_, acceleration, cruise, 1.0, True)
    run = Run(3.0, move, (0.0, 0.0, 0.0), (length_mm, 0.0, 0.0))
    end_s = run.full_s
    by_formulas = (run.distance_mm(0.0), run.speed_mm_s(0.0), run.distance_mm(end_s), run.speed_mm_s(end_s))
    assert _ends(run, 0.0, end_s) == by_formulas
