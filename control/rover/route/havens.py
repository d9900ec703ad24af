"""Safe havens: open, level places where a rover lasts, asleep, through the longest night that the Sun leaves there."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from control.rover.energy import EnergyModel
from control.rover.ground.dem import Dem
from control.rover.route.route_file import Haven

SLOPE_MAX_DEG = 6.0
LIT_ENOUGH = 0.5  # of the Sun's disc: under it the panel is counted for nothing
CHARGED = 0.9  # a rover comes to its haven with so much


def longest_dark_s(lit: NDArray[np.float32], frame_s: float) -> NDArray[np.float64]:
    """The longest spell without Sun of each cell (rows, columns), s. lit: disc shares (frames, rows, columns)."""
    spell = np.zeros(lit.shape[1:])
    longest = np.zeros(lit.shape[1:])
    for frame in lit:
        spell = np.where(frame >= LIT_ENOUGH, 0.0, spell + frame_s)  # a NaN is dark
        np.maximum(longest, spell, out=longest)
    return longest


def lasts_s(model: EnergyModel, reserve: float) -> float:
    """How long a rover lasts asleep without Sun, from CHARGED down to the reserve, s."""
    if model.sleep_w == 0:
        return math.inf
    return max(0.0, CHARGED - reserve) * model.capacity_wh / model.sleep_w * 3600.0


def find_havens(
    dem: Dem,
    slope_deg: NDArray[np.float32],
    is_open: NDArray[np.bool_],
    lit: NDArray[np.float32],
    frame_s: float,
    model: EnergyModel,
    *,
    reserve: float = 0.2,
    apart_m: float = 100.0,
    count_max: int = 12,
) -> list[Haven]:
    """The best lit places that a rover survives at, none nearer than `apart_m` to a better one.

    Args:
        slope_deg, is_open: (rows, columns) of the map.
        lit: shares of the Sun's disc over some lunations, (frames, rows, columns), `frame_s` apart.
    """
    survivable = longest_dark_s(lit, frame_s) <= lasts_s(model, reserve)
    fraction = np.nan_to_num(lit).mean(axis=0)
    good = survivable & is_open & (slope_deg <= SLOPE_MAX_DEG) & (fraction > 0)
    i, j = np.nonzero(good)
    havens: list[Haven] = []
    for n in np.argsort(-fraction[i, j], kind="stable"):
        x, y = dem.point(int(i[n]), int(j[n]))
        if all(math.dist((x, y), (h.x_m, h.y_m)) >= apart_m for h in havens):
            havens.append(Haven(float(x), float(y), round(float(fraction[i[n], j[n]]), 4)))
            if len(havens) == count_max:
                break
    return havens
