"""Bricks of flat faces that are laid straight: the plain block, and the block with tenon and mortise."""

from __future__ import annotations

import math

import manifold3d
import numpy as np

from slicer.bricks.measures import BrickError, Measure, check_measures, clearance, edge
from slicer.bricks.solids import Pose, mesh_of, pose
from slicer.mesh import Mesh

RECTANGULAR = (
    edge("length_mm", 200.0, "length of its place in the wall, along x"),
    edge("width_mm", 100.0, "width of its place, along y"),
    edge("height_mm", 30.0, "height of its place, along z"),
    clearance(0.0, "joint to every neighbour; each face stands back by half of it"),
)

MORTISE_TENON = (
    edge("length_mm", 60.0, "length of the body, along x"),
    edge("width_mm", 40.0, "width of the body, along y"),
    edge("height_mm", 12.0, "height of the body, the tenon not counted"),
    edge("tenon_length_mm", 20.0, "length of the tenon at its root"),
    edge("tenon_width_mm", 12.0, "width of the tenon at its root"),
    edge("tenon_height_mm", 4.0, "height of the tenon"),
    clearance(0.5, "gap between tenon and mortise on each side and above"),
    Measure("draft_deg", 0.0, 0.0, 45.0, "lean of the tenon's sides from the vertical", below_high=True),
)


def rectangular(
    length_mm: float, width_mm: float, height_mm: float, *, clearance_mm: float = 0.0, name: str = "rectangular"
) -> Mesh:
    """A plain block, smaller than its place by `clearance_mm` in every direction.

    Raises:
        BrickError: a measure that is out of range, or a clearance that leaves nothing.
    """
    check_measures(
        name,
        RECTANGULAR,
        {"length_mm": length_mm, "width_mm": width_mm, "height_mm": height_mm, "clearance_mm": clearance_mm},
    )
    least = min(length_mm, width_mm, height_mm)
    if clearance_mm >= least:
        raise BrickError(f"brick {name}: a clearance of {clearance_mm:g} mm leaves nothing of {least:g} mm")
    return mesh_of(_block(length_mm - clearance_mm, width_mm - clearance_mm, 0.0, height_mm - clearance_mm), name)


def rectangular_neighbours(
    *, length_mm: float, width_mm: float, height_mm: float, clearance_mm: float
) -> dict[str, Pose]:
    """Where bricks lie beside a block in a running bond."""
    half = length_mm / 2
    return {
        "next in the course": pose(shift_mm=(length_mm, 0, 0)),
        "behind": pose(shift_mm=(0, width_mm, 0)),
        "above, half a brick on": pose(shift_mm=(half, 0, height_mm)),
        "above, half a brick back": pose(shift_mm=(-half, 0, height_mm)),
    }


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

    The mortise is the tenon grown by `clearance_mm` to every side (across the face) and in depth. With a draft the
    tenon's sides (and the mortise's) lean inwards by `draft_deg` from the vertical; tenon length and width are those
    at its root.

    Raises:
        BrickError: a measure that is out of range, a mortise that breaks through the block, or a tenon that the draft
            closes before its top.
    """
    check_measures(
        name,
        MORTISE_TENON,
        {
            "length_mm": length_mm,
            "width_mm": width_mm,
            "height_mm": height_mm,
            "tenon_length_mm": tenon_length_mm,
            "tenon_width_mm": tenon_width_mm,
            "tenon_height_mm": tenon_height_mm,
            "clearance_mm": clearance_mm,
            "draft_deg": draft_deg,
        },
    )
    lean = math.tan(math.radians(draft_deg))
    if 2 * lean * (tenon_height_mm + clearance_mm) >= min(tenon_length_mm, tenon_width_mm):
        raise BrickError(f"brick {name}: a draft of {draft_deg:g} deg closes the tenon before its top")
    growth = 2 * clearance_mm / math.cos(math.radians(draft_deg))
    mortise_length, mortise_width = tenon_length_mm + growth, tenon_width_mm + growth
    mortise_depth = tenon_height_mm + clearance_mm
    if mortise_length >= length_mm or mortise_width >= width_mm or mortise_depth >= height_mm:
        raise BrickError(
            f"brick {name}: a mortise of {mortise_length:g} x {mortise_width:g} x {mortise_depth:g} mm does not fit"
            f" into a block of {length_mm:g} x {width_mm:g} x {height_mm:g} mm"
        )
    # each solid overlaps its neighbour by a whole body, so that no two faces meet in a plane by rounding alone
    tenon = _frustum(tenon_length_mm, tenon_width_mm, height_mm, tenon_height_mm, lean, root_below_mm=height_mm / 2)
    mortise = _frustum(mortise_length, mortise_width, 0.0, mortise_depth, lean, root_below_mm=height_mm / 2)
    return mesh_of(_block(length_mm, width_mm, 0.0, height_mm) + tenon - mortise, name)


def mortise_tenon_neighbours(*, height_mm: float, **_measures: float) -> dict[str, Pose]:
    """Where the next brick of a stack lies: on this one's top, around its tenon."""
    return {"above": pose(shift_mm=(0, 0, height_mm))}


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
