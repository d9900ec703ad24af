"""When neighbours come back under the beam, and what warmth it finds there: what orders of exposure are compared by.

The heat model is linear: moving Gaussian spots on a half space of constant properties, without radiation, melting or
powder. In regolith it overstates what a beam does by far. It ranks plans and claims no temperature; the simulator's bed
solver does that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from slicer.errors import ScanError
from slicer.kernels import heat, sequencing
from slicer.scan import ScanPath, read_only

MM_PER_M = 1000.0


# ---- return times


def return_times(path: ScanPath, radius_mm: float, jump_speed_mm_s: float) -> NDArray[np.float64]:
    """Least time from the end of an earlier neighbour to the beginning of each vector of a layer.

    Neighbours are vectors nearer to each other than the radius, segment to segment. While the beam runs on from vector
    to vector, without a jump or a wait, those less than the radius apart along its way are none, nor are the ends of a
    ring that it closes: `slicer.ordering.return_time` has the same rule. Time is length / speed, jump / jump speed and
    `wait_s`; heads work side by side from the same moment on.

    Args:
        path: one layer, n vectors in the order of exposure.

    Returns:
        (n,) f8, s; inf where no neighbour was exposed before, and less than 0 where another head is at it still.

    Raises:
        ScanError: the radius or the jump speed is no positive number.
    """
    _positive(radius_mm=radius_mm, jump_speed_mm_s=jump_speed_mm_s)
    returns = np.full(len(path), np.inf)
    if len(path) == 0:
        return returns
    by_head = np.argsort(path.beam, kind="stable")
    vectors = np.ascontiguousarray(path.vectors_mm[by_head])
    begin_s, end_s = (times[by_head] for times in exposure_times_s(path, jump_speed_mm_s))
    follows = _follows(path, by_head)
    runs_on = follows & (path.wait_s[by_head] == 0.0)
    found = np.empty(len(path))
    turn = np.argsort(begin_s, kind="stable")
    heat.return_times(vectors, follows, runs_on, begin_s, end_s, turn, float(radius_mm), found)
    returns[by_head] = found
    return returns


def with_return_time(path: ScanPath, return_time_s: float, radius_mm: float, jump_speed_mm_s: float) -> ScanPath:
    """The path with the waits that it needs so that `return_times` is nowhere less than `return_time_s`.

    The order stays: whatever a layer is made of (contours, skins, hatch), it keeps the guarantee afterwards. What was
    ordered by `return_time` needs few waits more, where it meets the contours.

    Raises:
        ScanError: a number is none to plan with, or several heads expose the path.
    """
    _positive(radius_mm=radius_mm, jump_speed_mm_s=jump_speed_mm_s)
    if not (math.isfinite(return_time_s) and return_time_s >= 0.0):
        raise ScanError(f"return_time_s is {return_time_s:g}; give a finite number that is not negative.")
    if len(path) == 0:
        return path
    if (path.beam != path.beam[0]).any():
        raise ScanError("A return time can only be kept by one head; plan with one beam, or without a return time.")
    wait_s = path.wait_s.copy()
    heat.hold(
        np.ascontiguousarray(path.vectors_mm),
        _follows(path, np.arange(len(path))),
        path.lengths_mm,
        read_only(path.speed_mm_s),
        float(jump_speed_mm_s),
        float(return_time_s),
        float(radius_mm),
        wait_s,
    )
    return replace(path, wait_s=wait_s)


def exposure_times_s(path: ScanPath, jump_speed_mm_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """((n,) f8, (n,) f8): when each vector begins and ends, without accelerations. Each head begins at 0."""
    begin_s, end_s = np.empty(len(path)), np.empty(len(path))
    for head in np.unique(path.beam):
        mine = path.beam == head
        vectors = path.vectors_mm[mine]
        exposing_s = path.lengths_mm[mine] / path.speed_mm_s[mine]
        before_s = path.wait_s[mine].copy()
        jumps = vectors[1:, :2] - vectors[:-1, 2:]
        before_s[1:] += np.hypot(jumps[:, 0], jumps[:, 1]) / jump_speed_mm_s
        end_s[mine] = np.cumsum(before_s + exposing_s)
        begin_s[mine] = end_s[mine] - exposing_s
    return begin_s, end_s


@dataclass(frozen=True)
class ReturnTimeHistogram:
    """How much of the exposed length was returned to how soon.

    Attributes:
        edges_s: (b + 1,) f8, rising; the first bin also holds what is shorter, the last what is longer.
        length_mm: (b,) f8, exposed length by return time.
        first_mm: exposed length without an earlier neighbour.
        least_s: the least return time; inf where nothing is returned to.
    """

    edges_s: NDArray[np.float64]
    length_mm: NDArray[np.float64]
    first_mm: float
    least_s: float


def return_time_histogram(
    returns_s: NDArray[np.float64], lengths_mm: NDArray[np.float64], bins: int = 30
) -> ReturnTimeHistogram:
    """The vectors' lengths by their return times, in bins of like ratio from a millisecond to an hour.

    Args:
        returns_s: (n,) f8 as from `return_times`; lengths_mm: (n,) f8; layers may be put together.
    """
    assert returns_s.shape == lengths_mm.shape, "a return time and a length for each vector"
    assert bins > 0, "a histogram has bins"
    edges_s = np.geomspace(1e-3, 3600.0, bins + 1)
    again = np.isfinite(returns_s)
    of_bin = np.clip(np.searchsorted(edges_s, returns_s[again], side="right") - 1, 0, bins - 1)
    return ReturnTimeHistogram(
        edges_s,
        np.bincount(of_bin, lengths_mm[again], minlength=bins).astype(np.float64),
        float(lengths_mm[~again].sum()),
        float(returns_s[again].min()) if again.any() else math.inf,
    )


# ---- warmth


@dataclass(frozen=True)
class HeatModel:
    """Constant properties of the half space, and what of the beam it takes in.

    The defaults are round numbers for consolidated basaltic regolith, by which reference tables were made; a rank of
    orders depends on them little, a rise in K much.

    Attributes:
        sigma_mm: standard deviation of the Gaussian spot, a quarter of its D4sigma diameter.
        absorptivity: part of the beam's power that is taken in.
        memory_s: what ended longer ago is forgotten.
        cut: what is farther away than so many standard deviations of its warmth is left out.
    """

    sigma_mm: float
    absorptivity: float = 0.8
    conductivity_w_m_k: float = 1.5
    density_kg_m3: float = 2500.0
    heat_capacity_j_kg_k: float = 1100.0
    memory_s: float = 600.0
    cut: float = 4.0

    @property
    def heat_j_m3_k(self) -> float:
        """Heat that warms a cubic metre by one kelvin."""
        return self.density_kg_m3 * self.heat_capacity_j_kg_k

    @property
    def diffusivity_m2_s(self) -> float:
        """How fast warmth spreads."""
        return self.conductivity_w_m_k / self.heat_j_m3_k


def residual_rise_k(
    path: ScanPath, model: HeatModel, jump_speed_mm_s: float, samples: int = 2000
) -> NDArray[np.float64]:
    """The model's rise that earlier vectors have left at start, middle and end of a vector as the beam gets there.

    Each exposure is a moving Gaussian spot on a half space (Eagar and Tsai 1983) at the surface,

        P / (pi rho c sqrt(4 pi a)) int t^-1/2 / w^2 exp(-r^2 / 2 w^2) dt,  w^2 = sigma^2 + 2 a t,

    over the ages t of its points, at the distances r; it is cut into pieces of like age, each with a closed form. The
    result is within 3 % of that integral (`tests/test_thermal_heat.py`).

    Args:
        path: one layer, exposed by one head.
        samples: of more vectors than this, every other one (every third, ...) is looked at.

    Returns:
        (m, 3) f8, K, of vectors 0, s, 2 s, ...: m of them.

    Raises:
        ScanError: a number is none to plan with, or several heads expose the path.
    """
    _positive(
        jump_speed_mm_s=jump_speed_mm_s,
        samples=samples,
        **{name: getattr(model, name) for name in model.__dataclass_fields__},
    )
    if len(path) == 0:
        return np.zeros((0, 3))
    if (path.beam != path.beam[0]).any():
        raise ScanError("Warmth is compared for one head only; give the vectors of each beam by themselves.")
    begin_s, end_s = exposure_times_s(path, jump_speed_mm_s)
    chosen = np.arange(0, len(path), -(-len(path) // samples))
    rises = np.empty((len(chosen), 3))
    heat.residual_rises(
        np.ascontiguousarray(path.vectors_mm) / MM_PER_M,
        begin_s,
        end_s,
        path.power_w * model.absorptivity,
        chosen,
        model.diffusivity_m2_s,
        model.heat_j_m3_k,
        model.sigma_mm / MM_PER_M,
        float(model.memory_s),
        float(model.cut),
        rises,
    )
    return rises


def peak_rise_rank(path: ScanPath, model: HeatModel, jump_speed_mm_s: float) -> float:
    """The largest residual rise of a layer, K of the linear model: the lower, the better the order. No temperature."""
    rises = residual_rise_k(path, model, jump_speed_mm_s)
    return float(rises.max()) if len(rises) else 0.0


def _follows(path: ScanPath, by_head: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(n,) b1, head by head: the vector begins where the one before it ended, in the same head."""
    vectors, beam = path.vectors_mm[by_head], path.beam[by_head]
    follows = np.zeros(len(vectors), np.bool_)
    gap = vectors[1:, :2] - vectors[:-1, 2:]
    follows[1:] = (np.hypot(gap[:, 0], gap[:, 1]) <= sequencing.TOUCH) & (beam[1:] == beam[:-1])
    return follows


def _positive(**numbers: float) -> None:
    for name, value in numbers.items():
        if not (math.isfinite(value) and value > 0.0):
            raise ScanError(f"{name} is {value:g}; give a positive number.")
