"""Edges of a surface by their half-edges: half-edge 3 t + j runs from corner j of triangle t to its next corner."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def ends_of(faces: NDArray[np.int32], half_edges: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(k,) i8 each: the vertices that half-edges begin and end at."""
    t, j = half_edges // 3, half_edges % 3
    return faces[t, j].astype(np.int64), faces[t, (j + 1) % 3].astype(np.int64)


def edge_keys(faces: NDArray[np.int32]) -> NDArray[np.int64]:
    """(3 m,) i8, one number for each edge."""
    tail, head = faces.reshape(-1).astype(np.int64), np.roll(faces, -1, axis=1).reshape(-1).astype(np.int64)
    return np.minimum(tail, head) << 32 | np.maximum(tail, head)


def crowded_edges(faces: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(3 m,) b1: whether more than two triangles meet at the edge of a half-edge."""
    _, edge, count = np.unique(edge_keys(faces), return_inverse=True, return_counts=True)
    return count[edge] > 2
