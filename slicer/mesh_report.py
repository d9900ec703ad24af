"""What was found in a mesh, and where: figures and places, and the sentences that tell them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from slicer.kernels import mending
from slicer.mesh_edges import edge_keys, ends_of

if TYPE_CHECKING:
    from slicer.mesh import Mesh

PLACES_TOLD = 5
"""How many borders, edges and patches a report names the place of; the count is always whole."""

VOLUME_PART_TOLD = 0.001
"""By how much of it the volume must change with the gaps that are closed to be told of."""

Point = tuple[float, float, float]


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
            bodies_inside_out: how many; inside_out_mm: the middles of the boxes of the first of them;
            flipped: the largest patches of such triangles.
        one_sided: the surface cannot be wound, inside and outside are one (a Moebius strip).
        degenerate_dropped: triangles without area that were dropped; welded_vertices: corners merged into others.
        duplicates_dropped: triangles that were there twice.
        gaps_closed: open edges that were stitched; edges_split: by a corner that lay on them (T-junctions).
        gap_mm: how wide the widest gap could be of those that were stitched. gap_triangles_lost: triangles whose
            corners that joined; gap_volume_part: by what part the enclosed volume grew (or shrank, negative).
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
    gap_triangles_lost: int = 0
    gap_volume_part: float = 0.0
    border_count: int = 0
    borders: tuple[Border, ...] = ()
    non_manifold_mm: tuple[Point, ...] = ()
    flipped: tuple[Patch, ...] = ()
    bodies_inside_out: int = 0
    inside_out_mm: tuple[Point, ...] = ()
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
                f"More than two triangles meet at {_count(self.non_manifold_edges, 'edge')}: bodies touch there"
                f"{_at(self.non_manifold_mm, self.non_manifold_edges)}."
            )
        if self.inside_out:
            told.append(self._inside_out())
        elif self.flipped_faces:
            centres = tuple(patch.centre_mm for patch in self.flipped)
            told.append(
                f"{_count(self.flipped_faces, 'triangle')} faced the wrong way and {_was(self.flipped_faces)} turned"
                f"{_at(centres, len(centres))}."
            )
        if self.gaps_closed:
            edges = _count(self.edges_split, "edge")
            split = f", {edges} split at corners that lay on them" if self.edges_split else ""
            told.append(
                f"{_count(self.gaps_closed, 'open edge')} lay within {self.gap_mm:.2g} mm of others and"
                f" {_was(self.gaps_closed)} closed{split}."
            )
            told.extend(self._cost_of_gaps())
        if self.duplicates_dropped:
            triangles, was = _count(self.duplicates_dropped, "triangle"), _was(self.duplicates_dropped)
            told.append(f"{triangles} that {was} there twice {was} dropped.")
        if self.degenerate_dropped:
            triangles, was = _count(self.degenerate_dropped, "triangle"), _was(self.degenerate_dropped)
            told.append(f"{triangles} without area {was} dropped.")
        if self.coordinate_step_mm > 0.005:
            told.append(
                f"The part lies so far from its origin that single precision keeps only {self.coordinate_step_mm:.2g} "
                "mm; export it near the origin."
            )
        return told

    def _inside_out(self) -> str:
        count = self.bodies_inside_out
        if count == self.bodies:
            return "The part was inside out; its triangles were turned."
        places = _at(self.inside_out_mm, count)
        return f"{count} of {self.bodies} bodies {_was(count)} inside out and {_was(count)} turned{places}."

    def _cost_of_gaps(self) -> Iterator[str]:
        """What went with the gaps that were closed, if it is worth a word."""
        is_less = abs(self.gap_volume_part) > VOLUME_PART_TOLD
        if not (self.gap_triangles_lost or is_less):
            return
        costs = [f"{_count(self.gap_triangles_lost, 'triangle')} went"] if self.gap_triangles_lost else []
        costs += [f"the volume changed by {self.gap_volume_part:+.2%}"] if is_less else []
        yield f"With these gaps {' and '.join(costs)}."


def _edges(count: int) -> str:
    return "1 edge has" if count == 1 else f"{count} edges have"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


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


# ---- places


def borders_of(mesh: Mesh, half_edges: NDArray[np.int64]) -> tuple[tuple[Border, ...], int]:
    """The longest borders, and how many there are."""
    if len(half_edges) == 0:
        return (), 0
    corners, ends = np.unique(np.stack(ends_of(mesh.faces, half_edges)), return_inverse=True)
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


def crowded_places(mesh: Mesh) -> tuple[Point, ...]:
    """The middles of the first edges at which more than two triangles meet."""
    edges, count = np.unique(edge_keys(mesh.faces), return_counts=True)
    crowded = edges[count > 2][:PLACES_TOLD]
    return tuple(_middle(mesh.vertices_mm[[edge >> 32, edge & 0xFFFFFFFF]]) for edge in crowded)


def patches_of(mesh: Mesh, pair: NDArray[np.int32], chosen: NDArray[np.bool_]) -> tuple[Patch, ...]:
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


def bodies_of(mesh: Mesh, body: NDArray[np.int32], chosen: NDArray[np.bool_]) -> tuple[Point, ...]:
    """The middles of the boxes of the first of the chosen bodies; `body` is the number of each triangle's."""
    boxes = (mesh.vertices_mm[mesh.faces[body == number]] for number in np.flatnonzero(chosen)[:PLACES_TOLD])
    return tuple(_point((box.min(axis=(0, 1)) + box.max(axis=(0, 1))) / 2) for box in boxes)


def _middle(points: NDArray[np.float64]) -> Point:
    return _point(points.mean(axis=0))


def _point(values: NDArray[np.float64]) -> Point:
    x, y, z = (float(value) for value in values)
    return x, y, z
