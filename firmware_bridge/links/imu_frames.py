"""The inertial unit's stream: binary frames with a sequence number, the unit's own time and a CRC-16.

    link = await ImuLink.open("serial:/dev/imu?baud=115200")
    await link.set_rate(50)
    link.take()                       # the samples since the last take()

The frame is described in docs/imu-frame.md. A type has one length only, so a damaged length never moves the span that
the CRC is taken over; after a damaged frame the search goes on one byte behind its sync, so that no whole frame behind
it is lost.
"""

from __future__ import annotations

import asyncio
import math
import struct
from binascii import crc_hqx
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from firmware_bridge.errors import LinkError, LinkTimeout, TransportError
from firmware_bridge.transport import Transport, open_transport

SYNC = b"\xa7\x5c"
SAMPLE, IDENTITY, RATE = 0x53, 0x49, 0x6E
ASK_IDENTITY, SET_RATE = 0xB1, 0xD2
LENGTHS = {SAMPLE: 22, IDENTITY: 14, RATE: 5, ASK_IDENTITY: 0, SET_RATE: 3}
"""Bytes of payload, by type. No other length of a type is a frame."""

OVERHEAD = 6  # sync, length, type, CRC
GYRO_LSB_RAD_S = 2.0**-13
ACCEL_LSB_M_S2 = 2.0**-10
TEMP_LSB_C = 0.01
NO_VALUE = -0x8000
GYRO_SATURATED, ACCEL_SATURATED, GYRO_FAULT, ACCEL_FAULT, TEMP_FAULT = 0x01, 0x02, 0x04, 0x08, 0x10
STATUS_MASK = 0x1F
RATE_MAX_HZ = 200
WAITING_MAX = 256  # samples that nobody took; the oldest goes first
RESTART_FRAMES = 3  # so many in a row that follow each other, but not the last one: the unit has restarted
ATTEMPTS = 4

_PAYLOAD = struct.Struct("<HI3h3hhH")
_IDENTITY = struct.Struct("<HHIHHH")
_RATE = struct.Struct("<HHB")
_SET_RATE = struct.Struct("<HB")


def crc16(data: bytes) -> int:
    """CRC-16 with the polynomial 0x1021, begun with 0xFFFF, most significant bit first."""
    return crc_hqx(data, 0xFFFF)


def imu_frame(kind: int, payload: bytes = b"") -> bytes:
    """A whole frame. ValueError for a payload that is not as long as its type wants."""
    if LENGTHS.get(kind) != len(payload):
        raise ValueError(f"type 0x{kind:02X} does not have {len(payload)} bytes of payload")
    body = bytes((len(payload), kind)) + payload
    return SYNC + body + crc16(body).to_bytes(2, "big")


class ImuSample(NamedTuple):
    """One sample. NaN where the unit says that it has no value. `device_us`: its own time, wraps after 2^32 us;
    `heard_s`: the loop's time when it came."""

    seq: int
    device_us: int
    gyro_rad_s: tuple[float, float, float]
    accel_m_s2: tuple[float, float, float]
    temp_c: float
    status: int
    heard_s: float


class ImuIdentity(NamedTuple):
    """What the unit is: model word, firmware, serial number, ranges, and the fastest rate it can stream at."""

    model: int
    firmware: int
    serial: int
    gyro_range_rad_s: float
    accel_range_m_s2: float
    rate_max_hz: int


class ImuDeframer:
    """Bytes in, (type, payload) out. Holds less than one frame of bytes between calls."""

    def __init__(self) -> None:
        self.damaged = 0
        self.skipped_bytes = 0
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The frames that are whole now, in order. To be iterated to its end before the next call."""
        rest = self._rest
        rest += data
        at = 0
        while True:
            found = rest.find(SYNC, at)
            if found < 0:
                keep = 1 if rest[-1:] == SYNC[:1] and len(rest) > at else 0
                self.skipped_bytes += len(rest) - keep - at
                at = len(rest) - keep
                break
            self.skipped_bytes += found - at
            at = found
            if len(rest) - at < 4:
                break
            size, kind = rest[at + 2], rest[at + 3]
            if LENGTHS.get(kind) != size:
                at = self._skip(at)
                continue
            end = at + size + OVERHEAD
            if len(rest) < end:
                break
            if crc16(bytes(rest[at + 2 : end - 2])) != int.from_bytes(rest[end - 2 : end], "big"):
                at = self._skip(at)
                continue
            payload = bytes(rest[at + 4 : end - 2])
            at = end
            yield kind, payload
        del rest[:at]

    def _skip(self, at: int) -> int:
        self.damaged += 1
        self.skipped_bytes += 1
        return at + 1


def sample_of(payload: bytes, heard_s: float) -> ImuSample | None:
    """A sample's payload in units; None if a bit is set that has no meaning."""
    seq, device_us, gx, gy, gz, ax, ay, az, temp, status = _PAYLOAD.unpack(payload)
    if status & ~STATUS_MASK:
        return None
    return ImuSample(
        seq,
        device_us,
        (_scaled(gx, GYRO_LSB_RAD_S), _scaled(gy, GYRO_LSB_RAD_S), _scaled(gz, GYRO_LSB_RAD_S)),
        (_scaled(ax, ACCEL_LSB_M_S2), _scaled(ay, ACCEL_LSB_M_S2), _scaled(az, ACCEL_LSB_M_S2)),
        _scaled(temp, TEMP_LSB_C),
        status,
        heard_s,
    )


def _scaled(raw: int, lsb: float) -> float:
    return math.nan if raw == NO_VALUE else raw * lsb


@dataclass
class ImuCounters:
    """What went by since the link was made. `lost`: sequence numbers that never came; `repeated`: frames that came
    twice or too late; `dropped`: samples that nobody took."""

    samples: int = 0
    lost: int = 0
    repeated: int = 0
    restarts: int = 0
    dropped: int = 0
    foreign: int = 0


class ImuLink:
    """The stream of samples, and questions with their answers. `latest`: the newest sample, or None."""

    def __init__(self, timeout_s: float = 0.3) -> None:
        self.counters = ImuCounters()
        self.latest: ImuSample | None = None
        self._deframer = ImuDeframer()
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._samples: deque[ImuSample] = deque(maxlen=WAITING_MAX)
        self._lost = 0
        self._odd_seq: int | None = None  # the last of a run of frames that do not follow the newest sample
        self._odd_run = 0
        self._question: tuple[int, bytes, asyncio.Future[bytes]] | None = None
        self._tag = 0
        self._transport: Transport | None = None
        self._error: LinkError | None = None
        self._url = "(no transport)"

    @classmethod
    async def open(cls, url: str, *, timeout_s: float = 0.3) -> ImuLink:
        """Open the port. Raises TransportError."""
        link = cls(timeout_s)
        link._url = url
        link._transport = await open_transport(url, link)
        return link

    def close(self) -> None:
        """Give the port back."""
        if self._transport is not None:
            self._transport.close()

    @property
    def url(self) -> str:
        """The port, as asked for."""
        return self._url

    @property
    def error(self) -> LinkError | None:
        """Why the link is gone, or None."""
        return self._error

    @property
    def damaged(self) -> int:
        """Syncs that no whole frame stood behind."""
        return self._deframer.damaged

    # -- what callers ask -----------------------------------------------------------------------------------------

    def take(self) -> tuple[list[ImuSample], int]:
        """The samples since the last call, oldest first (at most 256), and how many were lost meanwhile."""
        taken, lost = list(self._samples), self._lost
        self._samples.clear()
        self._lost = 0
        return taken, lost

    async def identity(self) -> ImuIdentity:
        """Ask the unit what it is. Raises LinkTimeout, LinkError."""
        model, firmware, serial, gyro, accel, rate = _IDENTITY.unpack(await self._ask(ASK_IDENTITY, b"", IDENTITY, b""))
        return ImuIdentity(model, firmware, serial, gyro * 1e-3, accel * 1e-2, rate)

    async def set_rate(self, rate_hz: int) -> int:
        """Ask for a rate (Hz; 0 changes nothing) and return the rate that the unit then says it streams at.

        The answer repeats the rate asked for and the question's number, so an older answer is not taken for it.
        """
        self._tag = self._tag % 255 + 1
        question = _SET_RATE.pack(rate_hz, self._tag)
        asked = struct.pack("<H", rate_hz)
        _, in_use, _ = _RATE.unpack(await self._ask(SET_RATE, question, RATE, asked + bytes((self._tag,))))
        return int(in_use)

    async def _ask(self, kind: int, payload: bytes, answer: int, echo: bytes) -> bytes:
        for attempt in range(1, ATTEMPTS + 1):
            if self._error is not None:
                raise self._error
            if self._question is not None or self._transport is None:
                raise LinkError(f"{self._url} is busy with another question, or closed: one at a time.")
            future: asyncio.Future[bytes] = self._loop.create_future()
            self._question = (answer, echo, future)
            try:
                self._transport.write(imu_frame(kind, payload))
                async with asyncio.timeout(self._timeout_s):
                    return await future
            except TimeoutError:
                if attempt == ATTEMPTS:
                    raise LinkTimeout(
                        f"nothing on {self._url} answers as an inertial unit within {self._timeout_s:g} s, asked "
                        f"{ATTEMPTS} times: check its power, the port and the baud rate (115200)."
                    ) from None
            finally:
                self._question = None
        raise AssertionError("the attempts end the loop")

    # -- receiving ------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes from the transport."""
        for kind, payload in self._deframer.feed(data):
            if kind == SAMPLE:
                self._on_sample(payload)
            else:
                self._on_answer(kind, payload)

    def connection_lost(self, error: TransportError | None) -> None:
        """The transport is gone."""
        self._error = LinkError(f"{self._url} is closed." if error is None else f"the inertial unit was lost: {error}")
        if self._question is not None and not self._question[2].done():
            self._question[2].set_exception(self._error)

    def _on_answer(self, kind: int, payload: bytes) -> None:
        if self._question is None or self._question[0] != kind:
            self.counters.foreign += 1
            return
        _, echo, future = self._question
        if kind == RATE and payload[:2] + payload[4:] != echo:
            self.counters.foreign += 1  # the answer to an older question
            return
        if not future.done():
            future.set_result(payload)

    def _on_sample(self, payload: bytes) -> None:
        sample = sample_of(payload, self._loop.time())
        if sample is None:
            self.counters.foreign += 1
            return
        if self.latest is not None:
            ahead = (sample.seq - self.latest.seq) & 0xFFFF
            if ahead == 0 or ahead >= 0x8000:
                if not self._is_restart(sample.seq):
                    self.counters.repeated += 1
                    return
                self.counters.restarts += 1
            else:
                self.counters.lost += ahead - 1
                self._lost += ahead - 1
        self._odd_seq, self._odd_run = None, 0
        self.latest = sample
        self.counters.samples += 1
        if len(self._samples) == WAITING_MAX:
            self.counters.dropped += 1
        self._samples.append(sample)

    def _is_restart(self, seq: int) -> bool:
        """Whether the frames that do not follow the newest sample follow each other long enough."""
        follows = self._odd_seq is not None and (seq - self._odd_seq) & 0xFFFF == 1
        self._odd_run = self._odd_run + 1 if follows else 1
        self._odd_seq = seq
        return self._odd_run >= RESTART_FRAMES
