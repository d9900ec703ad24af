"""An emulated inertial unit: streams binary frames at a rate that the host sets.

Written from docs/imu-frame.md. It has what a real one has: a bias, noise, ranges at which it saturates, a clock of its
own, and a restart that begins its numbers and its rate anew.
"""

from __future__ import annotations

import asyncio
import random
import struct
from binascii import crc_hqx
from collections.abc import Callable, Sequence

BEGIN = b"\xa7\x5c"
RATES_HZ = range(1, 201)
DEFAULT_RATE_HZ = 50
MODEL, FIRMWARE = 0x4D49, 0x0100
GYRO_RANGE_RAD_S = 3.9
ACCEL_RANGE_M_S2 = 31.9
GYRO_STEPS_PER_RAD_S, ACCEL_STEPS_PER_M_S2 = 8192, 1024
NOTHING = -32768
SAMPLE = struct.Struct("<HI7hH")
COMMANDS = {0xB1: 0, 0xD2: 3}  # what a host may send, and how long it is

Truth = Callable[[float], tuple[Sequence[float], Sequence[float]]]
"""t_s -> angular rate (rad/s) and specific force (m/s2), each x, y, z in the rover's frame."""


def checksum(data: bytes) -> int:
    """CRC-16, x^16 + x^12 + x^5 + 1, begun with all ones, most significant bit first."""
    return crc_hqx(data, 0xFFFF)


def packed(kind: int, payload: bytes) -> bytes:
    """A frame of the stream."""
    inner = bytes((len(payload), kind)) + payload
    return BEGIN + inner + checksum(inner).to_bytes(2, "big")


class ImuEmulator:
    """The unit. `gyro_sigma_rad_s` and `accel_sigma_m_s2`: noise of each sample, drawn from `rng`; the biases are added
    to the truth. `clock_ppm`: how much too fast its own clock goes."""

    def __init__(
        self,
        imu: Truth,
        rng: random.Random,
        *,
        temp_c: Callable[[float], float] = lambda t_s: 20.0,
        gyro_bias_rad_s: Sequence[float] = (0.0, 0.0, 0.0),
        accel_bias_m_s2: Sequence[float] = (0.0, 0.0, 0.0),
        gyro_sigma_rad_s: float = 0.002,
        accel_sigma_m_s2: float = 0.02,
        clock_ppm: float = 0.0,
        serial: int = 1,
        rate_hz: int = DEFAULT_RATE_HZ,
    ) -> None:
        self.imu = imu
        self.rng = rng
        self.temp_c = temp_c
        self.gyro_bias_rad_s = tuple(gyro_bias_rad_s)
        self.accel_bias_m_s2 = tuple(accel_bias_m_s2)
        self.gyro_sigma_rad_s = gyro_sigma_rad_s
        self.accel_sigma_m_s2 = accel_sigma_m_s2
        self.clock_ppm = clock_ppm
        self.serial = serial
        self.rate_hz = rate_hz
        self.seq = 0
        self.damaged = 0
        self.sent = 0
        self._began_s = 0.0
        self._gyro_dead = False
        self._accel_dead = False
        self._temp_dead = False
        self._silent_until_s = 0.0

    # -- what the world does to it
    def fail(self, *, gyro: bool = False, accel: bool = False, temp: bool = False) -> None:
        """These sensors give no value from now on; those not named work."""
        self._gyro_dead, self._accel_dead, self._temp_dead = gyro, accel, temp

    def hush(self, until_s: float) -> None:
        """Send nothing of the stream until then; samples go on being numbered."""
        self._silent_until_s = until_s

    def restart(self, t_s: float) -> None:
        """Power goes and comes: number and time begin anew, the rate is the one it was delivered with."""
        self.seq = 0
        self._began_s = t_s
        self.rate_hz = DEFAULT_RATE_HZ

    # -- bytes
    def attach(self, send: Callable[[bytes], None]) -> ImuSession:
        """The host has opened the port."""
        return ImuSession(self, send)

    def sample(self, t_s: float) -> bytes | None:
        """The next frame of the stream; None while it is hushed."""
        self.seq = (self.seq + 1) & 0xFFFF
        gyro, accel = self.imu(t_s)
        status, words = self._words(
            gyro, self.gyro_bias_rad_s, self.gyro_sigma_rad_s, GYRO_STEPS_PER_RAD_S, GYRO_RANGE_RAD_S
        )
        over, forces = self._words(
            accel, self.accel_bias_m_s2, self.accel_sigma_m_s2, ACCEL_STEPS_PER_M_S2, ACCEL_RANGE_M_S2
        )
        words += forces
        status |= 2 * over
        if self._gyro_dead:
            status, words[:3] = status & ~0x01 | 0x04, [NOTHING] * 3
        if self._accel_dead:
            status, words[3:] = status & ~0x02 | 0x08, [NOTHING] * 3
        temp = round(min(max(self.temp_c(t_s), -300.0), 300.0) * 100)
        if self._temp_dead:
            temp, status = NOTHING, status | 0x10
        if t_s < self._silent_until_s:
            return None
        ticks_us = round((t_s - self._began_s) * 1e6 * (1 + self.clock_ppm * 1e-6)) & 0xFFFFFFFF
        self.sent += 1
        return packed(0x53, SAMPLE.pack(self.seq, ticks_us, *words, temp, status))

    def _words(
        self, truth: Sequence[float], bias: Sequence[float], sigma: float, steps: int, most: float
    ) -> tuple[int, list[int]]:
        """Whether any of three axes saturates (0 or 1), and what each shows."""
        x, y, z = truth
        offset_x, offset_y, offset_z = bias
        gauss = self.rng.gauss
        seen = (x + offset_x + gauss(0.0, sigma), y + offset_y + gauss(0.0, sigma), z + offset_z + gauss(0.0, sigma))
        if max(seen) <= most and min(seen) >= -most:
            return 0, [round(value * steps) for value in seen]
        return 1, [round(min(max(value, -most), most) * steps) for value in seen]

    def obey(self, kind: int, payload: bytes) -> bytes:
        """The answer to a question."""
        if kind == 0xB1:
            ranges = (round(GYRO_RANGE_RAD_S * 1000), round(ACCEL_RANGE_M_S2 * 100), RATES_HZ[-1])
            return packed(0x49, struct.pack("<HHIHHH", MODEL, FIRMWARE, self.serial, *ranges))
        wanted, tag = struct.unpack("<HB", payload)
        if wanted in RATES_HZ:
            self.rate_hz = wanted
        return packed(0x6E, struct.pack("<HHB", wanted, self.rate_hz, tag))


class ImuSession:
    """One open of the port: streams from the beginning."""

    def __init__(self, unit: ImuEmulator, send: Callable[[bytes], None]) -> None:
        self._unit = unit
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._rest = b""
        self._next_s = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._schedule()

    def received(self, data: bytes) -> None:
        """Bytes from the host."""
        rest = self._rest + data
        while True:
            begin = rest.find(BEGIN)
            if begin < 0:
                rest = rest[-1:]
                break
            rest = rest[begin:]
            if len(rest) < 4:
                break
            size = rest[2] + 6
            if COMMANDS.get(rest[3]) != rest[2]:
                self._unit.damaged += 1
                rest = rest[1:]
                continue
            if len(rest) < size:
                break
            if checksum(rest[2:size]):  # over data and its own CRC it is zero
                self._unit.damaged += 1
                rest = rest[1:]
                continue
            old_hz = self._unit.rate_hz
            self._send(self._unit.obey(rest[3], rest[4 : size - 2]))
            if self._unit.rate_hz != old_hz:
                self._next_s = self._loop.time()
                self.closed()
                self._schedule()
            rest = rest[size:]
        self._rest = rest

    def closed(self) -> None:
        """The host has left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        self._next_s = max(self._next_s + 1.0 / self._unit.rate_hz, self._loop.time())
        self._timer = self._loop.call_at(self._next_s, self._tell)

    def _tell(self) -> None:
        frame = self._unit.sample(self._loop.time())
        if frame is not None:
            self._send(frame)
        self._schedule()
