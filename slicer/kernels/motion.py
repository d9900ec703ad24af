"""Motion controllers in time: scan vectors as the lines of a program, and a program as a controller executes it.

A controller plans straight moves as trapezoids: each corner has a speed limit of its own, and from every corner it must
be able to stop at the end of the last move it knows of. It knows few: a ring of some 16 moves, filled by a line that
carries so many bytes a second. `run_lines` follows line, ring and moves event by event, so that a program which starves
its controller takes as long here as there.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

# kinds of program lines
LINE_JUMP, LINE_VECTOR, LINE_WAIT, LINE_SYNC = 0, 1, 2, 3

# rules for the speed at a corner
CORNER_MARLIN, CORNER_GRBL, CORNER_JERK = 0, 1, 2

# what `run_lines` sums up, by place in `sums`
SUM_EXPOSING, SUM_JUMPING, SUM_WAITING, SUM_STOOD, SUM_DRY, SUM_LATE, SUM_BEGAN, SUM_ENDED, SUM_DONE = range(9)
SUMS = 9

NUMBER_MAX = 128  # lines in flight at most; more do not fit a receive buffer
_STRAIGHT = 0.999999
_DOT = ord(".")
_MOVE_XOR = ord("G") ^ ord("0") ^ ord(" ") ^ ord("X") ^ _DOT ^ ord(" ") ^ ord("Y") ^ _DOT
_FEED_XOR = ord(" ") ^ ord("F")
_POWER_XOR = ord(" ") ^ ord("S")
_NUMBER_XOR = ord("N") ^ ord(" ")


def _xor(text):
    total = 0
    for byte in text:
        total ^= byte
    return total


_HEAD, _FOOT = b"M4 I S0", (b"M5 I", b"M400")  # as exporters.gcode writes them: their sizes and XORs count
_HEAD_BYTES, _HEAD_XOR = len(_HEAD), _xor(_HEAD)
_FOOT_BYTES, _FOOT_XOR = np.array([len(text) for text in _FOOT]), np.array([_xor(text) for text in _FOOT])
_WAIT_XOR = _xor(b"G4 P")


@njit(cache=True, nogil=True)
def _digits(number, least):
    """A whole number >= 0 in decimal, with at least so many digits: how many, and the XOR of their bytes."""
    count = 0
    xor = 0
    while number > 0 or count < least:
        tenth = number // 10
        xor ^= 0x30 | (number - 10 * tenth)
        number = tenth
        count += 1
    return count, xor


@njit(cache=True, nogil=True)
def _feed(thousandths):
    """The F number for so many thousandths of a mm/min, without idle zeros: its bytes, and their XOR."""
    whole = thousandths // 1000
    part = thousandths - whole * 1000
    count, xor = _digits(whole, 1)
    if part:
        least = 3
        while part % 10 == 0:
            part //= 10
            least -= 1
        more, xor_part = _digits(part, least)
        count += 1 + more
        xor ^= _DOT ^ xor_part
    return count, xor


@njit(cache=True, nogil=True)
def _move_text(word, x, y):
    """`G0 X12.345 Y6.789` of whole micrometres, without what follows: bytes, and their XOR. `word` is 0 or 1."""
    count_x, xor_x = _digits(x, 4)
    count_y, xor_y = _digits(y, 4)
    return 8 + count_x + count_y, _MOVE_XOR ^ word ^ xor_x ^ xor_y


@njit(cache=True, nogil=True)
def _set_move(kind, end_mm, value, size, check, m, word, x, y, speed_mm_s, tail_bytes, tail_xor):
    """Line `m` as a move to (x, y) micrometres: a jump (`word` 0) or a vector (1)."""
    kind[m] = LINE_VECTOR if word else LINE_JUMP
    end_mm[m, 0] = x * 1e-3
    end_mm[m, 1] = y * 1e-3
    value[m] = speed_mm_s
    if size.shape[0] > 0:
        count, xor = _move_text(word, x, y)
        size[m] = count + tail_bytes
        check[m] = xor ^ tail_xor


@njit(cache=True, nogil=True)
def scan_lines(vectors_mm, speed_mm_s, power_w, wait_s, jump_speed_mm_s, s_max, kind, end_mm, value, size, check):
    """A layer's vectors as program lines: jump, wait, vector, and at the end back to where the last one began.

    A vector that waits though it begins where the one before it ended is led to from where that one began.

    Args:
        vectors_mm: (n, 4) f8; speed_mm_s, power_w: (n,) f8; wait_s: (n,) f8 or (0,) for none: dwell before a vector.
        jump_speed_mm_s: of the moves between; s_max: the S word of the largest power.
        kind: (4 n + 4,) u1, out: LINE_JUMP, LINE_VECTOR, LINE_WAIT or LINE_SYNC.
        end_mm: (4 n + 4, 2) f8, out: where a move ends; nothing for other lines.
        value: (4 n + 4,) f8, out: speed of a move in mm/s, duration of a wait in s.
        size, check: (4 n + 4,) u1, out: bytes of the line, and their XOR, without number, checksum and line end; (0,)
            if nobody asks.

    Returns:
        The number of lines.
    """
    n = vectors_mm.shape[0]
    is_sized = size.shape[0] > 0
    kind[0] = LINE_SYNC
    value[0] = 0.0
    if is_sized:
        size[0] = _HEAD_BYTES
        check[0] = _HEAD_XOR
    m = 1
    power_max_w = 0.0
    for i in range(n):
        power_max_w = max(power_max_w, power_w[i])
    feed = np.int64(np.rint(jump_speed_mm_s * 60000.0))
    jump_mm_s = feed / 60000.0
    count, xor = _feed(feed)
    jump_bytes = 5 + count
    jump_xor = _FEED_XOR ^ xor ^ _POWER_XOR ^ 0x30
    last_speed = -1.0
    last_power = -1.0
    feed_mm_s = 0.0
    tail_bytes = 0
    tail_xor = 0
    at_x = at_y = from_x = from_y = np.int64(0)
    for i in range(n):
        x0 = np.int64(np.rint(vectors_mm[i, 0] * 1000.0))
        y0 = np.int64(np.rint(vectors_mm[i, 1] * 1000.0))
        waits = wait_s.shape[0] > 0 and wait_s[i] > 0.0
        jumps = i == 0 or x0 != at_x or y0 != at_y
        if waits and not jumps:
            _set_move(kind, end_mm, value, size, check, m, 0, from_x, from_y, jump_mm_s, jump_bytes, jump_xor)
            m += 1
        if jumps or waits:
            _set_move(kind, end_mm, value, size, check, m, 0, x0, y0, jump_mm_s, jump_bytes, jump_xor)
            m += 1
        if waits:
            wait_ms = np.int64(np.ceil(wait_s[i] * 1000.0 - 1e-6))
            kind[m] = LINE_WAIT
            value[m] = wait_ms * 1e-3
            if is_sized:
                count, xor = _digits(wait_ms, 1)
                size[m] = 4 + count
                check[m] = _WAIT_XOR ^ xor
            m += 1
        if speed_mm_s[i] != last_speed or power_w[i] != last_power:
            last_speed = speed_mm_s[i]
            last_power = power_w[i]
            feed = np.int64(np.rint(last_speed * 60000.0))
            feed_mm_s = feed / 60000.0
            count, xor = _feed(feed)
            tail_bytes = 4 + count
            tail_xor = _FEED_XOR ^ xor ^ _POWER_XOR
            count, xor = _digits(np.int64(np.rint(s_max * last_power / power_max_w)), 1)
            tail_bytes += count
            tail_xor ^= xor
        from_x = x0
        from_y = y0
        at_x = np.int64(np.rint(vectors_mm[i, 2] * 1000.0))
        at_y = np.int64(np.rint(vectors_mm[i, 3] * 1000.0))
        _set_move(kind, end_mm, value, size, check, m, 1, at_x, at_y, feed_mm_s, tail_bytes, tail_xor)
        m += 1
    if n:
        _set_move(kind, end_mm, value, size, check, m, 0, from_x, from_y, jump_mm_s, jump_bytes, jump_xor)
        m += 1
    for i in range(_FOOT_BYTES.shape[0]):
        kind[m] = LINE_SYNC
        value[m] = 0.0
        if is_sized:
            size[m] = _FOOT_BYTES[i]
            check[m] = _FOOT_XOR[i]
        m += 1
    return m


@njit(cache=True, nogil=True)
def _corner_sq(rule, cosine, ux, uy, px, py, length, a, corner, a_axis):
    """Squared speed limit of the corner between the unit vectors p and u, `cosine` = -p.u (-1: straight on).

    length, a: of the move behind the corner; a_axis: acceleration of one axis, which alone counts for Grbl, along the
    change of direction. corner: junction deviation d in mm, v^2 = a d s / (1 - s) with s = sin(theta / 2), theta the
    angle between the moves (Marlin also holds a move under 1 mm that turns little to v^2 <= L a / (pi - theta)); for
    CORNER_JERK the speed step in mm/s that an axis may make at once (RepRapFirmware, M566).
    """
    if rule == CORNER_JERK:
        step = max(abs(ux - px), abs(uy - py))
        return math.inf if step < 1e-12 else (corner / step) * (corner / step)
    if cosine > _STRAIGHT:
        return 0.0
    if cosine < -_STRAIGHT:
        return math.inf
    half_sine = math.sqrt(0.5 * (1.0 - cosine))
    if rule == CORNER_GRBL:
        jx = ux - px
        jy = uy - py
        a = a_axis * math.sqrt(jx * jx + jy * jy) / max(abs(jx), abs(jy))
    limit = a * corner * half_sine / (1.0 - half_sine)
    if rule == CORNER_MARLIN and length < 1.0 and cosine < -0.7071067811865475:
        limit = min(limit, length * a / (math.pi - math.acos(cosine)))
    return limit


@njit(cache=True, nogil=True)
def _exit_sq(first, end, mask, gain_sq, limit_sq):
    """Squared speed with which move `first` may be entered so that one can stop behind move `end` - 1.

    Returns (it, whether a later end could make it larger).
    """
    best = math.inf
    way = 0.0
    for j in range(first, end):
        best = min(best, limit_sq[j & mask] + way)
        way += gain_sq[j & mask]
        if way >= best:  # from here on everything farther away allows more
            return best, False
    return way, True


@njit(cache=True, nogil=True)
def _trapezoid(entry_sq, exit_sq, cruise, a, length):
    """(seconds of a move, seconds of them before it brakes), from squared entry to squared exit speed."""
    gain = 2.0 * a * length
    peak = cruise
    if 2.0 * cruise * cruise - entry_sq - exit_sq > gain:  # the ramps meet
        peak = math.sqrt(max(0.5 * (entry_sq + exit_sq + gain), entry_sq, exit_sq))
    entry = min(math.sqrt(entry_sq), peak)
    leave = min(math.sqrt(exit_sq), peak)
    cruise_mm = length - (2.0 * peak * peak - entry * entry - leave * leave) / (2.0 * a)
    before = (peak - entry) / a + max(0.0, cruise_mm) / peak
    return before + (peak - leave) / a, before


@njit(cache=True, nogil=True)
def run_lines(
    kind, end_mm, value, size, check, from_x, from_y,
    a_max, speed_max, rule, corner, is_per_axis,
    ring, first_delay_s, first_moves, replan_ahead_s,
    byte_s, latency_s, command_s, window_bytes, window_lines, spare_bytes, frame_bytes, first_number, ok_bytes,
    sums, start_s, stop_s,
):  # fmt: skip
    """A program as a motion controller executes it: when each line's move or wait begins and ends.

    Args:
        kind, end_mm, value, size, check: the lines, see `scan_lines`; size and check only where byte_s > 0.
        from_x, from_y: where the machine stands at rest, mm.
        a_max, speed_max: mm/s2 and mm/s, of the move, or of each axis if is_per_axis.
        rule, corner: one of CORNER_*, and its parameter (deviation in mm, or the step in speed of an axis in mm/s).
        ring: moves the planner holds, the running one included.
        first_delay_s, first_moves: a planner at rest starts after that time, or once it holds so many moves.
        replan_ahead_s: a running move's exit can still change until so long before it brakes; inf: fixed at its start.
        byte_s: seconds a byte is on the line; 0 is a program at hand, and the arguments after it are not used.
        latency_s: one way; command_s: of the controller per line.
        window_bytes, window_lines: what may be under way unanswered; spare_bytes: by which a sender overestimates a
            line's frame; frame_bytes: of it, without the digits of number and checksum.
        first_number: of the first line; negative: lines carry none. ok_bytes: of an answer without its numbers.
        sums: (SUMS,) f8, out: seconds of vectors, jumps, waits; seconds and times that the machine stood between two
            moves because the next was not there yet; moves that began when too little was known of what follows to
            leave them as fast as could be; when the first move or wait began, the last move ended, all was answered.
        start_s, stop_s: (lines,) f8, out, or (0,): begin and end of each line's move or wait; a line without is at one
            time.

    Time 0 is when the first line is given to the wire. Speeds: see `_corner_sq`; from each corner one can stop behind
    the last move known when the one before it starts, v^2 <= v_next^2 + 2 a L. A move that ends frees its place, and
    the next one starts, before a line that waits for the place is planned.
    """
    n = kind.shape[0]
    places = 4
    while places < ring + 2:
        places *= 2
    mask = places - 1
    gain_sq = np.empty(places)
    limit_sq = np.empty(places)
    length_mm = np.empty(places)
    cruise_mm_s = np.empty(places)
    a_mm_s2 = np.empty(places)
    line_of = np.empty(places, np.int64)
    answered_s = np.empty(NUMBER_MAX)  # of lines under way
    carried = np.empty(NUMBER_MAX)
    keeps_times = start_s.shape[0] > 0
    is_wired = byte_s > 0.0
    sums[:] = 0.0
    sums[SUM_BEGAN] = -1.0

    now = 0.0
    at_x = from_x
    at_y = from_y
    ux = 0.0
    uy = 0.0
    planned = 0  # moves planned, started, ended so far
    started = 0
    is_running = False
    run_start_s = 0.0
    run_entry_sq = 0.0
    run_exit_sq = 0.0
    run_end_s = 0.0
    run_brake_s = 0.0
    release_s = math.inf  # when a planner at rest starts
    is_dry = False  # stood still for want of lines, not because a line asks to wait
    dry_s = 0.0
    line_free_s = 0.0
    answer_free_s = 0.0
    board_free_s = 0.0
    oldest = 0  # line under way
    under_way = 0.0
    sent_s = 0.0
    ready_s = -1.0  # of line k; negative: not known yet
    k = 0
    while k < n or started < planned or is_running:
        block_s = math.inf
        if is_running:
            block_s = run_end_s
        elif planned > started:
            block_s = release_s

        line_s = math.inf
        length = 0.0
        if k < n:
            if ready_s < 0.0:
                ready_s = now
                if is_wired:
                    framed = size[k] + frame_bytes
                    if first_number >= 0:
                        count, xor = _digits(first_number + k, 1)
                        framed += count
                        count, xor = _digits(xor ^ _NUMBER_XOR ^ check[k], 1)
                        framed += count
                    while oldest < k and (
                        under_way + size[k] + spare_bytes > window_bytes or k - oldest >= window_lines
                    ):
                        sent_s = max(sent_s, answered_s[oldest % NUMBER_MAX])
                        under_way -= carried[oldest % NUMBER_MAX]
                        oldest += 1
                    carried[k % NUMBER_MAX] = framed
                    under_way += framed
                    line_free_s = max(line_free_s, sent_s) + framed * byte_s
                    ready_s = max(line_free_s + latency_s, board_free_s) + command_s
            if kind[k] <= LINE_VECTOR:
                dx = end_mm[k, 0] - at_x
                dy = end_mm[k, 1] - at_y
                length = math.sqrt(dx * dx + dy * dy)
                held = planned - started + (1 if is_running else 0)
                if length < 1e-9 or held < ring:
                    line_s = max(ready_s, now)
            elif not is_running and planned == started:
                line_s = max(ready_s, now)

        if line_s < block_s:
            # ---- the controller takes the line
            now = line_s
            done_s = now
            if kind[k] >= LINE_WAIT:
                if kind[k] == LINE_WAIT:
                    done_s = now + value[k]
                    sums[SUM_WAITING] += value[k]
                    if sums[SUM_BEGAN] < 0.0:
                        sums[SUM_BEGAN] = now
                is_dry = False
                if keeps_times:
                    start_s[k] = now
                    stop_s[k] = done_s
            elif length < 1e-9:
                if keeps_times:
                    start_s[k] = now
                    stop_s[k] = now
            else:
                dx /= length
                dy /= length
                cruise = min(value[k], speed_max)
                a = a_max
                if is_per_axis:
                    largest = max(abs(dx), abs(dy))
                    cruise = speed_max / largest
                    if kind[k] == LINE_VECTOR:  # a jump is a rapid there, and has no speed of its own
                        cruise = min(value[k], cruise)
                    a = a_max / largest
                place = planned & mask
                limit = 0.0
                if is_running or planned > started:
                    before = cruise_mm_s[(planned - 1) & mask]
                    limit = min(before, cruise)
                    limit *= limit
                    limit = min(limit, _corner_sq(rule, -(ux * dx + uy * dy), dx, dy, ux, uy, length, a, corner, a_max))
                elif first_moves > 1:
                    release_s = now + first_delay_s
                else:
                    release_s = now
                limit_sq[place] = limit
                gain_sq[place] = 2.0 * a * length
                length_mm[place] = length
                cruise_mm_s[place] = cruise
                a_mm_s2[place] = a
                line_of[place] = k
                planned += 1
                if not is_running and planned - started >= first_moves:
                    release_s = min(release_s, now)
                if is_running and now + replan_ahead_s <= run_brake_s:
                    running = (started - 1) & mask
                    run_exit_sq, is_blind = _exit_sq(started, planned, mask, gain_sq, limit_sq)
                    run_exit_sq = min(run_exit_sq, run_entry_sq + gain_sq[running])
                    took, before = _trapezoid(
                        run_entry_sq, run_exit_sq, cruise_mm_s[running], a_mm_s2[running], length_mm[running]
                    )
                    run_end_s = run_start_s + took
                    run_brake_s = run_start_s + before
                ux = dx
                uy = dy
                at_x = end_mm[k, 0]
                at_y = end_mm[k, 1]
            if is_wired:
                board_free_s = done_s
                answer = ok_bytes
                if first_number >= 0:
                    held = planned - started + (1 if is_running else 0)
                    answer += _digits(first_number + k, 1)[0] + _digits(ring - held, 1)[0]
                answer_free_s = max(answer_free_s, done_s) + answer * byte_s
                answered_s[k % NUMBER_MAX] = answer_free_s + latency_s
            now = done_s
            k += 1
            ready_s = -1.0
            continue

        # ---- a move ends, and the next one starts
        now = block_s
        run_exit_was_sq = 0.0
        if is_running:
            took = run_end_s - run_start_s
            line = line_of[(started - 1) & mask]
            if kind[line] == LINE_VECTOR:
                sums[SUM_EXPOSING] += took
            else:
                sums[SUM_JUMPING] += took
            if keeps_times:
                start_s[line] = run_start_s
                stop_s[line] = run_end_s
            sums[SUM_ENDED] = now
            run_exit_was_sq = run_exit_sq
            is_running = False
            if planned == started:
                is_dry = k < n and kind[k] <= LINE_VECTOR
                dry_s = now
                if is_dry:
                    sums[SUM_DRY] += 1.0
                continue
        if is_dry:
            sums[SUM_STOOD] += now - dry_s
            is_dry = False
        if sums[SUM_BEGAN] < 0.0:
            sums[SUM_BEGAN] = now
        place = started & mask
        started += 1
        is_running = True
        run_start_s = now
        run_entry_sq = run_exit_was_sq
        run_exit_sq, is_blind = _exit_sq(started, planned, mask, gain_sq, limit_sq)
        run_exit_sq = min(run_exit_sq, run_entry_sq + gain_sq[place])
        if is_blind and k < n and kind[k] <= LINE_VECTOR and planned - started < ring - 1:
            sums[SUM_LATE] += 1.0
        took, before = _trapezoid(run_entry_sq, run_exit_sq, cruise_mm_s[place], a_mm_s2[place], length_mm[place])
        run_end_s = now + took
        run_brake_s = now + before
        release_s = math.inf
    sums[SUM_DONE] = max(now, answer_free_s + latency_s) if is_wired else now
    return n
