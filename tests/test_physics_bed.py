"""Does the bed solver get physics right that has a closed answer? Numbers copied from the physics tables named in each
test (shared data, `physics/gen_tables.py`: quadrature to 1e-12 or exact closed forms)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bed_helpers import closed_bed, column, constant_soil

from hil_sim.world.plant.bed import Bed
from hil_sim.world.plant.materials import Material, enthalpy_of

ZERO = 273.15


@pytest.mark.parametrize(
    ("temp_k", "cp", "h"),
    [  # 12_cp_enthalpy.csv: Biele 2022, enthalpy from 100 K
        (100.0, 2.727333390845e02, 0.0),
        (300.0, 7.461621051884e02, 1.085813296793e05),
        (600.0, 1.004747794936e03, 3.781892768102e05),
        (1000.0, 1.152130322604e03, 8.119348398304e05),
        (1373.0, 1.271569153718e03, 1.263577290504e06),
        (1573.0, 1.343528780283e03, 1.524963185229e06),
        (2000.0, 1.525455137173e03, 2.136012499645e06),
    ],
)
def test_heat_capacity_and_enthalpy_are_the_tables(temp_k: float, cp: float, h: float) -> None:
    soil = Material(latent_heat_j_kg=0.0)
    assert soil.heat_capacity(np.array([temp_k]))[0] == pytest.approx(cp, rel=1e-9)
    assert enthalpy_of(soil.tables("vacuum"), temp_k) == pytest.approx(h, rel=2e-5, abs=5.0)


def test_latent_heat_lies_between_solidus_and_liquidus() -> None:
    soil, without = Material(), Material(latent_heat_j_kg=0.0)
    extra = [
        float(enthalpy_of(soil.tables("vacuum"), t) - enthalpy_of(without.tables("vacuum"), t))
        for t in (soil.solidus_k - 5.0, 0.5 * (soil.solidus_k + soil.liquidus_k), soil.liquidus_k + 5.0)
    ]
    assert extra == pytest.approx([0.0, 200e3, 400e3], abs=500.0)


@pytest.mark.parametrize(
    ("density", "temp_k", "k"),
    [  # 13_k_powder_vacuum.csv: Hayne's Kc (1 + 2.7 (T/350)^3)
        (1100.0, 100.0, 7.866005830904e-04),
        (1100.0, 350.0, 2.738000000000e-03),
        (1100.0, 1000.0, 4.734058309038e-02),
        (1800.0, 300.0, 9.180991253644e-03),
        (1800.0, 600.0, 4.964793002915e-02),
        (1800.0, 1300.0, 4.738013994169e-01),
    ],
)
def test_powder_conductivity_in_vacuum_is_the_table(density: float, temp_k: float, k: float) -> None:
    soil = Material(powder_density_kg_m3=density)
    assert soil.powder_conductivity(np.array([temp_k]), "vacuum")[0] == pytest.approx(k, rel=1e-9)
    tables = soil.tables("vacuum")
    assert tables.powder_k_w_mk + tables.powder_k_w_mk4 * temp_k**3 == pytest.approx(k, rel=1e-9)
    assert soil.powder_conductivity(np.array([temp_k]), "air")[0] == pytest.approx(k + 0.15, rel=1e-9)


def _spreading_error(cell_mm: float) -> float:
    """L2 error, relative, of a Gaussian of sigma 2 mm after 1.04 s of spreading in the 3D bed."""
    sigma, alpha, peak_k = 2e-3, 1.5 / (2500.0 * 1100.0), 500.0
    t_s = 1.04  # 1, 4 and 16 steps at 2, 1 and 0.5 mm, so that time is refined with space
    bed = closed_bed(
        x_mm=(0.0, 24.0), y_mm=(0.0, 24.0), cell_xy_mm=cell_mm, cell_z_mm=cell_mm, depth_mm=24.0, tile_cells=6
    )
    axis = (bed.x_centres_mm - 12.0) * 1e-3
    square = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2

    def exact(t: float) -> np.ndarray:
        p = sigma**2 + 2.0 * alpha * t
        return (sigma**2 / p) ** 1.5 * np.exp(-square / (2.0 * p))

    # 10_gaussian_spreading_3d.csv, t = 1 s: at the centre and 4 mm out
    p = sigma**2 + 2.0 * alpha * 1.0
    assert (sigma**2 / p) ** 1.5 == pytest.approx(6.964612760505e-01, rel=1e-9)
    assert (sigma**2 / p) ** 1.5 * math.exp(-((4e-3) ** 2) / (2 * p)) == pytest.approx(1.446885675152e-01, rel=1e-9)
    start = np.zeros((bed.temp_c.shape[0], axis.size, axis.size))
    start[: axis.size] = peak_k * exact(0.0)
    bed.set_temperature_c(start)
    bed.advance_to(t_s)
    got = bed.temp_c[: axis.size]
    want = peak_k * exact(t_s)
    return float(np.sqrt(((got - want) ** 2).sum() / (want**2).sum()))


def test_v3_a_gaussian_spreads_to_second_order() -> None:
    coarse, middle, fine = (_spreading_error(cell) for cell in (2.0, 1.0, 0.5))
    assert middle <= 0.005  # at dx = sigma / 2
    assert math.log2(coarse / middle) >= 1.8
    assert math.log2(middle / fine) >= 1.9


@pytest.mark.parametrize(
    ("stefan", "root"),
    [  # 09_stefan_neumann.csv, one phase
        (0.5, 4.647859206462e-01),
        (1.0, 6.200626333136e-01),
        (2.0, 8.006013628056e-01),
    ],
)
def test_v4_the_melting_front_is_stefans(stefan: float, root: float) -> None:
    cp, melts_k, wall_k = 1100.0, 1000.0, 1800.0
    latent = cp * (wall_k - melts_k) / stefan
    soil = constant_soil(cp=cp, solidus_k=melts_k, liquidus_k=melts_k + 0.05, latent_heat_j_kg=latent)
    bed = column(0.1, 10.0, material=soil, base_contact_w_m2k=1e12, start_temp_c=melts_k - ZERO)
    bed.set_base_temp_c(0.0, wall_k - ZERO)
    alpha = 1.5 / (2500.0 * cp)
    t_s = (8e-3 / (2.0 * root)) ** 2 / alpha  # the front is 8 mm up
    bed.advance_to(t_s)
    solid_h = float(enthalpy_of(soil.tables("vacuum"), melts_k))
    melted = np.clip((bed.enthalpy_j_kg[:100, 0, 0] - solid_h) / latent, 0.0, 1.0)
    assert melted.sum() * 1e-4 == pytest.approx(8e-3, rel=0.005)
    assert abs(bed.balance) < 1e-10


def _hot_spot_bed(emissivity: float, contact: float) -> Bed:
    bed = closed_bed(
        x_mm=(0.0, 20.0), y_mm=(0.0, 12.0), cell_xy_mm=1.0, cell_z_mm=1.0, depth_mm=6.0, max_height_mm=4.0, spot_mm=3.0,
        material=Material(), emissivity=emissivity, base_contact_w_m2k=contact, absorption_mm=0.3, absorptivity=0.8,
    )  # fmt: skip
    bed.set_base_temp_c(0.0, 150.0)
    bed.expose([(0.0, 12.0, 4.0, 6.0, 16.0, 6.0, 20.0, 20.0), (12.0, 20.0, 16.0, 7.0, 8.0, 4.0, 20.0, 5.0)])
    bed.advance_to(15.0)
    bed.spread(22.0, 0.0, 20.0, 2.0, 1.0)
    bed.expose([(23.0, 30.0, 4.0, 6.0, 16.0, 6.0, 15.0, 15.0)])
    bed.advance_to(60.0)
    return bed


@pytest.mark.parametrize(("emissivity", "contact", "bound"), [(0.0, 0.0, 1e-10), (0.85, 100.0, 1e-6)])
def test_v5_energy_is_kept(emissivity: float, contact: float, bound: float) -> None:
    bed = _hot_spot_bed(emissivity, contact)
    assert bed.absorbed_j == pytest.approx(0.8 * (240.0 + 100.0 + 105.0), rel=1e-12)
    assert bed.peak_temp_c.max() > 1200.0  # it did melt, sinter and shrink
    assert abs(bed.balance) < bound
    if emissivity == 0.0:
        assert bed.stored_j == pytest.approx(bed.absorbed_j, rel=1e-10)


@pytest.mark.parametrize(
    ("until_k", "t_s"),
    [  # 11_radiative_cooling_plate.csv: 2 mm, eps 0.9, 1473 K facing 100 K
        (1273.0, 6.173992647542e00),
        (973.0, 2.776000417122e01),
        (373.0, 6.825436781139e02),
    ],
)
def test_v6_a_radiating_plate_cools_in_time(until_k: float, t_s: float) -> None:
    bed = column(2.0, 2.0, emissivity=0.9, ambient_temp_c=100.0 - ZERO, start_temp_c=1473.0 - ZERO, step_k=2.0)
    bed.advance_to(t_s)
    assert bed.top_temp_c[0, 0] + ZERO == pytest.approx(until_k, abs=0.005 * (1473.0 - until_k))


def test_v7_a_constant_flux_makes_the_profile() -> None:
    # 08_semi_infinite.csv: 5e4 W/m2 for 100 s; rise of temperature at 0, 1, 2, 5, 10 mm
    want = {1: 2.457266369601e02, 2: 2.161983524650e02, 5: 1.423567160999e02, 10: 6.287147026490e01}
    bed = column(0.25, 40.0, step_k=50.0)
    bed.expose([(0.0, 100.0, 0.5, 0.5, 0.5, 0.5, 0.05, 0.05)])  # 5e4 W/m2 on 1 mm2
    bed.advance_to(100.0)
    rise = bed.temp_c[:160, 0, 0][::-1] - 20.0
    for depth_mm, value in want.items():
        at = round(depth_mm / 0.25)
        assert 0.5 * (rise[at - 1] + rise[at]) == pytest.approx(value, rel=0.01), depth_mm
    assert rise[0] + 5e4 * 0.125e-3 / 1.5 == pytest.approx(2.777877481356e02, rel=0.01)


def _powder_of(fraction: float, **more: float) -> Material:
    return constant_soil(  # hardly conducting: one cell needs no short steps
        k_w_mk=1e-3, cp=1000.0, grain_density_kg_m3=3000.0, closed_density_kg_m3=3000.0,
        powder_density_kg_m3=3000.0 * fraction, **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("x", "density"),
    [(0.01, 6.088995051227e-01), (0.1, 6.805935124962e-01), (0.5, 8.701390130567e-01), (2.0, 9.955564013847e-01)],
)
def test_v8_isothermal_sintering_is_the_closed_form(x: float, density: float) -> None:
    # 15_viscous_sintering_isothermal.csv, r = 25 um, eta = 1e7 Pa s, gamma = 0.35: X = gamma t / (eta r)
    soil = _powder_of(0.6, sinter_viscosity_pa_s=1e7)
    bed = column(1.0, 1.0, material=soil, start_temp_c=1000.0)
    bed.advance_to(x * 1e7 * 25e-6 / 0.35)
    assert bed.base_density_kg_m3[0, 0, 0] / 3000.0 == pytest.approx(density, abs=1e-6)
    assert bed.surface_mm[0, 0] == pytest.approx(0.6 / density - 1.0, abs=1e-6)  # height shrinks, mass stays


@pytest.mark.parametrize(
    ("energy", "top_k", "rate_k_s", "hold_s", "density"),
    [  # 16_viscous_msc_ramp_hold.csv: from 900 K, D0 = 0.6, r = 25 um
        (3e5, 1373.15, 5.0 / 60.0, 3600.0, 8.720687196253e-01),
        (5e5, 1373.15, 5.0 / 60.0, 3600.0, 8.640195660753e-01),
        (5e5, 1423.15, 10.0, 10.0, 6.066547433535e-01),
    ],
)
def test_v8_ramp_and_hold_sinter_by_the_master_curve(
    energy: float, top_k: float, rate_k_s: float, hold_s: float, density: float
) -> None:
    soil = _powder_of(0.6, sinter_viscosity_pa_s=1.156164537832e8, sinter_energy_j_mol=energy)
    bed = column(1.0, 1.0, material=soil, start_temp_c=900.0 - ZERO, step_k=2.0)
    ramp_s = (top_k - 900.0) / rate_k_s
    power_w = rate_k_s * 1800.0 * 1e-9 * 1000.0  # K/s times the heat capacity of 1 mm3
    bed.expose([(0.0, ramp_s, 0.5, 0.5, 0.5, 0.5, power_w, power_w)])
    bed.advance_to(ramp_s + hold_s)
    assert bed.top_temp_c[0, 0] + ZERO == pytest.approx(top_k, abs=1e-3)
    assert bed.base_density_kg_m3[0, 0, 0] / 3000.0 == pytest.approx(density, abs=1e-4)


def test_v9_a_moving_source_leaves_eagar_and_tsais_field() -> None:
    # 04_eagar_tsai_points.csv, reg_solar_fibre: 36 W absorbed, sigma 1.25 mm, 0.5 mm/s, 300 K; xi, y, z mm -> K
    points = {
        (0.0, 0.0, 0.0): 2.998936561643e03, (1.25, 0.0, 0.0): 1.897890147805e03, (-1.25, 0.0, 0.0): 2.753426452687e03,
        (-2.5, 0.0, 0.0): 1.860660054305e03, (-5.0, 0.0, 0.0): 1.040564130926e03, (0.0, 1.25, 0.0): 2.253882957256e03,
        (-2.5, 2.5, 0.0): 1.067420334259e03, (0.0, 0.0, 0.625): 1.869071687316e03, (-2.5, 0.0, 1.25): 1.309250395512e03,
    }  # fmt: skip
    cell = 0.3125
    bed = closed_bed(
        x_mm=(-6.0 * 1.25 - cell / 2, 18.75 + cell / 2), y_mm=(-6.25 - cell / 2, 6.25 + cell / 2), cell_xy_mm=cell,
        cell_z_mm=cell, depth_mm=24 * cell, absorptivity=0.9, start_temp_c=300.0 - ZERO, spot_mm=5.0,
        spot_profile="gaussian", tile_cells=8, step_k=400.0,
    )  # fmt: skip
    bed.expose([(0.0, 25.0, 0.0, 0.0, 12.5, 0.0, 40.0, 40.0)])
    bed.advance_to(25.0)
    temp = bed.temp_c[:24][::-1] + ZERO  # from the surface down
    middle_y = round((0.0 - bed.y_centres_mm[0]) / cell)
    for (xi, y, z), want in points.items():
        i, j = round((12.5 + xi - bed.x_centres_mm[0]) / cell), middle_y + round(y / cell)
        if z == 0.0:  # parabola through the three top cells
            got = (15.0 * temp[0, j, i] - 10.0 * temp[1, j, i] + 3.0 * temp[2, j, i]) / 8.0
        else:
            at = round(z / cell)
            got = 0.5 * (temp[at - 1, j, i] + temp[at, j, i])
        assert abs(got - want) <= 0.03 * (3079.37 - 300.0), (xi, y, z, got, want)
