"""Kernels of the rover's plant: heights of the ground, and the rover's motion over it in fixed steps.

The motion is quasi-static: at 0.1 m/s what a 12 kg rover keeps in its momentum is gone within a millimetre. In each
step the motors follow their targets, the wheels' speeds make the twist that a rigid body without slip would have, and
the one slip is found at which the soil's pull carries the weight up the slope. Sideways it drifts as the slope pushes.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

MOON_G = 1.62
IDLE, SPEED, POSITION = 0, 1, 2
X, Y, Z, ROLL, PITCH, YAW, SLIP, SPEED_M_S, TIPPED_S, POWER_W, YAW_RATE, ROLL_RATE, PITCH_RATE, BLOCKED = range(14)
ENERGY_J = 14  # what the motors have taken so far
STATE = 15
ANGLE, RATE, TARGET, LIMIT, ACCEL, MODE, CURRENT, GRIP, STALLED, WARMER_K = range(10)
MOTOR = 10
TRACE = 10  # t, x, y, z, roll, pitch, yaw, slip, power, how much warmer the warmest winding is than its housing


@njit(cache=True)
def ground_height(x, y, heights, x0, y0, cell, features, start, items, rows, columns, bucket):
    """The height at a place; NaN off the map."""
    u, v = (x - x0) / cell, (y - y0) / cell
    last_i, last_j = heights.shape[0] - 1, heights.shape[1] - 1
    if not (u >= 0.0 and v >= 0.0 and u <= last_j and v <= last_i):
        return np.nan
    j, i = min(int(u), last_j - 1), min(int(v), last_i - 1)
    du, dv = u - j, v - i
    low = heights[i, j] * (1.0 - du) + heights[i, j + 1] * du
    high = heights[i + 1, j] * (1.0 - du) + heights[i + 1, j + 1] * du
    z = low * (1.0 - dv) + high * dv
    place = min(int((y - y0) / bucket), rows - 1) * columns + min(int((x - x0) / bucket), columns - 1)
    for k in range(start[place], start[place + 1]):
        f = items[k]
        dx, dy, radius, size = x - features[f, 0], y - features[f, 1], features[f, 2], features[f, 3]
        q = (dx * dx + dy * dy) / (radius * radius)
        if size >= 0.0:
            if q < 1.0:  # a cap: what is seen of a sphere that lies deep
                z += size * (1.0 - q)
        elif q < 1.0:  # a bowl up to the rim
            z += size + (q * 1.2) * -size
        elif q < 4.0:  # and the rim's slope outside
            fall = 2.0 - math.sqrt(q)
            z += 0.2 * -size * fall * fall
    return z


@njit(cache=True)
def ground_heights(x, y, heights, x0, y0, cell, features, start, items, rows, columns, bucket, out):
    """Heights (n,) into `out`."""
    for n in range(len(x)):
        out[n] = ground_height(x[n], y[n], heights, x0, y0, cell, features, start, items, rows, columns, bucket)


@njit(cache=True)
def load_at(loads, load):
    """Where a load lies in a wheel table: its row, and the share of the next one."""
    i = 0
    while i < len(loads) - 2 and load > loads[i + 1]:
        i += 1
    return i, min(max((load - loads[i]) / (loads[i + 1] - loads[i]), 0.0), 1.0)


@njit(cache=True)
def slip_at(slips, slip):
    """Where a slip lies in a wheel table: its column, and the share of the next one."""
    low, high = 0, len(slips) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if slips[middle] <= slip:
            low = middle
        else:
            high = middle
    return low, min(max((slip - slips[low]) / (slips[low + 1] - slips[low]), 0.0), 1.0)


@njit(cache=True)
def looked_up(table, loads, load, i, u, low, v):
    """A wheel table between its rows `i` and columns `low`, bilinear, the border's value outside."""
    if load < loads[0]:  # in proportion below the table
        edge = (1.0 - v) * table[0, low] + v * table[0, low + 1]
        return edge * max(load, 0.0) / loads[0]
    a = (1.0 - v) * table[i, low] + v * table[i, low + 1]
    b = (1.0 - v) * table[i + 1, low] + v * table[i + 1, low + 1]
    return (1.0 - u) * a + u * b


@njit(cache=True)
def motors_step(motors, dt):
    """Each motor towards its target speed or angle, within its acceleration and speed limit."""
    for m in range(motors.shape[0]):
        rate, accel = motors[m, RATE], motors[m, ACCEL]
        if motors[m, MODE] == POSITION:
            left = motors[m, TARGET] - motors[m, ANGLE]
            wanted = math.copysign(min(motors[m, LIMIT], math.sqrt(2.0 * accel * abs(left)), abs(left) / dt), left)
        else:
            wanted = motors[m, TARGET]
        change = min(max(wanted - rate, -accel * dt), accel * dt)
        if motors[m, MODE] == POSITION and abs(motors[m, TARGET] - motors[m, ANGLE]) <= abs(wanted) * dt * 1.000001:
            motors[m, RATE] = wanted
        else:
            motors[m, RATE] = rate + change
        motors[m, ANGLE] += motors[m, RATE] * dt


@njit(cache=True)
def windings_step(motors, n, dt, ohm, heat_j_k, loss_w_k):
    """The first n motors' windings heated by their currents: exact over a step of constant current. The warmest, K."""
    left = math.exp(-dt * loss_w_k / heat_j_k)
    warmest = 0.0
    for k in range(n):
        settled = motors[k, CURRENT] * motors[k, CURRENT] * ohm / loss_w_k
        motors[k, WARMER_K] = settled + (motors[k, WARMER_K] - settled) * left
        warmest = max(warmest, motors[k, WARMER_K])
    return warmest


@njit(cache=True)
def rover_steps(
    steps, dt, t0, state, motors, wheels, steer_of, body, pull, torque, loads_n, slips,
    heights, x0, y0, cell, features, start, items, rows, columns, bucket, trace, trace_every, before_steps,
):  # fmt: skip
    """Advance by `steps` of `dt` seconds, `before_steps` after `t0`. Returns the rows of `trace` that were written.

    wheels (n, 2): x, y in the rover's frame. motors: the drives first, then the steering motors; GRIP is the share of
    a wheel's way that the ground gives back, STALLED 1 where a motor pushes and cannot turn. steer_of (n,): the
    steering motor of a wheel, or -1. body: mass, wheel radius, height of mass, motor stall torque, no-load speed,
    no-load current, stall current, supply V, side slip, tangent of the side strength, half length and half width of the
    support, heat capacity (J/K) of a motor's winding and its loss to the housing (W/K). A row of trace (see TRACE) is
    due every `trace_every` steps, of which `before_steps` have gone by since `t0`.
    """
    n = wheels.shape[0]
    mass, radius, mass_height, stall_nm, free_rad_s = body[0], body[1], body[2], body[3], body[4]
    idle_a, stall_a, volts, side_slip, side_strength = body[5], body[6], body[7], body[8], body[9]
    half_length, half_width, winding_j_k, winding_w_k = body[10], body[11], body[12], body[13]
    height, load, climb = np.empty(n), np.empty(n), np.empty(n)
    row, between = np.empty(n, np.int64), np.empty(n)  # where each load lies in the tables
    written = 0
    for step in range(steps):
        motors_step(motors, dt)
        # the twist without slip: least squares over rolling along and not across each wheel
        a00 = a01 = a02 = a11 = a12 = a22 = b0 = b1 = b2 = 0.0
        turning = 0.0
        for k in range(n):
            ahead = 0.0 if steer_of[k] < 0 else motors[steer_of[k], ANGLE]
            c, s = math.cos(ahead), math.sin(ahead)
            v = motors[k, RATE] * radius * motors[k, GRIP]
            turning = max(turning, abs(v))
            r2 = wheels[k, 0] * s - wheels[k, 1] * c
            q2 = wheels[k, 0] * c + wheels[k, 1] * s
            a00 += c * c + s * s
            a01 += c * s - s * c
            a02 += c * r2 - s * q2
            a11 += s * s + c * c
            a12 += s * r2 + c * q2
            a22 += r2 * r2 + q2 * q2
            b0 += c * v
            b1 += s * v
            b2 += r2 * v
        d = a00 * (a11 * a22 - a12 * a12) - a01 * (a01 * a22 - a12 * a02) + a02 * (a01 * a12 - a11 * a02)
        vx = (b0 * (a11 * a22 - a12 * a12) - a01 * (b1 * a22 - a12 * b2) + a02 * (b1 * a12 - a11 * b2)) / d
        vy = (a00 * (b1 * a22 - a12 * b2) - b0 * (a01 * a22 - a12 * a02) + a02 * (a01 * b2 - b1 * a02)) / d
        om = (a00 * (a11 * b2 - b1 * a12) - a01 * (a01 * b2 - b1 * a02) + b0 * (a01 * a12 - a11 * a02)) / d
        way = 1.0 if vx >= 0.0 else -1.0
        cosine, sine = math.cos(state[YAW]), math.sin(state[YAW])
        # the plane that the suspension averages over the wheels' ground
        sx = sy = sz = sxx = syy = sxy = sxz = syz = 0.0
        off_map = False
        for k in range(n):
            wx = state[X] + cosine * wheels[k, 0] - sine * wheels[k, 1]
            wy = state[Y] + sine * wheels[k, 0] + cosine * wheels[k, 1]
            h = ground_height(wx, wy, heights, x0, y0, cell, features, start, items, rows, columns, bucket)
            ahead = 0.0 if steer_of[k] < 0 else motors[steer_of[k], ANGLE]
            # a wheel climbs the way that it turns, one that stands the way that the rover goes
            turns = way if motors[k, RATE] == 0.0 else math.copysign(1.0, motors[k, RATE])
            fx, fy = math.cos(state[YAW] + ahead) * turns, math.sin(state[YAW] + ahead) * turns
            reach = 0.6 * radius
            before = ground_height(wx + fx * reach, wy + fy * reach, heights, x0, y0, cell, features, start, items,
                                   rows, columns, bucket)  # fmt: skip
            if not (h == h and before == before):
                off_map = True
                h = before = state[Z]
            height[k] = h
            climb[k] = (before - h) / reach
            sx += wheels[k, 0]
            sy += wheels[k, 1]
            sz += h
            sxx += wheels[k, 0] ** 2
            syy += wheels[k, 1] ** 2
            sxy += wheels[k, 0] * wheels[k, 1]
            sxz += wheels[k, 0] * h
            syz += wheels[k, 1] * h
        sxx -= sx * sx / n
        syy -= sy * sy / n
        sxy -= sx * sy / n
        sxz -= sx * sz / n
        syz -= sy * sz / n
        det = sxx * syy - sxy * sxy
        along = (sxz * syy - syz * sxy) / det
        across = (syz * sxx - sxz * sxy) / det
        pitch, roll = -math.atan(along), math.atan(across * math.cos(math.atan(along)))
        state[ROLL_RATE] = (roll - state[ROLL]) / dt
        state[PITCH_RATE] = (pitch - state[PITCH]) / dt
        state[ROLL], state[PITCH] = roll, pitch
        state[Z] = sz / n - along * sx / n - across * sy / n
        # loads: the weight over the wheels, moved by the slope under the centre of mass
        lean_x, lean_y = mass_height * math.tan(pitch) / math.cos(roll), -mass_height * math.tan(roll)
        if (abs(lean_x) > half_length or abs(lean_y) > half_width) and state[TIPPED_S] < 0.0:
            state[TIPPED_S] = t0 + (before_steps + step) * dt
        normal = mass * MOON_G * math.cos(roll) * math.cos(pitch)
        for k in range(n):
            load[k] = max(normal * (1.0 / n + lean_x * wheels[k, 0] / max(sxx, 1e-9)
                                    + lean_y * wheels[k, 1] / max(syy, 1e-9)), 0.02 * normal)  # fmt: skip
            row[k], between[k] = load_at(loads_n, load[k])
        # the slip at which the soil's pull carries the rover up each wheel's grade
        slip = 0.0
        blocked = 0.0
        if turning > 1e-6 and not off_map:
            need = 0.0
            for k in range(n):
                need += load[k] * climb[k]
                if climb[k] > 1.7:
                    blocked = 1.0  # a step that no wheel of this size climbs
            low, high = -0.9, 1.0
            for _ in range(30):
                slip = 0.5 * (low + high)
                column, beside = slip_at(slips, slip)
                got = 0.0
                for k in range(n):
                    got += looked_up(pull, loads_n, load[k], row[k], between[k], column, beside)
                if got < need:
                    low = slip
                else:
                    high = slip
            if blocked > 0.0:
                slip = 1.0
        elif off_map:
            slip = 1.0
        state[SLIP], state[BLOCKED] = slip, blocked
        gone = 1.0 - slip
        # sideways the slope pushes: roll with the left side up is a push to the right
        push = min(abs(math.tan(roll)) / side_strength, 0.95)
        drift = 0.0
        if turning > 1e-6:
            share = max(gone, 0.3)  # wheels that churn on the spot are dug in
            drift = -math.copysign(1.0, roll) * side_slip * -math.log(1.0 - push) * share * math.hypot(vx, vy)
        vx, vy, om = vx * gone, vy * gone + drift, om * max(gone, 0.0)
        middle = state[YAW] + 0.5 * om * dt
        flat = math.cos(pitch)
        state[X] += (math.cos(middle) * vx * flat - math.sin(middle) * vy) * dt
        state[Y] += (math.sin(middle) * vx * flat + math.cos(middle) * vy) * dt
        state[YAW] += om * dt
        state[YAW_RATE], state[SPEED_M_S] = om, vx
        # motors: the soil's torque, and what it takes to lift the wheel's load up its grade
        power = 0.0
        column, beside = slip_at(slips, slip)
        for k in range(n):
            rate = motors[k, RATE]
            if abs(rate) < 1e-9:
                motors[k, CURRENT] = stall_a * motors[k, STALLED]
                power += volts * motors[k, CURRENT]
                continue
            needed = looked_up(torque, loads_n, load[k], row[k], between[k], column, beside)
            share = min(max(abs(needed) / stall_nm, 0.0), 1.0)
            motors[k, CURRENT] = idle_a + (stall_a - idle_a) * share
            if blocked > 0.0:
                motors[k, CURRENT] = idle_a + (stall_a - idle_a) * min(1.0, share + 0.5)
            power += volts * motors[k, CURRENT] * min(1.0, abs(rate) / free_rad_s + 0.1)
        for m in range(n, motors.shape[0]):
            motors[m, CURRENT] = idle_a if abs(motors[m, RATE]) > 1e-9 else 0.0
            power += volts * motors[m, CURRENT]
        warmest = windings_step(motors, n, dt, volts / stall_a, winding_j_k, winding_w_k)
        state[POWER_W] = power
        state[ENERGY_J] += power * dt
        if (before_steps + step + 1) % trace_every == 0 and written < trace.shape[0]:
            trace[written, 0] = t0 + (before_steps + step + 1) * dt
            trace[written, 1], trace[written, 2], trace[written, 3] = state[X], state[Y], state[Z]
            trace[written, 4], trace[written, 5], trace[written, 6] = roll, pitch, state[YAW]
            trace[written, 7], trace[written, 8], trace[written, 9] = slip, power, warmest
            written += 1
    return written
