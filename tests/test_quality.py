"""Do the books of a plan balance, and is what no beam reaches told with place, size and layers?"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import manifold3d
import msgspec
import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from job_helpers import wire_small, write_small_job

from slicer import dropped, quality, thermal
from slicer.bricks import demo_brick
from slicer.dropped import feature_sentence
from slicer.fill import fill_layer as plan_layer
from slicer.job import Job
from slicer.kernels import coverage
from slicer.layers import Layer, cut_layers, net_area_mm2
from slicer.mesh import Mesh, read_mesh
from slicer.quality import (
    PlanQuality,
    PlanTally,
    job_quality,
    layer_quality,
    plan_quality,
)
from slicer.recipe import load_recipe
from slicer.sampling import QualityError
from slicer.scan import KIND_HATCH, KIND_THIN, ScanPath
from slicer.strategy import Strategy

RECIPE = wire_small()  # spot 1 mm, hatch 1 mm


ONLY_WIDE = Strategy(thin_walls="report")


def fill_layer(layer: Layer, recipe) -> ScanPath:
    """A plan that leaves out what is narrower than the spot, so that there is something to find."""
    return plan_layer(layer, recipe, strategy=ONLY_WIDE)


def layer_of(*loops: list[tuple[float, float]], index: int = 0) -> Layer:
    points = [np.array(loop, np.float64) for loop in loops]
    starts = np.cumsum([0, *map(len, points)]).astype(np.int64)
    return Layer(index, 0.5 * (index + 1), 0.5, np.concatenate([np.zeros((0, 2)), *points]), starts)


def box(x: float, y: float, width: float, height: float) -> list[tuple[float, float]]:
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def united(*loops: list[tuple[float, float]], index: int = 0) -> Layer:
    """The union of boxes as a layer."""
    section = manifold3d.CrossSection([np.array(loop) for loop in loops], manifold3d.FillRule.Positive)
    return layer_of(*[[tuple(point) for point in loop] for loop in section.to_polygons()], index=index)


def hatch(*vectors: tuple[float, float, float, float]) -> ScanPath:
    return ScanPath.uniform(np.array(vectors).reshape(-1, 4), KIND_HATCH, 100.0, 50.0)


def rows(x_0: float, x_1: float, ys: list[float]) -> ScanPath:
    return hatch(*[(x_0, y, x_1, y) for y in ys])


# ---- the kernel


numbers = st.floats(-3.0, 3.0)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.lists(st.tuples(numbers, numbers), min_size=3, max_size=6), max_size=3),
    st.lists(st.tuples(numbers, numbers, numbers, numbers, st.floats(0.1, 2.0), st.floats(0.1, 2.0)), max_size=5),
    st.floats(0.3, 0.7),
)
def test_the_kernel_marks_what_each_sample_says_of_itself(loops, tracks, pixel):
    layer = layer_of(*loops)
    table = np.array(tracks, np.float64).reshape(-1, 6)
    # round numbers make ties, which the kernel and its twin may break by their last bits
    vectors, spot, width = table[:, :4] + 1e-3 * math.pi, table[:, 4].copy(), table[:, 5].copy()
    energy = np.arange(1, len(vectors) + 1, dtype=np.float32)
    count = math.ceil(8.0 / pixel)
    row_x, row_y = np.empty(count), np.empty(count)
    coverage.place_rows(-4.0, -4.0, pixel, row_x, row_y)
    marks = np.zeros((count, count + 1), np.uint8)
    hits, received = np.zeros((count, count), np.uint16), np.zeros((count, count), np.float32)
    coverage.mark_outline(layer.points_mm, layer.loop_starts, -4.0, pixel, row_x, row_y, marks)
    coverage.sweep_tracks(
        np.ascontiguousarray(vectors), spot, width, energy, -4.0, pixel, row_x, row_y, marks, hits, received
    )
    inside = np.logical_xor.accumulate(marks[:, :-1] & coverage.OUTLINE != 0, axis=1)
    expected = naive.sampled(
        layer.points_mm, layer.loop_starts, vectors, spot, width, energy, row_x, row_y, count, pixel
    )
    found = np.stack([inside, marks[:, :-1] & coverage.SPOT != 0, hits, received], axis=-1)
    np.testing.assert_array_equal(found, np.array(expected))

    counts, sums = np.empty(coverage.COUNTS, np.int64), np.empty((1, 1, 2))
    coverage.tally(marks, hits, received, row_x, row_y, pixel, 1.0, 0.0, -100.0, -100.0, 200.0, counts, sums)
    for name, number in naive.tallied(expected).items():
        assert counts[getattr(coverage, name)] == number, name
    assert sums[0, 0, 1] == counts[coverage.INSIDE]
    assert sums[0, 0, 0] == sum(joule for row in expected for is_inside, _, _, joule in row if is_inside)


@settings(deadline=None, max_examples=50)
@given(st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=40), st.integers(1, 2))
def test_bare_samples_are_gathered_into_places(cells, reach):
    marks = np.zeros((10, 11), np.uint8)
    for row, column in cells:
        marks[row, column] = coverage.BARE | coverage.OUTLINE
    queue, ends = np.empty(len(cells), np.int64), np.empty(len(cells), np.int64)
    places = coverage.gather_bare(marks, reach, queue, ends)
    found = [queue[a:b] for a, b in pairwise([0, *ends[:places].tolist()])]
    assert {frozenset(zip(*np.divmod(place, 10), strict=True)) for place in found} == naive.connected(cells, reach)
    assert not (marks & coverage.BARE).any()


def test_places_are_measured_where_they_are():
    """Three samples in an L, turned by 90 degrees: along the row is up, up is to the left."""
    row_x, row_y = np.zeros(5), np.arange(5.0)
    out = np.empty((1, 7))
    queue = np.array([0 * 10 + 1, 0 * 10 + 2, 1 * 10 + 1])
    coverage.measure_places(queue, np.array([3]), 1, 10, row_x, row_y, 1.0, 0.0, 1.0, out)
    np.testing.assert_allclose(out[0], [3, -1 / 3, 4 / 3, -1, 1, 0, 2])


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(numbers, numbers), min_size=3, max_size=6), numbers, numbers)
def test_the_depth_is_that_of_points_along_the_edges(loop, x, y):
    layer = layer_of(loop)
    _, _, found = coverage.nearest_edge(layer.points_mm, layer.loop_starts, x, y)
    expected = naive.depth_in_loops(layer.points_mm, layer.loop_starts, x, y)
    assert found == pytest.approx(expected, abs=0.01) or abs(found) < 0.01


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.tuples(numbers, numbers, numbers, numbers), max_size=3),
    st.lists(st.tuples(numbers, numbers), min_size=1, max_size=4),
)
def test_points_are_within_vectors_that_points_along_them_reach(vectors, points):
    table, points = np.array(vectors).reshape(-1, 4), np.array(points)
    radius, weights = np.full(len(table), 1.0 / math.pi), np.full(len(points), 1.0 / len(points))
    # a point within a hair of the radius may fall on either side
    near = [naive.part_within(table, radius * f, points, weights) for f in (0.99, 1.01)]
    assert near[0] - 1e-12 <= coverage.part_within(table, radius, points, weights) <= near[1] + 1e-12


def test_a_spot_fits_in_a_wide_wall_and_not_in_a_thin_one():
    for thickness, fits in ((0.5, False), (0.99, True), (0.9, False), (1.5, True), (3.0, True)):
        wall = layer_of(box(0, 0, 20, thickness))
        found = coverage.spot_fits(wall.points_mm, wall.loop_starts, 10.0, 0.4 * thickness, 0.5, 0.01)
        assert found == fits, thickness


def test_samples_fall_evenly_however_lines_repeat():
    """Stripes at the very pace of the pixels: plain rows would see all of them or none."""
    pixel = 0.1
    row_x, row_y = np.empty(1000), np.empty(1000)
    coverage.place_rows(0.0, 0.0, pixel, row_x, row_y)
    for at in (row_x, row_y):
        assert (at % pixel < 0.3 * pixel).mean() == pytest.approx(0.3, abs=0.01)


# ---- the books


def balanced(layer: Layer, path: ScanPath, process) -> quality.LayerQuality:
    report = layer_quality(layer, path, process)
    books = report.books
    assert abs(books.unexplained_mm2) <= books.error_mm2, books
    around = float(np.prod(np.ptp(layer.points_mm, axis=0)))
    assert books.error_mm2 < 5e-3 * around + 0.1, "the error that is owned up to is small"
    return report


def test_the_books_of_the_demo_brick_balance():
    recipe = load_recipe("dsel_fibre")
    for layer in cut_layers(demo_brick(), recipe.layer_thickness_mm):
        report = balanced(layer, fill_layer(layer, recipe), recipe)
        assert report.cover.coverage_percent > 97.0 and report.features == ()


REAL = {"pyslm_frameGuide.stl": 1.0, "trimesh_featuretype.stl": 25.4, "trimesh_counter.unitsmm.stl": 1.0}


@pytest.mark.parametrize("name", REAL)
def test_the_books_of_real_parts_balance(name, shared_data):
    mesh, _ = read_mesh(shared_data / "meshes" / name)
    mesh = Mesh(mesh.vertices_mm * REAL[name], mesh.faces, mesh.name)
    layers = cut_layers(mesh, float(np.ptp(mesh.vertices_mm[:, 2])) / 20.5)
    for layer in layers[::4]:
        path = fill_layer(layer, RECIPE)
        books = balanced(layer, path, RECIPE).books
        assert books.area_hatched_mm2 == pytest.approx(path.length_mm * RECIPE.track_width_mm)
        assert books.area_in_mm2 == net_area_mm2(layer)


@settings(deadline=None, max_examples=40)
@given(
    st.floats(5.0, 40.0),
    st.floats(5.0, 40.0),
    st.lists(st.tuples(st.floats(0.05, 0.9), st.floats(1.5, 10.0)), min_size=1, max_size=4),
    st.integers(0, 90),
)
def test_the_books_balance_where_fins_are_narrower_than_the_spot(width, height, fins, turn):
    """A block with fins along its upper edge, all thinner than the 1 mm spot: what is lost is in the books and told."""
    pitch = width / len(fins)
    stack = [box(0.0, 0.0, width, height)]
    stack += [box((i + 0.3) * pitch, height - 0.5, thin, long + 0.5) for i, (thin, long) in enumerate(fins)]
    layer = united(*stack, index=turn)
    report = balanced(layer, fill_layer(layer, RECIPE), RECIPE)
    narrow = [feature for feature in report.features if feature.cause == "narrow"]
    for i, (thin, long) in enumerate(fins):
        near = [f for f in narrow if abs(f.x_mm - (i + 0.3) * pitch - thin / 2) < thin / 2 + 0.1]
        assert near, f"fin {i}, {thin} x {long} mm, is not told"
        assert near[0].high_mm[1] == pytest.approx(height + long, abs=1e-6)
        # its foot is reached by spots within the block, which bulge into it by up to half their size
        assert thin * (long - 0.5) - 0.05 <= near[0].area_mm2 <= thin * (long + 0.5) + 0.05


def test_an_area_hatched_twice_is_repeated():
    layer = layer_of(box(0, 0, 10, 10))
    once = rows(0, 10, [0.5 + k for k in range(10)])
    report = balanced(layer, ScanPath.concat([once, once]), RECIPE)
    assert report.cover.doubly_covered_mm2 == pytest.approx(100.0, abs=1.0)
    assert report.books.repeated_mm2 == pytest.approx(100.0, abs=1.0)


def test_a_path_beside_its_outline_is_exposed_outside_and_missing_inside():
    layer = layer_of(box(0, 0, 10, 10))
    report = balanced(layer, rows(3.0, 13.0, [0.5 + k for k in range(10)]), RECIPE)
    books = report.books
    assert books.outside_mm2 == pytest.approx(30.0, abs=1.0)
    assert books.missing_mm2 + books.fringe_mm2 == pytest.approx(30.0, abs=1.0)
    assert report.cover.exposed_outside_mm2 == pytest.approx(30.0 + 0.5 * 10 * math.pi / 4, abs=2.5)


def test_tracks_wider_than_their_spot_are_seen_whole():
    """Tracks 3 mm wide along the edges, spot 0.3 mm: half of each lies outside."""
    layer = layer_of(box(0, 0, 20, 10))
    report = balanced(layer, rows(0, 20, [0.0, 10.0]), replace(RECIPE, spot_mm=0.3, hatch_spacing_mm=3.0))
    assert report.books.outside_mm2 == pytest.approx(60.0, rel=0.01)


def test_the_edge_of_a_wide_spot_is_fringe():
    """Spot 3 mm, tracks 1 mm apart: the outermost tracks' spots reach 1 mm farther than the tracks do."""
    layer = layer_of(box(0, 0, 20, 10))
    report = balanced(layer, rows(-5, 25, [1.5 + k for k in range(8)]), replace(RECIPE, spot_mm=3.0))
    assert report.books.fringe_mm2 == pytest.approx(2 * 20 * 1.0, rel=0.05)
    assert report.cover.coverage_percent == pytest.approx(100.0)


def test_tracks_may_have_spots_and_widths_of_their_own():
    layer = layer_of(box(0, 0, 10, 3))
    path = rows(0, 10, [0.5, 2.0])
    own = np.array([1.0, 2.0])
    report = layer_quality(layer, path, RECIPE, spot_mm=own, track_width_mm=own)
    assert report.books.area_hatched_mm2 == pytest.approx(30.0)
    assert report.books.missing_mm2 == 0.0 and report.cover.uncovered_mm2 == 0.0


def test_the_report_does_not_care_where_the_part_stands():
    layer = united(box(0, 0, 12, 5), box(3, 4, 0.4, 6))
    path = fill_layer(layer, RECIPE)
    far = np.array([1e6, -1e6])
    moved = replace(layer, points_mm=layer.points_mm + far)
    there = layer_quality(moved, replace(path, vectors_mm=path.vectors_mm + np.tile(far, 2)), RECIPE)
    here = layer_quality(layer, path, RECIPE)
    assert there.books.missing_mm2 == pytest.approx(here.books.missing_mm2, abs=0.02)
    assert there.features[0].x_mm - 1e6 == pytest.approx(here.features[0].x_mm, abs=1e-3)


# ---- dropped features


def test_a_hole_in_the_hatch_is_a_gap_with_its_place():
    layer = layer_of(box(0, 0, 30, 20))
    ys = [0.5 + k for k in range(20) if not 8 <= k < 12]
    report = layer_quality(layer, rows(0, 30, ys), RECIPE)
    (gap,) = report.features
    assert gap.cause == "gap" and gap.area_mm2 == pytest.approx(120.0, rel=0.02)
    assert (gap.x_mm, gap.y_mm) == pytest.approx((15.0, 10.0), abs=0.1)
    assert (*gap.low_mm, *gap.high_mm) == pytest.approx((0, 8, 30, 12), abs=0.15)
    assert "wide enough for the spot, but left out" in feature_sentence(gap)


def test_walls_that_the_planner_tracks_are_not_dropped():
    """The planner's own thin walls: tracked from half a spot on, told below."""
    wide, thin = (united(box(0, 0, 12, 5), box(3, 4, width, 6)) for width in (0.7, 0.3))
    assert layer_quality(wide, plan_layer(wide, RECIPE), RECIPE).features == ()
    (told,) = layer_quality(thin, plan_layer(thin, RECIPE), RECIPE).features
    assert told.cause == "narrow"


def test_a_thin_wall_with_a_track_is_not_dropped():
    layer = united(box(0, 0, 12, 5), box(3, 4, 0.6, 6))
    path = fill_layer(layer, RECIPE)
    wall = ScanPath.uniform(np.array([[3.3, 5.0, 3.3, 9.5]]), KIND_THIN, 100.0, 50.0)
    assert [feature.cause for feature in layer_quality(layer, path, RECIPE).features] == ["narrow"]
    assert layer_quality(layer, ScanPath.concat([path, wall]), RECIPE).features == ()


def test_a_wall_thinner_than_a_sample_is_told():
    """A 300 mm part is sampled every half spot or so; a wall of a hundredth of the spot still is a feature."""
    layer = united(box(0, 0, 300, 300), box(100, 299, 0.01, 21))
    report = layer_quality(layer, fill_layer(layer, RECIPE), RECIPE)
    assert report.cover.resolution_mm > 0.3
    (wall,) = report.features
    assert wall.cause == "narrow" and wall.x_mm == pytest.approx(100.005, abs=1e-3)
    assert wall.area_mm2 == pytest.approx(0.2, abs=0.02)


def test_a_pin_smaller_than_the_spot_is_told_however_small():
    layer = layer_of(box(0, 0, 10, 10), box(20, 5, 0.02, 0.02))
    report = layer_quality(layer, fill_layer(layer, RECIPE), RECIPE)
    (pin,) = report.features
    assert pin.cause == "narrow" and pin.area_mm2 == pytest.approx(4e-4)
    assert (pin.x_mm, pin.y_mm) == pytest.approx((20.01, 5.01))


def test_an_unexposed_layer_is_one_gap():
    layer = layer_of(box(0, 0, 10, 10))
    report = layer_quality(layer, ScanPath.empty(), RECIPE)
    assert report.cover.coverage_percent == 0.0 and report.books.missing_mm2 == pytest.approx(100.0, rel=0.01)
    assert [feature.cause for feature in report.features] == ["gap"]


def test_corners_are_no_features():
    layer = layer_of(box(0, 0, 10, 10))
    report = layer_quality(layer, fill_layer(layer, RECIPE), RECIPE)
    assert report.features == ()
    assert report.cover.sliver_mm2 == pytest.approx(1.0 - math.pi / 4, abs=0.03), "four tips of a right corner"


def test_what_does_not_fit_in_the_list_is_counted(monkeypatch):
    monkeypatch.setattr(dropped, "FEATURES_A_LAYER", 3)
    layer = layer_of(box(0, 0, 10, 10), *[box(20 + 2 * k, 0, 0.1, 0.1 + 0.01 * k) for k in range(8)])
    report = layer_quality(layer, fill_layer(layer, RECIPE), RECIPE)
    assert len(report.features) == 3 and report.features_unlisted == 5
    assert report.features[0].area_mm2 == pytest.approx(0.1 * 0.17), "the largest are listed"


# ---- the plan


def stack(*layers: Layer) -> PlanQuality:
    return plan_quality([(layer, fill_layer(layer, RECIPE)) for layer in layers], RECIPE)


def test_a_fin_is_one_feature_through_its_layers():
    fin = [united(box(0, 0, 12, 5), box(3, 4, 0.4, 6), index=index) for index in (1, 2, 3)]
    plan = stack(layer_of(box(0, 0, 12, 5)), *fin, layer_of(box(0, 0, 12, 5), index=4))
    (feature,) = plan.features
    assert (feature.first_layer, feature.last_layer) == (1, 3)
    assert feature.volume_mm3 == pytest.approx(3 * 0.5 * feature.area_mm2, rel=1e-6)
    assert "layers 2 to 4" in feature_sentence(feature)


def test_a_fin_that_ends_and_begins_again_is_two():
    block, fin = [box(0, 0, 12, 5)], [box(0, 0, 12, 5), box(3, 4, 0.4, 6)]
    plan = stack(*[united(*(fin if index != 1 else block), index=index) for index in range(3)])
    assert sorted((f.first_layer, f.last_layer) for f in plan.features) == [(0, 0), (2, 2)]


def test_fins_that_stand_on_one_are_one():
    """A fork: one wall below, two above it, one again on both."""
    one, two = [box(3, 7, 6, 0.4)], [box(3, 7, 2, 0.4), box(7, 7, 2, 0.4)]
    plan = stack(*[united(*(two if index == 1 else one), index=index) for index in range(3)])
    assert [(f.first_layer, f.last_layer) for f in plan.features] == [(0, 2)]


def test_a_plan_adds_its_layers():
    recipe = load_recipe("dsel_fibre")
    layers = [(layer, fill_layer(layer, recipe)) for layer in cut_layers(demo_brick(), 2.0)]
    plan = plan_quality(layers, recipe)
    assert plan.books.area_in_mm2 == pytest.approx(sum(net_area_mm2(layer) for layer, _ in layers))
    assert plan.books.area_hatched_mm2 == pytest.approx(sum(path.length_mm for _, path in layers) * 3.0)
    assert plan.energy.energy_j == pytest.approx(sum(path.energy_j for _, path in layers))
    assert plan.energy.volume_j_mm3.mean == pytest.approx(65.4 / (0.5 * 3.0 * 2.0))
    assert abs(plan.books.unexplained_mm2) <= plan.books.error_mm2
    assert len(plan.layers) == plan.layers_in_all == 8


def test_the_report_survives_its_file_to_the_byte():
    plan = stack(united(box(0, 0, 12, 5), box(3, 4, 0.4, 6)))
    data = plan.to_json()
    assert PlanQuality.from_json(data) == plan and PlanQuality.from_json(data).to_json() == data
    assert stack(united(box(0, 0, 12, 5), box(3, 4, 0.4, 6))).to_json() == data


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"schema_version": 1}', b"\xff\xfe"])
def test_what_is_no_report_is_refused(data):
    with pytest.raises(QualityError, match="no plan report"):
        PlanQuality.from_json(data)


def test_a_report_of_another_format_is_refused():
    data = replace(stack(layer_of(box(0, 0, 5, 5))), schema_version=99).to_json()
    with pytest.raises(QualityError, match="format 99"):
        PlanQuality.from_json(data)


def test_people_are_told_in_sentences():
    lines = stack(united(box(0, 0, 12, 5), box(3, 4, 0.4, 6))).sentences()
    assert lines[0].startswith("Area in 62.") and "1 feature is dropped" in lines[3]
    assert "0.4" in lines[3] and "narrower than the spot" in lines[3]
    assert lines[2] == "A track gets 2 J/mm, 2 J/mm2, 4 J/mm3, 2.13 MJ/kg absorbed."
    assert "No feature" in stack(layer_of(box(0, 0, 12, 5))).sentences()[3]
    assert PlanTally().plan().sentences() == ["The plan has no area: nothing is to be exposed."]


def test_a_job_is_judged_as_its_layers_are(tmp_path):
    seen = []
    with Job.open(write_small_job(tmp_path / "square.kiln", layers=3)) as job:
        plan = job_quality(job, lambda done, total: seen.append((done, total)))
        layers = [job.layer(index) for index in range(3)]
    assert plan == plan_quality([(layer.layer, layer.path) for layer in layers], RECIPE)
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_report_of_some_layers_says_so():
    tally = PlanTally()
    layer = layer_of(box(0, 0, 5, 5))
    tally.add(layer_quality(layer, fill_layer(layer, RECIPE), RECIPE))
    assert tally.plan(7).sentences()[-1] == "Judged are 1 of 7 layers."


# ---- energy map, return times


def test_the_energy_map_holds_the_energy_of_the_path():
    layer = layer_of(box(0, 0, 40, 20))
    path = rows(2, 38, [1.5 + k for k in range(18)])
    path = replace(path, power_w=np.where(np.arange(18) < 9, 100.0, 50.0))
    found = layer_quality(layer, path, RECIPE).energy_map
    assert found.j_mm2.shape == (48, 96)
    assert found.j_mm2.mean() * 800.0 == pytest.approx(path.energy_j, rel=0.01)
    spread = 36.0 / (36.0 + math.pi / 4)  # the round ends take their part
    np.testing.assert_allclose(found.j_mm2[4:23, 8:-8], 2.0 * spread, rtol=1e-6)
    np.testing.assert_allclose(found.j_mm2[25:-4, 8:-8], 1.0 * spread, rtol=1e-6)
    assert (found.j_mm2[:, :3] == 0.0).all(), "no spot comes within 1.5 mm of the left edge"


def test_the_energy_map_knows_nothing_outside_the_outline():
    layer = layer_of(box(0, 0, 10, 10), box(30, 0, 10, 10))
    found = layer_quality(layer, fill_layer(layer, RECIPE), RECIPE).energy_map
    middle = found.j_mm2[:, 30:66]
    assert np.isnan(middle).all() and np.isfinite(found.j_mm2[1:-1, 1:22]).all()


def test_a_layers_file_holds_its_energy_map():
    layer = layer_of(box(0, 0, 10, 10), box(30, 0, 10, 10))
    report = layer_quality(layer, fill_layer(layer, RECIPE), RECIPE)
    found = json.loads(report.to_json())
    values = np.array(found["energy_map"]["j_mm2"], np.float64)  # null becomes NaN
    np.testing.assert_allclose(values, report.energy_map.j_mm2, atol=1e-6)
    assert found["books"]["area_in_mm2"] == 200.0 and np.isnan(values).any()


def test_return_times_are_the_models_added_over_layers():
    layers = [layer_of(box(0, 0, 5, 5), index=index) for index in range(2)]
    pairs = [(layer, fill_layer(layer, RECIPE)) for layer in layers]
    found = plan_quality(pairs, RECIPE).return_times
    apart = [thermal.return_times(path, 1.5 * RECIPE.track_width_mm, RECIPE.jump_speed_mm_s) for _, path in pairs]
    lengths = np.concatenate([path.lengths_mm for _, path in pairs])
    expected = thermal.return_time_histogram(np.concatenate(apart), lengths)
    np.testing.assert_allclose(found.length_mm, expected.length_mm)
    assert found.first_mm == pytest.approx(expected.first_mm) and found.least_s == expected.least_s
    assert sum(found.length_mm) + found.first_mm == pytest.approx(lengths.sum())


def test_the_radius_of_a_recipes_strategy_is_kept():
    path = fill_layer(layer_of(box(0, 0, 5, 5)), RECIPE)
    far = replace(RECIPE, strategy=Strategy(return_radius_mm=3.0))
    np.testing.assert_array_equal(
        quality.recipe_return_times_s(path, far), thermal.return_times(path, 3.0, RECIPE.jump_speed_mm_s)
    )


def test_a_plan_without_neighbours_returns_never():
    layer = layer_of(box(0, 0, 5, 1))
    found = plan_quality([(layer, rows(0, 5, [0.5]))], RECIPE).return_times
    assert found.least_s is None and found.first_mm == 5.0 and sum(found.length_mm) == 0.0


# ---- refusals


def test_a_spot_without_width_is_refused():
    layer = layer_of(box(0, 0, 5, 5))
    with pytest.raises(QualityError, match="spot_mm must be a positive width"):
        layer_quality(layer, fill_layer(layer, RECIPE), replace(RECIPE, spot_mm=0.0))


def test_widths_for_other_vectors_are_refused():
    layer = layer_of(box(0, 0, 5, 5))
    with pytest.raises(QualityError, match="track_width_mm has"):
        layer_quality(layer, fill_layer(layer, RECIPE), RECIPE, track_width_mm=np.ones(3))


def test_a_coordinate_that_is_no_number_is_refused():
    layer = layer_of([(0.0, 0.0), (math.nan, 0.0), (1.0, 1.0)])
    with pytest.raises(QualityError, match="no number"):
        layer_quality(layer, ScanPath.empty(), RECIPE)


def test_an_empty_layer_has_an_empty_report():
    report = layer_quality(layer_of(), ScanPath.empty(), RECIPE)
    assert report.cover.coverage_percent is None and report.features == () and report.energy_map is None


# ---- the file's schema

SCHEMA = Path(__file__).resolve().parent.parent / "docs" / "plan-report.schema.json"


def schema() -> str:
    """The schema as it should stand: `python tests/test_quality.py` writes it."""
    found = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "what a moonkiln plan is worth",
        **msgspec.json.schema(PlanQuality),
    }
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def test_the_written_schema_is_the_codes():
    assert SCHEMA.read_text(encoding="utf-8") == schema(), "run: python tests/test_quality.py"


if __name__ == "__main__":
    SCHEMA.write_text(schema(), encoding="utf-8")
