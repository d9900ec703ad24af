"""What a run's telemetry files still say, whole or cut short: readings, events, progress, looks and pictures.

The records are walked one by one (MCAP specification 0.x, records are opcode u8, length u64, content), so that a file
without its index, which is what a host that died or a full disk leaves, gives everything up to the break. Several
files are the sessions of one run.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import zstandard
from google.protobuf.message import DecodeError
from mcap.records import Schema
from mcap_protobuf.decoder import DecoderFactory

MAGIC = b"\x89MCAP0\r\n"
SCHEMA, CHANNEL, MESSAGE, CHUNK, METADATA, DATA_END, FOOTER = 0x03, 0x04, 0x05, 0x06, 0x0C, 0x0F, 0x02
RECORD_BYTES_MAX = 256 * 1024 * 1024
POINTS_MAX = 40_000  # of one signal; beyond, every second one is let go
EVENTS_MAX = 5000
PROGRESS_MAX = 200_000
CHARTED = ("heater", "beam", "meter", "conveyor", "supply", "pyranometer")
_LEVELS = {1: "debug", 2: "info", 3: "warning", 4: "error", 5: "error"}  # foxglove.Log


@dataclass(frozen=True)
class Message:
    """One message of an MCAP file, not yet decoded."""

    topic: str
    schema: tuple[str, str, bytes]  # name, encoding, data
    log_time_ns: int
    data: bytes


@dataclass(frozen=True)
class Event:
    """A sentence about the run. `time_ns` None: when it was is not known."""

    time_ns: int | None
    level: str
    text: str


@dataclass(frozen=True)
class Step:
    """A step of progress."""

    time_ns: int
    layers_done: int
    doing: str


@dataclass(frozen=True)
class Look:
    """What one look at the bed found."""

    label: str
    layer: int
    quality: str
    reason: str
    coverage_fraction: float
    thin_area_mm2: float
    iou: float
    missing_mm2: float
    excess_mm2: float


@dataclass
class Signals:
    """The polls of one device: times, and each signal's values beside them. Thinned when there are very many."""

    times_ns: list[int] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)
    polls: int = 0
    stride: int = 1

    def add(self, time_ns: int, message: Any) -> None:
        """Keep one poll, or not, where so many have come that a chart could not show them."""
        self.times_ns.append(time_ns)
        for name in self.values:
            self.values[name].append(float(getattr(message, name, float("nan"))))
        if len(self.times_ns) >= POINTS_MAX:
            self.times_ns = self.times_ns[::2]
            self.values = {name: values[::2] for name, values in self.values.items()}
            self.stride *= 2


@dataclass
class Telemetry:
    """Everything that was read, in the order of the sessions."""

    signals: dict[str, Signals] = field(default_factory=dict)  # by device
    events: list[Event] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    pictures: dict[tuple[int, str], bytes] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    sessions_ns: list[tuple[int, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def telemetry_files(run_dir: Path, stem: str = "telemetry") -> list[Path]:
    """A run's telemetry files, oldest session first: telemetry.1.mcap, telemetry.2.mcap, ..., telemetry.mcap."""
    numbered = []
    for path in run_dir.glob(f"{stem}.*.mcap"):
        found = re.fullmatch(re.escape(stem) + r"\.(\d{1,6})\.mcap", path.name)
        if found:
            numbered.append((int(found.group(1)), path))
    newest = run_dir / f"{stem}.mcap"
    return [path for _, path in sorted(numbered)] + ([newest] if newest.is_file() else [])


def read_telemetry(files: list[Path], wants_picture: Callable[[int], bool]) -> Telemetry:
    """Read what can be read, whatever a file holds. `wants_picture(layer)` says whose pictures are kept."""
    found = Telemetry()
    for path in files:
        _read_session(path, found, wants_picture)
    return found


def _read_session(path: Path, found: Telemetry, wants_picture: Callable[[int], bool]) -> None:
    decoders: dict[bytes, Callable[[bytes], Any]] = {}
    first_ns: int | None = None
    last_ns = late_ns = 0
    undecoded = 0
    for item in messages(path, found.notes):
        if isinstance(item, dict):
            found.facts.update(item)
            continue
        if first_ns is None:
            late_ns = _set_back_ns(item.log_time_ns, found)
            if late_ns:
                found.notes.append(
                    f"{path.name}: the clock had been set back; it is shown behind the session before it"
                )
            first_ns = last_ns = item.log_time_ns + late_ns
        time_ns = item.log_time_ns + late_ns
        last_ns = max(last_ns, time_ns)
        found.counts[item.topic] = found.counts.get(item.topic, 0) + 1
        if not _is_read(item.topic, found):
            continue
        try:
            decode = decoders.get(item.schema[2]) or decoders.setdefault(item.schema[2], decoder(item.schema))
            _take(item.topic, time_ns, decode(item.data), found, wants_picture)
        except (DecodeError, ValueError, TypeError, KeyError, AttributeError):
            undecoded += 1
    if undecoded:
        found.notes.append(f"{path.name}: {undecoded} messages could not be understood and are left out")
    if first_ns is not None:
        found.sessions_ns.append((first_ns, last_ns))


def _set_back_ns(first_ns: int, found: Telemetry) -> int:
    """What a session's labels lack to follow those of the session before it: 0, unless the computer's clock was set
    back between them, as that of a board without a battery is at every start.
    """
    before_ns = found.sessions_ns[-1][1] if found.sessions_ns else first_ns
    return max(0, before_ns - first_ns)


def _is_read(topic: str, found: Telemetry) -> bool:
    """Whether a message is decoded at all; polls of a device with very many are counted and skipped in step."""
    device = topic.removeprefix("/printer/")
    if device == topic:
        return topic == "/events" or topic.startswith(("/camera/bed/", "/vision/"))
    if device in CHARTED:
        signals = found.signals.setdefault(device, Signals())
        signals.polls += 1
        return (signals.polls - 1) % signals.stride == 0
    return device == "progress"


def decoder(schema: tuple[str, str, bytes]) -> Callable[[bytes], Any]:
    """What turns a message's bytes into its fields. ValueError for an encoding that is not protobuf."""
    name, encoding, data = schema
    decode = DecoderFactory().decoder_for("protobuf", Schema(id=1, name=name, encoding=encoding, data=data))
    if decode is None:
        raise ValueError(f"{name} is not protobuf")
    return decode


def _take(topic: str, time_ns: int, message: Any, found: Telemetry, wants_picture: Callable[[int], bool]) -> None:
    if topic == "/events":
        if len(found.events) < EVENTS_MAX:
            found.events.append(Event(time_ns, _LEVELS.get(int(message.level), "info"), str(message.message)))
    elif topic == "/printer/progress":
        if len(found.steps) < PROGRESS_MAX:
            found.steps.append(Step(time_ns, int(message.layers_done), str(message.doing)))
    elif topic.startswith("/vision/"):
        look = Look(
            label=topic.removeprefix("/vision/"),
            layer=int(message.layer),
            quality=str(message.quality),
            reason=str(message.reason),
            coverage_fraction=float(message.coverage_fraction),
            thin_area_mm2=float(message.thin_area_mm2),
            iou=float(message.iou),
            missing_mm2=float(message.missing_mm2),
            excess_mm2=float(message.excess_mm2),
        )
        found.looks.append(look)
    elif topic.startswith("/camera/bed/"):
        layer = int(str(message.frame_id).removeprefix("layer-"))
        if wants_picture(layer):
            found.pictures[layer, topic.removeprefix("/camera/bed/")] = bytes(message.data)
    else:
        signals = found.signals[topic.removeprefix("/printer/")]
        if not signals.values:
            doubles = [f.name for f in message.DESCRIPTOR.fields if f.cpp_type == f.CPPTYPE_DOUBLE]
            signals.values = {name: [] for name in doubles}
        signals.add(time_ns, message)


# ---- MCAP, record by record


def messages(path: Path, notes: list[str]) -> Iterator[Message | dict[str, str]]:
    """Every message of a file (and its metadata as dicts) up to where it breaks; what broke is added to `notes`."""
    try:
        with path.open("rb") as file:
            yield from _messages(file, path.name, notes)
    except OSError as error:
        notes.append(f"{path.name} cannot be read: {error.strerror or error}")


def _messages(file: BinaryIO, name: str, notes: list[str]) -> Iterator[Message | dict[str, str]]:
    size = file.seek(0, 2)
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC:
        notes.append(f"{name} is not an MCAP file: nothing of it is shown" if size else f"{name} is empty")
        return
    schemas: dict[int, tuple[str, str, bytes]] = {0: ("", "", b"")}
    channels: dict[int, tuple[str, int]] = {}
    while True:
        head = file.read(9)
        if len(head) < 9:
            break
        opcode, length = head[0], int.from_bytes(head[1:], "little")
        if opcode in (DATA_END, FOOTER):
            return
        if not 0 < opcode < 0x80 or length > RECORD_BYTES_MAX:
            notes.append(f"{name} is damaged {file.tell() / max(size, 1):.0%} of the way in: the rest is not shown")
            return
        content = file.read(length)
        whole = len(content) == length
        try:
            if opcode == CHUNK:
                records = _unpack(content, whole)
                yield from _walk(records, schemas, channels)
            elif whole:
                yield from _walk(head + content, schemas, channels)
        except (ValueError, IndexError, KeyError, struct.error, zstandard.ZstdError, RuntimeError) as error:
            notes.append(f"{name}: a part of it is damaged and left out ({error})")
        if not whole:
            break
    notes.append(f"{name} was not closed (the host died or the disk was full): it is shown as far as it goes")


def _unpack(content: bytes, whole: bool) -> bytes:
    """The records in a chunk; of one that was cut short, as much as comes out."""
    _, _, size, crc = struct.unpack_from("<QQQI", content)
    compression, at = _text(content, 28)
    packed = content[at + 8 :]
    if size > RECORD_BYTES_MAX:
        raise ValueError(f"a chunk of {size} bytes")
    if compression == "":
        records = packed
    elif compression == "zstd":
        records = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    else:
        raise ValueError(f"a chunk packed with {compression!r}")
    if whole and crc and zlib.crc32(records) != crc:
        raise ValueError("a chunk's checksum is wrong")
    return records


def _walk(
    records: bytes, schemas: dict[int, tuple[str, str, bytes]], channels: dict[int, tuple[str, int]]
) -> Iterator[Message | dict[str, str]]:
    """Records that stand one behind the other; an incomplete last one is left out."""
    at = 0
    while at + 9 <= len(records):
        opcode = records[at]
        start = at + 9
        at = start + int.from_bytes(records[at + 1 : start], "little")
        if at > len(records):
            return
        if opcode == MESSAGE:
            number, _, log_time_ns, _ = struct.unpack_from("<HIQQ", records, start)
            topic, schema = channels[number]
            yield Message(topic, schemas[schema], log_time_ns, records[start + 22 : at])
        elif opcode == CHANNEL:
            number, schema = struct.unpack_from("<HH", records, start)
            channels[number] = (_text(records, start + 4)[0], schema)
        elif opcode == SCHEMA:
            (number,) = struct.unpack_from("<H", records, start)
            name, place = _text(records, start + 2)
            encoding, place = _text(records, place)
            schemas[number] = (name, encoding, records[place + 4 : at])
        elif opcode == METADATA:
            _, place = _text(records, start)
            end = place + 4 + struct.unpack_from("<I", records, place)[0]
            place += 4
            facts = {}
            while place < min(end, at):
                key, place = _text(records, place)
                facts[key], place = _text(records, place)
            yield facts


def _text(data: bytes, at: int) -> tuple[str, int]:
    """A string with its length before it, and where it ends."""
    (length,) = struct.unpack_from("<I", data, at)
    end = at + 4 + length
    if end > len(data):
        raise ValueError("a text runs over its record's end")
    return data[at + 4 : end].decode("utf-8", "replace"), end
