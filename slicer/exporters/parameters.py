"""Parameter sets: the few different ways in which a job's vectors are exposed, numbered as they first come."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slicer.exporters.source import ExportError
from slicer.job_layer import columns
from slicer.kernels.blocks import number_sets
from slicer.scan import KIND_CONTOUR, KIND_THIN, KINDS, ScanPath
from slicer.whole_file import whole_file

SETS_MAX = 1024
TRACKS = (KIND_CONTOUR, KIND_THIN)
"""Kinds whose vectors follow one another: polylines. The others are hatches."""


@dataclass(frozen=True)
class ParameterSet:
    """How vectors are exposed, and what of the job is exposed so."""

    number: int  # from 1 up
    kind: int
    power_w: float
    speed_mm_s: float
    focus_mm: float
    beam: int
    vectors: int
    length_mm: float
    energy_j: float

    @property
    def label(self) -> str:
        """In words, without a comma."""
        focus = f" focus {self.focus_mm:+g} mm" if self.focus_mm else ""
        head = f" head {self.beam}" if self.beam else ""
        return f"{KINDS[self.kind]} {self.power_w:g} W {self.speed_mm_s:g} mm/s{focus}{head}"


class ParameterTable:
    """The sets of a job, while its layers go by.

    `number` one layer after the other; then `sets` tells what came. Attributes: `is_track` (SETS_MAX,) b1, whether a
    set's vectors form polylines; `wait_s`, all waits together.
    """

    def __init__(self) -> None:
        self._sets = np.zeros((SETS_MAX, 5))
        self._sums = np.zeros((SETS_MAX, 4))
        self._known = 0
        self.is_track = np.zeros(SETS_MAX, np.bool_)

    def number(self, path: ScanPath, where: str) -> NDArray[np.int32]:
        """Which set each vector has, (n,) i4 from 0 up.

        Raises:
            ExportError: there are more than SETS_MAX; `where` says in which layer.
        """
        set_of = np.empty(len(path), np.int32)
        if not len(path):
            return set_of
        kind, power_w, speed_mm_s, focus_mm, wait_s, beam = columns(path)
        vectors_mm = np.ascontiguousarray(path.vectors_mm)
        known = number_sets(
            vectors_mm,
            *(kind, power_w, speed_mm_s, focus_mm, wait_s, beam),
            *(self._sets, self._known, self._sums, set_of),
        )
        if known < 0:
            raise ExportError(
                f"{where}: the job has more than {SETS_MAX} different pairs of power and speed, and this format keeps a"
                f" table of them: round the powers when slicing, or export to CSV or NPZ"
            )
        self.is_track[self._known : known] = np.isin(self._sets[self._known : known, 0], TRACKS)
        self._known = known
        return set_of

    @property
    def sets(self) -> list[ParameterSet]:
        """The sets so far, in the order in which they first came."""
        return [
            ParameterSet(number, int(kind), power_w, speed_mm_s, focus_mm, int(beam), int(vectors), length_mm, energy_j)
            for number, ((kind, power_w, speed_mm_s, focus_mm, beam), (vectors, length_mm, energy_j, _)) in enumerate(
                zip(self._sets[: self._known].tolist(), self._sums[: self._known].tolist(), strict=True), start=1
            )
        ]

    @property
    def wait_s(self) -> float:
        """All waits together."""
        return float(self._sums[:, 3].sum())


def sidecar(path: str | Path) -> Path:
    """Where the parameters of an exported file stand that has no place for them: beside it."""
    return Path(f"{path}.parameters.csv")


def write_sidecar(path: str | Path, table: ParameterTable) -> None:
    """One line a parameter set: what an id of the file at `path` means. Raises OSError."""
    rows = ["id,kind,power_w,speed_mm_s,focus_mm,beam,vectors,length_mm,energy_j"]
    rows += [
        f"{s.number},{KINDS[s.kind]},{s.power_w!r},{s.speed_mm_s!r},{s.focus_mm!r},{s.beam},{s.vectors},"
        f"{s.length_mm:.6f},{s.energy_j:.6f}"
        for s in table.sets
    ]
    with whole_file(sidecar(path)) as stream:
        stream.write("".join(row + "\n" for row in rows).encode("ascii"))
