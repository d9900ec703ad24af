"""What an exporter reads: layers as they come, and what is known of them beforehand."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from slicer.errors import SlicerError
from slicer.job import Job, JobHead
from slicer.job_layer import JobLayer, check_layer
from slicer.parallel import in_order, workers_here


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
    def of_job(cls, job: Job, progress: Callable[[int, int], None] | None = None, workers: int | None = None) -> Source:
        """The layers of a job file, read and verified by `workers` threads (as many as there are processors if None).

        `progress` is called with (layers done, layers in all).
        """
        manifest = job.manifest
        head = JobHead(manifest.name, job.recipe, job.envelope, manifest.mesh_name, manifest.mesh_sha256)
        workers = min(workers or workers_here(), manifest.layer_count)

        def layers() -> Iterator[JobLayer]:
            with ExitStack() as opened:
                # an open job is not for two threads at once: each has one of its own
                others = [opened.enter_context(Job.open(job.path)) for _ in range(workers - 1)]
                free = deque([job, *others])

                def read(index: int) -> JobLayer:
                    mine = free.pop()
                    try:
                        return mine.layer(index)
                    finally:
                        free.append(mine)

                reading = cast(Generator[JobLayer, None, None], in_order(read, range(manifest.layer_count), workers))
                with closing(reading) as read_layers:  # no thread reads on in a job that is closed
                    for number, job_layer in enumerate(read_layers, start=1):
                        yield job_layer
                        if progress is not None:
                            progress(number, manifest.layer_count)

        return cls(head, layers(), manifest.layer_count, manifest.vector_count, manifest.software_version)

    def checked(self) -> Iterator[tuple[JobLayer, NDArray[np.float64]]]:
        """The layers, each with how far its vectors reach (`slicer.job_layer.check_layer`).

        They are checked by as many threads as there are processors.
        """

        def with_extent(job_layer: JobLayer) -> tuple[JobLayer, NDArray[np.float64]]:
            return job_layer, check_layer(job_layer, self.head.envelope, f"layer {job_layer.layer.index}")

        return in_order(with_extent, self.layers, workers_here())

    def of_beam(self, number: int) -> Source:
        """Only the vectors that head `number` exposes. Waits of other heads' vectors are left to those."""

        def layers() -> Iterator[JobLayer]:
            exposed = 0
            for job_layer in self.layers:
                path = job_layer.path.chosen(job_layer.path.beam == number)
                exposed += len(path)
                alone = replace(path, beam=np.zeros(len(path), np.uint8))
                yield replace(job_layer, path=alone)
            if not exposed:
                raise ExportError(f"head {number} exposes nothing in this job: its heads are numbered from 0")

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
