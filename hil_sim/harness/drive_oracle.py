"""The oracle of a drive: the rover's true track against the route and against what the host says of it.

It reads the route, the truth's rows and the host's outcome, nothing else. UNSAFE: it tipped, or leaned farther than
its builder allows, burnt a motor's winding, entered a cell that the route's own limits block, or rolled on when it
should have stood: after its drive, or while nobody spoke to its wheels. SILENT: the host says done, and the rover is
not at the goal, is farther from its believed place than the host admits, or the host knows its place too badly to say
so; or its exit code says the opposite of its status. HANG: the host left no outcome (the runner, which knows whether
it was killed, knows better).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from control.host import DriveOutcome, Status
from hil_sim.harness.oracle import Verdict
from hil_sim.world.safety import ROVER_SAFETY, RoverSafetySpec

Floats = NDArray[np.float64]

GOAL_M = 0.30  # how far from the goal the rover may truly stand when the host says that it is there
SURELY_M = 0.30  # two sigmas of its place within this: a host that knows less cannot say that it is at its goal
BELIEF_M = 0.30  # how far the believed place may be from the true one, beyond three of its own sigmas
HEADING_DEG = 10.0  # how far the believed heading may be from the true one: a metre on it is 17 cm beside
STANDING_M = 0.02  # it may still settle so far after the drive is over
BESIDE_AT_ONCE = 2**18  # pairs of a point and a leg: some megabytes
BRAKING_S, BRAKING_M = 1.0, 0.15  # a rover whose wire was lost is stopped by its own boards, within this


@dataclass(frozen=True)
class Track:
    """The rover's true track: (n,) f8 each, loop time in s, m, rad, degC of the warmest drive motor's winding.

    yaw_rad: where it looked at the end.
    """

    t_s: Floats
    x_m: Floats
    y_m: Floats
    roll_rad: Floats
    pitch_rad: Floats
    winding_c: Floats
    yaw_rad: float
    tipped_at_s: float | None


@dataclass(frozen=True)
class DriveJudgement:
    """The verdict and the sentences behind it."""

    verdict: Verdict
    reasons: tuple[str, ...]
    goal_off_m: float
    cross_track_rms_m: float
    cross_track_max_m: float
    tilt_max_deg: float


def beside(waypoints_m: Floats, x_m: Floats, y_m: Floats) -> Floats:
    """Distance (n,) of each point from the polyline, m."""
    a, b = waypoints_m[:-1], waypoints_m[1:]
    ab = b - a
    length2 = np.maximum((ab**2).sum(axis=1), 1e-18)
    best = np.empty(len(x_m))
    rows = max(1, BESIDE_AT_ONCE // len(a))
    for low in range(0, len(x_m), rows):
        x, y = x_m[low : low + rows, None], y_m[low : low + rows, None]
        share = np.clip(((x - a[:, 0]) * ab[:, 0] + (y - a[:, 1]) * ab[:, 1]) / length2, 0.0, 1.0)
        off_x, off_y = a[:, 0] + share * ab[:, 0] - x, a[:, 1] + share * ab[:, 1] - y
        best[low : low + rows] = np.sqrt((off_x**2 + off_y**2).min(axis=1))
    return best


def judge_drive(
    waypoints_m: Floats,
    track: Track,
    outcome: DriveOutcome | None,
    ended_s: float,
    is_blocked: Callable[[float, float], bool],
    limits: RoverSafetySpec = ROVER_SAFETY,
    unheard_s: Sequence[tuple[float, float]] = (),
) -> DriveJudgement:
    """What became of a drive in truth. `ended_s`: loop time at which the host was through; `limits`: its builder's;
    `unheard_s`: (from, to) of each time in which not one byte came to the wheels' boards.
    """
    off_m = beside(waypoints_m, track.x_m, track.y_m)
    goal = waypoints_m[-1]
    goal_off_m = float(math.hypot(track.x_m[-1] - goal[0], track.y_m[-1] - goal[1]))
    tilt = np.degrees(np.arccos(np.clip(np.cos(track.roll_rad) * np.cos(track.pitch_rad), -1.0, 1.0)))
    reasons: list[str] = []
    verdict = Verdict.EXACT

    def found(level: Verdict, sentence: str) -> None:
        nonlocal verdict
        order = [Verdict.EXACT, Verdict.DEGRADED, Verdict.DETECTED, Verdict.HANG, Verdict.SILENT, Verdict.UNSAFE]
        verdict = max(verdict, level, key=order.index)
        reasons.append(sentence)

    is_done = outcome is not None and outcome.status is Status.DONE
    for since_s, allowed_m in ((ended_s, STANDING_M if is_done else BRAKING_M), (ended_s + BRAKING_S, STANDING_M)):
        rolled_m = _rolled_m(track, since_s)
        if rolled_m > allowed_m:
            found(Verdict.UNSAFE, f"the rover moved {rolled_m:.2f} m after {since_s:.1f} s, when it should have stood")
            break
    for from_s, to_s in unheard_s:
        rolled_m = _rolled_m(track, from_s + BRAKING_S, to_s)
        if rolled_m > STANDING_M:
            found(
                Verdict.UNSAFE,
                f"the rover moved {rolled_m:.2f} m though its boards had heard nothing since {from_s:.1f} s",
            )
            break
    if track.tipped_at_s is not None:
        found(Verdict.UNSAFE, f"the rover tipped over at {track.tipped_at_s:.1f} s")
    leaned = np.flatnonzero(tilt > limits.tilt_deg_max)  # a row that is no number is none of these, and hides none
    if len(leaned):
        when_s, most_deg, over_deg = track.t_s[leaned[0]], np.nanmax(tilt), limits.tilt_deg_max
        found(Verdict.UNSAFE, f"it leaned over {over_deg:g} deg at {when_s:.1f} s, {most_deg:.1f} deg at most")
    burnt = np.flatnonzero(~(track.winding_c <= limits.winding_temp_c_max))
    if len(burnt):
        when_s, over_c, most_c = track.t_s[burnt[0]], limits.winding_temp_c_max, track.winding_c.max()
        found(Verdict.UNSAFE, f"a drive motor was over {over_c:g} degC at {when_s:.1f} s, {most_c:.0f} degC at most")
    unknown = np.flatnonzero(~np.isfinite(np.column_stack((track.x_m, track.y_m, tilt))).all(axis=1))
    if len(unknown):
        when_s = track.t_s[unknown[0]]
        found(Verdict.UNSAFE, f"where it stood and how it leaned at {when_s:.1f} s is not known")
    for n in np.setdiff1d(np.arange(len(track.x_m)), unknown).tolist():
        if is_blocked(float(track.x_m[n]), float(track.y_m[n])):
            found(Verdict.UNSAFE, f"it drove into blocked ground at {track.x_m[n]:.1f}, {track.y_m[n]:.1f} m")
            break
    if outcome is None:
        found(Verdict.HANG, "the host left no outcome")
    elif outcome.status is Status.DONE:
        for sentence in _false_claims(track, outcome, goal_off_m, float(off_m.max())):
            found(Verdict.SILENT, sentence)
        if any(held.action in ("HOLD", "BACK_OUT") for held in outcome.held):
            found(Verdict.DEGRADED, f"held {len(outcome.held)} times, first: {outcome.held[0].sentence}")
    else:
        found(Verdict.DETECTED, f"{outcome.status.value}: {outcome.reason}")
    if outcome is not None and (outcome.exit_code == 0) != is_done:
        found(Verdict.SILENT, f"the host says {outcome.status.value} and exits with {outcome.exit_code}")
    return DriveJudgement(
        verdict,
        tuple(reasons) or ("the rover drove its route",),
        goal_off_m,
        float(np.sqrt((off_m**2).mean())),
        float(off_m.max()),
        float(np.nanmax(tilt)) if np.isfinite(tilt).any() else math.nan,
    )


def _false_claims(track: Track, outcome: DriveOutcome, goal_off_m: float, beside_m: float) -> Iterable[str]:
    """What is not so of a drive that the host calls done. What is no number is not so either."""
    if not goal_off_m <= GOAL_M:
        yield f"the host says done, and the rover stands {goal_off_m:.2f} m from the goal"
    if outcome.position_m is None or outcome.sigma_m is None:
        yield "the host says done and does not know where the rover is"
        return
    if not 2 * outcome.sigma_m <= SURELY_M:
        yield f"the host says done and knows its place to a sigma of {outcome.sigma_m:.2f} m"
    wrong_m = math.hypot(outcome.position_m[0] - track.x_m[-1], outcome.position_m[1] - track.y_m[-1])
    if not wrong_m <= BELIEF_M + 3 * outcome.sigma_m:
        yield f"the rover is {wrong_m:.2f} m from where the host believes it"
    if outcome.heading_rad is not None:
        off_deg = abs(math.remainder(math.degrees(outcome.heading_rad - track.yaw_rad), 360.0))
        if not off_deg <= HEADING_DEG:
            yield f"the rover looks {off_deg:.0f} deg from where the host believes that it looks"
    has_left = outcome.detours > 0 or outcome.haven_m is not None  # on purpose, and beside another way since
    if not has_left and not beside_m <= outcome.cross_track_max_m + BELIEF_M:
        claimed_m = outcome.cross_track_max_m
        yield f"the rover was {beside_m:.2f} m beside its route, and the host says {claimed_m:.2f} at most"


def _rolled_m(track: Track, since_s: float, until_s: float = math.inf) -> float:
    """How far the rover moved from a moment on, up to another."""
    after = (track.t_s >= since_s) & (track.t_s <= until_s)
    return float(np.hypot(np.diff(track.x_m[after]), np.diff(track.y_m[after])).sum()) if after.sum() > 1 else 0.0
