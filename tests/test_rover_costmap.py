"""What does driving over a cell cost, and which cells are blocked for what reason?"""

from __future__ import annotations

import math

import numpy as np
import pytest

from control.rover.ground.dem import Crs, Dem
from control.rover.ground.terrain import analyse
from control.rover.route.costmap import CostSettings, Why, cost_map


def ramp(slope_deg: float, rows: int = 12, cell_m: float = 5.0) -> Dem:
    x = np.arange(20) * cell_m * math.tan(math.radians(slope_deg))
    return Dem(np.tile(x, (rows, 1)).astype(np.float32), 0.0, 0.0, cell_m, Crs("local"))


def middle(dem: Dem, **layers) -> float:  # type: ignore[no-untyped-def]
    return float(cost_map(analyse(dem), CostSettings(), **layers).cost[6, 6])


def test_flat_ground_costs_one_a_cell_and_slopes_by_their_square() -> None:
    assert middle(ramp(0.0)) == pytest.approx(1.0)
    assert middle(ramp(8.0)) == pytest.approx(2.0, abs=1e-3)
    assert middle(ramp(18.0)) == pytest.approx(1 + (18 / 8) ** 2 + 3**2, rel=1e-3)


def test_what_is_too_steep_is_blocked_and_says_so() -> None:
    costs = cost_map(analyse(ramp(21.0)), CostSettings())
    assert math.isinf(costs.cost[6, 6]) and costs.why[6, 6] == Why.TOO_STEEP
    assert costs.sentence(6, 6) == "it is 21.0 deg steep, over the limit of 20"


def test_what_is_not_known_is_blocked() -> None:
    dem = ramp(0.0)
    dem.heights_m[6, 6] = np.nan
    costs = cost_map(analyse(dem), CostSettings())
    assert costs.why[6, 6] == Why.NO_DATA and costs.why[5, 5] == Why.NO_DATA and costs.why[0, 3] == Why.NO_DATA
    assert costs.why[4, 4] == Why.OPEN


def test_a_step_blocks_where_cells_are_fine_enough_to_show_one() -> None:
    for cell_m, expected in ((0.5, Why.STEP), (5.0, Why.OPEN)):
        dem = ramp(0.0, cell_m=cell_m)
        dem.heights_m[6:, :] += 0.15
        assert cost_map(analyse(dem), CostSettings(clearance_m=0.0)).why[6, 6] == expected


def test_clearance_widens_what_blocks_by_metres() -> None:
    """A middle may come as near to a blocked cell's edge as the clearance says, and no nearer."""
    dem = ramp(0.0, rows=13, cell_m=0.5)
    forbidden = np.zeros(dem.shape, bool)
    forbidden[:, 6] = True
    why = cost_map(analyse(dem), CostSettings(clearance_m=1.0), forbidden=forbidden).why
    # edges at 5.5 and 6.5 cells; 1 m is 2 cells: centres 4 and 8 are 1.5 cells off, 3 and 9 are 2.5
    assert [Why(int(w)) for w in why[6, 3:10]] == [0, Why.TOO_NEAR, Why.TOO_NEAR, Why.FORBIDDEN, 6, 6, 0]


def test_on_coarse_cells_half_a_cell_is_clearance_enough() -> None:
    dem = ramp(0.0)
    forbidden = np.zeros(dem.shape, bool)
    forbidden[6, 6] = True
    assert cost_map(analyse(dem), CostSettings(clearance_m=0.5), forbidden=forbidden).why[6, 7] == Why.OPEN


def test_shade_and_risky_soil_make_it_dearer() -> None:
    dem = ramp(0.0)
    half = np.full(dem.shape, 0.5, np.float32)
    assert middle(dem, lit=half) == pytest.approx(1.5)
    assert middle(dem, lit=half * np.nan) == pytest.approx(2.0)
    assert middle(dem, risk=half) == pytest.approx(2.5)


def test_rough_ground_costs_as_a_hidden_slope() -> None:
    dem = ramp(0.0)
    dem.heights_m[::2, ::2] += 1.0
    assert middle(dem) > 1.1


def test_the_top_of_a_spike_is_blocked_though_it_is_level() -> None:
    dem = ramp(0.0)
    dem.heights_m[6, 6] = 20.0
    costs = cost_map(analyse(dem), CostSettings())
    assert costs.why[6, 6] == Why.TOO_ROUGH and "a peak, a pit or an edge" in costs.sentence(6, 6)


def test_hazards_are_what_blocks_itself() -> None:
    dem = ramp(0.0, cell_m=0.5)
    forbidden = np.zeros(dem.shape, bool)
    forbidden[6, 6] = True
    hazards = cost_map(analyse(dem), CostSettings(clearance_m=1.0), forbidden=forbidden).hazards
    assert bool(hazards.at(3.0, 3.0)) and not bool(hazards.at(3.5, 3.0))


@pytest.mark.parametrize("wrong", [{"slope_soft_deg": 25.0}, {"clearance_m": -1.0}, {"step_max_m": math.nan}])
def test_settings_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        CostSettings(**wrong)


def test_layers_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="lit has"):
        middle(ramp(0.0), lit=np.zeros((2, 2), np.float32))
