"""Mesh: the surface of a part, as read from a file, welded and judged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle surface.

    Attributes:
        vertices_mm: (n, 3) f8.
        faces: (m, 3) i4, vertex numbers, counter-clockwise seen from outside.
        name: what to call the part.
    """

    vertices_mm: NDArray[np.float64]
    faces: NDArray[np.int32]
    name: str

    @property
    def bounds_mm(self) -> NDArray[np.float64]:
        """(2, 3) f8, the lowest and the highest corner of the vertices in use."""
        used = self.vertices_mm[self.faces.reshape(-1)]
        return np.stack([used.min(axis=0), used.max(axis=0)])
