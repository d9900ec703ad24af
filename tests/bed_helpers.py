"""Beds for tests: a soil with constant properties, and narrow windows of it."""

from __future__ import annotations

from typing import Any

from hil_sim.world.plant.bed import Bed
from hil_sim.world.plant.bed_setup import BedConfig
from hil_sim.world.plant.materials import Material


def constant_soil(k_w_mk: float = 1.5, density: float = 2500.0, cp: float = 1100.0, **more: Any) -> Material:
    """No melting, no sintering, constant properties: gen_tables.py's `reg` unless told otherwise."""
    values: dict[str, Any] = {
        "name": "constant",
        "grain_density_kg_m3": density * (1 + 2e-12),
        "closed_density_kg_m3": density * (1 + 1e-12),
        "powder_density_kg_m3": density,
        "heat_capacity_j_kgk": cp,
        "powder_conductivity_w_mk": k_w_mk,
        "dense_conductivity_w_mk": k_w_mk,
        "radiative_chi": 0.0,
        "solidus_k": 3900.0,
        "liquidus_k": 3950.0,
        "latent_heat_j_kg": 0.0,
        "sinter_viscosity_pa_s": 1e300,
        "sinter_energy_j_mol": 0.0,
        "melt_vft": None,
    }
    return Material(**(values | more))


def closed_bed(**more: Any) -> Bed:
    """A bed that exchanges nothing with anybody, of constant soil, unless told otherwise."""
    values: dict[str, Any] = {
        "material": constant_soil(),
        "emissivity": 0.0,
        "base_contact_w_m2k": 0.0,
        "absorption_mm": 0.0,
        "absorptivity": 1.0,
        "max_height_mm": 0.0,
    }
    return Bed(BedConfig(**(values | more)))


def column(cell_z_mm: float, depth_mm: float, **more: Any) -> Bed:
    """One column of 1 mm2."""
    return closed_bed(
        x_mm=(0.0, 1.0), y_mm=(0.0, 1.0), cell_xy_mm=1.0, cell_z_mm=cell_z_mm, depth_mm=depth_mm, spot_mm=0.1, **more
    )
