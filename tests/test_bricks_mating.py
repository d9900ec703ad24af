"""Do bricks that are laid as they are meant to be fit, with the stated clearance and no more, and do they lock?"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from brick_helpers import assembly, gaps_across_mm, laid, solid

from slicer.bricks import make_brick
from slicer.bricks.dome import dome_place
from slicer.bricks.solids import pose

# kind, what is set, and the neighbours across whose joints the clearance is measured
LAID = [
    ("rectangular", {"clearance_mm": 1.0}, ("next in the course", "behind", "above, half a brick on")),
    ("osteomorphic", {}, ("next in the course", "behind", "above, half a brick on", "above, half a brick back")),
    ("osteomorphic", {"clearance_mm": 1.5, "amplitude_mm": 6.0, "chord_tolerance_mm": 0.02},
     ("above, half a brick on", "above, half a brick back")),
    ("paver", {}, ("behind", "left", "right")),
    ("paver", {"clearance_mm": 0.4, "lock_mm": 9.0, "chord_tolerance_mm": 0.01}, ("behind", "left")),
    ("paver", {"lock_mm": 0.0}, ("behind", "right")),
    ("voussoir", {}, ("next to the left", "next to the right")),
    ("voussoir", {"clearance_mm": 3.0, "angle_deg": 60.0, "inner_radius_mm": 20.0}, ("next to the left",)),
    ("dome-voussoir", {}, ("next to the left", "next to the right")),
    ("dome-voussoir", {"elevation_deg": 65.0, "angle_deg": 40.0, "clearance_mm": 2.0}, ("next to the right",)),
    ("abeille", {}, ("right", "left", "behind", "before")),
    ("abeille", {"clearance_mm": 2.0, "lean_deg": 35.26}, ("right", "before")),
    ("osteomorphic", {"shrinkage_percent": "2,2,29"}, ("above, half a brick on",)),
]  # fmt: skip
IDS = [f"{kind} {' '.join(map(str, settings.values()))}".strip() for kind, settings, _ in LAID]


def tolerance_mm(brick):
    """Two per cent of the clearance, or what the chords of two curved faces may take of it."""
    return max(0.02 * brick.measures["clearance_mm"], 2 * brick.measures.get("chord_tolerance_mm", 0.0))


@pytest.mark.parametrize(("kind", "settings"), [case[:2] for case in LAID], ids=IDS)
def test_no_two_bricks_of_an_assembly_share_space(kind, settings):
    solids = {name: solid(mesh) for name, mesh in assembly(make_brick(kind, settings)).items()}
    for (one, a), (other, b) in combinations(solids.items(), 2):
        assert (a ^ b).volume() == pytest.approx(0, abs=1e-6), f"{one} and {other} overlap"


@pytest.mark.parametrize("kind", ["osteomorphic", "paver", "voussoir", "dome-voussoir", "abeille", "rectangular"])
def test_without_clearance_bricks_touch_and_share_no_space(kind):
    brick = make_brick(kind, {"clearance_mm": 0.0})
    itself = solid(brick.finished())
    for name, place in brick.neighbours().items():
        # away by a hundred thousandth of a micron: faces that are one to the last digit leave a boolean undecided
        away = place[:, 3] / np.linalg.norm(place[:, 3]) * 1e-8
        other = solid(laid(brick.finished(), place)).translate(away)
        assert (itself ^ other).volume() == pytest.approx(0, abs=1e-6), name
        assert itself.min_gap(other, 1.0) == pytest.approx(0, abs=1e-6), name


@pytest.mark.parametrize(("kind", "settings", "across"), LAID, ids=IDS)
def test_the_narrowest_gap_is_the_clearance(kind, settings, across):
    brick = make_brick(kind, settings)
    parts = assembly(brick)
    itself, clearance = solid(parts["itself"]), brick.measures["clearance_mm"]
    for name in across:
        gap = itself.min_gap(solid(parts[name]), 3 * clearance)
        assert gap == pytest.approx(clearance, abs=tolerance_mm(brick)), name


@pytest.mark.parametrize(("kind", "settings", "across"), LAID, ids=IDS)
def test_the_gap_is_the_clearance_all_over_the_joint(kind, settings, across):
    brick = make_brick(kind, settings)
    parts, clearance = assembly(brick), brick.measures["clearance_mm"]
    for name in across:
        _, gaps = gaps_across_mm(parts["itself"], parts[name], 3 * clearance)
        assert len(gaps) > 10, f"hardly a point of the brick looks at {name}"
        np.testing.assert_allclose(gaps, clearance, rtol=0, atol=tolerance_mm(brick), err_msg=name)


@pytest.mark.parametrize(
    "settings", [{}, {"draft_deg": 12.0, "clearance_mm": 0.8}, {"shrinkage_percent": "11", "clearance_mm": 0.2}]
)
def test_a_tenon_has_the_clearance_on_every_side_and_rests_on_its_body(settings):
    brick = make_brick("mortise-tenon", settings)
    parts = assembly(brick)
    assert (solid(parts["itself"]) ^ solid(parts["above"])).volume() == pytest.approx(0, abs=1e-6)
    starts, gaps = gaps_across_mm(parts["itself"], parts["above"], 2.0, samples=1500)
    tenon = starts[:, 2] > brick.measures["height_mm"] + 1e-6
    clearance = brick.measures["clearance_mm"]
    sides = [starts[:, 0] > 8.9, starts[:, 0] < -8.9, starts[:, 1] > 4.9, starts[:, 1] < -4.9, starts[:, 2] > 15.99]
    assert all((tenon & side).sum() > 5 for side in sides)
    np.testing.assert_allclose(gaps[tenon], clearance, rtol=1e-6)
    bed = np.abs(starts[:, 2] - brick.measures["height_mm"]) < 1e-6
    assert bed.sum() > 100
    np.testing.assert_allclose(gaps[bed], 0, atol=1e-9)


# kind, its neighbour, and a shift that brings the neighbour onto the brick although it does not point at it
LOCKED = [
    ("osteomorphic", "above, half a brick on", (3.0, 0, 0)),
    ("osteomorphic", "above, half a brick on", (0, 3.0, 0)),
    ("osteomorphic", "above, half a brick back", (-3.0, 0, 0)),
    ("mortise-tenon", "above", (0, 0.6, 0)),
    ("mortise-tenon", "above", (-0.6, 0, 0)),
    ("paver", "behind", (12.0, 0, 0)),
    ("paver", "behind", (-12.0, 0, 0)),
    ("abeille", "right", (0, 0, 3.0)),
    ("abeille", "behind", (0, 0, -3.0)),
]


@pytest.mark.parametrize(("kind", "neighbour", "shift_mm"), LOCKED)
def test_a_neighbour_cannot_be_slid_out(kind, neighbour, shift_mm):
    brick = make_brick(kind)
    parts = assembly(brick)
    moved = laid(parts[neighbour], pose(shift_mm=shift_mm))
    assert (solid(parts["itself"]) ^ solid(moved)).volume() > 1.0


def test_an_abeille_block_hangs_on_two_neighbours_and_carries_two():
    parts = assembly(make_brick("abeille"))
    itself = solid(parts["itself"])
    for names, free, held in ((("right", "left"), -3.0, 3.0), (("behind", "before"), 3.0, -3.0)):
        for name in names:
            other = solid(parts[name])
            assert (itself ^ other.translate((0, 0, free))).volume() == pytest.approx(0, abs=1e-6)
            assert (itself ^ other.translate((0, 0, held))).volume() > 1.0


@pytest.mark.parametrize("ways", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_osteomorphic_courses_also_fit_half_a_wave_on_both_ways(ways):
    brick = make_brick("osteomorphic")
    mesh = brick.finished()
    above = laid(mesh, pose(shift_mm=(25.0 * ways[0], 25.0 * ways[1], 30.0)))
    assert (solid(mesh) ^ solid(above)).volume() == pytest.approx(0, abs=1e-6)
    _, gaps = gaps_across_mm(mesh, above, 1.5)
    assert len(gaps) > 10
    np.testing.assert_allclose(gaps, 0.5, atol=tolerance_mm(brick))


def test_eighteen_voussoirs_close_the_ring():
    brick = make_brick("voussoir", {"angle_deg": 20.0})
    mesh, turn = brick.finished(), brick.neighbours()["next to the left"]
    ring = [mesh]
    for _ in range(18):
        ring.append(laid(ring[-1], turn))
    np.testing.assert_allclose(ring[-1].vertices_mm, ring[0].vertices_mm, atol=1e-9)
    assert (solid(ring[0]) ^ solid(ring[17])).volume() == pytest.approx(0, abs=1e-6)
    assert solid(ring[0]).min_gap(solid(ring[17]), 2.0) == pytest.approx(0.5, rel=1e-6)


def in_dome(brick, turn_deg=0.0):
    place = dome_place(**brick.measures)
    turn = pose(turn_deg)[:, :3]
    return laid(brick.finished(), np.column_stack([turn @ place[:, :3], turn @ place[:, 3]]))


@pytest.mark.parametrize("turn_deg", [0.0, 4.0, 6.0, 15.0])
def test_a_course_of_a_dome_lies_on_the_one_below_however_it_is_turned(turn_deg):
    shell = {"inner_radius_mm": 300, "outer_radius_mm": 330, "clearance_mm": 0.8, "chord_tolerance_mm": 0.004}
    below = make_brick("dome-voussoir", {**shell, "elevation_deg": 30, "rise_deg": 12, "angle_deg": 12})
    above = make_brick("dome-voussoir", {**shell, "elevation_deg": 42, "rise_deg": 10, "angle_deg": 20})
    one, other = in_dome(below), in_dome(above, turn_deg)
    assert (solid(one) ^ solid(other)).volume() == pytest.approx(0, abs=1e-6)
    assert solid(one).min_gap(solid(other), 3.0) == pytest.approx(0.8, abs=0.016)
    _, gaps = gaps_across_mm(one, other, 2.4)
    assert len(gaps) > 5
    np.testing.assert_allclose(gaps, 0.8, rtol=0, atol=0.016)


def test_a_dome_wedge_lies_between_its_radii_and_elevations():
    brick = make_brick("dome-voussoir", {"clearance_mm": 0})
    x, y, z = in_dome(brick).vertices_mm.T
    radius = np.sqrt(x**2 + y**2 + z**2)
    assert set(radius.round(6)) == {400.0, 440.0}
    elevation, azimuth = np.degrees(np.arctan2(z, np.hypot(x, y))), np.degrees(np.arctan2(y, x))
    assert (elevation.min(), elevation.max()) == (pytest.approx(20), pytest.approx(30))
    assert (azimuth.min(), azimuth.max()) == (pytest.approx(-6), pytest.approx(6))


def test_a_dome_wedge_stands_back_by_half_the_clearance_below_and_above_alike():
    x, y, z = in_dome(make_brick("dome-voussoir", {"clearance_mm": 3})).vertices_mm.T
    for elevation_deg, sense in ((20, 1), (30, -1)):
        out, up = np.cos(np.radians(elevation_deg)), np.sin(np.radians(elevation_deg))
        over_joint = sense * (out * z - up * np.hypot(x, y))  # height over the cone in the middle of the joint
        assert over_joint.min() == pytest.approx(1.5)


def test_six_pavers_meet_around_a_corner():
    brick = make_brick("paver", {"clearance_mm": 2.0})
    tile = brick.finished()
    corner = np.array([[-125.0, 250 / (2 * np.sqrt(3))]])  # of the place that the tile takes
    around = []
    for k in range(6):
        turn = pose(60.0 * k)
        turn[:2, 3] = corner[0] - turn[:2, :2] @ corner[0]
        around.append(solid(laid(tile, turn)))
    for a, b in combinations(around, 2):
        assert (a ^ b).volume() == pytest.approx(0, abs=1e-6)
    assert around[0].min_gap(around[1], 5.0) == pytest.approx(2.0, abs=0.1)
