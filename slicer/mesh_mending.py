"""Mending a surface: corners welded, flat and repeated triangles dropped; gaps are left to `slicer.mesh_stitching`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from slicer.kernels import cutting, judging, mending

if TYPE_CHECKING:
    from slicer.mesh import Mesh

WELD_STEPS = 2**20
"""Corners closer than the extent of the part over this (0.2 um on 250 mm) are one; a key has 21 bits an axis."""


def weld(mesh: Mesh) -> tuple[Mesh, float, int]:
    """One vertex for all corners in a cell of a fine grid; drops faces that collapse.

    Returns the mesh, the cell's size in mm and how many corners there were.
    """
    low, high = mesh.bounds_mm
    step = float((high - low).max()) / WELD_STEPS or 1.0
    count = len(mesh.vertices_mm)
    key, first, number = np.empty(count, np.int64), np.empty(count, np.int32), np.zeros(count, np.int32)
    table = np.full(1 << (2 * count).bit_length(), -1, np.int32)
    corners, cells = mending.weld(
        mesh.vertices_mm, mesh.faces, low, step, np.zeros(count, np.bool_), key, first, table, number
    )
    order = np.argsort(key[:cells])  # neighbours in space are neighbours in memory, whatever the order of the file
    rank = np.empty(cells, np.int32)
    rank[order] = np.arange(cells, dtype=np.int32)
    faces = rank[number[mesh.faces]]
    return replace(mesh, vertices_mm=mesh.vertices_mm[first[:cells][order]], faces=not_collapsed(faces)), step, corners


def not_collapsed(faces: NDArray[np.int32]) -> NDArray[np.int32]:
    """Without the triangles that have a vertex twice."""
    a, b, c = faces.T
    return faces[(a != b) & (b != c) & (c != a)]


def drop_flat(mesh: Mesh) -> Mesh:
    """Drop triangles whose corners lie in a line, unless the surface needs them to be closed."""
    if len(mesh.faces) == 0:
        return mesh
    flat = np.empty(len(mesh.faces), np.bool_)
    if judging.mark_flat(mesh.vertices_mm, mesh.faces, 1e-8, flat) == 0:
        return mesh
    trimmed = replace(mesh, faces=mesh.faces[~flat])
    if flat.all() or _open_edges(trimmed.faces) <= _open_edges(mesh.faces):
        return trimmed
    return mesh


def _open_edges(faces: NDArray[np.int32]) -> int:
    return int(np.count_nonzero(cutting.pair_edges(faces)[0] < 0))


def drop_duplicates(mesh: Mesh) -> tuple[Mesh, int]:
    """Drop triangles that are there more than once.

    Not all of them are faults: where bodies touch or stand in each other, each has its own sheet of the wall. So of
    each patch of repeated triangles one copy is kept, or two (facing both ways where both are there), or all,
    whichever leaves fewest edges with an odd number of triangles; then that which leaves the senses in which triangles
    run along their edges best balanced; then the fewest triangles.
    """
    unique, first, group, copies = np.unique(
        np.sort(mesh.faces, axis=1), axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    group = group.reshape(-1)
    if len(unique) == len(mesh.faces):
        return mesh, 0
    repeated = copies > 1
    _, edge = np.unique(unique[:, [[0, 1], [1, 2], [0, 2]]].reshape(-1, 2), axis=0, return_inverse=True)
    edge = edge.reshape(-1, 3)
    edges = int(edge.max()) + 1
    sense = np.where(_rises(mesh.faces), 1, -1)
    senses = np.bincount(group, sense, len(unique))
    along = np.array([1, 1, -1])  # a rising triangle runs up its first two sorted edges and down the third

    # patches: repeated triangles that share an edge; in this graph edges are nodes, too
    label = np.empty(len(unique) + edges, np.int64)
    ends = edge[repeated]
    patches = int(
        mending.label_components(np.repeat(np.flatnonzero(repeated), 3), ends.reshape(-1) + len(unique), label)
    )
    touched = np.bincount(ends.reshape(-1), minlength=edges) > 0
    patch_of_edge = label[len(unique) :][touched]

    def faults(count: NDArray[np.int64], sum_of_senses: NDArray[Any]) -> NDArray[np.float64]:
        """(2, patches) of keeping so many copies of each triangle: odd edges, and how far senses are off balance."""
        number = np.bincount(edge.reshape(-1), np.repeat(count, 3), edges)[touched]
        balance = np.bincount(edge.reshape(-1), (sum_of_senses[:, None] * along).reshape(-1), edges)[touched]
        return np.stack(
            [np.bincount(patch_of_edge, number % 2, patches), np.bincount(patch_of_edge, np.abs(balance), patches)]
        )

    own = np.where(senses == 0, sense[first], np.sign(senses))  # the sense of most copies
    both_ways = np.abs(senses) < copies
    choices = np.array(
        [
            faults(np.ones_like(copies), own),
            faults(np.minimum(copies, 2), np.where(repeated, np.where(both_ways, 0, 2 * own), own)),
            faults(copies, senses),
        ]
    )
    # where as many copies face either way, balance says nothing: they cancel, however many are kept
    tells = np.bincount(label[: len(unique)][repeated], senses[repeated] != 0, patches) > 0
    best = np.zeros(patches, np.int64)
    for choice in (1, 2):
        odd, unbalanced = choices[choice] - np.take_along_axis(choices, best[None, None], axis=0)[0]
        best[(odd < 0) | ((odd == 0) & (unbalanced < 0) & tells)] = choice
    kept = _copies_kept(group, sense == own[group], np.where(repeated, best[label[: len(unique)]], 0))
    return replace(mesh, faces=mesh.faces[kept]), int(np.count_nonzero(~kept))


def _copies_kept(group: NDArray[np.int64], leads: NDArray[np.bool_], choice: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(m,) b1: of each group the first that leads (choice 0), one more, of the others if there is one (1), all (2)."""
    kept = choice[group] == 2
    for wanted, candidates in ((choice < 2, leads), (choice == 1, ~leads), (choice == 1, leads)):
        still = wanted & (np.bincount(group, kept, len(choice)) < 1 + (choice == 1))
        left = np.flatnonzero(candidates & ~kept & still[group])
        kept[left[np.unique(group[left], return_index=True)[1]]] = True
    return kept


def _rises(faces: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(m,) b1: whether a triangle meets its vertices in rising order, begun at its lowest."""
    a, b, c = faces.T
    return ~((a < b) ^ (b < c) ^ (c < a))
