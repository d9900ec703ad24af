"""Do parts stand where they are told to, turned as told, and never in one another?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import manifold3d
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from solid_helpers import box, joined, mesh_of

from slicer.errors import MeshError
from slicer.mesh import judge, place_on_plate
from slicer.placement import Placed, Wish, arrange, parse_wishes, rotated, shadow, wished

Solid = manifold3d.Manifold


@dataclass(frozen=True)
class Room:
    x_mm: float = 250.0
    y_mm: float = 150.0
    z_mm: float = 100.0


def named(mesh, name):
    return replace(mesh, name=name)


BRICK = named(box(60, 40, 12, (500, 500, 500)), "brick")
PIN = named(mesh_of(Solid.cylinder(30, 5, 5, 32)), "pin")


def test_one_part_lies_in_the_middle_as_ever():
    plate = arrange([Placed(BRICK)], 1, Room())
    np.testing.assert_allclose(plate.mesh.vertices_mm, place_on_plate(BRICK, Room()).vertices_mm, atol=1e-9)
    assert (plate.mesh.faces == BRICK.faces).all() and plate.mesh.name == "brick" and plate.notes == ()
    (row,) = plate.parts
    assert (row.name, row.at_mm, row.first_face, row.face_count) == ("brick", (125.0, 75.0), 0, 12)
    assert row.low_mm == (95.0, 55.0, 0.0) and row.high_mm == (155.0, 95.0, 12.0)


def test_held_parts_are_where_they_were_put_and_the_rest_lies_beside():
    plate = arrange([Placed(BRICK, (200.0, 120.0)), Placed(PIN)], [1, 3], Room(), gap_mm=4.0)
    rows = {row.name: row for row in plate.parts}
    assert list(rows) == ["brick", "pin 1", "pin 2", "pin 3"]
    assert rows["brick"].at_mm == (200.0, 120.0) and rows["brick"].low_mm == (170.0, 100.0, 0.0)
    # in a row at the front, a gap apart: 10 mm pins
    assert [rows[f"pin {n}"].low_mm[:2] for n in (1, 2, 3)] == [(0.0, 0.0), (14.0, 0.0), (28.0, 0.0)]
    assert plate.mesh.bounds_mm[0].tolist() == [0, 0, 0] and judge(plate.mesh)[1].bodies == 4


def test_rows_of_the_table_are_the_triangles_of_the_mesh():
    plate = arrange([Placed(BRICK), Placed(PIN)], [2, 3], Room())
    for row in plate.parts:
        faces = plate.mesh.faces[row.first_face : row.first_face + row.face_count]
        corners = plate.mesh.vertices_mm[faces].reshape(-1, 3)
        np.testing.assert_allclose([corners.min(axis=0), corners.max(axis=0)], [row.low_mm, row.high_mm], atol=1e-9)
    assert sum(row.face_count for row in plate.parts) == len(plate.mesh.faces)


def test_without_a_given_place_the_whole_lies_in_the_middle():
    bounds = arrange([Placed(BRICK), Placed(PIN)], [2, 3], Room()).mesh.bounds_mm
    np.testing.assert_allclose(bounds.mean(axis=0)[:2], [125, 75])


@pytest.mark.parametrize(
    ("turn", "size"),
    [((0, 0, 90), (40, 60, 12)), ((90, 0, 0), (60, 12, 40)), ((0, -90, 0), (12, 40, 60)), ((0, 0, 360), (60, 40, 12))],
)
def test_quarter_turns_are_exact(turn, size):
    mesh = rotated(BRICK, turn)
    assert np.ptp(mesh.vertices_mm, axis=0).tolist() == list(size)
    assert judge(mesh)[1].volume_mm3 == pytest.approx(28_800) and not judge(mesh)[1].inside_out


@given(st.tuples(*[st.floats(-400, 400)] * 3))
def test_turns_are_about_x_then_y_then_z(angles):
    expected = Solid.cube((60, 40, 12), True).rotate(angles)  # manifold3d turns about x, y and z in this order, too
    mesh = rotated(box(60, 40, 12, (-30, -20, -6)), angles)
    low, high = np.array(expected.bounding_box()).reshape(2, 3)
    np.testing.assert_allclose(mesh.bounds_mm, [low, high], atol=1e-9)


def test_overlap_names_both_parts_and_how_far():
    with pytest.raises(MeshError) as caught:
        arrange([Placed(BRICK, (100.0, 75.0)), Placed(PIN, (132.0, 75.0))], 1, Room())
    assert str(caught.value).startswith("brick and pin overlap on the plate by 3.00 x ")
    assert "about (128.50, 75.00) mm" in str(caught.value)


def test_boxes_may_overlap_where_parts_do_not():
    corner = Solid.cube((60, 60, 10)) - Solid.cube((50, 50, 30)).translate((10, 10, -1))
    ell = named(mesh_of(corner), "ell")
    plate = arrange([Placed(ell, (100.0, 75.0)), Placed(PIN, (110.0, 85.0))], 1, Room())
    assert len(plate.parts) == 2 and plate.notes == ()
    with pytest.raises(MeshError, match="ell and pin overlap"):
        arrange([Placed(ell, (100.0, 75.0)), Placed(PIN, (82.0, 85.0))], 1, Room())


def test_parts_that_touch_or_come_near_are_told_of():
    plate = arrange([Placed(BRICK, (40.0, 75.0)), Placed(BRICK, (101.5, 75.0))], 1, Room(), gap_mm=2.0)
    assert plate.notes == ("brick 1 and brick 2 stand less than 2 mm apart.",)
    assert arrange([Placed(BRICK, (40.0, 75.0)), Placed(BRICK, (102.0, 75.0))], 1, Room(), gap_mm=2.0).notes == ()
    assert arrange([Placed(BRICK, (40.0, 75.0)), Placed(BRICK, (100.0, 75.0))], 1, Room(), gap_mm=0.0).notes == ()


@pytest.mark.parametrize(
    ("parts", "copies", "says"),
    [
        ([Placed(BRICK, (20.0, 75.0))], 1, "brick lies 10.00 mm outside the plate, which reaches from 0 to 250"),
        ([Placed(BRICK, (125.0, 131.0))], 1, "brick lies 1.00 mm outside the plate, which reaches from 0 to 150"),
        ([Placed(BRICK, rotate_deg=(0.0, 0.0, 0.0)), Placed(box(5, 5, 101))], 1, "101.00 mm in z where 100"),
        ([Placed(box(151, 5, 5), rotate_deg=(0.0, 0.0, 90.0))], 1, "151.00 mm in y where 150"),
        ([Placed(BRICK)], 13, "no room left on the plate of 250 x 150 mm for brick 13"),
        ([Placed(box(250, 50, 5), (125.0, 125.0)), Placed(box(60, 98.5, 5))], 1, "no room left"),  # 1.5 mm before it
        ([Placed(BRICK)], 0, "at least one of each"),
        ([Placed(BRICK)], 1001, "1 to 1000 parts"),
        ([Placed(BRICK)], [1, 2], "1 parts cannot be placed in 2"),
        ([], [], "0 parts"),
        ([Placed(BRICK, (math.nan, 0.0))], 1, "that is no place"),
        ([Placed(BRICK, rotate_deg=(0.0, math.inf, 0.0))], 1, "cannot be turned by inf deg"),
    ],
)  # fmt: skip
def test_impossible_plates_are_sentences(parts, copies, says):
    with pytest.raises(MeshError) as caught:
        arrange(parts, copies, Room())
    assert says in str(caught.value)


def test_a_full_plate_is_filled_to_its_edges():
    plate = arrange([Placed(box(50, 30, 5))], 25, Room(), gap_mm=0.0)  # 5 x 5 of them and no more
    np.testing.assert_allclose(plate.mesh.bounds_mm[:, :2], [[0, 0], [250, 150]], atol=1e-9)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.floats(5, 60), st.floats(5, 60), st.integers(1, 4)), min_size=1, max_size=5),
    st.sampled_from([0.0, 1.0, 5.0]),
    st.none() | st.tuples(st.floats(40, 200), st.floats(40, 100)),
)
def test_what_is_laid_is_inside_apart_and_always_the_same(sizes, gap, held):
    parts = [Placed(box(x, y, 5.0)) for x, y, _ in sizes]
    parts[0] = replace(parts[0], at_mm=held)
    copies = [count for _, _, count in sizes]
    try:
        plate = arrange(parts, copies, Room(), gap_mm=gap)
    except MeshError as error:
        assert "no room left" in str(error)
        return
    assert len(plate.parts) == sum(copies)
    low, high = (np.array([getattr(row, end)[:2] for row in plate.parts]) for end in ("low_mm", "high_mm"))
    assert low.min() >= -1e-6 and (high.max(axis=0) <= np.array([250, 150]) + 1e-6).all()
    for i in range(len(low)):
        for j in range(i):
            apart = np.maximum(low[i] - high[j], low[j] - high[i]).max()
            assert apart >= gap - 1e-5
    again = arrange(parts, copies, Room(), gap_mm=gap)
    assert (again.mesh.vertices_mm == plate.mesh.vertices_mm).all() and again.parts == plate.parts


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(*[st.floats(2, 12)] * 3, *[st.floats(-8, 8)] * 3, st.integers(0, 359)), min_size=1, max_size=4)
)
def test_shadow_is_that_of_an_independent_projection(shapes):
    solid = Solid()
    for x, y, z, dx, dy, dz, turn in shapes:
        solid += Solid.cube((x, y, z)).rotate((turn, 2 * turn, 3 * turn)).translate((dx, dy, dz))
    mesh = mesh_of(solid)
    expected = solid.project()
    assert shadow(mesh).area() == pytest.approx(expected.area(), rel=1e-6, abs=1e-4)
    assert (shadow(mesh) - expected).area() < 1e-3 + 1e-6 * expected.area()


def test_shadow_of_an_open_surface_is_of_either_side():
    bowl = box(10, 10, 10)
    bowl = replace(bowl, faces=bowl.faces[~(bowl.vertices_mm[bowl.faces, 2] == 10.0).all(axis=1)])
    assert shadow(bowl).area() == pytest.approx(100)
    table = joined(box(4, 4, 10, (3, 3, 0)), box(10, 10, 1, (0, 0, 10)))
    assert shadow(table).area() == pytest.approx(100)


# ---- what a user writes


def test_options_are_read_for_all_or_by_name():
    assert parse_wishes(["brick"]) == [Wish()]
    assert parse_wishes(["brick"], at=["60,40"], rotate=["90"], copies=["2"]) == [
        Wish((0.0, 0.0, 90.0), 2, ((60.0, 40.0),))
    ]
    assert parse_wishes(
        ["brick", "pin"], at=["pin=1,2", "pin=3,-4"], rotate=["10,20,30", "brick=45"], copies=["pin=3"]
    ) == [Wish((0.0, 0.0, 45.0), 1, ()), Wish((10.0, 20.0, 30.0), 3, ((1.0, 2.0), (3.0, -4.0)))]
    assert parse_wishes(["pin"], at=["1,2", "3,4"])[0].copies == 2, "positions alone say how many"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"at": ["60"]}, "--at 60: write X,Y in mm, for example --at 60,40"),
        ({"at": ["brick=nan,1"]}, "--at brick=nan,1: write X,Y"),
        ({"at": ["60,40"]}, "say of which part, as in --at brick="),
        ({"at": ["wall=60,40"]}, "no part is called 'wall'; there are brick, pin"),
        ({"at": ["brick=1,2", "brick=3,4"], "copies": ["brick=1"]}, "brick has 2 positions for 1 copies"),
        ({"rotate": ["1,2"]}, "write Z or X,Y,Z in degrees"),
        ({"rotate": ["left"]}, "write Z or X,Y,Z in degrees"),
        ({"copies": ["many"]}, "write a whole number"),
        ({"copies": ["1.5"]}, "whole copies"),
        ({"copies": ["0"]}, "1 to 1000"),
        ({"copies": ["1e9"]}, "1 to 1000"),
        ({"copies": ["2", "3"]}, "--copies is given twice for every part, as 2 and as 3: give it once"),
        ({"copies": ["pin=2", "3", "pin=4"]}, "--copies is given twice for pin, as pin=2 and as pin=4"),
        ({"rotate": ["pin=2", "pin=2"]}, "--rotate is given twice for pin"),
        ({"rotate": ["1e300"]}, "--rotate 1e+300: turn a part by 36000 deg at most, either way"),
        ({"rotate": ["0,0,-36001"]}, "--rotate 0,0,-36001: turn a part by 36000 deg at most"),
        ({"rotate": ["inf"]}, "write Z or X,Y,Z in degrees"),
    ],
)
def test_options_that_make_no_sense_are_sentences(options, says):
    with pytest.raises(MeshError) as caught:
        parse_wishes(["brick", "pin"], **options)
    assert says in str(caught.value)


@pytest.mark.parametrize("angle", [float("nan"), float("inf"), 36_001.0, -1e300])
def test_a_turn_that_no_number_holds_is_refused(angle):
    with pytest.raises(MeshError, match="36000 deg at most"):
        rotated(box(1, 2, 3), (0.0, angle, 0.0))
    assert rotated(box(1, 2, 3), (0.0, 0.0, -36_000.0)).bounds_mm[1].tolist() == [1.0, 2.0, 3.0]


def test_wishes_become_a_plate():
    wishes = parse_wishes(["brick", "pin"], at=["pin=20,20", "pin=40,20"], copies=["pin=3"], rotate=["brick=90"])
    plate = arrange(wished([BRICK, PIN], wishes), 1, Room())
    assert [row.name for row in plate.parts] == ["brick", "pin 1", "pin 2", "pin 3"]
    assert plate.parts[1].at_mm == (20.0, 20.0) and plate.parts[2].at_mm == (40.0, 20.0)
    assert plate.parts[0].rotate_deg == (0.0, 0.0, 90.0)
    assert np.subtract(plate.parts[0].high_mm, plate.parts[0].low_mm).tolist() == pytest.approx([40, 60, 12])
