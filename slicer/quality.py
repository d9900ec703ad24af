"""What a plan is worth: does the area that went in come out as tracks, what does no beam reach, where does energy go?

Two questions are asked of every layer, of samples laid over it (`slicer.kernels.coverage`):

*The books.* Every vector owns a track, the rectangle around it as wide as the distance of tracks; a plan without fault
tiles the outline with tracks once. What it does beside that is counted, so that

    area in = area hatched - repeated - outside + fringe + missing

where area hatched is length x track width, repeated is what tracks own more than once, outside what they own outside
the outline, fringe what no track owns but the wider spot of one passes over (along the outline, where a spot is wider
than the hatch spacing), and missing what has neither track nor spot. Area in and area hatched are exact; the others are
sampled, and what is left over is said, beside how much sampling may leave over.

*The cover.* Which part of the outline does the spot pass over at least once? What it does not is put together into
places; a place large enough to be seen is a dropped feature, told with position, size and layers: narrow, where the
beam's spot does not fit, or a gap, where it would fit and the plan leaves it out. Smaller ones (tips of corners) are
slivers and are summed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Literal, Protocol

import manifold3d
import msgspec
import numpy as np
from numpy.typing import NDArray

from slicer import thermal
from slicer.energy import EnergyDensity, Exposure, Floats, layer_energy, line_energy_j_mm, part_energy
from slicer.errors import SlicerError
from slicer.job import Job
from slicer.kernels import coverage
from slicer.layers import Layer, net_area_mm2
from slicer.recipe import Recipe
from slicer.scan import ScanPath

SCHEMA_VERSION = 1

SAMPLES_A_SPOT = 64
"""Samples across the spot, where the layer is small enough for that many."""

SAMPLES_MAX = 2**18
"""Samples of one layer; a larger one is sampled more coarsely, and its report says how."""

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

MAP_CELLS = 96
"""Cells of an energy map along its longer side."""

MAP_SAMPLES = 4
"""Samples inside the outline from which on a cell of the map has a value."""

NEIGHBOUR_WIDTHS = 1.5
"""Vectors nearer than this many track widths are neighbours, where the recipe's strategy has no radius of its own."""

QUARTER_TURN = np.array([[0.0, 1.0], [-1.0, 0.0]])

DIRECTIONS = 360
"""Directions, evenly over a half turn, that rows of samples may run in."""

Cause = Literal["narrow", "gap"]


class QualityError(SlicerError):
    """A report cannot be made with these numbers."""


class Process(Exposure, Protocol):
    """The numbers a report needs beside layer and path; a Recipe is one."""

    @property
    def spot_mm(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Books:
    """Where the area went, mm2; the module says what each line is.

    `unexplained_mm2` is what the lines leave over, `error_mm2` what sampling may leave over.
    """

    area_in_mm2: float
    area_hatched_mm2: float
    repeated_mm2: float
    outside_mm2: float
    fringe_mm2: float
    missing_mm2: float
    unexplained_mm2: float
    error_mm2: float


@dataclass(frozen=True, slots=True)
class Cover:
    """What the spots pass over, mm2.

    Attributes:
        coverage_percent: part of the outline under a spot at least once; None where there is no outline.
        uncovered_mm2: inside the outline and under no spot; exposed_outside_mm2: under a spot, outside the outline.
        doubly_covered_mm2: inside the outline and in two tracks or more (spots overlap by intent where they are wider
            than the distance of tracks; tracks should not).
        sliver_mm2: uncovered and in no listed feature: tips of corners, hairlines between tracks.
        resolution_mm: distance of samples; error_mm2: what sampling may be wrong by, for each of these areas.
        feature_mm2: from this area on a gap is certain to be a feature; what is narrow is one from 0.1 squares of the
            spot on.
    """

    coverage_percent: float | None
    uncovered_mm2: float
    exposed_outside_mm2: float
    doubly_covered_mm2: float
    sliver_mm2: float
    resolution_mm: float
    error_mm2: float
    feature_mm2: float


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


@dataclass(frozen=True, slots=True)
class ReturnTimes:
    """How soon after their neighbours vectors are exposed (`slicer.thermal.return_times`), by their length.

    Attributes:
        edges_s: (b + 1) rising; length_mm: (b) exposed length with a return time between edges, the first also holding
            what is shorter, the last what is longer.
        first_mm: exposed length without an earlier neighbour.
        least_s: the least return time, None where there is none; less than 0 where two heads are at neighbours at once.
    """

    edges_s: tuple[float, ...]
    length_mm: tuple[float, ...]
    first_mm: float
    least_s: float | None


@dataclass(frozen=True, eq=False, slots=True)
class EnergyMap:
    """What the beam gives to a layer: mean energy per area in square cells, each vector's spread evenly over all that
    its spot passes over.

    Attributes:
        x_mm, y_mm: the corner of the first cell; cell_mm: side of a cell.
        j_mm2: (rows, columns) f4, row 0 at the lowest y; NaN where a cell is (nearly) outside the outline.
    """

    x_mm: float
    y_mm: float
    cell_mm: float
    j_mm2: NDArray[np.float32]


@dataclass(frozen=True, eq=False, slots=True)
class LayerQuality:
    """The report of one layer. `features_unlisted` counts the ones beyond FEATURES_A_LAYER."""

    index: int
    z_mm: float
    thickness_mm: float
    vectors: int
    books: Books
    cover: Cover
    features: tuple[DroppedFeature, ...]
    features_unlisted: int
    energy: EnergyDensity
    return_times: ReturnTimes | None
    energy_map: EnergyMap | None

    def to_json(self) -> bytes:
        """The report of this layer with its energy map: rows of J/mm2 from the lowest y up, null outside."""
        return msgspec.json.format(msgspec.json.encode(self, enc_hook=_rows), indent=1) + b"\n"


@dataclass(frozen=True, slots=True)
class LayerFigures:
    """A layer in the report's file: its report without what the plan's says already."""

    index: int
    z_mm: float
    thickness_mm: float
    vectors: int
    books: Books
    cover: Cover
    features: int
    energy: EnergyDensity


@dataclass(frozen=True, slots=True)
class PlanQuality:
    """The report of a plan: sums over its layers, features put together over layers, and every layer's figures.

    `layers_in_all` is larger than the number of layers reported where only some were looked at.
    """

    schema_version: int
    layers_in_all: int
    books: Books
    cover: Cover
    features: tuple[DroppedFeature, ...]
    features_unlisted: int
    energy: EnergyDensity
    return_times: ReturnTimes | None
    layers: tuple[LayerFigures, ...]

    def to_json(self) -> bytes:
        """The report's file; `docs/plan-report.schema.json` is its schema. Equal reports are equal bytes."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"

    @staticmethod
    def from_json(data: bytes) -> PlanQuality:
        """The reverse of `to_json`. Raises QualityError for what is no such report."""
        try:
            report = msgspec.json.decode(data, type=PlanQuality)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise QualityError(f"this is no plan report: {error}") from error
        if report.schema_version != SCHEMA_VERSION:
            raise QualityError(
                f"the plan report has format {report.schema_version}, this moonkiln reads {SCHEMA_VERSION}:"
                " make it anew"
            )
        return report

    def sentences(self) -> list[str]:
        """What a person should know, the books first."""
        return _sentences(self)


# ---- one layer


def layer_quality(
    layer: Layer,
    path: ScanPath,
    process: Process,
    *,
    spot_mm: Floats | None = None,
    track_width_mm: Floats | None = None,
    return_time_s: Floats | None = None,
    window_mm: tuple[float, float, float, float] | None = None,
    samples_max: int = SAMPLES_MAX,
) -> LayerQuality:
    """Judge the plan of one layer.

    Args:
        process: the spot, the distance of tracks and what energy densities need; a Recipe will do.
        spot_mm, track_width_mm: (n,) f8 where vectors have their own.
        return_time_s: (n,) f8, per vector, inf for never; without it the report has none.
        window_mm: x, y, width, height of the energy map; the layer's own box if None.
        samples_max: bound on the samples, and so on the time (about 5 ns each) and memory (7 bytes each).

    Raises:
        QualityError: a spot or width that is no width, or no samples to take.
    """
    n = len(path)
    spots = _widths("spot_mm", process.spot_mm if spot_mm is None else spot_mm, n)
    widths = _widths("track_width_mm", process.track_width_mm if track_width_mm is None else track_width_mm, n)
    if samples_max < 1:
        raise QualityError(f"A layer cannot be judged by {samples_max} samples; give at least one.")
    area_in_mm2 = net_area_mm2(layer)
    energy = layer_energy(path, layer.thickness_mm, process, widths)
    times = None if return_time_s is None else _return_times(return_time_s, path.lengths_mm)
    if n == 0 and len(layer.points_mm) == 0:
        return LayerQuality(
            layer.index, layer.z_mm, layer.thickness_mm, 0, Books(*[0.0] * 8),
            Cover(None, 0.0, 0.0, 0.0, 0.0, float(process.spot_mm) / SAMPLES_A_SPOT, 0.0, 0.0),
            (), 0, energy, times, None,
        )  # fmt: skip

    lengths_mm = path.lengths_mm
    sampling = _Sampling.of(layer, path, spots, widths, window_mm, samples_max)
    passed_mm2 = spots * (lengths_mm + 0.25 * math.pi * spots)
    joules_mm2 = (line_energy_j_mm(path.power_w, path.speed_mm_s) * lengths_mm / passed_mm2).astype(np.float32)
    counts, energy_map = sampling.swept(spots, widths, joules_mm2)
    pixel_mm2 = sampling.pixel_mm**2
    error_mm2 = _sampling_error_mm2(sampling.pixel_mm, sampling.square, int(counts[coverage.CHANGES]))

    area = [float(count) * pixel_mm2 for count in counts]
    hatched_mm2 = float((lengths_mm * widths).sum())
    repeated, outside = area[coverage.REPEATED], area[coverage.TRACKED_OUTSIDE]
    fringe, missing = area[coverage.FRINGE], area[coverage.MISSING]
    books = Books(
        area_in_mm2, hatched_mm2, repeated, outside, fringe, missing,
        area_in_mm2 - (hatched_mm2 - repeated - outside + fringe + missing), error_mm2,
    )  # fmt: skip

    spot = float(process.spot_mm) if n == 0 else float(spots.min())
    features, unlisted = _features(sampling, int(counts[coverage.UNCOVERED]), layer, path, spots, spot)
    inside = int(counts[coverage.INSIDE])
    cover = Cover(
        100.0 * int(counts[coverage.COVERED]) / inside if inside else None,
        area[coverage.UNCOVERED], area[coverage.COVERED_OUTSIDE], area[coverage.TRACKED_TWICE],
        max(0.0, area[coverage.UNCOVERED] - sum(feature.area_mm2 for feature in features)), sampling.pixel_mm,
        error_mm2, max(GAP_AREA_SPOTS * spot**2, 2.0 * sampling.gap_samples(spot) * pixel_mm2),
    )  # fmt: skip
    return LayerQuality(
        layer.index, layer.z_mm, layer.thickness_mm, n, books, cover, features, unlisted, energy, times, energy_map
    )


def recipe_return_times_s(path: ScanPath, recipe: Recipe) -> Floats:
    """(n,) f8, `slicer.thermal.return_times` with the radius and jump speed that the recipe means; inf for never."""
    radius_mm = recipe.strategy.return_radius_mm or NEIGHBOUR_WIDTHS * recipe.track_width_mm
    return thermal.return_times(path, radius_mm, recipe.jump_speed_mm_s)


def _return_times(return_time_s: Floats, lengths_mm: Floats) -> ReturnTimes:
    found = thermal.return_time_histogram(return_time_s, lengths_mm)
    least_s = found.least_s if math.isfinite(found.least_s) else None
    return ReturnTimes(tuple(found.edges_s.tolist()), tuple(found.length_mm.tolist()), found.first_mm, least_s)


def _rows(array: object) -> list[list[float | None]]:
    """A raster for JSON, which knows no NaN."""
    if not isinstance(array, np.ndarray):
        raise NotImplementedError(f"a report holds no {type(array)}")
    return [[None if math.isnan(value) else round(value, 6) for value in row] for row in array.tolist()]


def _widths(name: str, value: Floats | float, n: int) -> Floats:
    widths = np.asarray(value, np.float64)
    if not (np.isfinite(widths).all() and (widths > 0.0).all()):
        raise QualityError(f"{name} must be a positive width for every vector.")
    if widths.shape not in ((), (n,)):
        raise QualityError(f"{name} has {widths.shape} numbers for {n} vectors; give one, or one for each.")
    return np.ascontiguousarray(np.broadcast_to(widths, (n,)))


def _box(points: Floats) -> tuple[Floats, Floats]:
    """The lower and the upper corner around points, (n, 2) f8; column by column, which is much faster than by rows."""
    x, y = points[:, 0], points[:, 1]
    return np.array([x.min(), y.min()]), np.array([x.max(), y.max()])


def _row_direction(layer: Layer, path: ScanPath, widths: Floats) -> tuple[float, float]:
    """The direction for rows of samples, rad, and the mean square of what edges err by for it (1: all square to it).

    An edge that lies along the rows is hit or missed as a whole; one at an angle errs by 1 / sin(angle) times what one
    across the rows does, and rows cross it sin(angle) times as often. So the rows run where the sum of length / sin
    over all edges is least: the outline's, the tracks' sides and their ends.
    """
    sides = np.concatenate([loop - np.roll(loop, 1, axis=0) for loop in layer.loops()] or [np.zeros((0, 2))])
    vectors = path.vectors_mm[:, 2:] - path.vectors_mm[:, :2]
    x, y = np.concatenate([sides, vectors, vectors @ QUARTER_TURN]).T
    lengths = np.concatenate([np.hypot(*sides.T), path.lengths_mm, widths])
    of_bin = np.floor(np.arctan2(y, x) * (DIRECTIONS / math.pi)).astype(np.int64) % DIRECTIONS
    edges_mm = np.bincount(of_bin, lengths, minlength=DIRECTIONS)
    sines, errors = _sines()
    sums = errors @ edges_mm
    best = int(sums.argmin())
    crossed = float(sines[best] @ edges_mm)
    return (best + 0.5) * math.pi / DIRECTIONS, float(sums[best]) / crossed if crossed > 0.0 else 1.0


@functools.cache
def _sines() -> tuple[Floats, Floats]:
    """The sines of the angles between any two of the directions, never quite 0, and one over them."""
    between = (np.arange(DIRECTIONS)[:, None] - np.arange(DIRECTIONS)[None]) * (math.pi / DIRECTIONS)
    sines = np.maximum(np.abs(np.sin(between)), 0.5 * math.pi / DIRECTIONS)
    return sines, 1.0 / sines


def _sampling_error_mm2(pixel_mm: float, square: float, changes: int) -> float:
    """What an area may be wrong by, from the changes between neighbouring samples of a row.

    Every change is an edge that a row crosses somewhere within a pixel, at a height that is drawn within a pixel too:
    an area of deviation 0.29 pixel^2 x sqrt(square) each, `square` as `_row_direction` gives it. Six deviations are
    told, not three: hatches repeat, so crossings are not quite independent.
    """
    return 6.0 * 0.29 * pixel_mm**2 * math.sqrt(square * max(changes, 1))


@dataclass(frozen=True, eq=False, slots=True)
class _Sampling:
    """The lattice of samples over one layer: a frame turned against its edges, with its middle in the layer's."""

    pixel_mm: float
    angle_rad: float
    square: float
    centre_mm: Floats
    points: Floats  # the outline and the vectors in the lattice's frame
    starts: NDArray[np.int64]
    vectors: Floats
    row_x: Floats
    row_y: Floats
    y_0: float
    marks: NDArray[np.uint8]
    map_x_mm: float
    map_y_mm: float
    map_cell_mm: float
    map_shape: tuple[int, int]

    @classmethod
    def of(
        cls,
        layer: Layer,
        path: ScanPath,
        spots: Floats,
        widths: Floats,
        window_mm: tuple[float, float, float, float] | None,
        samples_max: int,
    ) -> _Sampling:
        ends = np.concatenate([layer.points_mm, path.vectors_mm.reshape(-1, 2)])
        if not np.isfinite(ends).all():
            raise QualityError(f"Layer {layer.index} has a coordinate that is no number; slice the part again.")
        low, high = _box(ends)
        centre = 0.5 * (low + high)
        angle, square = _row_direction(layer, path, widths)
        cos, sin = math.cos(angle), math.sin(angle)
        x, y = ends[:, 0] - centre[0], ends[:, 1] - centre[1]
        turned = np.stack([x * cos + y * sin, y * cos - x * sin], axis=1)
        reach = 0.5 * max(float(spots.max()), float(widths.max())) if len(spots) else 0.0
        corner, opposite = _box(turned)
        corner, span = corner - reach, opposite - corner + 2.0 * reach
        finest = (float(spots.min()) if len(spots) else float(span.max()) / 256.0) / SAMPLES_A_SPOT
        pixel = max(finest, math.sqrt(float(span[0] * span[1]) / samples_max), float(span.max()) / samples_max)
        rows, columns = (math.ceil(float(side) / pixel) + 1 for side in span[::-1])
        row_x, row_y = np.empty(rows), np.empty(rows)
        coverage.place_rows(float(corner[0]) - pixel, float(corner[1]), pixel, row_x, row_y)
        p = len(layer.points_mm)
        if window_mm is None:
            window_mm = (float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))
        x_mm, y_mm, width_mm, height_mm = window_mm
        cell = max(width_mm, height_mm, 1e-6) / MAP_CELLS
        return cls(
            pixel, angle, square, centre, np.ascontiguousarray(turned[:p]), layer.loop_starts,
            np.ascontiguousarray(turned[p:]).reshape(-1, 4), row_x, row_y, float(corner[1]),
            np.zeros((rows, columns + 2), np.uint8), x_mm, y_mm, cell,
            (max(1, math.ceil(height_mm / cell - 1e-9)), max(1, math.ceil(width_mm / cell - 1e-9))),
        )  # fmt: skip

    def swept(
        self, spots: Floats, widths: Floats, joules_mm2: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], EnergyMap]:
        """Run the kernels: the counts of samples, and the energy map; `marks` keeps the bare samples."""
        rows, columns = self.marks.shape[0], self.marks.shape[1] - 1
        tracks = np.zeros((rows, columns), np.uint16)
        received = np.zeros((rows, columns), np.float32)
        coverage.mark_outline(self.points, self.starts, self.y_0, self.pixel_mm, self.row_x, self.row_y, self.marks)
        coverage.sweep_tracks(
            self.vectors, spots, widths, joules_mm2, self.y_0, self.pixel_mm, self.row_x, self.row_y,
            self.marks, tracks, received,
        )  # fmt: skip
        counts = np.empty(coverage.COUNTS, np.int64)
        sums = np.empty((*self.map_shape, 2))
        coverage.tally(
            self.marks, tracks, received, self.row_x, self.row_y, self.pixel_mm,
            math.cos(self.angle_rad), math.sin(self.angle_rad),
            self.map_x_mm - float(self.centre_mm[0]), self.map_y_mm - float(self.centre_mm[1]), self.map_cell_mm,
            counts, sums,
        )  # fmt: skip
        few = min(MAP_SAMPLES, 0.25 * (self.map_cell_mm / self.pixel_mm) ** 2)
        known = (sums[..., 1] > 0) & (sums[..., 1] >= few)
        j_mm2 = np.full(self.map_shape, np.nan, np.float32)
        j_mm2[known] = sums[known, 0] / sums[known, 1]
        return counts, EnergyMap(self.map_x_mm, self.map_y_mm, self.map_cell_mm, j_mm2)

    def gap_samples(self, spot_mm: float) -> int:
        """How many samples a gap needs at this resolution."""
        return GAP_SAMPLES if self.pixel_mm <= 0.25 * spot_mm else GAP_SAMPLES_COARSE

    def bare_places(self, uncovered: int, reach: int) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
        """(places, 7) f8 as `measure_places` says, in the part's frame; the queue of samples and where places end."""
        queue, ends = np.empty(uncovered, np.int64), np.empty(uncovered, np.int64)
        places = coverage.gather_bare(self.marks, reach, queue, ends)
        out = np.empty((places, 7))
        coverage.measure_places(
            queue, ends, places, self.marks.shape[1] - 1, self.row_x, self.row_y, self.pixel_mm,
            math.cos(self.angle_rad), math.sin(self.angle_rad), out,
        )  # fmt: skip
        out[:, 1:] += np.tile(self.centre_mm, 3)
        return out, queue, ends[:places]

    def samples_at(self, indices: NDArray[np.int64]) -> Floats:
        """(n, 2) f8, where samples of the queue lie in the lattice's frame."""
        j, k = np.divmod(indices, self.marks.shape[1] - 1)
        return np.stack([self.row_x[j] + k * self.pixel_mm, self.row_y[j]], axis=1)


def _features(
    sampling: _Sampling, uncovered: int, layer: Layer, path: ScanPath, spots: Floats, spot_mm: float
) -> tuple[tuple[DroppedFeature, ...], int]:
    """The listed features, largest first, and how many are not listed."""
    features = [
        *_untouched_bodies(layer, path, spots, spot_mm),
        *_narrow_parts(layer, path, spots, spot_mm),
        *(_gaps(sampling, uncovered, layer, spot_mm) if uncovered else ()),
    ]
    features.sort(key=lambda feature: (-feature.area_mm2, feature.x_mm, feature.y_mm))
    return tuple(features[:FEATURES_A_LAYER]), max(0, len(features) - FEATURES_A_LAYER)


def _gaps(sampling: _Sampling, uncovered: int, layer: Layer, spot_mm: float) -> Iterator[DroppedFeature]:
    """Places that the spot would fit into and that no track covers, as the samples show them."""
    fewest = sampling.gap_samples(spot_mm)
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
    centre = 0.5 * np.add(*_box(layer.points_mm))
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
        low, high = _box(corners)
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
        low, high = _box(loop)
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


# ---- the plan


@dataclass(frozen=True, eq=False, slots=True)
class _Column:
    """A feature as it rises through the layers, and its places in the last of them."""

    feature: DroppedFeature
    top: tuple[DroppedFeature, ...]


class PlanTally:
    """Puts layers' reports together, lowest first, so that a plan of any size needs only its figures in memory."""

    def __init__(self) -> None:
        self._layers: list[LayerFigures] = []
        self._done: list[DroppedFeature] = []
        self._rising: list[_Column] = []
        self._unlisted = 0
        self._times: ReturnTimes | None = None

    def add(self, report: LayerQuality) -> None:
        """Take the next layer."""
        assert not self._layers or report.index > self._layers[-1].index, "layers come lowest first"
        features = len(report.features) + report.features_unlisted
        same = {field.name: getattr(report, field.name) for field in fields(LayerFigures)}
        self._layers.append(LayerFigures(**{**same, "features": features}))
        self._unlisted += report.features_unlisted
        self._times = _times_together(self._times, report.return_times)
        self._raise(report.features, report.cover.resolution_mm)

    def _raise(self, places: tuple[DroppedFeature, ...], reach_mm: float) -> None:
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

    def plan(self, layers_in_all: int | None = None) -> PlanQuality:
        """The report of all layers so far; `layers_in_all` where these are only some of them."""
        reports = self._layers
        books = Books(**{line.name: sum(getattr(r.books, line.name) for r in reports) for line in fields(Books)})
        # what sampling gets wrong in one layer has nothing to do with another
        books = replace(books, error_mm2=math.sqrt(sum(r.books.error_mm2**2 for r in reports)))
        covers = [r.cover for r in reports]
        uncovered_mm2 = sum(cover.uncovered_mm2 for cover in covers)
        cover = Cover(
            coverage_percent=100.0 * (1.0 - uncovered_mm2 / books.area_in_mm2) if books.area_in_mm2 > 0.0 else None,
            uncovered_mm2=uncovered_mm2,
            exposed_outside_mm2=sum(cover.exposed_outside_mm2 for cover in covers),
            doubly_covered_mm2=sum(cover.doubly_covered_mm2 for cover in covers),
            sliver_mm2=sum(cover.sliver_mm2 for cover in covers),
            resolution_mm=max((cover.resolution_mm for cover in covers), default=0.0),
            error_mm2=books.error_mm2,
            feature_mm2=max((cover.feature_mm2 for cover in covers), default=0.0),
        )
        features = sorted(
            [*self._done, *(column.feature for column in self._rising)],
            key=lambda f: (-f.volume_mm3, f.first_layer, f.x_mm, f.y_mm),
        )
        return PlanQuality(
            schema_version=SCHEMA_VERSION,
            layers_in_all=len(reports) if layers_in_all is None else layers_in_all,
            books=books,
            cover=cover,
            features=tuple(features[:FEATURES_A_PLAN]),
            features_unlisted=self._unlisted + max(0, len(features) - FEATURES_A_PLAN),
            energy=part_energy(report.energy for report in reports),
            return_times=self._times,
            layers=tuple(reports),
        )


def plan_quality(layers: Iterable[tuple[Layer, ScanPath]], recipe: Recipe) -> PlanQuality:
    """Judge a plan layer by layer, lowest first, as `layer_quality` does, with return times."""
    tally = PlanTally()
    for layer, path in layers:
        tally.add(layer_quality(layer, path, recipe, return_time_s=recipe_return_times_s(path, recipe)))
    return tally.plan()


def job_quality(job: Job, progress: Callable[[int, int], None] | None = None) -> PlanQuality:
    """`plan_quality` of a job file, holding one layer at a time; `progress` is called with (layers done, in all).

    Raises:
        JobError: a layer is damaged.
    """
    count = job.manifest.layer_count

    def layers() -> Iterator[tuple[Layer, ScanPath]]:
        for index in range(count):
            job_layer = job.layer(index)
            yield job_layer.layer, job_layer.path
            if progress is not None:
                progress(index + 1, count)

    return plan_quality(layers(), job.recipe)


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


def _times_together(one: ReturnTimes | None, other: ReturnTimes | None) -> ReturnTimes | None:
    if one is None or other is None:
        return one or other
    least = [h.least_s for h in (one, other) if h.least_s is not None]
    return ReturnTimes(
        one.edges_s,
        tuple(a + b for a, b in zip(one.length_mm, other.length_mm, strict=True)),
        one.first_mm + other.first_mm,
        min(least, default=None),
    )


# ---- sentences


def _sentences(plan: PlanQuality) -> list[str]:
    books, cover = plan.books, plan.cover
    if cover.coverage_percent is None:
        return ["The plan has no area: nothing is to be exposed."]
    lines = [
        f"Area in {books.area_in_mm2:,.1f} mm2 = {books.area_hatched_mm2:,.1f} hatched"
        f" - {books.repeated_mm2:,.1f} twice - {books.outside_mm2:,.1f} outside + {books.fringe_mm2:,.1f} fringe"
        f" + {books.missing_mm2:,.1f} missing,"
        f" within {abs(books.unexplained_mm2):,.2g} mm2 (sampling may leave {books.error_mm2:,.2g}).",
        f"The spot passes over {cover.coverage_percent:.2f} % of the area; {cover.uncovered_mm2:,.2f} mm2 stay powder,"
        f" {cover.exposed_outside_mm2:,.2f} mm2 outside are exposed.",
    ]
    if plan.features:
        worst = plan.features[0]
        lines.append(
            f"{_count(len(plan.features) + plan.features_unlisted, 'feature')} dropped; the largest,"
            f" {feature_sentence(worst)}."
        )
    else:
        lines.append(f"No feature of {cover.feature_mm2:.3g} mm2 or more is dropped.")
    if plan.return_times is not None and plan.return_times.least_s is not None:
        lines.append(
            f"The beam comes back beside a fresh track after {plan.return_times.least_s:.3g} s at the soonest."
        )
    if plan.layers_in_all > len(plan.layers):
        lines.append(f"Judged are {len(plan.layers)} of {plan.layers_in_all} layers.")
    return lines


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


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun} is" if number == 1 else f"{number:,} {noun}s are"
