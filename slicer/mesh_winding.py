"""Winding a surface: which triangles are one body, and which way is out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from slicer.kernels import cutting, judging
from slicer.mesh_edges import crowded_edges

if TYPE_CHECKING:
    from slicer.mesh import Mesh

BOX_CHECKS_MAX = 100_000_000
"""Bound of the search for what a cavity lies in; beyond it, bodies that face inwards are taken for cavities."""


def wind_patches(mesh: Mesh, pair: NDArray[np.int32]) -> tuple[Mesh, NDArray[np.int32], NDArray[np.bool_]]:
    """Wind what hangs together by edges of two triangles, then pair those at edges of more: (mesh, pair, turned).

    Where more than two triangles meet, who goes on in whom is only told by the senses in which they run along the edge.
    So those are put right first, and triangles that still run the same way there are left unpaired: edges that no
    body closes.
    """
    crowded = crowded_edges(mesh.faces)
    apart, clash = np.where(crowded, -1, pair).astype(np.int32), clashing_edges(mesh.faces, pair)
    if clash.any():
        turned = _flooded(mesh.faces, apart)[1]
        mesh = replace(mesh, faces=_turned(mesh.faces, turned))
        pair = cutting.pair_edges(mesh.faces)[0]
        crowded, clash = crowded_edges(mesh.faces), clashing_edges(mesh.faces, pair)
    else:
        turned = np.zeros(len(mesh.faces), np.bool_)
    return mesh, np.where(crowded & clash, -1, pair).astype(np.int32), turned


@dataclass(frozen=True, eq=False)
class Wound:
    """A mesh whose bodies are wound outwards.

    Attributes:
        pair: (3 m,) i4, as `slicer.kernels.cutting.pair_edges` has it.
        body: (m,) i4, of each triangle; bodies: how many.
        turned: (m,) b1, which triangles were. inside_out: (bodies,) b1, which whole bodies were.
        one_sided: whether some of the surface cannot be wound.
    """

    mesh: Mesh
    pair: NDArray[np.int32]
    body: NDArray[np.int32]
    bodies: int
    turned: NDArray[np.bool_]
    inside_out: NDArray[np.bool_]
    one_sided: bool


def wind(mesh: Mesh, pair: NDArray[np.int32]) -> Wound:
    """Wind all bodies outwards."""
    body, turned, bodies, contradictions = _flooded(mesh.faces, pair)
    faces = mesh.faces
    mesh = replace(mesh, faces=_turned(faces, turned))
    volume = volumes(mesh, body, bodies)
    sense = np.sign(volume.sum()) or 1.0
    hollow = np.flatnonzero(volume * sense < 0)
    wrong = np.full(bodies, sense < 0)
    if len(hollow):  # a negative body inside another is its cavity, a negative body elsewhere is inside out
        low, high = np.full((bodies, 3), np.inf), np.full((bodies, 3), -np.inf)
        for axis in range(3):
            along = mesh.vertices_mm[mesh.faces, axis]
            np.minimum.at(low[:, axis], body, along.min(axis=1))
            np.maximum.at(high[:, axis], body, along.max(axis=1))
        size = (high - low).sum(axis=1)
        enclosed = np.empty(len(hollow), np.bool_)
        judging.mark_enclosed(low, high, size, np.argsort(-size, kind="stable"), hollow, BOX_CHECKS_MAX, enclosed)
        wrong[hollow] ^= ~enclosed
    turned ^= wrong[body]
    if turned.any():  # a turned triangle has its first two half-edges in each other's place
        half = np.arange(len(pair), dtype=np.int32)
        place = np.where(np.repeat(turned, 3) & (half % 3 < 2), half // 3 * 3 + 1 - half % 3, half)
        moved = np.empty_like(pair)
        moved[place] = np.where(pair < 0, -1, place[pair])
        pair = moved
    mesh = replace(mesh, faces=_turned(faces, turned))
    return Wound(mesh, pair, body, bodies, turned, wrong, bool(contradictions))


def _flooded(
    faces: NDArray[np.int32], pair: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.bool_], int, int]:
    """(body of each triangle, which to turn so that each body agrees with most of itself, bodies, contradictions)."""
    upward = (faces < np.roll(faces, -1, axis=1)).reshape(-1)
    body, turned = np.empty(len(faces), np.int32), np.zeros(len(faces), np.bool_)
    bodies, contradictions = cutting.wind_bodies(upward, pair, body, turned)
    size = np.bincount(body, minlength=bodies)
    against = np.bincount(body, weights=turned, minlength=bodies)
    turned ^= (2 * against > size)[body]
    return body, turned, int(bodies), int(contradictions)


def _turned(faces: NDArray[np.int32], chosen: NDArray[np.bool_]) -> NDArray[np.int32]:
    return np.where(chosen[:, None], faces[:, ::-1], faces)


def clashing_edges(faces: NDArray[np.int32], pair: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(3 m,) b1: whether a half-edge runs the same way as the one it is paired with."""
    upward = (faces < np.roll(faces, -1, axis=1)).reshape(-1)
    return (pair >= 0) & (upward == upward[pair])


def volumes(mesh: Mesh, body: NDArray[np.int32], bodies: int) -> NDArray[np.float64]:
    """(bodies,) f8: what each body encloses, mm3, negative where its triangles face inwards."""
    volume = np.empty(bodies)
    judging.body_volumes(mesh.vertices_mm, mesh.faces, mesh.bounds_mm.mean(axis=0), body, volume)
    return volume
