"""With look ahead, tracker and guard together: is a rover that is sent over too steep ground kept from it?

Seeded hills stand on a lane that was planned without them. The judge is apart from the guard: the plumb line of the
mass centre against the feet, on the plane under the rover, and the slope of the cell under each wheel.
"""

import math

import numpy as np
import pytest

from control.rover.drive.attitude import tip_margin_rad
from control.rover.drive.guard import Action, Cause, Command, Facts, GuardLimits, GuardState, guard_step
from control.rover.drive.hazard import Hazards, hazard_ahead_m
from control.rover.drive.kinematics import OSR_GEOMETRY, STOP, Pose2D, Twist2D, forward, integrate, inverse
from control.rover.drive.tracking import Tracker

MASS_HEIGHT_M = 0.35  # a tall load: it tips at about 35 deg
SLOPE_MAX_DEG = 20.0
CELL_M, SIZE_M, DT_S = 0.1, 16.0, 0.1
LIMITS = GuardLimits()


class Hills:
    """Steep round hills about the lane y = 8, from x = 5 on."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        at = np.arange(0.0, SIZE_M + CELL_M / 2, CELL_M)
        x, y = np.meshgrid(at, at)
        self.heights = np.zeros_like(x)
        for _ in range(5):
            middle = rng.uniform((5.0, 6.5), (14.0, 9.5))
            wide, high = rng.uniform(0.5, 1.2), rng.uniform(0.6, 1.6)
            self.heights += high * np.exp(-((x - middle[0]) ** 2 + (y - middle[1]) ** 2) / (2 * wide**2))
        self.gy, self.gx = np.gradient(self.heights, CELL_M)
        self.slope_deg = np.degrees(np.arctan(np.hypot(self.gx, self.gy))).astype(np.float32)

    def hazards(self) -> Hazards:
        return Hazards(self.slope_deg > SLOPE_MAX_DEG, 0.0, 0.0, CELL_M)

    def cell(self, x: float, y: float) -> tuple[int, int]:
        last = self.slope_deg.shape[0] - 1
        return min(last, max(0, round(y / CELL_M))), min(last, max(0, round(x / CELL_M)))

    def roll_pitch(self, pose: Pose2D) -> tuple[float, float]:
        i, j = self.cell(pose.x_m, pose.y_m)
        cosine, sine = math.cos(pose.heading_rad), math.sin(pose.heading_rad)
        along, across = self.gx[i, j] * cosine + self.gy[i, j] * sine, self.gy[i, j] * cosine - self.gx[i, j] * sine
        pitch = -math.atan(along)
        return math.atan(across * math.cos(pitch)), pitch

    def tips(self, pose: Pose2D) -> bool:
        """The plumb line leaves the feet: by the slope and the distance to each edge, in the plane of the ground."""
        i, j = self.cell(pose.x_m, pose.y_m)
        cosine, sine = math.cos(pose.heading_rad), math.sin(pose.heading_rad)
        gx, gy = self.gx[i, j], self.gy[i, j]
        along, across = gx * cosine + gy * sine, gy * cosine - gx * sine
        plumb = np.array((-along, -across)) * MASS_HEIGHT_M  # where it meets the ground's plane
        feet = np.array([(w.x_m, w.y_m) for w in OSR_GEOMETRY.wheels]) - plumb
        angles = np.sort(np.arctan2(feet[:, 1], feet[:, 0]))
        return bool(np.diff(np.concatenate((angles, angles[:1] + math.tau))).max() > math.pi)

    def steepest_under(self, pose: Pose2D) -> float:
        cosine, sine = math.cos(pose.heading_rad), math.sin(pose.heading_rad)
        return max(
            float(
                self.slope_deg[
                    self.cell(pose.x_m + cosine * w.x_m - sine * w.y_m, pose.y_m + sine * w.x_m + cosine * w.y_m)
                ]
            )
            for w in OSR_GEOMETRY.wheels
        )


def drive(hills: Hills, seed: int, *, looks: bool, guarded: bool) -> dict:
    """Send it along the lane; what happened."""
    rng = np.random.default_rng(seed)
    tracker = Tracker(np.column_stack((np.arange(1.0, 15.0), np.full(14, 8.0))), 0.15, OSR_GEOMETRY)
    pose, state, driven = Pose2D(1.0, 8.0, 0.0), GuardState(), STOP
    hazards, factor, backed, before, why, steepest = hills.hazards(), 0.0, 0.0, None, set(), 0.0
    for k in range(1600):
        told = Pose2D(pose.x_m + rng.normal(0, 0.01), pose.y_m + rng.normal(0, 0.01), pose.heading_rad)
        step = tracker.step(told, driven, DT_S, speed_factor=factor if guarded else 1.0)
        roll, pitch = hills.roll_pitch(pose)
        tilt = math.hypot(roll, pitch)
        facts = Facts(
            now_s=k * DT_S,
            command=Command(k, k * DT_S + 0.5, step.twist),
            roll_rad=roll,
            pitch_rad=pitch,
            tilt_rate_rad_s=0.0 if before is None else (tilt - before) / DT_S / 5,
            tip_margin_rad=tip_margin_rad(OSR_GEOMETRY, MASS_HEIGHT_M, roll, pitch),
            slip=step.slip,
            stuck=step.stuck,
            wheel_current_a={},
            motor_temp_c={},
            board_temp_c={},
            battery_temp_c=10.0,
            charge=0.9,
            haven_charge=0.1,
            fence_m=math.inf,
            cross_track_m=step.cross_track_m,
            corridor_m=1.0,
            sigma_m=0.01,
            heading_sigma_rad=0.01,
            comms_silent_s=0.0,
            bad_readings=(),
            dead_wheels=(),
            hazard_ahead_m=hazard_ahead_m(
                hazards,
                tracker.lane,
                step.progress_m,
                step.cross_track_m,
                reach_m=2.0,
                front_m=0.35,
                half_width_m=0.33,
            )
            if looks
            else math.inf,
            hazard_behind_m=math.inf,
            operator_stop=False,
            operator_hold=False,
            release_seq=0,
            backed_m=backed,
        )
        state, decision = guard_step(state, facts, LIMITS)
        before, factor = tilt, decision.speed_factor
        why |= set(decision.causes)
        twist = step.twist
        if guarded:
            twist = step.twist if decision.may_move else STOP
            if decision.action is Action.BACK_OUT and not tracker.backing:
                tracker.back_out(LIMITS.back_out_m)
                twist = STOP
            elif tracker.backing and decision.action is not Action.BACK_OUT:
                break  # backed out: here a new way is planned
            if decision.action is Action.HOLD and k > 5:
                break
        wheels = inverse(OSR_GEOMETRY, twist)
        target = forward(OSR_GEOMETRY, wheels.speed_rad_s, wheels.steer_rad).twist
        driven = Twist2D(
            driven.vx_m_s + 0.4 * (target.vx_m_s - driven.vx_m_s),
            0.0,
            driven.omega_rad_s + 0.4 * (target.omega_rad_s - driven.omega_rad_s),
        )
        pose = integrate(pose, driven.scaled(0.8), DT_S)
        backed += max(0.0, -driven.vx_m_s) * DT_S
        steepest = max(steepest, hills.steepest_under(pose))
        if hills.tips(pose):
            return {"tipped": True, "steepest": steepest, "why": why, "done": False}
        if step.done:
            break
    return {"tipped": False, "steepest": steepest, "why": why, "done": step.done}


@pytest.mark.parametrize("seed", range(5))
def test_it_is_kept_from_steep_cells(seed):
    hills = Hills(seed)
    kept = drive(hills, seed, looks=True, guarded=True)
    assert not kept["tipped"]
    assert kept["steepest"] <= SLOPE_MAX_DEG
    assert kept["done"] or Cause.HAZARD_AHEAD in kept["why"]


def test_without_the_look_ahead_the_tilt_still_turns_it_back():
    """The map may not know: then what the rover feels has to be enough."""
    turned = [drive(Hills(seed), seed, looks=False, guarded=True) for seed in range(3)]
    assert not any(run["tipped"] for run in turned)
    assert any(run["why"] & {Cause.STEEP, Cause.TIPPING} for run in turned)


def test_without_the_guard_the_same_hills_tip_it():
    """The test has teeth."""
    assert sum(drive(Hills(seed), seed, looks=False, guarded=False)["tipped"] for seed in range(5)) >= 3
