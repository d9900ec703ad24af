"""Sets of loops as regions of the plane: what is in both, in one and not the other, in any. By Clipper2."""

from __future__ import annotations

from itertools import pairwise

import manifold3d
import numpy as np
from numpy.typing import NDArray

from slicer.offsets import Loops

EMPTY: Loops = (np.zeros((0, 2)), np.zeros(1, np.int64))


def difference(a: Loops, b: Loops) -> Loops:
    """What lies in `a` and not in `b`."""
    return _combined(a, b, manifold3d.OpType.Subtract)


def intersection(a: Loops, b: Loops) -> Loops:
    """What lies in both."""
    return _combined(a, b, manifold3d.OpType.Intersect)


def union(a: Loops, b: Loops) -> Loops:
    """What lies in either."""
    return _combined(a, b, manifold3d.OpType.Add)


def bodies(loops: Loops) -> list[Loops]:
    """Each outer loop with its own holes."""
    points, _ = loops
    if not len(points):
        return []
    centre = _centre(points)
    return [_loops(part, centre) for part in _section(loops, centre).decompose()]


def boxes_of(parts: list[Loops]) -> NDArray[np.float64]:
    """(b, 4) f8: x and y from, x and y to of each."""
    return np.array([[*points.min(axis=0), *points.max(axis=0)] for points, _ in parts]).reshape(-1, 4)


def _combined(a: Loops, b: Loops, how: manifold3d.OpType) -> Loops:
    if not len(a[0]) and not len(b[0]):
        return EMPTY
    centre = _centre(np.concatenate([a[0], b[0]]))
    return _loops(manifold3d.CrossSection.batch_boolean([_section(a, centre), _section(b, centre)], how), centre)


def _centre(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Clipper counts in fixed steps: near the origin it keeps them whatever the place of the part."""
    centre: NDArray[np.float64] = 0.5 * (points.min(axis=0) + points.max(axis=0))
    return centre


def _section(loops: Loops, centre: NDArray[np.float64]) -> manifold3d.CrossSection:
    points, starts = loops
    near = points - centre
    return manifold3d.CrossSection([near[a:b] for a, b in pairwise(starts)], manifold3d.FillRule.Positive)


def _loops(section: manifold3d.CrossSection, centre: NDArray[np.float64]) -> Loops:
    polygons = section.to_polygons()
    if not polygons:
        return EMPTY
    starts = np.zeros(len(polygons) + 1, np.int64)
    np.cumsum([len(polygon) for polygon in polygons], out=starts[1:])
    return np.concatenate(polygons) + centre, starts
