"""Layers: a mesh cut at the middle of each layer, as closed oriented loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from slicer.errors import MeshError
from slicer.kernels import cutting, offsetting, resolving
from slicer.mesh import Mesh
from slicer.offsets import RULES, Loops, resolve_loops
from slicer.parallel import in_order, workers_here

THINNING_MM = 1e-4
"""How far a point of a cut may lie from the thinned outline: a hundredth of what any gantry resolves."""

SLIT_MM = 0.05
"""Holes of less than this mean width between bodies that meet (a pin modelled in its hole, other facets to each) are
closed: they are none of the part, and beam compensation would keep the beam half a spot away from each."""

LAYERS_MAX = 200_000

PARTS_PER_THREAD = 4
"""Runs of planes that each thread takes one after the other, so that none waits long for another."""


@dataclass(frozen=True, eq=False)
class Layer:
    """The outline of one layer, cut at the middle of its height.

    Attributes:
        index: 0 for the lowest layer.
        z_mm: top of the layer.
        thickness_mm: height of the layer.
        points_mm: (p, 2) f8, corners of all loops; a loop closes from its last point to its first.
        loop_starts: (l + 1,) i8, loop i is `points_mm[loop_starts[i]:loop_starts[i + 1]]`; outer loops run
            counter-clockwise, holes clockwise.
    """

    index: int
    z_mm: float
    thickness_mm: float
    points_mm: NDArray[np.float64]
    loop_starts: NDArray[np.int64]

    def loops(self) -> list[NDArray[np.float64]]:
        """Each loop as its own (q, 2) f8 view."""
        starts = self.loop_starts
        return [self.points_mm[a:b] for a, b in pairwise(starts)]


def net_area_mm2(layer: Layer) -> float:
    """Area inside the outer loops less that of the holes, mm2."""
    return loops_area_mm2(layer.points_mm, layer.loop_starts)


def loops_area_mm2(points_mm: NDArray[np.float64], loop_starts: NDArray[np.int64]) -> float:
    """Signed area of a set of loops ((p, 2) f8 and (l + 1,) i8): counter-clockwise adds, clockwise takes away, mm2."""
    return float(loop_areas_mm2(points_mm, loop_starts).sum())


def loop_areas_mm2(points_mm: NDArray[np.float64], loop_starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(l,) f8: the signed area of each loop, mm2."""
    return _areas_and_perimeters(points_mm, loop_starts)[0]


def _areas_and_perimeters(
    points: NDArray[np.float64], starts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(l,) f8 each: the signed area of every loop, mm2, and its length, mm."""
    areas, perimeters = np.empty(len(starts) - 1), np.empty(len(starts) - 1)
    offsetting.measure_loops(points, starts, areas, perimeters)
    return areas, perimeters


def cut_layers(mesh: Mesh, thickness_mm: float, rule: str = "positive", threads: int | None = None) -> list[Layer]:
    """Cut a mesh into layers of one thickness, from its lowest point up.

    Every plane lies in the middle of its layer, so a layer stands for the mean of its height; a last layer whose middle
    is above the part is not made. A layer between two bodies may be empty. No loops of a layer cross.

    Args:
        rule: what is inside where surfaces overlap or cross, by how often they wind around it: "positive" (once or
            more: bodies that overlap become one), "non_zero" (once or more either way: parts that are inside out count
            too), "even_odd" (an odd number of times: what two bodies share is a hole).
        threads: that cut at the same time, as many as there are processors if None; the layers do not depend on it.

    Raises:
        MeshError: the thickness is no thickness, the part is thinner than half a layer, or a cut does not close; or
            the rule is none.
    """
    _check_rule(rule)
    if not (np.isfinite(thickness_mm) and thickness_mm > 0.0):
        raise MeshError(f"A layer cannot be {thickness_mm:g} mm thick; give a positive thickness.")
    bounds = cutting.used_bounds(*_arrays(mesh))
    bottom, top = (float(z) for z in bounds[:, 2])
    count = int(np.ceil(min((top - bottom) / thickness_mm - 0.5 - 1e-9, LAYERS_MAX + 1.0)))
    if count < 1:
        raise MeshError(
            f"{mesh.name} is {top - bottom:.6g} mm tall, less than half a layer of {thickness_mm:g} mm; "
            "slice it in thinner layers or check its unit."
        )
    if count > LAYERS_MAX:
        raise MeshError(
            f"{mesh.name} would need more than {LAYERS_MAX} layers of {thickness_mm:g} mm; check its unit or thickness."
        )
    index = np.arange(count)
    tops = bottom + (index + 1) * thickness_mm
    return _cut(mesh, bottom + (index + 0.5) * thickness_mm, tops, np.full(count, float(thickness_mm)), rule, threads)


def cut_bands(
    mesh: Mesh, edges_mm: NDArray[np.float64], rule: str = "positive", threads: int | None = None
) -> list[Layer]:
    """Cut a mesh into layers between given heights, (k + 1,) f8 rising, each in the middle of its height.

    Raises:
        MeshError: a cut does not close, or the rule is none.
    """
    _check_rule(rule)
    return _cut(mesh, 0.5 * (edges_mm[:-1] + edges_mm[1:]), edges_mm[1:], np.diff(edges_mm), rule, threads)


def _check_rule(rule: str) -> None:
    if rule not in RULES:
        raise MeshError(f"{rule!r} does not say what is inside; use one of {', '.join(RULES)}.")


def _cut(
    mesh: Mesh,
    planes_mm: NDArray[np.floating],
    tops_mm: NDArray[np.floating],
    thicknesses_mm: NDArray[np.floating],
    rule: str,
    threads: int | None,
) -> list[Layer]:
    outlines = _outlines(mesh, planes_mm, rule, threads)
    tops, thicknesses = tops_mm.tolist(), thicknesses_mm.tolist()
    return [Layer(i, tops[i], thicknesses[i], *outline) for i, outline in enumerate(outlines)]


def cut_planes(
    mesh: Mesh, planes_mm: Sequence[float] | NDArray[np.floating], threads: int | None = None
) -> list[Loops]:
    """The outlines of a mesh at the given heights (rising), each as (points, loop starts), in one pass over the mesh.

    They are as the surface runs, and cross where that does.

    Raises:
        MeshError: a cut does not close, because the surface has a gap there.
    """
    return _outlines(mesh, planes_mm, None, threads)


def _outlines(
    mesh: Mesh, planes_mm: Sequence[float] | NDArray[np.floating], rule: str | None, threads: int | None
) -> list[Loops]:
    """What `cut_planes` tells of; with a rule, loops that do not cross."""
    planes = np.ascontiguousarray(planes_mm, np.float64)
    assert np.all(np.diff(planes) > 0), "planes must rise"
    vertices, faces = _arrays(mesh)
    pair, _, _, _ = cutting.pair_edges(faces)
    levels = np.searchsorted(planes, vertices[:, 2], side="right").astype(np.int32)
    plane_first = np.empty(len(planes) + 1, np.int64)
    segments = int(cutting.count_segments(faces, levels, plane_first))
    triangle_of = np.empty(segments, np.int32)
    first_segment = np.empty(len(faces), np.int64)
    cutting.list_segments(faces, levels, plane_first, np.empty(len(planes), np.int64), triangle_of, first_segment)
    visited = np.zeros(segments, np.bool_)
    centre = 0.5 * (vertices.min(axis=0) + vertices.max(axis=0)) if rule is not None else np.zeros(3)

    def walk(part: tuple[int, int]) -> tuple[list[Loops], NDArray[np.int64]]:
        first, last = part
        room = int(plane_first[last] - plane_first[first])
        points, loop_first = np.empty((room, 2)), np.empty(room + 1, np.int64)
        plane_loops, opened = np.empty(last - first + 1, np.int64), np.empty(last - first, np.int64)
        used, loops = cutting.walk_planes(
            vertices, faces, pair, levels, planes, plane_first, triangle_of, first_segment, THINNING_MM, first, last,
            visited, points, loop_first, plane_loops, opened,
        )  # fmt: skip
        points, loop_first = points[:used].copy(), loop_first[: loops + 1].copy()
        clean = np.ones(last - first, np.bool_)
        if rule is not None:
            resolving.resolved_as_given(points, loop_first, plane_loops, centre[0], centre[1], RULES[rule], clean)
        outlines = []
        for k in range(last - first):
            starts = loop_first[plane_loops[k] : plane_loops[k + 1] + 1]
            outline = points[starts[0] : starts[-1]], starts - starts[0]
            outlines.append(outline if clean[k] or rule is None else _resolved(outline, rule))
        return outlines, opened

    workers = threads or workers_here()
    bounds = np.searchsorted(plane_first, np.linspace(0, segments, PARTS_PER_THREAD * workers + 1)[1:-1])
    parts = list(pairwise(np.unique([0, *np.minimum(bounds, len(planes)), len(planes)]).tolist()))
    walked = list(in_order(walk, parts, workers))
    opened = np.concatenate([np.zeros(0, np.int64), *(gaps for _, gaps in walked)])
    if opened.any():
        at = int(np.flatnonzero(opened)[0])
        raise MeshError(
            f"{mesh.name} is not closed: {int((opened > 0).sum())} of {len(planes)} cuts have a gap, "
            f"the first at z = {planes[at]:.3f} mm ({_outlines_open(int(opened[at]))} there). "
            "Repair the mesh and slice it again: fill its holes, or join edges that should meet (--close-gaps MM)."
        )
    return [outline for outlines, _ in walked for outline in outlines]


def _outlines_open(count: int) -> str:
    return "1 open outline" if count == 1 else f"{count} open outlines"


def _arrays(mesh: Mesh) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    return np.ascontiguousarray(mesh.vertices_mm, np.float64), np.ascontiguousarray(mesh.faces, np.int32)


def _resolved(outline: Loops, rule: str) -> Loops:
    """The border of what the rule calls inside, without the slits between bodies that meet."""
    points, starts = resolve_loops(outline, rule)
    areas, perimeters = _areas_and_perimeters(points, starts)
    real = (areas > 0.0) | (-2.0 * areas > SLIT_MM * perimeters)
    kept = [points[starts[i] : starts[i + 1]] for i in np.flatnonzero(real)]
    return np.concatenate([np.zeros((0, 2)), *kept]), np.cumsum([0, *map(len, kept)])
