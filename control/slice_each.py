"""Many parts, each to a job of its own, by many processes or a Dask cluster: the same bytes as by one process."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from control.command_line import sentence_of
from control.shards import run_items
from slicer.envelope import Envelope
from slicer.errors import SlicerError
from slicer.job import Manifest
from slicer.mesh import MeshReport
from slicer.parallel import workers_here
from slicer.placement import Wish
from slicer.plan import plan_job
from slicer.recipe import Recipe
from slicer.whole_file import whole_file


@dataclass(frozen=True)
class Order:
    """One part to slice. `mesh` is its bytes where the worker may not see our files, and `out` is None then.

    recipe: as `Recipe.to_dict` gives it. threads: that fill layers.
    """

    part: Path
    mesh: bytes | None
    out: Path | None
    recipe: dict[str, Any]
    envelope: Envelope
    unit: str
    gap_mm: float
    wish: Wish | None
    threads: int


@dataclass(frozen=True)
class Sliced:
    """What came of an order: the manifest, or the sentence that refuses the part; `job` are its bytes without `out`."""

    part: Path
    reports: tuple[MeshReport, ...]
    manifest: Manifest | None = None
    refusal: str | None = None
    job: bytes | None = None


def slice_each(
    parts: Sequence[Path],
    folder: Path,
    recipe: Recipe,
    envelope: Envelope,
    *,
    unit: str = "mm",
    gap_mm: float = 0.0,
    wishes: Sequence[Wish] | None = None,
    jobs: int = 1,
    cluster: str | None = None,
) -> Iterator[Sliced]:
    """Slice each of `parts` to `folder/STEM.kiln`, in their order; a part that is refused does not stop the others.

    jobs, cluster: as `control.shards.run_items`. A cluster is sent the meshes and sends back the jobs: it needs no
    folder in common with this machine.

    Raises:
        ShardError, UsageError: as run_items does. OSError: a job from the cluster cannot be written.
    """
    threads = 1 if cluster is not None else max(1, workers_here() // jobs)
    order = Order(Path(), None, None, recipe.to_dict(), envelope, unit, gap_mm, None, threads)

    def orders() -> Iterator[Order]:
        for index, part in enumerate(parts):
            mine = replace(order, part=part, wish=None if wishes is None else wishes[index])
            if cluster is None:
                yield replace(mine, out=folder / f"{part.stem}.kiln")
            else:
                yield replace(mine, mesh=part.read_bytes())

    for sliced in run_items(work, orders(), jobs=jobs, cluster=cluster):
        if sliced.job is not None:
            with whole_file(folder / f"{sliced.part.stem}.kiln") as stream:
                stream.write(sliced.job)
        yield replace(sliced, job=None)


def work(order: Order) -> Sliced:
    """Carry out one order, in whatever process."""
    if order.out is not None:
        return _planned(order, order.part, order.out)
    assert order.mesh is not None, "an order has a mesh to send or a file to write"
    with tempfile.TemporaryDirectory(prefix="moonkiln-slice-") as folder:
        part, out = Path(folder) / order.part.name, Path(folder) / "job.kiln"
        part.write_bytes(order.mesh)
        sliced = _planned(order, part, out)
        return sliced if sliced.manifest is None else replace(sliced, job=out.read_bytes())


def _planned(order: Order, part: Path, out: Path) -> Sliced:
    reports: list[MeshReport] = []
    try:
        manifest = plan_job(
            part, Recipe.from_dict(order.recipe), order.envelope, out, unit=order.unit, gap_mm=order.gap_mm,
            wishes=None if order.wish is None else [order.wish], name=order.part.stem, workers=order.threads,
            on_report=reports.append,
        )  # fmt: skip
    except (SlicerError, OSError) as error:
        sentence, _ = sentence_of(error)
        sentence = sentence.replace(str(part), str(order.part))  # a worker's copy has a name of its own
        return Sliced(order.part, tuple(reports), refusal=sentence)
    return Sliced(order.part, tuple(reports), manifest)
