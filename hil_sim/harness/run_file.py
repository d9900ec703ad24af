"""RUN.mcap: one run, whole enough to be repeated, shrunk and compared years later.

Beside the truth's topics it holds every chunk of every wire (`/wire/NAME.to_device`, `/wire/NAME.to_host`, raw bytes),
the metadata record `moonkiln.hil` (subject, seed, schedule, verdict, digest), and as attachments the job and the
user's own machine files.
"""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
from hil_sim.harness.machine_files import ROLES, MachineFile, renamed, sha256
from hil_sim.harness.motion_subject import MotionSubject
from hil_sim.harness.subjects import PrintSubject, Subject, SubjectError, in_virtual_time, with_host
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
    where more passed on its wires than a file keeps, and only the first of it is there. files: the user's own machine
    files by role; of an earlier moonkiln none, and then the subject names where they lay.
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
    files: dict[str, MachineFile] = {}

    @property
    def file_hashes(self) -> dict[str, str]:
        """SHA-256 of the user's own machine files by role: wherever they lay, these made the run."""
        return {role: file.sha256 for role, file in self.files.items()}

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
    files: Mapping[str, bytes] = field(default_factory=dict)

    def subject(self, folder: Path, host: str | None = None) -> Subject:
        """The subject that was run, job and machine files written into `folder`; in virtual time, whatever it was run
        in. host: whose name is called; a file alone names no code that is run.

        Raises:
            SubjectError: it was run with a host of somebody's and none is named, or that one cannot be had.
        """
        subject = in_virtual_time(subject_of(self.about.subject, self.job, folder, self.files))
        theirs = getattr(subject, "host", None)
        if theirs is not None and host is None:
            raise SubjectError(
                f"it was run with the host {theirs}, whose code is not in the file: --host {shlex.quote(theirs)} calls"
                " what has that name here, --host another one"
            )
        return with_host(subject, host)


def subject_of(
    data: dict[str, Any], job: bytes | None, folder: Path, files: Mapping[str, bytes] | None = None
) -> Subject:
    """The inverse of `Subject.to_dict`, with the job and machine files in `folder`. Raises RunFileError."""
    if job is not None:
        path = folder / JOB_NAME
        path.write_bytes(job)
        data = {**data, "job_path": str(path)}
    paths = {}
    for role, content in (files or {}).items():
        paths[role] = str(folder / attached(role))
        Path(paths[role]).write_bytes(content)
    data = renamed(data, paths)
    try:
        return msgspec.convert(data, PrintSubject | MotionSubject | DriveSubject)
    except msgspec.ValidationError as error:
        raise RunFileError(f"the run's subject is not known to this moonkiln: {error}") from error


def attached(role: str) -> str:
    """The name of a machine file in a run file."""
    return f"{role}.toml"


def write_run(
    path: Path,
    about: About,
    chunks: Sequence[Chunk],
    mcap: bytes | None,
    job: bytes | None,
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Write a run file, whole or not at all. `mcap`: the truth as the run left it; `files`: what `about.files` names,
    by role.
    """
    with whole_file(path) as stream:
        writer = Writer(stream)
        writer.start(profile="moonkiln", library="moonkiln")
        words = {name: msgspec.json.encode(getattr(about, name)).decode() for name in About.__struct_fields__}
        words["job_sha256"] = msgspec.json.encode(None if job is None else sha256(job)).decode()
        writer.add_metadata(METADATA, words)
        if job is not None:
            writer.add_attachment(RUN_START_EPOCH_NS, RUN_START_EPOCH_NS, JOB_NAME, "application/zip", job)
        for role, content in (files or {}).items():
            writer.add_attachment(RUN_START_EPOCH_NS, RUN_START_EPOCH_NS, attached(role), "application/toml", content)
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
        if path.is_dir():
            raise RunFileError(f"{path} is a folder: name the .mcap in it that `moonkiln hil` has kept")
        size = path.stat().st_size
        if size > FILE_BYTES_MAX:
            raise RunFileError(f"{path} has {size / 1e9:.1f} GB: no run that was kept is larger than 4 GB")
        data = path.read_bytes()  # in memory a length that lies asks for no more than there is
        _refuse_bomb(path, data)
        reader = make_reader(io.BytesIO(data), validate_crcs=True)
        about, job_sha256 = _about(path, reader)
        attachments = {a.name: a.data for a in reader.iter_attachments()}
        job, files = attachments.get(JOB_NAME), _files(path, about, attachments)
        if job_sha256 is not None and (job is None or job_sha256 != sha256(job)):
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
        raise RunFileError(
            f"{path} cannot be read ({what}): it is no MCAP, or was damaged or cut short; fetch it again, or make"
            " the run again by its seed"
        ) from error
    return KeptRun(about, tuple(chunk for _, chunk in sorted(chunks, key=lambda c: c[0])), tuple(truth), job, files)


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


def _files(path: Path, about: About, attachments: Mapping[str, bytes]) -> dict[str, bytes]:
    """The user's own machine files, each the one that the run was made with."""
    for role, file in about.files.items():
        if role not in ROLES or sha256(attachments.get(attached(role), b"")) != file.sha256:
            raise RunFileError(
                f"{path}: the {role} file in it is not the one that was run: somebody has put another there"
            )
    return {role: attachments[attached(role)] for role in about.files}


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
