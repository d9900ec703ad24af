"""What the bricks are put together from: prisms of exact corners, and the poses in which neighbours lie."""

from __future__ import annotations

import math
from collections.abc import Sequence

import manifold3d
import numpy as np
from numpy.typing import NDArray

from slicer.bricks.measures import BrickError
from slicer.mesh import Mesh

Floats = NDArray[np.float64]
Triangles = NDArray[np.int64]

Pose = Floats
"""(3, 4) f8: a turn and, in the last column, a shift in mm."""


def pose(turn_deg: float = 0.0, shift_mm: Sequence[float] = (0.0, 0.0, 0.0)) -> Pose:
    """A turn about z, then a shift. Quarter and half turns are exact."""
    quarter, rest = divmod(turn_deg % 360.0, 90.0)
    if rest == 0.0:
        cosine, sine = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[int(quarter)]
    else:
        cosine, sine = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
    x, y, z = shift_mm
    return np.array([[cosine, -sine, 0.0, x], [sine, cosine, 0.0, y], [0.0, 0.0, 1.0, z]])


def loft(floor: Sequence[Floats], roof: Sequence[Floats], cap: Triangles, height_mm: float, name: str) -> Mesh:
    """A solid between z = 0 and `height_mm` whose walls join the rings of its floor to those of its roof.

    Args:
        floor, roof: rings, (n, 2) f8 each, pairwise of the same number of corners; outer ones counter-clockwise, holes
            clockwise. Every wall between two corners and the two above them must be flat.
        cap: (m, 3) i8, triangles over the corners of all rings in a row, counter-clockwise, that fill floor and roof.
    """
    low, high = np.concatenate(floor), np.concatenate(roof)
    count, start = len(low), 0
    walls = []
    for ring in floor:
        here = np.arange(start, start + len(ring))
        after = np.roll(here, -1)
        walls += [np.stack([here, after, after + count], axis=1), np.stack([here, after + count, here + count], axis=1)]
        start += len(ring)
    corners = [np.column_stack([low, np.zeros(count)]), np.column_stack([high, np.full(count, height_mm)])]
    faces = np.concatenate([cap[:, ::-1], cap + count, *walls])
    return Mesh(np.concatenate(corners), faces.astype(np.int32), name)


def ladder(left: Triangles, right: Triangles) -> Triangles:
    """(2n - 2, 3) i8: the triangles, counter-clockwise, between two rows of n corner numbers each.

    Someone who walks along the rows has `left` on the left hand and `right` on the right.
    """
    lower = np.stack([left[:-1], right[:-1], right[1:]], axis=1)
    upper = np.stack([left[:-1], right[1:], left[1:]], axis=1)
    return np.concatenate([lower, upper])


def between_grids(columns: int, rows: int) -> Triangles:
    """The triangles of two sheets of corners, one above the other, and of the walls between their borders.

    Corners are numbered column by column, the upper sheet after the lower; seen from above, the rows lie to the left of
    one who walks along the columns.
    """
    number = np.arange(columns * rows).reshape(columns, rows)
    a, b, c, d = number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]
    sheet = np.concatenate([np.stack(t, axis=-1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
    border = np.concatenate([number[:-1, 0], number[-1, :-1], number[:0:-1, -1], number[0, :0:-1]])
    after, above = np.roll(border, -1), columns * rows
    walls = [(border, after, after + above), (border, after + above, border + above)]
    return np.concatenate([sheet[:, ::-1], sheet + above, *(np.stack(wall, axis=1) for wall in walls)])


def centred(low_mm: float, high_mm: float) -> float:
    """What to add to a coordinate so that low and high lie on both sides of zero alike."""
    return -0.5 * (low_mm + high_mm)


def arc_steps(radius_mm: float, angle_rad: float, chord_tolerance_mm: float) -> int:
    """Chords that an arc needs so that none leaves it by more than the tolerance (sagitta r (1 - cos(step/2)))."""
    step_rad = 2.0 * math.acos(max(1.0 - chord_tolerance_mm / radius_mm, 0.0))
    return max(1, math.ceil(angle_rad / step_rad))


def mesh_of(solid: manifold3d.Manifold, name: str) -> Mesh:
    """The surface of a manifold3d solid. Raises BrickError if nothing is left of it."""
    if solid.is_empty():
        raise BrickError(f"brick {name}: its measures leave no solid ({solid.status()})")
    got = solid.to_mesh64()
    vertices: Floats = np.array(got.vert_properties, np.float64)[:, :3]
    return Mesh(vertices, np.array(got.tri_verts, np.int32), name)
