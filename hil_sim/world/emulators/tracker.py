"""An emulated total station: follows the rover's two reflectors, tells their place in text lines with a CRC-16.

Written from docs/tracker-line.md. It has what a real one has: noise, a rate that the host sets (1 to 20 Hz), and times
when something stands in the way (`lose_sight`): then it searches, and says so.
"""

from __future__ import annotations

import asyncio
import random
from binascii import crc_hqx
from collections.abc import Callable

RATES_HZ = range(1, 21)
LINE_BYTES_MAX = 128
SIGMA_M_MIN = 0.001  # what it claims at best

Where = Callable[[float], tuple[float, float, float, float]]
"""t_s -> x, y, z (m) and heading (rad) of the rover, in truth."""


def crc16(data: bytes) -> int:
    """CRC-16, polynomial x^16 + x^12 + x^5 + 1, begun with all ones, most significant bit first."""
    return crc_hqx(data, 0xFFFF)


class TrackerEmulator:
    """The station. `sigma_m`, `sigma_heading_rad`: the noise of each fix, drawn from `rng`."""

    def __init__(
        self, where: Where, rng: random.Random, *, sigma_m: float, sigma_heading_rad: float, rate_hz: int = 10
    ) -> None:
        self.where = where
        self.rng = rng
        self.sigma_m = sigma_m
        self.sigma_heading_rad = sigma_heading_rad
        self.rate_hz = rate_hz
        self.seq = 0
        self.damaged = 0
        self._blind_until_s = 0.0

    def lose_sight(self, until_s: float) -> None:
        """Something stands between station and rover until that time."""
        self._blind_until_s = until_s

    def attach(self, send: Callable[[bytes], None]) -> TrackerSession:
        """The host has opened the port."""
        return TrackerSession(self, send)

    def line(self, t_s: float) -> bytes:
        """The next line of the stream."""
        self.seq = (self.seq + 1) % 65536
        head = f"MKTRK,{self.seq},{round(t_s * 1000) % 2**31}"
        if t_s < self._blind_until_s:
            return _whole(f"{head},,,,,,1")
        x, y, z, heading = self.where(t_s)
        x, y, z = (value + self.rng.gauss(0.0, self.sigma_m) for value in (x, y, z))
        heading += self.rng.gauss(0.0, self.sigma_heading_rad)
        return _whole(f"{head},{x:.4f},{y:.4f},{z:.4f},{heading:.5f},{max(self.sigma_m, SIGMA_M_MIN):.4f},0")


class TrackerSession:
    """One open of the port: streams from the beginning."""

    def __init__(self, station: TrackerEmulator, send: Callable[[bytes], None]) -> None:
        self._station = station
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._rest = b""
        self._next_s = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._schedule()

    def received(self, data: bytes) -> None:
        """Bytes from the host."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()[-LINE_BYTES_MAX:]
        for line in lines:
            self._obey(line.rstrip(b"\r"))

    def closed(self) -> None:
        """The host has left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _obey(self, line: bytes) -> None:
        body, star, digits = line[1:].partition(b"*")
        if line[:1] != b"$" or not star or digits != b"%04X" % crc16(body):
            self._station.damaged += 1
            return
        name, _, rest = body.partition(b",")
        if name == b"MKTRQ":
            self._send(_whole("MKTRI,moonkiln-tracker,1,emulated"))
        elif name == b"MKTRR":
            if rest.isdigit() and int(rest) in RATES_HZ:
                self._station.rate_hz = int(rest)
            self._send(_whole(f"MKTRS,{self._station.rate_hz}"))

    def _schedule(self) -> None:
        self._next_s = max(self._next_s + 1.0 / self._station.rate_hz, self._loop.time())
        self._timer = self._loop.call_at(self._next_s, self._tell)

    def _tell(self) -> None:
        self._send(self._station.line(self._loop.time()))
        self._schedule()


def _whole(body: str) -> bytes:
    data = body.encode()
    return b"$%b*%04X\r\n" % (data, crc16(data))
