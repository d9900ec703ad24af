"""Does the hopper give what it has and no more?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil_sim.world.plant.hopper import Hopper, HopperConfig

LENGTH_MM, WIDTH_MM, STRIP_MM = 100.0, 50.0, 10.0
STRIPS = [(x, x + STRIP_MM) for x in (STRIP_MM * n for n in range(10))]
STRIP_MM3 = STRIP_MM * WIDTH_MM  # of a layer of 1 mm


def hopper(start_mm3: float, *, capacity_mm3: float = 1e6, rate_mm3_s: float = 0.0) -> Hopper:
    config = HopperConfig(capacity_mm3, start_mm3, LENGTH_MM, WIDTH_MM)
    return Hopper(config, lambda t_s: rate_mm3_s * t_s)


def test_one_that_is_full_fills_every_strip_once() -> None:
    store = hopper(20 * STRIP_MM3)
    assert [store.give(1.0, a, b, 1.0) for a, b in STRIPS] == [1.0] * 10
    assert store.level_mm3(1.0) == 10 * STRIP_MM3
    assert [store.give(2.0, a, b, 1.0) for a, b in reversed(STRIPS)] == [1.0] * 10
    assert store.level_mm3(2.0) == 10 * STRIP_MM3, "the way back over level powder takes none"


def test_one_that_runs_empty_leaves_the_rest_thin_and_another_pass_fills_it() -> None:
    store = hopper(2.5 * STRIP_MM3, rate_mm3_s=STRIP_MM3)
    assert [store.give(0.0, a, b, 1.0) for a, b in STRIPS] == [1.0, 1.0, 0.5] + [0.0] * 7
    assert [store.give(7.5, a, b, 1.0) for a, b in STRIPS] == [1.0] * 10
    assert store.level_mm3(7.5) == pytest.approx(0.0, abs=1e-9)


def test_what_does_not_fit_falls_off() -> None:
    store = hopper(0.0, capacity_mm3=3 * STRIP_MM3, rate_mm3_s=STRIP_MM3)
    assert store.level_mm3(100.0) == 3 * STRIP_MM3
    assert store.give(100.0, 0.0, 10.0, 1.0) == 1.0
    assert store.level_mm3(100.0) == 2 * STRIP_MM3 and store.level_mm3(101.0) == 3 * STRIP_MM3


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.integers(0, 9), st.floats(0.0, 3.0)), max_size=30))
def test_powder_is_neither_made_nor_lost_but_at_the_brim(passes: list[tuple[float, int, float]]) -> None:
    store, now_s, given_mm3, filled_mm = hopper(1000.0, rate_mm3_s=100.0), 0.0, 0.0, [0.0] * 10
    for wait_s, strip, drop_mm in passes:
        now_s += wait_s
        room_mm = max(drop_mm - filled_mm[strip], 0.0)
        share = store.give(now_s, *STRIPS[strip], drop_mm)
        assert 0.0 <= share <= 1.0
        filled_mm[strip] += share * room_mm
        given_mm3 += share * room_mm * STRIP_MM3
    assert store.level_mm3(now_s) == pytest.approx(1000.0 + 100.0 * now_s - given_mm3, abs=1e-6)
