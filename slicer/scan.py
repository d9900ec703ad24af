"""ScanPath: what the beam does in one layer, vector by vector, with its length, time and energy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

KIND_HATCH, KIND_CONTOUR, KIND_UP_SKIN, KIND_DOWN_SKIN, KIND_THIN = range(5)
KINDS = ("hatch", "contour", "up-skin", "down-skin", "thin wall")
"""What the numbers mean: up- and down-skin are hatches of what is open above or hangs over powder, a thin wall is a
single track in what is narrower than the beam's way around it."""


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
        n = len(vectors_mm)
        focus = np.full(n, focus_mm) if focus_mm else None
        return ScanPath(vectors_mm, np.full(n, kind, np.uint8), np.full(n, power_w), np.full(n, speed_mm_s), focus)  # type: ignore[arg-type]

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


def _zeros(n: int, dtype: type) -> NDArray[Any]:
    """n zeros that take no memory and cannot be written to: nearly every path has only zeros there."""
    return np.broadcast_to(dtype(0), (n,))


def _joined(columns: list[NDArray[Any]]) -> NDArray[Any]:
    if all(column.strides == (0,) and not column[0] for column in columns):
        return _zeros(sum(map(len, columns)), columns[0].dtype.type)
    return np.concatenate(columns)
