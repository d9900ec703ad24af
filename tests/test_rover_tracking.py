"""Does a rover stay on its lane on ground that slips and drifts, stop at its end, see that it is stuck, and back out?

The ground here is a model of its own: slip grows with the climb, drift with the roll (0.45 deg for each deg), both of a
seeded landscape; the localiser is a plain alpha-beta filter of positions with 5 cm of noise, ten times a second.
"""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from control.rover.drive.hazard import Hazards, hazard_ahead_m, inside_fence_m
from control.rover.drive.kinematics import (
    OSR_GEOMETRY,
    POLAR_GEOMETRY,
    STOP,
    KinematicsError,
    Pose2D,
    Twist2D,
    integrate,
    wrapped,
)
from control.rover.drive.lane import STEP_M, Lane, LaneError, speed_profile
from control.rover.drive.tracking import Tracker, TrackSettings

DT_S = 0.1


def sine_lane(length_m: float) -> np.ndarray:
    x = np.arange(0.0, length_m + 1e-9, 1.0)
    return np.column_stack((x, 3.0 * np.sin(math.tau * x / 40.0)))


def straight(length_m: float) -> np.ndarray:
    return np.column_stack((np.arange(0.0, length_m + 0.5), np.zeros(int(length_m) + 1)))


@dataclass
class Ground:
    """Slip and drift by place and heading; `slip_max` bounds the slip."""

    seed: int
    slip_max: float = 0.6

    def __post_init__(self):
        self.phase = np.random.default_rng(self.seed).uniform(0, math.tau, 4)

    def at(self, pose: Pose2D) -> tuple[float, float]:
        a, b, c, d = self.phase
        slope_deg = 20 * abs(math.sin(pose.x_m / 35 + a) * math.cos(pose.y_m / 17 + b))
        uphill = pose.x_m / 23 + c - pose.heading_rad
        climb, roll = slope_deg * math.cos(uphill), slope_deg * math.sin(uphill)
        slip = 0.08 + 0.032 * climb + 0.12 * math.sin(pose.x_m / 3 + d) * (climb > 0)
        return min(self.slip_max, max(0.0, slip)), math.radians(0.45 * roll)


class Level:
    """The same slip and drift everywhere."""

    def __init__(self, slip: float, crab_rad: float) -> None:
        self.slip, self.crab_rad = slip, crab_rad

    def at(self, pose):
        return self.slip, self.crab_rad


class World:
    """The truth: a tracker in closed loop with actuators that lag, ground that slips, and a localiser that is noisy."""

    def __init__(self, tracker: Tracker, ground, start: Pose2D, seed: int = 0, noise_m: float = 0.05) -> None:
        self.tracker, self.ground, self.pose = tracker, ground, start
        self.rng = np.random.default_rng(seed + 1000)
        self.noise_m, self.driven = noise_m, STOP
        self.seen, self.rate = np.array((start.x_m, start.y_m)), np.zeros(2)
        self.truth_index = 0
        self.cross, self.poses = [], []

    def step(self, **kw):
        alpha = 0.06 if self.noise_m else 1.0
        beta = alpha * alpha / (2 - alpha)
        fix = np.array((self.pose.x_m, self.pose.y_m)) + self.rng.normal(0, self.noise_m, 2)
        ahead = self.seen + self.rate * DT_S
        self.seen, self.rate = ahead + alpha * (fix - ahead), self.rate + beta * (fix - ahead) / DT_S
        heading = self.pose.heading_rad + (self.rng.normal(0, math.radians(0.3)) if self.noise_m else 0.0)
        told = Pose2D(float(self.seen[0]), float(self.seen[1]), wrapped(heading))
        step = self.tracker.step(told, self.driven, DT_S, **kw)
        d, t = self.driven, step.twist
        self.driven = Twist2D(
            d.vx_m_s + 0.4 * (t.vx_m_s - d.vx_m_s),
            d.vy_m_s + 0.4 * (t.vy_m_s - d.vy_m_s),
            d.omega_rad_s + 0.4 * (t.omega_rad_s - d.omega_rad_s),
        )
        slip, crab = self.ground.at(self.pose)
        keeps = 1 - slip
        vx = self.driven.vx_m_s * keeps
        vy = self.driven.vy_m_s * keeps + abs(vx) * math.tan(crab)  # downhill, whichever way it drives
        self.pose = integrate(self.pose, Twist2D(vx, vy, self.driven.omega_rad_s * keeps), DT_S)
        self.poses.append(self.pose)
        self.cross.append(self._cross())
        return step

    def _cross(self) -> float:
        lane = self.tracker.lane
        low = max(0, self.truth_index - 60)
        near = lane.points_m[low : self.truth_index + 60]
        k = low + int(((near[:, 0] - self.pose.x_m) ** 2 + (near[:, 1] - self.pose.y_m) ** 2).argmin())
        self.truth_index = k
        heading = lane.heading_rad[k]
        dx, dy = self.pose.x_m - lane.points_m[k, 0], self.pose.y_m - lane.points_m[k, 1]
        return math.cos(heading) * dy - math.sin(heading) * dx

    def drive(self, seconds: float, **kw):
        for _ in range(round(seconds / DT_S)):
            step = self.step(**kw)
            if step.done or step.backed_out:
                break
        return step


def on_lane(waypoints: np.ndarray, geometry=OSR_GEOMETRY, speed=0.1, ground=None, seed=0, noise_m=0.05, **kw) -> World:
    tracker = Tracker(waypoints, speed, geometry, TrackSettings(**kw))
    start = Pose2D(*waypoints[0], float(tracker.lane.heading_rad[0]))
    return World(tracker, ground or Level(0.0, 0.0), start, seed, noise_m)


# -- the goal ---------------------------------------------------------------------------------------------------------


def held_to_the_lane(world: World, step) -> None:
    cross = np.array(world.cross)
    assert step.done and not step.stuck
    assert math.sqrt(float((cross**2).mean())) <= 0.03
    assert np.abs(cross).max() <= 0.12


def test_five_hundred_metres():
    ground = Ground(1)
    world = on_lane(sine_lane(500.0), ground=ground, seed=1)
    held_to_the_lane(world, world.drive(12000))
    slips = [ground.at(pose)[0] for pose in world.poses]
    assert max(slips) >= 0.6 and min(slips) < 0.02  # the ground was what it is meant to be
    end = world.tracker.lane.points_m[-1]
    assert math.hypot(world.pose.x_m - end[0], world.pose.y_m - end[1]) < 0.15


@pytest.mark.parametrize(("geometry", "seed"), [(OSR_GEOMETRY, 2), (OSR_GEOMETRY, 3), (POLAR_GEOMETRY, 4)])
def test_other_grounds_and_rovers(geometry, seed):
    world = on_lane(sine_lane(100.0), geometry, ground=Ground(seed), seed=seed)
    held_to_the_lane(world, world.drive(4000))


def test_without_the_observer_the_same_ground_pushes_it_off(monkeypatch):
    """What the observer is for: Stanley alone keeps a steady error where the ground drifts."""
    ground = Level(0.2, math.radians(9.0))
    world = on_lane(straight(30.0), ground=ground, noise_m=0.0)
    world.drive(600)
    assert abs(np.mean(world.cross[-500:])) < 0.01
    monkeypatch.setattr("control.rover.drive.tracking.SlipObserver.step", lambda *_: None)
    blind = on_lane(straight(30.0), ground=ground, noise_m=0.0)
    blind.drive(600)
    assert abs(np.mean(blind.cross[-500:])) > 0.05


# -- what the observer believes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("slip", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("crab_deg", [-8.0, 0.0, 8.0])
def test_slip_and_drift_are_learnt(slip, crab_deg):
    world = on_lane(straight(30.0), ground=Level(slip, math.radians(crab_deg)), noise_m=0.0)
    step = world.drive(150)
    assert step.slip == pytest.approx(slip, abs=0.02)
    assert math.degrees(step.crab_rad) == pytest.approx(crab_deg, abs=0.6)
    speed = np.hypot(*np.diff([(p.x_m, p.y_m) for p in world.poses[-50:]], axis=0).T).mean() / DT_S
    assert speed == pytest.approx(min(0.1, 0.2435 * (1 - slip)), rel=0.06)  # slip is fed forward


def test_what_is_believed_is_bounded():
    """Poses that jump about do not make it believe in the impossible."""
    tracker = Tracker(straight(30.0), 0.1, OSR_GEOMETRY)
    rng = np.random.default_rng(5)
    for k in range(600):
        step = tracker.step(Pose2D(0.01 * k + rng.normal(0, 2), rng.normal(0, 2), 0.0), Twist2D(0.1), DT_S)
        s = tracker.settings
        assert abs(step.slip) <= s.slip_max and abs(tracker.observer.drift) <= s.drift_max
        assert abs(step.twist.vx_m_s) <= OSR_GEOMETRY.speed_max_m_s
        assert abs(step.twist.omega_rad_s) <= abs(step.twist.vx_m_s) * OSR_GEOMETRY.curvature_max_per_m + 1e-12


def test_standing_teaches_nothing():
    world = on_lane(straight(30.0), ground=Level(0.3, 0.0))
    world.drive(100)
    world.drive(20, speed_factor=0.0)
    before = world.tracker.observer.slip
    world.drive(300, speed_factor=0.0)
    assert world.tracker.observer.slip == pytest.approx(before, abs=0.02)
    assert not world.step().stuck


# -- starts and ends --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("geometry", [OSR_GEOMETRY, POLAR_GEOMETRY], ids=["osr", "polar"])
@pytest.mark.parametrize("left_m", [-0.8, 0.8])
@pytest.mark.parametrize("heading_deg", [-170.0, -60.0, 0.0, 90.0])
def test_it_finds_onto_the_lane_from_beside_it(geometry, left_m, heading_deg):
    tracker = Tracker(straight(12.0), 0.1, geometry)
    world = World(tracker, Level(0.1, 0.0), Pose2D(1.0, left_m, math.radians(heading_deg)), noise_m=0.0)
    step = world.drive(300)
    assert step.done
    assert abs(world.cross[-1]) < 0.02 and abs(step.heading_error_rad) < 0.1


def test_it_stops_at_the_end_and_stays():
    world = on_lane(straight(5.0), noise_m=0.0)
    step = world.drive(200)
    assert step.done and step.twist == STOP
    world.drive(1)
    assert 4.9 <= world.pose.x_m <= 5.05
    assert world.step().done


def test_speeds_grow_and_fall_no_faster_than_allowed():
    world = on_lane(straight(5.0), noise_m=0.0)
    speeds = []
    while not (step := world.step()).done:
        speeds.append(step.twist.vx_m_s)
    assert np.abs(np.diff([0.0, *speeds])).max() <= 0.05 * DT_S + 1e-9
    assert max(speeds) == pytest.approx(0.1, rel=0.03) and speeds[-1] <= 0.03


def test_the_guards_share_of_the_speed():
    speeds = []
    for factor in (1.0, 0.5):
        world = on_lane(straight(8.0), noise_m=0.0)
        speeds.append(world.drive(40, speed_factor=factor).twist.vx_m_s)
    assert speeds[1] == pytest.approx(speeds[0] / 2, rel=0.02)
    assert world.step(speed_factor=0.0).twist == STOP
    assert world.step().twist.vx_m_s <= 0.05 * DT_S + 1e-9  # from standing again
    with pytest.raises(KinematicsError, match=r"factor 1\.1"):
        world.step(speed_factor=1.1)


def test_a_run_that_is_taken_up_in_the_middle():
    lane = sine_lane(60.0)
    tracker = Tracker(lane, 0.1, OSR_GEOMETRY)
    step = tracker.step(Pose2D(30.0, 3.0 * math.sin(math.tau * 0.75), 0.0), STOP, DT_S)
    assert step.progress_m == pytest.approx(tracker.lane.waypoint_s_m[30], abs=0.1)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_none_are_refused(bad):
    tracker = Tracker(straight(5.0), 0.1, OSR_GEOMETRY)
    for pose, twist, dt in (
        (Pose2D(bad, 0, 0), STOP, 0.1),
        (Pose2D(0, 0, bad), STOP, 0.1),
        (Pose2D(0, 0, 0), Twist2D(0, 0, bad), 0.1),
        (Pose2D(0, 0, 0), STOP, bad),
        (Pose2D(0, 0, 0), STOP, -0.1),
    ):
        with pytest.raises(KinematicsError, match="no step can be made"):
            tracker.step(pose, twist, dt)
    with pytest.raises(KinematicsError, match="backs out by a finite length"):
        tracker.back_out(bad)
    with pytest.raises(ValueError, match="lateral_m"):
        TrackSettings(lateral_m=bad)


# -- stuck and backing out --------------------------------------------------------------------------------------------


class Pit(Level):
    """Good ground but for a place from which the wheels cannot get on forwards."""

    def __init__(self, x_m: float) -> None:
        super().__init__(0.1, 0.12)
        self.from_m, self.world = x_m, None

    def at(self, pose):
        deep = pose.x_m > self.from_m and self.world.driven.vx_m_s > 0
        return (0.99, 0.0) if deep else (self.slip, self.crab_rad)


def in_a_pit(**kw) -> World:
    pit = Pit(11.0)
    world = on_lane(sine_lane(20.0), ground=pit, **kw)
    pit.world = world
    return world


def until_stuck(world: World, seconds: float, **kw) -> float | None:
    for k in range(round(seconds / DT_S)):
        if world.step(**kw).stuck:
            return k * DT_S
    return None


def test_it_sees_that_it_is_stuck_and_backs_out_along_the_lane():
    world = in_a_pit(noise_m=0.03)
    assert until_stuck(world, 110.0) is None  # on the way there
    assert until_stuck(world, 60.0) is not None
    at_m = world.step().progress_m
    world.tracker.back_out(8.0)
    begun = len(world.cross)
    for _ in range(round(250 / DT_S)):
        step = world.step()
        assert step.twist.vx_m_s <= 0 and step.backing and not step.done
        if step.backed_out:
            break
    assert at_m - 8.8 < step.progress_m < at_m - 8.0 and not step.stuck
    assert max(map(abs, world.cross[begun:])) < 0.12  # along the curve by which it had come
    assert math.sqrt(np.mean(np.square(world.cross[begun + 400 :]))) < 0.03
    assert world.step().twist == STOP  # and there it stands
    world.tracker.resume()
    step = world.step()
    assert not step.backing and step.twist.vx_m_s > 0


@pytest.mark.parametrize("slip", [0.0, 0.3])
def test_the_wheels_have_rolled_back_at_least_as_far_as_was_asked(slip):
    """The guard waits for that by the odometry: short of it, both would wait for each other."""
    world = on_lane(sine_lane(20.0), ground=Level(slip, 0.0), noise_m=0.0)
    world.drive(60)
    at_m = world.step().progress_m
    world.tracker.back_out(1.0)
    rolled = 0.0
    for _ in range(500):
        step = world.step()
        rolled -= min(0.0, world.driven.vx_m_s) * DT_S
    assert step.backed_out and rolled > 1.0
    assert 1.0 < at_m - step.progress_m < 1.3


def test_it_does_not_back_out_far_behind_the_lane():
    world = on_lane(sine_lane(20.0), noise_m=0.0)
    world.drive(20)
    world.tracker.back_out(50.0)
    for _ in range(1500):
        step = world.step()
    assert step.backed_out and -0.55 < step.progress_m < -0.3


@pytest.mark.parametrize("geometry", [OSR_GEOMETRY, POLAR_GEOMETRY], ids=["osr", "polar"])
def test_on_a_curve_it_rolls_back_on_the_arc_by_which_it_came(geometry):
    angle = np.linspace(0, math.pi, 64)
    tracker = Tracker(np.column_stack((4 * np.sin(angle), 4 - 4 * np.cos(angle))), 0.1, geometry)  # left, radius 4
    pose = Pose2D(4.0, 4.0, math.pi / 2)
    for _ in range(50):
        ahead = tracker.step(pose, STOP, DT_S).twist
    tracker.back_out(2.0)
    for _ in range(50):
        back = tracker.step(pose, STOP, DT_S).twist
    assert ahead.omega_rad_s / ahead.vx_m_s == pytest.approx(1 / 4, rel=0.1)
    assert back.vx_m_s < 0 and back.omega_rad_s / back.vx_m_s == pytest.approx(1 / 4, rel=0.1)


def test_currents_make_it_sure_sooner_and_tell_wheels_that_stand():
    without = until_stuck(in_a_pit(noise_m=0.0), 200.0)
    with_current = until_stuck(in_a_pit(noise_m=0.0, stuck_current_a=2.0), 200.0, current_a=2.5)
    assert with_current < without - 2.0
    tracker = Tracker(straight(5.0), 0.1, OSR_GEOMETRY, TrackSettings(stuck_current_a=2.0))
    stalled = [tracker.step(Pose2D(1.0, 0.0, 0.0), STOP, DT_S, current_a=3.0).stuck for _ in range(200)]
    assert stalled[-1] and not any(stalled[:30])
    idle = Tracker(straight(5.0), 0.1, OSR_GEOMETRY, TrackSettings(stuck_current_a=2.0))
    assert not any(idle.step(Pose2D(1.0, 0.0, 0.0), STOP, DT_S, current_a=0.1).stuck for _ in range(400))


@pytest.mark.parametrize("slip", [0.0, 0.3, 0.6, 0.75])
def test_hard_going_is_not_stuck(slip):
    world = on_lane(straight(12.0), ground=Level(slip, 0.1))
    assert until_stuck(world, 80.0) is None


# -- lanes ------------------------------------------------------------------------------------------------------------


def test_a_lane_of_sparse_waypoints_is_the_curve_that_was_meant():
    angle = np.linspace(0, math.pi, 32)  # half a circle of radius 8, 0.8 m apart
    lane = Lane(np.column_stack((8 * np.cos(angle), 8 * np.sin(angle))))
    radius = np.hypot(*lane.points_m.T)
    assert np.abs(radius - 8).max() < 2e-3  # chords would be 1 cm inside
    assert lane.length_m == pytest.approx(8 * math.pi, rel=1e-3)
    assert lane.curvature_per_m[20:-20] == pytest.approx(1 / 8, rel=0.05)
    foot = lane.foot(Pose2D(0.0, 7.5, 0.0))
    assert foot.left_m == pytest.approx(0.5, abs=2e-3)  # inside is left
    assert foot.s_m == pytest.approx(4 * math.pi, abs=0.02)
    assert abs(wrapped(foot.heading_rad - math.pi)) < 0.02


def test_a_lane_that_crosses_itself_is_followed_in_its_order():
    t = np.linspace(0, math.tau, 90)
    eight = np.column_stack((10 * np.sin(t), 10 * np.sin(t) * np.cos(t)))
    lane = Lane(eight)
    past = [lane.foot(Pose2D(float(x), float(y), 0.0)).s_m for x, y in lane.points_m]
    assert np.diff(past).min() > -1e-6
    assert past[0] == pytest.approx(0.0, abs=STEP_M) and past[-1] == pytest.approx(lane.length_m, abs=STEP_M)


def test_beyond_the_ends_it_goes_on_straight():
    lane = Lane(straight(5.0))
    assert lane.foot(Pose2D(-0.7, 0.2, 0.0)).s_m == pytest.approx(-0.7)
    lane.restart()
    assert lane.foot(Pose2D(5.4, 0.2, 0.0)).s_m == pytest.approx(5.4)
    points, heading = lane.at(np.array([-1.0, 2.5, 6.0]))
    assert points[:, 0] == pytest.approx([-1.0, 2.5, 6.0]) and heading == pytest.approx([0, 0, 0])


@pytest.mark.parametrize(
    ("points", "text"),
    [
        ([[0.0, 0.0]], "nowhere to go"),
        ([[1.0, 1.0], [1.0, 1.0]], "nowhere to go"),
        ([], "pairs of finite"),
        ([[0.0, math.nan], [1.0, 1.0]], "pairs of finite"),
        ([[0.0, 0.0], [1e9, 0.0]], "longer than can be driven"),
    ],
)
def test_waypoints_that_are_no_lane(points, text):
    with pytest.raises(LaneError, match=text):
        Lane(np.array(points))


def test_speed_profile():
    lane = Lane(sine_lane(80.0))
    full = speed_profile(lane, 5.0, OSR_GEOMETRY)
    tight = np.abs(lane.curvature_per_m).argmax()
    assert full[tight] * (1 + abs(lane.curvature_per_m[tight]) * 0.2556) <= OSR_GEOMETRY.speed_max_m_s * 1.001
    assert full.max() <= OSR_GEOMETRY.speed_max_m_s and full[-1] == 0
    braking = np.diff(full**2) / (2 * np.diff(lane.s_m))
    assert braking.min() >= -0.05 - 1e-9
    steep = np.zeros(81)
    steep[40:45] = 25.0
    slow = speed_profile(lane, 0.1, OSR_GEOMETRY, slope_deg=steep)
    assert np.interp(lane.waypoint_s_m[42], lane.s_m, slow) == pytest.approx(0.05)
    assert np.interp(lane.waypoint_s_m[20], lane.s_m, slow) == pytest.approx(0.1)
    with pytest.raises(LaneError, match="81 waypoints"):
        speed_profile(lane, np.full(7, 0.1), OSR_GEOMETRY)
    with pytest.raises(LaneError, match="every speed"):
        speed_profile(lane, math.nan, OSR_GEOMETRY)


# -- looking ahead ----------------------------------------------------------------------------------------------------


CELL_M = 0.25


def field(*blocked: tuple[int, int]) -> Hazards:
    """Open cells, y from -10 to 9.75, x from 0 to 39.75, but for these."""
    grid = np.zeros((80, 160), dtype=np.bool_)
    for cell in blocked:
        grid[cell] = True
    return Hazards(grid, 0.0, -10.0, CELL_M)


LOOK = {"reach_m": 3.0, "front_m": 0.4, "half_width_m": 0.4}


def test_a_blocked_cell_ahead_is_seen_at_its_distance():
    hazards, cell = field((40, 40)), CELL_M  # centre x = 10, y = 0
    lane = Lane(straight(30.0))
    edge = 10.0 - cell / 2
    for at_m in (5.0, 6.0, 6.5, 8.0, 9.0):
        ahead = hazard_ahead_m(hazards, lane, at_m, 0.0, **LOOK)
        true = edge - at_m - 0.4
        assert ahead == math.inf if true > 3.2 else true - 1e-9 <= ahead <= true + cell / 2
    assert hazard_ahead_m(hazards, lane, 9.7, 0.0, **LOOK) == 0.0
    assert hazard_ahead_m(hazards, lane, 10.5, 0.0, **LOOK) == math.inf  # behind
    assert hazard_ahead_m(hazards, lane, 12.0, 0.0, backwards=True, **LOOK) == pytest.approx(
        12.0 - 10.0 - cell / 2 - 0.4, abs=cell / 2
    )


def test_the_whole_width_counts_and_no_more():
    hazards = field((42, 40))  # y from 0.375 to 0.625
    lane = Lane(straight(30.0))
    assert hazard_ahead_m(hazards, lane, 9.0, 0.0, **LOOK) < 1.0
    assert hazard_ahead_m(hazards, lane, 9.0, 0.0, **{**LOOK, "half_width_m": 0.3}) == math.inf
    assert hazard_ahead_m(hazards, lane, 9.5, 0.3, **{**LOOK, "half_width_m": 0.3}) < 0.5  # it stands beside its lane


def test_outside_the_map_and_nonsense_are_hazards():
    hazards = field()
    lane = Lane(straight(60.0))
    assert hazard_ahead_m(hazards, lane, 38.0, 0.0, **LOOK) < 1.6
    assert hazard_ahead_m(hazards, lane, math.nan, 0.0, **LOOK) == 0.0
    assert hazards.at(np.array([math.nan, 1.0]), np.array([0.0, 0.0])).tolist() == [True, False]


def test_no_blocked_cell_is_entered_before_it_is_told():
    """Seeded fields: walking the lane, the look ahead reaches the stopping distance before the front does the cell."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        blocked = rng.random((80, 160)) < 0.01
        blocked[36:45, :12] = False
        hazards = Hazards(blocked, 0.0, -10.0, 0.25)
        lane = Lane(np.column_stack((np.arange(2.0, 38.0), np.sin(np.arange(2.0, 38.0) / 4) * 2)))
        for at_m in np.arange(0.0, lane.length_m, 0.1):
            if hazard_ahead_m(hazards, lane, float(at_m), 0.0, **LOOK) <= 0.5:
                break
            (x, y), heading = lane.at(np.array([at_m]))[0][0], lane.at(np.array([at_m]))[1][0]
            for left in (-0.4, 0.0, 0.4):
                for ahead in (0.0, 0.4):
                    px = x + math.cos(heading) * ahead - math.sin(heading) * left
                    py = y + math.sin(heading) * ahead + math.cos(heading) * left
                    assert not hazards.at(np.array([px]), np.array([py]))[0], (seed, at_m)


def test_how_far_inside_a_fence():
    bent = np.array([[0, 0], [10, 0], [10, 10], [5, 4], [0, 10]], dtype=float)
    for fence in (bent, bent[::-1]):
        assert inside_fence_m(fence, 1.0, 5.0) == pytest.approx(1.0)
        assert inside_fence_m(fence, 5.0, 1.5) == pytest.approx(1.5)
        assert inside_fence_m(fence, 5.0, 9.0) < -2.0  # in the notch: outside
        assert inside_fence_m(fence, 12.0, 5.0) == pytest.approx(-2.0)
        assert inside_fence_m(fence, -3.0, -4.0) == pytest.approx(-5.0)
    assert math.isnan(inside_fence_m(bent, math.nan, 1.0))
    with pytest.raises(ValueError, match="three corners"):
        inside_fence_m(bent[:2], 0.0, 0.0)
