"""Is every place that is narrower than the beam found, measured, and tracked along its middle?"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from solid_helpers import Parameters, loops_of

from slicer import middle_lines
from slicer.errors import ScanError
from slicer.fill import fill
from slicer.kernels.narrowing import far_from
from slicer.layers import Layer
from slicer.middle_lines import track_vectors, vectors_within
from slicer.offsets import offset_loops
from slicer.scan import KIND_HATCH, KIND_THIN
from slicer.strategy import Strategy
from slicer.thin_walls import is_even_inset, narrow_beside_holes, narrow_places


def found(*rings, spot=1.0):
    outline = loops_of(*rings)
    opened = offset_loops(offset_loops(outline, -0.5 * spot), 0.5 * spot)
    return narrow_places(outline, opened, spot, spot)


def rect(x, y, w, h, turn=0.0, hole=False):
    corners = np.array([(0, 0), (w, 0), (w, h), (0, h)], float)
    rotation = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    ring = [tuple(c) for c in corners @ rotation + (x, y)]
    return ring[::-1] if hole else ring


@settings(max_examples=60, deadline=None)
@given(st.floats(3, 40), st.floats(0.15, 0.95), st.floats(0, 3.1), st.floats(-50, 50))
def test_a_strip_narrower_than_the_spot_gets_its_middle_line(length, width, turn, at):
    assume(length > 4 * width)
    ((line, measured),) = found(rect(at, -at, length, width, turn))
    assert measured == pytest.approx(width, rel=0.02)
    along = np.array([math.cos(turn), math.sin(turn)])
    across = np.array([-along[1], along[0]])
    local = line - (at, -at)
    np.testing.assert_allclose(local @ across, width / 2, atol=0.02)
    ends = sorted((local @ along)[[0, -1]])
    assert ends[0] == pytest.approx(0.5, abs=0.02) and ends[1] == pytest.approx(length - 0.5, abs=0.02)


def test_a_thick_part_has_no_narrow_place_and_neither_have_its_corners():
    assert found(rect(0, 0, 20, 10)) == []
    turn = np.linspace(0, 2 * np.pi, 7, endpoint=False)
    assert found([(10 * math.cos(a), 10 * math.sin(a)) for a in turn]) == []


def test_a_fin_on_a_thick_part_is_tracked_up_to_the_part():
    ring = [(0, 0), (20, 0), (20, 4.7), (30, 4.7), (30, 5.3), (20, 5.3), (20, 10), (0, 10)]
    ((line, width),) = found(ring)
    assert width == pytest.approx(0.6) and line[:, 1] == pytest.approx(5.0)
    assert min(line[:, 0]) < 20.5 and max(line[:, 0]) == pytest.approx(29.5, abs=0.01)


def test_a_thin_frame_is_one_closed_track():
    ((line, width),) = found(rect(0, 0, 10, 10), rect(0.5, 0.5, 9, 9, hole=True))
    assert width == pytest.approx(0.5) and (line[0] == line[-1]).all()
    vectors = track_vectors(line)
    assert np.hypot(*(vectors[:, 2:] - vectors[:, :2]).T).sum() == pytest.approx(38.0, abs=0.1)


def test_a_thin_ring_is_one_closed_track():
    turn = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    outer = [(5 * math.cos(a), 5 * math.sin(a)) for a in turn]
    inner = [(4.4 * math.cos(-a), 4.4 * math.sin(-a)) for a in turn]
    ((line, width),) = found(outer, inner)
    assert width == pytest.approx(0.6, rel=0.02) and (line[0] == line[-1]).all()
    assert np.abs(np.hypot(*line.T) - 4.7).max() < 0.02


def test_a_pin_smaller_than_the_spot_is_exposed_at_its_middle():
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    pin = [(5 + 0.3 * math.cos(a), 5 + 0.3 * math.sin(a)) for a in turn]
    ((line, width),) = found(pin, rect(10, 10, 8, 8))
    np.testing.assert_allclose(line.mean(axis=0), (5, 5), atol=1e-6)
    assert np.hypot(*(line[1] - line[0])) == pytest.approx(0.2) and width == pytest.approx(0.47, abs=0.02)


def test_a_wedge_is_tracked_where_it_is_narrow():
    ((line, _),) = found([(0, 0), (30, 0), (0, 2)])
    assert 14.5 < line[:, 0].min() < 15.5 and line[:, 0].max() > 29


def test_far_from_the_origin_the_same_is_found():
    ((near, _),) = found(rect(0, 0, 10, 0.5))
    ((far, _),) = found(rect(1e6, -1e6, 10, 0.5))
    np.testing.assert_allclose(far - (1e6, -1e6), near, atol=1e-3)


def test_the_same_outline_gives_the_same_bytes():
    ring = [(0, 0), (20, 0), (20, 4.7), (30, 4.7), (30, 5.3), (20, 5.3), (20, 10), (0, 10)]
    assert found(ring)[0][0].tobytes() == found(ring)[0][0].tobytes()


def test_more_narrow_places_than_can_be_looked_at_are_a_sentence(monkeypatch):
    monkeypatch.setattr(middle_lines, "SAMPLES_MAX", 1500)
    with pytest.raises(ScanError, match="too fine for this spot"):
        found(rect(0, 0, 400, 0.5))


def test_a_wall_that_a_holes_compensation_eats_is_found_and_one_that_it_leaves_is_not():
    """Tracks keep 0.5 mm from the outside and 1.2 mm from holes: walls vanish below 1, 1.7 and 2.4 mm."""
    plate = rect(0, 0, 40, 20)
    outside = loops_of(plate, rect(1.5, 5, 5, 10, hole=True), rect(30, 5, 8.1, 10, hole=True))  # walls of 1.5 and 1.9
    ((line, width),) = narrow_beside_holes(outside, 0.5, 0.7, 1.0)
    assert width == pytest.approx(1.5, abs=0.02) and line[:, 0] == pytest.approx(0.75, abs=0.02)
    between = loops_of(plate, rect(5, 5, 8, 10, hole=True), rect(15.2, 5, 8, 10, hole=True))  # 2.2 mm between two holes
    ((line, width),) = narrow_beside_holes(between, 0.5, 0.7, 1.0)
    assert width == pytest.approx(2.2, abs=0.02) and line[:, 0] == pytest.approx(14.1, abs=0.02)
    assert narrow_beside_holes(between, 0.5, 0.5, 1.0) == []


def test_a_wall_beside_a_hole_is_drawn_as_a_track_where_its_contours_vanish():
    ring = rect(0, 0, 40, 20), rect(1.5, 5, 5, 10, hole=True)
    layer = Layer(0, 1.0, 1.0, *loops_of(*ring))
    filled = fill(layer, Parameters(), None, Strategy(compensation_mm=0.5, hole_compensation_mm=1.2))
    (place,) = filled.narrow
    assert place.tracked and place.at_mm == pytest.approx((0.75, 10.0), abs=0.6)
    wall = filled.path.of_kind(KIND_THIN).vectors_mm
    assert wall[:, 0::2] == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("width", [0.97, 1.0, 1.004, 1.012, 1.02, 1.05])
def test_a_wall_about_as_wide_as_the_spot_is_drawn_along_its_length(width):
    """A contour around a wall that is hardly wider than the beam is a hair, which a controller is not told."""
    layer = Layer(0, 1.0, 1.0, *loops_of(rect(0, 0, 20, width), rect(0, 10, 20, 20)))
    filled = fill(layer, Parameters(spot_mm=1.0, hatch_spacing_mm=0.8), None, Strategy())
    wall = filled.path.vectors_mm[(filled.path.vectors_mm[:, 1::2] < 2.0).all(axis=1)]
    assert np.ptp(wall[:, 0::2]) == pytest.approx(19.0, abs=0.1)


def disc(x, y, radius, corners=64):
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in turn]


def test_a_fin_is_found_among_many_round_bodies():
    """What the corners of round bodies may miss must not hide what is missing of a small one."""
    discs = [disc(20 + 6 * (i % 20), 20 + 6 * (i // 20), 2.0, 24) for i in range(240)]
    fin = [(0, 0), (10, 0), (10, 4.75), (14, 4.75), (14, 5.25), (10, 5.25), (10, 10), (0, 10)]
    ((line, width),) = found(fin, *discs)
    assert width == pytest.approx(0.5) and line[:, 1] == pytest.approx(5.0)


@pytest.mark.parametrize("compensation_mm", [0.0, 0.3, 0.5, 0.8])
def test_a_fin_is_drawn_whatever_the_compensation_of_holes(compensation_mm):
    plate = [(0, 0), (30, 0), (30, 9.75), (36, 9.75), (36, 10.25), (30, 10.25), (30, 20), (0, 20)]
    layer = Layer(0, 1.0, 1.0, *loops_of(plate, disc(10, 10, 4)[::-1], disc(20, 10, 4)[::-1]))
    parameters = Parameters(spot_mm=1.0, hatch_spacing_mm=0.8)
    filled = fill(layer, parameters, None, Strategy(hole_compensation_mm=compensation_mm))
    (place,) = filled.narrow
    assert place.tracked and place.width_mm == pytest.approx(0.5) and place.at_mm[1] == pytest.approx(10.0, abs=0.01)


def test_without_contours_what_falls_between_two_lines_is_drawn():
    layer = Layer(0, 1.0, 1.0, *loops_of(rect(0, 0, 20, 20), disc(30, 10.4, 0.55)))
    filled = fill(layer, Parameters(spot_mm=1.0, hatch_spacing_mm=1.0, contours=0), None, Strategy())
    pin = filled.path.vectors_mm[filled.path.vectors_mm[:, 0] > 25]
    (place,) = filled.narrow
    assert len(pin) == 1 and place.width_mm == pytest.approx(1.1, abs=0.1)
    hatched = Layer(0, 1.0, 1.0, *loops_of(rect(0, 0, 20, 20), disc(30, 10.4, 2.0)))
    assert fill(hatched, Parameters(spot_mm=1.0, hatch_spacing_mm=1.0, contours=0), None, Strategy()).narrow == ()


@pytest.mark.parametrize(("width", "contours"), [(2.5, 2), (2.7, 2), (4.1, 3), (5.7, 4), (2.5, 1)])
@pytest.mark.parametrize("y0", [0.0, 0.13, 0.31, 0.5])
def test_no_wall_is_left_hollow(width, contours, y0):
    """What is too narrow for the next contour, and lies between two lines of the hatch, gets a line in its middle."""
    layer = Layer(0, 1.0, 1.0, *loops_of(rect(0, y0, 20, width)))
    parameters = Parameters(spot_mm=1.0, hatch_spacing_mm=0.95, contours=contours, hatch_rotation_deg=0.0)
    vectors = fill(layer, parameters, None, Strategy()).path.vectors_mm
    for y in np.linspace(y0 + 0.05, y0 + width - 0.05, 60):
        off = _distances_mm(np.array([10.0, y]), vectors)
        assert off.min() <= 0.56, f"y = {y:.2f} of {y0} to {y0 + width} gets no beam"


def _distances_mm(at, vectors):
    begin, way = vectors[:, :2], vectors[:, 2:] - vectors[:, :2]
    part = np.clip(((at - begin) * way).sum(axis=1) / np.maximum((way * way).sum(axis=1), 1e-30), 0.0, 1.0)
    return np.hypot(*(begin + part[:, None] * way - at).T)


def test_a_wall_that_the_hatch_fills_gets_no_line_more():
    """Lines across a narrow core are reached by themselves."""
    layer = Layer(0, 1.0, 1.0, *loops_of(rect(0, 0, 3.0, 20)))
    parameters = Parameters(spot_mm=1.0, hatch_spacing_mm=0.4, contours=1, hatch_rotation_deg=0.0)
    path = fill(layer, parameters, None, Strategy()).path
    hatch = path.of_kind(KIND_HATCH).vectors_mm
    assert len(hatch) > 30 and (hatch[:, 1] == hatch[:, 3]).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 40), st.sampled_from([0.01, 0.3, 3.0, 40.0]))
def test_what_no_vector_passes_is_found(seed, count, reach):
    draw = np.random.default_rng(seed)
    vectors, points = draw.uniform(-20, 20, (count, 4)), draw.uniform(-25, 25, (50, 2))
    vectors[::3, 2:] = vectors[::3, :2] + draw.uniform(-0.1, 0.1, (len(vectors[::3]), 2))
    expected = [not len(vectors) or _distances_mm(at, vectors).min() > reach for at in points]
    assert far_from(points, vectors, reach).tolist() == expected


@pytest.mark.parametrize("y0", [29.55, 29.65, 29.75, 30.0])
def test_where_the_hatch_fills_most_of_a_core_the_rest_gets_a_line(y0):
    """Lines cross one arm, and the other may lie between two of them."""
    y1 = y0 + 2.7
    arm = [(0, 0), (2.7, 0), (2.7, y0), (12, y0), (12, y1), (0, y1)]
    layer = Layer(0, 1.0, 1.0, *loops_of(arm, rect(20, 10, 5, 30)))
    parameters = Parameters(spot_mm=1.0, hatch_spacing_mm=1.0, contours=1, hatch_rotation_deg=0.0)
    vectors = fill(layer, parameters, None, Strategy(hatch_angles_deg=(0.0,))).path.vectors_mm
    for x, y in np.mgrid[0.2:12:0.1, 0.2 : y1 - 0.1 : 0.1].reshape(2, -1).T:
        if x < 2.5 or y > y0 + 0.2:
            assert _distances_mm(np.array([x, y]), vectors).min() <= 0.8, (x, y)


def test_a_middle_line_that_leaves_its_place_is_cut_where_it_leaves():
    notched = loops_of([(0, 0), (4, 0), (4, 2), (6, 2), (6, 0), (10, 0), (10, 4), (0, 4)])
    line = np.array([(0.5, 1.0), (9.5, 1.0), (9.5, 3.0)])
    np.testing.assert_allclose(
        vectors_within(line, notched, 0.1), [(0.5, 1, 4, 1), (6, 1, 9.5, 1), (9.5, 1, 9.5, 3)], atol=1e-12
    )
    assert len(vectors_within(line, notched, 3.6)) == 0


@pytest.mark.parametrize("turn", [0.0, 0.4])
def test_an_inset_that_only_moves_is_told_from_one_that_loses_something(turn):
    plate = loops_of(rect(0, 0, 40, 20, turn), disc(15, 12, 3)[::-1], disc(60, 0, 6, 200))
    assert is_even_inset(plate, offset_loops(plate, -1.0), 1.0)
    fins = loops_of([(0, 0), (40, 0), (40, 9), (46, 9), (46, 10.9), (40, 10.9), (40, 20), (0, 20)])
    assert is_even_inset(fins, offset_loops(fins, -0.9), 0.9) and not is_even_inset(fins, offset_loops(fins, -1.0), 1.0)
    ring = loops_of(disc(0, 0, 10, 64), disc(0, 0, 8.2, 64)[::-1])
    assert is_even_inset(ring, offset_loops(ring, -0.85), 0.85) and not is_even_inset(
        ring, offset_loops(ring, -1.0), 1.0
    )
