"""Does the bed do what its callers count on? Powder, shrinkage, lazy exposures, pace, refusals, the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bed_helpers import closed_bed

from hil_sim.world.plant.bed import Bed
from hil_sim.world.plant.bed_setup import BedConfig


def _small(**more: Any) -> Bed:
    values: dict[str, Any] = {
        "x_mm": (100.0, 128.0), "y_mm": (50.0, 70.0), "depth_mm": 8.0, "max_height_mm": 8.0, "start_temp_c": 150.0,
    }  # fmt: skip
    return Bed(BedConfig(**(values | more)))


def _print_layers(bed: Bed, layers: int = 2) -> None:
    t_s = 5.0
    for n in range(1, layers + 1):
        bed.set_base_temp_c(t_s, 150.0)
        bed.spread(t_s, 0.0, 250.0, 2.0 * n, 1.0)
        rows = []
        for y in (56.0, 59.0, 62.0):
            rows.append((t_s, t_s + 32.0, 106.0, y, 122.0, y, 65.4, 65.4))
            t_s += 33.0
        bed.expose(rows)
        t_s += 10.0
    bed.advance_to(t_s)


def test_a_spread_fills_to_the_plane_and_a_second_one_adds_nothing() -> None:
    bed = _small()
    bed.spread(1.0, 0.0, 250.0, 2.0, 1.0)
    assert bed.surface_mm == pytest.approx(np.zeros((10, 14)), abs=1e-9)
    assert bed.powder_mm == pytest.approx(np.full((10, 14), 2.0))
    assert bed.powder_kg == pytest.approx(28e-3 * 20e-3 * 2e-3 * 1500.0)
    laid = bed.powder_kg
    bed.spread(2.0, 0.0, 250.0, 2.0, 1.0)
    assert bed.powder_kg == laid


def test_a_short_feed_stays_thin_until_one_more_pass() -> None:
    bed = _small()
    bed.spread(1.0, 0.0, 110.0, 2.0, 1.0)
    bed.spread(1.0, 110.0, 250.0, 2.0, 0.2)
    assert bed.surface_mm[3, 2] == pytest.approx(0.0, abs=1e-9)
    assert bed.surface_mm[3, 10] == pytest.approx(-1.6)
    assert np.isnan(bed.mean_density_kg_m3).sum() == 0
    bed.spread(2.0, 0.0, 250.0, 2.0, 1.0)
    assert bed.surface_mm == pytest.approx(np.zeros((10, 14)), abs=1e-9)
    assert bed.mean_density_kg_m3 == pytest.approx(np.full((10, 14), 1500.0))
    assert abs(bed.balance) < 1e-10


def test_a_column_that_missed_a_layer_catches_up() -> None:
    bed = _small()
    bed.spread(1.0, 0.0, 110.0, 2.0, 1.0)
    bed.spread(2.0, 0.0, 250.0, 4.0, 1.0)
    assert bed.surface_mm == pytest.approx(np.zeros((10, 14)), abs=1e-9)
    assert bed.powder_mm[3, 2] == pytest.approx(2.0)
    assert bed.powder_mm[3, 10] == pytest.approx(4.0)


@pytest.mark.parametrize("layer_mm", [0.1, 0.5, 0.8, 1.3, 2.0])
def test_layers_need_not_fit_the_cells(layer_mm: float) -> None:
    bed = _small(max_height_mm=12.0, cell_z_mm=1.0)
    for n in range(1, 7):
        bed.spread(float(n), 0.0, 250.0, n * layer_mm, 1.0)
        assert bed.surface_mm == pytest.approx(np.zeros((10, 14)), abs=1e-9)
    assert bed.powder_kg == pytest.approx(28e-3 * 20e-3 * 6 * layer_mm * 1e-3 * 1500.0)


def test_the_beam_melts_densifies_and_sinks_the_powder_and_the_next_layer_is_thicker() -> None:
    bed = _small()
    _print_layers(bed)
    track, far = (4, 7), (0, 0)
    assert bed.peak_temp_c[track] > bed.material.liquidus_k - 273.15
    assert bed.mean_density_kg_m3[track] == pytest.approx(2320.0, rel=0.02)
    assert bed.mean_density_kg_m3[far] == pytest.approx(1500.0)
    assert bed.surface_mm[track] < -0.5
    assert bed.surface_mm[far] == pytest.approx(0.0, abs=1e-6)
    assert bed.powder_mm[track] == pytest.approx(2.0 - 2.0 * (1500.0 / 2320.0 - 1.0), abs=0.5)
    mass = (bed.mean_density_kg_m3 * (bed.surface_mm + 4.0)).sum() * 4e-6 * 1e-3
    assert mass == pytest.approx(bed.powder_kg, rel=0.05)
    assert [layer.plane_drop_mm for layer in bed.layers] == [0.0, 2.0, 4.0]
    maps = bed.maps()
    assert maps["layer_peak_temp_c"].shape == (3, 10, 14)
    assert maps["density_kg_m3"].shape[1:] == maps["surface_height_mm"].shape == (10, 14)
    assert maps["layer_absorbed_j"].sum() == pytest.approx(bed.absorbed_j)
    assert abs(bed.balance) < 1e-10


def test_mass_is_conserved_through_shrinkage_and_mixing() -> None:
    bed = _small(cell_z_mm=1.0)
    t_s = 1.0
    for drop in (0.7, 1.4, 2.1):  # mixes powder into sintered cells too
        bed.spread(t_s, 0.0, 250.0, drop, 1.0)
        bed.expose([(t_s, t_s + 20.0, 106.0, 60.0, 122.0, 60.0, 65.4, 65.4)])
        t_s += 30.0
        bed.advance_to(t_s)
    cells = bed._cells
    mass = (1.0 / cells.inv_mass[cells.inv_mass > 0.0]).sum() * 4e-6
    assert mass == pytest.approx(bed.powder_kg + 28e-3 * 20e-3 * 8e-3 * 1500.0, rel=1e-12)
    voxel = cells.thick * cells.inv_mass
    densities = 1.0 / voxel[voxel > 0.0]
    assert densities.min() >= 1500.0 * (1 - 1e-9)
    assert densities.max() <= 2320.0 * (1 + 1e-9)
    assert abs(bed.balance) < 1e-10


def test_powder_on_a_sintered_layer_does_not_thin_what_lies_below_its_top() -> None:
    bed = _small(cell_z_mm=1.0)
    bed.spread(1.0, 0.0, 250.0, 2.0, 1.0)  # two cells
    bed.expose([(2.0, 62.0, 114.0, 60.0, 114.0, 60.0, 65.4, 65.4)])
    bed.advance_to(70.0)
    before = bed.density_kg_m3[:, 5, 7]
    assert before[0] > 2200.0
    bed.spread(71.0, 0.0, 250.0, 2.0, 1.0)
    after = bed.density_kg_m3[:, 5, 7]
    assert after[0] == pytest.approx(before[0], rel=1e-3)
    assert after[1] < 2000.0
    assert bed.surface_mm[5, 7] == pytest.approx(0.0, abs=1e-9)


def test_a_whole_plate_sleeps_but_for_the_beam_and_keeps_its_energy() -> None:
    bed = Bed(BedConfig(x_mm=(0.0, 250.0), y_mm=(0.0, 150.0)))
    bed.set_base_temp_c(0.0, 150.0)
    bed.expose([(1.0, 181.0, 90.0, 75.0, 180.0, 75.0, 65.4, 65.4)])
    bed.advance_to(200.0)
    cells = int(bed._cells.filled[1:-1, 1:-1].sum())
    assert bed.cell_updates < 0.05 * bed.steps * cells
    assert abs(bed.balance) < 1e-10
    brick = Bed(BedConfig(x_mm=(80.0, 190.0), y_mm=(56.0, 94.0)))
    brick.set_base_temp_c(0.0, 150.0)
    brick.expose([(1.0, 181.0, 90.0, 75.0, 180.0, 75.0, 65.4, 65.4)])
    brick.advance_to(200.0)
    assert np.abs(bed.peak_temp_c[28:47, 40:95] - brick.peak_temp_c).mean() < 3.0


def test_exposures_are_taken_as_time_passes_with_their_exact_energy() -> None:
    bed = closed_bed(x_mm=(0.0, 20.0), y_mm=(0.0, 20.0), depth_mm=6.0, spot_mm=4.0)
    bed.expose([(1.0, 3.0, 5.0, 10.0, 15.0, 10.0, 0.0, 10.0), (3.0, 4.0, 15.0, 10.0, 15.0, 10.0, 10.0, 10.0)])
    bed.advance_to(1.0)
    assert bed.absorbed_j == 0.0
    bed.advance_to(2.0)
    assert bed.absorbed_j == pytest.approx(2.5, rel=1e-12)
    bed.expose([(6.0, 7.0, -10.0, 10.0, -10.0, 10.0, 8.0, 8.0, 42.0)])  # beside the window; a ninth column
    bed.advance_to(10.0)
    assert bed.absorbed_j == pytest.approx(20.0, rel=1e-12)
    assert bed.missed_j == pytest.approx(8.0, rel=1e-12)
    assert bed.stored_j == pytest.approx(20.0, rel=1e-10)


def test_many_short_vectors_are_not_lost_in_a_long_step() -> None:
    rng = np.random.default_rng(4)
    places = 4.0 + 12.0 * rng.random((401, 2))
    ends = np.linspace(0.0, 2.0, 401)
    rows = np.column_stack((ends[:-1], ends[1:], places[:-1], places[1:], np.full((400, 2), 5.0)))
    bed = closed_bed(x_mm=(0.0, 20.0), y_mm=(0.0, 20.0), depth_mm=6.0, spot_mm=1.0)
    bed.expose(rows)
    bed.advance_to(3.0)
    assert bed.absorbed_j == pytest.approx(10.0, rel=1e-12)
    assert abs(bed.balance) < 1e-12


def test_when_somebody_asks_hardly_matters() -> None:
    at_once, often = _small(), _small()
    _print_layers(at_once)
    advance = often.advance_to

    def in_pieces(t_s: float) -> None:
        for t in np.arange(often.t_s + 0.7, t_s, 0.7):
            advance(float(t))
        advance(t_s)

    often.advance_to = in_pieces  # type: ignore[method-assign]
    _print_layers(often)
    assert np.abs(at_once.peak_temp_c - often.peak_temp_c).max() < 25.0
    # a cell at the edge of the track melts through or does not for a few kelvin: few may differ, the whole may not
    apart = np.abs(at_once.surface_mm - often.surface_mm)
    assert (apart > 0.05).mean() < 0.03
    assert apart.mean() < 0.02


def test_the_same_calls_give_the_same_bits_with_any_number_of_threads() -> None:
    beds = [_small(threads=threads) for threads in (1, 1, 2)]
    for bed in beds:
        _print_layers(bed)
    first = beds[0].maps()
    for bed in beds[1:]:
        for name, values in bed.maps().items():
            assert np.array_equal(values, first[name], equal_nan=True), name
        assert bed.radiated_j == beds[0].radiated_j


def test_a_quiet_bed_costs_next_to_nothing() -> None:
    bed = _small(start_temp_c=20.0)
    bed.advance_to(16_000.0)
    assert bed.steps < 250
    hot = _small(start_temp_c=150.0)
    for t in range(0, 16_000, 2):  # a heater that reports often does not shorten the steps
        hot.set_base_temp_c(float(t), 150.0 + 0.01 * (t % 4))
    hot.advance_to(16_000.0)
    assert hot.steps < 2000


def test_far_tiles_step_less_often_than_those_under_the_beam() -> None:
    bed = Bed(BedConfig())
    bed.spread(0.5, 0.0, 250.0, 2.0, 1.0)
    bed.expose([(1.0, 61.0, 95.0, 75.0, 125.0, 75.0, 65.4, 65.4)])
    bed.advance_to(61.0)
    cells = int(bed._cells.filled[1:-1, 1:-1].sum())
    assert bed.cell_updates < 0.25 * bed.steps * cells


def test_the_base_warms_the_bed_and_gas_helps_it() -> None:
    warm = {}
    for atmosphere in ("vacuum", "air"):
        bed = _small(start_temp_c=20.0, atmosphere=atmosphere)
        bed.set_base_temp_c(0.0, 150.0)
        bed.advance_to(600.0)
        assert bed.base_j > 0.0
        warm[atmosphere] = float(bed.top_temp_c.mean())
    assert 20.0 <= warm["vacuum"] < warm["air"] < 150.0


def test_refusals_are_sentences() -> None:
    bed = _small()
    bed.advance_to(10.0)
    with pytest.raises(ValueError, match="too late"):
        bed.expose([(5.0, 6.0, 110, 60, 111, 60, 1, 1)])
    with pytest.raises(ValueError, match="finite"):
        bed.expose([(15.0, 16.0, float("nan"), 60, 111, 60, 1, 1)])
    with pytest.raises(ValueError, match="negative power"):
        bed.expose([(15.0, 16.0, 110, 60, 111, 60, -1, 1)])
    bed.expose([(15.0, 16.0, 110, 60, 111, 60, 1, 1)])
    with pytest.raises(ValueError, match="follow each other"):
        bed.expose([(15.5, 16.0, 110, 60, 111, 60, 1, 1)])
    with pytest.raises(ValueError, match="too late"):
        bed.spread(9.0, 0.0, 250.0, 2.0, 1.0)
    with pytest.raises(ValueError, match="raise max_height_mm"):
        bed.spread(11.0, 0.0, 250.0, 50.0, 1.0)
    with pytest.raises(ValueError, match="not one"):
        bed.set_base_temp_c(12.0, float("nan"))
    with pytest.raises(ValueError, match="known are mare, highland"):
        BedConfig(material="moon")
    with pytest.raises(ValueError, match="known are vacuum"):
        Bed(BedConfig(atmosphere="water"))
    with pytest.raises(ValueError, match="cell_z_mm"):
        BedConfig(cell_z_mm=0.0)
