"""Stitching a surface: gaps between its borders closed by the least reach that does it, and T-junctions split."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from slicer.errors import MeshError
from slicer.kernels import cutting, judging, mending
from slicer.mesh_edges import edge_keys, ends_of
from slicer.mesh_mending import not_collapsed
from slicer.mesh_report import borders_of

if TYPE_CHECKING:
    from slicer.mesh import Mesh

PAIRS_MAX = 20_000_000
SWEEP_STEPS_MAX = 300_000_000
"""Bounds of the search for gaps: a soup of loose triangles is refused rather than searched for hours."""

ROUNDS_MAX = 8
"""Each round stitches what the last one made stitchable; a gap of facets that differ takes two or three."""


@dataclass(frozen=True, eq=False)
class Stitched:
    """What stitching made of a mesh.

    Attributes:
        closed: open edges that are none any more; split: edges cut at corners that lay on them.
        reach_mm: how wide the widest gap could be of those that were closed; 0 where none was.
        lost: triangles whose corners were joined, so that nothing is left of them.
        volume_part: by what part of the volume the triangles enclose more (or less, negative) than before.
    """

    mesh: Mesh
    closed: int = 0
    split: int = 0
    reach_mm: float = 0.0
    lost: int = 0
    volume_part: float = 0.0


def stitch(mesh: Mesh, least_mm: float, most_mm: float) -> Stitched:
    """Close gaps up to `least_mm`, then up to twice as much and so on to `most_mm`, until no edge is open.

    A wide reach also joins corners that have nothing to do with a gap, so the least that closes all edges is taken. It
    is tried on the mesh as it was, and on what narrower ones have left (there gaps of several widths are closed each by
    its own, but corners may be stitched to an edge before a reach takes them to a corner); whichever costs fewer
    triangles counts. What narrower ones did counts if it cost no triangle, or leaves fewer borders.

    Raises:
        MeshError: gaps up to more than `least_mm` were asked for, and there is too much to search.
    """
    is_open = cutting.pair_edges(mesh.faces)[0] < 0
    on_border = np.zeros(len(mesh.vertices_mm), np.bool_)
    on_border[np.concatenate(ends_of(mesh.faces, np.flatnonzero(is_open)))] = True
    near = on_border[mesh.faces].any(axis=1)
    used, faces = np.unique(mesh.faces[near], return_inverse=True)
    given = _Seam(
        replace(mesh, vertices_mm=mesh.vertices_mm[used], faces=faces.reshape(-1, 3).astype(np.int32)), on_border[used]
    )
    done = _widened(given, least_mm, most_mm)
    if done.seam is given:
        return Stitched(mesh)
    whole = replace(mesh, faces=np.concatenate([mesh.faces[~near], used[done.seam.mesh.faces].astype(np.int32)]))
    # the senses of triangles are as given, before and after; of a part that is inside out both volumes are negative
    centre = mesh.bounds_mm.mean(axis=0)
    before_mm3, after_mm3 = _volume_mm3(mesh, centre), _volume_mm3(whole, centre)
    largest = max(abs(before_mm3), abs(after_mm3))
    change = (after_mm3 - before_mm3) * math.copysign(1.0, before_mm3) / largest if largest > 0.0 else 0.0
    return Stitched(_compact(whole), done.closed, done.split, done.reach_mm, done.lost, change)


def _volume_mm3(mesh: Mesh, centre: NDArray[np.float64]) -> float:
    volume = np.empty(1)
    judging.body_volumes(mesh.vertices_mm, mesh.faces, centre, np.zeros(len(mesh.faces), np.int32), volume)
    return float(volume[0])


@dataclass(frozen=True, eq=False)
class _Seam:
    """The triangles that touch a border: nothing else is stitched, and they are few.

    Where the mesh goes on behind them their edges are no border: such an edge has an end that is on none.
    """

    mesh: Mesh
    on_border: NDArray[np.bool_]  # (n,), of the vertices

    def open_half_edges(self) -> NDArray[np.int64]:
        half_edges = np.flatnonzero(cutting.pair_edges(self.mesh.faces)[0] < 0)
        tail, head = ends_of(self.mesh.faces, half_edges)
        return half_edges[self.on_border[tail] & self.on_border[head]]

    def borders(self) -> int:
        return borders_of(self.mesh, self.open_half_edges())[1]


@dataclass(frozen=True, eq=False)
class _Step:
    """How far stitching has come; the fields are those of `Stitched`, and how many edges are `left` open."""

    seam: _Seam
    left: int
    closed: int = 0
    split: int = 0
    reach_mm: float = 0.0
    lost: int = 0


def _widened(given: _Seam, least_mm: float, most_mm: float) -> _Step:
    first = _Step(given, len(given.open_half_edges()))
    done = _stitched(first, least_mm, insist=most_mm > least_mm)
    reach_mm = least_mm
    while reach_mm < most_mm and done.left:
        reach_mm = min(2.0 * reach_mm, most_mm)
        wider = _stitched(done, reach_mm, insist=True)
        found = [wider] if done is first else [wider, _stitched(first, reach_mm, insist=True)]
        if whole := [step for step in found if step.left == 0]:
            return min(whole, key=lambda step: (step.lost, step.split))
        if wider.left < done.left and (wider.lost == done.lost or wider.seam.borders() < done.seam.borders()):
            done = wider
    return done


def _stitched(done: _Step, reach_mm: float, *, insist: bool) -> _Step:
    """A step on with one reach. What is too much to search is left alone unless `insist`."""
    seam, left, split, lost = done.seam, done.left, done.split, done.lost
    for _ in range(ROUNDS_MAX):
        if left == 0:
            break
        try:
            joined = _join_border_corners(seam, reach_mm)
            gone = len(seam.mesh.faces) - len(joined.mesh.faces)
            joined, cut = _split_border_edges(joined, reach_mm)
        except _TooMuchToSearch:
            if insist:
                raise MeshError(
                    f"{seam.mesh.name} has {left} open edges, too many to look for gaps of {reach_mm:.2g} mm among"
                    " them; use a smaller gap or export the part as a closed surface."
                ) from None
            break
        now = len(joined.open_half_edges())
        if len(joined.mesh.faces) == 0 or (now >= left and cut == 0):
            break
        seam, left, split, lost = joined, now, split + cut, lost + gone
    if seam is done.seam:
        return done
    closed = done.left - left
    return _Step(seam, left, done.closed + closed, split, reach_mm if closed else done.reach_mm, lost)


class _TooMuchToSearch(Exception):
    pass


def _border(seam: _Seam) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Open half-edges, the vertices on them in the order of the sweep, and where the sweep meets those."""
    mesh, half_edges = seam.mesh, seam.open_half_edges()
    tail, head = ends_of(mesh.faces, half_edges)
    corners = np.union1d(tail, head)
    centre = mesh.bounds_mm.mean(axis=0)
    along = (mesh.vertices_mm[corners] - centre) @ np.array(mending.SWEEP)
    order = np.argsort(along, kind="stable")
    return half_edges, corners[order].astype(np.int64), along[order]


def _join_border_corners(seam: _Seam, reach: float) -> _Seam:
    mesh = seam.mesh
    _, corners, along = _border(seam)
    steps = int((np.searchsorted(along, along + reach, side="right") - np.arange(len(along))).sum())
    if steps > SWEEP_STEPS_MAX:
        raise _TooMuchToSearch
    points = mesh.vertices_mm[corners]
    none = np.empty(0, np.int64)
    count = mending.near_pairs(points, along, reach, none, none, np.empty(0))
    if count == 0:
        return seam
    if count > PAIRS_MAX:
        raise _TooMuchToSearch
    first, second, distance = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count)
    mending.near_pairs(points, along, reach, first, second, distance)
    # the ends of one edge come last: to join them shortens the border instead of stitching it
    a, b = corners[first], corners[second]
    is_edge = np.isin(np.minimum(a, b) << 32 | np.maximum(a, b), edge_keys(mesh.faces))
    order = np.lexsort((np.maximum(a, b), np.minimum(a, b), distance, is_edge))
    parent = np.empty(len(corners), np.int64)
    mending.merge_pairs(points, first[order], second[order], reach, parent)
    number = np.arange(len(mesh.vertices_mm))
    number[corners] = corners[parent]
    return replace(seam, mesh=replace(mesh, faces=not_collapsed(number[mesh.faces].astype(np.int32))))


def _split_border_edges(seam: _Seam, reach: float) -> tuple[_Seam, int]:
    """Split open edges at the corners of borders that lie on them; one edge a triangle, a later round sees the next."""
    mesh = seam.mesh
    half_edges, corners, along = _border(seam)
    tail, head = (np.searchsorted(np.sort(corners), ends) for ends in ends_of(mesh.faces, half_edges))
    rank = np.argsort(corners, kind="stable")  # sorted place -> place in the sweep
    tail, head = rank[tail], rank[head]
    low, high = np.minimum(along[tail], along[head]) - reach, np.maximum(along[tail], along[head]) + reach
    if int((np.searchsorted(along, high, side="right") - np.searchsorted(along, low)).sum()) > SWEEP_STEPS_MAX:
        raise _TooMuchToSearch
    points = mesh.vertices_mm[corners]
    none = np.empty(0, np.int64)
    count = mending.corners_on_edges(points, along, tail, head, reach, none, none, np.empty(0))
    if count == 0:
        return seam, 0
    if count > PAIRS_MAX:
        raise _TooMuchToSearch
    edge, corner, place = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count)
    mending.corners_on_edges(points, along, tail, head, reach, edge, corner, place)
    at, vertex = half_edges[edge], corners[corner]
    apex = mesh.faces[at // 3, (at % 3 + 2) % 3]
    chosen = vertex != apex
    at, vertex, place = at[chosen], vertex[chosen], place[chosen]
    order = np.lexsort((vertex, place, at))
    at, vertex = at[order], vertex[order]
    triangle = at // 3
    starts = np.flatnonzero(np.diff(at, prepend=-1))
    starts = starts[np.unique(triangle[starts], return_index=True)[1]]
    if len(starts) == 0:
        return seam, 0
    fans: list[tuple[int, int, int]] = []
    for start in starts:
        h = at[start]
        on_edge = vertex[start : np.searchsorted(at, h, side="right")]
        t, j = divmod(int(h), 3)
        a, b, c = (int(mesh.faces[t, (j + k) % 3]) for k in range(3))
        chain = [a, *map(int, on_edge), b]
        fans.extend((p, q, c) for p, q in pairwise(chain))
    faces = np.delete(mesh.faces, triangle[starts], axis=0)
    faces = np.concatenate([faces, np.array(fans, np.int32)])
    return replace(seam, mesh=replace(mesh, faces=not_collapsed(faces))), len(starts)


def _compact(mesh: Mesh) -> Mesh:
    """The mesh without the vertices that no triangle uses."""
    used, number = np.unique(mesh.faces, return_inverse=True)
    return replace(mesh, vertices_mm=mesh.vertices_mm[used], faces=number.reshape(-1, 3).astype(np.int32))
