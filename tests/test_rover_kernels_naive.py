"""Are the kernels of the rover's plant what their slow twins are? Motors, windings, tables, one step, a short drive."""

from __future__ import annotations

import math
import random
from functools import cache, partial

import naive
import numpy as np
import pytest

from hil_sim.world.plant import rover_kernels as kernels
from hil_sim.world.plant.rover import BODIES, STEP_S, TRACE_EVERY, RoverPlant
from hil_sim.world.plant.rover_kernels import (
    ACCEL,
    ANGLE,
    BLOCKED,
    CURRENT,
    GRIP,
    LIMIT,
    MODE,
    MOTOR,
    PITCH,
    POSITION,
    RATE,
    ROLL,
    SLIP,
    SPEED,
    SPEED_M_S,
    STALLED,
    TARGET,
    TIPPED_S,
    TRACE,
    WARMER_K,
    YAW_RATE,
    X,
    Z,
)
from hil_sim.world.plant.soil import NOMINAL, SLIPS, draw_soil, wheel_table
from hil_sim.world.plant.terrain import DetailSettings, Ground, generated_heights

SOILS = (NOMINAL, draw_soil(random.Random(4)))
ROUGH = DetailSettings(0.05, (0.4, 2.5), 0.3, (0.05, 0.25), 0.06)
SIZE_M = 24.0
KINDS = ("forward", "backward", "turning", "on the spot", "any", "standing")


@cache
def ground(lie: str, seed: int) -> Ground:
    """24 m x 24 m: `hills` and `edge` with craters and rocks, `level`, `steep` to where it tips, a `wall` at x 12 m."""
    cell = 0.1 if lie == "wall" else 1.0
    n = round(SIZE_M / cell) + 1
    x, y = np.meshgrid(np.arange(n) * cell, np.arange(n) * cell)
    rng = np.random.default_rng(seed)
    h = np.zeros((n, n)) if lie in ("level", "wall") else generated_heights(seed, n, 1.0, relief_m=0.8).astype(float)
    if lie != "level":
        slope, uphill = math.tan(math.radians(60.0 if lie == "steep" else rng.uniform(0.0, 12.0))), rng.uniform(0, 6.3)
        h += slope * (x * math.cos(uphill) + y * math.sin(uphill)) + (0.5 * (x > 12.0) if lie == "wall" else 0.0)
    return Ground(h.astype(np.float32), 0.0, 0.0, cell, seed=seed, details=None if lie in ("level", "wall") else ROUGH)


def placed(lie: str, seed: int) -> RoverPlant:
    """A rover on such ground: at the wall, over the map's edge, or somewhere."""
    rng = np.random.default_rng(seed)
    x, y, yaw = rng.uniform(4.0, 20.0), rng.uniform(4.0, 20.0), rng.uniform(-4.0, 4.0)
    body = BODIES["osr" if seed % 2 else "polar"]
    if lie == "edge":
        x = 0.1
    if lie == "wall":  # some wheel's look ahead crosses it
        yaw = rng.choice([0.0, math.pi])
        x = 12.0 - body.wheels["fl"][0] - rng.uniform(0.0, 0.02) if yaw == 0.0 else 12.1 + body.wheels["fl"][0]
    return RoverPlant(body, ground(lie, seed), SOILS[seed // 2 % 2], (x, y, yaw), t_s=50.0)


def set_moving(plant: RoverPlant, kind: str, rng: np.random.Generator) -> None:
    """The motors in the middle of something. No two wheels turn alike: on the spot evenly, vx would be rounding."""
    motors, n, free = plant._motors, len(plant._wheels), plant.body.free_speed_rad_s
    size, left = len(motors), plant._wheels[:, 1] > 0
    way = {"forward": 1.0, "backward": -1.0, "turning": np.where(left, 0.3, 1.0), "on the spot": np.where(left, -1, 1)}
    motors[:, ANGLE] = rng.uniform(-20.0, 20.0, size)
    motors[:, ACCEL], motors[:, LIMIT] = rng.uniform(0.5, 20.0, size), rng.uniform(0.1, 1.0, size) * free
    motors[:, CURRENT], motors[:, WARMER_K] = rng.uniform(0.0, 8.0, size), rng.uniform(0.0, 60.0, size)
    if kind == "standing":
        motors[:, RATE] = motors[:, TARGET] = 0.0
        motors[:n, STALLED] = rng.integers(0, 2, n)
    else:
        ways = way[kind] if kind in way else rng.choice([-1.0, 1.0], n)
        motors[:n, RATE] = rng.uniform(0.3, 1.0, n) * free * ways
        motors[:n, TARGET] = motors[:n, RATE] + rng.uniform(-0.2, 0.2, n)
        motors[:n, GRIP] = np.where(rng.random(n) < 0.5, 1.0, rng.uniform(0.0, 1.0, n))
        to_angle, sticks = rng.random(n) < 0.2, rng.random(n) < 0.15
        motors[:n, MODE] = np.where(to_angle, POSITION, SPEED)
        motors[:n, TARGET] = np.where(to_angle, motors[:n, ANGLE] + rng.normal(0.0, 0.1, n), motors[:n, TARGET])
        motors[:n][sticks, RATE], motors[:n][sticks, TARGET], motors[:n][sticks, MODE] = 0.0, 0.0, SPEED
        motors[:n][sticks, STALLED] = 1.0
        motors[n:, MODE], motors[n:, RATE] = POSITION, rng.uniform(-0.5, 0.5, size - n)
    motors[n:, ANGLE] = rng.uniform(-0.8, 0.8, size - n)
    motors[n:, TARGET] = np.clip(motors[n:, ANGLE] + rng.choice([0.0, 1e-3, 0.3], size - n), -0.8, 0.8)


def both(plant: RoverPlant, steps: int) -> tuple[RoverPlant, np.ndarray, np.ndarray, list[list[float]]]:
    """The plant driven by its kernel; state, motors and trace of the twin."""
    a = plant.ground.arrays
    features = a.features.tolist()
    height = partial(naive.ground_height, heights=a.heights_m, x0=a.x_m, y0=a.y_m, cell=a.cell_m, features=features)
    state, motors = plant._state.copy(), plant._motors.copy()
    rows = naive.rover_steps(
        steps, STEP_S, plant._start_s, state, motors, plant._wheels, plant._steer_of, plant._body, *plant._table,
        SLIPS, height, TRACE_EVERY, plant._steps,
    )  # fmt: skip
    plant._advance(steps)
    return plant, state, motors, rows


def motors_in_any_state(seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    motors = rng.uniform(-3.0, 3.0, (count, MOTOR))
    motors[:, MODE] = rng.choice([SPEED, POSITION], count)
    motors[:, ACCEL], motors[:, LIMIT] = 10 ** rng.uniform(-0.3, 3.0, count), 10 ** rng.uniform(-2.0, 0.5, count)
    near = rng.random(count) < 0.5  # about to arrive
    motors[near, TARGET] = motors[near, ANGLE] + rng.normal(0.0, 1e-2, near.sum())
    motors[rng.random(count) < 0.05, RATE] = 0.0
    arrived = rng.random(count) < 0.05
    motors[arrived, TARGET] = motors[arrived, ANGLE]
    return motors


# ---- motors and windings


@pytest.mark.parametrize("dt", [0.001, 0.02, 0.5])
def test_motors_turn_as_their_twins(dt: float) -> None:
    motors = motors_in_any_state(1, 400)
    twin = motors.copy()
    for _ in range(100):
        kernels.motors_step(motors, dt)
        naive.motors_step(twin, dt)
        np.testing.assert_allclose(motors, twin, rtol=0, atol=1e-9)
    assert (motors[:, MODE] == POSITION).any() and (motors[:, MODE] == SPEED).any()


@pytest.mark.parametrize(("ohm", "heat_j_k", "loss_w_k"), [(1.8, 4.0, 0.3), (28.0 / 15.0, 30.0, 1.0), (0.2, 0.5, 2.0)])
@pytest.mark.parametrize("dt", [0.02, 3.0])
def test_windings_warm_by_their_heat_balance(dt: float, ohm: float, heat_j_k: float, loss_w_k: float) -> None:
    motors = np.random.default_rng(3).uniform(0.0, 8.0, (7, MOTOR))
    twin = motors.copy()
    for current in (None, 0.0):  # under current, and as they cool
        if current is not None:
            motors[:, CURRENT] = twin[:, CURRENT] = current
        for _ in range(20):
            warmest = kernels.windings_step(motors, 5, dt, ohm, heat_j_k, loss_w_k)
            assert warmest == pytest.approx(naive.windings_step(twin, 5, dt, ohm, heat_j_k, loss_w_k), rel=1e-9)
            np.testing.assert_allclose(motors, twin, rtol=1e-9, atol=1e-12)


# ---- tables


def test_a_load_and_a_slip_lie_where_their_twins_find_them() -> None:
    loads = wheel_table(NOMINAL, BODIES["osr"].wheel, 10.0, loads=5).loads_n
    rng = np.random.default_rng(5)
    for grid, found in ((loads, kernels.load_at), (SLIPS, kernels.slip_at)):
        span = grid[-1] - grid[0]
        for value in [*grid, *rng.uniform(grid[0] - 0.2 * span, grid[-1] + 0.2 * span, 300)]:
            cell, share = found(grid, value)
            assert 0 <= cell <= len(grid) - 2 and 0.0 <= share <= 1.0
            assert cell + share == pytest.approx(naive.place_in(grid, value), abs=1e-11)


def test_a_table_says_what_its_twin_says_inside_above_and_below() -> None:
    table = wheel_table(NOMINAL, BODIES["osr"].wheel, 10.0, loads=5)
    rng = np.random.default_rng(6)
    for numbers in (table.pull_n, table.torque_nm):
        for load, slip in zip(rng.uniform(-1.0, 13.0, 300), rng.uniform(-1.2, 1.2, 300)):
            places = *kernels.load_at(table.loads_n, load), *kernels.slip_at(SLIPS, slip)
            said = kernels.looked_up(numbers, table.loads_n, load, *places)
            assert said == pytest.approx(naive.looked_up(numbers, table.loads_n, SLIPS, load, slip), abs=1e-11)


# ---- the whole

# The kernel halves its slip's bracket 30 times: it is sure to 2e-9. All else that follows a slip scales with it.
SLIP_SURE = 1e-8
LIES = ("hills", "edge", "level", "steep", "wall")


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("kind", KINDS)
def test_one_step_is_the_twins(lie: str, kind: str) -> None:
    for seed in range(8):
        plant = placed(lie, seed)
        set_moving(plant, kind, np.random.default_rng([seed, KINDS.index(kind)]))
        plant._state[TIPPED_S], plant._steps = -1.0, 12  # it may tip only now, some time after its start
        _, state, motors, _ = both(plant, 1)
        where = f"{lie}, {kind}, seed {seed}"
        np.testing.assert_allclose(plant._state[: Z + 1], state[: Z + 1], rtol=0, atol=1e-9, err_msg=where)
        np.testing.assert_allclose(plant._state, state, rtol=1e-8, atol=SLIP_SURE, err_msg=where)
        np.testing.assert_allclose(plant._motors, motors, rtol=1e-8, atol=SLIP_SURE, err_msg=where)


def test_the_steps_that_were_compared_were_of_every_sort() -> None:
    seen: dict[str, int] = {}
    for lie in LIES:
        for kind in KINDS:
            for seed in range(8):
                plant = placed(lie, seed)
                set_moving(plant, kind, np.random.default_rng([seed, KINDS.index(kind)]))
                plant._advance(1)
                s = plant._state
                for name, so in {
                    "blocked": s[BLOCKED] > 0, "tipped": s[TIPPED_S] >= 0, "slips": 0.05 < s[SLIP] < 0.95,
                    "pushed": s[SLIP] < -0.05, "stuck": s[SLIP] > 0.999 and s[BLOCKED] == 0 and lie != "edge",
                    "off the map": s[SLIP] == 1.0 and s[BLOCKED] == 0 and lie == "edge", "stands": kind == "standing",
                    "forward": s[SPEED_M_S] > 0.01, "backward": s[SPEED_M_S] < -0.01, "turns": abs(s[YAW_RATE]) > 0.02,
                    "leans": abs(s[ROLL]) > 0.1 and abs(s[PITCH]) > 0.1,
                }.items():  # fmt: skip
                    seen[name] = seen.get(name, 0) + bool(so)
    assert min(seen.values()) >= 5, seen


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("lie", ["hills", "edge"])
def test_a_short_drive_is_the_twins_with_its_track(lie: str, seed: int) -> None:
    """Told anew again and again, sometimes for the other way; some wheels stick and some find no grip."""
    plant, rng = placed(lie, seed), np.random.default_rng(100 + seed)
    tracks = 0
    for leg, steps in enumerate((7, 60, 41, 92)):  # never a whole number of the track's rows
        t_s, speed = plant.t_s, (1.0, 1.0, -0.8, 0.6)[(leg + seed) % 4] * plant.body.free_speed_rad_s
        for name in plant.body.wheels:
            plant.motor(name).set_speed(t_s, speed * rng.uniform(0.7, 1.0), rng.uniform(0.5, 10.0))
            plant.set_grip(t_s, plant.motor(name), rng.choice([1.0, rng.uniform(0.3, 1.0)]))
        for name in plant.body.steered:
            plant.steer(name).set_position(t_s, rng.uniform(-0.5, 0.5), 1.0, 5.0)
        held = rng.choice(list(plant.body.wheels))
        plant.hold(t_s, plant.motor(held))
        _, state, motors, rows = both(plant, steps)
        np.testing.assert_allclose(plant._state, state, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(plant._motors, motors, rtol=1e-6, atol=1e-6)
        kept = np.concatenate(plant._rows)[tracks:]
        tracks += len(kept)
        np.testing.assert_allclose(kept, np.reshape(rows, (-1, TRACE)), rtol=1e-7, atol=1e-7)
        plant.let_go(plant.t_s, plant.motor(held))
    assert tracks == 200 // TRACE_EVERY and plant.pose(plant.t_s)[X] != 0.0
