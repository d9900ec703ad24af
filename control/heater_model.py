"""Between which temperatures a heated bed must be, by what its heater has given: the second opinion on a thermocouple.

One lump, C dT/dt = P - G (T - T_ambient), solved in closed form from poll to poll, twice: with everything that the
machine file says of the plate wrong to the warm side, and to the cold side. The beam's heat counts to the warm side
only. Losses pull both ends together, so that an error of the model does not add up. A thermocouple that drifts, or a
heater that is on unasked, leaves the band after a while; one that is a few degrees off does not.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from control.config import HeaterModelConfig

MARGIN_C = 15.0  # for the ambient temperature, which nobody measures, and for gradients in the plate


class Band(NamedTuple):
    """The coldest and the warmest that the bed can be, degC."""

    low_c: float
    high_c: float

    def holds(self, temp_c: float) -> bool:
        """Whether a reading may be true."""
        return self.low_c - MARGIN_C <= temp_c <= self.high_c + MARGIN_C


def next_band(band: Band, model: HeaterModelConfig, heater_w: float, beam_w: float, span_s: float) -> Band:
    """The band after `span_s` seconds of `heater_w` from the element and at most `beam_w` from the beam."""
    less, more = 1.0 - model.uncertainty, 1.0 + model.uncertainty
    low_end_c = model.ambient_c + less * heater_w / (more * model.loss_w_k)
    high_end_c = model.ambient_c + (more * heater_w + beam_w) / (less * model.loss_w_k)
    cold_j_k = model.plate_j_k * (more if low_end_c > band.low_c else less)  # what keeps it colder on its way
    warm_j_k = model.plate_j_k * (less if high_end_c > band.high_c else more)
    low_c = _towards(band.low_c, low_end_c, more * model.loss_w_k / cold_j_k * span_s)
    high_c = _towards(band.high_c, high_end_c, less * model.loss_w_k / warm_j_k * span_s)
    return Band(low_c, max(high_c, low_c))


def _towards(from_c: float, end_c: float, time_constants: float) -> float:
    return end_c + (from_c - end_c) * math.exp(-time_constants)
