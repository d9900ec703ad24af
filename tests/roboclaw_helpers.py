"""Motors, boards and lines for the tests of the packet-serial link, its emulator and the wheels."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import AsyncIterator

from firmware_bridge.links.roboclaw import RoboClawLink
from hil_sim.world.emulators.roboclaw import RoboClawBoard, RoboClawLine
from hil_sim.world.faults.schedule import Fault, FaultSchedule
from hil_sim.world.wire import Tap, lay_virtual

NO_LOAD_RAD_S = 3.3
TICKS = 571.66


def crc(data: bytes) -> bytes:
    """CRC-16, polynomial 0x1021: the manual's loop, slowly."""
    value = 0
    for byte in data:
        value ^= byte << 8
        for _ in range(8):
            value = value << 1 ^ 0x1021 if value & 0x8000 else value << 1
            value &= 0xFFFF
    return value.to_bytes(2, "big")


def packet(address: int, command: int, data: bytes = b"") -> bytes:
    """A write."""
    body = bytes((address, command)) + data
    return body + crc(body)


class Motor:
    """A motor without a load: speeds and positions are reached by a ramp, a duty of 0 stops it at once."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, str, tuple[float, ...]]] = []
        self.amps = 0.5
        self._t = math.nan  # a real loop's clock shows any number when it begins
        self._angle = self._speed = 0.0
        self._goal = 0.0
        self._accel = math.inf
        self._position: float | None = None
        self._top = 0.0

    def _advance(self, t_s: float) -> None:
        if math.isnan(self._t):
            self._t = t_s
        while self._t < t_s - 1e-12:
            dt = min(0.001, t_s - self._t)
            goal = self._goal
            if self._position is not None:
                left = self._position - self._angle
                goal = math.copysign(min(self._top, abs(left) / dt, math.sqrt(2 * self._accel * abs(left))), left)
            step = self._accel * dt
            self._speed += max(-step, min(step, goal - self._speed))
            self._angle += self._speed * dt
            self._t += dt

    def _set(self, t_s: float, name: str, *values: float) -> None:
        assert all(map(math.isfinite, values))
        self._advance(t_s)
        self.calls.append((t_s, name, values))
        self._position = None

    def set_speed(self, t_s: float, rad_s: float, accel_rad_s2: float) -> None:
        self._set(t_s, "speed", rad_s, accel_rad_s2)
        self._goal, self._accel = rad_s, accel_rad_s2

    def set_duty(self, t_s: float, duty: float) -> None:
        self._set(t_s, "duty", duty)
        self._speed = self._goal = duty * NO_LOAD_RAD_S
        self._accel = math.inf

    def set_position(self, t_s: float, angle_rad: float, speed_rad_s: float, accel_rad_s2: float) -> None:
        self._set(t_s, "position", angle_rad, speed_rad_s, accel_rad_s2)
        self._position, self._top, self._accel = angle_rad, speed_rad_s, accel_rad_s2

    def angle_rad(self, t_s: float) -> float:
        self._advance(t_s)
        return self._angle

    def speed_rad_s(self, t_s: float) -> float:
        self._advance(t_s)
        return self._speed

    def turn_by_hand(self, rad: float) -> None:
        """Somebody turns it while it is off."""
        self._angle += rad
        self._position = None

    def current_a(self, t_s: float) -> float:
        return self.amps


def make_line(*addresses: int, baud: int = 115200, chunk_bytes: int = 256) -> RoboClawLine:
    """Boards with two motors each."""
    boards = {address: RoboClawBoard((Motor(), Motor()), (TICKS, TICKS)) for address in addresses}
    return RoboClawLine(boards, baud=baud, chunk_bytes=chunk_bytes)


def motor(line: RoboClawLine, address: int, channel: int = 1) -> Motor:
    """The motor on a channel."""
    port = line.boards[address].channels[channel - 1].port
    assert isinstance(port, Motor)
    return port


@contextlib.asynccontextmanager
async def linked(
    line: RoboClawLine, *, faults: FaultSchedule | None = None, tap: Tap | None = None, **settings: float
) -> AsyncIterator[RoboClawLink]:
    """A link to the line over a wire of its baud rate."""
    wire = await lay_virtual("wheels", line, baud=line.baud, faults=faults, tap=tap)
    link = await RoboClawLink.open("sim:wheels", **settings)
    try:
        yield link
    finally:
        link.close()
        wire.close()


class Noise(FaultSchedule):
    """A schedule of many faults, found by their number instead of by a search."""

    def strike(self, point: str, n: int) -> Fault | None:
        table = self.__dict__.get("table")
        if table is None:
            table = {(fault.point, fault.at_chunk): fault for fault in self.faults}
            object.__setattr__(self, "table", table)
        return table.get((point, n))


def noise(seed: int, share: float = 0.01, chunks: int = 40_000) -> FaultSchedule:
    """Of the chunks each way `share` have a bit flipped, and as many are lost."""
    rng = random.Random(seed)
    faults = []
    for point in ("wheels.to_device", "wheels.to_host"):
        for n in range(chunks):
            draw = rng.random()
            if draw < share:
                args = {"byte": rng.randrange(256), "bit": rng.randrange(8)}
                faults.append(Fault("flip", point, at_chunk=n, args=args))  # type: ignore[arg-type]
            elif draw < 2 * share:
                faults.append(Fault("drop", point, at_chunk=n))
    return Noise(tuple(faults))


class Host:
    """Sends raw bytes and keeps what comes: (loop time, bytes)."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, bytes]] = []

    def __call__(self, data: bytes) -> None:
        self.heard.append((asyncio.get_running_loop().time(), data))

    @property
    def bytes(self) -> bytes:
        return b"".join(data for _, data in self.heard)
