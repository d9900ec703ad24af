"""What an exporter reads: layers as they come, and what is known of them beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from slicer.errors import SlicerError
from slicer.job import Job, JobHead, JobLayer


class ExportError(SlicerError):
    """A job that a file format cannot tell."""


@dataclass(frozen=True)
class Source:
    """Layers on their way into a file, held one at a time.

    Attributes:
        head: name, recipe and envelope.
        layers: from the lowest up; read once.
        layer_count: how many they are.
        vector_count: how many vectors they hold; None if nobody knows before the last one.
        software_version: of the moonkiln that sliced them.
    """

    head: JobHead
    layers: Iterable[JobLayer]
    layer_count: int
    vector_count: int | None
    software_version: str

    @classmethod
    def of_job(cls, job: Job, progress: Callable[[int, int], None] | None = None) -> Source:
        """The layers of a job file. `progress` is called with (layers done, layers in all)."""
        manifest = job.manifest
        head = JobHead(manifest.name, job.recipe, job.envelope, manifest.mesh_name, manifest.mesh_sha256)

        def layers() -> Iterator[JobLayer]:
            for index in range(manifest.layer_count):
                yield job.layer(index)
                if progress is not None:
                    progress(index + 1, manifest.layer_count)

        return cls(head, layers(), manifest.layer_count, manifest.vector_count, manifest.software_version)

    def of_beam(self, number: int) -> Source:
        """Only the vectors that head `number` exposes. Waits of other heads' vectors are left to those."""

        def layers() -> Iterator[JobLayer]:
            for job_layer in self.layers:
                path = job_layer.path.chosen(job_layer.path.beam == number)
                alone = replace(path, beam=np.zeros(len(path), np.uint8))
                yield replace(job_layer, path=alone)

        return replace(self, layers=layers(), vector_count=None)


@dataclass(frozen=True)
class Written:
    """What stands in an exported file.

    Attributes:
        vectors: how many scan vectors.
        lines: how many lines of text; 0 in a binary file.
        notes: sentences on what the job says and this format has no word for.
    """

    vectors: int
    lines: int = 0
    notes: tuple[str, ...] = ()
