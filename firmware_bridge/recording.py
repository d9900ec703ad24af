"""A recorded wire as a file: every byte of both directions with its time, in MCAP, for any MCAP tool and for `replay:`.

Topics are `/wire/N/to_device` and `/wire/N/to_host` (a message is the bytes themselves, as they passed) and
`/wire/N/events` (JSON: a connection was opened, the host left, the device was lost), N counting connections from 1.
`log_time` is `start_ns` + the loop's time; the metadata record `moonkiln.wire` holds URL, byte time and `start_ns`.

The file is written without chunks, message by message, so that a recorder that is killed loses a quarter of a second
and not a chunk. A recording that was cut short is read as far as it goes, and says so.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Message, Metadata
from mcap.writer import LIBRARY_IDENTIFIER, Writer

from firmware_bridge.errors import TransportError

BYTES_MAX = 1 << 30  # a recording ends here, and a longer one is not read
CONNECTIONS_MAX = 1000
FLUSH_S = 0.25
FORMAT = 1
METADATA = "moonkiln.wire"
_MAGIC = b"\x89MCAP0\r\n"
_HEAD = struct.Struct("<BQ")
_BROKEN = (McapError, struct.error, ValueError, KeyError, TypeError)  # what damaged records raise; ValueError: Unicode


class RecordingError(TransportError):
    """A recording that cannot be written, or is none, or cannot be used."""


class Way(Enum):
    """Which way bytes went."""

    TO_DEVICE = "to_device"
    TO_HOST = "to_host"


class Ending(Enum):
    """How a recorded connection ended. CUT: the recording stopped before it did."""

    HOST_LEFT = "host_left"
    DEVICE_LOST = "device_lost"
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that passed together. `time_s` in the recording loop's time."""

    time_s: float
    way: Way
    data: bytes


@dataclass(frozen=True)
class Connection:
    """One opening of the wire, times in the recording loop's time. `reason`: the sentence of a device that was lost."""

    number: int
    opened_s: float
    pieces: tuple[Piece, ...]
    ending: Ending
    ended_s: float
    reason: str

    def sent(self, way: Way) -> bytes:
        """All the bytes of one direction."""
        return b"".join(piece.data for piece in self.pieces if piece.way is way)


@dataclass(frozen=True)
class Recording:
    """A wire's record. `byte_time_s` as of its transport; `notes`: what is not whole about the file."""

    path: Path
    url: str
    byte_time_s: float
    connections: tuple[Connection, ...]
    notes: tuple[str, ...]


class Recorder:
    """Writes one recording on the running loop. Bytes must pass whatever becomes of the record: a disk that is full or
    the bound of 1 GiB ends the record, not the wire, and stands in `failure` as a sentence.
    """

    def __init__(self, path: Path, url: str, byte_time_s: float, start_ns: int = 0, bytes_max: int = BYTES_MAX) -> None:
        """`start_ns`: UTC nanoseconds at which the loop's clock read zero. RecordingError where no file can be made."""
        self.path = path
        self.failure = ""
        self.connections = 0
        self.bytes_passed = {Way.TO_DEVICE: 0, Way.TO_HOST: 0}
        self._start_ns = start_ns
        self._left = bytes_max
        self._loop = asyncio.get_running_loop()
        self._flush: asyncio.TimerHandle | None = None
        self._channels: dict[tuple[int, str], int] = {}
        try:
            self._file: BinaryIO = open(path, "xb")  # noqa: SIM115  (held while the wire is, closed in close())
        except FileExistsError as error:
            raise RecordingError(
                f"{path} exists already, and a recording is never written over. Move it, or give another name."
            ) from error
        except OSError as error:
            raise RecordingError(
                f"no recording can be made in {path}: {error.strerror}. Give another place with -o."
            ) from error
        self._writer: Writer | None = Writer(self._file, use_chunking=False)
        facts = {"format": str(FORMAT), "url": url, "byte_time_s": repr(byte_time_s), "start_ns": str(start_ns)}
        try:
            self._writer.start(profile="", library=LIBRARY_IDENTIFIER)
            self._writer.add_metadata(METADATA, facts)
            self._file.flush()
        except OSError as error:
            self._end(error)

    def opened(self) -> int:
        """A connection begins; its number. After 1000 of them the record ends."""
        if self.connections >= CONNECTIONS_MAX:
            self._end(None)
        self.connections += 1
        self._event(self.connections, {"event": "opened"})
        return self.connections

    def passed(self, connection: int, way: Way, data: bytes) -> None:
        """Bytes have passed, now."""
        self.bytes_passed[way] += len(data)
        self._write(connection, way.value, "application/octet-stream", data)

    def ended(self, connection: int, ending: Ending, reason: str = "") -> None:
        """A connection has ended."""
        self._event(connection, {"event": ending.value, "reason": reason})

    def close(self) -> None:
        """Finish the file, whole. Harmless twice."""
        if self._flush is not None:
            self._flush.cancel()
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                writer.finish()
            self._file.close()
        except OSError as error:
            self._end(error)

    def _event(self, connection: int, fields: dict[str, str]) -> None:
        self._write(connection, "events", "json", json.dumps(fields).encode())

    def _write(self, connection: int, what: str, encoding: str, data: bytes) -> None:
        if self._writer is None:
            return
        self._left -= len(data)
        if self._left < 0:
            self._end(None)
            return
        time_ns = self._start_ns + round(self._loop.time() * 1e9)
        try:
            key = connection, what
            if key not in self._channels:
                self._channels[key] = self._writer.register_channel(f"/wire/{connection}/{what}", encoding, 0)
            self._writer.add_message(self._channels[key], time_ns, data, time_ns)
        except OSError as error:
            self._end(error)
            return
        if self._flush is None:
            self._flush = self._loop.call_later(FLUSH_S, self._flush_now)

    def _flush_now(self) -> None:
        self._flush = None
        try:
            self._file.flush()
        except OSError as error:
            self._end(error)

    def _end(self, error: OSError | None) -> None:
        """The record ends here, at its bound or for `error`; the wire does not."""
        writer, self._writer = self._writer, None
        if error is None and writer is not None:
            try:
                writer.finish()
            except OSError as broken:
                error = broken
        why = "has reached its bound" if error is None else f"cannot be written ({error.strerror or error})"
        self.failure = self.failure or (
            f"the recording ends here: {self.path} {why}. The wire goes on, unrecorded; begin another one elsewhere."
        )


# ---- reading


def read_recording(path: str | Path) -> Recording:
    """Read a whole recording. RecordingError: no such file, none of ours, damaged at its start, or over 1 GiB."""
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > BYTES_MAX + (BYTES_MAX >> 1):
            raise RecordingError(f"{path} has {size} bytes; recordings of up to {BYTES_MAX} bytes are read.")
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path that none can be
        why = error.strerror if isinstance(error, OSError) else error
        raise RecordingError(f"the recording {path} cannot be read: {why}.") from error
    if not data.startswith(_MAGIC):
        raise RecordingError(f"{path} is no recording: `moonkiln tap` writes MCAP files.")
    notes: list[str] = []
    facts: dict[str, str] = {}
    topics: dict[int, str] = {}
    growing: dict[int, _Growing] = {}
    for record in _records(data, path, notes):
        if isinstance(record, Metadata) and record.name == METADATA:
            facts = record.metadata
        elif isinstance(record, Channel):
            topics[record.id] = record.topic
        elif isinstance(record, Message):
            try:
                _take(record, topics[record.channel_id], _start_ns(facts), growing)
            except _BROKEN:
                notes.append(f"{path} holds a message that no tap has written; it is left out.")
    if facts.get("format") != str(FORMAT):
        raise RecordingError(f"{path} is an MCAP file, but no recording of a wire that this moonkiln can read.")
    try:
        byte_time_s = float(facts["byte_time_s"])
    except (KeyError, ValueError):
        byte_time_s = -1.0
    if not 0.0 <= byte_time_s < 1.0:
        raise RecordingError(f"{path}: its byte time of {facts.get('byte_time_s')!r} s is none.")
    connections = tuple(found.connection(number) for number, found in sorted(growing.items()))
    return Recording(path, facts.get("url", ""), byte_time_s, connections, tuple(notes))


def _records(data: bytes, path: Path, notes: list[str]) -> Iterator[Any]:
    """The records that matter, up to the end of the data or to where the file breaks; what breaks is noted."""
    at = len(_MAGIC)
    kinds: dict[int, Any] = {Opcode.METADATA: Metadata.read, Opcode.CHANNEL: Channel.read}
    while at + _HEAD.size <= len(data):
        opcode, length = _HEAD.unpack_from(data, at)
        start = at + _HEAD.size
        at = start + length
        if opcode == Opcode.DATA_END:
            return
        if opcode == Opcode.CHUNK:
            raise RecordingError(f"{path} was packed again by another program: give the file that the tap wrote.")
        if at > len(data):
            break
        try:
            if opcode == Opcode.MESSAGE:
                yield Message.read(ReadDataStream(BytesIO(data[start:at])), length)
            elif opcode in kinds:
                yield kinds[opcode](ReadDataStream(BytesIO(data[start:at])))
        except _BROKEN:
            notes.append(f"{path} is damaged at byte {start}; that part is left out.")
    notes.append(f"{path} was not closed (the tap was killed, or the disk was full): it is read as far as it goes.")


def _start_ns(facts: dict[str, str]) -> int:
    return int(facts.get("start_ns", "0"))


class _Growing:
    """A connection while its messages come."""

    def __init__(self, opened_s: float) -> None:
        self.opened_s = self.last_s = opened_s
        self.pieces: list[Piece] = []
        self.ending = Ending.CUT
        self.reason = ""

    def connection(self, number: int) -> Connection:
        return Connection(number, self.opened_s, tuple(self.pieces), self.ending, self.last_s, self.reason)


def _take(message: Message, topic: str, start_ns: int, growing: dict[int, _Growing]) -> None:
    """Put a message where it belongs. ValueError, KeyError: it belongs nowhere."""
    _, root, number, what = topic.split("/")
    if root != "wire" or not 1 <= int(number) <= CONNECTIONS_MAX:
        raise ValueError(topic)
    time_s = (message.log_time - start_ns) * 1e-9
    found = growing.setdefault(int(number), _Growing(time_s))
    time_s = found.last_s = max(time_s, found.last_s)  # a damaged time cannot run backwards
    if what != "events":
        found.pieces.append(Piece(time_s, Way(what), message.data))
        return
    event = json.loads(message.data)
    if event["event"] != "opened":
        found.ending, found.reason = Ending(event["event"]), str(event.get("reason", ""))
