"""The wedge of a dome: a piece of a spherical shell between two meridians and two elevations, one for each course.

Printed with the middle of its outer face up, its own meridian along y.
"""

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
from slicer.bricks.solids import Floats, Pose, arc_steps, between_grids, centred, pose
from slicer.mesh import Mesh

DOME_VOUSSOIR = (
    edge("inner_radius_mm", 400.0, "radius of the dome's inner face"),
    edge("outer_radius_mm", 440.0, "radius of the dome's outer face"),
    Measure("angle_deg", 12.0, 1.0, 120.0, "angle of the course's ring that one wedge takes, its joint included"),
    Measure("elevation_deg", 20.0, 0.0, 85.0, "elevation of the course's lower joint over the springing"),
    Measure("rise_deg", 10.0, 1.0, 60.0, "angle from the lower joint to the upper one"),
    clearance(0.5, "joint to every neighbour; each joint face stands back by half of it"),
    CHORD_TOLERANCE,
)

ELEVATION_DEG_MAX = 88.0
"""Above this the upper joint of a course is a point; a crown is one round stone."""


def dome_voussoir(
    *,
    inner_radius_mm: float,
    outer_radius_mm: float,
    angle_deg: float,
    elevation_deg: float,
    rise_deg: float,
    clearance_mm: float,
    chord_tolerance_mm: float,
    name: str = "dome-voussoir",
) -> Mesh:
    """A wedge of one course, its side joints flat along meridians, its beds cones around the dome's axis.

    Without clearance its volume is (R^3 - r^3) / 3 x angle x (sin(upper elevation) - sin(lower)), within the chord
    tolerance of the faces. Every joint face is the parallel surface of the middle of the joint at half the clearance.

    Raises:
        BrickError: a measure out of range, radii or elevations out of order, or a clearance or chord tolerance that
            leaves too little.
    """
    measures = {
        "inner_radius_mm": inner_radius_mm,
        "outer_radius_mm": outer_radius_mm,
        "angle_deg": angle_deg,
        "elevation_deg": elevation_deg,
        "rise_deg": rise_deg,
        "clearance_mm": clearance_mm,
        "chord_tolerance_mm": chord_tolerance_mm,
    }
    check_measures(name, DOME_VOUSSOIR, measures)
    check_chord(name, chord_tolerance_mm, clearance_mm)
    _check_together(name, measures)
    inner, outer = _shell(**measures)
    vertices = np.concatenate([inner.reshape(-1, 3), outer.reshape(-1, 3)])
    place = dome_place(**measures)
    printed = (vertices - place[:, 3]) @ place[:, :3]  # the inverse of the turn is its transpose
    return Mesh(printed, between_grids(*inner.shape[:2]).astype(np.int32), name)


def dome_voussoir_neighbours(**measures: float) -> dict[str, Pose]:
    """The wedges on both sides in the same course: this one turned about the dome's axis."""
    place = dome_place(**measures)
    poses = {}
    for name, turn_deg in (("next to the left", -measures["angle_deg"]), ("next to the right", measures["angle_deg"])):
        turn = pose(turn_deg)[:, :3]
        turned = place[:, :3].T @ turn @ place[:, :3]
        shift = place[:, :3].T @ (turn @ place[:, 3] - place[:, 3])
        poses[name] = np.column_stack([turned, shift])
    return poses


def dome_place(**measures: float) -> Pose:
    """(3, 4): where the wedge as printed lies in a dome whose middle is the origin and whose axis is z.

    The wedges of one course follow by turns about z; those of another course have another place.
    """
    middle = math.radians(measures["elevation_deg"] + measures["rise_deg"] / 2)
    up = np.array([math.cos(middle), 0.0, math.sin(middle)])
    along = np.array([-math.sin(middle), 0.0, math.cos(middle)])
    turn = np.column_stack([np.cross(along, up), along, up])
    inner, outer = _shell(**measures)
    corners = np.concatenate([inner.reshape(-1, 3), outer.reshape(-1, 3)]) @ turn
    shift = np.array([0.0, -centred(corners[:, 1].min(), corners[:, 1].max()), corners[:, 2].min()])
    return np.column_stack([turn, turn @ shift])


def _check_together(name: str, m: dict[str, float]) -> None:
    shell_mm, back = m["outer_radius_mm"] - m["inner_radius_mm"], m["clearance_mm"] / 2
    if shell_mm < 0.1:
        raise BrickError(
            f"brick {name}: the outer radius ({m['outer_radius_mm']:g} mm) must be at least 0.1 mm beyond the inner one"
            f" ({m['inner_radius_mm']:g} mm)"
        )
    if m["chord_tolerance_mm"] > shell_mm / 4:
        raise BrickError(
            f"brick {name}: a chord tolerance of {m['chord_tolerance_mm']:g} mm is too coarse for a shell of"
            f" {shell_mm:g} mm"
        )
    top_deg = m["elevation_deg"] + m["rise_deg"]
    if top_deg > ELEVATION_DEG_MAX:
        raise BrickError(
            f"brick {name}: the course reaches an elevation of {top_deg:g} deg, more than {ELEVATION_DEG_MAX:g}; lower"
            " elevation_deg or rise_deg"
        )
    # the narrowest edge, at the top of the inner face, and the shortest one along a meridian
    width_mm = m["inner_radius_mm"] * math.cos(math.radians(top_deg)) * math.sin(math.radians(m["angle_deg"]) / 2)
    length_mm = m["inner_radius_mm"] * math.sin(math.radians(m["rise_deg"]) / 2)
    if back > 0.8 * min(width_mm, length_mm):
        raise BrickError(
            f"brick {name}: a clearance of {m['clearance_mm']:g} mm leaves too little of an inner face that is"
            f" {2 * width_mm:.3g} mm wide at its top and {2 * length_mm:.3g} mm long"
        )


def _shell(
    *,
    inner_radius_mm: float,
    outer_radius_mm: float,
    angle_deg: float,
    elevation_deg: float,
    rise_deg: float,
    clearance_mm: float,
    chord_tolerance_mm: float,
) -> tuple[Floats, Floats]:
    """(columns, rows, 3) each: the inner and the outer face in the dome, columns along the ring, rows upwards."""
    angle, rise, back = math.radians(angle_deg), math.radians(rise_deg), clearance_mm / 2
    tolerance = chord_tolerance_mm / 2  # a grid bends both ways at once
    columns = arc_steps(outer_radius_mm, angle, tolerance)
    rows = arc_steps(outer_radius_mm, rise, tolerance)
    across = np.linspace(-1.0, 1.0, columns + 1)
    across = 0.5 * (across - across[::-1])
    upwards = np.linspace(0.0, 1.0, rows + 1)
    lower = math.radians(elevation_deg)
    faces = []
    for radius in (inner_radius_mm, outer_radius_mm):
        aside = math.asin(back / radius)  # a plane through the middle at this angle is `back` away at this radius
        elevation = lower + aside + (rise - 2 * aside) * upwards
        ring = radius * np.cos(elevation)
        azimuth = across[:, None] * (angle / 2 - np.arcsin(back / ring))
        height = np.broadcast_to(radius * np.sin(elevation), azimuth.shape)
        faces.append(np.stack([ring * np.cos(azimuth), ring * np.sin(azimuth), height], axis=-1))
    return faces[0], faces[1]
