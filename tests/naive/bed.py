"""Powder bed (hil_sim/world/plant/heat_kernels.py, beam_kernels.py)."""

from __future__ import annotations

import math


def bed_look(h, thick, mix, tables):
    """(temperature, conductivity) of one cell; twin of `_read_tables` and `_conduct_run`."""
    x = min(max((h - tables.h_low_j_kg) * tables.nodes_per_j_kg, 0.0), len(tables.temp_k) - 1 - 1e-6)
    n = int(x)
    temp = tables.temp_k[n] + (x - n) * (tables.temp_k[n + 1] - tables.temp_k[n])
    powder = tables.powder_k_w_mk + tables.powder_k_w_mk4 * min(temp, tables.powder_k_end_k) ** 3
    return temp, powder + (tables.dense_k_w_mk - powder) * mix


def bed_step(h, mass, thick, mix, tables, setting, dt, base_k):
    """Enthalpies after one explicit step of every cell, and (radiated, convected, from base) J/m2; twin of one tick.

    h, mass, thick, mix: nested lists [x][y] of columns, bottom first, without ghosts. Half-cell resistances in series.
    """
    nx, ny, sigma = len(h), len(h[0]), 5.670374419e-8
    columns = [[list(zip(*column)) for column in zip(*rows)] for rows in zip(h, thick, mix)]
    look = [[[bed_look(*cell, tables) for cell in column] for column in rows] for rows in columns]
    after: list = []
    radiated = convected = from_base = 0.0
    for i in range(nx):
        after.append([])
        for j in range(ny):
            column = []
            top = len(h[i][j]) - 1
            for k, (temp, cond) in enumerate(look[i][j]):
                dz = thick[i][j][k]
                watts = 0.0  # per m2 of footprint
                for a, b in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                    if 0 <= a < nx and 0 <= b < ny and k < len(h[a][b]):
                        other, other_cond = look[a][b][k]
                        half = setting.cell_m / (2 * cond * dz)
                        other_half = setting.cell_m / (2 * other_cond * thick[a][b][k])
                        watts += (other - temp) / (half + other_half) / setting.cell_m
                for n in (k - 1, k + 1):
                    if 0 <= n <= top:
                        other, other_cond = look[i][j][n]
                        watts += (other - temp) / (dz / (2 * cond) + thick[i][j][n] / (2 * other_cond))
                if k == top:
                    glow = setting.emissivity * sigma * (temp**4 - setting.ambient_k**4)
                    wind = setting.convection_w_m2k * (temp - setting.ambient_k)
                    watts -= glow + wind
                    radiated, convected = radiated + dt * glow, convected + dt * wind
                if k == 0:
                    warmth = (base_k - temp) / (dz / (2 * cond) + setting.base_resistance_m2k_w)
                    watts += warmth
                    from_base += dt * warmth
                column.append(h[i][j][k] + dt * watts / mass[i][j][k])
            after[-1].append(column)
    return after, (radiated, convected, from_base)


def bed_sinter(pores, rate_before, rate_now, dt):
    """Share of open pores left after a step; twin of `_sinter_run`."""
    return pores * math.exp(-2.25 * 0.5 * dt * (rate_before + rate_now))


def bed_shine(rows, t0, t1, setting, nx, ny):
    """(joules of each column [x][y], joules beside the window) laid by the beam from t0 to t1; twin of `shine`."""
    laid, beside = [[0.0] * ny for _ in range(nx)], 0.0
    for begin, end, x0, y0, x1, y1, p0, p1 in rows:
        low, high = max(begin, t0), min(end, t1)
        if high <= low:
            continue
        parts = 1 + int(math.dist((x0, y0), (x1, y1)) * (high - low) / (end - begin) / setting.sample_m)
        for part in range(parts):
            share = (low + (high - low) * (part + 0.5) / parts - begin) / (end - begin)
            energy = (p0 + share * (p1 - p0)) * (high - low) / parts
            for dx, dy, weight in zip(setting.spot_x_m, setting.spot_y_m, setting.spot_weight):
                i = math.floor((x0 + share * (x1 - x0) + dx) / setting.cell_m)
                j = math.floor((y0 + share * (y1 - y0) + dy) / setting.cell_m)
                if 0 <= i < nx and 0 <= j < ny:
                    laid[i][j] += energy * weight
                else:
                    beside += energy * weight
    return laid, beside


def bed_step_under_beam(mass, inv_cp, tables, setting, dwell_s, stable_part, hottest_k, flux_w_m2, step_k):
    """Longest step that a patch of columns can bear with the beam on it, each cell as dense and hot as it may become.

    mass, inv_cp: lists of columns, bottom first, kg/m2 and kg K/J.
    """
    shortest, sigma, k = dwell_s, 5.670374419e-8, tables.dense_k_w_mk
    for cells in zip(mass, inv_cp):
        column = list(zip(*cells))
        for number, (kg_m2, kg_k_j) in enumerate(column):
            dz = kg_m2 / (tables.grain_density_kg_m3 * tables.closed_fraction)
            watts_m2k = 4 * k * dz / setting.cell_m**2 + 2 * k / dz  # four sides, above and below
            if number == len(column) - 1:
                watts_m2k += 4 * setting.emissivity * sigma * hottest_k**3 + setting.convection_w_m2k
                shortest = min(shortest, step_k * kg_m2 / kg_k_j / flux_w_m2)
            if number == 0:
                watts_m2k += 1 / (dz / (2 * k) + setting.base_resistance_m2k_w)
            shortest = min(shortest, stable_part * kg_m2 / kg_k_j / watts_m2k)
    return shortest
