"""A run's telemetry as MCAP with protobuf messages, which Foxglove and Rerun open as they are.

Topics: `/printer/<device>` or `/rover/<device>` (one message type a device, a double for each signal with its unit at
the end of the name, beside `quality`), `/printer/progress`, `/rover/drive` (pose, path, guard),
`/camera/bed/<label>` (foxglove.CompressedImage), `/vision/<label>`, `/events` (foxglove.Log). `log_time` is the run's
start plus `loop.time()`.

Telemetry degrades first: when the disk is full, or far behind, the file ends there, the run is told once, and control
goes on. A disk that takes its time holds nobody up: the file is written beside the loop (`control.log_file`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.Log_pb2 import Log
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from mcap.well_known import MessageEncoding
from mcap.writer import LIBRARY_IDENTIFIER, Writer
from mcap_protobuf import __version__ as PROTOBUF_SUPPORT_VERSION
from mcap_protobuf.schema import register_schema

from control.files import files
from firmware_bridge.signals import Quality, Reading

if TYPE_CHECKING:
    from control.config import MachineConfig
    from control.rover.drive_record import DriveStep
    from control.run_teller import Progress
    from slicer.job import Job
    from vision.inspect_bed import LayerInspection

log = logging.getLogger(__name__)

_LEVELS = {"info": Log.INFO, "warning": Log.WARNING, "error": Log.ERROR}
_WORSE = {Quality.GOOD: 0, Quality.STALE: 1, Quality.BAD: 2}
_NAMES = {quality: quality.name for quality in Quality}  # an enum's own `.name` is slow to ask for
_LIBRARY = f"{LIBRARY_IDENTIFIER} mcap-protobuf-support/{PROTOBUF_SUPPORT_VERSION}"
CHUNK_BYTES = 64 * 1024  # what a host that is killed loses of its record, at most
_DOUBLE = descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE
_STRING = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_OPTIONAL = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL


def message_class(name: str, doubles: tuple[str, ...], strings: tuple[str, ...] = ()) -> Any:
    """A protobuf message type `moonkiln.<name>` with these fields, made without a compiler."""
    file = descriptor_pb2.FileDescriptorProto(name=f"moonkiln/{name}.proto", package="moonkiln", syntax="proto3")
    message = file.message_type.add(name=name)
    for number, field in enumerate((*doubles, *strings), start=1):
        kind = _DOUBLE if number <= len(doubles) else _STRING
        message.field.add(name=field, number=number, type=kind, label=_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"moonkiln.{name}"))


class Telemetry:
    """The run's observer: everything it hears goes to one MCAP file, and progress to a callback as well."""

    def __init__(
        self,
        path: Path,
        start_ns: int,
        progress: Callable[[Any], None] | None,
        subject: str = "printer",
        obstacle: OSError | None = None,
    ) -> None:
        self.path = path
        self._subject = subject
        self.failure: str | None = None
        self._start_ns = start_ns
        self._progress = progress
        self._classes: dict[str, Any] = {}
        self._file: BinaryIO | None = None
        self._writer: Writer | None = None
        try:
            if obstacle is not None:
                raise obstacle
            # Buffered: the writer would put a buffer of its own before a raw file, and swallow what its last flush
            # meets.
            self._file = files().open_log(path)  # held for the run, closed in close()
            # mcap's own writer: mcap_protobuf's looks its topic and its message's type up anew for every message.
            self._writer = Writer(self._file, chunk_size=CHUNK_BYTES)
            self._writer.start(profile="moonkiln", library=_LIBRARY)
        except OSError as error:
            self._end(error)
        self._channels: dict[str, int] = {}  # by topic; all messages of a topic are of one type
        self._drive_class: Any = None
        self._progress_class = message_class(
            "Progress", ("layers_done", "layers", "share", "remaining_s", "bed_temp_c"), ("doing",)
        )
        self._look_class = message_class(
            "LayerInspection",
            ("layer", "region_mm2", "coverage_fraction", "thin_area_mm2", "iou", "missing_mm2", "excess_mm2"),
            ("quality", "reason"),
        )

    @classmethod
    def open(
        cls, path: Path, start_ns: int, progress: Callable[[Any], None] | None = None, *, subject: str = "printer"
    ) -> Telemetry:
        """A new file at `path`; one that an earlier session left is kept beside it as `<stem>.<n>.mcap`.

        Where that cannot be done there is no record, and `failure` says so: control goes on.
        """
        try:
            _set_aside(path)
        except OSError as error:
            return cls(path, start_ns, progress, subject, error)
        return cls(path, start_ns, progress, subject)

    def __enter__(self) -> Telemetry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what the machine and the run tell -------------------------------------------------------------------------

    def about(self, facts: dict[str, str]) -> None:
        """What this run is, as the file's metadata."""
        self._guard(lambda writer: writer.add_metadata("moonkiln.run", facts))

    def attach_run(self, config: MachineConfig, job: Job) -> None:
        """Say what this run is: machine, job and recipe, as the file's metadata."""
        manifest = job.manifest
        facts = {
            "machine": config.name,
            "job": manifest.name,
            "recipe": manifest.recipe_name,
            "layers": str(manifest.layer_count),
            "vectors": str(manifest.vector_count),
            "mesh_sha256": manifest.mesh_sha256,
            "software_version": manifest.software_version,
            "simulated": str(any(url.startswith("sim:") for url in config.urls.values())),
        }
        self.about(facts)

    def readings(self, device: str, readings: dict[str, Reading]) -> None:
        """One poll of one device."""
        if not readings:
            return
        kind = self._classes.get(device)
        if kind is None:
            kind = self._classes[device] = message_class(device.title(), tuple(readings), ("quality",))
        worst = next(iter(readings.values()))
        values = {}
        for name, reading in readings.items():
            values[name] = reading.value
            if reading.quality is not worst.quality and _WORSE[reading.quality] > _WORSE[worst.quality]:
                worst = reading
        self._write(f"/{self._subject}/{device}", kind(quality=_NAMES[worst.quality], **values), worst.time_s)

    def event(self, level: str, text: str) -> None:
        """A sentence about the run."""
        message = Log(level=_LEVELS[level], message=text, name="moonkiln")
        message.timestamp.FromNanoseconds(self._now_ns())
        self._write("/events", message)

    def picture(self, layer: int, label: str, jpeg: bytes, inspection: LayerInspection) -> None:
        """What a look at the bed saw, and what it found; the annotated picture where there is one."""
        image = CompressedImage(data=inspection.picture_jpeg or jpeg, format="jpeg", frame_id=f"layer-{layer}")
        image.timestamp.FromNanoseconds(self._now_ns())
        self._write(f"/camera/bed/{label}", image)
        found = self._look_class(
            layer=layer,
            region_mm2=inspection.region_mm2,
            coverage_fraction=inspection.coverage_fraction,
            thin_area_mm2=inspection.thin_area_mm2,
            iou=inspection.iou or 0.0,
            missing_mm2=inspection.missing_mm2 or 0.0,
            excess_mm2=inspection.excess_mm2 or 0.0,
            quality=inspection.quality,
            reason=inspection.reason,
        )
        self._write(f"/vision/{label}", found)

    def progress(self, progress: Progress) -> None:
        """A step forward: to the file and to whoever shows it."""
        message = self._progress_class(
            layers_done=progress.layer,
            layers=progress.layers,
            share=progress.share,
            remaining_s=progress.remaining_s,
            bed_temp_c=progress.bed_temp_c if progress.bed_temp_c is not None else float("nan"),
            doing=progress.doing,
        )
        self._write("/printer/progress", message)
        self._show(progress)

    def drive(self, step: DriveStep) -> None:
        """One cycle of a drive: to the file, and to whoever shows it."""
        values = step._asdict()
        if self._drive_class is None:
            strings = tuple(name for name, value in values.items() if isinstance(value, str))
            self._drive_class = message_class("Drive", tuple(name for name in values if name not in strings), strings)
        self._write("/rover/drive", self._drive_class(**values))
        self._show(step)

    def close(self) -> None:
        """Finish the file (index and summary). Harmless twice, and on a full disk."""
        self._guard(lambda writer: writer.finish())
        self._writer = None
        if self._file is None:
            return
        try:
            self._file.close()  # what is still in its buffer may not fit
        except OSError as error:
            self._end(error)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _show(self, progress: Any) -> None:
        if self._progress is None:
            return
        try:
            self._progress(progress)
        except OSError as error:  # a terminal that has gone, a pipe that nobody reads: no reason to stop a run
            self._progress = None
            log.warning("progress is shown no more: %s", error)

    def _now_ns(self) -> int:
        return self._start_ns + round(asyncio.get_running_loop().time() * 1e9)

    def _write(self, topic: str, message: Any, time_s: float | None = None) -> None:
        now_ns = self._now_ns()
        published_ns = now_ns if time_s is None else self._start_ns + round(time_s * 1e9)
        writer = self._writer
        if writer is None:
            return
        try:
            channel = self._channels.get(topic)
            if channel is None:
                schema = register_schema(writer, type(message))
                channel = self._channels[topic] = writer.register_channel(topic, MessageEncoding.Protobuf, schema)
            writer.add_message(channel, now_ns, message.SerializeToString(), published_ns)
        except OSError as error:
            self._end(error)

    def _guard(self, write: Callable[[Writer], None]) -> None:
        """Write, or end the file for good: a full disk must cost the record, not the part."""
        if self._writer is None:
            return
        try:
            write(self._writer)
        except OSError as error:
            self._end(error)

    def _end(self, error: OSError) -> None:
        self._writer = None
        if self.failure is None:
            self.failure = f"telemetry ends here: {self.path} cannot be written ({error.strerror or error})"
            log.warning("%s", self.failure)


def _set_aside(path: Path) -> None:
    """Keep what an earlier session left at `path` as `<stem>.<n>.mcap`; what is no file (a device, a pipe) stays."""
    if path.is_file():
        taken = {p.name for p in path.parent.glob(f"{path.stem}.*{path.suffix}")}
        number = next(n for n in range(1, len(taken) + 2) if f"{path.stem}.{n}{path.suffix}" not in taken)
        files().rename(path, path.with_name(f"{path.stem}.{number}{path.suffix}"))
