"""Hatches along curves: rings from outline to core, a spiral, Hilbert's curve.

The spiral and Hilbert's curve are clipped without intersecting every piece of curve with every side. Like the lines of
a straight hatch, the turns of the spiral are levels of a function of the plane: a side of a loop crosses just the turns
between the levels of its ends (half-open rule), so that it is crossed as often from either side, and what is between
two crossings is inside or outside as a whole. The segments of Hilbert's curve lie on two sets of straight lines, whose
crossings `filling.crossings` knows.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from slicer.kernels.filling import crossings


@njit(cache=True, nogil=True)
def ring_order(points, starts, level, cos, sin):
    """The order in which rings are traced from the outline to the core, each pocket to its end before the next.

    Args:
        points: (p, 2) f8; starts: (l + 1,) i8, no ring empty; level: (l,) i8 rising from 0: a ring of level k > 0 lies
            one spacing inside a ring of level k - 1.
        cos, sin: the direction in which the outermost point is where the first ring begins.

    Returns (l,) i8, the rings in their order: next is the nearest of those inside the ring just traced, else of those
    inside the one before it, and so on.
    """
    rings = len(starts) - 1
    parent = np.full(rings, -1, np.int64)
    begin = 0  # of the rings one level up
    for ring in range(rings):
        if level[ring] == 0:
            continue
        while level[begin] < level[ring] - 1:
            begin += 1
        best = math.inf
        x, y = points[starts[ring], 0], points[starts[ring], 1]
        other = begin
        while level[other] < level[ring]:
            away = _distance_to_ring(points, starts[other], starts[other + 1], x, y)
            if away < best:
                best, parent[ring] = away, other
            other += 1
    first = np.zeros(rings + 2, np.int64)  # children of ring i, and of none at 0, stand from first[i + 1]
    for ring in range(rings):
        first[parent[ring] + 2] += 1
    for i in range(1, rings + 2):
        first[i] += first[i - 1]
    child = np.empty(rings, np.int64)
    cursor = first[:-1].copy()
    for ring in range(rings):
        child[cursor[parent[ring] + 1]] = ring
        cursor[parent[ring] + 1] += 1

    order = np.empty(rings, np.int64)
    count = 0
    x, y, _ = _outermost(points, 0, len(points), cos, sin)
    at = -1
    left = first[1:] - first[:-1]
    while count < rings:
        while left[at + 1] == 0:
            at = parent[at]
        # the untraced children stand in front
        best = math.inf
        chosen = first[at + 1]
        entry = starts[child[chosen]]
        for place in range(first[at + 1], first[at + 1] + left[at + 1]):
            near, away = nearest_point(points, starts[child[place]], starts[child[place] + 1], x, y)
            if away < best:
                best, chosen, entry = away, place, near
        ring = child[chosen]
        left[at + 1] -= 1
        for place in range(chosen, first[at + 1] + left[at + 1]):
            child[place] = child[place + 1]
        order[count] = ring
        count += 1
        x, y = points[entry, 0], points[entry, 1]
        at = ring
    return order


@njit(cache=True, nogil=True)
def trace_rings(points, starts, order, cos, sin):
    """Rings as vectors, in the given order, each begun where it is nearest to the end of the one before.

    The first begins at its outermost point in the direction (cos, sin).

    Returns ((p, 4) f8, (p,) i4 place in the order).
    """
    out = np.empty((len(points), 4))
    tile = np.empty(len(points), np.int32)
    count = 0
    x, y = 0.0, 0.0
    for place in range(len(order)):
        begin, end = starts[order[place]], starts[order[place] + 1]
        if place == 0:
            x, y, i = _outermost(points, begin, end, cos, sin)
        else:
            i, _ = nearest_point(points, begin, end, x, y)
            x, y = points[i, 0], points[i, 1]
        for _ in range(end - begin):
            after = i + 1 if i + 1 < end else begin
            out[count, 0], out[count, 1] = points[i, 0], points[i, 1]
            out[count, 2], out[count, 3] = points[after, 0], points[after, 1]
            tile[count] = place
            count += 1
            i = after
    return out, tile


@njit(cache=True, nogil=True)
def nearest_point(points, begin, end, x, y):
    """(index, squared distance) of the first nearest of points[begin:end]."""
    best, found = math.inf, begin
    for i in range(begin, end):
        away = (points[i, 0] - x) ** 2 + (points[i, 1] - y) ** 2
        if away < best:
            best, found = away, i
    return found, best


@njit(cache=True, nogil=True)
def _outermost(points, begin, end, cos, sin):
    found, best = begin, -math.inf
    for i in range(begin, end):
        out = points[i, 0] * cos + points[i, 1] * sin
        if out > best:
            found, best = i, out
    return points[found, 0], points[found, 1], found


@njit(cache=True, nogil=True)
def _distance_to_ring(points, begin, end, x, y):
    """Squared distance of a point from a closed polyline."""
    best = math.inf
    ax, ay = points[end - 1, 0], points[end - 1, 1]
    for i in range(begin, end):
        bx, by = points[i, 0], points[i, 1]
        length2 = (bx - ax) ** 2 + (by - ay) ** 2
        part = 0.0
        if length2 > 0.0:
            part = min(max(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length2, 0.0), 1.0)
        best = min(best, (ax + part * (bx - ax) - x) ** 2 + (ay + part * (by - ay) - y) ** 2)
        ax, ay = bx, by
    return best


@njit(cache=True, nogil=True)
def spiral_crossings(points, starts, spacing, angle, phase, rays):
    """Where the loops cross a spiral about the middle of their extent.

    The spiral is straight between `rays` rays that divide the turn: chord n * rays + j runs from ray j to the next, and
    from pitch * (n + phase + j / rays) from the middle to pitch / rays more. The pitch is wider than the spacing by as
    much as makes the sides of neighbouring turns lie one spacing apart. Between two rays, the turn that passes through
    a point is the root of a quadratic equation.

    Args:
        points: (p, 2) f8; starts: (l + 1,) i8, loops that do not overlap.
        spacing: between turns, mm; angle: of the first ray, rad; phase: shift outward in spacings.

    Returns (middle_u, middle_v, chord (c,) i8, part (c,) f8 of the chord's length), the crossings edge by edge; u runs
    along the angle, v across it.
    """
    cos, sin = math.cos(angle), math.sin(angle)
    n_points = len(points)
    u, v = np.empty(n_points), np.empty(n_points)
    u_low, u_high, v_low, v_high = math.inf, -math.inf, math.inf, -math.inf
    for i in range(n_points):
        u[i] = points[i, 0] * cos + points[i, 1] * sin
        v[i] = points[i, 1] * cos - points[i, 0] * sin
        u_low, u_high, v_low, v_high = min(u_low, u[i]), max(u_high, u[i]), min(v_low, v[i]), max(v_high, v[i])
    middle_u, middle_v = 0.5 * (u_low + u_high), 0.5 * (v_low + v_high)
    for i in range(n_points):
        u[i] -= middle_u
        v[i] -= middle_v
    pitch, phase, ray_u, ray_v = _rays(spacing, phase, rays)
    sector, turn = np.empty(n_points, np.int64), np.empty(n_points, np.int64)
    for i in range(n_points):
        sector[i] = _sector_of(u[i], v[i], ray_u, ray_v, rays)
        turn[i] = _turn_of(u[i], v[i], sector[i], ray_u, ray_v, rays, pitch, phase)

    chord, part = np.empty(64, np.int64), np.empty(64)
    count = 0
    for loop in range(len(starts) - 1):
        a = starts[loop + 1] - 1
        for b in range(starts[loop], starts[loop + 1]):
            du, dv = u[b] - u[a], v[b] - v[a]
            on = (sector[b] - sector[a]) % rays
            steps = min(on, rays - on)
            # seen from the middle, a side spans less than half a turn; where it nearly does, its own sense decides
            counter_clockwise = on <= rays - on if 4 * steps < rays else u[a] * v[b] - v[a] * u[b] >= 0.0
            if not counter_clockwise:
                on = rays - on if on > 0 else 0
            j, turn_here = sector[a], turn[a]
            for step in range(on + 1):
                turn_next, turn_there = turn[b], turn[b]
                if step < on:
                    ray = j + 1 if counter_clockwise else j
                    reach = _reach_on_ray(u[a], v[a], du, dv, ray_u[ray], ray_v[ray])
                    if counter_clockwise:
                        turn_there = _floor_turn(reach / pitch - (j + 1) / rays - phase)
                        turn_next = turn_there
                        if ray == rays:
                            turn_next = _floor_turn(reach / pitch - phase)
                            turn_there = max(turn_next - 1, -1)
                    else:
                        turn_there = _floor_turn(reach / pitch - j / rays - phase)
                        turn_next = turn_there
                        if ray == 0:
                            turn_next = max(turn_there - 1, -1)
                for k in range(min(turn_here, turn_there) + 1, max(turn_here, turn_there) + 1):
                    r_0, r_1 = pitch * (k + phase + j / rays), pitch * (k + phase + (j + 1) / rays)
                    side_0 = du * (r_0 * ray_v[j] - v[a]) - dv * (r_0 * ray_u[j] - u[a])
                    side_1 = du * (r_1 * ray_v[j + 1] - v[a]) - dv * (r_1 * ray_u[j + 1] - u[a])
                    if count == len(chord):
                        chord, part = _doubled(chord), _doubled(part)
                    chord[count] = k * rays + j
                    part[count] = min(max(side_0 / (side_0 - side_1), 0.0), 1.0) if side_0 != side_1 else 0.5
                    count += 1
                turn_here = turn_next
                j = (j + 1) % rays if counter_clockwise else (j - 1) % rays
            a = b

    return middle_u, middle_v, chord[:count], part[:count]


@njit(cache=True, nogil=True)
def spiral_vectors(middle_u, middle_v, chord, part, spacing, angle, phase, rays, shortest):
    """Vectors of the spiral from its crossings 0 to 1, 2 to 3 and so on; they rise along it. Else as above.

    First and last vectors of a chain up to `shortest` mm are left out.

    Returns ((n, 4) f8, (n,) i4 number of the unbroken chain).
    """
    cos, sin = math.cos(angle), math.sin(angle)
    pitch, phase, ray_u, ray_v = _rays(spacing, phase, rays)
    total = 0
    for i in range(0, len(chord), 2):
        total += chord[i + 1] - chord[i] + 1
    out = np.empty((total, 4))
    tile = np.empty(total, np.int32)
    filled = chain = 0
    for i in range(0, len(chord), 2):
        begin = filled
        for c in range(chord[i], chord[i + 1] + 1):
            j, k = c % rays, c // rays
            r_0, r_1 = pitch * (k + phase + j / rays), pitch * (k + phase + (j + 1) / rays)
            from_u, from_v = r_0 * ray_u[j] + middle_u, r_0 * ray_v[j] + middle_v
            way_u, way_v = r_1 * ray_u[j + 1] + middle_u - from_u, r_1 * ray_v[j + 1] + middle_v - from_v
            low = part[i] if c == chord[i] else 0.0
            high = part[i + 1] if c == chord[i + 1] else 1.0
            cut = c == chord[i] or c == chord[i + 1]
            if cut and (high - low) * math.hypot(way_u, way_v) <= shortest:
                continue
            for end in range(2):
                at = high if end else low
                out[filled, 2 * end] = (from_u + at * way_u) * cos - (from_v + at * way_v) * sin
                out[filled, 2 * end + 1] = (from_u + at * way_u) * sin + (from_v + at * way_v) * cos
            tile[filled] = chain
            filled += 1
        if filled > begin:
            chain += 1
    return out[:filled], tile[:filled]


@njit(cache=True, nogil=True)
def _rays(spacing, phase, rays):
    """(pitch, phase from 0 to 1, directions of the rays, the first once more at the end)."""
    ray_u, ray_v = np.empty(rays + 1), np.empty(rays + 1)
    for j in range(rays + 1):
        ray_u[j], ray_v[j] = math.cos(2.0 * math.pi * (j % rays) / rays), math.sin(2.0 * math.pi * (j % rays) / rays)
    return spacing / math.cos(math.pi / rays), phase - math.floor(phase), ray_u, ray_v


@njit(cache=True, nogil=True)
def _sector_of(u, v, ray_u, ray_v, rays):
    """The j for which the point lies between ray j and ray j + 1."""
    turned = math.atan2(v, u) / (2.0 * math.pi)
    j = math.floor((turned - math.floor(turned)) * rays) % rays
    if ray_u[j] * v - ray_v[j] * u < 0.0:
        return (j - 1) % rays
    if ray_u[j + 1] * v - ray_v[j + 1] * u >= 0.0 and (u != 0.0 or v != 0.0):
        return (j + 1) % rays
    return j


@njit(cache=True, nogil=True)
def _turn_of(u, v, j, ray_u, ray_v, rays, pitch, phase):
    """The last turn at or inside a point of sector j; -1 within the first."""
    width = ray_u[j] * ray_v[j + 1] - ray_v[j] * ray_u[j + 1]
    near = max((u * ray_v[j + 1] - v * ray_u[j + 1]) / (width * pitch), 0.0)
    far = max((ray_u[j] * v - ray_v[j] * u) / (width * pitch), 0.0)
    # near / x + far / (x + 1 / rays) = 1, where x is the radius on ray j in pitches
    b = near + far - 1.0 / rays
    x = 0.5 * (b + math.sqrt(b * b + 4.0 * near / rays))
    return _floor_turn(x - j / rays - phase)


@njit(cache=True, nogil=True)
def _floor_turn(turns):
    return max(math.floor(turns), -1)


@njit(cache=True, nogil=True)
def _reach_on_ray(u, v, du, dv, ray_u, ray_v):
    """How far from the middle the side from (u, v) by (du, dv) crosses a ray."""
    across = ray_u * dv - ray_v * du
    at = min(max(-(ray_u * v - ray_v * u) / across, 0.0), 1.0) if across != 0.0 else 0.5
    return max((u + at * du) * ray_u + (v + at * dv) * ray_v, 0.0)


@njit(cache=True, nogil=True)
def _doubled(values):
    """A copy with room for twice as many."""
    out = np.empty(2 * len(values), values.dtype)
    for i in range(len(values)):
        out[i] = values[i]
    return out


@njit(cache=True, nogil=True)
def hilbert_vectors(points, starts, spacing, angle, phase, shortest):
    """Vectors of Hilbert's curve through the middles of square cells of one spacing, where it is inside the loops.

    Args as in `filling.parallel_vectors`; the lines of both directions are centred on the extent of the loops.

    Returns ((n, 4) f8, (n,) i4 number of the unbroken chain). Steps on one line are one vector.
    """
    cos, sin = math.cos(angle), math.sin(angle)
    v_0, first_u, crossing_u = crossings(points, starts, spacing, angle, phase)
    # lines across those run along v and lie at w = -u
    w_0, first_v, crossing_v = crossings(points, starts, spacing, angle + 0.5 * math.pi, -phase)
    rows, columns = len(first_u) - 1, len(first_v) - 1
    u_0 = -(w_0 + (columns - 1) * spacing)

    side = 1
    depth = 0
    while side < max(rows, columns):
        side *= 2
        depth += 1
    # blocks that are still to be walked: corner, the two sides from it, depth
    block = np.empty((3 * depth + 4, 7), np.int64)
    block[0, 0], block[0, 1] = 0, 0
    block[0, 2], block[0, 3], block[0, 4], block[0, 5], block[0, 6] = side, 0, 0, side, depth
    waiting = 1

    ends = np.empty(1024)  # four numbers a vector, along and across
    tile = np.empty(256, np.int32)
    count, chain = 0, -1
    last_column, last_row, last_end = -2, -2, False  # whether the last vector ends on the last cell
    while waiting:
        waiting -= 1
        x, y, level = block[waiting, 0], block[waiting, 1], block[waiting, 6]
        xi, xj, yi, yj = block[waiting, 2], block[waiting, 3], block[waiting, 4], block[waiting, 5]
        if (
            max(x, x + xi + yi) <= 0 or min(x, x + xi + yi) >= columns
            or max(y, y + xj + yj) <= 0 or min(y, y + xj + yj) >= rows
        ):  # fmt: skip
            continue
        if level > 0:
            xi, xj, yi, yj, level = xi // 2, xj // 2, yi // 2, yj // 2, level - 1
            for quarter in range(4):  # the last is put on first
                if quarter == 0:
                    to = (x + xi + 2 * yi, y + xj + 2 * yj, -yi, -yj, -xi, -xj, level)
                elif quarter == 1:
                    to = (x + xi + yi, y + xj + yj, xi, xj, yi, yj, level)
                elif quarter == 2:
                    to = (x + xi, y + xj, xi, xj, yi, yj, level)
                else:
                    to = (x, y, yi, yj, xi, xj, level)
                for i in range(7):
                    block[waiting, i] = to[i]
                waiting += 1
            continue
        column, row = min(x, x + xi + yi), min(y, y + xj + yj)
        before_column, before_row = last_column, last_row
        connected = last_end
        last_column, last_row, last_end = column, row, False
        if abs(column - before_column) + abs(row - before_row) != 1:
            continue
        level_line = row == before_row
        if level_line:
            line, met, place = row, first_u, crossing_u
            origin, low_cell, backwards = u_0, min(column, before_column), column < before_column
        else:
            line, met, place = columns - 1 - column, first_v, crossing_v
            origin, low_cell, backwards = v_0, min(row, before_row), row < before_row
        low, high = origin + low_cell * spacing, origin + (low_cell + 1) * spacing
        begin, end = met[line], met[line + 1]
        i, beyond = begin, end
        while i < beyond:
            half = (i + beyond) // 2
            if place[half] <= low:
                i = half + 1
            else:
                beyond = half
        i -= (i - begin) % 2  # the stretch that holds `low`, or the first after it
        last = i
        while last < end and place[last] < high:
            last += 2
        for step in range((last - i) // 2):
            at = last - 2 - 2 * step if backwards else i + 2 * step
            left, right = max(low, place[at]), min(high, place[at + 1])
            if right - left <= shortest:
                continue
            from_u, to_u = (right, left) if backwards else (left, right)
            from_v = to_v = v_0 + row * spacing
            if not level_line:
                from_v, to_v = from_u, to_u
                from_u = to_u = u_0 + column * spacing
            whole_start = right == high if backwards else left == low
            joined = step == 0 and connected and whole_start
            if count == len(tile):
                ends, tile = _doubled(ends), _doubled(tile)
            if joined:
                before_u, before_v = ends[4 * count - 4], ends[4 * count - 3]
                if (from_u - before_u) * (to_v - from_v) == (from_v - before_v) * (to_u - from_u):
                    count -= 1
                    from_u, from_v = before_u, before_v
            else:
                chain += 1
            ends[4 * count], ends[4 * count + 1] = from_u, from_v
            ends[4 * count + 2], ends[4 * count + 3] = to_u, to_v
            tile[count] = chain
            count += 1
            last_end = left == low if backwards else right == high
    out = np.empty((count, 4))
    for i in range(count):
        for end in range(0, 4, 2):
            u, v = ends[4 * i + end], ends[4 * i + end + 1]
            out[i, end], out[i, end + 1] = u * cos - v * sin, u * sin + v * cos
    return out, tile[:count].copy()
