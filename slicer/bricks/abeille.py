"""The block of Joseph Abeille's flat vault (1699): a tetrahedron cut at its middle square and below its upper edge.

Seen from one side it widens upwards, seen from the other it narrows, so that each block hangs on two neighbours and
carries the two others. The soffit is a closed floor of squares; pits of square pyramids stay open above the corners.
"""

from __future__ import annotations

import math

import numpy as np

from slicer.bricks.measures import BrickError, Measure, check_measures, clearance, edge
from slicer.bricks.solids import Floats, Pose, loft, pose
from slicer.mesh import Mesh

ABEILLE = (
    edge("side_mm", 60.0, "side of the square that the block takes in the soffit"),
    edge("height_mm", 20.0, "thickness of the vault"),
    Measure("lean_deg", 20.0, 1.0, 60.0, "lean of all four sides from the vertical, two out and two in"),
    clearance(0.5, "gap to each neighbour, across the leaning face"),
)

EDGE_LEFT_MM = 0.1
"""A block that narrows to less than this has no top that could be built on."""


def abeille(*, side_mm: float, height_mm: float, lean_deg: float, clearance_mm: float, name: str = "abeille") -> Mesh:
    """One block of the flat vault, soffit down, widening along x and narrowing along y.

    At height z its section is (s + 2 z tan(lean)) by (s - 2 z tan(lean)) with s the side less the clearance across the
    leaning faces; its volume is s^2 h - 4/3 tan(lean)^2 h^3.

    Raises:
        BrickError: a measure out of range, or sides that meet below the top.
    """
    check_measures(
        name,
        ABEILLE,
        {"side_mm": side_mm, "height_mm": height_mm, "lean_deg": lean_deg, "clearance_mm": clearance_mm},
    )
    lean = math.radians(lean_deg)
    side = side_mm - clearance_mm / math.cos(lean)
    run = 2 * height_mm * math.tan(lean)
    if side - run < EDGE_LEFT_MM:
        raise BrickError(
            f"brick {name}: sides that lean by {lean_deg:g} deg leave {side - run:.3g} mm of {side_mm:g} mm at a height"
            f" of {height_mm:g} mm; at least {EDGE_LEFT_MM:g} mm must be left: lower it, widen it or lean it less"
        )
    cap = np.array([(0, 1, 2), (0, 2, 3)])
    return loft([_rectangle(side, side)], [_rectangle(side + run, side - run)], cap, height_mm, name)


def abeille_neighbours(*, side_mm: float, **_measures: float) -> dict[str, Pose]:
    """The four neighbours in the vault, each turned by a quarter, and one across a corner, which is not."""
    around = {"right": (1, 0), "left": (-1, 0), "behind": (0, 1), "before": (0, -1)}
    poses = {name: pose(90, (side_mm * x, side_mm * y, 0)) for name, (x, y) in around.items()}
    return {**poses, "across the corner": pose(shift_mm=(side_mm, side_mm, 0))}


def _rectangle(length_mm: float, width_mm: float) -> Floats:
    x, y = length_mm / 2, width_mm / 2
    return np.array([(-x, -y), (x, -y), (x, y), (-x, y)])
