"""A scripted Grbl peer for the link's tests: it answers, plans and moves as the manual says, and errs where it is told.

Written from the protocol's facts, sharing nothing with the driver but the transport. Moves run at constant speed.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from firmware_bridge.errors import TransportError
from firmware_bridge.links.grbl import Expected, GrblLink
from firmware_bridge.transport import Transport
from hil_sim.virtual_run import run_virtual

RAPID_MM_MIN = 6000.0
SETTINGS = {
    0: "10", 1: "25", 2: "0", 3: "0", 4: "0", 5: "0", 6: "0", 10: "3", 11: "0.010", 12: "0.002", 13: "0",
    20: "1", 21: "0", 22: "1", 23: "0", 24: "25.000", 25: "500.000", 26: "250", 27: "1.000",
    30: "1000", 31: "0", 32: "1", 100: "80.000", 101: "80.000", 102: "400.000",
    110: "6000.000", 111: "6000.000", 112: "500.000", 120: "500.000", 121: "500.000", 122: "50.000",
    130: "250.000", 131: "150.000", 132: "100.000",
}  # fmt: skip
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)")


@dataclass(frozen=True)
class Done:
    """One move that was carried out: ends in mm, feed in mm/min (rapid: the machine's), S while it ran."""

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    feed: float
    power: float
    number: int | None = None


class Refusal(Exception):
    """error:N"""


@dataclass
class Parser:
    """Modes and place, as gc_execute_line keeps them; `read` gives the move of a line, or raises Refusal."""

    motion: str = "G0"
    modes: dict[str, str] = field(
        default_factory=lambda: {"offset": "G54", "plane": "G17", "units": "G21", "distance": "G90", "feed": "G94"}
    )
    spindle: str = "M5"
    program: str = ""
    f: float = 0.0
    s: float = 0.0
    place: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def read(self, line: str) -> Done | float | None:
        """A move, a dwell in seconds, or nothing."""
        text = re.sub(r"\(.*?(\)|$)|;.*", "", line).replace("/", "").upper()
        text = "".join(c for c in text if c > " ")
        groups: dict[str, str] = {}
        values: dict[str, float] = {}
        while text:
            letter, text = text[0], text[1:]
            if not "A" <= letter <= "Z":
                raise Refusal(1)
            found = _NUMBER.match(text)
            if not found:
                raise Refusal(2)
            number, text = float(found[0]), text[found.end() :]
            if letter in "GM":
                self._command(f"{letter}{number:g}", groups)
            elif letter in "ABCDEHOQUVW":
                raise Refusal(20)
            elif letter in values:
                raise Refusal(25)
            elif letter in "FNPTS" and number < 0:
                raise Refusal(4)
            else:
                values[letter] = number
        return self._carry_out(groups, values)

    @staticmethod
    def _command(word: str, groups: dict[str, str]) -> None:
        group = next((name for name, words in _GROUPS.items() if word in words), None)
        if group is None:
            raise Refusal(23 if "." in word else 20)
        if group in groups:
            raise Refusal(21)
        groups[group] = word

    def _carry_out(self, groups: dict[str, str], values: dict[str, float]) -> Done | float | None:
        used = {"F", "N", "S", "T"}
        axes = {axis: values[axis] for axis in "XYZ" if axis in values}
        once = groups.get("once")
        motion = groups.get("motion", self.motion)
        if values.get("N", 1) > 10_000_000:
            raise Refusal(27)
        if once == "G4":
            if "P" not in values:
                raise Refusal(28)
            used.add("P")
        elif once in ("G10", "G28", "G30", "G92"):
            raise Refusal(24 if "motion" in groups else 28 if once == "G10" else 26 if not axes else 36)
        feed = values.get("F", self.f)
        if axes and once != "G4":
            if motion == "G80":
                raise Refusal(31)
            if motion in ("G2", "G3"):
                raise Refusal(35)
            if motion == "G1" and feed == 0:
                raise Refusal(22)
            if groups.get("units", self.modes["units"]) == "G20":
                axes = {axis: value * 25.4 for axis, value in axes.items()}
            used.update("XYZ")
        elif axes:
            used.update("XYZ")
        if set(values) - used:
            raise Refusal(36)
        for name in self.modes:
            if name in groups:
                self.modes[name] = groups[name]
        self.motion, self.f, self.s = motion, feed, values.get("S", self.s)
        self.spindle = groups.get("spindle", self.spindle)
        if groups.get("stop") in ("M2", "M30"):
            self.motion, self.spindle, self.program = "G1", "M5", groups["stop"]
            self.modes.update(distance="G90", offset="G54")
        if once == "G4":
            return values["P"]
        if not axes:
            return None
        start = self.place
        by = (0.0, 0.0, 0.0) if self.modes["distance"] == "G90" else start
        self.place = tuple(  # type: ignore[assignment]
            by[i] + axes[axis] if axis in axes else start[i] for i, axis in enumerate("XYZ")
        )
        if self.place == start:
            return None
        is_lit = motion == "G1" and self.spindle != "M5"
        number = int(values["N"]) if "N" in values else None
        speed = min(feed, RAPID_MM_MIN) if motion == "G1" else RAPID_MM_MIN
        return Done(start, self.place, speed, min(self.s, 1000.0) if is_lit else 0.0, number)

    def told(self) -> str:
        modes = " ".join(self.modes[name] for name in ("offset", "plane", "units", "distance", "feed"))
        program = f" {self.program}" if self.program else ""
        return f"[GC:{self.motion} {modes}{program} {self.spindle} M9 T0 F{self.f:.0f} S{self.s:.0f}]"


_GROUPS = {
    "motion": {"G0", "G1", "G2", "G3", "G38.2", "G38.3", "G38.4", "G38.5", "G80"},
    "once": {"G4", "G10", "G28", "G30", "G53", "G92", "G28.1", "G30.1", "G92.1"},
    "plane": {"G17", "G18", "G19"},
    "distance": {"G90", "G91"},
    "feed": {"G93", "G94"},
    "units": {"G20", "G21"},
    "cutter": {"G40"},
    "length": {"G43.1", "G49"},
    "offset": {"G54", "G55", "G56", "G57", "G58", "G59"},
    "path": {"G61"},
    "stop": {"M0", "M1", "M2", "M30"},
    "spindle": {"M3", "M4", "M5"},
    "coolant": {"M8", "M9"},
}


class FakeGrbl(Transport):
    """`done`: the moves carried out, in order. `mangle` sees each chunk on its way in, `on_reply` each line out."""

    def __init__(self, link: GrblLink, *, byte_time_s: float = 0.0, numbers: bool = False) -> None:
        super().__init__("fake:grbl", link.receiver, byte_time_s)
        self.loop = asyncio.get_running_loop()
        self.settings = dict(SETTINGS)
        self.version = "[VER:1.1h.20190825:]"
        self.numbers = numbers
        self.wco = (10.0, -5.0, 0.0)  # work place = machine place - this
        self.machine = (10.0, -5.0, 0.0)
        self.parser = Parser()
        self.state = "Idle"
        self.substate = 0
        self.done: list[Done] = []
        self.received: list[str] = []
        self.written: list[bytes] = []
        self.overflowed = 0
        self.most_in_buffer = 0
        self.overrides = [100, 100, 100]
        self.deaf = False
        self.pins = ""
        self.reply_s = 0.001
        self.line_s = 0.0003
        self.mangle: Callable[[bytes], bytes] = lambda data: data
        self.on_reply: Callable[[str], list[bytes]] = lambda reply: [reply.encode("latin-1") + b"\r\n"]
        self.homing_ends_in: str = ""
        self._rx: deque[int] = deque()
        self._line = bytearray()
        self._planner: deque[Done] = deque()
        self._parsed: Done | None = None
        self._run: asyncio.TimerHandle | None = None
        self._ends_s = 0.0
        self._left_s = 0.0
        self._busy = False
        self._wco_in, self._ov_in = 0, 1
        self._epoch = 0
        link.attach(self)

    # Transport
    def _send(self, data: bytes) -> None:
        self.written.append(data)
        for byte in self.mangle(data):
            self._byte(byte)
        self._pump()

    def _waiting_bytes(self) -> int:
        return 0

    def _release(self) -> None:
        self.deaf = True

    def lose(self) -> None:
        self._finish(TransportError("fake:grbl is gone."))

    def say(self, *replies: str) -> None:
        for reply in replies:
            self.say_raw(b"".join(self.on_reply(reply)))

    def say_raw(self, data: bytes) -> None:
        if data:
            self.loop.call_later(self.reply_s, self._deliver, data)

    def _deliver(self, data: bytes) -> None:
        if self.is_open and not self.deaf:
            self._receiver.data_received(data)

    # real-time bytes and the receive buffer
    def _byte(self, byte: int) -> None:
        if self.deaf:
            return
        if byte == 0x18:
            self._reset()
        elif byte == ord("?"):
            if self.state != "Home":
                self.say(self._report())
        elif byte == ord("!"):
            self._hold()
        elif byte == ord("~"):
            self._resume()
        elif byte == 0x84:
            self._hold("Door")
        elif byte == 0x85:
            if self.state == "Jog":
                self._stop_motion()
                self.state = "Idle"
        elif 0x90 <= byte <= 0x9D:
            self._override(byte)
        elif byte < 0x80:
            if len(self._rx) >= 128:
                self.overflowed += 1
            else:
                self._rx.append(byte)
                self.most_in_buffer = max(self.most_in_buffer, len(self._rx))

    def _override(self, byte: int) -> None:
        changes = {0x90: (0, 100), 0x91: (0, 110), 0x92: (0, 90), 0x95: (1, 100), 0x96: (1, 50), 0x99: (2, 100)}
        if byte in changes:
            which, percent = changes[byte]
            if self.overrides[which] != percent:
                self.overrides[which] = percent
                self._ov_in = 0

    def restart(self) -> None:
        """The supply drops for a moment."""
        self.state = "Idle"
        self._stop_motion()
        self._reset()

    def _reset(self) -> None:
        moving = self.state in ("Run", "Jog", "Home") or (self.state == "Hold" and self.substate == 1)
        self._epoch += 1
        self._rx.clear()
        self._line.clear()
        self._stop_motion()
        self._busy = False
        self._parsed = None
        self.parser = Parser(place=self._work())
        self._wco_in, self._ov_in = 0, 1
        self.overrides = [100, 100, 100]
        if moving:
            self.say("ALARM:3")
        was_locked = self.state in ("Alarm", "Sleep") or moving
        self.state = "Alarm" if was_locked else "Idle"
        self.say("", "Grbl 1.1h ['$' for help]")
        if was_locked:
            self.say("[MSG:'$H'|'$X' to unlock]")

    # lines
    def _pump(self) -> None:
        if self._busy or self.deaf or self.state in ("Hold", "Door", "Home"):
            return
        if self._parsed is not None:
            if len(self._planner) < 15:
                self._planner.append(self._parsed)
                self._parsed = None
                self._start()
                self._answer("ok")
            return
        while self._rx:
            byte = self._rx.popleft()
            if byte in (10, 13):
                self._busy = True
                line = self._line.decode("latin-1")
                self._line.clear()
                self.loop.call_later(self.line_s, self._read, line, self._epoch)
                return
            self._line.append(byte)

    def _read(self, line: str, epoch: int) -> None:
        if epoch != self._epoch:
            return
        self._busy = False
        self.received.append(line)
        if len(line) > 79:
            self._answer("error:11")
        elif line.startswith("$"):
            self._system(line.upper().replace(" ", ""))
        elif not line:
            self._answer("ok")
        elif self.state in ("Alarm", "Jog"):
            self._answer("error:9")
        else:
            try:
                move = self.parser.read(line)
            except Refusal as refusal:
                self._answer(f"error:{refusal.args[0]}")
            else:
                self._plan(move)
        self._pump()

    def _plan(self, move: Done | float | None) -> None:
        if isinstance(move, Done):
            limits = [float(self.settings[number]) for number in (130, 131, 132)]
            if any(not -0.001 <= at <= end + 0.001 for at, end in zip(move.end, limits)):
                self.state = "Alarm"
                self._stop_motion()
                self.say("ALARM:2", "[MSG:Reset to continue]")
                self.deaf_but_for_reset()
                return
            self._parsed = move
        else:
            self._answer("ok")

    def deaf_but_for_reset(self) -> None:
        """A critical alarm: nothing but 0x18 is looked at."""
        self._rx.clear()

    def _answer(self, text: str) -> None:
        self.say(text)
        self.loop.call_soon(self._pump)

    def _system(self, line: str) -> None:
        if line == "$G":
            self.say(self.parser.told(), "ok")
        elif line == "$I":
            self.say(self.version, f"[OPT:V{'N' if self.numbers else ''},15,128]", "ok")
        elif line == "$$":
            self.say(*(f"${number}={value}" for number, value in self.settings.items()), "ok")
        elif line == "$X":
            if self.state == "Alarm":
                self.state = "Idle"
                self.say("[MSG:Caution: Unlocked]")
            self.say("ok")
        elif line == "$H":
            self._home()
        elif line.startswith("$J="):
            self._jog(line[3:])
        elif found := re.fullmatch(r"\$(\d+)=([\d.]+)", line):
            self.settings[int(found[1])] = found[2]
            self.say("ok")
        else:
            self.say("error:3")
        self.loop.call_soon(self._pump)

    def _home(self) -> None:
        if self.settings[22] == "0":
            self.say("error:5")
            return
        self.state = "Home"
        self.loop.call_later(5.0, self._homed, self._epoch)

    def _homed(self, epoch: int) -> None:
        if epoch != self._epoch:
            return
        if self.homing_ends_in:
            self.say(self.homing_ends_in)
            self.state = "Alarm"
            self._reset()
            return
        self.state, self.machine = "Idle", self.wco
        self.parser.place = (0.0, 0.0, 0.0)
        self.say("ok")
        self._pump()

    def _jog(self, text: str) -> None:
        if self.state not in ("Idle", "Jog"):
            self.say("error:8")
            return
        jog = Parser(motion="G1", place=self.parser.place)
        try:
            move = jog.read(text)
        except Refusal as refusal:
            self.say(f"error:{refusal.args[0]}")
            return
        if isinstance(move, Done):
            if any(not 0 <= at <= float(self.settings[130 + i]) for i, at in enumerate(move.end)):
                self.say("error:15")
                return
            self._planner.append(move)
            self._start("Jog")
            self.parser.place = move.end
        self.say("ok")

    # motion
    def _start(self, state: str = "Run") -> None:
        if self._run is None and self._planner and self.state in ("Idle", "Run", "Jog"):
            self.state = state
            block = self._planner[0]
            self._begin(math.dist(block.start, block.end) / block.feed * 60.0)

    def _begin(self, time_s: float) -> None:
        self._ends_s = self.loop.time() + time_s
        self._run = self.loop.call_later(time_s, self._finished)

    def _finished(self) -> None:
        self._run = None
        block = self._planner.popleft()
        self.done.append(block)
        self.machine = self._at(block.end)
        if self._planner:
            self._start(self.state)
        else:
            self.state = "Idle"
        self._pump()

    def _hold(self, state: str = "Hold") -> None:
        if self.state == "Jog":
            self._stop_motion()
            self.state = "Idle"
        elif self.state == "Run":
            self.state, self.substate = state, 1
            self.loop.call_later(0.05, self._held, self._epoch)
        elif self.state == "Idle":
            self.state, self.substate = state, 0

    def _held(self, epoch: int) -> None:
        if epoch != self._epoch or self.state not in ("Hold", "Door"):
            return
        self.substate = 0
        if self._run is not None:
            self._freeze()

    def _freeze(self) -> None:
        assert self._run is not None
        self._run.cancel()
        self._run = None
        self._left_s = max(0.0, self._ends_s - self.loop.time())
        self.machine = self._at(self._along(self._planner[0], self._left_s))

    def _resume(self) -> None:
        if self.state != "Hold" or self.substate:
            return
        self.state = "Run" if self._planner else "Idle"
        if self._planner:
            self._begin(self._left_s)
        self._pump()

    def _stop_motion(self) -> None:
        if self._run is not None:
            self._freeze()
        self._planner.clear()
        self.parser.place = self._work()

    @staticmethod
    def _along(block: Done, left_s: float) -> tuple[float, float, float]:
        whole_s = math.dist(block.start, block.end) / block.feed * 60.0
        share = 1.0 - left_s / whole_s if whole_s else 1.0
        return tuple(a + share * (b - a) for a, b in zip(block.start, block.end))  # type: ignore[return-value]

    def _at(self, work: tuple[float, float, float]) -> tuple[float, float, float]:
        return tuple(a + b for a, b in zip(work, self.wco))  # type: ignore[return-value]

    def _work(self) -> tuple[float, float, float]:
        return tuple(a - b for a, b in zip(self.machine, self.wco))  # type: ignore[return-value]

    # reports
    def _report(self) -> str:
        place, feed, power = self.machine, 0.0, 0.0
        if self._run is not None:
            block = self._planner[0]
            place = self._at(self._along(block, max(0.0, self._ends_s - self.loop.time())))
            feed, power = block.feed, block.power
        steps = [float(self.settings[number]) or 1.0 for number in (100, 101, 102)]
        place = tuple(round(at * step) / step for at, step in zip(place, steps))  # type: ignore[assignment]
        is_machine = int(self.settings[10]) & 1
        if not is_machine:
            place = tuple(a - b for a, b in zip(place, self.wco))  # type: ignore[assignment]
        state = f"{self.state}:{self.substate}" if self.state in ("Hold", "Door") else self.state
        text = f"<{state}|{'M' if is_machine else 'W'}Pos:{_three(place)}"
        if int(self.settings[10]) & 2:
            text += f"|Bf:{15 - len(self._planner)},{128 - len(self._rx)}"
        if self.numbers and self._planner and self._planner[0].number:
            text += f"|Ln:{self._planner[0].number}"
        text += f"|FS:{feed:.0f},{power:.0f}"
        if self.pins:
            text += f"|Pn:{self.pins}"
        if self._wco_in == 0:
            text += f"|WCO:{_three(self.wco)}"
            self._wco_in, self._ov_in = 10, self._ov_in or 1
        elif self._ov_in == 0:
            text += "|Ov:{},{},{}".format(*self.overrides)
            self._ov_in = 10
        self._wco_in = max(0, self._wco_in - 1)
        self._ov_in = max(0, self._ov_in - 1)
        return text + ">"


def _three(place: tuple[float, ...]) -> str:
    return ",".join(f"{at:.3f}" for at in place)


class Notes:
    """A journal that remembers; `delay_s` is how long a commit takes."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.groups: list[tuple[int, int]] = []
        self.acks: list[int] = []

    async def ahead(self, first: int, last: int) -> None:
        await asyncio.sleep(self.delay_s)
        self.groups.append((first, last))

    def acked(self, index: int) -> None:
        self.acks.append(index)


async def talk(expected: Expected | None = None, **options: object) -> tuple[GrblLink, FakeGrbl]:
    """A link that has shaken hands with a well-behaved peer."""
    link = GrblLink(expected)
    peer = FakeGrbl(link, **options)  # type: ignore[arg-type]
    await link.handshake(3.0)
    peer.received.clear()
    peer.written.clear()
    return link, peer


def virtually(main: Callable[[], Awaitable[None]]) -> None:
    run_virtual(lambda loop: main())


def layer(vectors: int = 12, *, x_mm: float = 20.0, contour: int = 0) -> list[bytes]:
    """A small layer in the exporter's Grbl words: a contour of short moves, then a meander."""
    lines = [b"M4 S0"]
    if contour:
        lines.append(b"G0 X%.3f Y30.000" % (x_mm + 5.0))
        for index in range(1, contour + 1):
            angle = 2 * math.pi * index / contour
            x, y = x_mm + 5 * math.cos(angle), 30 + 5 * math.sin(angle)
            lines.append(b"G1 X%.3f Y%.3f F2400 S600" % (x, y))
    for index in range(vectors):
        left, right = x_mm, x_mm + 8.0
        start, end = (left, right) if index % 2 == 0 else (right, left)
        lines.append(b"G0 X%.3f Y%.3f" % (start, 40 + index))
        lines.append(b"G1 X%.3f Y%.3f F3000 S1000" % (end, 40 + index))
    lines.append(b"M5")
    return lines


def due_moves(lines: list[bytes]) -> list[Done]:
    """What a perfect controller makes of the plan's lines, from the work's zero."""
    parser = Parser()
    found = [parser.read(line.decode()) for line in lines]
    return [move for move in found if isinstance(move, Done)]


def differs(done: list[Done], due: list[Done]) -> str:
    """In which way what was carried out is not what was planned (0.05 mm, 1 %); "" if it is the same."""
    if len(done) != len(due):
        return f"{len(done)} moves instead of {len(due)}"
    for index, (one, other) in enumerate(zip(done, due)):
        if math.dist(one.start, other.start) > 0.05 or math.dist(one.end, other.end) > 0.05:
            return f"move {index}: {one} instead of {other}"
        energy, wanted = one.power / one.feed, other.power / other.feed
        if abs(energy - wanted) > 0.01 * wanted:
            return f"move {index}: {energy} instead of {wanted}"
    return ""
