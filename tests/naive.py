"""Slow twins of the kernels: the same answer by the plainest code, for tests to compare with.

One section a kernel topic; nothing here is imported by the product.
"""

from __future__ import annotations

import heapq
import itertools
import math
from itertools import pairwise

import numpy as np

# --- cutting and filling (slicer/kernels/cutting.py, filling.py, sequencing.py) -----------------------------


def edge_census(faces):
    """(open, non-manifold, clashing) edges, by a dictionary of directed edges; twin of `pair_edges`."""
    uses = {}
    for a, b, c in [[int(corner) for corner in face] for face in faces]:
        for tail, head in ((a, b), (b, c), (c, a)):
            uses.setdefault((min(tail, head), max(tail, head)), []).append(tail < head)
    opened = sum(len(directions) == 1 for directions in uses.values())
    crowded = sum(len(directions) > 2 for directions in uses.values())
    clashing = sum(abs(2 * sum(directions) - len(directions)) // 2 for directions in uses.values())
    return opened, crowded, clashing


def cut_segments(vertices, faces, z):
    """Directed segments ((x0, y0), (x1, y1)) of a surface at height z, material to the left; twin of the plane walk."""
    segments = []
    for face in faces:
        down = up = None
        for j in range(3):
            a, b = vertices[face[j]], vertices[face[(j + 1) % 3]]
            if (a[2] >= z) == (b[2] >= z):
                continue
            part = (z - a[2]) / (b[2] - a[2])
            point = (a[0] + part * (b[0] - a[0]), a[1] + part * (b[1] - a[1]))
            if b[2] >= z:
                up = point
            else:
                down = point
        if up is not None:
            segments.append((down, up))
    return segments


def body_winding(faces):
    """(bodies, [(body, against the first of its body)] per face), by growing each body face by face."""
    directed = [[(int(f[j]), int(f[(j + 1) % 3])) for j in range(3)] for f in faces]
    by_edge = {}
    for t, edges in enumerate(directed):
        for tail, head in edges:
            by_edge.setdefault(frozenset((tail, head)), []).append((t, tail < head))
    found = [None] * len(directed)
    bodies = 0
    for seed in range(len(directed)):
        if found[seed] is not None:
            continue
        found[seed] = (bodies, False)
        queue = [seed]
        while queue:
            t = queue.pop()
            for tail, head in directed[t]:
                for other, upward in by_edge[frozenset((tail, head))]:
                    if found[other] is None:
                        found[other] = (bodies, found[t][1] != (upward == (tail < head)))
                        queue.append(other)
        bodies += 1
    return bodies, found


def distance_to_loop(point, loop):
    """How far a point lies from a closed polyline."""
    x, y = point
    best = math.inf
    for (ax, ay), (bx, by) in zip(loop, [*loop[1:], loop[0]]):
        length2 = (bx - ax) ** 2 + (by - ay) ** 2
        part = 0.0 if length2 == 0.0 else ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length2
        part = min(max(part, 0.0), 1.0)
        best = min(best, math.hypot(ax + part * (bx - ax) - x, ay + part * (by - ay) - y))
    return best


def inside(point, loops):
    """Even-odd: whether a ray from the point to the right crosses the loops an odd number of times."""
    x, y = point
    odd = False
    for loop in loops:
        for (ax, ay), (bx, by) in zip(loop, [*loop[1:], loop[0]]):
            if (ay <= y) != (by <= y) and x < ax + (y - ay) * (bx - ax) / (by - ay):
                odd = not odd
    return odd


def hatch_lines(loops, spacing, angle, phase):
    """(v, [u at which it enters and leaves]) of each line, through every edge; twin of `crossings`."""
    cos, sin = math.cos(angle), math.sin(angle)
    turned = [[(x * cos + y * sin, y * cos - x * sin) for x, y in loop] for loop in loops]
    heights = [v for loop in turned for _, v in loop]
    if not heights:
        return []
    lines = max(1, math.floor((max(heights) - min(heights)) / spacing + 0.5))
    line_0 = 0.5 * (min(heights) + max(heights)) - 0.5 * (lines - 1) * spacing
    line_0 += (phase - math.floor(phase + 0.5)) * spacing
    found = []
    for k in range(-1, lines + 1):
        height = line_0 + k * spacing
        met = []
        for loop in turned:
            for (au, av), (bu, bv) in zip(loop, [*loop[1:], loop[0]]):
                if (av < height) != (bv < height):
                    met.append(au + (height - av) * (bu - au) / (bv - av))
        found.append((height, sorted(met)))
    return found


def hatch(loops, spacing, angle, phase, shortest, turning=True):
    """Vectors of a meander, line by line; twin of `parallel_vectors`."""
    cos, sin = math.cos(angle), math.sin(angle)
    vectors = []
    backwards = False
    for height, met in hatch_lines(loops, spacing, angle, phase):
        line = [(a, b) for a, b in zip(met[0::2], met[1::2]) if b - a > shortest]
        if backwards:
            line = [(b, a) for a, b in line[::-1]]
        for a, b in line:
            vectors.append(
                (a * cos - height * sin, a * sin + height * cos, b * cos - height * sin, b * sin + height * cos)
            )
        if line and turning:
            backwards = not backwards
    return vectors


def trace_nearest(loops, x, y):
    """Closed loops as vectors, nearest corner first; twin of the kernel of that name."""
    left = list(range(len(loops)))
    vectors = []
    while left:
        _, number, entry = min(
            ((px - x) ** 2 + (py - y) ** 2, number, i) for number in left for i, (px, py) in enumerate(loops[number])
        )
        left.remove(number)
        ring = [*loops[number][entry:], *loops[number][:entry]]
        vectors += [(*a, *b) for a, b in zip(ring, [*ring[1:], ring[0]])]
        x, y = ring[0]
    return vectors


# --- motion (slicer/kernels/motion.py) ----------------------------------------------------------------------


def scan_moves(vectors, speeds, jump_speed):
    """(start, end, speed, is_vector) of each move, jumps between vectors included."""
    moves, at = [], None
    for (x0, y0, x1, y1), speed in zip(vectors, speeds):
        if at is not None and max(abs(at[0] - x0), abs(at[1] - y0)) > 5e-4:
            moves.append((at, (x0, y0), jump_speed, False))
        moves.append(((x0, y0), (x1, y1), speed, True))
        at = (x1, y1)
    return moves


def motion_seconds(corners, cruises, a, deviation):
    """Seconds of each move by relaxing corner speeds until none changes: all is known ahead."""
    kept = [i for i in range(len(cruises)) if math.dist(corners[i], corners[i + 1]) > 0]
    lengths = [math.dist(corners[i], corners[i + 1]) for i in kept]
    headings = [math.atan2(corners[i + 1][1] - corners[i][1], corners[i + 1][0] - corners[i][0]) for i in kept]
    cruise = [cruises[i] for i in kept]
    speed = [0.0]
    for before, after in zip(range(len(kept) - 1), range(1, len(kept))):
        turn = abs(math.remainder(headings[after] - headings[before], 2 * math.pi))
        limit = min(cruise[before], cruise[after])
        half_sine = math.sin((math.pi - turn) / 2)
        if -math.cos(turn) > 0.999999:
            limit = 0.0
        elif -math.cos(turn) > -0.999999:
            limit = min(limit, math.sqrt(a * deviation * half_sine / (1 - half_sine)))
            if lengths[after] < 1 and turn < math.pi / 4:
                limit = min(limit, math.sqrt(lengths[after] * a / turn))
        speed.append(limit)
    speed.append(0.0)
    changed = True
    while changed:
        changed = False
        for i, length in enumerate(lengths):
            for low, high in ((i, i + 1), (i + 1, i)):
                most = math.sqrt(speed[low] ** 2 + 2 * a * length)
                if speed[high] > most * (1 + 1e-12):
                    speed[high], changed = most, True
    seconds = [0.0] * len(cruises)
    for j, i in enumerate(kept):
        enter, leave = speed[j], speed[j + 1]
        up, down = (cruise[j] ** 2 - enter**2) / (2 * a), (cruise[j] ** 2 - leave**2) / (2 * a)
        if up + down <= lengths[j]:
            seconds[i] = (cruise[j] - enter + cruise[j] - leave) / a + (lengths[j] - up - down) / cruise[j]
        else:
            peak = math.sqrt((enter**2 + leave**2) / 2 + a * lengths[j])
            seconds[i] = (peak - enter + peak - leave) / a
    return seconds


# --- powder bed (hil_sim/world/plant/heat_kernels.py, beam_kernels.py) ------------------------------------------


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


# ---- the rover's plant (hil_sim.world.plant.rover_kernels)


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


# ---- ways over a cost map (control.rover.route)


def dijkstra(cost, goal):
    """The cheapest cost from every cell to the goal, by a heap of cells; rows x columns, inf where there is no way."""
    rows, columns = len(cost), len(cost[0])
    left = [[math.inf] * columns for _ in range(rows)]
    if not math.isfinite(cost[goal[0]][goal[1]]):
        return left
    left[goal[0]][goal[1]] = 0.0
    waiting = [(0.0, goal)]
    while waiting:
        so_far, (i, j) = heapq.heappop(waiting)
        if so_far > left[i][j]:
            continue
        for a in (-1, 0, 1):
            for b in (-1, 0, 1):
                m, n = i + a, j + b
                if (a, b) == (0, 0) or not (0 <= m < rows and 0 <= n < columns) or math.isinf(cost[m][n]):
                    continue
                if a and b and (math.isinf(cost[m][j]) or math.isinf(cost[i][n])):
                    continue  # no corner is cut
                new = so_far + 0.5 * (float(cost[i][j]) + float(cost[m][n])) * math.hypot(a, b)
                if new < left[m][n]:
                    left[m][n] = new
                    heapq.heappush(waiting, (new, (m, n)))
    return left


# ---- what a height map says of a cell (control.rover.ground.terrain)


def ground_cell(heights, i, j, cell_m):
    """Slope (deg), roughness and step of one cell, by a least-squares solver; None beside what is not known."""
    rows, columns = len(heights), len(heights[0])
    if not (0 < i < rows - 1 and 0 < j < columns - 1):
        return None
    around = [(b, a, float(heights[i + a][j + b])) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    if any(math.isnan(h) for *_, h in around):
        return None
    plane, *_ = np.linalg.lstsq(np.array([(b, a, 1.0) for b, a, _ in around]), np.array([h for *_, h in around]))
    across = (float(heights[i][j + 1]) - float(heights[i][j - 1])) / 2
    along = (float(heights[i + 1][j]) - float(heights[i - 1][j])) / 2
    steepest = max(math.hypot(plane[0], plane[1]), math.hypot(across, along)) / cell_m
    left = [h - plane[0] * b - plane[1] * a - plane[2] for b, a, h in around]
    lines = [[float(heights[i + k * a][j + k * b]) for k in (-1, 0, 1)] for a, b in ((0, 1), (1, 0), (1, 1), (1, -1))]
    steps = [min(abs(p - 2 * q + r), max(abs(q - p), abs(r - q))) for p, q, r in lines]
    return math.degrees(math.atan(steepest)), math.sqrt(sum(x * x for x in left) / 9), max(steps)


# ---- horizons (control.rover.ground.illumination)


def horizon_deg(heights, i, j, across, up, cell_m, radius_m):
    """The horizon of a cell towards so many columns across and rows up: every crossing of the ray, one by one."""
    rows, columns = len(heights), len(heights[0])
    own = float(heights[i][j])
    major = max(abs(across), abs(up))
    best = -math.degrees(math.atan(math.sqrt(2 * max(own, 0.0) / radius_m)))
    for n in range(1, rows + columns):
        y, x = i + n * up / major, j + n * across / major
        if not (-1e-9 <= y <= rows - 1 + 1e-9 and -1e-9 <= x <= columns - 1 + 1e-9):
            break
        a, b = min(int(y + 1e-9), rows - 1), min(int(x + 1e-9), columns - 1)
        v, u = y - a, x - b
        z = 0.0
        for da, db, weight in ((0, 0, (1 - v) * (1 - u)), (1, 0, v * (1 - u)), (0, 1, (1 - v) * u), (1, 1, v * u)):
            if weight > 1e-9:
                z += weight * float(heights[a + da][b + db])
        if math.isnan(z):
            continue
        far = n * cell_m * math.hypot(across, up) / major
        best = max(best, math.degrees(math.atan((z - own) / far - far / (2 * radius_m))))
    return best


# ---- planning over time (control.rover.route.timed)


def most_charge(is_open, drive_w, lit, heard, numbers, start, charge, steps):
    """For each step, a dictionary from cell to the most charge that can be had there: every move from every cell.

    Standing takes one step, a straight move two, a diagonal one three.
    """
    step_s, frame_s, hotel_w, sleep_w, solar_w, capacity_wh, reserve = numbers
    rows, columns = len(is_open), len(is_open[0])
    history = [{} for _ in range(steps + 1)]
    history[0][start] = charge
    for k in range(steps):
        for (i, j), had in history[k].items():
            for a in (-1, 0, 1):
                for b in (-1, 0, 1):
                    m, n, last = i + a, j + b, k + 1 + abs(a) + abs(b)
                    if not (0 <= m < rows and 0 <= n < columns and is_open[m][n]) or last > steps:
                        continue
                    if a and b and not (is_open[m][j] and is_open[i][n]):
                        continue
                    left = had
                    for frame in range(len(lit)):
                        within_s = min(last * step_s, (frame + 1) * frame_s) - max(k * step_s, frame * frame_s)
                        if within_s < 1e-6 * frame_s or left < reserve:
                            continue
                        sun = (float(lit[frame][i][j]) + float(lit[frame][m][n])) / 2
                        load_w = hotel_w + (drive_w[i][j] + drive_w[m][n]) / 2
                        if (a, b) == (0, 0):
                            load_w = hotel_w if sun >= 0.5 else sleep_w
                        elif heard is not None and not (heard[frame][i][j] and heard[frame][m][n]):
                            left = -1.0
                        left = min(1.0, left + (solar_w * sun - load_w) * within_s / 3600 / capacity_wh)
                    if left >= reserve:
                        history[last][m, n] = max(left, history[last].get((m, n), -1.0))
    return history


# --- hatches in tiles and along curves (slicer/kernels/tiling.py, curving.py) -----------------------------------


def tiled(loops, spacing, angle, phase, shortest, colours, pitch, overlap):
    """[(row, column, vector)] tile by tile, each line clipped by the sides of every tile; twin of `tiled_vectors`."""
    if colours == 1:
        angle += math.pi / 2
    flats = {1: (0,), 2: (0, 90), 3: (0, 60, 120)}[colours]  # directions across the sides of a tile
    side = 0.5 * (pitch + overlap)
    shift = (phase - math.floor(phase)) * pitch
    cells = int(max(math.hypot(x, y) for loop in loops for x, y in loop) / pitch * 1.2) + 2
    pieces = []
    for colour in range(colours):
        turn = colour * {1: 0.0, 2: math.pi / 2, 3: 2 * math.pi / 3}[colours]
        for k, (height, met) in enumerate(hatch_lines(loops, spacing, angle + turn, phase)):
            for a, b in zip(met[0::2], met[1::2]):
                # in the frame of the grid
                start = (a * math.cos(turn) - height * math.sin(turn), a * math.sin(turn) + height * math.cos(turn))
                along = (math.cos(turn), math.sin(turn))
                for row in range(-cells, cells + 1) if colours > 1 else [0]:
                    for column in range(-cells, cells + 1):
                        if (column - row) % colours != colour:
                            continue
                        centre = (
                            shift + (column + (0.5 * row if colours == 3 else 0.0)) * pitch,
                            shift + row * pitch * {1: 0.0, 2: 1.0, 3: math.sqrt(0.75)}[colours],
                        )
                        low, high = 0.0, b - a
                        for flat in flats:
                            nx, ny = math.cos(math.radians(flat)), math.sin(math.radians(flat))
                            away = (start[0] - centre[0]) * nx + (start[1] - centre[1]) * ny
                            rate = along[0] * nx + along[1] * ny
                            if abs(rate) < 1e-9:
                                if not -side < away < side:
                                    high = -1.0
                                continue
                            ends = sorted(((-side - away) / rate, (side - away) / rate))
                            low, high = max(low, ends[0]), min(high, ends[1])
                        if high - low > shortest:
                            pieces.append(
                                (
                                    row,
                                    column,
                                    k,
                                    -(a + low) if k % 2 else a + low,
                                    a + low,
                                    a + high,
                                    height,
                                    angle + turn,
                                )
                            )
    vectors = []
    for row, column, k, _, a, b, height, frame in sorted(pieces):
        cos, sin = math.cos(frame), math.sin(frame)
        a, b = (b, a) if k % 2 else (a, b)
        vector = (a * cos - height * sin, a * sin + height * cos, b * cos - height * sin, b * sin + height * cos)
        vectors.append((row, column, vector))
    return vectors


def ring_order(rings, level, direction):
    """Rings from the outline to the core, pocket by pocket, nearest first; twin of the kernel of that name."""
    parent = [
        min(
            (i for i in range(len(rings)) if level[i] == level[ring] - 1),
            key=lambda i: distance_to_loop(rings[ring][0], rings[i]),
            default=None,
        )
        for ring in range(len(rings))
    ]
    order = []
    at = max((p for ring in rings for p in ring), key=lambda p: p[0] * direction[0] + p[1] * direction[1])

    def trace(outer):
        nonlocal at
        left = [ring for ring in range(len(rings)) if parent[ring] == outer]
        while left:
            _, ring, entry = min((math.dist(p, at), ring, p) for ring in left for p in rings[ring])
            left.remove(ring)
            order.append(ring)
            at = entry
            trace(ring)

    trace(None)
    return order


def spiral(loops, spacing, angle, phase, shortest, rays):
    """[(chain, vector)] of the spiral, every chord met with every side; twin of both its kernels."""
    cos, sin = math.cos(angle), math.sin(angle)
    turned = [[(x * cos + y * sin, y * cos - x * sin) for x, y in loop] for loop in loops]
    us, vs = [u for loop in turned for u, _ in loop], [v for loop in turned for _, v in loop]
    middle = (0.5 * (min(us) + max(us)), 0.5 * (min(vs) + max(vs)))
    turned = [[(u - middle[0], v - middle[1]) for u, v in loop] for loop in turned]
    pitch = spacing / math.cos(math.pi / rays)

    def corner(c):
        r, turn = pitch * (phase % 1.0 + c / rays), 2 * math.pi * (c % rays) / rays
        return r * math.cos(turn), r * math.sin(turn)

    outer = max(math.hypot(u, v) for loop in turned for u, v in loop) / math.cos(math.pi / rays) + 2 * pitch
    within = inside(corner(0), turned)
    chain, vectors, started = -1, [], False
    for c in range(int(outer / pitch * rays)):
        (pu, pv), (qu, qv) = corner(c), corner(c + 1)
        stops = [0.0]
        for loop in turned:
            for (au, av), (bu, bv) in zip(loop, [*loop[1:], loop[0]]):
                side_a = (qu - pu) * (av - pv) - (qv - pv) * (au - pu)
                side_b = (qu - pu) * (bv - pv) - (qv - pv) * (bu - pu)
                side_p = (bu - au) * (pv - av) - (bv - av) * (pu - au)
                side_q = (bu - au) * (qv - av) - (bv - av) * (qu - au)
                if (side_a < 0) != (side_b < 0) and (side_p < 0) != (side_q < 0):
                    stops.append(side_p / (side_p - side_q))
        stops = [*sorted(stops), 1.0]
        for i, (low, high) in enumerate(pairwise(stops)):
            if i:
                within = not within
            if i or c == 0:
                started = False
            cut = low > 0.0 or high < 1.0 or c == 0
            if not within or (cut and (high - low) * math.dist((pu, pv), (qu, qv)) <= shortest):
                continue
            chain, started = chain + (not started), True
            ends = [(pu + at * (qu - pu) + middle[0], pv + at * (qv - pv) + middle[1]) for at in (low, high)]
            vectors.append((chain, [w for u, v in ends for w in (u * cos - v * sin, u * sin + v * cos)]))
    return vectors


def hilbert_cells(side):
    """The cells of Hilbert's curve in a square of 2^n cells, from the lower left corner to the upper left one."""
    if side == 1:
        return [(0, 0)]
    half = side // 2
    quarter = hilbert_cells(half)
    return (
        [(y, x) for x, y in quarter]
        + [(x + half, y) for x, y in quarter]
        + [(x + half, y + half) for x, y in quarter]
        + [(half - 1 - y, side - 1 - x) for x, y in quarter]
    )


def hilbert(loops, spacing, angle, phase, shortest):
    """[(chain, vector)] of Hilbert's curve, step by step; twin of `hilbert_vectors`."""
    cos, sin = math.cos(angle), math.sin(angle)
    level = hatch_lines(loops, spacing, angle, phase)
    upright = [(-w, met) for w, met in hatch_lines(loops, spacing, angle + math.pi / 2, -phase)][::-1]
    side = 1
    while side < max(len(level), len(upright)):
        side *= 2
    cells = hilbert_cells(side)
    chain, vectors, at = -1, [], None
    for (c0, r0), (c1, r1) in pairwise(cells):
        if max(c0, c1) >= len(upright) or max(r0, r1) >= len(level):
            at = None
            continue
        start, end = (upright[c0][0], level[r0][0]), (upright[c1][0], level[r1][0])
        along = 0 if r0 == r1 else 1
        met = (level[r0] if along == 0 else upright[c0])[1]
        low, high = sorted((start[along], end[along]))
        pieces = [(max(low, a), min(high, b)) for a, b in zip(met[0::2], met[1::2])]
        pieces = [piece for piece in pieces if piece[1] - piece[0] > shortest]
        if start[along] > end[along]:
            pieces = [(b, a) for a, b in pieces[::-1]]
        for a, b in pieces:
            p, q = ((a, start[1]), (b, start[1])) if along == 0 else ((start[0], a), (start[0], b))
            if at is None or math.dist(at, p) > 1e-9:
                chain += 1
                vectors.append((chain, p, q))
            elif abs((q[0] - p[0]) * (p[1] - vectors[-1][1][1]) - (q[1] - p[1]) * (p[0] - vectors[-1][1][0])) < 1e-9:
                vectors[-1] = (chain, vectors[-1][1], q)
            else:
                vectors.append((chain, p, q))
            at = q
    return [(c, [w for u, v in ends for w in (u * cos - v * sin, u * sin + v * cos)]) for c, *ends in vectors]


# --- a program on its controller (slicer/kernels/motion.py, `run_lines`) ----------------------------------------


class Controller:
    """A host, a serial line and a motion controller, event by event; twin of `run_lines`.

    lines: (kind, (x, y), value, size, check) each, kind "move", "jump", "wait" or "sync". `spans[i]` is then (begin,
    end) of line i's move or wait. `wire`: None, or (byte_s, latency_s, command_s, window_bytes, window_lines,
    spare_bytes, frame_bytes, first number or None, answer_bytes).
    """

    def __init__(self, lines, at, a, v_max, corner_sq, per_axis, ring, delay, first_moves, replan_ahead, wire):
        self.lines, self.at, self.a, self.v_max, self.corner_sq, self.per_axis = (
            lines,
            at,
            a,
            v_max,
            corner_sq,
            per_axis,
        )
        self.ring, self.delay, self.first_moves, self.replan_ahead = ring, delay, first_moves, replan_ahead
        self.wire = wire
        self.spans = [(0.0, 0.0)] * len(lines)
        self.events, self.now = [], 0.0
        self.sent, self.flight, self.line_free, self.answer_free = 0, [], 0.0, 0.0
        self.inbox, self.busy, self.blocked = [], False, None
        self.moves, self.running, self.last = [], None, None
        if wire is None:
            self.inbox = list(range(len(lines)))
            self.look()
        else:
            self.feed()
        while self.events:
            self.events.sort(key=lambda event: event[:2])
            self.now, _, act = self.events.pop(0)
            act()

    def later(self, time, rank, act):
        self.events.append((time, rank, act))

    # ---- host and line
    def feed(self):
        byte_s, latency, _, window, most, spare, frame, first, _ = self.wire
        while self.sent < len(self.lines):
            size, check = self.lines[self.sent][3:]
            if self.flight and (sum(self.flight) + size + spare > window or len(self.flight) >= most):
                return
            if first is not None:
                text = f"N{first + self.sent} "
                for letter in text:
                    check ^= ord(letter)
                size += len(text) - 2 + len(str(check))
            size += frame
            self.flight.append(size)
            self.line_free = max(self.line_free, self.now) + size * byte_s
            self.later(self.line_free + latency, 1, lambda i=self.sent: (self.inbox.append(i), self.look()))
            self.sent += 1

    def answer(self, i):
        if self.wire is None:
            return
        byte_s, latency, *_, first, size = self.wire
        if first is not None:
            size += len(str(first + i)) + len(str(self.ring - len(self.moves)))
        self.answer_free = max(self.answer_free, self.now) + size * byte_s
        self.later(self.answer_free + latency, 1, lambda: (self.flight.pop(0), self.feed()))

    # ---- board
    def look(self):
        if self.inbox and not self.busy:
            self.busy = True
            i = self.inbox.pop(0)
            self.later(self.now + (self.wire[2] if self.wire else 0.0), 1, lambda: self.take(i))

    def take(self, i):
        kind, end, value = self.lines[i][:3]
        if kind in ("wait", "sync"):
            if self.moves:
                self.blocked = i
                return
            until = self.now + (value if kind == "wait" else 0.0)
            self.spans[i] = (self.now, until)
            self.later(until, 1, lambda: self.done(i))
            return
        length = math.dist(self.at, end)
        if length < 1e-9:
            self.spans[i] = (self.now, self.now)
        elif len(self.moves) >= self.ring:
            self.blocked = i
            return
        else:
            self.plan(i, kind, end, value, length)
        self.done(i)

    def done(self, i):
        self.answer(i)
        self.busy = False
        self.look()

    # ---- planner
    def plan(self, i, kind, end, value, length):
        unit = [(b - a) / length for a, b in zip(self.at, end)]
        cruise, a = min(value, self.v_max), self.a
        if self.per_axis:
            cruise, a = (min(m / abs(u) for u in unit if u) for m in (self.v_max, self.a))
            cruise = cruise if kind == "jump" else min(cruise, value)
        limit = 0.0
        if self.moves:
            before = self.moves[-1]
            limit = min(before["cruise"], cruise) ** 2
            limit = min(limit, self.corner_sq(before["unit"], unit, length, a))
        move = {"line": i, "unit": unit, "length": length, "cruise": cruise, "a": a, "limit": limit}
        if not self.moves:
            self.last = object()
            wait = self.delay if self.first_moves > 1 else 0.0
            self.later(self.now + wait, 0, lambda token=self.last: token is self.last and self.start(0.0))
        self.moves.append(move)
        self.at = end
        if self.running is None and len(self.moves) == self.first_moves > 1:
            self.last = None
            self.later(self.now, 0, lambda: self.running is None and self.start(0.0))
        elif self.running and self.now + self.replan_ahead <= self.running["brake"]:
            self.profile()

    def start(self, entry_sq):
        self.last = None
        self.running = {"since": self.now, "entry_sq": entry_sq}
        self.profile()

    def profile(self):
        run, (move, *behind) = self.running, self.moves
        speed_sq = 0.0
        for other in reversed(behind):
            speed_sq = min(other["limit"], speed_sq + 2 * other["a"] * other["length"])
        a, length = move["a"], move["length"]
        exit_sq = min(speed_sq, run["entry_sq"] + 2 * a * length)
        peak = min(
            move["cruise"], math.sqrt(max((run["entry_sq"] + exit_sq) / 2 + a * length, run["entry_sq"], exit_sq))
        )
        enter, leave = min(math.sqrt(run["entry_sq"]), peak), min(math.sqrt(exit_sq), peak)
        ramps = (peak**2 - enter**2 + peak**2 - leave**2) / (2 * a)
        run["brake"] = run["since"] + (peak - enter) / a + max(0.0, length - ramps) / peak
        run["end"] = end = run["brake"] + (peak - leave) / a
        run["exit_sq"] = exit_sq
        self.later(end, 0, lambda: self.running is run and run["end"] == end and self.end())

    def end(self):
        run, move = self.running, self.moves.pop(0)
        self.spans[move["line"]] = (run["since"], self.now)
        self.running = None
        if self.moves:
            self.start(run["exit_sq"])
        if self.blocked is not None and (not self.moves or self.lines[self.blocked][0] in ("move", "jump")):
            i, self.blocked = self.blocked, None
            self.later(self.now, 1, lambda: self.take(i))


def marlin_corner_sq(deviation):
    """v^2 at a corner by Marlin's junction deviation."""

    def limit(p, u, length, a):
        turn = math.acos(max(-1.0, min(1.0, p[0] * u[0] + p[1] * u[1])))
        if -math.cos(turn) > 0.999999:
            return 0.0
        if -math.cos(turn) < -0.999999:
            return math.inf
        half_sine = math.sin((math.pi - turn) / 2)
        most = a * deviation * half_sine / (1 - half_sine)
        return min(most, length * a / turn) if length < 1 and turn < math.pi / 4 else most

    return limit


def grbl_corner_sq(deviation, axis_a):
    """v^2 at a corner by Grbl: the acceleration is what the axes allow along the change of direction."""

    def limit(p, u, length, a):
        turn = math.acos(max(-1.0, min(1.0, p[0] * u[0] + p[1] * u[1])))
        if -math.cos(turn) > 0.999999:
            return 0.0
        if -math.cos(turn) < -0.999999:
            return math.inf
        change = (u[0] - p[0], u[1] - p[1])
        along = min(axis_a * math.hypot(*change) / abs(c) for c in change if c)
        half_sine = math.sin((math.pi - turn) / 2)
        return along * deviation * half_sine / (1 - half_sine)

    return limit


def rrf_corner_sq(step):
    """v^2 at a corner where each axis may change its speed by `step` at once."""

    def limit(p, u, length, a):
        changes = [abs(after - before) for before, after in zip(p, u)]
        return min([(step / change) ** 2 for change in changes if change > 1e-12], default=math.inf)

    return limit


# --- texts (slicer/kernels/text.py) --------------------------------------------------------------------------


def _milli(value):
    sign, value = ("-" if value < 0 else ""), abs(value)
    return f"{sign}{value // 1000}.{value % 1000:03d}"


def gcode_lines(vectors_mm, tail_of, tails, lights, dark, jump_tail, dwell_of, dwells):
    """Lines of a layer and the vector that each exposes; twin of `text.gcode_lines`, with texts as lists of bytes."""
    lines, blocks = [], []
    lit = None

    def put(text, block=-1):
        for line in text.decode().splitlines():
            lines.append(line)
            blocks.append(block)

    def move(word, x, y, tail):
        return f"{word} X{_milli(x)} Y{_milli(y)}".encode() + tail

    def darken():
        nonlocal lit
        if lit is not None and dark:
            put(dark)
        lit = None

    rows = [[round(float(value) * 1000) for value in row] for row in np.rint(np.asarray(vectors_mm) * 1000) / 1000]
    for i, (x0, y0, x1, y1) in enumerate(rows):
        joined = i > 0 and (x0, y0) == tuple(rows[i - 1][2:])
        waits = len(dwell_of) > 0 and dwell_of[i] >= 0
        if waits or not joined:
            darken()
            if joined:
                put(move("G0", *rows[i - 1][:2], jump_tail))
            put(move("G0", x0, y0, jump_tail))
        if waits:
            put(dwells[dwell_of[i]])
        if lights[tail_of[i]] and lit != tail_of[i]:
            put(lights[tail_of[i]])
            lit = tail_of[i]
        put(move("G1", x1, y1, tails[tail_of[i]]), i)
    if rows:
        darken()
        put(move("G0", *rows[-1][:2], jump_tail))
    return [line.encode() for line in lines], blocks


# --- blocks (slicer/kernels/blocks.py) -----------------------------------------------------------------------


def number_sets(kind, power_w, speed_mm_s, focus_mm, beam, room):
    """The different rows in order of appearance and which one each vector has; (None, None): more than `room`."""
    rows = [tuple(map(float, row)) for row in zip(kind, power_w, speed_mm_s, focus_mm, beam)]
    sets = list(dict.fromkeys(rows))
    return (None, None) if len(sets) > room else (sets, [sets.index(row) for row in rows])


def block_starts(vectors, set_of, is_track, wait_s, longest):
    """Where runs begin; twin of `blocks.block_starts`, by growing one block after the other."""
    blocks = []
    for i in range(len(vectors)):
        block = blocks[-1] if blocks else None
        if block is None or set_of[i] != set_of[block[0]] or np.broadcast_to(wait_s, len(vectors))[i] > 0:
            blocks.append([i])
        elif not is_track[set_of[i]]:
            if len(block) == longest:
                blocks.append([i])
            else:
                block.append(i)
        else:
            chain = [tuple(vectors[k][2:]) for k in block]
            here = tuple(vectors[i][:2])
            if here != chain[-1] or here == tuple(vectors[block[0]][:2]):
                blocks.append([i])
            else:
                block.append(i)
    return [block[0] for block in blocks] + [len(vectors)]


# ---- orders and return times (slicer/kernels/nearby.py, sequencing.py, heat.py)


def segment_gaps(vector, others):
    """Distances (m,) from one segment (4,) to others (m, 4): crossing ones 0, else the least of ends to segments."""

    def to_segments(points, tails, heads):
        ways = heads - tails
        square = (ways**2).sum(axis=-1)
        part = ((points - tails) * ways).sum(axis=-1) / np.where(square > 0.0, square, 1.0)
        feet = tails + np.clip(part, 0.0, 1.0)[..., None] * ways
        return np.sqrt(((points - feet) ** 2).sum(axis=-1))

    def turn(a, b, c):
        return (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])

    a, b = np.broadcast_to(vector[:2], (len(others), 2)), np.broadcast_to(vector[2:], (len(others), 2))
    c, d = others[:, :2], others[:, 2:]
    gaps = np.min([to_segments(a, c, d), to_segments(b, c, d), to_segments(c, a, b), to_segments(d, a, b)], axis=0)
    crossing = (turn(a, b, c) * turn(a, b, d) < 0.0) & (turn(c, d, a) * turn(c, d, b) < 0.0)
    low, high = np.minimum(c, d), np.maximum(c, d)
    meet = ((np.minimum(a, b) <= high) & (low <= np.maximum(a, b))).all(axis=1)  # not pieces of one line
    return np.where(crossing & meet, 0.0, gaps)


def exposure_times(vectors, wait_s, speeds, jump_speed, at):
    """(begin, end) of each vector exposed in turn: jump, wait, expose."""
    begin, end = [], []
    now = 0.0
    for (x0, y0, x1, y1), wait, speed in zip(vectors.tolist(), wait_s.tolist(), speeds.tolist()):
        now += math.dist(at, (x0, y0)) / jump_speed + wait
        begin.append(now)
        now += math.dist((x0, y0), (x1, y1)) / speed
        end.append(now)
        at = (x1, y1)
    return np.array(begin), np.array(end)


def chains_in(vectors, may_follow):
    """[[numbers of vectors] per chain]: each begins where the one before ends, and may follow it."""
    chains = []
    for i, vector in enumerate(vectors):
        if i and may_follow[i] and math.dist(vector[:2], vectors[i - 1][2:]) <= 1e-6:
            chains[-1].append(i)
        else:
            chains.append([i])
    return chains


def left_of_rings(vectors, may_follow):
    """Per vector (whether a ring begins with it, what is left of its ring after it): a ring ends where it begins."""
    found = [(False, math.inf)] * len(vectors)
    for chain in chains_in(vectors, may_follow):
        if len(chain) > 1 and math.dist(vectors[chain[0]][:2], vectors[chain[-1]][2:]) <= 1e-6:
            for k, i in enumerate(chain):
                found[i] = (k == 0, sum(math.dist(vectors[j][:2], vectors[j][2:]) for j in chain[k + 1 :]))
    return found


def return_times(vectors, wait_s, speeds, jump_speed, at, radius, may_follow=None, rings=None):
    """Per exposed vector the least time since a neighbour ended, inf where none; every pair is looked at.

    A run goes on where the beam neither jumps nor waits. No neighbours are two of one run between which the run is
    shorter than the radius, or, of a run that began with a ring, two so near to where the ring closes. may_follow: (n,)
    b1, where a run may go on at all (everywhere if left out); rings: as from `left_of_rings`, of the path if left out.
    """
    every = np.ones(len(vectors), bool)
    may_follow = every if may_follow is None else may_follow
    rings = left_of_rings(vectors, every) if rings is None else rings
    begin, end = exposure_times(vectors, wait_s, speeds, jump_speed, at)
    lengths = np.hypot(vectors[:, 2] - vectors[:, 0], vectors[:, 3] - vectors[:, 1])
    found = np.full(len(vectors), math.inf)
    for run in chains_in(vectors, may_follow & (wait_s == 0.0)):
        first = run[0]
        for i in run:
            near = segment_gaps(vectors[i], vectors[:i]) < radius
            for j in range(first, i):
                between = lengths[j + 1 : i].sum()
                if rings[first][0]:
                    between = min(between, lengths[first:j].sum() + rings[i][1])
                near[j] &= between >= radius
            if near.any():
                found[i] = begin[i] - end[:i][near].max()
    return found


def greedy_nearest(vectors, at):
    """Entries 2 k (start of vector k first) or 2 k + 1, always the nearest end; twin of `chain_nearest`."""
    left, tour = set(range(len(vectors))), []
    while left:
        ends = [(math.dist(at, vectors[k][2 * side : 2 * side + 2]), 2 * k + side) for k in left for side in (0, 1)]
        entry = min(ends)[1]
        tour.append(entry)
        left.remove(entry >> 1)
        at = vectors[entry >> 1][2:] if entry % 2 == 0 else vectors[entry >> 1][:2]
    return tour


def farthest_tiles(centres, at, recent):
    """Tiles so ordered that the next is farthest from the `recent` ones before it; twin of `farthest_order`."""
    left = list(range(len(centres)))
    order = [min(left, key=lambda k: (math.dist(at, centres[k]), k))]
    left.remove(order[0])
    while left:
        last = list(enumerate(order[: -recent - 1 : -1], 1))
        best = max(left, key=lambda k: (min(math.dist(centres[k], centres[o]) * age**0.25 for age, o in last), -k))
        order.append(best)
        left.remove(best)
    return order


def residual_rises(vectors, begin, end, power, a, heat_m3, sigma):
    """(n, 3): what earlier exposures left at start, middle and end of each vector, summed over small steps, in SI."""
    rises = np.zeros((len(vectors), 3))
    for i, vector in enumerate(vectors):
        for place, part in enumerate((0.0, 0.5, 1.0)):
            point = vector[:2] + part * (vector[2:] - vector[:2])
            at = begin[i] + part * (end[i] - begin[i])
            for j in range(i):
                # equal steps in the root of the age, in which the sum has no pole
                edges = np.linspace(math.sqrt(max(at - end[j], 0.0)), math.sqrt(at - begin[j]), 4001)
                age = (0.5 * (edges[1:] + edges[:-1])) ** 2
                gone = (at - age - begin[j]) / (end[j] - begin[j])
                spots = vectors[j][:2] + gone[:, None] * (vectors[j][2:] - vectors[j][:2])
                width = sigma**2 + 2.0 * a * age
                warm = np.exp(-((spots - point) ** 2).sum(axis=1) / (2.0 * width)) / width
                rises[i, place] += power[j] * (2.0 * np.diff(edges) * warm).sum()
    return rises / (math.pi * heat_m3 * math.sqrt(4.0 * math.pi * a))


def blown_over(vectors, drift_deg):
    """[(i, j)]: vector j, exposed after vector i, lies downstream of a point of it, by more than ends that touch."""
    turn = math.radians(drift_deg)
    along = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    turned = (vectors.reshape(-1, 2) @ along).reshape(-1, 4).tolist()

    def x_at(vector, y):
        x0, y0, x1, y1 = vector
        return 0.5 * (x0 + x1) if abs(y1 - y0) < 1e-9 else x0 + (y - y0) / (y1 - y0) * (x1 - x0)

    def both_at(one, other):
        """A height at which the stream meets both, or None."""
        low, high = max(min(one[1::2]), min(other[1::2])), min(max(one[1::2]), max(other[1::2]))
        widths = [abs(vector[3] - vector[1]) for vector in (one, other)]
        if max(widths) < 1e-9:  # both along the stream
            return low if abs(low - high) < 1e-7 else None
        if min(widths) < 1e-9:  # one of them: the other must pass it, not end there
            flat, other = (one, other) if widths[0] < 1e-9 else (other, one)
            return flat[1] if min(other[1::2]) + 1e-4 < flat[1] < max(other[1::2]) - 1e-4 else None
        return 0.5 * (low + high) if high - low > 1e-4 else None

    found = []
    for i, one in enumerate(turned):
        for j in range(i + 1, len(turned)):
            y = both_at(one, turned[j])
            if y is not None and x_at(turned[j], y) > x_at(one, y) + 1e-6:
                found.append((i, j))
    return found


# ---- mending and judging meshes (slicer.kernels.mending, slicer.kernels.judging)


def grid_cells(vertices, used, low, step):
    """The corners in use of each cell of a grid, cells in the order of their first corner."""
    cells = {}
    for v in sorted(used):
        cells.setdefault(tuple(math.floor((vertices[v][axis] - low[axis]) / step) for axis in range(3)), []).append(v)
    return list(cells.values())


def components(edges, count):
    """The piece of each node, numbered in the order of their first node."""
    pieces = [{i} for i in range(count)]
    for a, b in edges:
        one, other = (next(piece for piece in pieces if end in piece) for end in (a, b))
        if one is not other:
            one |= other
            pieces.remove(other)
    pieces.sort(key=min)
    return [next(k for k, piece in enumerate(pieces) if i in piece) for i in range(count)]


def near_pairs(points, reach):
    """Every pair (i < j) of points no farther apart than `reach`."""
    return {(i, j) for j in range(len(points)) for i in range(j) if math.dist(points[i], points[j]) <= reach}


def merged_points(points, pairs, reach):
    """What each point becomes when pairs are joined in turn while no group's box grows wider than `reach`."""
    group = [[i] for i in range(len(points))]
    for a, b in pairs:
        if group[a] is group[b]:
            continue
        both = sorted(group[a] + group[b])
        low, high = ([pick(points[i][axis] for i in both) for axis in range(3)] for pick in (min, max))
        if math.dist(low, high) <= reach:
            for i in both:
                group[i] = both
    return [group[i][0] for i in range(len(points))]


def corners_on_edges(points, edges, reach):
    """(edge, point) for each point that lies between the ends of an edge of others, no farther than `reach` from it."""
    found = set()
    for e, (a, b) in enumerate(edges):
        along = np.subtract(points[b], points[a])
        for i, point in enumerate(points):
            if i in (a, b) or not along.any():
                continue
            part = float(np.dot(np.subtract(point, points[a]), along) / np.dot(along, along))
            if 0.0 < part < 1.0 and math.dist(point, points[a] + part * along) <= reach:
                found.add((e, i))
    return found


def enclosed_boxes(boxes, asked):
    """Whether each box in question, ((x0, y0, z0), (x1, y1, z1)), lies in some other."""
    return [
        any(
            i != b and all(boxes[i][0][k] <= boxes[b][0][k] and boxes[i][1][k] >= boxes[b][1][k] for k in range(3))
            for i in range(len(boxes))
        )
        for b in asked
    ]


def tetrahedra_volume(vertices, faces):
    """The sum of the tetrahedra between the origin and each triangle, by determinants."""
    return sum(float(np.linalg.det([vertices[v] for v in face])) / 6.0 for face in faces)


# --- offsets (slicer/kernels/resolving.py) -----------------------------------------------------------------


def winding(point, loops):
    """The winding number of closed polylines around a point, by the angles that its corners are seen under."""
    x, y = point
    turns = 0.0
    for loop in loops:
        for (ax, ay), (bx, by) in zip(loop, [*loop[1:], loop[0]]):
            ax, ay, bx, by = ax - x, ay - y, bx - x, by - y
            turns += math.atan2(ax * by - ay * bx, ax * bx + ay * by)
    return round(turns / (2.0 * math.pi))


def depth(point, loops):
    """How far inside an outline a point lies, negative outside: the offset by d is where this is more than -d."""
    nearest = min((distance_to_loop(point, loop) for loop in loops), default=math.inf)
    return nearest if winding(point, loops) > 0 else -nearest


# ---- sampling a layer (slicer.kernels.coverage)


def sampled(points, starts, vectors, spot, width, energy, row_x, row_y, columns, pixel):
    """Per sample (inside, under a spot, number of tracks, energy of the spots), each asked of the sample alone."""
    out = []
    for x_0, y in zip(row_x.tolist(), row_y.tolist()):
        row = []
        for k in range(columns):
            x = x_0 + k * pixel
            inside, covered, tracks, joule = False, False, 0, 0.0
            for a, b in itertools.pairwise(starts.tolist()):
                loop = points[a:b].tolist()
                for (ax, ay), (bx, by) in zip(loop, [*loop[1:], loop[0]]):
                    if (ay <= y) != (by <= y) and ax + (y - ay) / (by - ay) * (bx - ax) <= x:
                        inside = not inside
            for (ax, ay, bx, by), s, w, e in zip(vectors.tolist(), spot, width, energy):
                length = math.hypot(bx - ax, by - ay)
                if length == 0.0:
                    if math.hypot(x - ax, y - ay) < s / 2:
                        covered, joule = True, joule + float(e)
                    continue
                along = ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length
                across = ((x - ax) * (by - ay) - (y - ay) * (bx - ax)) / length
                nearest = min(max(along, 0.0), length)
                if math.hypot(along - nearest, across) < s / 2:
                    covered, joule = True, joule + float(e)
                tracks += 0.0 <= along < length and -w / 2 <= across < w / 2
            row.append((inside, covered, tracks, joule))
        out.append(row)
    return out


def tallied(samples):
    """Numbers of samples by what they are, from `sampled`'s rows."""
    names = ("INSIDE", "COVERED", "COVERED_OUTSIDE", "TRACKED", "TRACKED_TWICE", "REPEATED", "TRACKED_OUTSIDE",
             "FRINGE", "MISSING", "UNCOVERED", "CHANGES")  # fmt: skip
    count = dict.fromkeys(names, 0)
    for row in samples:
        before = (False, False, 0)
        for inside, covered, tracks, _ in row:
            now = (inside, covered, min(tracks, 3))
            count["CHANGES"] += now != before
            before = now
            if inside:
                count["INSIDE"] += 1
                count["COVERED" if covered else "UNCOVERED"] += 1
                count["TRACKED"] += tracks > 0
                count["TRACKED_TWICE"] += tracks > 1
                count["REPEATED"] += max(0, tracks - 1)
                count["FRINGE"] += covered and tracks == 0
                count["MISSING"] += not covered and tracks == 0
            else:
                count["COVERED_OUTSIDE"] += covered
                count["TRACKED_OUTSIDE"] += tracks
    return count


def connected(cells, reach):
    """The places that cells, a set of (row, column), make up when those up to `reach` apart belong together."""
    left, places = set(cells), []
    while left:
        place, rim = set(), {min(left)}
        while rim:
            place |= rim
            left -= rim
            rim = {c for c in left if any(max(abs(c[0] - a), abs(c[1] - b)) <= reach for a, b in rim)}
        places.append(frozenset(place))
    return set(places)


def depth_in_loops(points, starts, x, y):
    """How deep (x, y) lies inside loops, negative outside: the nearest of points set densely along the edges."""
    inside, best = False, math.inf
    for a, b in itertools.pairwise(starts.tolist()):
        loop = points[a:b].tolist()
        for (ax, ay), (bx, by) in zip(loop, [*loop[1:], loop[0]]):
            if (ay <= y) != (by <= y) and ax + (y - ay) / (by - ay) * (bx - ax) > x:
                inside = not inside
            for part in np.linspace(0.0, 1.0, 2001):
                best = min(best, math.hypot(ax + part * (bx - ax) - x, ay + part * (by - ay) - y))
    return best if inside else -best


def part_within(vectors, radius, points, weights):
    """The weight in all of the points that are nearer to a vector than its radius, points set along the vectors."""
    total = 0.0
    for (x, y), weight in zip(points.tolist(), weights):
        away = [
            min(math.hypot(ax + t * (bx - ax) - x, ay + t * (by - ay) - y) for t in np.linspace(0.0, 1.0, 2001)) / r
            for (ax, ay, bx, by), r in zip(vectors.tolist(), radius)
        ]
        total += weight * (min(away, default=math.inf) < 1.0)
    return total
