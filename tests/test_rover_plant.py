"""Does the emulated rover move over its ground as a rover would?"""

from __future__ import annotations

import math
import random

import naive
import numpy as np
import pytest

from hil_sim.world.plant.rover import OSR, POLAR, RoverPlant
from hil_sim.world.plant.soil import NOMINAL, SoilParams, wheel_table
from hil_sim.world.plant.terrain import DetailSettings, Ground, generated_heights

HARD = SoilParams(cohesion_pa=5000.0, friction_deg=45.0, k_c=1e6, k_phi=1e9, shear_m=0.001)


def plane(slope_deg: float, uphill_rad: float = 0.0, size_m: float = 120.0) -> Ground:
    """A tilted plane, 1 m cells, around the origin."""
    n = round(size_m) + 1
    x, y = np.meshgrid(np.arange(n) - size_m / 2, np.arange(n) - size_m / 2)
    h = math.tan(math.radians(slope_deg)) * (x * math.cos(uphill_rad) + y * math.sin(uphill_rad))
    return Ground(h.astype(np.float32), -size_m / 2, -size_m / 2, 1.0)


def edge(step_m: float) -> Ground:
    """Level ground with a step at x 0, cells of 0.1 m: `step_m` higher behind it."""
    x = np.arange(-60, 61) * 0.1
    h = np.broadcast_to(step_m * (x > 0.0), (121, 121))
    return Ground(h.astype(np.float32), -6.0, -6.0, 0.1)


def driving(plant: RoverPlant, speed_m_s: float, steer_rad: float = 0.0) -> RoverPlant:
    for name in plant.body.wheels:
        plant.motor(name).set_speed(plant.t_s, speed_m_s / plant.body.wheel.radius_m, 5.0)
    for name in plant.body.steered:
        plant.steer(name).set_position(plant.t_s, steer_rad, 1.0, 5.0)
    return plant


# ---- ground


def test_the_kernel_and_its_twin_agree_on_every_height() -> None:
    heights = generated_heights(5, 60.0, 2.0)
    ground = Ground(heights, 10.0, -20.0, 2.0, seed=3, details=DetailSettings(0.05, (0.4, 3.0), 0.2, (0.05, 0.5), 0.3))
    rng = np.random.default_rng(1)
    x, y = rng.uniform(5.0, 75.0, 400), rng.uniform(-25.0, 45.0, 400)
    twin = [naive.ground_height(a, b, heights, 10.0, -20.0, 2.0, ground.arrays.features) for a, b in zip(x, y)]
    np.testing.assert_allclose(ground.heights(x, y), twin, atol=1e-9)
    assert np.isnan(twin).any() and np.isfinite(twin).any()


def test_details_come_from_the_seed_and_stay_below_the_maps_resolution() -> None:
    flat = np.zeros((61, 61), np.float32)
    first, again, other = (Ground(flat, 0.0, 0.0, 2.0, seed=seed, details=DetailSettings()) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.arrays.features, again.arrays.features)
    assert not np.array_equal(first.arrays.features, other.arrays.features)
    rocks = first.arrays.features[first.arrays.features[:, 3] > 0]
    assert rocks[:, 3].max() <= DetailSettings().rock_height_max_m
    assert abs(float(first.sampled(10.0).mean())) < 0.05


@pytest.mark.parametrize("cell_m", [0.0, math.nan])
def test_a_ground_that_cannot_be_is_refused(cell_m: float) -> None:
    with pytest.raises(ValueError):
        Ground(np.zeros((5, 5), np.float32), 0.0, 0.0, cell_m)


# ---- motion


def test_on_hard_flat_ground_it_goes_as_its_wheels_turn() -> None:
    plant = driving(RoverPlant(OSR, plane(0.0), HARD, (0.0, 0.0, 0.5)), 0.1)
    x, y, _, roll, pitch, yaw = plant.pose(100.0)
    assert math.hypot(x, y) == pytest.approx(10.0, rel=0.03)
    assert math.atan2(y, x) == pytest.approx(0.5, abs=1e-6)
    assert (roll, pitch, yaw) == pytest.approx((0.0, 0.0, 0.5))


def test_a_steered_rover_drives_the_circle_of_its_geometry() -> None:
    plant = RoverPlant(POLAR, plane(0.0), HARD, (0.0, 0.0, 0.0))
    for name in POLAR.wheels:  # all wheels the same way: it crabs
        plant.motor(name).set_speed(0.0, 0.1 / POLAR.wheel.radius_m, 5.0)
        plant.steer(name).set_position(0.0, 0.4, 1.0, 5.0)
    x, y, *_, yaw = plant.pose(50.0)
    assert math.atan2(y, x) == pytest.approx(0.4, abs=0.02) and yaw == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("slope_deg", "low", "high"), [(0.0, 0.2, 0.4), (5.0, 0.35, 0.6), (10.0, 0.55, 0.9)])
def test_slip_grows_with_the_slope(slope_deg: float, low: float, high: float) -> None:
    plant = driving(RoverPlant(OSR, plane(slope_deg), NOMINAL, (0.0, 0.0, 0.0)), 0.1)
    assert low < plant.slip(20.0) < high


def test_a_slope_that_the_soil_cannot_carry_stops_it() -> None:
    plant = driving(RoverPlant(OSR, plane(22.0), NOMINAL, (0.0, 0.0, 0.0)), 0.1)
    x, *_ = plant.pose(60.0)
    assert plant.slip(60.0) > 0.99 and abs(x) < 0.3


def test_across_a_slope_it_drifts_down() -> None:
    plant = driving(RoverPlant(OSR, plane(10.0, math.pi / 2), NOMINAL, (0.0, 0.0, 0.0)), 0.1)  # left side up
    x, y, _, roll, _, _ = plant.pose(60.0)
    assert roll == pytest.approx(math.radians(10.0), abs=1e-3)
    assert math.degrees(math.atan2(-y, x)) == pytest.approx(4.5, abs=1.5)


def test_nose_down_is_a_positive_pitch_and_what_the_imu_feels() -> None:
    plant = RoverPlant(OSR, plane(8.0), HARD, (0.0, 0.0, math.pi))  # facing downhill
    _, _, _, roll, pitch, _ = plant.pose(0.0)
    assert (roll, pitch) == pytest.approx((0.0, math.radians(8.0)), abs=1e-4)
    rates, force = plant.imu(1.0)
    assert rates == pytest.approx((0.0, 0.0, 0.0), abs=1e-9)
    assert force == pytest.approx((-1.62 * math.sin(pitch), 0.0, 1.62 * math.cos(pitch)), abs=1e-6)


def test_it_tips_over_where_its_weight_leaves_its_wheels() -> None:
    side = math.degrees(math.atan2(0.184, 0.20))
    for slope_deg, tips in ((side - 3, False), (side + 3, True)):
        plant = driving(RoverPlant(OSR, plane(slope_deg, math.pi / 2), HARD, (0.0, 0.0, 0.0)), 0.02)
        plant.advance_to(1.0)
        assert (plant.tipped_at_s is not None) is tips


def test_it_tips_over_lengthwise_the_sooner_for_leaning_sideways() -> None:
    """The same grade along the rover, with and without one across it. POLAR: 0.40 m high over wheels 0.45 m ahead."""
    along = 1.1
    for across, tips in ((0.0, False), (0.45, True)):
        weight = np.array([0.0, 0.0, -1.0])
        up = np.array([-along, -across, 1.0]) / math.sqrt(1 + along**2 + across**2)
        forward = np.array([1.0, 0.0, along]) / math.hypot(1.0, along)
        lean_m = 0.40 * abs(forward @ weight) / abs(up @ weight)
        assert bool(lean_m > 0.45) is tips
        slope_deg = math.degrees(math.atan(math.hypot(along, across)))
        plant = RoverPlant(POLAR, plane(slope_deg, math.atan2(across, along)), HARD, (0.0, 0.0, 0.0))
        plant.advance_to(1.0)
        assert (plant.tipped_at_s is not None) is tips


@pytest.mark.parametrize(("step_m", "is_blocked"), [(-1.0, False), (0.0, False), (1.0, True)])
@pytest.mark.parametrize("yaw", [0.0, math.pi])
def test_a_held_wheel_is_dragged_the_way_that_the_rover_goes(yaw: float, step_m: float, is_blocked: bool) -> None:
    """Its wheels are a hand's breadth from a step in front of it (yaw 0: and it backs away) or behind it."""
    is_behind = yaw != 0.0
    plant = RoverPlant(POLAR, edge(step_m), HARD, (-0.50, 0.0, yaw))
    plant.hold(0.0, plant.motor("rl" if is_behind else "fl"))
    driving(plant, -0.05)
    plant.advance_to(0.5)
    assert plant.is_blocked is (is_blocked and is_behind)
    assert (abs(plant.pose(0.5)[0] + 0.50) > 0.005) is not plant.is_blocked


def test_a_wheel_that_is_told_to_stop_stops_within_its_ramp() -> None:
    plant = driving(RoverPlant(OSR, plane(0.0), HARD, (0.0, 0.0, 0.0)), 0.1)
    plant.advance_to(10.0)
    for name in OSR.wheels:
        plant.motor(name).set_duty(10.0, 0.0)
    at = plant.pose(10.2)[0]
    assert plant.motor("fl").speed_rad_s(10.2) == 0.0 and plant.pose(100.0)[0] == at


def test_a_position_is_reached_and_held() -> None:
    plant = RoverPlant(OSR, plane(0.0), HARD, (0.0, 0.0, 0.0))
    plant.motor("fl").set_position(0.0, 1.0, 0.5, 2.0)
    assert plant.motor("fl").angle_rad(1.0) < 0.6
    assert plant.motor("fl").angle_rad(5.0) == pytest.approx(1.0, abs=1e-6)
    assert plant.motor("fl").speed_rad_s(5.0) == pytest.approx(0.0, abs=1e-6)


def test_however_it_is_asked_it_moves_the_same() -> None:
    heights = generated_heights(2, 100.0, 2.0)
    tracks, energies_j = [], []
    for often in (False, True):
        plant = driving(
            RoverPlant(
                OSR, Ground(heights, 0.0, 0.0, 2.0, seed=1, details=DetailSettings()), NOMINAL, (50.0, 50.0, 1.0)
            ),
            0.1,
        )
        rng = random.Random(7)
        t_s = 0.0
        while often and t_s < 60.0:
            t_s += rng.uniform(0.001, 0.2)
            plant.pose(min(t_s, 60.0))
        plant.advance_to(60.0)
        tracks.append(plant.track())
        energies_j.append(plant.energy_j)
    assert energies_j[0] == energies_j[1]
    assert energies_j[0] == pytest.approx(0.1 * float((tracks[0].power_w + OSR.hotel_w).sum()), rel=0.02)
    for name in ("t_s", "x_m", "y_m", "yaw_rad", "slip", "power_w"):
        np.testing.assert_array_equal(getattr(tracks[0], name), getattr(tracks[1], name))
    assert len(tracks[0].t_s) == 600


def test_a_motor_is_not_told_what_is_no_number() -> None:
    plant = RoverPlant(OSR, plane(0.0), HARD, (0.0, 0.0, 0.0))
    with pytest.raises(ValueError):
        plant.motor("fl").set_speed(0.0, math.nan, 5.0)
    with pytest.raises(ValueError, match="off its ground"):
        RoverPlant(OSR, plane(0.0), HARD, (500.0, 0.0, 0.0))


def test_the_kernels_table_is_the_table() -> None:
    from hil_sim.world.plant.rover_kernels import load_at, looked_up, slip_at
    from hil_sim.world.plant.soil import SLIPS

    table = wheel_table(NOMINAL, OSR.wheel, 10.0, loads=5)
    rng = np.random.default_rng(2)
    for load, slip in zip(rng.uniform(table.loads_n[0], 12.0, 50), rng.uniform(-1.2, 1.2, 50)):
        places = *load_at(table.loads_n, load), *slip_at(SLIPS, slip)
        assert looked_up(table.pull_n, table.loads_n, load, *places) == pytest.approx(
            table.at(load, min(max(slip, -1.0), 1.0))[0], abs=1e-12
        )
