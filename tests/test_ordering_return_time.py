"""Is the return time kept: does no vector begin sooner than it may after a neighbour ended?

The judge is `naive.return_times`, which looks at every pair and knows nothing of grids, queues or greedy choices.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solid_helpers import loops_of
from test_ordering import ORIGIN, hatched, islands, lines

from slicer.hatching import HATCHES, Hatched, HatchSettings
from slicer.layers import cut_layers
from slicer.mesh import read_mesh
from slicer.offsets import offset_loops
from slicer.ordering import ORDERS, Ordered, OrderSettings, follows_before, jump_length_mm
from tests import naive

SPEED, JUMP_SPEED = 50.0, 400.0
ROUNDING_S = 1e-9


def ordered(hatch: Hatched, return_time_s: float, radius: float, at: tuple[float, float] = ORIGIN) -> Ordered:
    return ORDERS["return_time"](hatch, SPEED, JUMP_SPEED, at, OrderSettings(0.0, return_time_s, radius))


def returns(hatch: Hatched, found: Ordered, radius: float, at: tuple[float, float] = ORIGIN) -> np.ndarray:
    """By the judge: the return time of each vector in its turn. Runs may go on along the hatch's chains."""
    follows = follows_before(hatch)
    goes_on = np.r_[False, np.diff(found.index) == 1] & follows[found.index] & ~found.flipped
    rings = naive.left_of_rings(hatch.vectors_mm, follows)
    exposed, speeds = found.vectors_of(hatch), np.full(len(found.index), SPEED)
    return naive.return_times(
        exposed, found.wait_s, speeds, JUMP_SPEED, at, radius, goes_on, [rings[k] for k in found.index]
    )


def total_s(hatch: Hatched, found: Ordered) -> float:
    speeds = np.full(len(found.index), SPEED)
    return float(naive.exposure_times(found.vectors_of(hatch), found.wait_s, speeds, JUMP_SPEED, ORIGIN)[1][-1])


def spiral(turns: int, spacing: float = 1.0, sides: int = 24) -> np.ndarray:
    turn = np.linspace(0.0, 2 * np.pi * turns, sides * turns + 1)
    points = 40.0 + np.c_[np.cos(turn), np.sin(turn)] * (1.0 + spacing * turn / (2 * np.pi))[:, None]
    return np.array([[*a, *b] for a, b in pairwise(points)])


def meander(outline: tuple[np.ndarray, np.ndarray], spacing: float, angle: float) -> Hatched:
    return HATCHES["meander"](*outline, angle, HatchSettings(spacing))


coordinate = st.integers(-150, 150).map(lambda n: n / 10)
scattered = st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), min_size=1, max_size=30).map(
    lambda rows: hatched(np.array(rows))
)
chained = st.lists(st.lists(st.tuples(coordinate, coordinate), min_size=2, max_size=12), min_size=1, max_size=4).map(
    lambda chains: hatched(
        np.array([[*a, *b] for chain in chains for a, b in pairwise(chain)]),
        np.repeat(np.arange(len(chains)), [len(chain) - 1 for chain in chains]),
    )
)


@settings(deadline=None, max_examples=150)
@given(st.one_of(scattered, chained), st.floats(0.0, 5.0), st.floats(0.0, 20.0), coordinate, coordinate)
def test_guarantee_holds_on_any_vectors(hatch, return_time_s, radius, x, y):
    found = ordered(hatch, return_time_s, radius, (x, y))
    assert sorted(found.index.tolist()) == list(range(len(hatch.vectors_mm)))
    assert returns(hatch, found, radius, (x, y)).min() >= return_time_s - ROUNDING_S


@pytest.mark.parametrize("angle_deg", [0.0, 67.0, 131.0])
@pytest.mark.parametrize("mesh", ["pyslm_frameGuide.stl", "trimesh_featuretype.stl"])
def test_guarantee_holds_on_real_layers(shared_data, mesh, angle_deg):
    part, _ = read_mesh(shared_data / "meshes" / mesh)
    layers = cut_layers(part, float(np.ptp(part.bounds_mm[:, 2])) / 5)
    for layer in layers[1::2]:
        outline = offset_loops((layer.points_mm, layer.loop_starts), 0.0)
        spacing = math.sqrt(float(np.prod(np.ptp(layer.points_mm, axis=0)))) / 250
        hatch = meander(outline, spacing, math.radians(angle_deg))
        plain = ORDERS["as_hatched"](hatch, SPEED, JUMP_SPEED, ORIGIN, OrderSettings())
        least = 1.7 * np.median(np.hypot(*(hatch.vectors_mm[:, 2:] - hatch.vectors_mm[:, :2]).T)) / SPEED
        found = ordered(hatch, least, 2.5 * spacing)
        assert len(hatch.vectors_mm) > 100
        assert returns(hatch, found, 2.5 * spacing).min() >= least - ROUNDING_S
        assert returns(hatch, plain, 2.5 * spacing).min() < 0.1 * least, "the meander does not keep it by itself"


@pytest.mark.parametrize("radius", [2.0, 7.5])
def test_guarantee_holds_across_the_borders_of_tiles(radius):
    hatch = islands(6, 6)
    assert returns(hatch, ordered(hatch, 1.5, radius), radius).min() >= 1.5 - ROUNDING_S


@pytest.mark.parametrize("name", HATCHES)
def test_guarantee_holds_for_every_hatch(name):
    ring = 10.0 * np.c_[np.cos(-np.linspace(0.0, 6.0, 13)), np.sin(-np.linspace(0.0, 6.0, 13))]
    outline = loops_of([(0, 0), (40, 0), (40, 30), (0, 30)], [(20.0 + x, 15.0 + y) for x, y in ring.tolist()])
    hatch = HATCHES[name](*outline, 0.4, HatchSettings(1.5, tile_mm=8.0))
    found = ordered(hatch, 0.8, 2.0)
    assert returns(hatch, found, 2.0).min() >= 0.8 - ROUNDING_S
    plain = ORDERS["as_hatched"](hatch, SPEED, JUMP_SPEED, ORIGIN, OrderSettings())
    assert returns(hatch, plain, 2.0).min() < 0.8, "the hatch does not keep it by itself"


def test_the_judge_would_see_a_broken_promise():
    hatch = hatched(lines(20))
    found = ordered(hatch, 4.0, 1.5)
    assert returns(hatch, found, 1.5).min() >= 4.0 - ROUNDING_S
    hasty = Ordered(found.index, found.flipped, 0.9 * found.wait_s)
    assert found.wait_s.any() and returns(hatch, hasty, 1.5).min() < 4.0 - ROUNDING_S


@pytest.mark.parametrize(("radius", "stride"), [(1.5, 2), (2.5, 3), (3.5, 4)])
def test_interleaved_lines_come_out_by_themselves(radius, stride):
    """Every `stride`-th line first: the nearest that is no neighbour; one line takes too short a time to return."""
    index = ordered(hatched(lines(60)), 0.5, radius).index
    assert index[:10].tolist() == list(range(0, 10 * stride, stride))


def test_it_costs_jumps_rather_than_waits():
    """Sixty lines of 0.2 s, each held 2 s by its neighbours: one line at a time would wait 2 s for each."""
    hatch = hatched(lines(60))
    found = ordered(hatch, 2.0, 2.5)
    plain = ORDERS["as_hatched"](hatch, SPEED, JUMP_SPEED, ORIGIN, OrderSettings())
    assert total_s(hatch, found) < 1.2 * total_s(hatch, plain)
    assert found.wait_s.sum() < 0.1 * 59 * 2.0


def test_nothing_asked_nothing_waited():
    hatch = hatched(lines(30))
    for numbers in ((0.0, 5.0), (5.0, 0.0), (5.0, 0.99), (1e-4, 1.5)):
        found = ordered(hatch, *numbers)
        assert not found.wait_s.any()
        assert jump_length_mm(found.vectors_of(hatch), ORIGIN) == 29.0


def test_where_all_are_neighbours_every_vector_waits():
    hatch = hatched(lines(6, spacing=0.1))
    found = ordered(hatch, 3.0, 100.0)
    again = returns(hatch, found, 100.0)[1:]
    assert (again >= 3.0).all() and (again < 3.001).all()
    assert total_s(hatch, found) == pytest.approx(6 * 10.0 / SPEED + 5 * 3.0, abs=5 * 0.001)


def test_waits_are_whole_milliseconds():
    """Machines take no parts of one, and a wait that is rounded down breaks the promise."""
    wait_s = ordered(hatched(lines(20, 10.17)), 4.0, 1.5).wait_s
    assert wait_s.any() and (np.round(wait_s, 3) == wait_s).all()


def test_chain_is_run_through_and_keeps_its_direction():
    ring = np.array([[*a, *b] for a, b in pairwise([(0, 0), (9, 0), (9, 9), (0, 9), (0, 0)])], np.float64)
    two = hatched(np.concatenate([ring, ring + 30.0]), np.repeat([0, 1], 4))
    found = ordered(two, 5.0, 2.0, (1.0, 8.0))
    assert not found.flipped.any() and (np.diff(found.index.reshape(2, 4)) == 1).all()
    assert not found.wait_s.any(), "where a ring closes it meets its own beginning, and is not held up"


def test_turn_of_a_spiral_waits_for_the_turn_before():
    """Neighbouring turns are nearer than the radius, and the chain between them is longer than it."""
    hatch = hatched(spiral(5))
    freely, held = ordered(hatch, 0.0, 1.5), ordered(hatch, 2.0, 1.5)
    assert freely.index.tolist() == held.index.tolist() == list(range(len(hatch.vectors_mm)))
    assert not freely.wait_s.any() and held.wait_s.any()
    assert returns(hatch, freely, 1.5).min() < 0.5
    assert returns(hatch, held, 1.5).min() >= 2.0 - ROUNDING_S


def test_beam_that_left_a_chain_comes_back_as_to_any_neighbour():
    """Two zigzags whose legs come near each other after a while: each must be left and taken up again."""
    zigzag = np.array([[*a, *b] for a, b in pairwise([(0, 0), (20, 0), (20, 1), (0, 1), (0, 2), (20, 2), (20, 3)])])
    hatch = hatched(
        np.concatenate([zigzag, zigzag + np.array([0.0, 50.0, 0.0, 50.0])]).astype(float), np.repeat([0, 1], 6)
    )
    found = ordered(hatch, 1.0, 1.2)
    assert returns(hatch, found, 1.2).min() >= 1.0 - ROUNDING_S
    tile = hatch.tile[found.index]
    assert np.count_nonzero(np.diff(tile)) > 1, "while one cools, the other is exposed"


def test_twenty_thousand_vectors_of_a_plate_with_holes():
    """The judge is quadratic, so it looks at a sample of the vectors against all."""
    rings = [[(0.0, 0.0), (200.0, 0.0), (200.0, 200.0), (0.0, 200.0)]]
    turn = -np.linspace(0.0, 2 * np.pi, 24, endpoint=False)
    rings += [
        [(x + 5.0 * c, y + 5.0 * s) for c, s in zip(np.cos(turn), np.sin(turn))]
        for x in np.arange(10.0, 200.0, 16.0)
        for y in np.arange(10.0, 200.0, 16.0)
    ]
    hatch = meander(loops_of(*rings), 0.1, math.radians(67))
    assert len(hatch.vectors_mm) > 15_000
    found = ordered(hatch, 1.0, 0.35)
    exposed = found.vectors_of(hatch)
    begin, end = naive.exposure_times(exposed, found.wait_s, np.full(len(exposed), SPEED), JUMP_SPEED, ORIGIN)
    for i in range(1, len(exposed), 97):
        near = naive.segment_gaps(exposed[i], exposed[:i]) < 0.35
        assert not near.any() or begin[i] - end[:i][near].max() >= 1.0 - ROUNDING_S
