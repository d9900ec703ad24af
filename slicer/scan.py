"""ScanPath: what the beam does in one layer, vector by vector, with its length, time and energy."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

KIND_HATCH, KIND_CONTOUR, KIND_UP_SKIN, KIND_DOWN_SKIN, KIND_THIN = range(5)
KINDS = ("hatch", "contour", "up-skin", "down-skin", "thin wall")
"""What the numbers mean: up- and down-skin are hatches of what is open above or hangs over powder, a thin wall is a
single track in what is narrower than the beam's way around it."""


SHARED_MAX = 1 << 19
"""Vectors of a path whose columns may be views of a shared array, which is kept: a few megabytes each."""


class Run(NamedTuple):
    """Scan vectors that share one kind, power, speed and focus: what a path is put together from.

    `room`: how many rows in front of `vectors_mm`, in the array that it is a view of, the one path that is made of this
    may write to.
    """

    vectors_mm: NDArray[np.float64]
    kind: int
    power_w: float
    speed_mm_s: float
    focus_mm: float = 0.0
    wait_s: NDArray[np.float64] | None = None
    room: int = 0


@dataclass(frozen=True, eq=False)
class ScanPath:
    """Scan vectors of one layer in exposure order.

    Attributes:
        vectors_mm: (n, 4) f8, x and y of the start, x and y of the end.
        kind: (n,) u1, one of the `KIND_` numbers.
        power_w: (n,) f8, beam power along each vector.
        speed_mm_s: (n,) f8, speed of the beam along each vector.
        focus_mm: (n,) f8, how far the focus is shifted along the beam, positive upwards; zeros if left out.
        wait_s: (n,) f8, how long the beam stays off at the vector's start before it; zeros if left out.
        beam: (n,) u1, number of the head that exposes it; zeros if left out.
    """

    vectors_mm: NDArray[np.float64]
    kind: NDArray[np.uint8]
    power_w: NDArray[np.float64]
    speed_mm_s: NDArray[np.float64]
    focus_mm: NDArray[np.float64] = None  # type: ignore[assignment]  # filled below
    wait_s: NDArray[np.float64] = None  # type: ignore[assignment]
    beam: NDArray[np.uint8] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        n = len(self.vectors_mm)
        assert self.vectors_mm.shape == (n, 4), f"vectors_mm is {self.vectors_mm.shape}, not (n, 4)"
        for name, dtype in (("focus_mm", np.float64), ("wait_s", np.float64), ("beam", np.uint8)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, _zeros(n, dtype))
        for column in fields(self)[1:]:
            shape = getattr(self, column.name).shape
            assert shape == (n,), f"{column.name} is {shape}, not ({n},)"

    def __len__(self) -> int:
        return len(self.vectors_mm)

    @staticmethod
    def empty() -> ScanPath:
        """A path without a vector."""
        return ScanPath(np.zeros((0, 4)), np.zeros(0, np.uint8), np.zeros(0), np.zeros(0))

    @staticmethod
    def uniform(
        vectors_mm: NDArray[np.float64], kind: int, power_w: float, speed_mm_s: float, focus_mm: float = 0.0
    ) -> ScanPath:
        """Vectors that share one kind, power, speed and focus."""
        return ScanPath.of_runs([Run(vectors_mm, kind, power_w, speed_mm_s, focus_mm)])

    @staticmethod
    def of_runs(runs: Iterable[Run]) -> ScanPath:
        """The runs one after the other. A layer in tiles has millions of vectors: each column is written once."""
        parts = [run for run in runs if len(run.vectors_mm)]
        if not parts:
            return ScanPath.empty()
        counts = [len(run.vectors_mm) for run in parts]
        waits = [
            _zeros(n, np.float64) if run.wait_s is None else run.wait_s for n, run in zip(counts, parts, strict=True)
        ]
        return ScanPath(
            _gathered(parts),
            _steps([run.kind for run in parts], counts, np.uint8),
            _steps([run.power_w for run in parts], counts, np.float64),
            _steps([run.speed_mm_s for run in parts], counts, np.float64),
            _steps([run.focus_mm for run in parts], counts, np.float64) if any(run.focus_mm for run in parts) else None,  # type: ignore[arg-type]
            _joined(waits),
        )

    @staticmethod
    def concat(paths: Iterable[ScanPath]) -> ScanPath:
        """The paths one after the other."""
        parts = [path for path in paths if len(path)]
        if not parts:
            return ScanPath.empty()
        if len(parts) == 1:
            return parts[0]
        columns = [[getattr(part, column.name) for part in parts] for column in fields(ScanPath)]
        return ScanPath(*(_joined(column) for column in columns))

    def chosen(self, rows: slice | NDArray[np.bool_] | NDArray[np.integer]) -> ScanPath:
        """Only some of the vectors, as rows of numpy are chosen."""
        return ScanPath(*(getattr(self, column.name)[rows] for column in fields(self)))

    def by_head(self) -> Iterator[tuple[int, ScanPath]]:
        """What each head exposes, with its number."""
        if not self.beam.any():
            yield 0, self
            return
        for head in np.unique(self.beam).tolist():
            yield head, self.chosen(self.beam == head)

    def of_kind(self, kind: int) -> ScanPath:
        """Only the vectors of one kind, in the same order."""
        return self.chosen(self.kind == kind)

    @property
    def lengths_mm(self) -> NDArray[np.float64]:
        """(n,) f8, the length of each vector."""
        return np.hypot(self.vectors_mm[:, 2] - self.vectors_mm[:, 0], self.vectors_mm[:, 3] - self.vectors_mm[:, 1])

    @property
    def length_mm(self) -> float:
        """The exposed length."""
        return float(self.lengths_mm.sum())

    @property
    def jump_length_mm(self) -> float:
        """The way between the end of each vector and the start of the next, beam off."""
        gap = self.vectors_mm[1:, :2] - self.vectors_mm[:-1, 2:]
        return float(np.hypot(gap[:, 0], gap[:, 1]).sum())

    @property
    def exposure_time_s(self) -> float:
        """Beam-on time at the planned speeds: sum of length / speed, without accelerations, jumps and waits."""
        return float((self.lengths_mm / self.speed_mm_s).sum())

    @property
    def energy_j(self) -> float:
        """Beam energy: sum of power x length / speed."""
        return float((self.power_w * self.lengths_mm / self.speed_mm_s).sum())


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """The array as kernels are given what they only read: in one piece, and not to be written to.

    Columns come from files and from shared steps, as may be written to or not; so a kernel is compiled for one sort.
    """
    array = np.ascontiguousarray(array).view()
    array.flags.writeable = False
    return array


def _zeros(n: int, dtype: type) -> NDArray[Any]:
    """n zeros that take no memory and cannot be written to: nearly every path has only zeros there."""
    return np.broadcast_to(dtype(0), (n,))


def _gathered(runs: list[Run]) -> NDArray[np.float64]:
    """The vectors of all runs: in the array of the last one if that has room for just the others, else in a new one."""
    last = runs[-1]
    ahead = sum(len(run.vectors_mm) for run in runs[:-1])
    array = last.vectors_mm.base
    if ahead == 0:
        return last.vectors_mm
    if array is None or last.room != ahead or array.shape != (ahead + len(last.vectors_mm), 4):
        return np.concatenate([run.vectors_mm for run in runs])
    np.concatenate([run.vectors_mm for run in runs[:-1]], out=array[:ahead])
    return array


def _steps(values: list[Any], counts: list[int], dtype: type) -> NDArray[Any]:
    """Each value as often as it is counted; not to be written to.

    Contours, then hatch, layer after layer: up to two steps are a view of an array that all of them share, in which the
    step has room on both sides. So the columns of most layers cost nothing.
    """
    steps: list[tuple[Any, int]] = []
    for value, count in zip(values, counts, strict=True):
        value += 0  # no -0.0, which would be found as 0.0
        if steps and steps[-1][0] == value:
            steps[-1] = (value, steps[-1][1] + count)
        else:
            steps.append((value, count))
    if len(steps) > 2 or sum(counts) > SHARED_MAX:
        return np.concatenate([np.full(count, value, dtype) for value, count in steps])
    after, behind = steps[-1]
    before, ahead = steps[0] if len(steps) == 2 else (after, 0)
    room_ahead, room_behind = (max(1024, 1 << (count - 1).bit_length()) for count in (ahead or 1, behind))
    return _step(before, after, room_ahead, room_behind, dtype)[room_ahead - ahead : room_ahead + behind]


@functools.lru_cache(maxsize=16)
def _step(before: Any, after: Any, room_ahead: int, room_behind: int, dtype: type) -> NDArray[Any]:
    array: NDArray[Any] = np.empty(room_ahead + room_behind, dtype)
    array[:room_ahead], array[room_ahead:] = before, after
    array.flags.writeable = False
    return array


def _joined(columns: list[NDArray[Any]]) -> NDArray[Any]:
    if all(column.strides == (0,) and not column[0] for column in columns):
        return _zeros(sum(map(len, columns)), columns[0].dtype.type)
    return np.concatenate(columns)
