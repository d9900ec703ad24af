"""What a plan is worth: does the area that went in come out as tracks, what does no beam reach, where does energy go?

Two questions are asked of every layer, of samples laid over it (`slicer.sampling`):

*The books.* Every vector owns a track, the rectangle around it as wide as the distance of tracks; a plan without fault
tiles the outline with tracks once. What it does beside that is counted, so that

    area in = area hatched - repeated - outside + fringe + missing

where area hatched is length x track width, repeated is what tracks own more than once, outside what they own outside
the outline, fringe what no track owns but the wider spot of one passes over (along the outline, where a spot is wider
than the hatch spacing), and missing what has neither track nor spot. Area in and area hatched are exact; the others are
sampled, and what is left over is said, beside how much sampling may leave over.

*The cover.* Which part of the outline does the spot pass over at least once? What it does not is told place by place
(`slicer.dropped`), and what is too small for that (tips of corners, hairlines between tracks) is summed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Protocol

import msgspec
import numpy as np

from slicer import thermal
from slicer.dropped import (
    FEATURES_A_PLAN,
    GAP_AREA_SPOTS,
    DroppedFeature,
    FeatureTally,
    dropped_features,
    feature_sentence,
    gap_samples,
)
from slicer.energy import (
    EnergyDensity,
    Exposure,
    Floats,
    energy_words,
    layer_energy,
    line_energy_j_mm,
    part_energy,
)
from slicer.job import Job
from slicer.kernels import coverage
from slicer.layers import Layer, net_area_mm2
from slicer.recipe import Recipe
from slicer.sampling import SAMPLES_A_SPOT, SAMPLES_MAX, EnergyMap, QualityError, Sampling
from slicer.scan import ScanPath

SCHEMA_VERSION = 1

NEIGHBOUR_WIDTHS = 1.5
"""Vectors nearer than this many track widths are neighbours, where the recipe's strategy has no radius of its own."""


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

    def sentences(self) -> list[str]:
        """What a person should know of this layer, the books first."""
        tally = PlanTally()
        tally.add(self)
        return tally.plan().sentences()


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
        samples_max: bound on the samples, and so on the time (about 20 ns each) and memory (7 bytes each).

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
    sampling = Sampling.of(layer, path, spots, widths, window_mm, samples_max)
    passed_mm2 = spots * (lengths_mm + 0.25 * math.pi * spots)
    joules_mm2 = (line_energy_j_mm(path.power_w, path.speed_mm_s) * lengths_mm / passed_mm2).astype(np.float32)
    counts, energy_map = sampling.swept(spots, widths, joules_mm2)
    pixel_mm2 = sampling.pixel_mm**2
    error_mm2 = sampling.error_mm2(int(counts[coverage.CHANGES]))

    area = [float(count) * pixel_mm2 for count in counts]
    hatched_mm2 = float((lengths_mm * widths).sum())
    repeated, outside = area[coverage.REPEATED], area[coverage.TRACKED_OUTSIDE]
    fringe, missing = area[coverage.FRINGE], area[coverage.MISSING]
    books = Books(
        area_in_mm2, hatched_mm2, repeated, outside, fringe, missing,
        area_in_mm2 - (hatched_mm2 - repeated - outside + fringe + missing), error_mm2,
    )  # fmt: skip

    spot = float(process.spot_mm) if n == 0 else float(spots.min())
    features, unlisted = dropped_features(sampling, int(counts[coverage.UNCOVERED]), layer, path, spots, spot)
    inside = int(counts[coverage.INSIDE])
    cover = Cover(
        100.0 * int(counts[coverage.COVERED]) / inside if inside else None,
        area[coverage.UNCOVERED], area[coverage.COVERED_OUTSIDE], area[coverage.TRACKED_TWICE],
        max(0.0, area[coverage.UNCOVERED] - sum(feature.area_mm2 for feature in features)), sampling.pixel_mm,
        error_mm2, max(GAP_AREA_SPOTS * spot**2, 2.0 * gap_samples(sampling, spot) * pixel_mm2),
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


# ---- the plan


class PlanTally:
    """Puts layers' reports together, lowest first, so that a plan of any size needs only its figures in memory."""

    def __init__(self) -> None:
        self._layers: list[LayerFigures] = []
        self._features = FeatureTally()
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
        self._features.add(report.features, report.cover.resolution_mm)

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
        features = self._features.features()
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
        tally.add(_with_return_times(layer, path, recipe))
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


def job_layer_quality(job: Job, index: int) -> LayerQuality:
    """`layer_quality` of one layer of a job file, with its energy map.

    Raises:
        IndexError: the job has no such layer. JobError: it is damaged.
    """
    job_layer = job.layer(index)
    return _with_return_times(job_layer.layer, job_layer.path, job.recipe)


def _with_return_times(layer: Layer, path: ScanPath, recipe: Recipe) -> LayerQuality:
    return layer_quality(layer, path, recipe, return_time_s=recipe_return_times_s(path, recipe))


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
    if plan.energy.line_j_mm is not None:
        lines.append(f"A track gets {energy_words(plan.energy)}.")
    if plan.features:
        worst = plan.features[0]
        lines.append(
            f"{_count(len(plan.features) + plan.features_unlisted, 'feature')} dropped; the largest,"
            f" {feature_sentence(worst)}."
        )
    else:
        lines.append(f"No feature of {cover.feature_mm2:.3g} mm2 or more is dropped.")
    if plan.return_times is not None and plan.return_times.least_s is not None:
        least_s = plan.return_times.least_s
        lines.append(
            f"The beam comes back beside a fresh track after {least_s:.3g} s at the soonest."
            if least_s >= 0.0
            else "Two heads are at neighbouring tracks at the same time."
        )
    if plan.layers_in_all > len(plan.layers):
        lines.append(f"Judged are {len(plan.layers)} of {plan.layers_in_all} layers.")
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun} is" if number == 1 else f"{number:,} {noun}s are"
