"""A route, metre by metre: the twin of `control.print_run`.

Each cycle (`drive.command_hz`): what the wheels, the inertial unit and the tracker say -> where the rover is
(`localise`) -> what it may do (`guard`) -> how it should move (`tracking`) -> what each wheel must do (`kinematics`) ->
a command that is good for a fraction of a second. A cycle that cannot know enough commands nothing, and the last
command runs out by itself.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque

import numpy as np

from control.offload import offload
from control.operator import Intent, Operator
from control.outcome import Status
from control.rover.config import RoverConfig, geometry_of
from control.rover.drive.attitude import tip_margin_rad
from control.rover.drive.guard import Action, Command, Decision, Facts, GuardState, guard_step, limits_from
from control.rover.drive.inclination import Inclination
from control.rover.drive.kinematics import STOP, Pose2D, Twist2D, inverse
from control.rover.drive.localise import Localiser
from control.rover.drive.tracking import Tracker, TrackStep
from control.rover.drive_record import DriveRecord, DriveStep
from control.rover.eyes import Eyes
from control.rover.machine import Rover
from control.rover.outcome import DriveOutcome, DriveTotals
from control.rover.route.planner import RouteError
from control.rover.route.route_file import Haven, Route, Wait
from control.rover.surroundings import Surroundings
from control.rover.wheel_facts import board_temp_c, by_wheel, dead_wheels, incline, odometry
from control.telemetry import Telemetry
from control.watch import MachineTripped
from firmware_bridge.errors import BridgeError, DeviceError, LinkError, Rejected

START_S = 10.0  # the tracker must have told a place within this time
START_OFF_PATH_M = 2.0  # farther from the route than this, the rover is not where the route begins or passes
ARRIVED_M = 0.25  # by its own word a rover that is done is no farther from its goal
SURELY_M = 0.30  # two sigmas of its place lie within this of the goal, or nobody may call it reached
TOLD_WITHIN_S = 20.0  # so long it stands at the end of its way and waits to be told where that is
HOLD_S_MAX = 600.0  # a hold that nothing ends ends the drive
REFUSED_MAX = 20  # commands in a row that the wheels did not take


class NotThere(DeviceError):
    """The rover is not where the route is, or nobody can tell where it is."""


class DriveRun:
    """One drive along one route with one rover."""

    def __init__(
        self,
        route: Route,
        route_sha256: str,
        rover: Rover,
        operator: Operator,
        telemetry: Telemetry,
        surroundings: Surroundings | None = None,
        *,
        hold_s_max: float = HOLD_S_MAX,
    ) -> None:
        self.route = route
        self._hold_s_max = hold_s_max
        self._around = surroundings
        self._sha256 = route_sha256
        self.rover = rover
        self.config: RoverConfig = rover.config
        self.operator = operator
        self.telemetry = telemetry
        self.geometry = geometry_of(self.config)
        self._limits = limits_from(self.config.drive.guard)
        self._guard = GuardState()
        self._tilt = Inclination()
        self._eyes: Eyes | None = None
        self._place: Localiser | None = None
        self._track: Tracker | None = None
        self._decision: Decision | None = None
        self._record = DriveRecord(telemetry, 1.0 / self.config.drive.command_hz)
        self._back_outs = self._refused = self._detours = 0
        self._haven: tuple[Haven, str] | None = None
        self._waits = deque(route.waits)
        self._wait_until_s = -math.inf
        self._progress_m: float | None = None
        self._seq = 0
        self._released = 0
        self._backed_m = 0.0
        self._was_backing = False
        self._trouble_m: tuple[float, float] | None = None
        self._odometer_m = 0.0
        self._fixes = 0
        self._fix_seq: int | None = None
        self._paused = False
        self._lost_at_end_s = 0.0
        self._began_s = asyncio.get_running_loop().time()

    # -- the drive ------------------------------------------------------------------------------------------------

    async def run(self) -> DriveOutcome:
        """Drive to the end of the route, or to where something ended it. The rover is stopped on the way out."""
        self.operator.when_stopped(self.rover.stop)
        try:
            await self.rover.bring_up()
            await self.rover.guarded(self._find_start())
            self._open_eyes()
            self.rover.go()
            reason = await self.rover.guarded(self._cycles_until_done())
            status, code = (Status.DONE, 0) if reason is None else (Status.STOPPED, 4)
            reason = reason or "the goal is reached"
        except MachineTripped as tripped:
            status, reason, code = Status.STOPPED, str(tripped), 130 if tripped.stopped else 4
        except BridgeError as error:
            status, reason, code = Status.FAILED, str(error), 3
        failed = await self.rover.make_safe()
        if failed and status is Status.DONE:
            status, reason, code = Status.STOPPED, f"the goal is reached, but {', '.join(failed)} did not stop", 4
        return self._outcome(status, reason, code)

    async def _find_start(self) -> None:
        """Wait until the tracker tells place and heading; they must lie on the route, at its start or on the way."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + START_S
        while (fix := self.rover.devices.tracker.fix()) is None or fix.heading_rad is None:
            if loop.time() > until_s:
                raise NotThere(f"the tracker has told no place with a heading for {START_S:g} s: it sees no reflectors")
            await asyncio.sleep(0.1)
        pose = Pose2D(fix.x_m, fix.y_m, fix.heading_rad)
        off_m = float(np.hypot(*(self.route.waypoints_m - (pose.x_m, pose.y_m)).T).min())
        if off_m > START_OFF_PATH_M:
            raise NotThere(
                f"the rover is at {pose.x_m:.1f}, {pose.y_m:.1f} m, {off_m:.1f} m from the route that begins at"
                f" {self.route.start_m[0]:.1f}, {self.route.start_m[1]:.1f} m: plan a route from where it is"
            )
        self._place = Localiser(pose, fix.sigma_m)
        self._track = Tracker(self.route.waypoints_m, self.route.speed_m_s, self.geometry)
        self.telemetry.event("info", f"the rover stands {off_m:.2f} m beside the route")

    def _open_eyes(self) -> None:
        """Look for the route's tags, where there are tags and a camera."""
        camera, config = self.rover.devices.camera, self.config.devices.camera
        if camera is None or config is None or not self.route.tags:
            return
        self._eyes = Eyes(camera, config, self.route.tags, self._tilt, self.telemetry)
        self.rover.beside(self._eyes.look_on(), "eyes")

    async def _cycles_until_done(self) -> str | None:
        """Cycle until the goal is reached (None) or something ends the drive (why)."""
        loop = asyncio.get_running_loop()
        period_s = 1.0 / self.config.drive.command_hz
        due_s = loop.time()
        last_s = due_s - period_s
        while True:
            self._heed_operator()
            now_s = loop.time()
            dt_s = now_s - last_s
            step = self._know(now_s, dt_s)
            last_s, self._progress_m = now_s, step.progress_m
            assert self._place is not None
            if step.done and not self._place.is_astray and self._is_sure():
                await self.rover.halt()
                return (
                    self._arrived()
                    if self._haven is None
                    else f"in the haven {_said(self._haven[0])}: {self._haven[1]}"
                )
            decision = self._decide(now_s, step)
            if decision.action is Action.HAVEN and self._haven is None:
                if (why := await self._turn_to_haven(decision)) is not None:
                    return why
                continue  # the way has changed: what was worked out for the old one is void
            moves = decision.may_move and not self._waits_at(now_s, step)
            await (self._command(step.twist) if moves else self.rover.halt())
            self._record.note(now_s, self._step_kept(step, decision), decision)
            if self._passable_again(decision):
                await self._go_round(step)
            if (why := self._over(now_s, decision) or self._lost_at_end(dt_s, step, decision)) is not None:
                return why
            due_s = max(due_s + period_s, loop.time())
            await asyncio.sleep(due_s - loop.time())

    def _is_sure(self) -> bool:
        """Whether it is known well enough where the way ends: surely at the goal, or plainly beside it. A haven is
        called one anyhow.
        """
        assert self._place is not None
        two_sigmas_m = 2 * self._place.sigma_m
        return self._haven is not None or min(self._goal_m(), ARRIVED_M) + two_sigmas_m <= SURELY_M

    def _goal_m(self) -> float:
        """How far the goal is, by the rover's own word."""
        assert self._place is not None
        pose, (x_m, y_m) = self._place.pose, self.route.goal_m
        return math.hypot(pose.x_m - x_m, pose.y_m - y_m)

    def _arrived(self) -> str | None:
        """None at the goal; else why the end of the way is not the goal: the rover came past it, or beside it."""
        off_m = self._goal_m()
        if off_m <= ARRIVED_M:
            return None
        return f"the way ends {off_m:.2f} m from the goal (at most {ARRIVED_M:g} m): plan a route from here"

    def _lost_at_end(self, dt_s: float, step: TrackStep, decision: Decision) -> str | None:
        """Why the drive ends here, of a rover that stood at the end of its way, free to go, and was not told where that
        is; of all such times together, so that a place that flickers keeps it from nothing.
        """
        assert self._place is not None
        if step.done and not self._place.is_astray and decision.may_move and not self._paused:
            self._lost_at_end_s += dt_s
        if self._lost_at_end_s < TOLD_WITHIN_S:
            return None
        return (
            f"at the end of the way the goal is {self._goal_m():.2f} m away, give or take"
            f" {2 * self._place.sigma_m:.2f} m: not surely within {SURELY_M:g} m; look where the rover is"
        )

    def _heed_operator(self) -> None:
        while (intent := self.operator.take()) is not None:
            if intent is Intent.PAUSE:
                self._paused = True
            elif intent is Intent.RESUME:
                self._paused = False
                self._released += 1
            elif intent is Intent.CANCEL:
                self.operator.ask(Intent.STOP, "the operator gave the drive up")

    def _know(self, now_s: float, dt_s: float) -> TrackStep:
        """Bring pose, inclination and path error up to now."""
        assert self._place is not None and self._track is not None
        readings = self.rover.readings
        wheels, imu = readings["wheels"], readings["imu"]
        incline(self._tilt, imu)
        twist = odometry(self.geometry, wheels)
        if twist is not None and dt_s > 0:
            self._place.predict(twist, imu["gyro_z_rad_s"].value, dt_s)
            moved_m = math.hypot(twist.vx_m_s, twist.vy_m_s) * dt_s
            self._odometer_m += moved_m
            if twist.vx_m_s < 0:
                self._backed_m += moved_m
        fix = self.rover.devices.tracker.fix()
        if fix is not None and fix.seq != self._fix_seq:
            self._fix_seq = fix.seq
            self._fixes += self._place.fix(fix.x_m, fix.y_m, fix.heading_rad, fix.sigma_m, age_s=now_s - fix.heard_s)
        if self._eyes is not None:
            self._eyes.into(self._place, now_s)
        factor = 0.0 if self._decision is None else self._decision.speed_factor
        currents = by_wheel(wheels, "_current_a").values()
        mean_a = sum(currents) / len(currents) if currents else None
        return self._track.step(self._place.pose, twist or STOP, dt_s, speed_factor=factor, current_a=mean_a)

    def _decide(self, now_s: float, step: TrackStep) -> Decision:
        """Ask the guard, with everything that is known."""
        assert self._place is not None
        pose = self._place.pose
        readings = self.rover.readings
        wheels, power = readings["wheels"], readings["power"]
        bad = [trip.device for trip in self.rover.silences()]
        if self._place.astray_m is not None:
            bad.append(f"tracker, {self._place.astray_m:.1f} m from where wheels and gyro can have brought the rover")
        if self._place.astray_rad is not None:
            off_deg = math.degrees(self._place.astray_rad)
            bad.append(f"tracker, {off_deg:.0f} deg from where the gyro can have turned the rover")
        self._seq += 1
        facts = Facts(
            now_s=now_s,
            command=Command(self._seq, now_s + self.config.drive.valid_s, step.twist),
            roll_rad=self._tilt.roll_rad,
            pitch_rad=self._tilt.pitch_rad,
            tilt_rate_rad_s=self._tilt.rate_rad_s,
            tip_margin_rad=tip_margin_rad(
                self.geometry, self.config.body.height_of_mass_m, self._tilt.roll_rad, self._tilt.pitch_rad
            ),
            slip=step.slip,
            stuck=step.stuck,
            wheel_current_a=by_wheel(wheels, "_current_a"),
            motor_temp_c={},
            board_temp_c=board_temp_c(wheels),
            battery_temp_c=power["battery_temp_c"].value,
            charge=power["soc_fraction"].value,
            haven_charge=self._haven_charge(pose),
            fence_m=math.inf if self._around is None else self._around.fence_m(pose.x_m, pose.y_m),
            cross_track_m=step.cross_track_m,
            corridor_m=self.route.corridor_m,
            sigma_m=self._place.sigma_m,
            heading_sigma_rad=self._place.heading_sigma_rad,
            comms_silent_s=0.0,
            bad_readings=tuple(bad),
            dead_wheels=dead_wheels(wheels, self.geometry.names),
            hazard_ahead_m=math.inf if step.backing else self._hazard_m(step),
            hazard_behind_m=self._hazard_m(step) if step.backing else math.inf,
            operator_stop=self.operator.stop_reason is not None,
            operator_hold=self._paused,
            release_seq=self._released,
            backed_m=self._backed_m,
        )
        self._guard, decision = guard_step(self._guard, facts, self._limits)
        assert self._track is not None
        if decision.action is Action.BACK_OUT and not self._track.backing:
            self._back_outs += 1
            ahead_m = self._limits.hazard_stop_m
            self._trouble_m = (
                pose.x_m + ahead_m * math.cos(pose.heading_rad),
                pose.y_m + ahead_m * math.sin(pose.heading_rad),
            )
            self._track.back_out(self._limits.back_out_m)
        elif decision.action is not Action.BACK_OUT and decision.may_move and self._track.backing:
            self._track.resume()
        self._decision = decision
        return decision

    def _hazard_m(self, step: TrackStep) -> float:
        """How far blocked ground is in the direction that it drives."""
        assert self._track is not None
        if self._around is None:
            return math.inf
        lane = self._track.lane
        return self._around.hazard_ahead_m(lane, step.progress_m, step.cross_track_m, backwards=step.backing)

    def _haven_charge(self, pose: Pose2D) -> float:
        """What must be left for the way to a haven; on that way it is only what must never be spent."""
        if self._haven is not None:
            return 0.0
        reserve = self.config.energy.reserve_fraction
        return reserve if self._around is None else self._around.haven_charge(pose.x_m, pose.y_m)

    # -- other ways -----------------------------------------------------------------------------------------------

    async def _turn_to_haven(self, decision: Decision) -> str | None:
        """Leave the route for the nearest haven. Why the drive ends here instead, if there is none to go to."""
        assert self._place is not None
        await self.rover.halt()
        why = f"haven: {decision.sentence}"
        pose = self._place.pose
        haven = None if self._around is None else self._around.nearest_haven(pose.x_m, pose.y_m)
        if haven is None:
            return f"{why}; the route names no haven that can be reached"
        if not await self._take_way((haven.x_m, haven.y_m)):
            return f"{why}; no way leads to the haven {_said(haven)} from here"
        self._haven = haven, decision.sentence
        self._waits.clear()
        self.telemetry.event("warning", f"{why}; on the way to the haven {_said(haven)}")
        return None

    def _passable_again(self, decision: Decision) -> bool:
        """A back-out has just ended, and the same lane would lead back to where it began."""
        was, self._was_backing = self._was_backing, decision.action is Action.BACK_OUT
        return was and decision.may_move and not self._was_backing and self._around is not None

    async def _go_round(self, step: TrackStep) -> None:
        """Give up the place that the rover backed out of, and look for a way around it."""
        assert self._around is not None and self._trouble_m is not None
        self._around.give_up(*self._trouble_m)
        goal = self.route.goal_m if self._haven is None else (self._haven[0].x_m, self._haven[0].y_m)
        if await self._take_way(goal):
            self._detours += 1
            self.telemetry.event("warning", f"going round {self._trouble_m[0]:.1f}, {self._trouble_m[1]:.1f} m")

    async def _take_way(self, goal_m: tuple[float, float]) -> bool:
        """Plan from here to a goal and follow that; False, and everything as it was, if there is no way."""
        assert self._around is not None and self._place is not None
        around, pose = self._around, self._place.pose
        await self.rover.halt()
        try:
            way = await offload(lambda: around.way((pose.x_m, pose.y_m), goal_m))
        except RouteError as error:
            self.telemetry.event("warning", f"no other way: {error}")
            return False
        before, gone_m = self._track, self._progress_m or 0.0
        assert before is not None
        self._lost_at_end_s = 0.0
        track = self._track = Tracker(way.waypoints_m, way.speed_m_s, self.geometry)
        track.observer.slip, track.observer.drift = before.observer.slip, before.observer.drift
        # what was to be waited for is waited for at the same share of what is left
        scale = track.lane.length_m / max(before.lane.length_m - gone_m, 1e-3)
        self._waits = deque(Wait(max(0.0, scale * (wait.s_m - gone_m)), wait.for_s) for wait in self._waits)
        return True

    def _waits_at(self, now_s: float, step: TrackStep) -> bool:
        """Whether the route wants the rover to stand here for a while."""
        if self._waits and step.progress_m >= self._waits[0].s_m:
            wait = self._waits.popleft()
            self._wait_until_s = now_s + wait.for_s
            self.telemetry.event("info", f"waiting {wait.for_s:.0f} s at {step.progress_m:.1f} m")
        return now_s < self._wait_until_s

    async def _command(self, twist: Twist2D) -> None:
        try:
            await self.rover.command(*inverse(self.geometry, twist).by_name(self.geometry))
        except (LinkError, Rejected) as error:  # the line was busy or damaged: the last command runs out by itself
            self._refused += 1
            self.telemetry.event("warning", f"command not taken ({self._refused} in a row): {error}")
            if self._refused > REFUSED_MAX:
                raise
        else:
            self._refused = 0

    # -- what is kept -----------------------------------------------------------------------------------------------

    def _step_kept(self, step: TrackStep, decision: Decision) -> DriveStep:
        """The cycle as telemetry keeps it."""
        assert self._place is not None and self._track is not None
        power, pose = self.rover.readings["power"], self._place.pose
        return DriveStep(
            pose.x_m,
            pose.y_m,
            pose.heading_rad,
            self._place.sigma_m,
            self._tilt.roll_rad,
            self._tilt.pitch_rad,
            step.progress_m,
            self._track.lane.length_m,
            step.cross_track_m,
            step.slip,
            step.twist.vx_m_s,
            step.twist.omega_rad_s,
            power["soc_fraction"].value,
            power["battery_v"].value * power["battery_a"].value,
            decision.action.name,
            "" if decision.cause is None else decision.cause.value,
        )

    def _over(self, now_s: float, decision: Decision) -> str | None:
        """Why the drive ends here, if it does."""
        if self._back_outs > self.config.drive.back_outs_max:
            return f"backed out {self._back_outs} times: this way does not go; plan another ({decision.sentence})"
        if decision.action is Action.HIBERNATE:
            return f"hibernate: {decision.sentence}"
        if decision.action is Action.HOLD and not self._paused and self._record.held_for_s(now_s) > self._hold_s_max:
            return f"held for {self._hold_s_max:g} s and nothing ended it: {decision.sentence}"
        return None

    def _outcome(self, status: Status, reason: str, exit_code: int) -> DriveOutcome:
        now_s = asyncio.get_running_loop().time()
        self._record.end_hold(now_s)
        place = self._place
        return DriveOutcome(
            status=status,
            reason=reason,
            exit_code=exit_code,
            route_sha256=self._sha256,
            route_length_m=self.route.length_m,
            progress_m=0.0 if self._progress_m is None else self._progress_m,
            position_m=None if place is None else (place.pose.x_m, place.pose.y_m),
            heading_rad=None if place is None else place.pose.heading_rad,
            sigma_m=None if place is None else place.sigma_m,
            cross_track_rms_m=self._record.cross_track_rms_m,
            cross_track_max_m=self._record.cross_track_max_m,
            held=self._record.held,
            detours=self._detours,
            map_watched=self._around is not None,
            haven_m=None if self._haven is None else (self._haven[0].x_m, self._haven[0].y_m),
            totals=DriveTotals(
                commands=self.rover.commands,
                polls=self.rover.polls,
                fixes=self._fixes,
                sightings=0 if self._eyes is None else self._eyes.believed,
                duration_s=now_s - self._began_s,
                odometer_m=self._odometer_m,
                energy_wh=self._record.energy_wh,
            ),
        )


def _said(haven: Haven) -> str:
    return f"at {haven.x_m:.1f}, {haven.y_m:.1f} m"
