"""Solids and loops that the slicer's tests are made of, and the parameters they are filled with."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import manifold3d
import numpy as np

from slicer.mesh import Mesh


def mesh_of(solid: manifold3d.Manifold, name: str = "part") -> Mesh:
    """The surface of a manifold3d solid."""
    data = solid.to_mesh64()
    return Mesh(np.asarray(data.vert_properties)[:, :3].copy(), np.asarray(data.tri_verts).astype(np.int32), name)


def box(x: float, y: float, z: float, at: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Mesh:
    """A box with its lowest corner at `at`."""
    return mesh_of(manifold3d.Manifold.cube((x, y, z)).translate(at))


def joined(*meshes: Mesh) -> Mesh:
    """Several surfaces as one mesh, nothing merged."""
    first = np.cumsum([0, *(len(mesh.vertices_mm) for mesh in meshes)])
    return Mesh(
        np.concatenate([mesh.vertices_mm for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, first)]).astype(np.int32),
        meshes[0].name,
    )


def loops_of(*rings: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """(points, loop starts) of rings given as lists of corners."""
    starts = np.cumsum([0, *(len(ring) for ring in rings)]).astype(np.int64)
    return np.array([corner for ring in rings for corner in ring], np.float64).reshape(-1, 2), starts


def rings_of(points: np.ndarray, starts: np.ndarray) -> list[list[tuple[float, float]]]:
    """The inverse of `loops_of`."""
    return [[(float(x), float(y)) for x, y in points[a:b]] for a, b in pairwise(starts)]


@dataclass(frozen=True)
class Parameters:
    """Fill parameters with plain numbers."""

    spot_mm: float = 0.4
    power_w: float = 100.0
    scan_speed_mm_s: float = 50.0
    hatch_spacing_mm: float | None = 0.2
    hatch_rotation_deg: float = 67.0
    contours: int = 1
    contour_power_w: float = 80.0
    contour_speed_mm_s: float = 40.0
    jump_speed_mm_s: float = 50.0
