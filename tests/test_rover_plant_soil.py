"""Does the soil push a wheel as published wheel tables say, and as it must?"""

from __future__ import annotations

import random

import numpy as np
import pytest

from hil_sim.world.plant.soil import NOMINAL, SLIPS, WheelShape, draw_soil, wheel_at, wheel_forces, wheel_table

# drawbar pull over load at slips .1, .2, .4 on the nominal soil, smooth wheel: facts `rover.md` section 5
TABLE = {
    "micro": (4.1, 0.09, 0.06, (-0.081, -0.026, 0.064)),
    "osr": (3.2, 0.075, 0.055, (-0.099, -0.050, 0.034)),
    "yutu": (37.8, 0.15, 0.15, (-0.036, 0.044, 0.159)),
    "viper": (174.0, 0.25, 0.20, (0.043, 0.144, 0.262)),
    "lrv": (254.0, 0.41, 0.23, (0.110, 0.227, 0.352)),
}


@pytest.mark.parametrize("name", TABLE)
def test_pull_over_load_is_the_tables(name: str) -> None:
    load_n, radius_m, width_m, expected = TABLE[name]
    wheel = WheelShape(radius_m, width_m)
    got = [wheel_at(NOMINAL, wheel, load_n, slip)[0] / load_n for slip in (0.1, 0.2, 0.4)]
    assert got == pytest.approx(expected, abs=0.002)


def test_the_apollo_rovers_wheel_sinks_and_pulls_as_it_did() -> None:
    pull_n, _, sinkage_m = wheel_at(NOMINAL, WheelShape(0.41, 0.23), 254.0, 0.2)
    assert pull_n / 254.0 == pytest.approx(0.25, abs=0.03)  # measured on GRC-1
    assert 0.010 < sinkage_m < 0.025  # about 1.2 cm were seen


@pytest.mark.parametrize("seed", range(5))
def test_whatever_the_soil_more_slip_pulls_more_and_more_load_sinks_deeper(seed: int) -> None:
    table = wheel_table(draw_soil(random.Random(seed)), WheelShape(0.075, 0.055, 0.012), 10.0, loads=4)
    assert (np.diff(table.pull_n, axis=1) >= 0).all()
    assert (np.diff(table.sinkage_m, axis=0) > 0).all()
    assert (table.pull_n[:, SLIPS < -0.5] < 0).all()


def test_the_wheel_carries_its_load() -> None:
    wheel = WheelShape(0.15, 0.15, 0.01)
    _, _, sinkage_m = wheel_at(NOMINAL, wheel, 40.0, 0.3)
    entry_rad = float(np.arccos(1 - sinkage_m / 0.15))
    assert wheel_forces(NOMINAL, wheel, entry_rad, 0.3)[0] == pytest.approx(40.0, rel=1e-6)


def test_grousers_pull_more() -> None:
    smooth, lugged = (wheel_at(NOMINAL, WheelShape(0.075, 0.055, lug), 3.2, 0.4)[0] for lug in (0.0, 0.012))
    assert lugged > smooth + 0.1
