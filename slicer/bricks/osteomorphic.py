"""The osteomorphic brick: flat ends, and beds that wave both ways so that courses cannot slide.

The idea is Dyskin's and Estrin's (2005, doi 10.1016/j.actaastro.2004.12.005): self-adjusting, and tolerant of low
precision. Top and bottom are the same surface f = a cos(2 pi x / p) cos(2 pi y / p), one brick's height apart; the
brick is 2p long and p wide, so a course shifted by half a brick (p) finds the same waves.
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
from slicer.bricks.solids import Floats, Pose, between_grids, pose
from slicer.mesh import Mesh

OSTEOMORPHIC = (
    edge("length_mm", 100.0, "length of its place in the wall, along x; it is half as wide"),
    edge("height_mm", 30.0, "height of a course"),
    Measure("amplitude_mm", 4.0, 0.0, 500.0, "height of the beds' waves over their middle"),
    clearance(0.5, "joint to every neighbour, across the face; each face stands back by half of it"),
    CHORD_TOLERANCE,
)

GRID_MAX = 500
"""Grid lines along one wave: two million triangles a brick."""

SLOPE_MAX = 2.0
"""Beds steeper than this (63 deg) are walls: blocks would wedge on them, not settle."""


def osteomorphic(
    *,
    length_mm: float,
    height_mm: float,
    amplitude_mm: float,
    clearance_mm: float,
    chord_tolerance_mm: float,
    name: str = "osteomorphic",
) -> Mesh:
    """A brick with waving beds; each bed is the parallel surface of the wave at half the clearance.

    Without clearance its volume is length x width x height exactly. The steepest slope, by which it locks, is
    2 pi amplitude / width.

    Raises:
        BrickError: a measure out of range, waves higher than half the brick or too steep, a clearance that leaves
            nothing or that the waves bend too sharply for, or a chord tolerance that asks for more than `GRID_MAX`
            lines a wave.
    """
    check_measures(
        name,
        OSTEOMORPHIC,
        {
            "length_mm": length_mm,
            "height_mm": height_mm,
            "amplitude_mm": amplitude_mm,
            "clearance_mm": clearance_mm,
            "chord_tolerance_mm": chord_tolerance_mm,
        },
    )
    check_chord(name, chord_tolerance_mm, clearance_mm)
    period, back = length_mm / 2, clearance_mm / 2
    if amplitude_mm > height_mm / 2:
        raise BrickError(
            f"brick {name}: waves of {amplitude_mm:g} mm are higher than half of the brick ({height_mm / 2:g} mm)"
        )
    slope = 2 * math.pi * amplitude_mm / period
    if slope > SLOPE_MAX:
        steep_deg, most_deg = (math.degrees(math.atan(rise)) for rise in (slope, SLOPE_MAX))
        raise BrickError(
            f"brick {name}: waves of {amplitude_mm:g} mm over {period:g} mm are steeper ({steep_deg:.0f} deg) than"
            f" a bed may be ({most_deg:.0f} deg); set amplitude_mm to {SLOPE_MAX * period / (2 * math.pi):.3g} or less"
        )
    bend = amplitude_mm * (2 * math.pi / period) ** 2  # the wave's greatest curvature, 1/mm
    if back * bend > 0.5:
        raise BrickError(
            f"brick {name}: waves of {amplitude_mm:g} mm over {period:g} mm bend too sharply for a clearance of"
            f" {clearance_mm:g} mm; lower amplitude_mm or clearance_mm"
        )
    if clearance_mm >= min(period, height_mm / math.hypot(1.0, slope)) / 2:
        raise BrickError(f"brick {name}: a clearance of {clearance_mm:g} mm leaves too little of the brick")
    x, y = (
        _lines(reach, period, _lines_a_wave(name, period, bend / (1 - back * bend), chord_tolerance_mm), back)
        for reach in (period, period / 2)
    )
    top = height_mm + _parallel(x, y, amplitude_mm, period, -back)
    bottom = _parallel(x, y, amplitude_mm, period, back)
    low = bottom.min()
    return _between(x, y, bottom - low, top - low, name)


def osteomorphic_neighbours(*, length_mm: float, height_mm: float, **_measures: float) -> dict[str, Pose]:
    """Where bricks lie beside this one: in its course, and in the next, shifted by half a brick.

    The waves also fit half a wave (a quarter of the length, half of the width) on both ways at once.
    """
    period = length_mm / 2
    return {
        "next in the course": pose(shift_mm=(length_mm, 0, 0)),
        "behind": pose(shift_mm=(0, period, 0)),
        "above, half a brick on": pose(shift_mm=(period, 0, height_mm)),
        "above, half a brick back": pose(shift_mm=(-period, 0, height_mm)),
    }


def _lines_a_wave(name: str, period_mm: float, bend_per_mm: float, chord_tolerance_mm: float) -> int:
    """Grid lines that a wave needs: a triangle with legs h leaves a surface of curvature k by h^2 k / 4 at most.

    The legs are reckoned a quarter too long, for a line next to a border is left out.
    """
    lines = math.ceil(1.25 * period_mm * math.sqrt(bend_per_mm / (4 * chord_tolerance_mm)) / 4) * 4
    if lines > GRID_MAX:
        raise BrickError(
            f"brick {name}: a chord tolerance of {chord_tolerance_mm:g} mm needs {lines} lines a wave, more than"
            f" {GRID_MAX}; make it coarser"
        )
    return max(lines, 4)


def _lines(reach_mm: float, period_mm: float, per_wave: int, back_mm: float) -> Floats:
    """Grid lines from end to end, at multiples of a part of the wave so that the grids of all neighbours agree."""
    step, end = period_mm / per_wave, reach_mm - back_mm
    inside = step * np.arange(-math.ceil(reach_mm / step), math.ceil(reach_mm / step) + 1)
    inside = inside[np.abs(inside) < end - step / 4]
    return np.concatenate([[-end], inside, [end]])


def _parallel(x: Floats, y: Floats, amplitude_mm: float, period_mm: float, distance_mm: float) -> Floats:
    """(len(x), len(y)) f8: height of the surface that lies `distance_mm` above the wave, measured across it.

    The foot (u, v) of each grid point on the wave is a fixed point, u = x + d f_u / sqrt(1 + f_u^2 + f_v^2); its error
    at least halves with each step, for the distance is at most half the wave's sharpest radius.
    """
    k = 2 * np.pi / period_mm
    x, y = x[:, None] + np.zeros_like(y), y[None, :] + np.zeros((len(x), 1))
    u, v = x, y
    for _ in range(60):
        along_u = -amplitude_mm * k * np.sin(k * u) * np.cos(k * v)
        along_v = -amplitude_mm * k * np.cos(k * u) * np.sin(k * v)
        stretch = np.sqrt(1.0 + along_u**2 + along_v**2)
        before, u, v = (u, v), x + distance_mm * along_u / stretch, y + distance_mm * along_v / stretch
        if max(np.abs(u - before[0]).max(), np.abs(v - before[1]).max()) < 1e-13 * period_mm:
            break
    height: Floats = amplitude_mm * np.cos(k * u) * np.cos(k * v) + distance_mm / stretch
    return height


def _between(x: Floats, y: Floats, bottom: Floats, top: Floats, name: str) -> Mesh:
    """The solid between two height fields over one grid."""
    flat = np.column_stack([np.repeat(x, len(y)), np.tile(y, len(x))])
    faces = between_grids(len(x), len(y)).astype(np.int32)
    heights = np.concatenate([bottom.reshape(-1), top.reshape(-1)])
    return Mesh(np.column_stack([np.concatenate([flat, flat]), heights]), faces, name)
