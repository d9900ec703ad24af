"""Motion (slicer/kernels/motion.py); a program on its controller (slicer/kernels/motion.py, `run_lines`)."""

from __future__ import annotations

import math


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
