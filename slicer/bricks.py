"""Parametric bricks as closed meshes, z up, standing on z = 0 around the origin."""

from __future__ import annotations

import math
from pathlib import Path

import manifold3d
import numpy as np
from numpy.typing import NDArray

from slicer.errors import SlicerError
from slicer.mesh import Mesh
from slicer.whole_file import whole_file

EDGE_MM_MAX = 5000.0


class BrickError(SlicerError):
    """A brick whose measures contradict each other."""


def rectangular(length_mm: float, width_mm: float, height_mm: float, *, name: str = "rectangular") -> Mesh:
    """A plain block. Raises BrickError for a measure that is not positive and finite."""
    _check_edges(length_mm=length_mm, width_mm=width_mm, height_mm=height_mm)
    return _mesh(_block(length_mm, width_mm, 0.0, height_mm), name)


def mortise_tenon(
    length_mm: float,
    width_mm: float,
    height_mm: float,
    *,
    tenon_length_mm: float,
    tenon_width_mm: float,
    tenon_height_mm: float,
    clearance_mm: float,
    draft_deg: float = 0.0,
    name: str = "mortise_tenon",
) -> Mesh:
    """A block with a tenon on top and the mortise for one below.

    The mortise is the tenon grown by `clearance_mm` to every side and in depth. With a draft the tenon's sides (and
    the mortise's) lean inwards by `draft_deg` from the vertical; tenon length and width are those at its root.

    Raises:
        BrickError: a measure that is not positive and finite, a mortise that breaks through the block, or a tenon that
            the draft closes before its top.
    """
    _check_edges(
        length_mm=length_mm,
        width_mm=width_mm,
        height_mm=height_mm,
        tenon_length_mm=tenon_length_mm,
        tenon_width_mm=tenon_width_mm,
        tenon_height_mm=tenon_height_mm,
    )
    if not (math.isfinite(clearance_mm) and clearance_mm >= 0):
        raise BrickError(f"brick {name}: a clearance of {clearance_mm} mm: it must be 0 or more")
    if not 0 <= draft_deg < 45:
        raise BrickError(f"brick {name}: a draft of {draft_deg} deg: it must be at least 0 and under 45")
    lean = math.tan(math.radians(draft_deg))
    if 2 * lean * tenon_height_mm >= min(tenon_length_mm, tenon_width_mm):
        raise BrickError(f"brick {name}: a draft of {draft_deg:g} deg closes the tenon before its top")
    mortise_length, mortise_width = tenon_length_mm + 2 * clearance_mm, tenon_width_mm + 2 * clearance_mm
    mortise_depth = tenon_height_mm + clearance_mm
    if mortise_length >= length_mm or mortise_width >= width_mm or mortise_depth >= height_mm:
        raise BrickError(
            f"brick {name}: a mortise of {mortise_length:g} x {mortise_width:g} x {mortise_depth:g} mm does not fit"
            f" into a block of {length_mm:g} x {width_mm:g} x {height_mm:g} mm"
        )
    # each solid overlaps its neighbour by a whole body, so that no two faces meet in a plane by rounding alone
    tenon = _frustum(tenon_length_mm, tenon_width_mm, height_mm, tenon_height_mm, lean, root_below_mm=height_mm / 2)
    mortise = _frustum(mortise_length, mortise_width, 0.0, mortise_depth, lean, root_below_mm=height_mm / 2)
    return _mesh(_block(length_mm, width_mm, 0.0, height_mm) + tenon - mortise, name)


def demo_brick() -> Mesh:
    """The interlocking brick of the demo: 60 x 40 x 12 mm, tenon 20 x 12 x 4 mm, 0.5 mm of clearance on each side."""
    return mortise_tenon(
        60.0,
        40.0,
        12.0,
        tenon_length_mm=20.0,
        tenon_width_mm=12.0,
        tenon_height_mm=4.0,
        clearance_mm=0.5,
        name="demo_brick",
    )


def write_stl(mesh: Mesh, path: str | Path) -> None:
    """Write a mesh as binary STL (float32, as the format has it); the file appears whole or not at all."""
    corners = mesh.vertices_mm[mesh.faces]
    record = np.zeros(len(mesh.faces), np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("pad", "<u2")]))
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    record["normal"] = np.divide(normal, length, out=np.zeros_like(normal), where=length > 0)
    record["corners"] = corners
    header = f"moonkiln {mesh.name}".encode("ascii", "replace")[:80].ljust(80)
    with whole_file(path) as stream:
        stream.write(header + len(record).to_bytes(4, "little") + record.tobytes())


def _check_edges(**edges_mm: float) -> None:
    for what, value in edges_mm.items():
        if not (math.isfinite(value) and 0 < value <= EDGE_MM_MAX):
            raise BrickError(f"brick: {what} is {value}; it must be more than 0 and at most {EDGE_MM_MAX:g} mm")


def _block(length_mm: float, width_mm: float, bottom_mm: float, height_mm: float) -> manifold3d.Manifold:
    corner_at_origin = manifold3d.Manifold.cube((length_mm, width_mm, height_mm))
    return corner_at_origin.translate((-length_mm / 2, -width_mm / 2, bottom_mm))


def _frustum(
    length_mm: float, width_mm: float, root_mm: float, height_mm: float, lean: float, *, root_below_mm: float
) -> manifold3d.Manifold:
    """A tenon from its root upwards, prolonged straight down below the root."""
    body = _block(length_mm, width_mm, root_mm - root_below_mm, root_below_mm)
    x, y, inset = length_mm / 2, width_mm / 2, lean * height_mm
    points = [(sx * x, sy * y, root_mm) for sx in (-1, 1) for sy in (-1, 1)]
    points += [(sx * (x - inset), sy * (y - inset), root_mm + height_mm) for sx in (-1, 1) for sy in (-1, 1)]
    return body + manifold3d.Manifold.hull_points(np.array(points))


def _mesh(solid: manifold3d.Manifold, name: str) -> Mesh:
    if solid.is_empty():
        raise BrickError(f"brick {name}: its measures leave no solid ({solid.status()})")
    got = solid.to_mesh64()
    vertices: NDArray[np.float64] = np.array(got.vert_properties, np.float64)[:, :3]
    return Mesh(vertices, np.array(got.tri_verts, np.int32), name)
