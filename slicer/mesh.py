"""Mesh: the surface of a part, as read from a file, welded, mended, wound and judged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from slicer.errors import MeshError
from slicer.kernels import cutting
from slicer.mesh_files import TRIANGLES_MAX, read_triangles
from slicer.mesh_mending import drop_duplicates, drop_flat, weld
from slicer.mesh_report import PLACES_TOLD, MeshReport, bodies_of, borders_of, crowded_places, patches_of
from slicer.mesh_stitching import Stitched, stitch
from slicer.mesh_winding import volumes, wind, wind_patches

UNITS_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "inch": 25.4}
"""Millimetres in each unit that a mesh may be given in."""

EXTENT_MIN_MM, EXTENT_MAX_MM = 1e-3, 1e5
"""A part is neither smaller than a grain of dust nor longer than a hundred metres: its unit is wrong."""

GAP_MM_MAX = 10.0
"""Gaps wider than this are holes: to close them is a design, not a repair."""


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
        return cutting.used_bounds(self.vertices_mm, self.faces)


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
    up to `gap_mm`, by the least reach that closes them.

    Raises:
        MeshError: no triangle with an area is left, or the gap is no width.
    """
    _check_gap(gap_mm)
    given = mesh
    if len(mesh.faces) == 0:
        raise MeshError(f"{mesh.name} holds no triangle; export the part as a surface mesh.")
    mesh, step, corners = weld(mesh)
    mesh = drop_flat(mesh)
    degenerate = len(given.faces) - len(mesh.faces)
    if len(mesh.faces) == 0:
        raise MeshError(f"{given.name} has no triangle with an area; export the part again.")
    duplicates = 0
    stitched = Stitched(mesh)
    pair, _, crowded, clashing = cutting.pair_edges(mesh.faces)
    if crowded or clashing:
        mesh, duplicates = drop_duplicates(mesh)
        if duplicates:
            pair, _, crowded, _ = cutting.pair_edges(mesh.faces)
    if (pair < 0).any():
        stitched = stitch(mesh, 2.0 * step, max(2.0 * step, gap_mm))
        mesh = stitched.mesh
        pair, _, crowded, _ = cutting.pair_edges(mesh.faces)
    mesh, pair, patched = wind_patches(mesh, pair) if crowded else (mesh, pair, np.zeros(len(mesh.faces), np.bool_))
    wound = wind(mesh, pair)
    mesh, pair, turned = wound.mesh, wound.pair, wound.turned ^ patched
    open_half_edges = np.flatnonzero(pair < 0)
    borders, border_count = borders_of(mesh, open_half_edges)
    return mesh, MeshReport(
        triangles=len(mesh.faces),
        bodies=wound.bodies,
        bounds_mm=mesh.bounds_mm,
        volume_mm3=float(volumes(mesh, np.zeros(len(mesh.faces), np.int32), 1)[0]),
        open_edges=len(open_half_edges),
        non_manifold_edges=crowded,
        flipped_faces=int(turned.sum()),
        inside_out=bool(wound.inside_out.any()),
        one_sided=wound.one_sided,
        degenerate_dropped=degenerate,
        welded_vertices=corners - len(mesh.vertices_mm),
        coordinate_step_mm=0.0,
        duplicates_dropped=duplicates,
        gaps_closed=stitched.closed,
        edges_split=stitched.split,
        gap_mm=stitched.reach_mm,
        gap_triangles_lost=stitched.lost,
        gap_volume_part=stitched.volume_part,
        border_count=border_count,
        borders=borders,
        non_manifold_mm=crowded_places(mesh) if crowded else (),
        flipped=patches_of(mesh, pair, turned) if turned.any() else (),
        bodies_inside_out=int(wound.inside_out.sum()),
        inside_out_mm=bodies_of(mesh, wound.body, wound.inside_out) if wound.inside_out.any() else (),
    )


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
