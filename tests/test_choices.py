"""Is every choice that changes nothing told of, and every one that makes another part than was drawn; and no other?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from job_helpers import BENCH, wire_small

from slicer.bricks import rectangular
from slicer.choices import doubts, idle
from slicer.fill import fill
from slicer.hatching import HATCHES, HatchSettings
from slicer.layers import cut_layers
from slicer.ordering import ORDERS, OrderSettings
from slicer.plan import plan_job
from slicer.recipe import Recipe, RecipeError, load_recipe, preset_names
from slicer.scan import KIND_HATCH
from slicer.strategy import HATCH_NAMES, ORDER_NAMES, TILED

LAYER = cut_layers(rectangular(24, 18, 1), 0.5)[0]
SQUARE = np.array([[0.0, 0], [20, 0], [20, 10], [0, 10]]), np.array([0, 4])


def path_of(recipe: Recipe) -> np.ndarray:
    path = fill(LAYER, recipe, strategy=recipe.strategy).path
    return np.column_stack([path.vectors_mm, path.kind, path.power_w, path.speed_mm_s, path.focus_mm])


def keys(sentences: list[str]) -> list[str]:
    return [sentence.split()[0] for sentence in sentences]


@pytest.mark.parametrize("name", preset_names())
def test_a_shipped_recipe_leaves_nothing_to_say(name):
    recipe = load_recipe(name)
    assert idle(recipe) == [] and doubts(recipe, BENCH) == []


@pytest.mark.parametrize(
    "choice",
    [
        {"hatch": "islands"},
        {"hatch_angles_deg": "0,90"},
        {"order": "nearest"},
        {"order": "farthest"},
        {"focus_mm": "2"},
        {"hatch_overlap_mm": "0.3"},
        {"skin_layers": "2"},
        {"contours": "3"},
        {"contours": "0"},
        {"contour_order": "last"},
        {"power_w": "120"},
        {"scan_speed_mm_s": "40"},
        {"hatch_rotation_deg": "30"},
    ],
)
def test_without_a_hatch_what_is_said_of_it_changes_nothing_and_is_told(choice):
    if choice != {"contours": "0"}:  # that alone would expose nothing, and is refused
        plain = path_of(wire_small(hatch_spacing_mm="none"))
        np.testing.assert_array_equal(path_of(wire_small(hatch_spacing_mm="none", **choice)), plain)
        (said,) = idle(wire_small(hatch_spacing_mm="none", **choice))
        assert said.startswith(next(iter(choice))) and "changes nothing here" in said and "none" in said
    assert idle(wire_small(**choice)) == (
        ["order changes nothing here: it needs a hatch in tiles, and meander is one."]
        if choice == {"order": "farthest"}
        else []
    )


def test_a_return_time_is_kept_without_a_hatch_too():
    recipe = wire_small(hatch_spacing_mm="none", order="return_time", return_time_s="1", return_radius_mm="2")
    assert idle(recipe) == []
    assert keys(idle(wire_small(return_radius_mm="2"))) == ["return_radius_mm"]


@pytest.mark.parametrize("hatch", HATCH_NAMES)
def test_the_order_of_tiles_is_told_of_exactly_where_there_is_one_tile(hatch):
    hatched = HATCHES[hatch](*SQUARE, 0.3, HatchSettings(spacing_mm=1.0))
    is_told = any("needs a hatch in tiles" in said for said in idle(wire_small(hatch=hatch, order="farthest")))
    assert is_told == (len(hatched.tile_starts) == 2)


@pytest.mark.parametrize("hatch", HATCH_NAMES)
def test_angles_are_told_of_exactly_where_they_turn_no_track(hatch):
    """A ring that begins elsewhere is the same ring."""

    def points(angle):
        vectors = HATCHES[hatch](*SQUARE, angle, HatchSettings(spacing_mm=1.0)).vectors_mm
        return {tuple(point) for point in np.round(vectors.reshape(-1, 2), 6).tolist()}

    turns = points(0.3) != points(1.2)
    told = [said for said in idle(wire_small(hatch=hatch, hatch_angles_deg="0,90")) if "turns no track" in said]
    assert len(told) == (not turns)


@pytest.mark.parametrize("order", ORDER_NAMES)
def test_lines_in_one_direction_that_an_order_runs_both_ways_are_told_of(order):
    hatched = HATCHES["one_way"](*SQUARE, 0.3, HatchSettings(spacing_mm=1.0))
    flipped = ORDERS[order](hatched, 20.0, 100.0, (0.0, 0.0), OrderSettings(30.0, 3.0, 2.0)).flipped
    cool = {"return_time_s": "3", "return_radius_mm": "2"} if order == "return_time" else {}
    told = [said for said in idle(wire_small(hatch="one_way", order=order, **cool)) if "both ways" in said]
    assert len(told) == (0 < flipped.sum() < len(flipped))
    assert not any("both ways" in said for said in idle(wire_small(order=order, **cool)))


# ---- doubts


def test_lines_farther_apart_than_the_spot_leave_powder():
    (said,) = doubts(wire_small(hatch_spacing_mm="1.2", power_w="120"), BENCH)
    assert said == "hatch_spacing_mm is 1.2 and the spot 1 mm wide: between two lines 0.2 mm get no beam."
    assert doubts(wire_small(hatch_spacing_mm="1"), BENCH) == []


@pytest.mark.parametrize(
    ("key", "where"), [("compensation_mm", "of the part"), ("hole_compensation_mm", "around holes")]
)
def test_a_track_too_far_inside_leaves_the_outside_powder(key, where):
    (said,) = doubts(wire_small(**{key: "0.8"}), BENCH)
    assert said.startswith(f"{key} is 0.8, and half the spot 0.5 mm: the outermost 0.3 mm {where} get no beam")
    assert "walls under 1.6 mm no contour" in said
    assert doubts(wire_small(**{key: "0.54"}), BENCH) == [] == doubts(wire_small(**{key: "0.46"}), BENCH)


@pytest.mark.parametrize("contours", [0, 1, 3])
@pytest.mark.parametrize("overlap", [0.2, 0.7, 0.9, 1.4, 5.0])
def test_a_hatch_over_more_than_the_last_contour_is_told_of_with_what_lies_outside(contours, overlap):
    recipe = wire_small(contours=str(contours), hatch_overlap_mm=str(overlap), hatch_spacing_mm="0.8")
    told = [sentence for sentence in doubts(recipe, BENCH) if not sentence.startswith("contours is 0")]
    assert len(told) == (overlap > (0.8 if contours else 0.0))
    if not told:
        return
    path = fill(LAYER, recipe, strategy=recipe.strategy).path
    ends = path.vectors_mm[path.kind == KIND_HATCH].reshape(-1, 2)
    low, high = LAYER.points_mm.min(axis=0), LAYER.points_mm.max(axis=0)
    inside = min(float((ends - low).min()), float((high - ends).min()))
    assert float(told[0].partition("begins ")[2].split()[0]) == pytest.approx(inside, abs=2e-3)
    beyond = 0.5 - inside
    assert ("beyond it" in told[0]) == (beyond > 1e-6)
    if beyond > 1e-6:
        assert float(told[0].partition("reaches ")[2].split()[0]) == pytest.approx(beyond, abs=2e-3)


def test_a_hatch_without_contours_is_told_to_leave_an_edge():
    (told,) = doubts(wire_small(contours="0", hatch_spacing_mm="0.8"), BENCH)
    assert "contours is 0" in told and "up to 0.8 mm" in told
    assert doubts(wire_small(contours="1", hatch_spacing_mm="0.8"), BENCH) == []


def test_jumps_faster_than_the_gantry_are_told_of():
    assert doubts(wire_small(jump_speed_mm_s="500"), BENCH) == [
        "jump_speed_mm_s is 500, and this machine's gantry reaches 100 mm/s: jumps are planned at that."
    ]
    assert doubts(wire_small(jump_speed_mm_s="500"), replace(BENCH, speed_mm_s_max=500.0)) == []


def test_what_is_doubted_stands_in_the_job(tmp_path):
    from slicer.bricks import write_stl

    write_stl(rectangular(20, 10, 2), tmp_path / "plate.stl")
    recipe = wire_small(hatch="one_way", order="nearest", compensation_mm="0.8", jump_speed_mm_s="500")
    notes = plan_job(tmp_path / "plate.stl", recipe, BENCH, tmp_path / "plate.kiln").notes
    assert keys([note["sentence"] for note in notes]) == ["hatch", "compensation_mm", "jump_speed_mm_s"]


@pytest.mark.parametrize("hatch", TILED)
def test_tiles_finer_than_lines_are_refused(hatch):
    with pytest.raises(RecipeError, match=r"tile_mm is 0.2, finer than the lines .* \(hatch_spacing_mm is 0.9\)"):
        wire_small(hatch=hatch, tile_mm="0.2", hatch_spacing_mm="0.9")
    assert wire_small(hatch=hatch, tile_mm="0.9", hatch_spacing_mm="0.9").strategy.tile_mm == 0.9
    assert wire_small(hatch="meander", tile_mm="0.2", hatch_spacing_mm="0.9").strategy.tile_mm == 0.2


@pytest.mark.parametrize("key", ["compensation_mm", "hole_compensation_mm"])
def test_a_track_too_near_to_the_outline_is_told_of(key):
    (told,) = doubts(wire_small(**{key: "0.1"}, hatch_spacing_mm="0.8"), BENCH)  # the spot is 1 mm
    assert f"{key} is 0.1" in told and "reaches 0.4 mm beyond" in told and "slits under 0.8 mm close" in told
    assert doubts(wire_small(**{key: "0.48"}, hatch_spacing_mm="0.8"), BENCH) == []
