"""RoboClaw motor boards on one packet-serial line: two motors a board, encoders, a dead-man, settings and status bits.

Commands and replies after the user manual (see roboclaw_frames). The motors are ports into the world: whoever builds
the world hands them over. Assumed where the manual is silent: the serial timeout is fed by any valid packet to this
board and not by those to others; a board in an error state acknowledges motion commands and does not move, and its
motors stop when it notices the error, at the next motion command or question for its status; commands 52 and 53 take
four bytes of acceleration (p. 98 prints two, for numbers that need three), 94 its key, as the maker's libraries send
them. The emergency-stop input latches until the power goes (p. 72: the default of S3 in serial modes).

Users report that firmware 4.3.6 acknowledges the simple commands (0, 1, 4, 5) no more; whether it carries them out, and
whether others with one byte of data are concerned, they do not say. So both can be had: `withdrawn`, `unacknowledged`.
"""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from hil_sim.world.emulators.roboclaw_frames import READS, LineCounters, Packet, PacketReader, reply_frame
from hil_sim.world.emulators.roboclaw_motors import FORMS, MotorPair, MotorPort

NVM_KEY = 0xE22EAB7A

E_STOP, TEMP_ERROR, TEMP2_ERROR, MAIN_HIGH_ERROR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
LOGIC_HIGH_ERROR, LOGIC_LOW_ERROR = 1 << 4, 1 << 5
DRIVER_FAULT, CURRENT_ERROR, CURRENT_WARN = (1 << 6, 1 << 7), (1 << 12, 1 << 13), (1 << 16, 1 << 17)
MAIN_HIGH_WARN, MAIN_LOW_WARN, TEMP_WARN, TEMP2_WARN = 1 << 18, 1 << 19, 1 << 20, 1 << 21
ERRORS = 0xFFFF
TEMP_WARN_C, TEMP_ERROR_C = 85.0, 100.0
CURRENT_ERROR_RATIO = 2.0  # assumed, as the next one
MAIN_ERROR_V = 36.0
SIMPLE = frozenset({0, 1, 4, 5, 6, 7})

COUNTERS = struct.Struct(">II")

Send = Callable[[bytes], None]


@dataclass
class BoardSettings:
    """What the board keeps in its memory: in use, and a second time in NVM. Voltages in V, currents in A."""

    timeout_steps: int = 0  # of 100 ms; 0: no dead-man
    main_low_v: float = 10.0
    main_high_v: float = 34.0
    logic_low_v: float = 4.5
    logic_high_v: float = 34.0
    max_current_a: tuple[float, float] = (10.0, 10.0)
    velocity_pid: tuple[tuple[int, int, int, int], ...] = ((65536, 32768, 16384, 44000),) * 2  # P, I, D, QPPS

    def copy(self) -> BoardSettings:
        """Another one of the same content."""
        return replace(self)


class RoboClawBoard:
    """One board. `motors` and `ticks_per_rad`: of its channels 1 and 2 (a negative number of ticks: mounted mirrored);
    `Unconnected()` where there is none.

    `volts(t_s)`, `logic_volts(t_s)` and `temp_c(t_s)` are the supplies and the temperature of the board, `temp2_c(t_s)`
    that of a second sensor, where there is one; `nvm` what it holds when it boots. `withdrawn`: commands that its
    firmware neither carries out nor answers; `unacknowledged`: those that it carries out without a word.
    `stopped_by_timeout`: how often its dead-man has struck; `nvm_writes`: how often its memory was written.
    """

    def __init__(
        self,
        motors: Sequence[MotorPort],
        ticks_per_rad: Sequence[float],
        *,
        version: str = "USB Roboclaw 2x15a v4.2.4",
        volts: Callable[[float], float] = lambda t_s: 12.0,
        logic_volts: Callable[[float], float] = lambda t_s: 5.0,
        temp_c: Callable[[float], float] = lambda t_s: 25.0,
        temp2_c: Callable[[float], float] | None = None,
        e_stop_latches: bool = True,
        withdrawn: frozenset[int] = frozenset(),
        unacknowledged: frozenset[int] = frozenset(),
        nvm: BoardSettings | None = None,
        reply_delay_s: float = 0.001,
    ) -> None:
        self.motors = MotorPair(motors, ticks_per_rad)
        self.channels = self.motors.channels
        self.version = version
        self.volts = volts
        self.logic_volts = logic_volts
        self.temp_c = temp_c
        self.temp2_c = temp2_c
        self.e_stop_latches = e_stop_latches
        self.withdrawn = withdrawn
        self.unacknowledged = unacknowledged
        self.nvm = nvm if nvm is not None else BoardSettings()
        self.settings = self.nvm.copy()
        self.reply_delay_s = reply_delay_s
        self.forced_status = 0  # status bits that the world sets: E_STOP, DRIVER_FAULT[0], ...
        self.nvm_writes = 0
        self.stopped_by_timeout = 0
        self.stopped_at_s: float | None = None  # when its dead-man last struck
        self._is_pressed = False
        self._off_until_s = 0.0
        self._fed_s = 0.0
        self._watch: asyncio.TimerHandle | None = None

    # -- what the world does to it
    def brown_out(self, t_s: float, off_s: float = 0.3) -> None:
        """Its logic supply sags: motors off, counters and settings lost, no answer until it has booted."""
        self.motors.stop(t_s)
        self._off_until_s = t_s + off_s
        self.e_stop(t_s, self._is_pressed, is_power_cycled=True)
        self.settings = self.nvm.copy()
        for channel in self.channels:
            channel.set_ticks(0, t_s)
        self._unwatch()

    def die(self, t_s: float) -> None:
        """No supply: motors off, no answer until revive()."""
        self.brown_out(t_s, math.inf)

    def revive(self, t_s: float) -> None:
        """The supply is back, and the board boots."""
        self.brown_out(t_s, 0.1)

    def hang(self, t_s: float) -> None:
        """Its firmware hangs: no answer, no dead-man, and the motors go on as they were told last."""
        self._off_until_s = math.inf
        for channel in self.channels:
            channel.halt()
        self._unwatch()

    def e_stop(self, t_s: float, is_pressed: bool = True, *, is_power_cycled: bool = False) -> None:
        """The emergency-stop input: pressed, or let go."""
        self._is_pressed = is_pressed
        if is_pressed:
            self.forced_status |= E_STOP
            self.motors.stop(t_s)
        elif is_power_cycled or not self.e_stop_latches:
            self.forced_status &= ~E_STOP

    def is_on(self, t_s: float) -> bool:
        """Whether it hears and answers."""
        return t_s >= self._off_until_s

    def status(self, t_s: float) -> int:
        """The bits of command 90."""
        settings, bits = self.settings, self.forced_status
        volts, temp_c, logic_v = self.volts(t_s), self.temp_c(t_s), self.logic_volts(t_s)
        if volts > settings.main_high_v:
            bits |= MAIN_HIGH_WARN
        if volts < settings.main_low_v:
            bits |= MAIN_LOW_WARN
        if volts > MAIN_ERROR_V:
            bits |= MAIN_HIGH_ERROR
        if logic_v > settings.logic_high_v:
            bits |= LOGIC_HIGH_ERROR
        if logic_v < settings.logic_low_v:
            bits |= LOGIC_LOW_ERROR
        if temp_c >= TEMP_WARN_C:
            bits |= TEMP_WARN | (TEMP_ERROR if temp_c >= TEMP_ERROR_C else 0)
        if self.temp2_c is not None and (temp2_c := self.temp2_c(t_s)) >= TEMP_WARN_C:
            bits |= TEMP2_WARN | (TEMP2_ERROR if temp2_c >= TEMP_ERROR_C else 0)
        for index, channel in enumerate(self.channels):
            amps, most_a = abs(channel.port.current_a(t_s)), settings.max_current_a[index]
            if amps > most_a:
                bits |= CURRENT_WARN[index] | (CURRENT_ERROR[index] if amps > CURRENT_ERROR_RATIO * most_a else 0)
        return bits

    def _noticed(self, t_s: float) -> int:
        """The status, looked at: an error stops the motors."""
        bits = self.status(t_s)
        if bits & ERRORS:
            self.motors.stop(t_s)
        return bits

    # -- the dead-man
    def _feed(self, t_s: float) -> None:
        self._fed_s = t_s
        if self._watch is None and self.settings.timeout_steps:
            self._watch = asyncio.get_running_loop().call_at(t_s + self._timeout_s, self._look)

    @property
    def _timeout_s(self) -> float:
        return 0.1 * self.settings.timeout_steps

    def _look(self) -> None:
        """One timer, set anew when it fires: a packet costs it nothing."""
        self._watch = None
        now_s = asyncio.get_running_loop().time()
        if not self.settings.timeout_steps:
            return
        due_s = self._fed_s + self._timeout_s
        if now_s < due_s - 1e-9:
            self._watch = asyncio.get_running_loop().call_at(due_s, self._look)
            return
        self.stopped_by_timeout += 1
        self.stopped_at_s = now_s
        self.motors.stop(now_s)

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    # -- commands
    def execute(self, command: int, data: bytes, t_s: float) -> bytes | None:
        """A valid packet -> the data of the reply (empty: an acknowledgement), or None for no answer."""
        if t_s < self._off_until_s or command in self.withdrawn:
            return None
        reply = self._read(command, t_s) if command in READS else self._write(command, data, t_s)
        if self._watch is not None and not self.settings.timeout_steps:
            self._unwatch()
        self._feed(t_s)
        return None if command in self.unacknowledged else reply

    def _read(self, command: int, t_s: float) -> bytes | None:
        one, two = self.channels
        if command == 78:  # what a host asks most
            return COUNTERS.pack(_counter(one.ticks(t_s)), _counter(two.ticks(t_s)))
        if command in (16, 17):
            channel = self.channels[command - 16]
            return struct.pack(">IB", _counter(channel.ticks(t_s)), channel.take_flags(t_s))
        if command in (18, 19, 30, 31):
            speed = round(self.channels[command % 2 if command < 20 else command - 30].speed_ticks(t_s))
            return struct.pack(">iB", speed, speed < 0)
        if command == 79:
            return struct.pack(">ii", round(one.speed_ticks(t_s)), round(two.speed_ticks(t_s)))
        if command == 49:
            return struct.pack(">hh", *(_i16(100 * channel.port.current_a(t_s)) for channel in self.channels))
        if command == 48:
            return struct.pack(">hh", *(_i16(32767 * channel.duty) for channel in self.channels))
        if command in (55, 56):
            return struct.pack(">IIII", *self.settings.velocity_pid[command - 55])
        if command in (135, 136):
            return struct.pack(">II", round(100 * self.settings.max_current_a[command - 135]), 0)
        return self._read_board(command, t_s)

    def _read_board(self, command: int, t_s: float) -> bytes | None:
        settings = self.settings
        if command == 15:
            return bytes((settings.timeout_steps,))
        if command == 21:
            return self.version.encode("ascii")[:46] + b"\n\0"
        if command == 24:
            return struct.pack(">H", round(10 * self.volts(t_s)))
        if command == 25:
            return struct.pack(">H", round(10 * self.logic_volts(t_s)))
        if command == 47:
            return bytes(channel.buffered(t_s) for channel in self.channels)
        if command == 59:
            return struct.pack(">HH", round(10 * settings.main_low_v), round(10 * settings.main_high_v))
        if command == 60:
            return struct.pack(">HH", round(10 * settings.logic_low_v), round(10 * settings.logic_high_v))
        if command in (82, 83):
            sensor = self.temp2_c if command == 83 and self.temp2_c is not None else self.temp_c
            return struct.pack(">h", _i16(10 * sensor(t_s)))
        if command == 90:
            return struct.pack(">I", self._noticed(t_s))
        if command == 95:
            self.settings = self.nvm.copy()
            return b"\0\0"
        return None

    def _write(self, command: int, data: bytes, t_s: float) -> bytes | None:
        if command in FORMS:
            qpps = [pid[3] for pid in self.settings.velocity_pid]
            if not self._noticed(t_s) & ERRORS and not self.motors.command(command, data, qpps, t_s):
                return None
            return b""
        if command == 14:
            self.settings.timeout_steps = data[0]
            self._unwatch()  # it may be due sooner now
        elif command == 20:
            for channel in self.channels:
                channel.set_ticks(0, t_s)
        elif command in (22, 23):
            self.channels[command - 22].set_ticks(struct.unpack(">i", data)[0], t_s)
        elif command in (28, 29):
            d, p, i, qpps = struct.unpack(">IIII", data)
            pids = list(self.settings.velocity_pid)
            pids[command - 28] = (p, i, d, qpps)
            self.settings.velocity_pid = tuple(pids)
        elif command == 57:
            low, high = struct.unpack(">HH", data)
            self.settings.main_low_v, self.settings.main_high_v = low / 10, high / 10
        elif command == 58:
            low, high = struct.unpack(">HH", data)
            self.settings.logic_low_v, self.settings.logic_high_v = low / 10, high / 10
        elif command in (133, 134):
            limits = list(self.settings.max_current_a)
            limits[command - 133] = max(struct.unpack(">II", data)[0] / 100, 0.01)
            self.settings.max_current_a = (limits[0], limits[1])
        elif command == 94 and struct.unpack(">I", data)[0] == NVM_KEY:
            self.nvm = self.settings.copy()
            self.nvm_writes += 1
        else:
            return None
        return b""


def _counter(ticks: float) -> int:
    """A 32-bit counter that wraps."""
    return round(ticks) & 0xFFFFFFFF


def _i16(value: float) -> int:
    return max(-0x8000, min(0x7FFF, round(value)))


class RoboClawLine:
    """Several boards behind one serial line: what a wire is laid to.

    `boards`: address 0x80..0x87 -> board. `chunk_bytes`: the most bytes that the line hands over at once; 1 lets faults
    strike single bytes.
    """

    def __init__(self, boards: Mapping[int, RoboClawBoard], *, baud: int, chunk_bytes: int = 256) -> None:
        for address in boards:
            if not 0x80 <= address <= 0x87:
                raise ValueError(f"address {address} is outside 128..135")
        self.boards = dict(boards)
        self.baud = baud
        self.chunk_bytes = chunk_bytes
        self.byte_s = 10.0 / baud
        self.counters = LineCounters()

    def attach(self, send: Send) -> RoboClawSession:
        """A host has opened the line; replies go to `send`."""
        return RoboClawSession(self, send)


class RoboClawSession:
    """One opening of the line."""

    def __init__(self, line: RoboClawLine, send: Send) -> None:
        self._line = line
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._reader = PacketReader(line.counters)
        self._last_s = -math.inf
        self._free_s: dict[int, float] = {}  # when a board has said what it owes
        self._open = True

    def received(self, data: bytes) -> None:
        """Bytes whose last one was complete on the line just now."""
        if not data or not self._open:
            return
        now_s = self._loop.time()
        gap_s = now_s - (len(data) - 1) * self._line.byte_s - self._last_s
        self._last_s = now_s
        for packet in self._reader.feed(data, gap_s):
            self._serve(packet, now_s)

    def closed(self) -> None:
        """The host has left: nobody hears what is still owed. The boards' dead-men go on."""
        self._open = False

    def _serve(self, packet: Packet, now_s: float) -> None:
        board = self._line.boards.get(packet.address)
        if board is None:
            self._line.counters.foreign += 1
            return
        data = board.execute(packet.command, packet.data, now_s)
        if data is None:
            return
        reply = reply_frame(packet.address, packet.command, data) if data else b"\xff"
        at_s = max(now_s, self._free_s.get(packet.address, 0.0)) + board.reply_delay_s
        self._free_s[packet.address] = at_s
        self._loop.call_at(at_s, self._reply, board, reply)

    def _reply(self, board: RoboClawBoard, reply: bytes) -> None:
        if self._open and board.is_on(self._loop.time()):
            self._line.counters.answered += 1
            self._send(reply)
