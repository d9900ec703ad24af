"""Do an axis' phases make a signal whose times only ever go forward?"""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from hil_sim.harness.motion_series import axis_series
from hil_sim.world.plant.linear_axis import Phase


@given(st.lists(st.floats(0.0, 1e4), min_size=2, max_size=5).map(sorted), st.floats(0.0, 5.0))
@example([10.397322222222234, 28.13098694413082, 28.153486944130822], 1.0)  # of a print: one ulp too far
def test_the_times_of_an_axis_never_run_back(begins_s: list[float], rest_s: float) -> None:
    """Within a phase they are sums, which round; the next phase begins at its own time."""
    phases = [Phase(t_s, 0.0, 1.0, 0.0) for t_s in begins_s]
    places, _ = axis_series("blade.x_mm", phases, 0.0, begins_s[-1] + rest_s)
    assert (np.diff(places.times_s) >= 0.0).all()
