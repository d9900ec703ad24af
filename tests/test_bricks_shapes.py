"""Over their ranges: are bricks closed solids of the volume that their formula says, symmetric, on z = 0, sliceable?"""

from __future__ import annotations

import math

import numpy as np
import pytest
from brick_helpers import solid
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from slicer.bricks import KINDS, BrickError, make_brick
from slicer.bricks.dome import dome_place
from slicer.layers import cut_layers, net_area_mm2
from slicer.mesh import judge

QUICK = settings(max_examples=25, deadline=None)


def numbers(low, high):
    return st.floats(low, high, allow_nan=False).map(lambda value: float(f"{value:.4g}"))


def some_brick(kind):
    """Any measures of a kind in ranges where most fit together."""
    spans = {
        "length_mm": (20, 300), "width_mm": (20, 300), "height_mm": (5, 60), "side_mm": (40, 400),
        "tenon_length_mm": (4, 20), "tenon_width_mm": (4, 20), "tenon_height_mm": (1, 6), "clearance_mm": (0, 2),
        "draft_deg": (0, 20), "amplitude_mm": (0, 6), "chord_tolerance_mm": (0.05, 0.5), "track_mm": (5, 30),
        "lock_mm": (0, 5), "inner_radius_mm": (20, 300), "outer_radius_mm": (40, 400), "angle_deg": (2, 120),
        "lean_deg": (1, 45), "elevation_deg": (0, 60), "rise_deg": (2, 25),
    }  # fmt: skip
    return st.fixed_dictionaries(
        {measure.key: numbers(*spans[measure.key]) for measure in KINDS[kind].measures},
        optional={"shrinkage_percent": st.sampled_from(["11", "2,2,29"])},
    )


def made(kind, values):
    try:
        return make_brick(kind, values)
    except BrickError:
        assume(False)
        raise


def rectangular_volume(m):
    return math.prod(m[key] - m["clearance_mm"] for key in ("length_mm", "width_mm", "height_mm")), 1e-9


def mortise_tenon_volume(m):
    def frustum(length, width, height):
        run = 2 * height * math.tan(math.radians(m["draft_deg"]))
        middle = (length - run / 2) * (width - run / 2)
        return height / 6 * (length * width + 4 * middle + (length - run) * (width - run))

    length, width, height, c = m["tenon_length_mm"], m["tenon_width_mm"], m["tenon_height_mm"], m["clearance_mm"]
    growth = 2 * c / math.cos(math.radians(m["draft_deg"]))
    body = m["length_mm"] * m["width_mm"] * m["height_mm"]
    return body + frustum(length, width, height) - frustum(length + growth, width + growth, height + c), 1e-9


def osteomorphic_volume(m):
    """Less the strip along each bed, half the clearance times its area, to first order in the clearance."""
    length, c = m["length_mm"] - m["clearance_mm"], m["clearance_mm"]
    width, k = m["length_mm"] / 2 - c, 4 * math.pi / m["length_mm"]
    x, y = np.meshgrid(np.linspace(-length / 2, length / 2, 201), np.linspace(-width / 2, width / 2, 101))
    fx, fy = (m["amplitude_mm"] * k * np.sin(k * a) * np.cos(k * b) for a, b in ((x, y), (y, x)))
    stretch = np.sqrt(1 + fx**2 + fy**2)
    tolerance = (c**2 * m["amplitude_mm"] * k**2 + 2 * m["chord_tolerance_mm"] + 0.01 * c) * length * width
    return length * width * m["height_mm"] - c * length * width * stretch.mean(), tolerance


def paver_volume(m):
    back = m["clearance_mm"] / 2
    side, hole = m["side_mm"] - 2 * math.sqrt(3) * back, m["side_mm"] - 2 * math.sqrt(3) * (m["track_mm"] + back)
    x = np.linspace(0, 2 * np.pi, 2001)
    slope = m["lock_mm"] * 4 / (3 * math.sqrt(3)) * (np.cos(x) - np.cos(2 * x)) * 2 * np.pi / hole
    wave = hole * np.hypot(1, slope)[:-1].mean()
    area = math.sqrt(3) / 4 * (side**2 - hole**2) - 3 * back * (wave - hole)
    return area * m["height_mm"], m["chord_tolerance_mm"] * 6 * wave * m["height_mm"] * 0.1 + 1e-6


def voussoir_volume(m):
    d, angle = m["clearance_mm"] / 2, math.radians(m["angle_deg"])

    def strip(q):
        return 0.5 * (q * q * math.asin(d / q) + d * math.sqrt(q * q - d * d))

    inner, outer = m["inner_radius_mm"], m["outer_radius_mm"]
    area = angle * (outer**2 - inner**2) / 2 - 2 * (strip(outer) - strip(inner))
    return area * m["width_mm"], m["chord_tolerance_mm"] * angle * outer * m["width_mm"]


def dome_voussoir_volume(m):
    """Less a strip along each of the four joints, to first order in the clearance."""
    inner, outer, d = m["inner_radius_mm"], m["outer_radius_mm"], m["clearance_mm"] / 2
    angle, low, rise = (math.radians(m[key]) for key in ("angle_deg", "elevation_deg", "rise_deg"))
    whole = (outer**3 - inner**3) / 3 * angle * (math.sin(low + rise) - math.sin(low))
    joint = (outer**2 - inner**2) / 2
    strips = d * joint * (2 * rise + angle * (math.cos(low) + math.cos(low + rise)))
    faces = angle * rise * (inner**2 + outer**2) + joint * angle
    return whole - strips, 8 * d * d * (outer - inner) + m["chord_tolerance_mm"] * faces


def abeille_volume(m):
    lean = math.radians(m["lean_deg"])
    side = m["side_mm"] - m["clearance_mm"] / math.cos(lean)
    return side**2 * m["height_mm"] - 4 / 3 * math.tan(lean) ** 2 * m["height_mm"] ** 3, 1e-6


VOLUME = {
    "rectangular": rectangular_volume,
    "mortise-tenon": mortise_tenon_volume,
    "osteomorphic": osteomorphic_volume,
    "paver": paver_volume,
    "voussoir": voussoir_volume,
    "dome-voussoir": dome_voussoir_volume,
    "abeille": abeille_volume,
}


@pytest.mark.parametrize("kind", KINDS)
@QUICK
@given(st.data())
def test_a_brick_is_a_closed_solid_of_its_formulas_volume(kind, data):
    brick = made(kind, data.draw(some_brick(kind)))
    _, report = judge(brick.mesh)
    assert (report.open_edges, report.non_manifold_edges, report.flipped_faces, report.bodies) == (0, 0, 0, 1)
    assert not report.inside_out and not report.one_sided
    volume, tolerance = VOLUME[kind](brick.measures)
    finished = solid(brick.finished()).volume()
    assert finished > 0 and finished == pytest.approx(volume, rel=1e-9, abs=tolerance)


@pytest.mark.parametrize("kind", KINDS)
@QUICK
@given(st.data())
def test_a_brick_stands_on_the_plate_and_slices_without_a_gap(kind, data):
    brick = made(kind, data.draw(some_brick(kind)))
    low, high = brick.mesh.bounds_mm
    assert low[2] == pytest.approx(0, abs=1e-12)
    assert low[0] == pytest.approx(-high[0])  # every kind is as long left as right
    layers = cut_layers(brick.mesh, (high[2] - low[2]) / 40)
    assert len(layers) == 40
    sliced = sum(net_area_mm2(layer) * layer.thickness_mm for layer in layers)
    assert sliced == pytest.approx(solid(brick.mesh).volume(), rel=0.03)


def turned(points, deg):
    c, s = np.cos(np.radians(deg)), np.sin(np.radians(deg))
    return points @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])


SYMMETRY = {  # kind -> what maps its corners onto themselves
    "rectangular": [lambda p: p * (-1, 1, 1), lambda p: p * (1, -1, 1)],
    "mortise-tenon": [lambda p: p * (-1, 1, 1), lambda p: p * (1, -1, 1)],
    "osteomorphic": [lambda p: p * (-1, 1, 1), lambda p: p * (1, -1, 1), lambda p: p * (-1, -1, 1)],
    "paver": [lambda p: turned(p, 120)],
    "voussoir": [lambda p: p * (-1, 1, 1)],
    "dome-voussoir": [lambda p: p * (-1, 1, 1)],
    "abeille": [lambda p: p * (-1, 1, 1), lambda p: p * (1, -1, 1)],
}


@pytest.mark.parametrize("kind", KINDS)
@QUICK
@given(st.data())
def test_a_brick_is_symmetric(kind, data):
    corners = made(kind, {**data.draw(some_brick(kind)), "shrinkage_percent": "0"}).mesh.vertices_mm
    assume(len(corners) < 1500)
    for mapped in SYMMETRY[kind]:
        image = mapped(corners)
        for piece in np.array_split(image, len(image) // 500 + 1):
            nearest = np.abs(piece[:, None] - corners[None]).max(axis=2).min(axis=1)
            assert nearest.max() < 1e-8


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_measures_from_the_whole_range_make_a_solid_or_a_sentence(kind, data):
    values = {
        measure.key: data.draw(
            st.one_of(
                st.sampled_from([measure.low, measure.high, measure.default]),
                st.floats(math.log(max(measure.low, 1e-3)), math.log(measure.high)).map(math.exp),
            )
        )
        for measure in KINDS[kind].measures
        if measure.key != "chord_tolerance_mm"
    }
    if any(measure.key == "chord_tolerance_mm" for measure in KINDS[kind].measures):
        values["chord_tolerance_mm"] = data.draw(st.sampled_from([0.2, 1.0, 5.0]))
    try:
        brick = make_brick(kind, values)
    except BrickError as error:
        assert str(error).startswith(f"brick {kind}: ")
        return
    _, report = judge(brick.mesh)
    assert (report.open_edges, report.non_manifold_edges, report.flipped_faces) == (0, 0, 0)
    assert report.volume_mm3 > 0


def test_the_published_paver_tile_has_its_numbers():
    tile = make_brick("paver", {"clearance_mm": 0, "lock_mm": 0})
    (layer,) = cut_layers(tile.mesh, 15.0)
    assert net_area_mm2(layer) == pytest.approx(0.0232e6, rel=0.002)
    outer, hole = (np.hypot(*np.diff(loop, axis=0, append=loop[:1]).T).sum() for loop in layer.loops())
    assert (outer / 3, hole / 3) == (pytest.approx(250), pytest.approx(94, abs=0.2))
    assert (outer + hole) / 2 == pytest.approx(516, abs=0.5)  # the track's middle


def test_a_wave_is_as_high_as_its_lock_and_begins_flat():
    tile = make_brick("paver", {"clearance_mm": 0, "lock_mm": 5, "chord_tolerance_mm": 0.001}).mesh
    corners = tile.vertices_mm[tile.vertices_mm[:, 2] == 0]
    straight = 250 / (2 * math.sqrt(3))
    side = corners[corners[:, 1] > straight - 6]
    assert np.ptp(side[:, 1]) == pytest.approx(10, abs=0.01) and side[:, 1].max() == pytest.approx(
        straight + 5, abs=0.005
    )
    hole = 250 - 2 * math.sqrt(3) * 45
    begin = side[np.abs(np.abs(side[:, 0]) - hole / 2) < hole / 50]
    assert len(begin) > 2 and np.abs(begin[:, 1] - straight).max() < 0.01


@pytest.mark.parametrize("tolerance", [0.3, 0.02])
def test_a_chord_tolerance_bounds_how_far_faces_lie_from_their_sphere_or_cylinder(tolerance):
    values = {"chord_tolerance_mm": tolerance, "clearance_mm": 0.8, "angle_deg": 40, "inner_radius_mm": 400}
    wedge = make_brick("voussoir", {**values, "outer_radius_mm": 440})
    dome = make_brick("dome-voussoir", {**values, "outer_radius_mm": 440, "rise_deg": 30})
    axis = -0.5 * (440 + 400 * math.cos(math.radians(20)))
    place = dome_place(**dome.measures)
    for brick, centred in (
        (wedge, (wedge.mesh.vertices_mm - (0, axis, 0)) * (1, 1, 0)),
        (dome, dome.mesh.vertices_mm @ place[:, :3].T + place[:, 3]),
    ):
        corners = centred[brick.mesh.faces]
        curved = np.ptp(np.linalg.norm(corners, axis=2), axis=1) < 1e-6
        sides = [(corners[:, k] + corners[:, (k + 1) % 3]) / 2 for k in range(3)]
        middles = np.concatenate([corners.mean(axis=1), *sides])
        radius = np.linalg.norm(middles, axis=1)[np.tile(curved, 4)]
        off = np.minimum(np.abs(radius - 400), np.abs(radius - 440)).max()
        assert 0.2 * tolerance < off <= tolerance


def test_a_chord_tolerance_bounds_how_far_faces_lie_from_the_wave():
    plain = {"clearance_mm": 0, "amplitude_mm": 6.0}
    coarse, fine = (make_brick("osteomorphic", {**plain, "chord_tolerance_mm": t}) for t in (0.2, 0.01))
    assert len(coarse.mesh.faces) < len(fine.mesh.faces) / 10
    k = 4 * np.pi / 100
    for brick, tolerance in ((coarse, 0.2), (fine, 0.01)):
        corners = brick.mesh.vertices_mm[brick.mesh.faces]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        top = corners[normal[:, 2] > 1e-9]
        x, y, z = np.concatenate([top.mean(axis=1), (top[:, 0] + top[:, 2]) / 2, (top[:, 1] + top[:, 2]) / 2]).T
        wave = 36.0 + 6 * np.cos(k * x) * np.cos(k * y)
        assert 0.1 * tolerance < np.abs(z - wave).max() <= tolerance


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["11", "2,2,29"])
def test_shrinkage_is_made_up_for(kind, text):
    plain, grown = make_brick(kind), make_brick(kind, {"shrinkage_percent": text})
    np.testing.assert_allclose(grown.finished().vertices_mm, plain.mesh.vertices_mm, atol=1e-9)
    by = 1 - np.array([float(t) for t in (text.split(",") * 3)[:3]]) / 100
    size, size_grown = (np.ptp(brick.mesh.vertices_mm, axis=0) for brick in (plain, grown))
    np.testing.assert_allclose(size_grown * by, size)


@pytest.mark.parametrize(
    ("kind", "values", "sentence"),
    [
        ("osteomorfic", {}, "did you mean 'osteomorphic'"),
        ("paver", {"trak_mm": 3}, "did you mean 'track_mm'"),
        ("paver", {"track_mm": "wide"}, "'wide' is no number"),
        ("paver", {"track_mm": 80}, "leaves no hole"),
        ("paver", {"lock_mm": 20}, "too high"),
        ("paver", {"lock_mm": 5, "clearance_mm": 30, "track_mm": 44}, "too sharply"),
        ("paver", {"chord_tolerance_mm": 1.5}, "too coarse for a clearance"),
        ("osteomorphic", {"amplitude_mm": 16}, "higher than half"),
        ("osteomorphic", {"amplitude_mm": 8, "length_mm": 40}, "steeper .68 deg.* set amplitude_mm to 6.37 or less"),
        ("osteomorphic", {"amplitude_mm": 10, "clearance_mm": 10}, "too sharply"),
        ("osteomorphic", {"amplitude_mm": 0, "clearance_mm": 20}, "too little"),
        ("osteomorphic", {"length_mm": 5000, "height_mm": 5000, "amplitude_mm": 500, "chord_tolerance_mm": 0.001},
         "lines a wave"),
        ("voussoir", {"outer_radius_mm": 150}, "beyond the inner"),
        ("voussoir", {"clearance_mm": 50, "inner_radius_mm": 50}, "leaves nothing of the inner face"),
        ("voussoir", {"angle_deg": float("inf")}, "angle_deg is inf; it must be at least 1 and at most 120 deg"),
        ("voussoir", {"clearance_mm": 0, "chord_tolerance_mm": 5, "outer_radius_mm": 155}, "too coarse for a wedge"),
        ("dome-voussoir", {"elevation_deg": 80}, "elevation of 90 deg, more than 88"),
        ("dome-voussoir", {"outer_radius_mm": 300}, "beyond the inner"),
        ("dome-voussoir", {"clearance_mm": 50, "angle_deg": 2}, "too little of an inner face"),
        ("dome-voussoir", {"clearance_mm": 0, "chord_tolerance_mm": 5, "outer_radius_mm": 410},
         "too coarse for a shell"),
        ("abeille", {"height_mm": 90}, "must be left"),
        ("abeille", {"clearance_mm": 50, "lean_deg": 40}, "must be left"),
        ("rectangular", {"clearance_mm": 30}, "leaves nothing"),
        ("rectangular", {"shrinkage_percent": "1,2"}, "or three as x,y,z"),
        ("rectangular", {"shrinkage_percent": "-1"}, "at least 0"),
        ("rectangular", {"shrinkage_percent": "nan"}, "shrinkage_percent is nan"),
        ("rectangular", {"shrinkage_percent": "1,b,3"}, "'b' is no number"),
    ],
)  # fmt: skip
def test_contradicting_measures_get_a_sentence(kind, values, sentence):
    with pytest.raises(BrickError, match=sentence):
        make_brick(kind, values)


def test_the_same_measures_make_the_same_mesh():
    for kind in KINDS:
        one, two = make_brick(kind).mesh, make_brick(kind).mesh
        assert one.vertices_mm.tobytes() == two.vertices_mm.tobytes() and one.faces.tobytes() == two.faces.tobytes()
