"""One seeded terrain, one rover sent across it: the host's planner, look ahead, tracker and guard, without the bus.

The map has cells of half a metre; the truth under the wheels has craters and rocks below that. Every other seed follows
a straight lane that nobody planned, so that the guard alone keeps it. The judge shares nothing with the host.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from control.rover.config import load_rover
from control.rover.drive.attitude import tip_margin_rad
from control.rover.drive.guard import Action, Command, Facts, GuardLimits, GuardState, guard_step
from control.rover.drive.kinematics import OSR_GEOMETRY, STOP, Pose2D, Twist2D, forward, integrate, inverse
from control.rover.drive.tracking import Tracker
from control.rover.ground.dem import Crs, Dem
from control.rover.ground.terrain import analyse
from control.rover.planning import plan_settings, size_of
from control.rover.route.costmap import CostMap, CostSettings, cost_map
from control.rover.route.planner import PlanSettings, RouteError, map_ref, route_over
from control.rover.route.route_file import Predicted, Route
from control.rover.surroundings import Surroundings
from hil_sim.harness.tip_oracle import stance
from hil_sim.world.plant.terrain import DetailSettings, Ground

CELL_M, SIDE_M, DT_S, SPEED_M_S = 0.5, 24.0, 0.2, 0.2
MASS_HEIGHT_M = 0.35  # a tall load: it tips at about 35 deg
LIMITS = GuardLimits()
SETTINGS = PlanSettings(
    costs=CostSettings(slope_soft_deg=12.0, slope_max_deg=20.0, step_max_m=0.1, clearance_m=0.55),
    energy=plan_settings(load_rover("osr")).energy,
    cruise_m_s=SPEED_M_S,
)
SIZE = size_of(load_rover("osr"))
WHEELS = np.array([(w.x_m, w.y_m) for w in OSR_GEOMETRY.wheels])
STEPS_MAX = 1200


@dataclass(frozen=True)
class Sent:
    """What became of a rover: arrived, refused, stopped, tipped or blocked; and the digest of its track."""

    outcome: str
    least_margin_m: float
    digest: str


def terrain(seed: int) -> tuple[Dem, Ground]:
    """The map and the truth: waves, hills, craters and scarps, some too steep, then details below the map's cells."""
    rng = np.random.default_rng(seed)
    at = np.arange(0.0, SIDE_M + CELL_M / 2, CELL_M)
    x, y = np.meshgrid(at, at)
    z = rng.uniform(0, 0.6) * np.sin(x / rng.uniform(2, 6) + rng.uniform(0, 6)) * np.cos(y / rng.uniform(2, 6))
    for _ in range(int(rng.integers(2, 7))):
        cx, cy = rng.uniform(2, SIDE_M - 2, 2)
        wide, high = rng.uniform(0.8, 2.5), rng.uniform(0.4, 2.2)
        far = np.hypot(x - cx, y - cy) / wide
        if rng.random() < 0.5:
            z += high * np.exp(-0.5 * far**2)
        else:
            z += 0.6 * high * (np.exp(-0.5 * ((far - 1.6) / 0.4) ** 2) - np.exp(-0.5 * far**2))
    if rng.random() < 0.4:
        angle, offset = rng.uniform(0, math.pi), rng.uniform(-6, 6)
        across = (x - SIDE_M / 2) * math.cos(angle) + (y - SIDE_M / 2) * math.sin(angle) - offset
        z += rng.uniform(0.2, 1.5) / (1 + np.exp(-across / 0.15))
    heights = z.astype(np.float32)
    details = DetailSettings()
    return (
        Dem(heights, 0.0, 0.0, CELL_M, Crs("local"), f"terrain-{seed}", "0" * 64),
        Ground(heights, 0.0, 0.0, CELL_M, seed=seed, details=details),
    )


def judged_blocked(dem: Dem) -> np.ndarray:
    """The judge's own blocked cells: central differences over 20 deg."""
    up, right = np.gradient(dem.heights_m.astype(np.float64), dem.cell_m)
    return np.degrees(np.arctan(np.hypot(up, right))) > SETTINGS.costs.slope_max_deg


def send(seed: int, *, guarded: bool) -> Sent:
    """Send a rover across a seed's terrain. Unguarded, it follows the straight lane whatever is there."""
    dem, ground = terrain(seed)
    rng = np.random.default_rng(1_000_000 + seed)
    costs = cost_map(analyse(dem), SETTINGS.costs)
    for _ in range(12):  # until a start and a goal have a way between them
        left = rng.random() < 0.5
        near, far = (3.0, 7.0), (SIDE_M - 7.0, SIDE_M - 3.0)
        start, goal = _open_place(costs, rng, near, left), _open_place(costs, rng, far, not left)
        if start is None or goal is None:
            continue
        try:
            route = _route(costs, dem, start, goal, planned=guarded and seed % 2 == 0)
        except RouteError:
            continue
        return _drive(seed, dem, ground, costs, route, guarded)
    return Sent("refused", math.inf, "")


def _open_place(costs: CostMap, rng: np.random.Generator, rows: tuple[float, float], left: bool) -> np.ndarray | None:
    """A place in a corner of the map that can be driven on; None if forty draws find none."""
    columns = (3.0, 7.0) if left else (SIDE_M - 7.0, SIDE_M - 3.0)
    for _ in range(40):
        place = np.array([rng.uniform(*columns), rng.uniform(*rows)])
        i, j = np.rint(place[::-1] / CELL_M).astype(int)
        if np.isfinite(costs.cost[i, j]):
            return place
    return None


def _route(costs: CostMap, dem: Dem, start: np.ndarray, goal: np.ndarray, *, planned: bool) -> Route:
    place = map_ref(dem, "terrain.npz")
    if planned:
        return route_over(costs, tuple(start), tuple(goal), SETTINGS, place)
    count = int(np.hypot(*(goal - start)) / 0.5) + 1
    points = [(float(x), float(y)) for x, y in np.linspace(start, goal, count + 1)]
    return Route(
        name="straight",
        map=place,
        start_m=points[0],
        goal_m=points[-1],
        waypoints=points,
        speeds_m_s=[SPEED_M_S] * len(points),
        corridor_m=1.0,
        predicted=Predicted(1.0, 1.0, 1.0),
    )


def _drive(seed: int, dem: Dem, ground: Ground, costs: CostMap, route: Route, guarded: bool) -> Sent:
    rng = np.random.default_rng(2_000_000 + seed)
    around = Surroundings(route, costs, SETTINGS, SIZE)
    blocked = judged_blocked(dem)
    tracker = Tracker(route.waypoints_m, route.speed_m_s, OSR_GEOMETRY)
    points = route.waypoints_m
    heading = math.atan2(*(points[1] - points[0])[::-1])
    pose, driven, state = Pose2D(points[0, 0], points[0, 1], heading), STOP, GuardState()
    slip = rng.uniform(0.05, 0.5)
    factor, backed, before, least = 0.0, 0.0, None, math.inf
    track = []
    outcome, entered = "stopped", False
    for k in range(STEPS_MAX):
        stood = stance(ground, WHEELS, MASS_HEIGHT_M, pose.x_m, pose.y_m, pose.heading_rad)
        least = min(least, stood.margin_m)
        track += (pose.x_m, pose.y_m)
        if stood.tips:
            outcome = "tipped"
            break
        entered = entered or _touches(blocked, pose)
        if entered and guarded:
            break
        noise = rng.normal(0, 0.01, 4)
        told = Pose2D(pose.x_m + noise[0], pose.y_m + noise[1], pose.heading_rad + 0.3 * noise[2])
        step = tracker.step(told, driven, DT_S, speed_factor=factor if guarded else 1.0)
        if step.done:
            outcome = "arrived"
            break
        twist = step.twist
        if guarded:
            roll, pitch = stood.roll_rad + 0.5 * noise[3], stood.pitch_rad + 0.5 * noise[2]
            tilt = math.hypot(roll, pitch)
            rate = 0.0 if before is None else (tilt - before) / DT_S / 5
            before = tilt
            facts = _facts(k, step, roll, pitch, rate, around, tracker, pose, backed)
            state, decision = guard_step(state, facts, LIMITS)
            factor = decision.speed_factor
            if decision.action is Action.BACK_OUT and not tracker.backing:
                tracker.back_out(LIMITS.back_out_m)
                twist = STOP
            elif tracker.backing and decision.action is not Action.BACK_OUT:
                break  # backed out: here another way would be planned
            if decision.action is Action.HOLD and k > 5 and decision.cause is not None:
                break
            twist = twist if decision.may_move else STOP
        wheels = inverse(OSR_GEOMETRY, twist)
        target = forward(OSR_GEOMETRY, wheels.speed_rad_s, wheels.steer_rad).twist
        driven = Twist2D(
            driven.vx_m_s + 0.6 * (target.vx_m_s - driven.vx_m_s),
            0.0,
            driven.omega_rad_s + 0.6 * (target.omega_rad_s - driven.omega_rad_s),
        )
        downhill = 0.02 * math.sin(stood.roll_rad)  # it drifts down the slope that it crosses
        moved = Twist2D(
            driven.vx_m_s * (1 - slip), -abs(driven.vx_m_s) * downhill / 0.1, driven.omega_rad_s * (1 - slip / 2)
        )
        pose = integrate(pose, moved, DT_S)
        backed += max(0.0, -driven.vx_m_s) * DT_S
    if entered and outcome != "tipped":
        outcome = "blocked"
    digest = hashlib.sha256(np.array(track).tobytes()).hexdigest()[:12]
    return Sent(outcome, least, digest)


def _touches(blocked: np.ndarray, pose: Pose2D) -> bool:
    """Whether the rover's middle or a wheel is in a blocked cell."""
    c, s = math.cos(pose.heading_rad), math.sin(pose.heading_rad)
    x = np.append(pose.x_m + c * WHEELS[:, 0] - s * WHEELS[:, 1], pose.x_m)
    y = np.append(pose.y_m + s * WHEELS[:, 0] + c * WHEELS[:, 1], pose.y_m)
    i, j = np.rint(y / CELL_M).astype(int), np.rint(x / CELL_M).astype(int)
    last = blocked.shape[0] - 1
    return bool(blocked[np.clip(i, 0, last), np.clip(j, 0, last)].any())


def _facts(k, step, roll, pitch, rate, around, tracker, pose, backed) -> Facts:  # type: ignore[no-untyped-def]
    hazard_m = around.hazard_ahead_m(tracker.lane, step.progress_m, step.cross_track_m, backwards=tracker.backing)
    return Facts(
        now_s=k * DT_S,
        command=Command(k, k * DT_S + 0.5, step.twist),
        roll_rad=roll,
        pitch_rad=pitch,
        tilt_rate_rad_s=rate,
        tip_margin_rad=tip_margin_rad(OSR_GEOMETRY, MASS_HEIGHT_M, roll, pitch),
        slip=step.slip,
        stuck=step.stuck,
        wheel_current_a={},
        motor_temp_c={},
        board_temp_c={},
        battery_temp_c=10.0,
        charge=0.9,
        haven_charge=0.1,
        fence_m=around.fence_m(pose.x_m, pose.y_m),
        cross_track_m=step.cross_track_m,
        corridor_m=1.0,
        sigma_m=0.01,
        heading_sigma_rad=0.01,
        comms_silent_s=0.0,
        bad_readings=(),
        dead_wheels=(),
        hazard_ahead_m=math.inf if tracker.backing else hazard_m,
        hazard_behind_m=hazard_m if tracker.backing else math.inf,
        operator_stop=False,
        operator_hold=False,
        release_seq=0,
        backed_m=backed,
    )
