"""What the host believed, as signals: its telemetry, its outcome, and the oracle's word on it.

The telemetry is read by its format (MCAP with protobuf messages), so that any host that leaves such a file is judged
alike. A file that was cut short tells what it told up to there.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import zstandard
from google.protobuf.message import DecodeError
from mcap.exceptions import McapError
from mcap.records import Channel, Message, Schema
from mcap.stream_reader import StreamReader
from mcap_protobuf.decoder import DecoderFactory

from hil_sim.harness.expression_check import hint
from hil_sim.harness.series import Series, steps, texts
from hil_sim.harness.signals import COMMON, TEXT_FIELDS, VISION_TOPICS, unit_of_field

TELEMETRY_NAME = "telemetry.mcap"
ROWS_MAX = 2_000_000
RECORD_BYTES_MAX = 256 * 1024 * 1024
BROKEN = (McapError, EOFError, struct.error, ValueError, KeyError, DecodeError, zstandard.ZstdError, RuntimeError)
"""What the reading libraries raise where a file breaks off or is damaged (a bad text is a ValueError, lz4's a
RuntimeError)."""
_SKEW_S = 1e-3  # labels are rounded
AT_REST = ("fault", "safe")
"""States of a printing host in which nothing is under way."""
_STATE = re.compile(r"machine: \S+ -> (\S+) \(")


class Ended(Protocol):
    """What an outcome of a print or of a drive has in common."""

    @property
    def reason(self) -> str: ...

    @property
    def exit_code(self) -> int: ...

    @property
    def status(self) -> Any: ...


def outcome_signals(outcome: Ended | None, verdict: str, ended_s: float, end_s: float) -> dict[str, Series]:
    """`host.status` over time, and what is known at the end only. `ended_s`: when the host was through."""
    status = "none" if outcome is None else str(outcome.status.value)
    found = {
        "host.status": texts("host.status", [(0.0, "running"), (ended_s, status)]),
        "verdict": texts("verdict", [(end_s, verdict)]),
        "host.reason": texts("host.reason", [] if outcome is None else [(end_s, outcome.reason)]),
        "host.exit_code": steps("host.exit_code", "", [] if outcome is None else [(end_s, float(outcome.exit_code))]),
    }
    declared = getattr(outcome, "declared", None)
    if declared is not None:
        found["host.declared"] = steps("host.declared", "", [(end_s, float(len(declared)))])
    return found


@dataclass(frozen=True)
class Starts:
    """What labels mean: of each host of a run, (loop time at which it began, log time of loop time 0 by its clock, ns).

    A host keeps by its own clock what the wall clock showed as it began; where that was set between two hosts, so are
    their labels apart.
    """

    began: Sequence[tuple[float, int]]

    @classmethod
    def alone(cls, start_ns: int) -> Starts:
        """Of one host, or of several under a clock that nobody sets."""
        return cls([(0.0, start_ns)])

    def of(self, label_ns: int, first: int, last: int) -> tuple[int, int]:
        """Which of the hosts `first` to `last` wrote a session whose first label is this, and its log time of loop time
        0: the first that was at work at that moment by its own clock. None was: the last of them.
        """
        first, last = min(first, len(self.began) - 1), min(last, len(self.began) - 1)
        for number in range(first, last + 1):
            began_s, start_ns = self.began[number]
            ended_s = self.began[number + 1][0] if number + 1 < len(self.began) else math.inf
            if began_s - _SKEW_S <= (label_ns - start_ns) * 1e-9 < ended_s:
                return number, start_ns
        return last, self.began[last][1]


@dataclass(frozen=True)
class Told:
    """What a host's telemetry says. signals: by name, empty where nothing was said. fieldless: sentences, by name, for
    signals that no run of this host can ever tell: it left no telemetry, has no such topic, or tells another field in
    it."""

    signals: dict[str, Series]
    fieldless: dict[str, str]


def telemetry(run_dir: Path, starts: Starts, wanted: Iterable[str]) -> Told:
    """Of `wanted`, what the telemetry in `run_dir` holds."""
    names = {name for name in wanted if _is_telemetry(name)}
    sessions = _sessions(run_dir)
    rows: dict[str, list[tuple[float, Any]]] = {name: [] for name in names}
    fields: dict[str, dict[str, None]] = {}  # of every topic that was told, in their order
    rows.update({"host.state": [(0.0, "fault")]} if "host.state" in names else {})  # a machine boots in FAULT
    heard: set[str] = set()  # topics of which anything was told, wanted or not
    host = -1
    for number, path in enumerate(sessions):
        host += 1  # each host has at most one session; one that died early may have none
        last = len(starts.began) - len(sessions) + number
        seen: set[str] = set()  # a session may tell other fields than the one before
        start_ns: int | None = None
        for topic, time_ns, message in _messages(path, _topics(names), heard):
            if start_ns is None:
                host, start_ns = starts.of(time_ns, host, max(host, last))
            if topic not in seen:
                seen.add(topic)
                fields.setdefault(topic, {}).update((field.name, None) for field in message.DESCRIPTOR.fields)
            for name, value in _said(topic, message, names):
                if len(rows[name]) < ROWS_MAX:
                    rows[name].append(((time_ns - start_ns) * 1e-9, value))
    signals = {name: _series(name, kept) for name, kept in rows.items()} if sessions else {}
    if not heard:
        return Told(signals, {name: f"the host left no telemetry, and nothing else tells {name!r}" for name in names})
    return Told(signals, _topicless(names, heard) | _fieldless(names, fields))


def _topicless(names: Iterable[str], heard: Collection[str]) -> dict[str, str]:
    """Sentences for the names of what pictures showed whose topic was not told and is none that a print may tell."""
    found = {}
    for name in names:
        topic = _places(name)[0][0]
        known = {*VISION_TOPICS, *(each for each in heard if each.startswith("/vision/"))}
        if name.startswith("host.vision.") and topic not in known:
            found[name] = f"there is no signal {name!r}: the host tells no {topic!r}{hint(topic, sorted(known))}"
    return found


def _fieldless(names: Iterable[str], fields: dict[str, dict[str, None]]) -> dict[str, str]:
    """Sentences for the names whose field is in none of their topics, although one of these was told."""
    found = {}
    for name in names:
        told = [(field, fields[topic]) for topic, field in _places(name) if topic in fields]
        if told and not any(field in known for field, known in told):
            field, known = told[0]
            found[name] = f"there is no signal {name!r}: the host tells no {field!r} there{hint(field, known)}"
    return found


def left_work_s(run_dir: Path, starts: Starts) -> float | None:
    """Loop time from which on the machine of a print was in FAULT or SAFE to the end, as its own telemetry says; None:
    it never was in anything else, or nothing is recorded.
    """
    series = telemetry(run_dir, starts, ["host.state"]).signals.get("host.state")
    if series is None or series.words is None:
        return None
    found: float | None = None
    was_at_work = False
    for t_s, code in zip(series.times_s, series.values, strict=True):
        is_at_work = series.words[int(code)] not in AT_REST
        if is_at_work != was_at_work:
            found = None if is_at_work else float(t_s)
        was_at_work = is_at_work
    return found


def _sessions(run_dir: Path) -> list[Path]:
    """The records of a run's sessions, oldest first: a host that resumes keeps the last one's as `telemetry.N.mcap`."""
    earlier = [path for path in run_dir.glob("telemetry.*.mcap") if path.name.split(".")[1].isdigit()]
    return [
        *sorted(earlier, key=lambda path: int(path.name.split(".")[1])),
        *(path for path in (run_dir / TELEMETRY_NAME,) if path.is_file()),
    ]


def _is_telemetry(name: str) -> bool:
    return name in ("host.state", "host.doing", "host.layers_done") or (name.startswith("host.") and name not in COMMON)


_ALIASES = {"host.doing": ("/printer/progress", "doing"), "host.layers_done": ("/printer/progress", "layers_done")}


def _places(name: str) -> list[tuple[str, str]]:
    """The topics, each with its field, at which a signal may be told."""
    if name in _ALIASES:
        return [_ALIASES[name]]
    *way, field = name.split(".")[1:]
    topic = "/".join(way)
    return [(f"/{topic}", field), (f"/printer/{topic}", field), (f"/rover/{topic}", field)]


def _topics(names: Iterable[str]) -> set[str]:
    return {"/events"} | {topic for name in names for topic, _ in _places(name)}


def _said(topic: str, message: Any, names: Iterable[str]) -> Iterable[tuple[str, Any]]:
    if topic == "/events":
        state = _STATE.match(message.message)
        return [("host.state", state.group(1))] if state and "host.state" in names else []
    found = []
    for name in names:
        for place, field in _places(name) if name != "host.state" else ():
            if place == topic and hasattr(message, field):
                found.append((name, getattr(message, field)))
    return found


def _messages(path: Path, topics: set[str], heard: set[str]) -> Iterable[tuple[str, int, Any]]:
    """(topic, log time in ns, decoded message) of some topics, up to where the file ends or breaks. heard: takes the
    name of every topic of which there is a message."""
    factory = DecoderFactory()
    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    decoders: dict[int, Callable[[bytes], Any] | None] = {}
    with open(path, "rb") as file:
        try:
            for record in StreamReader(file, validate_crcs=True, record_size_limit=RECORD_BYTES_MAX).records:
                if isinstance(record, Schema):
                    schemas[record.id] = record
                elif isinstance(record, Channel):
                    channels[record.id] = record
                elif isinstance(record, Message):
                    channel = channels[record.channel_id]
                    heard.add(channel.topic)
                    if channel.topic not in topics:
                        continue
                    if record.channel_id not in decoders:
                        schema = schemas.get(channel.schema_id)
                        decoders[record.channel_id] = factory.decoder_for(channel.message_encoding, schema)
                    decode = decoders[record.channel_id]
                    if decode is not None:
                        yield channel.topic, record.log_time, decode(record.data)
        except BROKEN:
            return  # a host that was killed leaves a file without its end


def _series(name: str, rows: list[tuple[float, Any]]) -> Series:
    rows.sort(key=lambda row: row[0])
    field = name.rsplit(".", 1)[-1]
    entry = COMMON.get(name)
    if field in TEXT_FIELDS or (entry is not None and entry.kind == "text"):
        return texts(name, [(t_s, str(value)) for t_s, value in rows])
    numbers = [(t_s, float(value) if isinstance(value, int | float) else math.nan) for t_s, value in rows]
    return steps(name, unit_of_field(field) if entry is None else entry.unit, numbers)
