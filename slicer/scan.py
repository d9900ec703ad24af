"""ScanPath: what the beam does in one layer, vector by vector, with its length, time and energy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KIND_HATCH = 0
KIND_CONTOUR = 1


@dataclass(frozen=True, eq=False)
class ScanPath:
    """Scan vectors of one layer in exposure order.

    Attributes:
        vectors_mm: (n, 4) f8, x and y of the start, x and y of the end.
        kind: (n,) u1, `KIND_HATCH` or `KIND_CONTOUR`.
        power_w: (n,) f8, beam power along each vector.
        speed_mm_s: (n,) f8, speed of the beam along each vector.
    """

    vectors_mm: NDArray[np.float64]
    kind: NDArray[np.uint8]
    power_w: NDArray[np.float64]
    speed_mm_s: NDArray[np.float64]

    def __post_init__(self) -> None:
        n = len(self.vectors_mm)
        assert self.vectors_mm.shape == (n, 4), f"vectors_mm is {self.vectors_mm.shape}, not (n, 4)"
        for name in ("kind", "power_w", "speed_mm_s"):
            assert getattr(self, name).shape == (n,), f"{name} is {getattr(self, name).shape}, not ({n},)"

    def __len__(self) -> int:
        return len(self.vectors_mm)

    @staticmethod
    def empty() -> ScanPath:
        """A path without a vector."""
        return ScanPath(np.zeros((0, 4)), np.zeros(0, np.uint8), np.zeros(0), np.zeros(0))

    @staticmethod
    def uniform(vectors_mm: NDArray[np.float64], kind: int, power_w: float, speed_mm_s: float) -> ScanPath:
        """Vectors that share one kind, power and speed."""
        n = len(vectors_mm)
        return ScanPath(vectors_mm, np.full(n, kind, np.uint8), np.full(n, power_w), np.full(n, speed_mm_s))

    @staticmethod
    def concat(paths: Iterable[ScanPath]) -> ScanPath:
        """The paths one after the other."""
        parts = [path for path in paths if len(path)]
        if not parts:
            return ScanPath.empty()
        if len(parts) == 1:
            return parts[0]
        return ScanPath(
            np.concatenate([part.vectors_mm for part in parts]),
            np.concatenate([part.kind for part in parts]),
            np.concatenate([part.power_w for part in parts]),
            np.concatenate([part.speed_mm_s for part in parts]),
        )

    def of_kind(self, kind: int) -> ScanPath:
        """Only the vectors of one kind, in the same order."""
        chosen = self.kind == kind
        return ScanPath(self.vectors_mm[chosen], self.kind[chosen], self.power_w[chosen], self.speed_mm_s[chosen])

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
        """Beam-on time at the planned speeds: sum of length / speed, without accelerations and jumps."""
        return float((self.lengths_mm / self.speed_mm_s).sum())

    @property
    def energy_j(self) -> float:
        """Beam energy: sum of power x length / speed."""
        return float((self.power_w * self.lengths_mm / self.speed_mm_s).sum())
