"""What lunar soil is made of, for the bed solver: heat capacity, conductivity, melting range, sintering; K and SI.

A `Material` is a handful of numbers; `Material.tables()` turns them into functions of the enthalpy that the kernels
look up. Evidence of each default is in the comment beside it: published, derived (from published numbers) or assumed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

STEFAN_BOLTZMANN_W_M2K4 = 5.670374419e-8  # CODATA
GAS_CONSTANT_J_MOLK = 8.31446261815324
ZERO_CELSIUS_K = 273.15

ATMOSPHERES = ("vacuum", "air", "argon")
# What gas between the grains adds to the powder's conductivity: air 0.1-0.3 W/mK in all, argon in proportion (assumed).
GAS_CONDUCTIVITY_W_MK = {"vacuum": 0.0, "air": 0.15, "argon": 0.10}

ENTHALPY_ZERO_K = 100.0  # where the enthalpy is zero, as in the reference table of the heat capacity
TABLE_LOW_K, TABLE_HIGH_K, TABLE_NODES = 20.0, 4000.0, 8192
BIELE_HIGH_K = 2000.0  # the fit ends here; the heat capacity stays at its last value above
NO_SINTERING_PER_S = 1e-10  # below this rate a cell changes by less than 1e-4 in ten days: not followed


class Tables(NamedTuple):
    """Functions of the specific enthalpy h on evenly spaced nodes, for the kernels; see `Material.tables`."""

    h_low_j_kg: float
    nodes_per_j_kg: float
    temp_k: Array
    powder_k_w_mk: float  # powder: this and powder_k_w_mk4 T^3, T not above powder_k_end_k
    powder_k_w_mk4: float
    powder_k_end_k: float
    inverse_cp_kg_k_j: Array  # of the sensible heat alone: a step found from it is safe through the melting range
    sinter_rate_per_s: Array
    h_sinter_j_kg: float  # below this enthalpy nothing sinters
    dense_k_w_mk: float
    grain_density_kg_m3: float
    powder_fraction: float
    closed_fraction: float


@dataclass(frozen=True)
class Material:
    """One soil. Temperatures K, energies J/kg, densities kg/m3, conductivities W/mK, viscosities Pa s."""

    name: str = "mare"
    grain_density_kg_m3: float = 2900.0  # low end of 2900-3100, assumed (process facts 2)
    powder_density_kg_m3: float = 1500.0  # as spread; between Hayne's 1100 (loose) and 1800 (deep); assumed
    # Melt under 2310 kg/m3 of the published DSEL brick keeps about 20 % of closed pores: gas and vesicles. Derived.
    closed_density_kg_m3: float = 2320.0
    heat_capacity_j_kgk: float | None = None  # None: Biele 2022 eq. 24 (published)
    powder_conductivity_w_mk: float | None = None  # None: Hayne's Kc for the powder's density (published)
    radiative_chi: float = 2.7  # Hayne 2017 (published)
    dense_conductivity_w_mk: float = 1.5  # 1-1.8 assumed; between powder and dense as ((D - D0)/(1 - D0))^1.5, assumed
    solidus_k: float = 1398.15  # 1100-1150 degC for mare simulants, assumed
    liquidus_k: float = 1513.15  # 1200-1280 degC, assumed
    latent_heat_j_kg: float = 400e3  # assumed
    surface_tension_n_m: float = 0.35  # assumed
    particle_radius_m: float = 25e-6  # of the anchor below
    # Anchor of the effective viscosity of partly crystalline powder: D 0.60 -> 0.85 in one hour at 1373.15 K. Assumed.
    sinter_viscosity_pa_s: float = 1.156164537832e8
    sinter_reference_k: float = 1373.15
    sinter_energy_j_mol: float = 500e3  # 300-700 kJ/mol, placeholder
    melt_vft: tuple[float, float, float] | None = (-4.55, 4878.885507481, 635.6568949296)  # GRD 2008, JSC-1A; published
    crystal_packing: float = 0.6  # crystal fraction at which a suspension no longer flows

    def __post_init__(self) -> None:
        if not 0.0 < self.powder_density_kg_m3 < self.closed_density_kg_m3 <= self.grain_density_kg_m3:
            raise ValueError(
                f"material {self.name}: densities must rise from powder ({self.powder_density_kg_m3:g}) over closed "
                f"({self.closed_density_kg_m3:g}) to grain ({self.grain_density_kg_m3:g} kg/m3)"
            )
        if not TABLE_LOW_K < self.solidus_k < self.liquidus_k < TABLE_HIGH_K:
            raise ValueError(f"material {self.name}: need {TABLE_LOW_K:g} K < solidus < liquidus < {TABLE_HIGH_K:g} K")

    def heat_capacity(self, temp_k: Array) -> Array:
        """Sensible heat capacity, J/kgK; Biele 2022 eq. 24 (doi 10.1007/s10765-022-03046-5), held above 2000 K."""
        if self.heat_capacity_j_kgk is not None:
            return np.full_like(temp_k, self.heat_capacity_j_kgk)
        x = np.log(np.minimum(temp_k, BIELE_HIGH_K))
        return np.exp((((3.0 * x - 54.45) * x + 306.8) * x - 376.6) / ((x - 16.81) * x + 87.32))

    def powder_contact_w_mk(self) -> float:
        """Kc, the solid part of the loose powder's conductivity: Hayne 2017, between loose surface and deep soil."""
        if self.powder_conductivity_w_mk is not None:
            return self.powder_conductivity_w_mk
        share = (self.powder_density_kg_m3 - 1100.0) / (1800.0 - 1100.0)
        return 7.4e-4 + min(max(share, 0.0), 1.0) * (3.4e-3 - 7.4e-4)

    def powder_conductivity(self, temp_k: Array, atmosphere: str) -> Array:
        """Of the loose powder, W/mK: Kc (1 + chi (T/350)^3) (Hayne 2017) plus the gas between the grains.

        The cubic term is heat radiated from grain to grain: it stops growing at the solidus, where the grains melt.
        """
        ratio = np.minimum(temp_k, self.solidus_k) / 350.0
        return self.powder_contact_w_mk() * (1.0 + self.radiative_chi * ratio**3) + GAS_CONDUCTIVITY_W_MK[atmosphere]

    def sinter_rate(self, temp_k: Array) -> Array:
        """dTheta/dt = gamma / (eta_eff r), 1/s: the rate of the master-curve variable.

        Two ways to flow add up: the effective Arrhenius one of partly crystalline powder, and above the solidus that of
        the melt, GRD 2008 thickened by its crystals, eta (1 - phi/phi_max)^-2.5, which does not flow above phi_max.
        """
        scale = self.surface_tension_n_m / self.particle_radius_m
        exponent = self.sinter_energy_j_mol / GAS_CONSTANT_J_MOLK * (1.0 / temp_k - 1.0 / self.sinter_reference_k)
        rate = scale / (self.sinter_viscosity_pa_s * np.exp(np.minimum(exponent, 600.0)))
        if self.melt_vft is not None:
            a, b, c = self.melt_vft
            crystals = np.clip((self.liquidus_k - temp_k) / (self.liquidus_k - self.solidus_k), 0.0, 1.0)
            flowing = np.maximum(1.0 - crystals / self.crystal_packing, 0.0) ** 2.5
            melt = 10.0 ** (a + b / np.maximum(temp_k - c, 50.0))
            rate = rate + scale * flowing / melt
        return np.where(rate > NO_SINTERING_PER_S, rate, 0.0)

    def enthalpy_curve(self) -> tuple[Array, Array]:
        """Temperatures K and specific enthalpies J/kg (zero at 100 K), rising: sensible heat plus the melting ramp."""
        temp = np.union1d(np.linspace(TABLE_LOW_K, TABLE_HIGH_K, 39801), [self.solidus_k, self.liquidus_k])
        cp = self.heat_capacity(temp)
        sensible = np.concatenate(([0.0], np.cumsum(0.5 * (cp[1:] + cp[:-1]) * np.diff(temp))))
        sensible -= np.interp(ENTHALPY_ZERO_K, temp, sensible)
        melted = np.clip((temp - self.solidus_k) / (self.liquidus_k - self.solidus_k), 0.0, 1.0)
        return temp, sensible + self.latent_heat_j_kg * melted

    def tables(self, atmosphere: str) -> Tables:
        """Everything the kernels look up, over the specific enthalpy. ValueError for an unknown atmosphere."""
        if atmosphere not in ATMOSPHERES:
            raise ValueError(f"atmosphere {atmosphere!r} is unknown; known are {', '.join(ATMOSPHERES)}")
        curve_temp, curve_h = self.enthalpy_curve()
        h = np.linspace(curve_h[0], curve_h[-1], TABLE_NODES)
        temp = np.interp(h, curve_h, curve_temp)
        rate = self.sinter_rate(temp)
        moving = np.flatnonzero(rate > 0.0)
        return Tables(
            h_low_j_kg=float(h[0]),
            nodes_per_j_kg=float(1.0 / (h[1] - h[0])),
            temp_k=temp,
            powder_k_w_mk=self.powder_contact_w_mk() + GAS_CONDUCTIVITY_W_MK[atmosphere],
            powder_k_w_mk4=self.powder_contact_w_mk() * self.radiative_chi / 350.0**3,
            powder_k_end_k=self.solidus_k,
            inverse_cp_kg_k_j=1.0 / self.heat_capacity(temp),
            sinter_rate_per_s=rate,
            h_sinter_j_kg=float(h[max(int(moving[0]) - 1, 0)]) if moving.size else math.inf,
            dense_k_w_mk=self.dense_conductivity_w_mk,
            grain_density_kg_m3=self.grain_density_kg_m3,
            powder_fraction=self.powder_density_kg_m3 / self.grain_density_kg_m3,
            closed_fraction=self.closed_density_kg_m3 / self.grain_density_kg_m3,
        )


MATERIALS = {
    "mare": Material(),
    # GRD 2008 for LHS-1; melts higher (up to ~1400 degC, assumed)
    "highland": Material(
        name="highland", solidus_k=1493.15, liquidus_k=1643.15, melt_vft=(-4.55, 5123.588064181, 667.7721799316)
    ),
}


def enthalpy_of(tables: Tables, temp_k: Array | float) -> Array:
    """Specific enthalpy, J/kg, at a temperature: the exact inverse of the kernels' look-up."""
    nodes = tables.h_low_j_kg + np.arange(tables.temp_k.size) / tables.nodes_per_j_kg
    return np.asarray(np.interp(temp_k, tables.temp_k, nodes))
