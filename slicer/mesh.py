"""Mesh: the surface of a part, as read from a file, welded, mended, wound and judged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from slicer.errors import MeshError
from slicer.kernels import cutting, judging, mending
from slicer.mesh_files import TRIANGLES_MAX, read_triangles

UNITS_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "inch": 25.4}
"""Millimetres in each unit that a mesh may be given in."""

EXTENT_MIN_MM, EXTENT_MAX_MM = 1e-3, 1e5
"""A part is neither smaller than a grain of dust nor longer than a hundred metres: its unit is wrong."""

WELD_STEPS = 2**20
"""Corners closer than the extent of the part over this (0.2 um on 250 mm) are one; a key has 21 bits an axis."""

GAP_MM_MAX = 10.0
"""Gaps wider than this are holes: to close them is a design, not a repair."""

PLACES_TOLD = 5
"""How many borders, edges and patches a report names the place of; the count is always whole."""

PAIRS_MAX = 20_000_000
SWEEP_STEPS_MAX = 2_000_000_000
"""Bounds of the search for gaps: a soup of loose triangles is refused rather than searched for hours."""

Point = tuple[float, float, float]


class Volume(Protocol):
    """What a part has to fit into; an Envelope is one."""

    @property
    def x_mm(self) -> float: ...
    @property
    def y_mm(self) -> float: ...
    @property
    def z_mm(self) -> float: ...


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

    @cached_property
    def bounds_mm(self) -> NDArray[np.float64]:
        """(2, 3) f8, the lowest and the highest corner of the vertices in use."""
        box = np.empty((2, 3))
        judging.bounds(self.vertices_mm, self.faces, box)
        return box


@dataclass(frozen=True)
class Border:
    """Open edges that hang together: the rim of a hole, or of a sheet.

    Attributes:
        edges: how many; length_mm: of all of them; centre_mm: the middle of their ends; z_mm: lowest and highest.
    """

    edges: int
    length_mm: float
    centre_mm: Point
    z_mm: tuple[float, float]


@dataclass(frozen=True)
class Patch:
    """Triangles that hang together: how many, and the middle of their corners."""

    triangles: int
    centre_mm: Point


@dataclass(frozen=True, eq=False)
class MeshReport:
    """What was found in a mesh, where, and what was put right. Places are in the coordinates of the file, in mm.

    Attributes:
        triangles: that are left; bodies: connected surfaces among them.
        bounds_mm: (2, 3) f8; volume_mm3: enclosed, cavities taken away (meaningless while edges are open).
        open_edges: with nothing on their other side; borders: the longest of what they form.
        border_count: how many borders there are in all.
        non_manifold_edges: with more than two triangles; non_manifold_mm: the middles of the first of them.
        flipped_faces: triangles that wound the wrong way and were turned; inside_out: whether whole bodies did;
            flipped: the largest patches of them.
        one_sided: the surface cannot be wound, inside and outside are one (a Moebius strip).
        degenerate_dropped: triangles without area that were dropped; welded_vertices: corners merged into others.
        duplicates_dropped: triangles that were there twice.
        gaps_closed: open edges that were stitched; edges_split: by a corner that lay on them (T-junctions).
        gap_mm: how wide a gap could be to be stitched.
        coordinate_step_mm: how finely the file divides coordinates where the part lies; 0 for double precision.
        notes: what the file holds and the mesh leaves out.
    """

    triangles: int
    bodies: int
    bounds_mm: NDArray[np.float64]
    volume_mm3: float
    open_edges: int
    non_manifold_edges: int
    flipped_faces: int
    inside_out: bool
    one_sided: bool
    degenerate_dropped: int
    welded_vertices: int
    coordinate_step_mm: float
    duplicates_dropped: int = 0
    gaps_closed: int = 0
    edges_split: int = 0
    gap_mm: float = 0.0
    border_count: int = 0
    borders: tuple[Border, ...] = ()
    non_manifold_mm: tuple[Point, ...] = ()
    flipped: tuple[Patch, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_closed(self) -> bool:
        """Whether the surface has an inside."""
        return self.open_edges == 0 and not self.one_sided

    def sentences(self) -> list[str]:
        """What a user should know before printing this part; empty when nothing is wrong."""
        told = list(self.notes[:PLACES_TOLD])
        if len(self.notes) > PLACES_TOLD:
            told.append(f"{len(self.notes) - PLACES_TOLD} more remarks of this kind were left out.")
        if self.open_edges:
            told.append(
                f"The surface is not closed: {_edges(self.open_edges)} a triangle on one side only. "
                f"{_borders_told(self.borders, self.border_count)}"
            )
        if self.one_sided:
            told.append("The surface has no inside: its triangles cannot be wound to agree.")
        if self.non_manifold_edges:
            told.append(
                f"More than two triangles meet at {self.non_manifold_edges} edges: bodies touch there"
                f"{_at(self.non_manifold_mm, self.non_manifold_edges)}."
            )
        if self.inside_out:
            told.append("The part was inside out; its triangles were turned.")
        elif self.flipped_faces:
            centres = tuple(patch.centre_mm for patch in self.flipped)
            told.append(
                f"{self.flipped_faces} triangles faced the wrong way and were turned{_at(centres, len(centres))}."
            )
        if self.gaps_closed:
            split = f", {self.edges_split} edges split at corners that lay on them" if self.edges_split else ""
            told.append(
                f"{self.gaps_closed} open edges lay within {self.gap_mm:.2g} mm of others and were closed{split}."
            )
        if self.duplicates_dropped:
            told.append(f"{self.duplicates_dropped} triangles that were there twice were dropped.")
        if self.degenerate_dropped:
            told.append(f"{self.degenerate_dropped} triangles without area were dropped.")
        if self.coordinate_step_mm > 0.005:
            told.append(
                f"The part lies so far from its origin that single precision keeps only {self.coordinate_step_mm:.2g} "
                "mm; export it near the origin."
            )
        return told


def _edges(count: int) -> str:
    return "1 edge has" if count == 1 else f"{count} edges have"


def _spot(point: Point) -> str:
    return "({:.2f}, {:.2f}, {:.2f})".format(*(round(value, 2) + 0.0 for value in point))  # no -0.00


def _at(points: tuple[Point, ...], count: int) -> str:
    if not points:
        return ""
    more = f" and {count - len(points)} more" if count > len(points) else ""
    return f" (at {', '.join(map(_spot, points))}{more}, mm)"


def _borders_told(borders: tuple[Border, ...], count: int) -> str:
    longest = "; ".join(
        f"{border.length_mm:.2f} mm about {_spot(border.centre_mm)}, z {border.z_mm[0]:.2f} to {border.z_mm[1]:.2f}"
        for border in borders
    )
    if count > len(borders):
        return f"The longest of {count} borders: {longest} (mm)."
    return f"{'The border' if count == 1 else 'The borders'}: {longest} (mm)."


def read_mesh(path: str | Path, *, unit: str = "mm", gap_mm: float = 0.0) -> tuple[Mesh, MeshReport]:
    """Read an STL (binary or ASCII), OBJ, PLY, 3MF or (with gmsh) STEP file.

    Args:
        path: the file; its ending tells the format.
        unit: of the file's numbers, one of `UNITS_MM`; 3MF and STEP files name their own, which then holds.
        gap_mm: gaps up to this width are stitched.

    Returns:
        The mesh in mm, corners welded, triangles wound outwards, and the report on it. An open surface is reported, not
        refused: whether it can be cut is known when it is cut.

    Raises:
        MeshError: the file cannot be read, is empty, truncated or no mesh, holds numbers that are none, no triangle
            with an area, or a part of absurd size.
    """
    path = Path(path)
    if unit not in UNITS_MM:
        raise MeshError(f"{unit!r} is not a unit of length here; use one of {', '.join(UNITS_MM)}.")
    _check_gap(gap_mm)
    found = read_triangles(path)
    vertices, faces = found.vertices, found.faces
    if len(faces) == 0:
        told = "".join(f" {note}" for note in found.notes[:PLACES_TOLD])
        raise MeshError(f"{path} holds no triangle; export the part as a surface mesh.{told}")
    if len(faces) > TRIANGLES_MAX:
        raise MeshError(f"{path} holds {len(faces)} triangles, more than {TRIANGLES_MAX}; export it more coarsely.")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise MeshError(f"{path} is damaged: a triangle names a corner that the file does not hold.")
    if not np.isfinite(vertices).all():
        bad = ~np.isfinite(vertices[faces]).all(axis=(1, 2))
        if bad.any():
            raise MeshError(
                f"{path} is damaged: {int(bad.sum())} triangles have a corner that is no number (NaN or infinite), "
                f"the first is triangle {int(np.argmax(bad))}; export the part again."
            )
    scale = UNITS_MM[unit] if found.mm_per_unit is None else found.mm_per_unit
    with np.errstate(over="ignore"):
        mesh = Mesh(vertices * scale, faces.astype(np.int32), path.stem)
        low, high = mesh.bounds_mm
        largest, reach = float((high - low).max()), float(np.maximum(-low, high).max())
    if not EXTENT_MIN_MM <= largest <= EXTENT_MAX_MM:
        raise MeshError(f"{path} is {largest:.4g} mm across in its largest direction; check its unit (--unit).")
    if largest < reach * 2.0**-40:
        raise MeshError(
            f"{path} lies {reach:.3g} mm from its origin, where no number tells its corners apart; export it near it."
        )
    mesh, report = judge(mesh, gap_mm=gap_mm)
    step = float(np.spacing(np.float32(np.abs(mesh.bounds_mm).max()))) if found.single_precision else 0.0
    return mesh, replace(report, coordinate_step_mm=step, notes=found.notes)


def judge(mesh: Mesh, *, gap_mm: float = 0.0) -> tuple[Mesh, MeshReport]:
    """Weld, mend and wind a mesh, and report on it.

    Open edges that lie on each other but for the welding grid (T-junctions among them) are always stitched, wider gaps
    up to `gap_mm`.

    Raises:
        MeshError: no triangle with an area is left, or the gap is no width.
    """
    _check_gap(gap_mm)
    given = mesh
    mesh, step, corners = _weld(mesh)
    mesh = _drop_flat(mesh)
    degenerate = len(given.faces) - len(mesh.faces)
    if len(mesh.faces) == 0:
        raise MeshError(f"{given.name} has no triangle with an area; export the part again.")
    duplicates = closed = split = 0
    pair, _, crowded, clashing = cutting.pair_edges(mesh.faces)
    if crowded or clashing:
        mesh, duplicates = _drop_duplicates(mesh)
        if duplicates:
            pair, _, crowded, _ = cutting.pair_edges(mesh.faces)
    reach = max(2.0 * step, gap_mm)
    if (pair < 0).any():
        mesh, closed, split = _close_gaps(mesh, reach, insist=gap_mm > 0.0)
        pair, _, crowded, _ = cutting.pair_edges(mesh.faces)
    mesh, pair, patched = _wind_patches(mesh, pair) if crowded else (mesh, pair, np.zeros(len(mesh.faces), np.bool_))
    mesh, pair, bodies, turned, inside_out, one_sided = _wind(mesh, pair)
    turned ^= patched
    open_half_edges = np.flatnonzero(pair < 0)
    borders, border_count = _borders(mesh, open_half_edges)
    return mesh, MeshReport(
        triangles=len(mesh.faces),
        bodies=bodies,
        bounds_mm=mesh.bounds_mm,
        volume_mm3=float(_volumes(mesh, np.zeros(len(mesh.faces), np.int32), 1)[0]),
        open_edges=len(open_half_edges),
        non_manifold_edges=crowded,
        flipped_faces=int(turned.sum()),
        inside_out=inside_out,
        one_sided=one_sided,
        degenerate_dropped=degenerate,
        welded_vertices=corners - len(mesh.vertices_mm),
        coordinate_step_mm=0.0,
        duplicates_dropped=duplicates,
        gaps_closed=closed,
        edges_split=split,
        gap_mm=reach if closed else 0.0,
        border_count=border_count,
        borders=borders,
        non_manifold_mm=_crowded_places(mesh) if crowded else (),
        flipped=_patches(mesh, pair, turned) if turned.any() else (),
    )


def close_gaps(mesh: Mesh, tolerance_mm: float) -> tuple[Mesh, int]:
    """Stitch open borders that lie no farther than `tolerance_mm` from each other.

    Corners of borders are joined, nearest first and never over more than the tolerance; a corner that lies on another
    border's edge splits that edge. Returns the mesh and how many open edges were closed.

    Raises:
        MeshError: the tolerance is no width, or there are too many open edges to search.
    """
    _check_gap(tolerance_mm)
    mesh, closed, _ = _close_gaps(mesh, tolerance_mm, insist=True)
    return mesh, closed


def place_on_plate(mesh: Mesh, envelope: Volume) -> Mesh:
    """Move a mesh to the middle of the build plate, its lowest point to z = 0.

    Raises:
        MeshError: it does not fit; the sentence names the axis and the excess.
    """
    low, high = mesh.bounds_mm
    size = high - low
    room = np.array([envelope.x_mm, envelope.y_mm, envelope.z_mm])
    too_long = [
        f"{size[axis]:.2f} mm in {name} where {room[axis]:g} mm are free"
        for axis, name in enumerate("xyz")
        if size[axis] > room[axis] * (1 + 1e-12)
    ]
    if too_long:
        raise MeshError(f"{mesh.name} does not fit: {' and '.join(too_long)}. Turn it, scale it or check its unit.")
    shift = np.array([0.5 * (room[0] - low[0] - high[0]), 0.5 * (room[1] - low[1] - high[1]), -low[2]])
    return replace(mesh, vertices_mm=mesh.vertices_mm + shift)


def _check_gap(gap_mm: float) -> None:
    if not 0.0 <= gap_mm <= GAP_MM_MAX:
        raise MeshError(f"A gap to close cannot be {gap_mm:g} mm wide; give 0 to {GAP_MM_MAX:g} mm.")


# ---- cleaning


def _weld(mesh: Mesh) -> tuple[Mesh, float, int]:
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
    return Mesh(mesh.vertices_mm[first[:cells][order]], _not_collapsed(faces), mesh.name), step, corners


def _not_collapsed(faces: NDArray[np.int32]) -> NDArray[np.int32]:
    a, b, c = faces.T
    return faces[(a != b) & (b != c) & (c != a)]


def _drop_flat(mesh: Mesh) -> Mesh:
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


def _drop_duplicates(mesh: Mesh) -> tuple[Mesh, int]:
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


def _close_gaps(mesh: Mesh, tolerance_mm: float, *, insist: bool) -> tuple[Mesh, int, int]:
    """(mesh, open edges closed, edges split). A mesh with too much to search is left alone unless `insist`."""
    before = after = _open_edges(mesh.faces)
    split = 0
    for _ in range(8):  # each round stitches what the last one made stitchable
        if after == 0:
            break
        try:
            joined = _join_border_corners(mesh, tolerance_mm)
            joined, cut = _split_border_edges(joined, tolerance_mm)
        except _TooMuchToSearch:
            if insist:
                raise MeshError(
                    f"{mesh.name} has {after} open edges, too many to look for gaps of {tolerance_mm:g} mm among them; "
                    "use a smaller gap or export the part as a closed surface."
                ) from None
            break
        if len(joined.faces) == 0:
            break
        left = _open_edges(joined.faces)
        if left >= after and cut == 0:
            break
        mesh, after, split = joined, left, split + cut
    return mesh, before - after, split


class _TooMuchToSearch(Exception):
    pass


def _border(mesh: Mesh) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Open half-edges, the vertices on them in the order of the sweep, and where the sweep meets those."""
    half_edges = np.flatnonzero(cutting.pair_edges(mesh.faces)[0] < 0)
    tail, head = _ends(mesh.faces, half_edges)
    corners = np.union1d(tail, head)
    centre = mesh.bounds_mm.mean(axis=0)
    along = (mesh.vertices_mm[corners] - centre) @ np.array(mending.SWEEP)
    order = np.argsort(along, kind="stable")
    return half_edges, corners[order].astype(np.int64), along[order]


def _ends(faces: NDArray[np.int32], half_edges: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    t, j = half_edges // 3, half_edges % 3
    return faces[t, j].astype(np.int64), faces[t, (j + 1) % 3].astype(np.int64)


def _join_border_corners(mesh: Mesh, reach: float) -> Mesh:
    _, corners, along = _border(mesh)
    steps = int((np.searchsorted(along, along + reach, side="right") - np.arange(len(along))).sum())
    if steps > SWEEP_STEPS_MAX:
        raise _TooMuchToSearch
    points = mesh.vertices_mm[corners]
    none = np.empty(0, np.int64)
    count = mending.near_pairs(points, along, reach, none, none, np.empty(0))
    if count == 0:
        return mesh
    if count > PAIRS_MAX:
        raise _TooMuchToSearch
    first, second, distance = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count)
    mending.near_pairs(points, along, reach, first, second, distance)
    # the ends of one edge come last: to join them shortens the border instead of stitching it
    a, b = corners[first], corners[second]
    is_edge = np.isin(np.minimum(a, b) << 32 | np.maximum(a, b), _edge_keys(mesh.faces))
    order = np.lexsort((np.maximum(a, b), np.minimum(a, b), distance, is_edge))
    parent = np.empty(len(corners), np.int64)
    mending.merge_pairs(points, first[order], second[order], reach, parent)
    number = np.arange(len(mesh.vertices_mm))
    number[corners] = corners[parent]
    return _compact(replace(mesh, faces=_not_collapsed(number[mesh.faces].astype(np.int32))))


def _split_border_edges(mesh: Mesh, reach: float) -> tuple[Mesh, int]:
    """Split open edges at the corners of borders that lie on them; one edge a triangle, a later round sees the next."""
    half_edges, corners, along = _border(mesh)
    tail, head = (np.searchsorted(np.sort(corners), ends) for ends in _ends(mesh.faces, half_edges))
    rank = np.argsort(corners, kind="stable")  # sorted place -> place in the sweep
    tail, head = rank[tail], rank[head]
    low, high = np.minimum(along[tail], along[head]) - reach, np.maximum(along[tail], along[head]) + reach
    if int((np.searchsorted(along, high, side="right") - np.searchsorted(along, low)).sum()) > SWEEP_STEPS_MAX:
        raise _TooMuchToSearch
    points = mesh.vertices_mm[corners]
    none = np.empty(0, np.int64)
    count = mending.corners_on_edges(points, along, tail, head, reach, none, none, np.empty(0))
    if count == 0:
        return mesh, 0
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
        return mesh, 0
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
    return replace(mesh, faces=_not_collapsed(faces)), len(starts)


def _compact(mesh: Mesh) -> Mesh:
    """The mesh without the vertices that no triangle uses."""
    used, number = np.unique(mesh.faces, return_inverse=True)
    return Mesh(mesh.vertices_mm[used], number.reshape(-1, 3).astype(np.int32), mesh.name)


# ---- winding and judging


def _wind_patches(mesh: Mesh, pair: NDArray[np.int32]) -> tuple[Mesh, NDArray[np.int32], NDArray[np.bool_]]:
    """Wind what hangs together by edges of two triangles, then pair those at edges of more: (mesh, pair, turned).

    Where more than two triangles meet, who goes on in whom is only told by the senses in which they run along the edge.
    So those are put right first, and triangles that still run the same way there are left unpaired: edges that no
    body closes.
    """
    crowded = _crowded(mesh.faces)
    apart, clash = np.where(crowded, -1, pair).astype(np.int32), _clashing(mesh.faces, pair)
    if clash.any():
        turned = _flooded(mesh.faces, apart)[1]
        mesh = replace(mesh, faces=_turned(mesh.faces, turned))
        pair = cutting.pair_edges(mesh.faces)[0]
        crowded, clash = _crowded(mesh.faces), _clashing(mesh.faces, pair)
    else:
        turned = np.zeros(len(mesh.faces), np.bool_)
    return mesh, np.where(crowded & clash, -1, pair).astype(np.int32), turned


def _wind(mesh: Mesh, pair: NDArray[np.int32]) -> tuple[Mesh, NDArray[np.int32], int, NDArray[np.bool_], bool, bool]:
    """Wind all bodies outwards.

    Returns (mesh, pair, bodies, which triangles were turned, whether whole bodies were, whether some cannot be wound).
    """
    body, turned, bodies, contradictions = _flooded(mesh.faces, pair)
    faces = mesh.faces
    mesh = replace(mesh, faces=_turned(faces, turned))
    volume = _volumes(mesh, body, bodies)
    sense = np.sign(volume.sum()) or 1.0
    hollow = np.flatnonzero(volume * sense < 0)
    wrong = np.full(bodies, sense < 0)
    if len(hollow):  # a negative body inside another is its cavity, a negative body elsewhere is inside out
        low, high = np.full((bodies, 3), np.inf), np.full((bodies, 3), -np.inf)
        for axis in range(3):
            along = mesh.vertices_mm[mesh.faces, axis]
            np.minimum.at(low[:, axis], body, along.min(axis=1))
            np.maximum.at(high[:, axis], body, along.max(axis=1))
        for b in hollow:
            around = (low <= low[b]).all(axis=1) & (high >= high[b]).all(axis=1)
            around[b] = False
            wrong[b] ^= not around.any()
    turned ^= wrong[body]
    if turned.any():  # a turned triangle has its first two half-edges in each other's place
        half = np.arange(len(pair), dtype=np.int32)
        place = np.where(np.repeat(turned, 3) & (half % 3 < 2), half // 3 * 3 + 1 - half % 3, half)
        moved = np.empty_like(pair)
        moved[place] = np.where(pair < 0, -1, place[pair])
        pair = moved
    mesh = replace(mesh, faces=_turned(faces, turned))
    return mesh, pair, bodies, turned, bool(wrong.any()), bool(contradictions)


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


def _crowded(faces: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(3 m,) b1: whether more than two triangles meet at the edge of a half-edge."""
    _, edge, count = np.unique(_edge_keys(faces), return_inverse=True, return_counts=True)
    return count[edge] > 2


def _clashing(faces: NDArray[np.int32], pair: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(3 m,) b1: whether a half-edge runs the same way as the one it is paired with."""
    upward = (faces < np.roll(faces, -1, axis=1)).reshape(-1)
    return (pair >= 0) & (upward == upward[pair])


def _edge_keys(faces: NDArray[np.int32]) -> NDArray[np.int64]:
    """(3 m,) i8, one number for each edge."""
    tail, head = faces.reshape(-1).astype(np.int64), np.roll(faces, -1, axis=1).reshape(-1).astype(np.int64)
    return np.minimum(tail, head) << 32 | np.maximum(tail, head)


def _volumes(mesh: Mesh, body: NDArray[np.int32], bodies: int) -> NDArray[np.float64]:
    """(bodies,) f8: what each body encloses, mm3, negative where its triangles face inwards."""
    volume = np.empty(bodies)
    judging.body_volumes(mesh.vertices_mm, mesh.faces, mesh.bounds_mm.mean(axis=0), body, volume)
    return volume


def _borders(mesh: Mesh, half_edges: NDArray[np.int64]) -> tuple[tuple[Border, ...], int]:
    """The longest borders, and how many there are."""
    if len(half_edges) == 0:
        return (), 0
    corners, ends = np.unique(np.stack(_ends(mesh.faces, half_edges)), return_inverse=True)
    ends = ends.reshape(2, -1)
    label = np.empty(len(corners), np.int64)
    count = int(mending.label_components(ends[0], ends[1], label))
    points = mesh.vertices_mm[corners]
    length = np.bincount(label[ends[0]], np.linalg.norm(points[ends[1]] - points[ends[0]], axis=1), count)
    told = []
    for border in np.argsort(-length, kind="stable")[:PLACES_TOLD]:
        own = points[label == border]
        edges = int(np.count_nonzero(label[ends[0]] == border))
        z_mm = (float(own[:, 2].min()), float(own[:, 2].max()))
        told.append(Border(edges, float(length[border]), _middle(own), z_mm))
    return tuple(told), count


def _crowded_places(mesh: Mesh) -> tuple[Point, ...]:
    """The middles of the first edges at which more than two triangles meet."""
    edges, count = np.unique(_edge_keys(mesh.faces), return_counts=True)
    crowded = edges[count > 2][:PLACES_TOLD]
    return tuple(_middle(mesh.vertices_mm[[edge >> 32, edge & 0xFFFFFFFF]]) for edge in crowded)


def _patches(mesh: Mesh, pair: NDArray[np.int32], chosen: NDArray[np.bool_]) -> tuple[Patch, ...]:
    """The largest patches of the chosen triangles."""
    half = np.flatnonzero((pair >= 0) & np.repeat(chosen, 3))
    half = half[chosen[pair[half] // 3]]
    label = np.empty(len(mesh.faces), np.int64)
    mending.label_components(half // 3, (pair[half] // 3).astype(np.int64), label)
    size = np.bincount(label[chosen])
    largest = np.argsort(-size, kind="stable")[:PLACES_TOLD]
    return tuple(
        Patch(int(size[patch]), _middle(mesh.vertices_mm[np.unique(mesh.faces[chosen & (label == patch)])]))
        for patch in largest
        if size[patch]
    )


def _middle(points: NDArray[np.float64]) -> Point:
    x, y, z = (float(value) for value in points.mean(axis=0))
    return x, y, z
