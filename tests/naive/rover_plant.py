"""The rover's plant (hil_sim.world.plant.rover_kernels)."""

from __future__ import annotations

import cmath
import math

import numpy as np

from hil_sim.world.plant.rover_kernels import (
    ACCEL,
    ANGLE,
    BLOCKED,
    CURRENT,
    ENERGY_J,
    GRIP,
    LIMIT,
    MODE,
    MOON_G,
    PITCH,
    PITCH_RATE,
    POSITION,
    POWER_W,
    RATE,
    ROLL,
    ROLL_RATE,
    SLIP,
    SPEED_M_S,
    STALLED,
    TARGET,
    TIPPED_S,
    WARMER_K,
    YAW,
    YAW_RATE,
    X,
    Y,
    Z,
)


def ground_height(x, y, heights, x0, y0, cell, features):
    """The map between its cell centres, and every crater and rock asked in turn."""
    u, v = (x - x0) / cell, (y - y0) / cell
    rows, columns = heights.shape
    if not (0 <= u <= columns - 1 and 0 <= v <= rows - 1):
        return math.nan
    j, i = min(int(u), columns - 2), min(int(v), rows - 2)
    square = [[float(heights[i + a, j + b]) for b in (0, 1)] for a in (0, 1)]
    across = [left + (right - left) * (u - j) for left, right in square]
    z = across[0] + (across[1] - across[0]) * (v - i)
    for fx, fy, radius, size in features:
        far = math.dist((x, y), (fx, fy)) / radius
        if size >= 0:
            z += size * max(0.0, 1 - far**2)
        elif far < 1:
            z -= -size * (1 - 1.2 * far**2)
        elif far < 2:
            z += 0.2 * -size * (2 - far) ** 2
    return z


def looked_up(table, loads_n, slips, load, slip):
    """A wheel table at a load and at one or more slips: straight lines between its numbers, down to nothing for a wheel
    without load, the border's value outside."""
    rows = np.eye(len(loads_n) + 1)[1:]  # each row alone is a hat over the loads
    shares = [np.interp(load, [0.0, *loads_n], row) for row in rows]
    return np.interp(slip, slips, shares @ table)


def place_in(grid, value):
    """Where a value lies in a grid, counted in its cells; at its border outside."""
    return float(np.interp(value, grid, np.arange(len(grid))))


def motors_step(motors, dt):
    """Motor by motor: as fast as it may be and still stop at its target; onto it at once where a step gets there."""
    for motor in motors:
        most = motor[ACCEL] * dt
        slowest, fastest = motor[RATE] - most, motor[RATE] + most
        if motor[MODE] == POSITION:
            way = motor[TARGET] - motor[ANGLE]
            stops_from = min(motor[LIMIT], math.sqrt(2 * motor[ACCEL] * abs(way)))
            if abs(way) <= stops_from * dt * 1.000001:
                motor[RATE] = math.copysign(min(stops_from, abs(way) / dt), way)
            else:
                motor[RATE] = np.clip(stops_from * np.sign(way), slowest, fastest)
        else:
            motor[RATE] = np.clip(motor[TARGET], slowest, fastest)
        motor[ANGLE] += motor[RATE] * dt


def windings_step(motors, n, dt, ohm, heat_j_k, loss_w_k):
    """The heat balance of the first n windings in small steps (Runge and Kutta). The warmest, K."""
    heated_w, warmer = motors[:n, CURRENT] ** 2 * ohm, motors[:n, WARMER_K].copy()
    parts = math.ceil(dt * loss_w_k / heat_j_k / 0.01)
    h = dt / parts

    def rise(kelvin):
        return (heated_w - loss_w_k * kelvin) / heat_j_k

    for _ in range(parts):
        k1 = rise(warmer)
        k2 = rise(warmer + h / 2 * k1)
        k3 = rise(warmer + h / 2 * k2)
        k4 = rise(warmer + h * k3)
        warmer += h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    motors[:n, WARMER_K] = warmer
    return float(warmer.max())


def plane_under(wheels, heights):
    """The plane nearest to the ground under the wheels: its height under the rover's middle, roll and pitch."""
    z, along, across = np.linalg.lstsq(np.column_stack([np.ones(len(wheels)), wheels]), heights, rcond=None)[0]
    forward, up = np.array([1.0, 0.0, along]), np.array([-along, -across, 1.0])
    forward, up = forward / np.linalg.norm(forward), up / np.linalg.norm(up)
    left = np.cross(up, forward)
    return z, math.atan2(left[2], up[2]), -math.asin(forward[2])


def loads_on(wheels, normal, lean_x, lean_y):
    """The evenest loads (the least squares of them) that carry the weight where it stands; no wheel lifts off."""
    carried = np.vstack([np.ones(len(wheels)), wheels.T])
    return np.maximum(np.linalg.pinv(carried) @ [normal, normal * lean_x, normal * lean_y], 0.02 * normal)


def rolling_twist(wheels, ahead, speeds):
    """vx, vy, yaw rate nearest to: every wheel rolls at its speed the way it points, and none goes sideways."""
    rows, wanted = [], []
    for (x, y), angle, speed in zip(wheels, ahead, speeds):
        x_of, y_of = np.array([1.0, 0.0, -y]), np.array([0.0, 1.0, x])  # a place's velocity, of the twist
        rows += [math.cos(angle) * x_of + math.sin(angle) * y_of, math.cos(angle) * y_of - math.sin(angle) * x_of]
        wanted += [speed, 0.0]
    return np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=None)[0]


def slip_that_pulls(need, pull, loads_n, slips, loads):
    """The least slip from -0.9 to 1 at which all wheels together pull that much, 1 if none does. For given loads their
    pull is a chain of straight lines over the slips."""
    corners = np.array([-0.9, *(slip for slip in slips if -0.9 < slip < 1.0), 1.0])
    pulled = sum(looked_up(pull, loads_n, slips, load, corners) for load in loads)
    enough = np.flatnonzero(pulled >= need)
    if len(enough) == 0:
        return 1.0
    k = enough[0]
    return float(np.interp(need, pulled[k - 1 : k + 1], corners[k - 1 : k + 1])) if k > 0 else -0.9


def rover_steps(
    steps, dt, t0, state, motors, wheels, steer_of, body, pull, torque, loads_n, slips, height,
    trace_every, before_steps,
):  # fmt: skip
    """As the kernel, with `height(x, y)` for its ground. Returns the rows of the trace."""
    (mass, radius, mass_height, stall_nm, free_rad_s, idle_a, stall_a, volts) = body[:8]
    side_slip, side_strength, half_length, half_width, winding_j_k, winding_w_k = body[8:]
    n, rows = len(wheels), []
    for count in range(before_steps, before_steps + steps):
        motors_step(motors, dt)
        rates = motors[:n, RATE]
        ahead = np.array([motors[m, ANGLE] if m >= 0 else 0.0 for m in steer_of])
        speeds = rates * radius * motors[:n, GRIP]
        vx, vy, om = rolling_twist(wheels, ahead, speeds)
        moves = np.abs(speeds).max() > 1e-6
        turns = np.where(rates == 0, 1.0 if vx >= 0 else -1.0, np.sign(rates))  # one that stands: as the rover goes

        # the ground: under each wheel, and a little further the way it turns
        reach = 0.6 * radius
        under = complex(state[X], state[Y]) + wheels @ [1, 1j] * cmath.exp(1j * state[YAW])
        before = under + turns * reach * np.exp(1j * (state[YAW] + ahead))
        heights, further = (np.array([height(p.real, p.imag) for p in places]) for places in (under, before))
        off = np.isnan(heights) | np.isnan(further)
        heights, further = np.where(off, state[Z], heights), np.where(off, state[Z], further)
        climbs = (further - heights) / reach

        z, roll, pitch = plane_under(wheels, heights)
        state[ROLL_RATE], state[PITCH_RATE] = (roll - state[ROLL]) / dt, (pitch - state[PITCH]) / dt
        state[Z], state[ROLL], state[PITCH] = z, roll, pitch
        forward, left, up = np.array(
            [-math.sin(pitch), math.sin(roll) * math.cos(pitch), math.cos(roll) * math.cos(pitch)]
        )  # the sky's way in the rover's frame
        lean_x, lean_y = -mass_height * forward / up, -mass_height * left / up
        if state[TIPPED_S] < 0 and not (abs(lean_x) <= half_length and abs(lean_y) <= half_width):
            state[TIPPED_S] = t0 + count * dt
        loads = loads_on(wheels, mass * MOON_G * math.cos(roll) * math.cos(pitch), lean_x, lean_y)

        blocked = bool(moves and not off.any() and (climbs > 1.7).any())
        if off.any() or blocked:
            slip = 1.0
        elif moves:
            slip = slip_that_pulls(float(loads @ climbs), pull, loads_n, slips, loads)
        else:
            slip = 0.0
        state[SLIP], state[BLOCKED] = slip, blocked

        # the body's velocity over the ground, x forward and y left, as one complex number
        drift = 0.0
        if moves:
            push = min(abs(math.tan(roll)) / side_strength, 0.95)
            drift = side_slip * math.log(1 / (1 - push)) * max(1 - slip, 0.3) * abs(complex(vx, vy)) * -np.sign(roll)
        state[SPEED_M_S], state[YAW_RATE] = vx * (1 - slip), om * (1 - slip)
        velocity = complex(vx * (1 - slip) * math.cos(pitch), vy * (1 - slip) + drift)
        gone = velocity * dt * cmath.exp(1j * (state[YAW] + state[YAW_RATE] * dt / 2))
        state[X], state[Y], state[YAW] = state[X] + gone.real, state[Y] + gone.imag, state[YAW] + state[YAW_RATE] * dt

        watts = 0.0
        for motor, load in zip(motors[:n], loads):
            share = min(abs(looked_up(torque, loads_n, slips, load, slip)) / stall_nm, 1.0)
            if blocked:
                share = min(share + 0.5, 1.0)
            stands = abs(motor[RATE]) < 1e-9
            motor[CURRENT] = stall_a * motor[STALLED] if stands else idle_a + (stall_a - idle_a) * share
            watts += volts * motor[CURRENT] * (1.0 if stands else min(1.0, abs(motor[RATE]) / free_rad_s + 0.1))
        motors[n:, CURRENT] = np.where(np.abs(motors[n:, RATE]) > 1e-9, idle_a, 0.0)
        state[POWER_W] = watts + volts * motors[n:, CURRENT].sum()
        state[ENERGY_J] += state[POWER_W] * dt
        warmest = windings_step(motors, n, dt, volts / stall_a, winding_j_k, winding_w_k)
        if (count + 1) % trace_every == 0:
            rows.append([t0 + (count + 1) * dt, *state[[X, Y, Z, ROLL, PITCH, YAW, SLIP, POWER_W]], warmest])
    return rows
