"""The wedge of a round arch, printed lying on its side: the arch's plane is the build plate."""

from __future__ import annotations

import math

import numpy as np

from slicer.bricks.measures import (
    CHORD_TOLERANCE,
    BrickError,
    Measure,
    check_chord,
    check_measures,
    clearance,
    edge,
)
from slicer.bricks.solids import Floats, Pose, arc_steps, centred, ladder, loft, pose
from slicer.mesh import Mesh

VOUSSOIR = (
    edge("inner_radius_mm", 150.0, "radius of the arch's inner face (intrados)"),
    edge("outer_radius_mm", 190.0, "radius of the arch's outer face (extrados)"),
    Measure("angle_deg", 20.0, 1.0, 120.0, "angle of the arch that one wedge takes, its joint included"),
    edge("width_mm", 40.0, "depth of the arch, along z"),
    clearance(0.5, "joint to the next wedge; both joint faces stand back by half of it"),
    CHORD_TOLERANCE,
)


def voussoir(
    *,
    inner_radius_mm: float,
    outer_radius_mm: float,
    angle_deg: float,
    width_mm: float,
    clearance_mm: float,
    chord_tolerance_mm: float,
    name: str = "voussoir",
) -> Mesh:
    """A wedge between two radii, its crown towards +y, its joint faces parallel to the radii at half the clearance.

    Its section is angle (R^2 - r^2) / 2 less two strips along the radii, each A(R) - A(r) with
    A(q) = (q^2 asin(d/q) + d sqrt(q^2 - d^2)) / 2 and d half the clearance (both arcs being chords within the
    tolerance).

    Raises:
        BrickError: a measure out of range, an outer radius that is not beyond the inner one, or a clearance or chord
            tolerance that leaves no inner face.
    """
    check_measures(
        name,
        VOUSSOIR,
        {
            "inner_radius_mm": inner_radius_mm,
            "outer_radius_mm": outer_radius_mm,
            "angle_deg": angle_deg,
            "width_mm": width_mm,
            "clearance_mm": clearance_mm,
            "chord_tolerance_mm": chord_tolerance_mm,
        },
    )
    if outer_radius_mm - inner_radius_mm < 0.1:
        raise BrickError(
            f"brick {name}: the outer radius ({outer_radius_mm:g} mm) must be at least 0.1 mm beyond the inner one"
            f" ({inner_radius_mm:g} mm)"
        )
    check_chord(name, chord_tolerance_mm, clearance_mm)
    half, back = math.radians(angle_deg) / 2, clearance_mm / 2
    if back >= inner_radius_mm * math.sin(half):
        raise BrickError(
            f"brick {name}: a clearance of {clearance_mm:g} mm leaves nothing of the inner face, which is"
            f" {2 * inner_radius_mm * math.sin(half):.3g} mm wide"
        )
    if chord_tolerance_mm > (outer_radius_mm - inner_radius_mm) / 4:
        raise BrickError(
            f"brick {name}: a chord tolerance of {chord_tolerance_mm:g} mm is too coarse for a wedge of"
            f" {outer_radius_mm - inner_radius_mm:g} mm between its radii"
        )
    steps = arc_steps(outer_radius_mm, 2 * half, chord_tolerance_mm)
    outer = _arc(outer_radius_mm, half - math.asin(back / outer_radius_mm), steps)
    inner = _arc(inner_radius_mm, half - math.asin(back / inner_radius_mm), steps)
    ring = np.concatenate([outer, inner[::-1]])
    ring[:, 1] += _axis_y_mm(inner_radius_mm, outer_radius_mm, half)
    outwards = np.arange(steps + 1)
    cap = ladder(2 * steps + 1 - outwards, outwards)
    return loft([ring], [ring], cap, width_mm, name)


def voussoir_neighbours(
    *, inner_radius_mm: float, outer_radius_mm: float, angle_deg: float, **_measures: float
) -> dict[str, Pose]:
    """The wedges on both sides: this one turned about the arch's axis."""
    axis_y = _axis_y_mm(inner_radius_mm, outer_radius_mm, math.radians(angle_deg) / 2)
    poses = {}
    for name, turn_deg in (("next to the left", angle_deg), ("next to the right", -angle_deg)):
        turn = pose(turn_deg)
        turn[:2, 3] = (0.0, axis_y) - turn[:2, :2] @ (0.0, axis_y)
        poses[name] = turn
    return poses


def _axis_y_mm(inner_radius_mm: float, outer_radius_mm: float, half_rad: float) -> float:
    """Where the arch's axis lies when the wedge (its joints not counted) lies around the origin."""
    return centred(inner_radius_mm * math.cos(half_rad), outer_radius_mm)


def _arc(radius_mm: float, half_rad: float, steps: int) -> Floats:
    """Points counter-clockwise around +y, the same left and right to the last digit."""
    angle = half_rad * np.linspace(-1.0, 1.0, steps + 1)
    angle = 0.5 * (angle - angle[::-1])
    return radius_mm * np.column_stack([-np.sin(angle), np.cos(angle)])
