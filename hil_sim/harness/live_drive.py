"""A drive that is led from outside, and what a test sees of the rover in the middle of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import numpy as np

from hil_sim.harness.drive_runner import DriveResult, DriveScenario, simulate_drive
from hil_sim.harness.live_run import LiveRunError, LiveSim
from hil_sim.world.build_rover import RoverTruth, RoverWorld
from hil_sim.world.plant.rover import HOUSING_C

T = TypeVar("T")


class LiveDrive(LiveSim[RoverWorld, DriveResult]):
    """A drive that is led from outside, in virtual or paced time."""

    async def _simulate(self, lay: Literal["virtual", "wire"]) -> DriveResult:
        if self.mode == "wire":
            raise LiveRunError("a rover's test runs in virtual or paced time: leave --hil-mode wire")
        scenario = DriveScenario.of(self._scenario)
        return await simulate_drive(
            self.loop,
            scenario,
            self._job_path,
            self._run_dir,
            self._gated,
            None,
            self._meet,
        )


class RoverView:
    """The rover as it truly is at this moment, and what can be done to it."""

    def __init__(self, run: Callable[[], LiveDrive]) -> None:
        self._run = run

    @property
    def place_m(self) -> tuple[float, float]:
        """Where it truly is in the map's frame."""
        x_m, y_m, *_ = self._pose()
        return x_m, y_m

    @property
    def heading_rad(self) -> float:
        """Where it looks, ccw from +x."""
        return self._pose()[5]

    @property
    def tilt_deg(self) -> float:
        """How far it leans from upright."""
        _, _, _, roll, pitch, _ = self._pose()
        return math.degrees(math.acos(max(-1.0, min(1.0, math.cos(roll) * math.cos(pitch)))))

    @property
    def wheel_speeds_rad_s(self) -> dict[str, float]:
        """How fast each wheel turns."""
        return self._look(
            lambda world, now_s: {n: world.plant.motor(n).speed_rad_s(now_s) for n in world.plant.wheel_names}
        )

    @property
    def is_moving(self) -> bool:
        """Whether any wheel turns."""
        return any(abs(speed) > 1e-6 for speed in self.wheel_speeds_rad_s.values())

    @property
    def charge(self) -> float:
        """Of its battery, 0 to 1."""

        def charge(world: RoverWorld, now_s: float) -> float:
            world.battery.settle(now_s)
            return world.battery.soc(now_s)

        return self._look(charge)

    def hold_wheel(self, name: str) -> None:
        """A stone wedges a wheel ("fl")."""
        self._look(lambda world, now_s: world.plant.hold(now_s, _motor(world, name)))

    def let_go_wheel(self, name: str) -> None:
        """The stone is gone."""
        self._look(lambda world, now_s: world.plant.let_go(now_s, _motor(world, name)))

    def cut(self, wire: str, back_after_s: float = -1.0) -> None:
        """Pull a plug ("wheels", "imu", "tracker", "power"); it is back after that time, negative: never."""
        self._look(lambda world, _now_s: world.wire(wire).hang_up(back_after_s))

    def _pose(self) -> tuple[float, ...]:
        return self._look(lambda world, now_s: tuple(world.plant.pose(now_s)))

    def _look(self, question: Callable[[RoverWorld, float], T]) -> T:
        return self._run().ask(question)


class DriveTruthView:
    """What truly happened on the drive so far; after its end too."""

    def __init__(self, run: Callable[[], LiveDrive]) -> None:
        self._run = run

    @property
    def record(self) -> RoverTruth:
        """The whole truth, once the run has ended. Raises LiveRunError before."""
        return self._run().ended().truth

    @property
    def driven_m(self) -> float:
        """How far the rover has come, along the way that it really took."""
        track = self._now().track
        return float(np.hypot(np.diff(track.x_m), np.diff(track.y_m)).sum())

    @property
    def tilt_deg_max(self) -> float:
        """The most that it leaned."""
        track = self._now().track
        upright = np.cos(track.roll_rad) * np.cos(track.pitch_rad)
        return math.degrees(math.acos(max(-1.0, float(upright.min(initial=1.0)))))

    @property
    def winding_c_max(self) -> float:
        """The most that the winding of a drive motor has had."""
        return float(self._now().track.winding_c.max(initial=HOUSING_C))

    @property
    def energy_wh(self) -> float:
        """What the battery has given."""
        return self._now().energy_wh

    @property
    def strikes(self) -> list[tuple[float, str, str]]:
        """Faults that struck: loop time, place, kind; of a window its first moment."""
        return self._run().strikes

    def _now(self) -> RoverTruth:
        if (result := self._run().result) is not None:
            return result.truth
        return self._run().ask(lambda world, _now_s: world.finish())


def _motor(world: RoverWorld, name: str) -> Any:
    if name not in world.plant.wheel_names:
        raise LiveRunError(f"{world.spec.name} has no wheel {name!r}; it has {', '.join(world.plant.wheel_names)}")
    return world.plant.motor(name)
