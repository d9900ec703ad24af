"""Does a mesh become the right job, on the grid a machine is told, or a sentence?"""

from __future__ import annotations

import hashlib
import os

import manifold3d
import numpy as np
import pytest
import trimesh
from job_helpers import BENCH, wire_small
from solid_helpers import mesh_of

from slicer.bricks import demo_brick, rectangular, write_stl
from slicer.envelope import Envelope
from slicer.errors import MeshError, ScanError
from slicer.heads import times_s
from slicer.job import Job
from slicer.job_layer import JobError
from slicer.layers import net_area_mm2
from slicer.notes import PLACES_MAX, NoteBook, sentences
from slicer.placement import parse_wishes
from slicer.plan import on_machine_grid, plan_job
from slicer.recipe import RecipeError, load_recipe
from slicer.scan import KIND_CONTOUR, KIND_DOWN_SKIN, KIND_HATCH, KIND_UP_SKIN, ScanPath
from slicer.thermal import return_times
from slicer.thin_walls import NarrowPlace


@pytest.fixture
def plate(tmp_path):
    write_stl(rectangular(20, 10, 5), tmp_path / "plate.stl")
    return tmp_path / "plate.stl"


def test_the_wire_job_is_ten_layers_of_about_five_seconds_in_the_middle_of_the_plate(plate, tmp_path):
    steps, reports = [], []
    manifest = plan_job(
        plate,
        wire_small(),
        BENCH,
        tmp_path / "plate.kiln",
        progress=lambda done, total: steps.append((done, total)),
        on_report=reports.append,
    )
    assert manifest.layer_count == 10 and steps == [(n, 10) for n in range(1, 11)]
    assert manifest.bounds_mm == [[115, 70, 0], [135, 80, 5]]
    assert manifest.mesh_sha256 == hashlib.sha256(plate.read_bytes()).hexdigest()
    assert reports[0].triangles == 12
    assert 4.0 < manifest.build_time_s / 10 < 9.0
    with Job.open(tmp_path / "plate.kiln") as job:
        job.verify()
        for index in range(10):
            layer = job.layer(index)
            assert net_area_mm2(layer.layer) == pytest.approx(200)
            drawn = np.round(layer.path.vectors_mm * 1000)
            np.testing.assert_allclose(layer.path.vectors_mm * 1000, drawn, atol=1e-7)
            assert set(layer.path.kind) == {KIND_CONTOUR, KIND_HATCH}


def test_the_demo_brick_is_eight_layers_of_dsel_fibre(tmp_path):
    write_stl(demo_brick(), tmp_path / "brick.stl")
    manifest = plan_job(tmp_path / "brick.stl", load_recipe("dsel_fibre"), BENCH, tmp_path / "brick.kiln")
    assert manifest.layer_count == 8 and manifest.thickness_mm == [2.0] * 8
    assert manifest.energy_j == pytest.approx(65.4 * manifest.length_mm / 0.5)


def test_the_same_mesh_and_recipe_give_the_same_file(plate, tmp_path):
    for name in ("a.kiln", "b.kiln"):
        plan_job(plate, wire_small(), BENCH, tmp_path / name)
    assert (tmp_path / "a.kiln").read_bytes() == (tmp_path / "b.kiln").read_bytes()


def test_paver_is_refused_on_the_bench_and_is_one_closed_track_on_a_strong_machine(tmp_path):
    write_stl(rectangular(200, 200, 30), tmp_path / "tile.stl")
    with pytest.raises(RecipeError, match=r"2990 W.*gives 200 W at most"):
        plan_job(tmp_path / "tile.stl", load_recipe("paver_co2"), BENCH, tmp_path / "tile.kiln")
    strong = Envelope(400, 400, 100, 3000, 100, 500)
    manifest = plan_job(tmp_path / "tile.stl", load_recipe("paver_co2"), strong, tmp_path / "tile.kiln")
    assert manifest.layer_count == 2
    with Job.open(tmp_path / "tile.kiln") as job:
        path = job.layer(0).path
    assert set(path.kind) == {KIND_CONTOUR} and path.jump_length_mm == 0
    np.testing.assert_array_equal(path.vectors_mm[0, :2], path.vectors_mm[-1, 2:])
    assert path.length_mm == pytest.approx(4 * 155, rel=1e-3)


def test_a_part_beyond_the_envelope_is_named_by_axis_and_leaves_nothing(tmp_path):
    write_stl(rectangular(260, 10, 5), tmp_path / "long.stl")
    with pytest.raises(MeshError, match="x"):
        plan_job(tmp_path / "long.stl", wire_small(), BENCH, tmp_path / "long.kiln")
    assert os.listdir(tmp_path) == ["long.stl"]


def test_a_part_smaller_than_the_spot_is_refused(tmp_path):
    write_stl(rectangular(0.4, 0.4, 5), tmp_path / "pin.stl")
    with pytest.raises(JobError, match="nothing to expose"):
        plan_job(tmp_path / "pin.stl", wire_small(), BENCH, tmp_path / "pin.kiln")
    assert os.listdir(tmp_path) == ["pin.stl"]


def test_the_machine_grid_drops_only_what_cannot_be_told():
    vectors = np.array([[0, 0, 1.00049, 0], [1, 0, 1.0003, 0.0004], [1, 0, 1, 0.0006]])
    path = on_machine_grid(ScanPath.uniform(vectors, KIND_HATCH, 10.0, 5.0))
    np.testing.assert_allclose(path.vectors_mm, [[0, 0, 1.0, 0], [1, 0, 1, 0.001]])


def test_a_strategy_reaches_the_job(tmp_path):
    """Adaptive layers, skins and a hatch of islands, through the file and back."""
    mushroom = manifold3d.Manifold.sphere(8, 48) + manifold3d.Manifold.cylinder(3, 12, 12, 48).translate((0, 0, 5))
    write_stl(mesh_of(mushroom, "sphere"), tmp_path / "sphere.stl")
    recipe = wire_small(cusp_mm="0.2", layer_thickness_min_mm="0.2", skin_layers="1", hatch="islands", tile_mm="3")
    manifest = plan_job(tmp_path / "sphere.stl", recipe, BENCH, tmp_path / "sphere.kiln")
    assert len(set(manifest.thickness_mm)) > 5 and min(manifest.thickness_mm) >= 0.2
    with Job.open(tmp_path / "sphere.kiln") as job:
        job.verify()
        assert job.recipe.strategy == recipe.strategy
        layers = [job.layer(i) for i in range(manifest.layer_count)]
    kinds = set(np.concatenate([layer.path.kind for layer in layers]))
    assert {KIND_HATCH, KIND_CONTOUR, KIND_UP_SKIN, KIND_DOWN_SKIN} <= kinds
    for layer in layers:  # the energy for each volume stays, whatever the thickness
        hatch = layer.path.chosen(layer.path.kind != KIND_CONTOUR)
        energy = hatch.power_w / (hatch.speed_mm_s * layer.layer.thickness_mm)
        assert energy == pytest.approx(recipe.power_w / (recipe.scan_speed_mm_s * recipe.layer_thickness_mm))
        assert hatch.speed_mm_s.max(initial=0.0) <= BENCH.speed_mm_s_max


def test_the_return_time_holds_over_a_whole_layer_of_a_job(plate, tmp_path):
    recipe = wire_small(order="return_time", return_time_s="1.5", return_radius_mm="1.2")
    manifest = plan_job(plate, recipe, BENCH, tmp_path / "cool.kiln")
    with Job.open(tmp_path / "cool.kiln") as job:
        for index in range(manifest.layer_count):
            path = job.layer(index).path
            assert return_times(path, 1.2, recipe.jump_speed_mm_s).min() >= 1.5 - 1e-9
            assert path.wait_s.sum() > 0


def test_parts_share_a_plate_turned_and_in_copies(plate, tmp_path):
    write_stl(rectangular(8, 8, 3), tmp_path / "pin.stl")
    wishes = parse_wishes(["plate", "pin"], at=["plate=100,60"], rotate=["plate=90"], copies=["pin=3"])
    manifest = plan_job([plate, tmp_path / "pin.stl"], wire_small(), BENCH, tmp_path / "all.kiln", wishes=wishes)
    assert [part["name"] for part in manifest.parts] == ["plate", "pin 1", "pin 2", "pin 3"]
    assert manifest.parts[0] == {"name": "plate", "at_mm": [100.0, 60.0], "rotate_deg": [0.0, 0.0, 90.0]}
    with Job.open(tmp_path / "all.kiln") as job:
        low, top = job.layer(0).layer, job.layer(manifest.layer_count - 1).layer
    assert net_area_mm2(low) == pytest.approx(200 + 3 * 64) and net_area_mm2(top) == pytest.approx(200)
    x, y = np.ptp(top.points_mm, axis=0)
    assert (x, y) == (pytest.approx(10), pytest.approx(20)), "turned by 90 deg"
    both = "\n".join(hashlib.sha256(p.read_bytes()).hexdigest() for p in (plate, tmp_path / "pin.stl"))
    assert manifest.mesh_sha256 == hashlib.sha256(both.encode()).hexdigest()


def test_parts_that_overlap_are_refused_by_name(plate, tmp_path):
    wishes = parse_wishes(["plate"], at=["100,60", "105,62"])
    with pytest.raises(MeshError, match="plate 1 and plate 2 overlap on the plate by"):
        plan_job(plate, wire_small(), BENCH, tmp_path / "all.kiln", wishes=wishes)


def test_several_heads_share_the_plate(plate, tmp_path):
    manifest = plan_job(plate, wire_small(heads="3", stitch_mm="0.4"), BENCH, tmp_path / "heads.kiln")
    with Job.open(tmp_path / "heads.kiln") as job:
        paths = [job.layer(i).path for i in range(manifest.layer_count)]
    for path in paths:
        assert times_s(path) == pytest.approx(np.full(3, path.exposure_time_s / 3), rel=0.1)


def test_what_is_too_narrow_is_told_with_its_place_and_layers(tmp_path):
    fin = manifold3d.Manifold.cube((20, 10, 5)) + manifold3d.Manifold.cube((12, 0.3, 5)).translate((19, 5, 0))
    fin += manifold3d.Manifold.cube((12, 0.7, 3)).translate((19, 2, 0))
    write_stl(mesh_of(fin, "fins"), tmp_path / "fins.stl")
    manifest = plan_job(tmp_path / "fins.stl", wire_small(), BENCH, tmp_path / "fins.kiln")
    by_kind = {note["kind"]: note for note in manifest.notes}
    assert by_kind["dropped"]["layers"] == [0, 9] and by_kind["dropped"]["width_mm"] == pytest.approx(0.3, abs=0.01)
    assert by_kind["thin wall"]["layers"] == [0, 5] and by_kind["thin wall"]["length_mm"] == pytest.approx(
        10.9, abs=0.6
    )
    dropped, tracked = sentences(manifest.notes, 1.0)
    assert (
        "1 place is too narrow for the 1 mm spot or its contour and left out" in dropped
        and "in layers 1 to 10" in dropped
    )
    assert "single tracks" in tracked


def test_notes_of_places_beyond_count_are_counted():
    book = NoteBook(1.0)
    book.add_narrow(0, [NarrowPlace((10.0 * i, 0.0), 1.0, 0.1, False) for i in range(PLACES_MAX + 7)])
    notes = list(book)
    assert len(notes) == PLACES_MAX + 1 and notes[-1] == {"kind": "more", "count": 7}
    assert "7 more places" in sentences(notes, 1.0)[-1]


@pytest.mark.parametrize(("return_time_s", "is_told"), [("60", True), ("0.001", False)])
def test_a_plan_that_mostly_waits_is_told_of(plate, tmp_path, return_time_s, is_told):
    recipe = wire_small(order="return_time", return_time_s=return_time_s, return_radius_mm="1.2")
    manifest = plan_job(plate, recipe, BENCH, tmp_path / "plate.kiln")
    told = [sentence for sentence in sentences(manifest.notes, 1.0) if "keeps the beam waiting" in sentence]
    assert len(told) == is_told
    if is_told:
        with Job.open(tmp_path / "plate.kiln") as job:
            waited_s = sum(float(job.layer(index).path.wait_s.sum()) for index in range(manifest.layer_count))
        assert f"{waited_s / 3600.0:.3g} h" in told[0]


def test_a_body_between_two_planes_and_a_lost_height_are_told_of(tmp_path):
    solid = manifold3d.Manifold.cube((30, 30, 4)) + manifold3d.Manifold.cube((30, 30, 0.3)).translate((0, 0, 4.3))
    write_stl(mesh_of(solid, "two"), tmp_path / "two.stl")
    manifest = plan_job(tmp_path / "two.stl", wire_small(), BENCH, tmp_path / "two.kiln")
    told = " ".join(sentences(manifest.notes, 1.0))
    assert "4.6 mm tall, and its 9 layers are 4.5 mm" in told and "(-7.0%)" in told


def test_a_plan_that_is_its_part_says_nothing(plate, tmp_path):
    assert plan_job(plate, wire_small(), BENCH, tmp_path / "plate.kiln").notes == []


def test_a_choice_that_changes_nothing_is_told_of(plate, tmp_path):
    recipe = wire_small(sweep_deg="30", tile_mm="3", up_skin_power_w="90")
    told = sentences(plan_job(plate, recipe, BENCH, tmp_path / "plate.kiln").notes, 1.0)
    assert [sentence.split()[0] for sentence in told] == ["tile_mm", "sweep_deg", "up_skin_power_w"]
    recipe = wire_small(hatch="islands", tile_mm="3", heads="2", stitch_mm="0.5")
    assert sentences(plan_job(plate, recipe, BENCH, tmp_path / "plate.kiln").notes, 1.0) == []


def test_two_heads_take_as_long_as_the_slower(plate, tmp_path):
    one = plan_job(plate, wire_small(), BENCH, tmp_path / "one.kiln")
    two = plan_job(plate, wire_small(heads="2"), BENCH, tmp_path / "two.kiln")
    assert 0.4 < two.build_time_s / one.build_time_s < 0.75


def test_heads_that_do_not_reach_all_of_the_plate_share_what_they_reach(plate, tmp_path):
    """Two heads of 130 mm on a plate of 250: seams lie between x = 120 and 130, and the part around 125."""
    plan_job(plate, wire_small(heads="2", head_reach_mm="130"), BENCH, tmp_path / "two.kiln")
    with Job.open(tmp_path / "two.kiln") as job:
        path = job.layer(0).path
    for head, (low, high) in enumerate([(0.0, 130.0), (120.0, 250.0)]):
        x = path.vectors_mm[path.beam == head, 0::2]
        assert low <= x.min() and x.max() <= high
    with pytest.raises(ScanError, match=r"do not stand side by side with 0 mm in common"):
        plan_job(plate, wire_small(heads="2", head_reach_mm="100"), BENCH, tmp_path / "gap.kiln")


def test_a_head_that_is_busier_than_its_share_is_told_of(plate, tmp_path):
    """The plate is 20 mm wide: seams of 8 mm between three heads are most of it."""
    manifest = plan_job(plate, wire_small(heads="3", stitch_mm="8"), BENCH, tmp_path / "wide.kiln")
    (told,) = (sentence for sentence in sentences(manifest.notes, 1.0) if "busiest head" in sentence)
    with Job.open(tmp_path / "wide.kiln") as job:
        busiest_s = sum(times_s(job.layer(index).path).max() for index in range(manifest.layer_count))
    even_s = plan_job(plate, wire_small(), BENCH, tmp_path / "one.kiln").beam_on_s / 3
    assert busiest_s > 1.2 * even_s
    assert f"exposes for {busiest_s / 3600.0:.3g} h" in told and f"share is {even_s / 3600.0:.3g} h" in told


@pytest.mark.parametrize(("fill_rule", "area_mm2"), [("positive", 100 + 100 - 25), ("even_odd", 100 + 100 - 50)])
def test_a_recipes_fill_rule_decides_what_is_inside_where_bodies_overlap(tmp_path, fill_rule, area_mm2):
    two = [trimesh.creation.box((10, 10, 4)), trimesh.creation.box((10, 10, 4))]
    two[1].apply_translation((5, 5, 0))
    trimesh.util.concatenate(two).export(tmp_path / "two.stl")
    plan_job(tmp_path / "two.stl", wire_small(fill_rule=fill_rule), BENCH, tmp_path / "two.kiln")
    with Job.open(tmp_path / "two.kiln") as job:
        assert net_area_mm2(job.layer(2).layer) == pytest.approx(area_mm2, abs=1e-6)


def test_places_side_by_side_are_told_one_by_one_through_their_layers():
    book = NoteBook(1.0)
    for layer in range(6):
        book.add_narrow(layer, [NarrowPlace((1.5 * i + 0.01 * layer, 0.0), 1.0, 0.1, False) for i in range(20)])
    notes = list(book)
    assert len(notes) == 20 and all(note["layers"] == [0, 5] for note in notes)
    assert sorted(note["at_mm"][0] for note in notes) == pytest.approx([1.5 * i + 0.05 for i in range(20)])
