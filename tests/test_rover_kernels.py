"""Are the planner's ways the cheapest there are, on every map?"""

from __future__ import annotations

import math

import naive
import numpy as np
import pytest

from control.rover.route.dstar_lite import DStarLite
from control.rover.route.kernels import astar, corridor_astar, cost_to_go, is_open, path_cost


def seeded(seed: int) -> np.ndarray:
    """A small map, even or rugged, a quarter of it blocked; its two corners are open."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(3, 24, 2)
    cost = (1 + 9 * rng.random((rows, columns)) * (seed % 2)).astype(np.float32)
    cost[rng.random((rows, columns)) < 0.25] = np.inf
    cost[0, 0] = cost[-1, -1] = 2.0
    return cost


def far_corner(cost: np.ndarray) -> tuple[int, int]:
    return cost.shape[0] - 1, cost.shape[1] - 1


@pytest.mark.parametrize("seed", range(24))
def test_field_and_astar_are_dijkstras(seed: int) -> None:
    cost = seeded(seed)
    goal = far_corner(cost)
    truth = np.array(naive.dijkstra(cost.tolist(), goal))
    field = cost_to_go(cost, goal)
    np.testing.assert_allclose(field, truth, rtol=1e-4)
    path, total = astar(cost, (0, 0), goal)
    if math.isinf(truth[0, 0]):
        assert len(path) == 0 and math.isinf(total)
        return
    assert total == pytest.approx(truth[0, 0], rel=1e-6)
    assert tuple(path[0]) == (0, 0) and tuple(path[-1]) == goal
    assert path_cost(cost, path) == pytest.approx(truth[0, 0], rel=1e-4)


@pytest.mark.parametrize("seed", range(12))
def test_the_corridor_finds_a_way_wherever_there_is_one(seed: int) -> None:
    cost = seeded(seed)
    goal = far_corner(cost)
    exact, quick = astar(cost, (0, 0), goal), corridor_astar(cost, (0, 0), goal, factor=3, share=0.01)
    assert math.isinf(exact[1]) == math.isinf(quick[1])
    if math.isfinite(exact[1]):
        assert exact[1] - 1e-6 <= quick[1] == pytest.approx(path_cost(cost, quick[0]), rel=1e-5)


@pytest.mark.parametrize("dear", [3.0, 600.0, 1e7])
def test_wide_spans_of_cost_are_as_exact(dear: float) -> None:
    """Counted costs reach 512 to one; beyond, sums are f8."""
    rng = np.random.default_rng(int(dear))
    cost = np.where(rng.random((20, 20)) < 0.5, 1.0, dear * rng.random((20, 20)) + 1.0).astype(np.float32)
    truth = np.array(naive.dijkstra(cost.tolist(), (19, 3)))
    np.testing.assert_allclose(cost_to_go(cost, (19, 3)), truth, rtol=1e-4)
    path, total = astar(cost, (0, 0), (19, 3))
    assert total == pytest.approx(truth[0, 0], rel=1e-4) and path_cost(cost, path) == pytest.approx(total, rel=1e-4)


def test_a_sum_that_does_not_fit_in_whole_numbers_is_summed_otherwise() -> None:
    """A winding way of 260,000 cells at 500 times the cheapest cell's cost."""
    cost = np.full((1021, 510), 500.0, np.float32)
    cost[1::4, :-1] = cost[3::4, 1:] = np.inf
    cost[0, 0] = 1.0
    field = cost_to_go(cost, (0, 0))
    assert float(field[1020, 0]) == pytest.approx(500.0 * 510 * 511, rel=0.02) and np.isfinite(field[1020, 0])


@pytest.mark.parametrize("seed", range(12))
def test_a_repaired_plan_is_the_plan_from_scratch(seed: int) -> None:
    cost = seeded(seed)
    goal = far_corner(cost)
    rng = np.random.default_rng(1000 + seed)
    plan = DStarLite(cost, (0, 0), goal)
    for _ in range(4):
        cells = np.unique(np.stack((rng.integers(0, cost.shape[0], 6), rng.integers(0, cost.shape[1], 6)), 1), axis=0)
        ends = (cells == (0, 0)).all(1) | (cells == goal).all(1)
        cells = cells[~ends]
        costs = np.where(rng.random(len(cells)) < 0.4, np.inf, 1 + 9 * rng.random(len(cells))).astype(np.float32)
        cost[cells[:, 0], cells[:, 1]] = costs
        _, total = plan.replan(cells, costs)
        assert total == DStarLite(cost, (0, 0), goal).path()[1]
        truth = naive.dijkstra(cost.tolist(), goal)[0][0]
        assert total == truth or total == pytest.approx(truth, rel=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_a_repair_that_grows_too_long_starts_over_and_is_as_exact(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("control.rover.route.dstar_lite.MOST_MIN", 3)
    test_a_repaired_plan_is_the_plan_from_scratch(seed)


def test_no_corner_is_cut() -> None:
    cost = np.ones((2, 2), np.float32)
    cost[0, 1] = np.inf
    _, total = astar(cost, (0, 0), (1, 1))
    assert total == pytest.approx(2.0)
    cost[1, 0] = np.inf
    assert math.isinf(astar(cost, (0, 0), (1, 1))[1])


@pytest.mark.parametrize("end", [(-1, 0), (0, 9), (5, 5), (1, 1)])
def test_a_goal_that_cannot_be_entered_has_no_ways(end: tuple[int, int]) -> None:
    cost = np.ones((3, 3), np.float32)
    cost[1, 1] = np.nan
    assert not is_open(cost, end)
    assert np.isinf(cost_to_go(cost, end)).all()
    for path, total in (astar(cost, (0, 0), end), corridor_astar(cost, end, (0, 0))):
        assert path.shape == (0, 2) and math.isinf(total)


def test_steps_that_are_none_cost_everything() -> None:
    cost = np.ones((4, 4), np.float32)
    for path in ([], [(0, 0), (0, 2)], [(0, 0), (0, 0)], [(3, 3), (4, 3)]):
        assert math.isinf(path_cost(cost, np.array(path).reshape(-1, 2)))
    assert path_cost(cost, np.array([(0, 0), (1, 1), (1, 2)])) == pytest.approx(1 + math.sqrt(2))
