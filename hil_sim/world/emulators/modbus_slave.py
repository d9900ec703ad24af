"""The slave side of Modbus: an RTU bus with several units and a real silence timer, and a Modbus TCP server side.

Bytes in, bytes out: neither knows a wire. RTU (Serial Line V1.02): 3.5 characters of silence close a frame, more
than 1.5 characters inside a frame void it, a bad CRC and a foreign unit are met with silence, unit 0 is executed by
everybody and answered by nobody. TCP (Messaging on TCP/IP V1.0b): pipelined and split requests, protocol id 0 only,
0B for a unit that is not there.
"""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hil_sim.world.emulators.modbus_mishaps import Mishaps, Reply
from hil_sim.world.emulators.modbus_pdu import (
    GATEWAY_TARGET_SILENT,
    WRITE_COILS,
    WRITE_REGISTERS,
    WRITING,
    ModbusDevice,
    answer,
    crc16,
)

RTU_FRAME_MAX = 256
TCP_PDU_MAX = 253
PENDING_MAX = 16  # replies that a TCP connection may owe; a request beyond is not served
PARTIAL_LIFE_S = 0.5  # a TCP request that stays incomplete for longer is forgotten
RESIDUE_LIFE_S = 0.05  # how long an untrusted wire may hold back the rest of a frame
TURNAROUND_S = 0.1  # what a master leaves the slaves after a broadcast (Serial Line V1.02: typically 100 to 200 ms)
TEARS_MAX = 8
_TICK_S = 1e-9
_AT_START = (0,)

_MBAP = struct.Struct(">HHHB")

Send = Callable[[bytes], None]


@dataclass(slots=True)
class RtuCounters:
    """What a bus has heard. `frames`: those with a good CRC; `voided`: frames with a hole over t1.5 or over 256
    bytes; `overruns`: requests to a unit that still owed a reply or worked at a broadcast; `hasty`: frames less than
    100 ms after a broadcast; `crowded`: frames less than t3.5 after a reply, or on top of it (told only where the
    moments at which bytes arrive are those of the line)."""

    frames: int = 0
    answered: int = 0
    bad_crc: int = 0
    voided: int = 0
    foreign: int = 0
    broadcasts: int = 0
    overruns: int = 0
    hasty: int = 0
    crowded: int = 0


class RtuBus:
    """Several Modbus RTU units behind one serial line.

    `units`: unit address 1..247 -> device. `baud` and `char_bits` (10 for 8N1) give the character time. With
    `exact_timing` the moments at which bytes arrive are those of the line (virtual time): t1.5 is enforced and t3.5
    closes a frame whatever is in it. Without it (a pty, a loaded machine) t1.5 is not judged, t3.5 is
    `min_silence_s` (5 ms) at least, and a frame that the machine tore apart within 50 ms is put together again.
    `mishaps`: what goes wrong with the units' answers.
    """

    def __init__(
        self,
        units: Mapping[int, ModbusDevice],
        *,
        baud: int,
        exact_timing: bool = True,
        min_silence_s: float = 0.005,
        char_bits: int = 10,
        mishaps: Mishaps | None = None,
    ) -> None:
        for unit in units:
            if not 1 <= unit <= 247:
                raise ValueError(f"Modbus unit {unit} is outside 1..247")
        self.units = dict(units)
        self.baud = baud
        self.exact_timing = exact_timing
        char_s = char_bits / baud
        self.gap_s = 1.5 * char_s if baud <= 19200 else 0.00075
        self.silence_s = 3.5 * char_s if baud <= 19200 else 0.00175
        if not exact_timing:
            self.silence_s = max(self.silence_s, min_silence_s)
        self.byte_s = char_s
        self.mishaps = mishaps or Mishaps()
        self.counters = RtuCounters()

    @property
    def nonvolatile_writes(self) -> int:
        """How often the host has written memory that wears out, all units together."""
        return sum(device.nonvolatile_writes for device in self.units.values())

    def attach(self, send: Send) -> RtuSession:
        """Begin a session: the host has opened the line; replies go to `send`."""
        return RtuSession(self, send)


class RtuSession:
    """One opening of the line: assembles frames by silence and answers them."""

    def __init__(self, bus: RtuBus, send: Send) -> None:
        self._bus = bus
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._tears: list[int] = []  # where in the buffer a silence ended (untrusted timing only)
        self._void = False
        self._last_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._owed: dict[int, asyncio.TimerHandle] = {}
        self._first_s = 0.0  # when the first byte of the buffer began
        self._said_until_s = -math.inf  # when the last reply has left the line
        self._broadcast_s = -math.inf
        self._open = True

    def received(self, data: bytes) -> None:
        """Bytes whose last one was complete on the line just now."""
        if not data or not self._open:
            return
        now = self._loop.time()
        bus = self._bus
        if self._buffer:
            quiet_s = now - self._last_s
            if bus.exact_timing:
                quiet_s -= len(data) * bus.byte_s  # a chunk is handed over at the end of its last byte
                if quiet_s >= bus.silence_s - _TICK_S:
                    self._try_frame()
                    self._drop()
                elif quiet_s > bus.gap_s + _TICK_S:
                    self._void = True
            elif quiet_s > RESIDUE_LIFE_S:
                self._drop()
        if not self._buffer:
            self._first_s = now - len(data) * bus.byte_s
        self._last_s = now
        self._buffer += data
        if len(self._buffer) > RTU_FRAME_MAX:
            del self._buffer[RTU_FRAME_MAX:]
            self._void = True
        if self._timer is None:
            self._timer = self._loop.call_at(now + bus.silence_s, self._on_silence)

    def closed(self) -> None:
        """The host has left: whatever was on its way is gone."""
        self._open = False
        self._forget()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for handle in self._owed.values():
            handle.cancel()
        self._owed.clear()

    def _on_silence(self) -> None:
        due = self._last_s + self._bus.silence_s
        if self._loop.time() < due - _TICK_S:  # bytes came meanwhile: one timer per frame, not per chunk
            self._timer = self._loop.call_at(due, self._on_silence)
            return
        self._timer = None
        self._try_frame()
        self._complain()
        if self._buffer and not self._bus.exact_timing:
            if len(self._tears) < TEARS_MAX:
                self._tears.append(len(self._buffer))
            else:
                self._drop()

    def _try_frame(self) -> None:
        """Serve what the buffer holds if it is a frame. If not it stays: the rest may be on the line already (a
        chunk is heard at its end only), and the next chunk tells by its own length how long the line was really
        quiet."""
        if self._void:
            return
        heard = bytes(self._buffer)
        for start in (0, *self._tears) if self._tears else _AT_START:
            frame = heard[start:] if start else heard
            if len(frame) >= 4 and crc16(frame) == 0:  # a CRC over data and its own CRC is zero
                if start:
                    self._bus.counters.bad_crc += 1
                self._forget()
                self._serve(frame[:-2])
                return

    def _drop(self) -> None:
        """What the buffer still holds is no frame."""
        if self._buffer:
            if self._void:
                self._bus.counters.voided += 1
            else:
                self._bus.counters.bad_crc += 1
        self._forget()

    def _complain(self) -> None:
        """Some devices answer a frame that is theirs, by its first byte, and whose CRC is wrong. Only one that is as
        long as it says: of any other the rest may be on the line already."""
        if not self._buffer or self._void or len(self._buffer) != _said_length(self._buffer):
            return
        unit, function = self._buffer[0], self._buffer[1]
        device = self._bus.units.get(unit)
        if device is None or device.bad_crc_exception is None or unit in self._owed:
            return
        self._drop()
        self._owe(device, Reply(bytes((function | 0x80, device.bad_crc_exception)), unit), unit)

    def _forget(self) -> None:
        self._buffer.clear()
        self._tears.clear()
        self._void = False

    def _serve(self, frame: bytes) -> None:
        bus = self._bus
        unit = frame[0]
        now = self._loop.time()
        bus.counters.frames += 1
        if bus.exact_timing and self._first_s < self._said_until_s + bus.silence_s - _TICK_S:
            bus.counters.crowded += 1
        since_broadcast_s = self._first_s - self._broadcast_s
        if since_broadcast_s < TURNAROUND_S - _TICK_S:
            bus.counters.hasty += 1
        if unit == 0:
            bus.counters.broadcasts += 1
            self._broadcast_s = self._last_s
            if frame[1] in WRITING:
                for device in bus.units.values():
                    answer(device, frame[1:], now)
            return
        addressed = bus.units.get(unit)
        if addressed is None:
            bus.counters.foreign += 1
            return
        if unit in self._owed or since_broadcast_s < addressed.reply_delay_s:
            bus.counters.overruns += 1
            return
        reply = bus.mishaps.serve(unit, addressed, frame[1:], now)
        if reply.pdu:
            self._owe(addressed, reply, unit)

    def _owe(self, device: ModbusDevice, reply: Reply, unit: int) -> None:
        frame = bytes((reply.unit,)) + reply.pdu
        frame = reply.framed(frame + crc16(frame).to_bytes(2, "little"))
        due_s = max(self._loop.time(), self._last_s + device.reply_delay_s) + reply.late_s
        self._owed[unit] = self._loop.call_at(due_s, self._reply, unit, frame, reply.times)

    def _reply(self, unit: int, frame: bytes, times: int) -> None:
        del self._owed[unit]
        self._bus.counters.answered += 1
        takes_s = len(frame) * self._bus.byte_s
        self._said_until_s = self._loop.time() + takes_s
        self._send(frame)
        if times > 1:  # once more, as a frame of its own
            again_s = self._said_until_s + 2 * self._bus.silence_s
            self._owed[unit] = self._loop.call_at(again_s, self._reply, unit, frame, times - 1)


def _said_length(frame: bytearray) -> int:
    """Of an RTU request, by its own words: address, count and CRC, and data where it writes several."""
    if len(frame) < 8:
        return 8
    return 9 + frame[6] if frame[1] in (WRITE_COILS, WRITE_REGISTERS) else 8


@dataclass(slots=True)
class TcpCounters:
    """What a TCP slave has met. `dropped`: frames with a foreign protocol id or an impossible length, partial ones,
    and requests beyond the bound."""

    connections: int = 0
    refused: int = 0
    requests: int = 0
    answered: int = 0
    dropped: int = 0


class TcpSlave:
    """Modbus TCP units behind one listening socket.

    `units`: unit id -> device. `max_connections`: further ones are refused (None: no limit of the device's own).
    `mishaps`: what goes wrong with the units' answers.
    """

    def __init__(
        self,
        units: Mapping[int, ModbusDevice],
        *,
        max_connections: int | None = None,
        mishaps: Mishaps | None = None,
    ) -> None:
        self.units = dict(units)
        self.mishaps = mishaps or Mishaps()
        self.max_connections = max_connections
        self.open_sessions: set[TcpSession] = set()
        self.counters = TcpCounters()

    def attach(self, send: Send) -> TcpSession:
        """Begin a session for one connection; raises ConnectionRefusedError when the device takes no more of them."""
        if self.max_connections is not None and len(self.open_sessions) >= self.max_connections:
            self.counters.refused += 1
            raise ConnectionRefusedError(
                f"the device takes {self.max_connections} connections at once and has them all"
            )
        session = TcpSession(self, send)
        self.open_sessions.add(session)
        self.counters.connections += 1
        return session


class TcpSession:
    """One TCP connection: cuts the stream into requests and answers them in order."""

    def __init__(self, slave: TcpSlave, send: Send) -> None:
        self._slave = slave
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._partial_since_s = 0.0
        self._due_s = 0.0
        self._owed: dict[int, asyncio.TimerHandle] = {}
        self._serial = 0

    def received(self, data: bytes) -> None:
        """Bytes of the stream, in any cut."""
        now = self._loop.time()
        counters = self._slave.counters
        buffer = self._buffer
        if buffer and now - self._partial_since_s > PARTIAL_LIFE_S:
            buffer.clear()
            counters.dropped += 1
        if not buffer:
            self._partial_since_s = now
        buffer += data
        while len(buffer) >= 8:
            transaction, protocol, length, unit = _MBAP.unpack_from(buffer)
            if not 2 <= length <= TCP_PDU_MAX + 1:
                buffer.clear()  # the stream can no longer be cut into requests
                counters.dropped += 1
                return
            end = 6 + length
            if len(buffer) < end:
                return
            pdu = bytes(buffer[7:end])
            del buffer[:end]
            self._partial_since_s = now
            if protocol != 0 or len(self._owed) >= PENDING_MAX:
                counters.dropped += 1
                continue
            self._serve(transaction, unit, pdu, now)

    def closed(self) -> None:
        """The connection has ended; replies not yet sent are gone."""
        self._slave.open_sessions.discard(self)
        for handle in self._owed.values():
            handle.cancel()
        self._owed.clear()
        self._buffer.clear()

    def _serve(self, transaction: int, unit: int, pdu: bytes, now: float) -> None:
        self._slave.counters.requests += 1
        device = self._slave.units.get(unit)
        if device is None:
            reply, delay_s = Reply(bytes((pdu[0] | 0x80, GATEWAY_TARGET_SILENT)), unit), 0.0
        else:
            reply = self._slave.mishaps.serve(unit, device, pdu, now)
            delay_s = device.reply_delay_s + reply.late_s
            if not reply.pdu:
                return
        transaction = (transaction + reply.transaction_step) & 0xFFFF
        frame = _MBAP.pack(transaction, 0, len(reply.pdu) + 1, reply.unit) + reply.pdu
        frame = reply.framed(frame) * reply.times
        self._due_s = max(now, self._due_s) + delay_s  # one request is worked at a time, so replies keep their order
        self._serial += 1
        self._owed[self._serial] = self._loop.call_at(self._due_s, self._reply, self._serial, frame)

    def _reply(self, serial: int, frame: bytes) -> None:
        del self._owed[serial]
        self._slave.counters.answered += 1
        self._send(frame)
