"""What a plan drops: places inside the outline that no spot passes over, found layer by layer and put together.

Narrow places, which the spot does not fit into, are found by geometry, however thin they are; gaps, where it would fit
and the plan leaves them out, by samples. Both are held against the tracks that there are, whoever laid them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import manifold3d
import numpy as np

from slicer.energy import Floats
from slicer.kernels import coverage
from slicer.layers import Layer
from slicer.sampling import Sampling, box
from slicer.scan import ScanPath

FEATURE_EXTENT_SPOTS = 1.0
"""A narrow place is a feature from this extent on, in spots (the tip of a right corner, which no disc reaches, has
0.71) ..."""

FEATURE_AREA_SPOTS = 0.1
"""... or from this area on, in squares of the spot (that tip: 0.054)."""

GAP_AREA_SPOTS = 0.25
"""A gap is a feature from this area on, in squares of the spot (hatch ends on a slant leave up to 0.2) ..."""

GAP_WIDTH_SPOTS = 0.1
"""... if it is this wide, in spots (area over extent): hairlines between tracks are only summed ..."""

GAP_SAMPLES, GAP_SAMPLES_COARSE = 3, 8
"""... and has this many samples; more where samples are coarse, so that strays among hairlines do not make a gap. A
body of its own that no spot touches is a feature however small it is."""

OPENING_CHORDS = 32
OPENING_SLACK = 0.02
"""How far an opening may reach over the true one, in radii; its arcs of so many chords a turn stay behind by 0.005."""

CANDIDATES_A_LAYER = 1000
"""Bound on the gaps of a layer that are looked into, the largest first."""

BARYCENTRIC = np.array([[i + 1 / 3, j + 1 / 3, 4 - i - j - 2 / 3] for i in range(4) for j in range(4 - i)]) / 4.0
"""(10, 3) f8: points all over a triangle."""

FEATURES_A_LAYER = 200
FEATURES_A_PLAN = 5000
"""The largest are listed, the others are counted."""

Cause = Literal["narrow", "gap"]


@dataclass(frozen=True, slots=True)
class DroppedFeature:
    """A place inside the outline that no spot passes over.

    Attributes:
        cause: "narrow" where the spot does not fit, "gap" where it would.
        first_layer, last_layer: indices of the lowest and the highest layer (0 the lowest of the part).
        x_mm, y_mm: middle; low_mm, high_mm: corners of its box, all over its layers.
        area_mm2: of its largest place in a layer; volume_mm3: area x thickness over its layers.
    """

    cause: Cause
    first_layer: int
    last_layer: int
    x_mm: float
    y_mm: float
    low_mm: tuple[float, float]
    high_mm: tuple[float, float]
    area_mm2: float
    volume_mm3: float


def feature_sentence(feature: DroppedFeature) -> str:
    """One dropped feature: size, place, layers counted from 1, and why."""
    wide, deep = (high - low for low, high in zip(feature.low_mm, feature.high_mm, strict=True))
    layers = f"layer {feature.first_layer + 1}"
    if feature.last_layer > feature.first_layer:
        layers = f"layers {feature.first_layer + 1} to {feature.last_layer + 1}"
    why = "narrower than the spot" if feature.cause == "narrow" else "wide enough for the spot, but left out"
    return (
        f"{feature.area_mm2:.3g} mm2 in {wide:.2f} x {deep:.2f} mm at x {feature.x_mm:.2f}, y {feature.y_mm:.2f} mm,"
        f" {layers}, is {why}"
    )


# ---- one layer


def dropped_features(
    sampling: Sampling, uncovered: int, layer: Layer, path: ScanPath, spots: Floats, spot_mm: float
) -> tuple[tuple[DroppedFeature, ...], int]:
    """The listed features, largest first, and how many are not listed."""
    features = [
        *_untouched_bodies(layer, path, spots, spot_mm),
        *_narrow_parts(layer, path, spots, spot_mm),
        *(_gaps(sampling, uncovered, layer, spot_mm) if uncovered else ()),
    ]
    features.sort(key=lambda feature: (-feature.area_mm2, feature.x_mm, feature.y_mm))
    return tuple(features[:FEATURES_A_LAYER]), max(0, len(features) - FEATURES_A_LAYER)


def _gaps(sampling: Sampling, uncovered: int, layer: Layer, spot_mm: float) -> Iterator[DroppedFeature]:
    """Places that the spot would fit into and that no track covers, as the samples show them."""
    fewest = gap_samples(sampling, spot_mm)
    # samples two apart are one place, as hairlines between them may be missed; not where they are spots apart
    places, queue, ends = sampling.bare_places(uncovered, reach=2 if fewest == GAP_SAMPLES else 1)
    area_mm2 = places[:, 0] * sampling.pixel_mm**2
    extent_mm = np.hypot(places[:, 5] - places[:, 3], places[:, 6] - places[:, 4]) + sampling.pixel_mm
    wide = area_mm2 >= GAP_WIDTH_SPOTS * spot_mm * extent_mm
    chosen = np.flatnonzero(wide & (area_mm2 >= GAP_AREA_SPOTS * spot_mm**2) & (places[:, 0] >= fewest))
    largest = chosen[np.argsort(-area_mm2[chosen], kind="stable")][:CANDIDATES_A_LAYER]
    for place in largest.tolist():
        samples = queue[int(ends[place - 1]) if place else 0 : int(ends[place])]
        probes = sampling.samples_at(samples[:: -(-len(samples) // 16)])
        fits = coverage.reachable_part(sampling.points, sampling.starts, probes, 0.5 * spot_mm, 0.05 * spot_mm)
        if fits > 0.5:
            yield _feature("gap", layer, places[place, 1:3], places[place, 3:5], places[place, 5:7], area_mm2[place])


def _narrow_parts(layer: Layer, path: ScanPath, spots: Floats, spot_mm: float) -> Iterator[DroppedFeature]:
    """Parts of the outline that its opening by the spot loses (walls, fins and tips narrower than it), if no track
    covers them all the same.

    The opening is what a disc as large as the spot can reach from inside, made by moving the outline in and out again;
    geometry and not samples, so that a wall of any thinness is found.
    """
    if not len(layer.points_mm):
        return
    centre = 0.5 * np.add(*box(layer.points_mm))
    outline = manifold3d.CrossSection([loop - centre for loop in layer.loops()], manifold3d.FillRule.Positive)
    radius = 0.5 * spot_mm
    opened = outline.offset(-radius, manifold3d.JoinType.Round, 2.0, OPENING_CHORDS)
    opened = opened.offset((1.0 + OPENING_SLACK) * radius, manifold3d.JoinType.Round, 2.0, OPENING_CHORDS)
    tracks = path.vectors_mm - np.tile(centre, 2)
    for part in (outline - opened).decompose():
        low_x, low_y, high_x, high_y = part.bounds()
        area_mm2, extent_mm = part.area(), math.hypot(high_x - low_x, high_y - low_y)
        if area_mm2 < FEATURE_AREA_SPOTS * spot_mm**2 and extent_mm < FEATURE_EXTENT_SPOTS * spot_mm:
            continue
        loops = part.to_polygons()
        if not loops:  # a crumb that Clipper rounds away
            continue
        probes, weights = _probes(loops)
        if coverage.part_within(tracks, (0.5 + OPENING_SLACK) * spots, probes, weights) > 0.5:
            continue
        corners = np.concatenate(loops) + centre
        low, high = box(corners)
        yield _feature("narrow", layer, 0.5 * (low + high), low, high, area_mm2)


def _probes(loops: list[Floats]) -> tuple[Floats, Floats]:
    """Points all over the inside of loops, (n, 2) f8, and the part of the area that each stands for, (n,) f8."""
    corners = np.concatenate(loops)
    triangles = corners[manifold3d.triangulate(loops)]
    a, b = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    area = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
    points = np.einsum("qc,tcx->tqx", BARYCENTRIC, triangles).reshape(-1, 2)
    weights = np.repeat(area, len(BARYCENTRIC))
    return np.ascontiguousarray(points), weights / weights.sum()


def _untouched_bodies(layer: Layer, path: ScanPath, spots: Floats, spot_mm: float) -> Iterator[DroppedFeature]:
    """Bodies that are smaller than the spot and that no spot touches: features, however small."""
    for loop in layer.loops():
        if len(loop) == 0:
            continue
        low, high = box(loop)
        x, y = (loop - low).T
        area_mm2 = 0.5 * float(x @ np.roll(y, -1) - y @ np.roll(x, -1))
        extent_mm = math.hypot(*(high - low))
        evenly = np.full(len(loop), 1.0 / len(loop))
        small = extent_mm < FEATURE_EXTENT_SPOTS * spot_mm and area_mm2 < FEATURE_AREA_SPOTS * spot_mm**2
        if small and area_mm2 > 0.0 and coverage.part_within(path.vectors_mm, 0.5 * spots, loop, evenly) == 0.0:
            yield _feature("narrow", layer, 0.5 * (low + high), low, high, area_mm2)


def _feature(
    cause: Cause, layer: Layer, middle_mm: Floats, low_mm: Floats, high_mm: Floats, area_mm2: float
) -> DroppedFeature:
    (x, y), (x_0, y_0), (x_1, y_1) = middle_mm.tolist(), low_mm.tolist(), high_mm.tolist()
    area = float(area_mm2)
    return DroppedFeature(
        cause, layer.index, layer.index, x, y, (x_0, y_0), (x_1, y_1), area, area * layer.thickness_mm
    )


def gap_samples(sampling: Sampling, spot_mm: float) -> int:
    """How many samples a gap needs at this resolution."""
    return GAP_SAMPLES if sampling.pixel_mm <= 0.25 * spot_mm else GAP_SAMPLES_COARSE


# ---- layer upon layer


@dataclass(frozen=True, eq=False, slots=True)
class _Column:
    """A feature as it rises through the layers, and its places in the last of them."""

    feature: DroppedFeature
    top: tuple[DroppedFeature, ...]


class FeatureTally:
    """Puts layers' places together, lowest layer first: what stands upon each other is one feature."""

    def __init__(self) -> None:
        self._done: list[DroppedFeature] = []
        self._rising: list[_Column] = []

    def features(self) -> list[DroppedFeature]:
        """All so far, the largest by volume first."""
        found = [*self._done, *(column.feature for column in self._rising)]
        return sorted(found, key=lambda f: (-f.volume_mm3, f.first_layer, f.x_mm, f.y_mm))

    def add(self, places: tuple[DroppedFeature, ...], reach_mm: float) -> None:
        """Stand a layer's places on the features that they touch; all that stand on one place are one feature."""
        owner: dict[int, int] = {}  # column of the last layers -> the one of this layer that it became part of
        risen: dict[int, _Column] = {}
        for number, place in enumerate(places):
            column = _Column(place, (place,))
            below = [i for i, c in enumerate(self._rising) if any(_touch(place, top, reach_mm) for top in c.top)]
            for i in below:
                if i not in owner:
                    column = _Column(_joined(self._rising[i].feature, column.feature), column.top)
                elif owner[i] in risen:
                    other = risen.pop(owner[i])
                    column = _Column(_joined(other.feature, column.feature), other.top + column.top)
            for i, taken_by in owner.items():
                if taken_by not in risen:
                    owner[i] = number
            owner.update(dict.fromkeys(below, number))
            risen[number] = column
        self._done += [c.feature for i, c in enumerate(self._rising) if i not in owner]
        self._rising = list(risen.values())


def _touch(one: DroppedFeature, other: DroppedFeature, reach_mm: float) -> bool:
    return one.cause == other.cause and all(
        one.low_mm[axis] - reach_mm <= other.high_mm[axis] and other.low_mm[axis] - reach_mm <= one.high_mm[axis]
        for axis in (0, 1)
    )


def _joined(below: DroppedFeature, above: DroppedFeature) -> DroppedFeature:
    largest = below if below.area_mm2 >= above.area_mm2 else above
    return DroppedFeature(
        above.cause,
        min(below.first_layer, above.first_layer),
        max(below.last_layer, above.last_layer),
        largest.x_mm,
        largest.y_mm,
        (min(below.low_mm[0], above.low_mm[0]), min(below.low_mm[1], above.low_mm[1])),
        (max(below.high_mm[0], above.high_mm[0]), max(below.high_mm[1], above.high_mm[1])),
        largest.area_mm2,
        below.volume_mm3 + above.volume_mm3,
    )
