"""RUN.mcap: one run, whole enough to be repeated, shrunk and compared years later.

Beside the truth's topics it holds every chunk of every wire (`/wire/NAME.to_device`, `/wire/NAME.to_host`, raw bytes),
the metadata record `moonkiln.hil` (subject, seed, schedule, verdict, digest) and the job as an attachment.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import zstandard
from mcap.reader import make_reader
from mcap.records import Chunk as PackedChunk
from mcap.stream_reader import StreamReader
from mcap.writer import Writer

from hil_sim.harness.digest import Chunk, Digest
from hil_sim.harness.drive_subject import DriveSubject
from hil_sim.harness.job_truth import JobTruth
from hil_sim.harness.motion_subject import MotionSubject
from hil_sim.harness.subjects import PrintSubject, Subject, in_virtual_time
from hil_sim.virtual_time import RUN_START_EPOCH_NS
from hil_sim.world.faults import schedule_of
from slicer.whole_file import whole_file

METADATA, JOB_NAME, WIRE_TOPIC = "moonkiln.hil", "part.kiln", "/wire/"
FILE_BYTES_MAX = 4_000_000_000
UNPACKED_BYTES_MAX = 2_000_000_000


class RunFileError(ValueError):
    """A run file that is absent, cut short, or holds no run that can be repeated."""


class About(msgspec.Struct, frozen=True):
    """What a run was. digest: None where the run broke off. whole: the digest of everything that there is. job: what
    it came to at the level of its job; None: it has none, or the run is of an earlier moonkiln. log_is_whole: False
    where more passed on its wires than a file keeps, and only the first of it is there.
    """

    subject: dict[str, Any]
    seed: int
    faults: list[dict[str, Any]]
    verdict: str
    reasons: list[str]
    whole: str
    digest: Digest | None
    software: str
    python: str
    job: JobTruth | None = None
    log_is_whole: bool = True

    @property
    def was_on_wire(self) -> bool:
        """Whether it was made in real time on ptys and TCP: no other run is the same byte for byte."""
        scenario = self.subject.get("scenario")
        return isinstance(scenario, dict) and scenario.get("mode") == "wire"


@dataclass(frozen=True)
class KeptRun:
    """A run file, read: chunks and truth in the order of time. `truth` is (loop time, topic, JSON)."""

    about: About
    chunks: tuple[Chunk, ...]
    truth: tuple[tuple[float, str, bytes], ...]
    job: bytes | None

    def subject(self, folder: Path) -> Subject:
        """The subject that was run, its job written into `folder`; in virtual time, whatever it was run in."""
        return in_virtual_time(subject_of(self.about.subject, self.job, folder))


def subject_of(data: dict[str, Any], job: bytes | None, folder: Path) -> Subject:
    """The inverse of `Subject.to_dict`, with the job file in `folder`. Raises RunFileError."""
    if job is not None:
        path = folder / JOB_NAME
        path.write_bytes(job)
        data = {**data, "job_path": str(path)}
    try:
        return msgspec.convert(data, PrintSubject | MotionSubject | DriveSubject)
    except msgspec.ValidationError as error:
        raise RunFileError(f"the run's subject is not known to this moonkiln: {error}") from error


def write_run(path: Path, about: About, chunks: Sequence[Chunk], mcap: bytes | None, job: bytes | None) -> None:
    """Write a run file, whole or not at all. `mcap`: the truth as the run left it."""
    with whole_file(path) as stream:
        writer = Writer(stream)
        writer.start(profile="moonkiln", library="moonkiln")
        words = {name: msgspec.json.encode(getattr(about, name)).decode() for name in About.__struct_fields__}
        words["job_sha256"] = msgspec.json.encode(_sha256(job)).decode()
        writer.add_metadata(METADATA, words)
        if job is not None:
            writer.add_attachment(RUN_START_EPOCH_NS, RUN_START_EPOCH_NS, JOB_NAME, "application/zip", job)
        channels: dict[str, int] = {}
        for number, (t_s, point, data) in enumerate(chunks):
            if point not in channels:
                channels[point] = writer.register_channel(WIRE_TOPIC + point, "raw", 0)
            time_ns = RUN_START_EPOCH_NS + round(t_s * 1e9)
            writer.add_message(channels[point], time_ns, data, time_ns, number & 0xFFFFFFFF)
        if mcap is not None:
            _copy(mcap, writer)
        writer.finish()


def _copy(mcap: bytes, writer: Writer) -> None:
    schemas: dict[int, int] = {}
    channels: dict[int, int] = {}
    for number, (schema, channel, message) in enumerate(make_reader(io.BytesIO(mcap)).iter_messages()):
        if channel.id not in channels:
            if schema is not None and schema.id not in schemas:
                schemas[schema.id] = writer.register_schema(schema.name, schema.encoding, schema.data)
            schema_id = schemas[schema.id] if schema is not None else 0
            channels[channel.id] = writer.register_channel(channel.topic, channel.message_encoding, schema_id)
        writer.add_message(channels[channel.id], message.log_time, message.data, message.publish_time, number)


def read_run(path: Path) -> KeptRun:
    """Read a run file. Raises RunFileError: what is wrong with it, and what to do."""
    chunks: list[tuple[int, Chunk]] = []
    truth: list[tuple[float, str, bytes]] = []
    try:
        size = path.stat().st_size
        if size > FILE_BYTES_MAX:
            raise RunFileError(f"{path} has {size / 1e9:.1f} GB: no run that was kept is larger than 4 GB")
        data = path.read_bytes()  # in memory a length that lies asks for no more than there is
        _refuse_bomb(path, data)
        reader = make_reader(io.BytesIO(data))
        about, job_sha256 = _about(path, reader)
        job = next((a.data for a in reader.iter_attachments() if a.name == JOB_NAME), None)
        if job_sha256 not in (None, _sha256(job)):
            raise RunFileError(f"{path}: the job in it is not the one that was run: somebody has put another there")
        for _, channel, message in reader.iter_messages():
            t_s = (message.log_time - RUN_START_EPOCH_NS) / 1e9
            if channel.topic.startswith(WIRE_TOPIC):
                point = channel.topic.removeprefix(WIRE_TOPIC)
                chunks.append((message.sequence, Chunk(t_s, point, message.data)))
            else:
                truth.append((t_s, channel.topic, message.data))
    except RunFileError:
        raise
    except FileNotFoundError:
        raise RunFileError(f"{path} does not exist: name a .mcap that `moonkiln hil` has kept") from None
    except Exception as error:  # the reader takes a file at its word: damage comes out as an error of any kind
        what = f"{type(error).__name__}: {error}"
        raise RunFileError(f"{path} cannot be read ({what}): it is no MCAP, or was damaged or cut short") from error
    return KeptRun(about, tuple(chunk for _, chunk in sorted(chunks, key=lambda c: c[0])), tuple(truth), job)


def _refuse_bomb(path: Path, data: bytes) -> None:
    """Nothing is unpacked before it is known how much comes of it; what we keep is packed by zstd."""
    unpacked = 0
    for record in StreamReader(io.BytesIO(data), emit_chunks=True).records:
        if not isinstance(record, PackedChunk):
            continue
        if record.compression not in ("", "zstd"):
            raise RunFileError(f"{path} is packed by {record.compression}, and no run is kept so")
        size = zstandard.frame_content_size(record.data) if record.compression else len(record.data)
        unpacked += max(size, record.uncompressed_size)
        if unpacked > UNPACKED_BYTES_MAX:
            raise RunFileError(f"{path} has over {UNPACKED_BYTES_MAX / 1e9:g} GB when it is unpacked, which no run has")


def _sha256(job: bytes | None) -> str | None:
    return None if job is None else hashlib.sha256(job).hexdigest()


def _about(path: Path, reader: Any) -> tuple[About, str | None]:
    """What the file says of its run, and the hash of the job that was run; None: of an earlier moonkiln, or no job."""
    found = next((record.metadata for record in reader.iter_metadata() if record.name == METADATA), None)
    if found is None:
        raise RunFileError(
            f"{path} says nothing of the run that it comes from: make it by `moonkiln hil run` or `hil campaign`, which"
            " put scenario, schedule and job into it"
        )
    try:
        words = {name: msgspec.json.decode(text) for name, text in found.items()}
        about = msgspec.convert(words, About)
        schedule_of(about.faults)
    except (msgspec.MsgspecError, ValueError) as error:
        raise RunFileError(f"{path}: what it says of its run cannot be read: {error}") from error
    return about, words.get("job_sha256")


def told(data: bytes, shown: int = 96) -> str:
    """Bytes for a reader: text where it is text, else hex; cut to `shown` bytes."""
    part = data[:shown]
    more = f" ... {len(data)} bytes" if len(data) > shown else ""
    if all(32 <= byte < 127 or byte in b"\r\n\t" for byte in part):
        return repr(part.decode())[1:-1] + more
    return part.hex(" ") + more


def frames(chunks: Sequence[Chunk], last: int) -> Iterator[str]:
    """The last chunks, one a line: time, way, bytes."""
    for t_s, point, data in chunks[-last:]:
        yield f"{t_s:12.6f} s  {point:<18} {told(data)}"
