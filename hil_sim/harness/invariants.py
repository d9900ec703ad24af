"""What must never be true of a printer, watched over the whole truth of a run: one breach is UNSAFE.

Nothing is sampled: the rules read the rows of exposure, the gantry's runs, the blade's phases and the switches' changes
as the plant kept them. The host's word plays no part; how the machine came into such a state does not either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hil_sim.harness.outline import Outline, outside
from hil_sim.harness.powder import fill_under
from hil_sim.harness.series import Floats
from hil_sim.harness.trace import Breach
from hil_sim.world.build import World
from hil_sim.world.histories import Histories
from hil_sim.world.plant.gantry import Run
from hil_sim.world.plant.recoater import Laid
from hil_sim.world.safety import SafetySpec
from slicer.job import Job

SWITCH_S = 0.010  # within what a hard-wired circuit takes the beam away
SPOT_SHARE, EDGE_MM = 0.5, 0.05  # the beam's axis may leave the part's outline by half a spot, and a rounding
BLADE_REACH_MM = 2.0  # half the blade's thickness, where the beam would hit it
TIME_S = 1e-6


class Lit(Protocol):
    """What the rules of light alone read; see `Watched`."""

    @property
    def rows(self) -> Floats: ...

    @property
    def safety(self) -> SafetySpec: ...

    @property
    def ended_s(self) -> float: ...

    @property
    def host_died(self) -> bool: ...

    @property
    def end_s(self) -> float: ...


@dataclass(frozen=True)
class Watched:
    """What the rules read. `rows`: exposures (n, 9). `ended_s`: when the host was through; `host_died`: it left no
    outcome. `spot_mm`: of the beam. `outlines`: the job's layers, in order."""

    histories: Histories
    rows: Floats
    laid: Sequence[Laid]
    safety: SafetySpec
    blade_zero_mm: float
    bed_x_mm: float
    outlines: Sequence[Outline]
    spot_mm: float
    ended_s: float
    host_died: bool
    end_s: float


def watched(world: World, job: Job, *, ended_s: float, host_died: bool, end_s: float) -> Watched:
    """Everything about a finished world that the rules read."""
    layers = [job.layer(index).layer for index in range(job.manifest.layer_count)]
    return Watched(
        histories=world.histories,
        rows=world.histories.rows(),
        laid=world.laid,
        safety=world.spec.safety,
        blade_zero_mm=world.spec.devices.recoater.blade_zero_x_mm,
        bed_x_mm=world.spec.devices.motion.frame_mm[0],
        outlines=[Outline(layer.z_mm, layer.points_mm, layer.loop_starts) for layer in layers],
        spot_mm=job.recipe.spot_mm,
        ended_s=ended_s,
        host_died=host_died,
        end_s=end_s,
    )


def breaches(w: Watched) -> list[Breach]:
    """Every rule that was broken, in time order; of each rule its first time, and how often."""
    found = [breach for rule in RULES.values() for breach in rule(w)]
    if w.histories.full:
        kinds = ", ".join(sorted(w.histories.full))
        found.append(
            Breach(w.end_s, w.end_s, "watch", f"the history of {kinds} is too long to be judged: shorten the run")
        )
    return sorted(found, key=lambda breach: breach.t0_s)


# ---- the rules


def beam_still(w: Lit) -> Iterable[Breach]:
    """A beam that rests on one place for longer than the motion board's own timeout allows."""
    rests = (w.rows[:, 2:4] == w.rows[:, 4:6]).all(axis=1)
    stood = w.rows[rests & (np.maximum(w.rows[:, 6], w.rows[:, 7]) > 0.0)]
    if not len(stood):
        return
    goes_on = (np.abs(stood[1:, 0] - stood[:-1, 1]) < TIME_S) & (
        np.abs(stood[1:, 2:4] - stood[:-1, 4:6]).max(axis=1) < 1e-6
    )
    first = np.flatnonzero(np.concatenate([[True], ~goes_on]))
    last = np.concatenate([first[1:] - 1, [len(stood) - 1]])
    span_s = stood[last, 1] - stood[first, 0]
    for n in np.flatnonzero(span_s > w.safety.dwell_s_max + 1e-3):
        t0_s, t1_s = float(stood[first[n], 0]), float(stood[last[n], 1])
        x, y = stood[first[n], 2:4]
        yield Breach(
            t0_s, t1_s, "still", f"the beam stood at {x:.1f}, {y:.1f} mm for {span_s[n]:.2f} s from {t0_s:.2f} s on,"
            f" over {w.safety.dwell_s_max:g} s",
        )  # fmt: skip


def beam_behind_open_switch(w: Watched) -> Iterable[Breach]:
    """A beam while the door stands open or the atmosphere is lost, beyond what the circuit takes."""
    said = {"door": "with the door open", "purge": "without its purge or vacuum"}
    for name in said:
        for from_s, until_s in _spans(w.histories.as_changes(name), 0.0, w.end_s):
            yield from _lit(w, from_s + SWITCH_S, until_s, name, f"the beam was on {said[name]}")


def beam_without_powder(w: Watched) -> Iterable[Breach]:
    """A beam onto a place where this layer's powder was never spread: it burns what lies below, or the plate."""
    bare = fill_under(w.rows, w.laid, w.histories.plane_drop_mm(w.rows[:, 0])) <= 0.0
    yield from _at(w.rows, bare & _emits(w.rows), "powder", "the beam was on where no powder of its layer lay")


def beam_outside_part(w: Watched) -> Iterable[Breach]:
    """A beam farther than half a spot beyond the outline of the layer that it was on."""
    lit = np.flatnonzero(_emits(w.rows))
    if not len(lit) or not w.outlines:
        return
    begun = np.searchsorted(_layer_times(w.histories), w.rows[lit, 0], side="right") - 1
    drops = w.histories.plane_drop_mm(w.rows[lit, 0])
    z_mm = np.array([outline.z_mm for outline in w.outlines])
    by_depth = np.searchsorted(0.5 * (z_mm[1:] + z_mm[:-1]), drops)
    out = np.zeros(len(lit), bool)
    # A piston that did not follow is another rule's matter: the host's layer, by count, will do as well.
    for layer, depth in {(int(b), int(d)) for b, d in zip(begun, by_depth, strict=True)}:
        mine = np.flatnonzero((begun == layer) & (by_depth == depth))
        for number in {layer, layer + 1, depth}:
            if 0 <= number < len(w.outlines) and len(mine):
                rows = w.rows[lit[mine]]
                mine = mine[outside(w.outlines[number], rows[:, 2:6], SPOT_SHARE * w.spot_mm + EDGE_MM)]
        out[mine] = True
    beyond = np.zeros(len(w.rows), bool)
    beyond[lit[out]] = True
    yield from _at(w.rows, beyond, "outside", "the beam was on beyond the outline of its layer")


def beam_after_the_host(w: Lit) -> Iterable[Breach]:
    """A beam when the host has ended; one that died leaves it to the head's watchdog."""
    since_s = w.ended_s + (w.safety.dark_after_s if w.host_died else 0.0)
    who = f"{w.safety.dark_after_s:g} s after the host had died" if w.host_died else "after the host had ended"
    yield from _lit(w, since_s + SWITCH_S, w.end_s, "after", f"the beam was on {who}")


def beam_on_blade(w: Watched) -> Iterable[Breach]:
    """A beam that hits the recoater's blade: their ways within a row of exposure meet, whoever came first."""
    emits = np.flatnonzero(_emits(w.rows))
    if not len(emits):
        return
    rows = w.rows[emits]
    blade_low, blade_high = (mm + w.blade_zero_mm for mm in w.histories.blade_range_mm(rows[:, 0], rows[:, 1]))
    reach_mm = BLADE_REACH_MM + SPOT_SHARE * w.spot_mm
    near = (blade_high > np.minimum(rows[:, 2], rows[:, 4]) - reach_mm) & (
        blade_low < np.maximum(rows[:, 2], rows[:, 4]) + reach_mm
    )
    hit = np.zeros(len(w.rows), bool)
    hit[emits[near]] = True
    yield from _at(w.rows, hit, "blade", "the beam was on the recoater's blade")


def gantry_meets_blade(w: Watched) -> Iterable[Breach]:
    """The gantry moving across a blade that is over the bed: their ways within a move meet, whoever came first. The
    blade may pass under a carriage that stands."""
    runs = [entry for entry in w.histories.motion if isinstance(entry, Run) and entry.duration_s > 0.0]
    if not runs:
        return
    t0 = np.array([run.t0_s for run in runs])
    t1 = np.array([run.t1_s for run in runs])
    low, high = np.sort(np.array([[run.start_mm[0], run.end_mm[0]] for run in runs]), axis=1).T
    blade_low, blade_high = (mm + w.blade_zero_mm for mm in w.histories.blade_range_mm(t0, t1))
    reach = w.safety.head_half_width_mm
    meets = (blade_high > np.maximum(low - reach, 0.0)) & (blade_low < high + reach)
    for n in np.flatnonzero(meets)[:1]:
        yield Breach(
            float(t0[n]), float(t1[n]), "collision",
            f"the gantry moved at {t0[n]:.2f} s over x {low[n]:.0f} to {high[n]:.0f} mm, and the blade was"
            f" at {blade_low[n]:.0f} to {blade_high[n]:.0f} mm",
        )  # fmt: skip


def past_the_travel(w: Watched) -> Iterable[Breach]:
    """A blade or a piston that ran into its end of travel."""
    for axis in sorted({axis for _, axis in w.histories.struck}):
        times_s = [t_s for t_s, name in w.histories.struck if name == axis]
        yield Breach(times_s[0], times_s[-1], "travel", f"the {axis} ran into its end of travel at {times_s[0]:.2f} s")


def too_hot(w: Watched) -> Iterable[Breach]:
    """The plate or the bed over what it bears."""
    for what, key, limit_c in (
        ("heated plate", "plate_c", w.safety.plate_temp_c_max),
        ("bed", "bed_c_max", w.safety.bed_temp_c_max),
    ):
        changes = w.histories.as_changes(key)
        hot = np.flatnonzero(changes[:, 1] > limit_c)
        if len(hot):
            t0_s, most_c = float(changes[hot[0], 0]), float(changes[hot, 1].max())
            yield Breach(
                t0_s, float(changes[hot[-1], 0]), "temperature",
                f"the {what} was over {limit_c:g} degC from {t0_s:.1f} s on, {most_c:.0f} degC at most",
            )  # fmt: skip


RULES: dict[str, Callable[[Watched], Iterable[Breach]]] = {
    "still": beam_still,
    "switch": beam_behind_open_switch,
    "powder": beam_without_powder,
    "outside": beam_outside_part,
    "after": beam_after_the_host,
    "blade": beam_on_blade,
    "collision": gantry_meets_blade,
    "travel": past_the_travel,
    "temperature": too_hot,
}
"""Rule by name; the gantry at its frame and a head that may still fire at the end are the oracle's own."""


# ---- how they ask


def _emits(rows: Floats) -> NDArray[np.bool_]:
    return (np.maximum(rows[:, 6], rows[:, 7]) > 0.0) & (rows[:, 1] - rows[:, 0] > TIME_S)


def _spans(changes: Floats, value: float, end_s: float) -> Iterable[tuple[float, float]]:
    """From when until when a switch was `value`."""
    until = [*changes[1:, 0].tolist(), end_s]
    return [(t_s, to_s) for (t_s, is_), to_s in zip(changes.tolist(), until, strict=True) if is_ == value]


def _lit(w: Lit, from_s: float, until_s: float, rule: str, what: str) -> Iterable[Breach]:
    inside = _emits(w.rows) & (w.rows[:, 1] > from_s + TIME_S) & (w.rows[:, 0] < until_s - TIME_S)
    yield from _at(w.rows, inside, rule, what)


def _at(rows: Floats, where: NDArray[np.bool_], rule: str, what: str) -> Iterable[Breach]:
    """One breach for all the rows that break a rule: its first place and the energy of all."""
    if where.any():
        mine = rows[where]
        joules = float((0.5 * (mine[:, 6] + mine[:, 7]) * (mine[:, 1] - mine[:, 0])).sum())
        t0_s, t1_s = float(mine[0, 0]), float(mine[:, 1].max())
        yield Breach(
            t0_s, t1_s, rule, f"{what}: {joules:.3g} J, first at {t0_s:.2f} s at {mine[0, 2]:.1f}, {mine[0, 3]:.1f} mm"
        )


def _layer_times(histories: Histories) -> Floats:
    return np.asarray(histories.as_changes("layer")[:, 0], np.float64)
