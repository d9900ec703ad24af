"""What a run says while it goes: sentences to its journal and to whoever watches, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from control.journal import Journal
from control.machine import Machine
from control.watch import Listener
from slicer.job import Job
from vision.inspect_bed import LayerInspection


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for a progress line."""

    layer: int  # layers finished
    layers: int
    share: float  # of the exposure, 0 to 1
    remaining_s: float
    bed_temp_c: float | None
    doing: str


class Observer(Listener, Protocol):
    """Who watches a run: telemetry, the report's pictures, the progress line."""

    def picture(self, layer: int, label: str, jpeg: bytes, inspection: LayerInspection) -> None:
        """A picture that was inspected; labels: powder, exposed."""

    def progress(self, progress: Progress) -> None:
        """A step forward."""


class RunTeller:
    """The run's voice. `layers_done`, and the planned exposure times of what lies behind it: `exposed_s` of those
    layers, `under_way_s` of the attempt that is being exposed."""

    def __init__(self, job: Job, machine: Machine, journal: Journal, observer: Observer) -> None:
        self._manifest = job.manifest
        self._machine = machine
        self._journal = journal
        self._observer = observer
        self.layers_done = 0
        self.exposed_s = self.under_way_s = 0.0

    async def say(self, level: str, text: str) -> None:
        """A sentence for the journal and for whoever watches."""
        await self._journal.event(level, text)
        self._observer.event(level, text)

    def warn(self, text: str) -> None:
        """A sentence for whoever watches alone."""
        self._observer.event("warning", text)

    def picture(self, layer: int, label: str, jpeg: bytes, inspection: LayerInspection) -> None:
        """A picture that was inspected."""
        self._observer.picture(layer, label, jpeg, inspection)

    def tell(self, doing: str) -> None:
        """A step forward."""
        reading = self._machine.readings.get("heater", {}).get("bed_temp_c")
        share = min(1.0, (self.exposed_s + self.under_way_s) / max(self._manifest.beam_on_s, 1e-9))
        self._observer.progress(
            Progress(
                self.layers_done,
                self._manifest.layer_count,
                share,
                max(self._manifest.build_time_s, 1e-9) * (1.0 - share),
                reading.value if reading is not None else None,
                doing,
            )
        )
