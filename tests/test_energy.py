"""Do the energy densities follow their formulas, and do means weigh what they should?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_helpers import square_layer, wire_small

from slicer.energy import (
    MEASURES,
    absorbed_energy_j_kg,
    area_energy_j_mm2,
    layer_energy,
    line_energy_j_mm,
    part_energy,
    volume_energy_j_mm3,
)
from slicer.recipe import absorbed_energy_j_kg as recipe_absorbed_j_kg
from slicer.recipe import load_recipe, preset_names
from slicer.scan import KIND_HATCH, ScanPath


def line(length_mm: float, power_w: float, speed_mm_s: float) -> ScanPath:
    return ScanPath.uniform(np.array([[1.0, 2.0, 1.0 + length_mm, 2.0]]), KIND_HATCH, power_w, speed_mm_s)


def test_the_measures_of_a_worked_example():
    """65.4 W at 0.5 mm/s, 3 mm hatch, 2 mm layer, 0.8 absorbed, 2310 kg/m3, by hand."""
    power, speed = np.array([65.4]), np.array([0.5])
    assert line_energy_j_mm(power, speed) == pytest.approx(130.8)
    assert area_energy_j_mm2(power, speed, 3.0) == pytest.approx(43.6)
    assert volume_energy_j_mm3(power, speed, 3.0, 2.0) == pytest.approx(21.8)
    assert absorbed_energy_j_kg(power, speed, 3.0, 2.0, 0.8, 2310.0) == pytest.approx(7.5498e6, rel=1e-4)


@pytest.mark.parametrize("name", preset_names())
def test_the_mass_measure_is_the_recipes(name):
    recipe = load_recipe(name)
    hatched = recipe.hatch_spacing_mm is not None
    power = recipe.power_w if hatched else recipe.contour_power_w
    speed = recipe.scan_speed_mm_s if hatched else recipe.contour_speed_mm_s
    found = layer_energy(line(10.0, power, speed), recipe.layer_thickness_mm, recipe).absorbed_j_kg
    assert found.mean == pytest.approx(recipe_absorbed_j_kg(recipe))


def test_a_layers_mean_weighs_by_length():
    path = ScanPath.concat([line(1.0, 100.0, 50.0), line(3.0, 100.0, 25.0)])
    found = layer_energy(path, 0.5, wire_small()).line_j_mm
    assert (found.least, found.mean, found.most) == pytest.approx((2.0, 3.5, 4.0))


def test_tracks_may_have_widths_of_their_own():
    path = ScanPath.concat([line(1.0, 100.0, 50.0), line(1.0, 100.0, 50.0)])
    found = layer_energy(path, 0.5, wire_small(), np.array([0.5, 1.0])).area_j_mm2
    assert (found.least, found.mean, found.most) == pytest.approx((2.0, 4.0 / 1.5, 4.0))


def test_nothing_exposed_has_no_density():
    assert layer_energy(ScanPath.empty(), 0.5, wire_small()).line_j_mm is None
    point = layer_energy(line(0.0, 100.0, 50.0), 0.5, wire_small())
    assert point.volume_j_mm3 is None and part_energy([point, point]).energy_j == 0.0


lines = st.lists(st.tuples(st.floats(0.1, 50.0), st.floats(1.0, 200.0), st.floats(0.5, 100.0)), min_size=1, max_size=8)


@given(st.lists(lines, min_size=1, max_size=4))
def test_a_part_is_its_layers_in_one(stack):
    """Layers of one thickness put together have the densities of one path that holds all their vectors."""
    recipe = wire_small()
    paths = [ScanPath.concat([line(*numbers) for numbers in layer]) for layer in stack]
    apart = part_energy([layer_energy(path, 0.5, recipe) for path in paths])
    whole = layer_energy(ScanPath.concat(paths), 0.5, recipe)
    for name in MEASURES:
        one, other = getattr(apart, name), getattr(whole, name)
        assert (one.least, one.mean, one.most) == pytest.approx((other.least, other.mean, other.most))
    assert apart.energy_j == pytest.approx(whole.energy_j)


def test_layers_of_different_thickness_weigh_by_volume():
    """Energy over volume, computed from the sums."""
    recipe, path = wire_small(), square_layer(0).path
    thin, thick = layer_energy(path, 0.25, recipe), layer_energy(path, 1.0, recipe)
    volume_mm3 = path.length_mm * recipe.track_width_mm * 1.25
    assert part_energy([thin, thick]).volume_j_mm3.mean == pytest.approx(2 * path.energy_j / volume_mm3)
