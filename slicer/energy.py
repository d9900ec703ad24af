"""Energy density of a plan: what every vector, layer and part gets of the beam, by four measures.

    line     P / v              J/mm    along the track
    area     P / (v w)          J/mm2   w: distance of neighbouring tracks
    volume   P / (v w t)        J/mm3   t: thickness of the layer
    mass     A P / (v w t rho)  J/kg    absorbed; A: absorptivity, rho: density of the made solid

The volume measure is the usual one of powder-bed fusion (Thijs et al. 2010, Acta Materialia 58:3303). It compares
settings of one machine and powder; equal values do not make equal melt pools (Scipioni Bertoli et al. 2017, Materials &
Design 113:331). Only the mass measure knows what is absorbed, and can be held against the energy that heating and
melting need (`slicer.recipe.ENERGY_FLOOR_J_KG`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from slicer.scan import ScanPath

Floats = NDArray[np.float64]


class Exposure(Protocol):
    """What turns power and speed into energy densities; a Recipe is one."""

    @property
    def track_width_mm(self) -> float: ...
    @property
    def absorptivity(self) -> float: ...
    @property
    def density_kg_m3(self) -> float: ...


def line_energy_j_mm(power_w: Floats, speed_mm_s: Floats) -> Floats:
    """P / v, J/mm; arrays of one shape, or numbers."""
    return power_w / speed_mm_s


def area_energy_j_mm2(power_w: Floats, speed_mm_s: Floats, track_width_mm: Floats | float) -> Floats:
    """P / (v w), J/mm2; w is the hatch spacing, or the spot where there is one track."""
    return power_w / (speed_mm_s * track_width_mm)


def volume_energy_j_mm3(
    power_w: Floats, speed_mm_s: Floats, track_width_mm: Floats | float, thickness_mm: float
) -> Floats:
    """P / (v w t), J/mm3 of layer."""
    return power_w / (speed_mm_s * track_width_mm * thickness_mm)


def absorbed_energy_j_kg(
    power_w: Floats,
    speed_mm_s: Floats,
    track_width_mm: Floats | float,
    thickness_mm: float,
    absorptivity: float,
    density_kg_m3: float,
) -> Floats:
    """A P / (v w t rho), J absorbed per kg of made solid; the factor is mm3 in a m3."""
    return 1e9 * absorptivity * volume_energy_j_mm3(power_w, speed_mm_s, track_width_mm, thickness_mm) / density_kg_m3


@dataclass(frozen=True, slots=True)
class Spread:
    """Least, mean and most of one measure; the mean is weighted by the length of the vectors."""

    least: float
    mean: float
    most: float


@dataclass(frozen=True, slots=True)
class EnergyDensity:
    """The four measures of a layer or a part, over its vectors.

    Attributes:
        line_j_mm, area_j_mm2, volume_j_mm3, absorbed_j_kg: as the module tells; None where nothing is exposed.
        energy_j: beam energy; length_mm: exposed length. They weigh layers when these are put together.
    """

    line_j_mm: Spread | None
    area_j_mm2: Spread | None
    volume_j_mm3: Spread | None
    absorbed_j_kg: Spread | None
    energy_j: float
    length_mm: float


MEASURES = ("line_j_mm", "area_j_mm2", "volume_j_mm3", "absorbed_j_kg")


def layer_energy(
    path: ScanPath, thickness_mm: float, exposure: Exposure, track_width_mm: Floats | float | None = None
) -> EnergyDensity:
    """The energy densities of one layer's path.

    `track_width_mm` ((n,) f8 or a number) stands for the exposure's own where vectors have different spacings. Vectors
    without length have no density and are left out.
    """
    width_mm = np.broadcast_to(
        np.asarray(exposure.track_width_mm if track_width_mm is None else track_width_mm, np.float64), (len(path),)
    )
    lengths_mm = path.lengths_mm
    long = lengths_mm > 0.0
    if not long.any():
        return EnergyDensity(None, None, None, None, 0.0, 0.0)
    power, speed, width, length = path.power_w[long], path.speed_mm_s[long], width_mm[long], lengths_mm[long]
    area_mm2 = length * width

    def spread(values: Floats, weights: Floats) -> Spread:
        return Spread(float(values.min()), float(np.average(values, weights=weights)), float(values.max()))

    return EnergyDensity(
        spread(line_energy_j_mm(power, speed), length),
        # energy over area, so that the mean times the exposed area is the energy again
        spread(area_energy_j_mm2(power, speed, width), area_mm2),
        spread(volume_energy_j_mm3(power, speed, width, thickness_mm), area_mm2),
        spread(
            absorbed_energy_j_kg(power, speed, width, thickness_mm, exposure.absorptivity, exposure.density_kg_m3),
            area_mm2,
        ),
        path.energy_j,
        path.length_mm,
    )


def part_energy(layers: Iterable[EnergyDensity]) -> EnergyDensity:
    """The energy densities of layers put together: least of least, most of most, means weighted by the energy's base.

    A mean is total energy over total length (line), exposed area, exposed volume or made mass; a layer's base is its
    energy over its own mean.
    """
    exposed = [layer for layer in layers if layer.line_j_mm is not None]
    if not exposed:
        return EnergyDensity(None, None, None, None, 0.0, 0.0)
    energy_j = sum(layer.energy_j for layer in exposed)

    def together(name: str) -> Spread:
        spreads: list[Spread] = [getattr(layer, name) for layer in exposed]
        base = sum(layer.energy_j / spread.mean for layer, spread in zip(exposed, spreads, strict=True))
        return Spread(min(s.least for s in spreads), energy_j / base, max(s.most for s in spreads))

    line, area, volume, mass = (together(name) for name in MEASURES)
    return EnergyDensity(line, area, volume, mass, energy_j, sum(layer.length_mm for layer in exposed))


def energy_words(energy: EnergyDensity) -> str:
    """The mean of each measure, and how far it spreads where it does; empty where nothing is exposed."""
    shown = []
    for name, unit, divisor in zip(MEASURES, ("J/mm", "J/mm2", "J/mm3", "MJ/kg absorbed"), (1, 1, 1, 1e6), strict=True):
        spread: Spread | None = getattr(energy, name)
        if spread is not None:
            least, mean, most = (value / divisor for value in (spread.least, spread.mean, spread.most))
            span = f" ({least:.3g} to {most:.3g})" if f"{least:.3g}" != f"{most:.3g}" else ""
            shown.append(f"{mean:.3g} {unit}{span}")
    return ", ".join(shown)
