"""Does a slope pull a wheel by the way that it rolls, however its rover is steered and turned?"""

from __future__ import annotations

import math

import pytest
from test_rover_plant import plane

from hil_sim.world.plant.rover import OSR, POLAR, RoverPlant
from hil_sim.world.plant.soil import NOMINAL


@pytest.mark.parametrize("steer_rad", [1.4, 1.7])
def test_a_crab_uphill_slips_alike_whichever_end_of_its_wheels_leads(steer_rad: float) -> None:
    """At 1.7 rad forwards and 1.7 - pi rad backwards the wheels roll the same way over the ground."""
    went = []
    for angle, turns in ((steer_rad, 1), (steer_rad - math.pi, -1)):
        plant = RoverPlant(POLAR, plane(10.0, math.pi / 2), NOMINAL, (0.0, 0.0, 0.0))
        for name in POLAR.wheels:
            plant.steer(name).set_position(0.0, angle, 2.0, 5.0)
        for name in POLAR.wheels:
            plant.motor(name).set_speed(5.0, turns * 0.1 / POLAR.wheel.radius_m, 5.0)
        went.append((plant.slip(30.0), plant.pose(30.0)[1]))
    assert went[0] == pytest.approx(went[1], abs=0.02) and went[0][0] > 0.2


def test_a_turn_on_the_spot_does_not_hang_on_rounding() -> None:
    slips = []
    for more in (0.0, 1e-12, -1e-12):
        plant = RoverPlant(OSR, plane(10.0), NOMINAL, (0.0, 0.0, 0.0))
        for name, (x, y) in OSR.wheels.items():
            if name in OSR.steered:
                plant.steer(name).set_position(0.0, -math.copysign(0.8, x * y), 1.0, 5.0)
        for name, (_, y) in OSR.wheels.items():
            plant.motor(name).set_speed(10.0, -0.6 if y > 0 else 0.6 * (1 + more), 5.0)
        slips.append(plant.slip(10.5))
    assert slips == pytest.approx([slips[0]] * 3, abs=1e-6)
