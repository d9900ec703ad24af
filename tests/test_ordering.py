"""Does every order expose each vector once, and keep what it promises?"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solid_helpers import loops_of

from slicer.errors import ScanError
from slicer.hatching import HATCHES, Hatched, HatchSettings
from slicer.kernels import nearby, sequencing
from slicer.ordering import ORDERS, OrderSettings, follows_before, jump_length_mm
from tests import naive

PLAIN = OrderSettings()
ORIGIN = (0.0, 0.0)
coordinate = st.integers(-200, 200).map(lambda n: n / 10)
vectors_of = st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), max_size=40).map(
    lambda rows: np.array(rows, np.float64).reshape(-1, 4)
)


def hatched(vectors: np.ndarray, tile: np.ndarray | None = None) -> Hatched:
    tile = np.zeros(len(vectors)) if tile is None else tile
    return Hatched.numbered(np.asarray(vectors, np.float64), np.asarray(tile, np.int32))


def lines(count: int, length: float = 10.0, spacing: float = 1.0) -> np.ndarray:
    """A meander of level lines, from the lowest up."""
    rows = np.array([[0.0, i * spacing, length, i * spacing] for i in range(count)])
    rows[1::2] = rows[1::2][:, [2, 3, 0, 1]]
    return rows


def islands(across: int, up: int, size: float = 5.0, per_tile: int = 4) -> Hatched:
    """A plate of square tiles, numbered row by row, neighbours hatched at right angles."""
    rows, tile = [], []
    for j in range(up):
        for i in range(across):
            for k in range(per_tile):
                far = (k + 0.5) * size / per_tile
                row = [0.0, far, size, far] if (i + j) % 2 else [far, 0.0, far, size]
                rows.append(np.array(row) + np.array([i, j, i, j]) * size)
                tile.append(j * across + i)
    return hatched(np.array(rows), np.array(tile))


@pytest.mark.parametrize("name", ORDERS)
@settings(deadline=None, max_examples=60)
@given(vectors_of, st.data())
def test_every_vector_comes_once(name, vectors, data):
    tile = np.sort(data.draw(st.lists(st.integers(0, 4), min_size=len(vectors), max_size=len(vectors))))
    had = vectors.copy()
    found = ORDERS[name](hatched(vectors, tile), 50.0, 200.0, (3.0, -4.0), OrderSettings(30.0, 0.5, 2.0))
    assert sorted(found.index.tolist()) == list(range(len(vectors)))
    assert (found.index.dtype, found.flipped.dtype, found.wait_s.dtype) == (np.int64, np.bool_, np.float64)
    assert (found.wait_s >= 0.0).all() and np.isfinite(found.wait_s).all()
    assert np.array_equal(vectors, had), "an order leaves the hatch as it was"


@pytest.mark.parametrize("name", ORDERS)
def test_same_hatch_same_order(name):
    hatch, numbers = islands(7, 5), OrderSettings(40.0, 0.7, 1.4)
    one, two = (ORDERS[name](hatch, 50.0, 200.0, ORIGIN, numbers) for _ in range(2))
    for field in ("index", "flipped", "wait_s"):
        assert getattr(one, field).tobytes() == getattr(two, field).tobytes()


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ((0.0, 200.0, ORIGIN, PLAIN), "speed_mm_s is 0"),
        ((50.0, math.nan, ORIGIN, PLAIN), "jump_speed_mm_s is nan"),
        ((50.0, 200.0, (0.0, math.inf), PLAIN), "finite sweep_deg and start"),
        ((50.0, 200.0, ORIGIN, OrderSettings(sweep_deg=math.inf)), "finite sweep_deg and start"),
        ((50.0, 200.0, ORIGIN, OrderSettings(return_time_s=-1.0)), "return_time_s is -1"),
        ((50.0, 200.0, ORIGIN, OrderSettings(return_radius_mm=math.inf)), "return_radius_mm is inf"),
    ],
)
def test_impossible_numbers_are_a_sentence(name, numbers, says):
    with pytest.raises(ScanError, match=says):
        ORDERS[name](hatched(lines(3)), *numbers)


def test_as_hatched_is_the_hatch():
    found = ORDERS["as_hatched"](hatched(lines(5)), 50.0, 200.0, ORIGIN, PLAIN)
    assert found.index.tolist() == [0, 1, 2, 3, 4] and not found.flipped.any() and not found.wait_s.any()


def test_flipped_vectors_run_backwards():
    vectors = np.array([[0.0, 0.0, 10.0, 0.0], [0.0, 1.0, 10.0, 1.0]])
    found = ORDERS["nearest"](hatched(vectors), 50.0, 200.0, ORIGIN, PLAIN)
    np.testing.assert_array_equal(found.vectors_of(hatched(vectors)), [[0, 0, 10, 0], [10, 1, 0, 1]])


# ---- nearest


@settings(deadline=None, max_examples=80)
@given(vectors_of.filter(len), coordinate, coordinate)
def test_greedy_choice_agrees_with_its_twin(vectors, x, y):
    """Where ends are equally far, either may win by rounding; the coordinates' squares are exact enough to agree."""
    found = sequencing.chain_nearest(vectors, x, y).tolist()
    at, left = (x, y), set(range(len(vectors)))
    for entry in found:
        ends = vectors.reshape(-1, 2)
        best = min(math.dist(at, ends[2 * k + side]) for k in left for side in (0, 1))
        assert math.dist(at, ends[entry]) == pytest.approx(best, abs=1e-9)
        left.remove(entry >> 1)
        at = tuple(ends[entry ^ 1])


def test_greedy_choice_is_the_twins_where_nothing_ties():
    vectors = np.random.default_rng(5).uniform(0, 100, (300, 4))
    assert sequencing.chain_nearest(vectors, 50.0, 20.0).tolist() == naive.greedy_nearest(
        vectors.tolist(), (50.0, 20.0)
    )


@settings(deadline=None, max_examples=80)
@given(vectors_of, coordinate, coordinate)
def test_nearest_never_jumps_farther_than_the_hatch(vectors, x, y):
    found = ORDERS["nearest"](hatched(vectors), 50.0, 200.0, (x, y), PLAIN)
    assert jump_length_mm(found.vectors_of(hatched(vectors)), (x, y)) <= jump_length_mm(vectors, (x, y))


@settings(deadline=None, max_examples=80)
@given(vectors_of.filter(lambda vectors: len(vectors) > 2), coordinate, coordinate)
def test_improvement_only_ever_shortens(vectors, x, y):
    tour = np.random.default_rng(len(vectors)).permutation(len(vectors)).astype(np.int32) * 2
    ends = vectors.reshape(-1, 2)

    def jumps() -> float:
        return float(np.hypot(*(ends[tour] - np.vstack([[[x, y]], ends[tour ^ 1][:-1]])).T).sum())

    before = jumps()
    sequencing.shorten(vectors, tour, x, y, 3, 1000, 10_000)
    assert sorted((tour >> 1).tolist()) == list(range(len(vectors)))
    assert jumps() <= before + 1e-9


def test_no_pass_of_the_improvement_lengthens_a_short_tour():
    """Short tours, so that one wrong move shows: two hundred of nine vectors, pass by pass."""
    for seed in range(200):
        random = np.random.default_rng(seed)
        ends, tour = random.uniform(0.0, 10.0, (18, 2)), random.permutation(9).astype(np.int32) * 2
        lengths = []
        for _ in range(4):
            lengths.append(float(np.hypot(*(ends[tour] - np.vstack([[[0.0, 0.0]], ends[tour ^ 1][:-1]])).T).sum()))
            sequencing.shorten(ends.reshape(9, 4), tour, 0.0, 0.0, 1, 1000, 10**6)
        assert (np.diff(lengths) <= 1e-9).all(), f"seed {seed}"


def test_improvement_finds_the_shortest_tour_of_shuffled_lines():
    tour = np.random.default_rng(3).permutation(60).astype(np.int32) * 2
    sequencing.shorten(lines(60), tour, 0.0, 0.0, 20, 1000, 10**6)
    assert jump_length_mm(lines(60), ORIGIN) == 59.0
    ends = lines(60).reshape(-1, 2)
    assert np.hypot(*(ends[tour] - np.vstack([[[0, 0]], ends[tour ^ 1][:-1]])).T).sum() < 3.0 * 59.0


def test_nearest_halves_the_jumps_across_holes():
    """Lines that a row of holes parts: as hatched the beam jumps over every hole on every line."""
    rows = [[x, y, x + 4.0, y] for y in np.arange(0, 20, 0.5) for x in (0.0, 10.0, 20.0)]
    vectors = np.array(rows)
    found = ORDERS["nearest"](hatched(vectors), 50.0, 200.0, ORIGIN, PLAIN)
    assert jump_length_mm(found.vectors_of(hatched(vectors)), ORIGIN) < 0.1 * jump_length_mm(vectors, ORIGIN)


# ---- the tree of points and the grid of segments under them


@settings(deadline=None, max_examples=80)
@given(vectors_of.filter(len), coordinate, coordinate, st.data())
def test_tree_finds_the_nearest_of_those_present(vectors, x, y, data):
    points = vectors.reshape(-1, 2)
    present = np.array(data.draw(st.lists(st.booleans(), min_size=len(points), max_size=len(points))))
    tree = nearby.tree_of(points, ~present)
    for k in range(len(points)):
        (nearby.put_in if present[k] else nearby.take_out)(tree, k)
    stack = np.empty(nearby.BOXES_DEEP, np.int32)
    away = [(p[0] - x) ** 2 + (p[1] - y) ** 2 if here else math.inf for p, here in zip(points.tolist(), present)]
    found, found_sq = nearby.nearest_in(tree, x, y, stack)
    assert found_sq == pytest.approx(min(away), rel=1e-12)
    assert (found >= 0) == present.any() and (found < 0 or away[found] == pytest.approx(min(away), rel=1e-12))
    few, few_sq = np.empty(5, np.int32), np.empty(5)
    many = nearby.few_nearest(tree, x, y, 100.0, few, few_sq, stack)
    every = sorted(d for d in ((p[0] - x) ** 2 + (p[1] - y) ** 2 for p in points.tolist()) if d < 100.0)
    assert few_sq[:many].tolist() == pytest.approx(every[:5], rel=1e-12)


@settings(deadline=None, max_examples=80)
@given(vectors_of.filter(len), st.floats(0.01, 30.0))
def test_grid_notes_every_segment_within_reach(vectors, reach):
    frame, shape, first, noted = nearby.grid_of(vectors, reach)
    for k, vector in enumerate(vectors):
        low, high = nearby.rows_near(vector, reach, frame, shape)
        seen = set()
        for row in range(low, high + 1):
            left, right = nearby.columns_near(vector, reach, row, frame, shape)
            for cell in range(row * shape[0] + left, row * shape[0] + right + 1):
                seen.update(noted[first[cell] : first[cell + 1]].tolist())
        gaps = naive.segment_gaps(vector, vectors)
        assert set(np.flatnonzero(gaps < reach).tolist()) <= seen, f"vector {k}"
        found = [nearby.segments_gap_sq(vector, other) for other in vectors]
        np.testing.assert_allclose(np.sqrt(found), gaps, atol=1e-7)


def test_pieces_of_one_line_do_not_cross():
    """Once in a thousand, all ends lie on either side of the other's line by a rounding; hatches are full of them."""
    cos, sin = math.cos(math.radians(67)), math.sin(math.radians(67))
    for *steps, height in np.random.default_rng(1).uniform(0.1, 10.0, (2000, 5)).tolist():
        a, b, c, d = ((u * cos - height * sin, u * sin + height * cos) for u in np.cumsum(steps))
        for one, other in ((np.array([*a, *b]), np.array([*c, *d])), (np.array([*b, *a]), np.array([*d, *c]))):
            assert math.sqrt(nearby.segments_gap_sq(one, other)) == pytest.approx(steps[2])
            assert naive.segment_gaps(one, other[None])[0] == pytest.approx(steps[2])


# ---- sweep


@pytest.mark.parametrize("drift_deg", [0.0, 33.0, 67.0, 90.0, 157.0, 201.0, -60.0])
@pytest.mark.parametrize("name", ["meander", "one_way", "stripes", "islands", "hexagons"])
def test_no_vector_is_exposed_upstream_of_powder(name, drift_deg):
    """Smoke drifts from a vector over all that lies downstream of any of its points: that must have come before."""
    outline = loops_of([(0, 0), (30, 0), (30, 20), (0, 20)], [(8, 5), (8, 15), (14, 12), (20, 15), (20, 5)])
    hatch = HATCHES[name](*outline, math.radians(67), HatchSettings(1.0, tile_mm=5.0))
    found = ORDERS["sweep"](hatch, 50.0, 200.0, ORIGIN, OrderSettings(sweep_deg=drift_deg))
    exposed = found.vectors_of(hatch)
    assert naive.blown_over(exposed, drift_deg) == []
    assert naive.blown_over(exposed[::-1], drift_deg) != []
    drift = np.array([math.cos(math.radians(drift_deg)), math.sin(math.radians(drift_deg))])
    assert ((exposed[:, 2:] - exposed[:, :2]) @ drift <= 1e-6).all(), "each runs against the stream"


@settings(deadline=None, max_examples=80)
@given(vectors_of, st.floats(-400.0, 400.0))
def test_vectors_that_keep_apart_have_an_order_against_any_stream(vectors, drift_deg):
    apart: list[np.ndarray] = []
    for vector in vectors:
        if not apart or naive.segment_gaps(vector, np.array(apart)).min() > 0.01:
            apart.append(vector)
    hatch = hatched(np.array(apart).reshape(-1, 4))
    found = ORDERS["sweep"](hatch, 50.0, 200.0, ORIGIN, OrderSettings(sweep_deg=drift_deg))
    assert naive.blown_over(found.vectors_of(hatch), drift_deg) == []


def test_rings_in_rings_have_no_such_order_and_still_come_whole():
    rings = [
        [(20 - r, 20 - r, 20 + r, 20 - r), (20 + r, 20 - r, 20 + r, 20 + r),
         (20 + r, 20 + r, 20 - r, 20 + r), (20 - r, 20 + r, 20 - r, 20 - r)] for r in (3, 5, 7)
    ]  # fmt: skip
    hatch = hatched(np.array(rings).reshape(-1, 4), np.repeat([0, 1, 2], 4))
    found = ORDERS["sweep"](hatch, 50.0, 200.0, ORIGIN, OrderSettings(sweep_deg=20.0))
    assert sorted(found.index.tolist()) == list(range(12))
    assert np.count_nonzero(np.diff(hatch.tile[found.index])) == 2


def test_vectors_across_the_stream_all_run_the_same_way():
    found = ORDERS["sweep"](hatched(lines(10)), 50.0, 200.0, ORIGIN, OrderSettings(sweep_deg=-90.0))
    assert found.index.tolist() == list(range(10)), "dust drifts down, exposures advance up"
    ways = np.diff(found.vectors_of(hatched(lines(10)))[:, [0, 2]])
    assert len(set(np.sign(ways).ravel().tolist())) == 1


@pytest.mark.parametrize("drift_deg", [0.0, 30.0, 90.0, 180.0, 270.0])
def test_tiles_advance_against_the_stream(drift_deg):
    hatch = islands(6, 5)
    found = ORDERS["sweep"](hatch, 50.0, 200.0, ORIGIN, OrderSettings(sweep_deg=drift_deg))
    tile = hatch.tile[found.index]
    assert np.count_nonzero(np.diff(tile)) == 29, "a tile's vectors stay together"
    drift = np.array([math.cos(math.radians(drift_deg)), math.sin(math.radians(drift_deg))])
    order = tile[np.flatnonzero(np.diff(tile, prepend=-1))]
    middles = np.c_[order % 6, order // 6] @ drift
    assert (np.diff(middles) <= 1e-9).all()


def test_a_tile_hatched_the_wrong_way_is_run_from_its_other_end():
    two = np.concatenate([lines(4), lines(4) + np.array([0.0, 10.0, 0.0, 10.0])])
    hatch = hatched(two, np.repeat([0, 1], 4))
    up = ORDERS["sweep"](hatch, 50.0, 200.0, ORIGIN, OrderSettings(sweep_deg=-90.0)).index
    down = ORDERS["sweep"](hatch, 50.0, 200.0, ORIGIN, OrderSettings(sweep_deg=90.0)).index
    assert up.tolist() == list(range(8)) and down.tolist() == list(range(7, -1, -1))


# ---- farthest


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(coordinate, coordinate), min_size=1, max_size=30), coordinate, coordinate, st.integers(1, 8))
def test_farthest_is_as_far_as_its_twin_says(centres, x, y, recent):
    """Where tiles are equally far, either may win by rounding, so each choice is judged by itself."""
    found = sequencing.farthest_order(np.array(centres), x, y, recent, 100).tolist()
    assert sorted(found) == list(range(len(centres)))
    for i in range(1, len(found)):
        last = list(enumerate(found[max(i - recent, 0) : i][::-1], 1))
        far = [min(math.dist(centres[k], centres[o]) * age**0.25 for age, o in last) for k in found[i:]]
        assert far[0] == pytest.approx(max(far), rel=1e-8)


def test_farthest_is_the_twins_where_nothing_ties():
    centres = np.random.default_rng(2).uniform(0, 100, (150, 2))
    found = sequencing.farthest_order(centres, 10.0, 20.0, 12, 1000).tolist()
    assert found == naive.farthest_tiles(centres.tolist(), (10.0, 20.0), 12)


def test_many_tiles_are_taken_in_turns():
    centres = np.random.default_rng(2).uniform(0, 100, (50, 2))
    found = sequencing.farthest_order(centres, 0.0, 0.0, 5, 20).tolist()
    assert sorted(found) == list(range(50))
    assert {k % 3 for k in found[:17]} == {0} and {k % 3 for k in found[17:34]} == {1}


@pytest.mark.parametrize(
    ("across", "up", "least", "most"), [(8, 8, 6, 8), (20, 13, 16, 32), (40, 1, 13, 13), (30, 30, 50, 110)]
)
def test_tiles_that_touch_come_long_after_each_other(across, up, least, most):
    """So many tiles lie at least between any two that share a border or a corner, and between 19 of 20 such pairs."""
    hatch = islands(across, up)
    found = ORDERS["farthest"](hatch, 50.0, 200.0, ORIGIN, PLAIN)
    tile = hatch.tile[found.index]
    order = tile[np.flatnonzero(np.diff(tile, prepend=-1))]
    assert len(order) == across * up, "a tile's vectors stay together"
    assert np.array_equal(found.index[np.argsort(tile, kind="stable")], np.arange(len(tile))), "... as hatched"
    when = np.argsort(order).reshape(up, across)
    gaps = [np.abs(when[j:, i:] - when[: up - j, : across - i]) for j, i in ((0, 1), (1, 0), (1, 1)) if up > j]
    gaps += [np.abs(when[1:, :-1] - when[:-1, 1:])] if up > 1 else []
    every = np.concatenate([gap.ravel() for gap in gaps])
    assert every.min() >= least and np.percentile(every, 5) >= most


def test_one_tile_has_nothing_to_be_far_from():
    assert ORDERS["farthest"](hatched(lines(9)), 50.0, 200.0, ORIGIN, PLAIN).index.tolist() == list(range(9))


def test_chains_are_seen_within_a_tile_only():
    ring = np.array([[0, 0, 1, 0], [1, 0, 1, 1], [1, 1, 2, 1], [5, 5, 6, 6]], np.float64)
    assert follows_before(hatched(ring)).tolist() == [False, True, True, False]
    assert follows_before(hatched(ring, np.array([0, 0, 1, 1]))).tolist() == [False, True, False, False]
