"""The motor side of a RoboClaw board: two channels with encoders, buffers of moves and ramps, and the motion commands.

Motion commands after the user manual: speeds and positions in encoder counts, signed; accelerations in counts/s2, 0 for
the board's default; a duty of 32767 is the whole supply. A buffered move runs when the one before it is over, or at
once if its last byte is 1. Position moves brake with the smaller one of the two accelerations that they bring. A duty
ramps by at most 655,359 a second, from -100 % to 100 % in 100 ms (p. 98); a rate of 0 is taken for none (assumed).
"""

from __future__ import annotations

import asyncio
import math
import struct
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

DEFAULT_ACCEL_QPPS2 = 655_360
DUTY_RATE_MAX = 655_359
COUNTER_SPAN = 1 << 32
BUFFER_MAX = 64
MOVE_DONE_TICKS = 2.0
LOOK_S = (0.005, 0.05)  # how soon, and how late at most, a running move is looked at again
RAMP_STEP_S, RAMP_STEPS_MAX = 0.01, 50


class MotorPort(Protocol):
    """One motor of the world. Angles in rad at the wheel or the steering axis, loop time in s first."""

    def set_speed(self, t_s: float, rad_s: float, accel_rad_s2: float) -> None:
        """Hold this speed, reached at that acceleration."""

    def set_duty(self, t_s: float, duty: float) -> None:
        """Drive with this share of the supply, -1 to 1; 0 brakes."""

    def set_position(self, t_s: float, angle_rad: float, speed_rad_s: float, accel_rad_s2: float) -> None:
        """Go to this angle and hold it."""

    def angle_rad(self, t_s: float) -> float:
        """Where it stands, cumulative."""

    def speed_rad_s(self, t_s: float) -> float:
        """How fast it turns."""

    def current_a(self, t_s: float) -> float:
        """What it draws."""


class Unconnected:
    """A channel with no motor: it can be told anything, and stands at 0."""

    def set_speed(self, t_s: float, rad_s: float, accel_rad_s2: float) -> None:
        """Nothing turns."""

    def set_duty(self, t_s: float, duty: float) -> None:
        """Nothing turns."""

    def set_position(self, t_s: float, angle_rad: float, speed_rad_s: float, accel_rad_s2: float) -> None:
        """Nothing turns."""

    def angle_rad(self, t_s: float) -> float:
        """0."""
        return 0.0

    def speed_rad_s(self, t_s: float) -> float:
        """0."""
        return 0.0

    def current_a(self, t_s: float) -> float:
        """0."""
        return 0.0


class Move(NamedTuple):
    """A buffered command: to a position, or at a signed speed over a distance. Counts, counts/s, counts/s2."""

    speed: int
    accel: int
    distance: int = 0
    position: int | None = None


class Channel:
    """One motor with its encoder and its buffer of moves."""

    def __init__(self, port: MotorPort, ticks_per_rad: float) -> None:
        self.port = port
        self.ticks_per_rad = ticks_per_rad
        self.zero_rad = 0.0
        self.duty = 0.0
        self.moves: deque[Move] = deque()
        self.running: Move | None = None
        self._from = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._turns = 0  # of the 32-bit counter, when its flags were read or it was set

    def ticks(self, t_s: float) -> float:
        return (self.port.angle_rad(t_s) - self.zero_rad) * self.ticks_per_rad

    def set_ticks(self, ticks: int, t_s: float) -> None:
        self.zero_rad = self.port.angle_rad(t_s) - ticks / self.ticks_per_rad
        self._turns = self._turns_now(t_s)

    def _turns_now(self, t_s: float) -> int:
        return round(self.ticks(t_s)) // COUNTER_SPAN

    def take_flags(self, t_s: float) -> int:
        """The status byte of commands 16 and 17: 1 underflow, 2 backwards, 4 overflow; reading clears 1 and 4."""
        turns, self._turns = self._turns, self._turns_now(t_s)
        return (self._turns < turns) | 2 * (self.speed_ticks(t_s) < 0) | 4 * (self._turns > turns)

    def speed_ticks(self, t_s: float) -> float:
        return self.port.speed_rad_s(t_s) * self.ticks_per_rad

    def halt(self) -> None:
        """Forget what was to come. The motor is the caller's."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.moves.clear()
        self.running = None

    def set_duty(self, duty: float, t_s: float) -> None:
        self.halt()
        self.duty = duty
        self.port.set_duty(t_s, duty if self.ticks_per_rad > 0 else -duty)

    def ramp_duty(self, duty: float, rate_per_s: float, t_s: float) -> None:
        """To `duty` in steps."""
        self.halt()
        whole_s = abs(duty - self.duty) / rate_per_s if rate_per_s > 0 else 0.0
        steps = max(1, min(RAMP_STEPS_MAX, math.ceil(whole_s / RAMP_STEP_S)))
        self._ramp_on(self.duty, duty, whole_s / steps, 1, steps)

    def _ramp_on(self, start: float, end: float, step_s: float, step: int, steps: int) -> None:
        loop = asyncio.get_running_loop()
        self.set_duty(start + (end - start) * step / steps, loop.time())
        if step < steps:
            self._timer = loop.call_later(step_s, self._ramp_on, start, end, step_s, step + 1, steps)

    def set_speed(self, speed: float, accel: float, t_s: float) -> None:
        self.halt()
        self._run_speed(speed, accel, t_s)

    def _run_speed(self, speed: float, accel: float, t_s: float) -> None:
        scale = self.ticks_per_rad
        self.duty = 0.0
        self.port.set_speed(t_s, speed / scale, (accel or DEFAULT_ACCEL_QPPS2) / abs(scale))

    def buffer(self, move: Move, at_once: bool, t_s: float) -> bool:
        """Take a move; whether there was room."""
        if at_once:
            self.halt()
        if len(self.moves) >= BUFFER_MAX:
            return False
        self.moves.append(move)
        if self.running is None:
            self._next(t_s)
        else:
            self._look_now(t_s)
        return True

    def buffered(self, t_s: float) -> int:
        """As command 47 tells it."""
        self._look_now(t_s)
        return 0x80 if self.running is None else len(self.moves)

    def _next(self, t_s: float) -> None:
        self.running = move = self.moves.popleft()
        if move.position is None:
            self._from = self.ticks(t_s)
            self._run_speed(move.speed, move.accel, t_s)
        else:
            scale = abs(self.ticks_per_rad)
            angle_rad = self.zero_rad + move.position / self.ticks_per_rad
            accel = (move.accel or DEFAULT_ACCEL_QPPS2) / scale
            self.duty = 0.0
            self.port.set_position(t_s, angle_rad, abs(move.speed) / scale, accel)
            if not self.moves:
                return  # the motor stays there: whether it has come is looked at when somebody asks
        self._look(t_s)

    def _look_now(self, t_s: float) -> None:
        """Look at a running move that nothing is due to look at."""
        if self.running is not None and self._timer is None:
            self._look(t_s)

    def _look(self, t_s: float) -> None:
        """Is the running move over? If not, look again about when it will be, if that starts or stops anything."""
        move = self.running
        assert move is not None
        here = self.ticks(t_s)
        left = move.distance - abs(here - self._from) if move.position is None else abs(move.position - here)
        if left > (0.5 if move.position is None else MOVE_DONE_TICKS):
            if move.position is not None and not self.moves:
                return
            delay_s = left / abs(move.speed) if move.speed else LOOK_S[1]
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(t_s + min(max(delay_s, LOOK_S[0]), LOOK_S[1]), self._look_again)
            return
        if self.moves:
            self._next(t_s)
        else:
            self.running = None
            if move.position is None:
                self._run_speed(0.0, move.accel, t_s)

    def _look_again(self) -> None:
        self._timer = None
        self._look(asyncio.get_running_loop().time())


_SHAPES = {
    0: ">B", 1: ">B", 4: ">B", 5: ">B", 6: ">B", 7: ">B", 32: ">h", 33: ">h", 34: ">hh", 35: ">i", 36: ">i", 37: ">ii",
    38: ">Ii", 39: ">Ii", 40: ">Iii", 41: ">iIB", 42: ">iIB", 43: ">iIiIB", 44: ">IiIB", 45: ">IiIB", 46: ">IiIiIB",
    50: ">IiIi", 51: ">IiIIiIB", 52: ">hI", 53: ">hI", 54: ">hIhI", 65: ">IiIiB", 66: ">IiIiB", 67: ">IiIiIiIiB",
}  # fmt: skip
FORMS = {command: struct.Struct(shape) for command, shape in _SHAPES.items()}
"""Motion commands and the shape of their data."""
BUFFERED = frozenset({41, 42, 43, 44, 45, 46, 51, 65, 66, 67})
"""Those that wait for the one before them."""


class MotorPair:
    """Channels 1 and 2 (indices 0 and 1) and what can be asked of them."""

    def __init__(self, ports: Sequence[MotorPort], ticks_per_rad: Sequence[float]) -> None:
        self.channels = tuple(Channel(port, ticks) for port, ticks in zip(ports, ticks_per_rad, strict=True))
        if len(self.channels) != 2:
            raise ValueError(f"a board drives two motors, not {len(self.channels)}")

    def stop(self, t_s: float) -> None:
        """Both motors: duty 0, nothing buffered."""
        for channel in self.channels:
            channel.set_duty(0.0, t_s)

    def command(self, command: int, data: bytes, qpps: Sequence[int], t_s: float) -> bool:
        """Carry out a motion command; `qpps` bounds the speeds of both channels. False: a buffer is full."""
        v = FORMS[command].unpack(data)
        if command in BUFFERED:
            return self._buffer(command, v, t_s)

        def speed(index: int, counts_s: int, accel: int = 0) -> None:
            self.channels[index].set_speed(max(-qpps[index], min(qpps[index], counts_s)), accel, t_s)

        def duty(index: int, share: float) -> None:
            self.channels[index].set_duty(max(-1.0, min(1.0, share)), t_s)

        def ramp(index: int, share: int, rate: int) -> None:
            self.channels[index].ramp_duty(max(-1.0, share / 32767), min(rate, DUTY_RATE_MAX) / 32767, t_s)

        match command:
            case 0 | 4:
                duty(command // 4, v[0] / 127)
            case 1 | 5:
                duty(command // 4, -v[0] / 127)
            case 6 | 7:
                duty(command - 6, (v[0] - 64) / 63)
            case 32 | 33:
                duty(command - 32, v[0] / 32767)
            case 34:
                duty(0, v[0] / 32767)
                duty(1, v[1] / 32767)
            case 35 | 36:
                speed(command - 35, v[0])
            case 37:
                speed(0, v[0])
                speed(1, v[1])
            case 38 | 39:
                speed(command - 38, v[1], v[0])
            case 40:
                speed(0, v[1], v[0])
                speed(1, v[2], v[0])
            case 50:
                speed(0, v[1], v[0])
                speed(1, v[3], v[2])
            case 52 | 53:
                ramp(command - 52, v[0], v[1])
            case 54:
                ramp(0, v[0], v[1])
                ramp(1, v[2], v[3])
            case _:
                raise ValueError(f"command {command} moves nothing")
        return True

    def _buffer(self, command: int, v: tuple[int, ...], t_s: float) -> bool:
        match command:
            case 41 | 42:
                moves = {command - 41: Move(v[0], 0, distance=v[1])}
            case 43:
                moves = {0: Move(v[0], 0, distance=v[1]), 1: Move(v[2], 0, distance=v[3])}
            case 44 | 45:
                moves = {command - 44: Move(v[1], v[0], distance=v[2])}
            case 46:
                moves = {0: Move(v[1], v[0], distance=v[2]), 1: Move(v[3], v[0], distance=v[4])}
            case 51:
                moves = {0: Move(v[1], v[0], distance=v[2]), 1: Move(v[4], v[3], distance=v[5])}
            case 65 | 66:
                moves = {command - 65: _position(*v[:4])}
            case 67:
                moves = {0: _position(*v[:4]), 1: _position(*v[4:8])}
            case _:
                raise ValueError(f"command {command} moves nothing")
        taken = [self.channels[index].buffer(move, v[-1] == 1, t_s) for index, move in moves.items()]
        return all(taken)


def _position(accel: int, speed: int, decel: int, position: int) -> Move:
    return Move(speed, min(accel or DEFAULT_ACCEL_QPPS2, decel or DEFAULT_ACCEL_QPPS2), position=position)
