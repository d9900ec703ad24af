"""Do recipes say where their numbers come from, and refuse what is unknown, out of range or impossible?"""

from __future__ import annotations

import math
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_helpers import BENCH, WIRE_SMALL, wire_small

from slicer import strategy
from slicer.envelope import Envelope, EnvelopeError
from slicer.fill import fill_layer
from slicer.layers import Layer
from slicer.recipe import (
    ENERGY_FLOOR_J_KG,
    RANGES,
    WORDS,
    Evidence,
    Recipe,
    RecipeError,
    absorbed_energy_j_kg,
    load_recipe,
    preset_names,
    with_bounds_of,
    without_evidence,
)
from slicer.scan import KIND_HATCH
from slicer.strategy import Strategy


@pytest.mark.parametrize("name", preset_names())
def test_every_number_of_a_preset_has_evidence(name):
    recipe = load_recipe(name)
    assert without_evidence(recipe) == [], f"preset {name} does not say where these numbers come from"
    assert recipe.name == name, "a preset is called what its file is called"


def test_the_shipped_presets():
    assert preset_names() == ["dlr_solar", "dsel_fibre", "paver_co2"]


@pytest.mark.parametrize(
    ("name", "mj_kg"),
    [
        ("dsel_fibre", 0.8 * 65.4 / (0.5 * 3 * 2 * 2310e-9) / 1e6),
        ("dlr_solar", 0.8 * 185 / (48 * 7 * 0.1 * 1500e-9) / 1e6),
        ("paver_co2", 0.84 * 2990 / (0.8 * 45 * 15 * 2500e-9) / 1e6),
    ],
)
def test_absorbed_energy_is_power_over_the_solid_made_each_second(name, mj_kg):
    recipe = load_recipe(name)
    assert absorbed_energy_j_kg(recipe) / 1e6 == pytest.approx(mj_kg)
    assert absorbed_energy_j_kg(recipe) >= ENERGY_FLOOR_J_KG[recipe.process]


def test_paver_has_no_hatch():
    assert load_recipe("paver_co2").hatch_spacing_mm is None


@pytest.mark.parametrize("name", [*preset_names(), WIRE_SMALL])
def test_a_recipe_survives_the_way_through_a_table(name):
    recipe = load_recipe(name)
    assert Recipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    ("name", "overrides", "sentence"),
    [
        ("dsel_fiber", {}, "did you mean 'dsel_fibre'"),
        ("nothing_like_it", {}, "shipped are dlr_solar, dsel_fibre, paver_co2"),
        ("absent.toml", {}, "recipe file absent.toml does not exist"),
        ("dsel_fibre", {"scan_sped_mm_s": "1"}, "did you mean 'scan_speed_mm_s'"),
        ("dsel_fibre", {"power_w": "0"}, "power_w is 0, outside its range of 0.1 to 20000 W"),
        ("dsel_fibre", {"power_w": "nan"}, "not a finite number"),
        ("dsel_fibre", {"power_w": "-inf"}, "not a finite number"),
        ("dsel_fibre", {"power_w": "much"}, "'much' is not a finite number"),
        ("dsel_fibre", {"contours": "1.5"}, "'1.5' is not a whole number"),
        ("dsel_fibre", {"absorptivity": "1.2"}, "outside its range of 0.01 to 1"),
        ("dsel_fibre", {"atmosphere": "vacum"}, "did you mean 'vacuum'"),
        ("paver_co2", {"contours": "0"}, "nothing would be exposed"),
    ],
)
def test_bad_names_keys_and_values_get_a_sentence(name, overrides, sentence):
    with pytest.raises(RecipeError, match="(?s).*" + sentence.replace("(", r"\(")):
        load_recipe(name, overrides)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("spott_mm = 1.0", "unknown key 'spott_mm'.*did you mean 'spot_mm'"),
        ("[evidence.power]\nkind = 'assumed'\nsource = 'x'", "did you mean 'power_w'"),
        ("name = ", "not valid TOML"),
    ],
)
def test_a_bad_file_gets_a_sentence(tmp_path, change, sentence):
    path = tmp_path / "bad.toml"
    text = WIRE_SMALL.read_text()
    body, _, evidence = text.partition("[evidence]")
    path.write_text(f"{body}[evidence]{evidence}\n{change}\n" if change.startswith("[") else f"{change}\n{text}")
    with pytest.raises(RecipeError, match=sentence):
        load_recipe(path)


def test_a_missing_number_and_unknown_evidence_are_named(tmp_path):
    table = load_recipe("dsel_fibre").to_dict()
    with pytest.raises(RecipeError, match="spot_mm is missing"):
        Recipe.from_dict({key: value for key, value in table.items() if key != "spot_mm"})
    table["evidence"]["power_w"] = {"kind": "guessed", "source": "me"}
    with pytest.raises(RecipeError, match="'guessed'; it must be one of published, derived, assumed"):
        Recipe.from_dict(table)


def test_too_little_energy_is_refused_with_the_arithmetic():
    with pytest.raises(RecipeError, match=r"0\.8 x 65\.4 W / \(5 mm/s x 3 mm x 2 mm x 2310 kg/m3\) = 0\.75 MJ/kg"):
        load_recipe("dsel_fibre", {"scan_speed_mm_s": "5"})
    with pytest.raises(RecipeError, match="the contour gives the powder too little energy"):
        load_recipe("dsel_fibre", {"contour_power_w": "5"})
    with pytest.raises(RecipeError, match=r"1\.79 MJ/kg is the least"):
        load_recipe("paver_co2", {"contour_speed_mm_s": "0.9"})


def test_a_strategy_is_set_beside_the_numbers_and_survives_the_way_through_a_table():
    recipe = wire_small(hatch="islands", tile_mm="4", skin_layers="2", down_skin_power_w="80", compensation_mm="auto")
    assert recipe.strategy == Strategy(hatch="islands", tile_mm=4.0, skin_layers=2, down_skin_power_w=80.0)
    assert "tile_mm" not in recipe.evidence and recipe.to_dict()["strategy"]["hatch"] == "islands"
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert "strategy" not in wire_small().to_dict(), "a job of default strategy is the bytes it always was"


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"hatch": "iland"}, "did you mean 'islands'"),
        ({"tile_mn": "4"}, "did you mean 'tile_mm'"),
        ({"tile_mm": "0"}, "tile_mm is 0, outside its range of 0.05 to 1000 mm"),
        ({"tile_mm": "auto"}, "'auto' is not a number"),
        ({"skin_layers": "1.5"}, "is not a whole number"),
        ({"order": "return_time"}, "needs return_time_s and return_radius_mm"),
        ({"return_time_s": "1", "return_radius_mm": "1"}, "kept by order"),
        ({"layer_thickness_min_mm": "0.2"}, "without cusp_mm"),
        ({"order": "return_time", "return_time_s": "1", "return_radius_mm": "1", "heads": "2"}, "only be kept by one"),
        ({"skin_layers": "1", "down_skin_power_w": "1"}, "the down-skin gives the powder too little energy"),
    ],
)
def test_a_bad_strategy_gets_a_sentence(overrides, sentence):
    with pytest.raises(RecipeError, match="(?s).*" + sentence):
        wire_small(**overrides)


def test_a_skin_stronger_than_the_beam_is_refused():
    recipe = wire_small(skin_layers="1", up_skin_power_w="300")
    (sentence,) = with_bounds_of(recipe, power_w_max=200, speed_mm_s_max=100)
    assert "300 W (up_skin_power_w)" in sentence


@given(st.sampled_from(sorted(strategy.RANGES)), st.floats())
def test_a_number_of_a_strategy_is_in_its_range_or_refused(key, value):
    text = repr(int(value) if key in strategy.WHOLE and math.isfinite(value) else value)
    try:
        timed = {"order": "return_time", "return_time_s": "1", "return_radius_mm": "1"} if "return" in key else {}
        recipe = wire_small(**{"cusp_mm": "1"} | timed | {key: text})
    except RecipeError:
        return
    low, high, _ = strategy.RANGES[key]
    assert low <= getattr(recipe.strategy, key) <= high


def test_a_hatch_goes_through_listed_angles():
    recipe = wire_small(hatch_angles_deg="0, 90", hatch_rotation_deg="10")
    assert recipe.strategy.hatch_angles_deg == (0.0, 90.0)
    assert Recipe.from_dict(recipe.to_dict(), "again") == recipe
    square = Layer(0, 0.1, 0.1, np.array([(0.0, 0.0), (20.0, 0.0), (20.0, 20.0), (0.0, 20.0)]), np.array([0, 4]))

    def hatch_deg(index):
        path = fill_layer(replace(square, index=index), recipe, strategy=recipe.strategy).of_kind(KIND_HATCH)
        dx, dy = (path.vectors_mm[0, 2:] - path.vectors_mm[0, :2]).tolist()
        return math.degrees(math.atan2(dy, dx)) % 180.0

    assert [hatch_deg(index) for index in range(4)] == pytest.approx([0.0, 90.0, 10.0, 100.0])


@pytest.mark.parametrize("angles", ["0,ninety", "361", "nan", " ".join(["1"] * 1001)])
def test_a_list_of_angles_that_is_none_gets_a_sentence(angles):
    with pytest.raises(RecipeError, match="hatch_angles_deg"):
        wire_small(hatch_angles_deg=angles)


def test_what_a_user_sets_is_an_assumption():
    recipe = load_recipe("dsel_fibre", {"power_w": "60", "hatch_spacing_mm": "none"})
    assert recipe.power_w == 60.0 and recipe.hatch_spacing_mm is None
    assert recipe.evidence["power_w"] == Evidence("assumed", "set by the user")
    assert recipe.evidence["scan_speed_mm_s"].kind == "published"


@given(st.sampled_from(sorted(RANGES)), st.floats())
def test_a_number_is_in_its_range_or_refused(key, value):
    try:
        recipe = wire_small(**{key: repr(int(value) if key == "contours" and math.isfinite(value) else value)})
    except RecipeError:
        return
    low, high, _ = RANGES[key]
    assert low <= getattr(recipe, key) <= high


def test_a_recipe_that_asks_more_than_a_machine_has_says_so():
    assert with_bounds_of(load_recipe("dsel_fibre"), power_w_max=200, speed_mm_s_max=100) == []
    (sentence,) = with_bounds_of(load_recipe("paver_co2"), power_w_max=200, speed_mm_s_max=100)
    assert "2990 W" in sentence and "200 W" in sentence
    (sentence,) = with_bounds_of(load_recipe("dlr_solar"), power_w_max=200, speed_mm_s_max=20)
    assert "48 mm/s" in sentence


def test_an_envelope_says_what_it_does_not_cover():
    assert BENCH.covers(BENCH) == []
    small = Envelope(200.0, 150.0, 100.0, 100.0, 100.0, 500.0, s_max=255)
    width, power, fraction = small.covers(BENCH)
    assert "250 mm" in width and "200 W" in power and "S1000" in fraction
    assert Envelope.from_dict(BENCH.to_dict()) == BENCH


@pytest.mark.parametrize("table", [{"x_mm": math.nan}, {"x_mm": 0}, {"x_mm": "5"}, {"s_max": 0}, {"w_mm": 3}])
def test_an_impossible_envelope_is_refused(table):
    with pytest.raises(EnvelopeError):
        Envelope.from_dict({**BENCH.to_dict(), **table})


# ---- the page


DOCS = Path(__file__).resolve().parent.parent / "docs"


def rows_of(page: str) -> list[list[str]]:
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]


def test_the_page_of_recipes_lists_every_key_with_its_range():
    rows = rows_of("recipes.md")
    numbers = {
        row[0].strip("`"): (*map(float, row[1].split(",")), row[2]) for row in rows if re.match(r"-?[\d.]+,", row[1])
    }
    assert numbers == RANGES
    words = {row[0].strip("`"): tuple(re.findall(r"`(\w+)`", row[1])) for row in rows if row[1].startswith("`")}
    assert words == WORDS
    assert {row[0].strip("`") for row in rows} - set(numbers) - set(words) == set(preset_names())


def test_the_page_of_slicing_lists_every_choice():
    told = {key for row in rows_of("slicing.md") for key in re.findall(r"`(\w+)`", row[0])}
    assert told == {field.name for field in fields(Strategy)}
