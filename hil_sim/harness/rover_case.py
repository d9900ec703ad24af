"""A test's run on a rover: `hil_case` where the host drives a route instead of printing a job.

case = make_case(CaseSettings(run_dir=..., machine="osr"))
case.host.drive("route.json")
case.run(until=lambda: case.rover.is_moving)
case.rover.cut("wheels")
case.run(within="2 min")
assert case.verdict == "detected"
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from control.host import DriveOutcome, drive_host
from hil_sim.harness.drive_runner import DriveScenario, places_of
from hil_sim.harness.hil_case import CaseSettings, HilCase, HostView
from hil_sim.harness.live_devices import Device
from hil_sim.harness.live_drive import DriveTruthView, LiveDrive, RoverView
from hil_sim.harness.live_run import LiveRunError
from hil_sim.harness.scenario import DriveSettings, Scenario, load_scenario
from hil_sim.harness.small_route import ROUTE_NAME, small_route
from hil_sim.world.build_rover import is_rover


def make_case(settings: CaseSettings) -> HilCase:
    """The case that fits the machine. Raises as `HilCase`."""
    return RoverCase(settings) if drives(settings) else HilCase(settings)


def drives(settings: CaseSettings) -> bool:
    """Whether its machine is a rover. Raises ScenarioError."""
    if settings.machine is not None:
        return is_rover(settings.find(settings.machine))
    return settings.scenario is not None and load_scenario(settings.find(settings.scenario)).drive is not None


class RoverHost(HostView):
    """The host of a rover: told to drive, spoken to as an operator would."""

    def print(self, job: str | Path | None = None) -> None:
        """A rover does not print. Raises LiveRunError."""
        raise LiveRunError("a rover drives: call host.drive(ROUTE)")

    def drive(self, route: str | Path | None = None) -> None:
        """Drive a route (None: the mark's `job`, else a lane of two and a half metres), from the next `hil.run` on."""
        self._case.begin(route)

    async def ours(self, job: Path, machine_toml: Path, run_dir: Path) -> Any:
        """moonkiln's host, with this operator."""
        return await drive_host(job, machine_toml, run_dir, operator=self._operator, progress=self._progress)

    def _progress(self, progress: Any) -> None:
        doing = str(progress.action)  # a cycle of the drive, as telemetry keeps it
        if not self.said or self.said[-1] != doing:
            self.said.append(doing)


class RoverCase(HilCase):
    """One drive, led by a test. Its parts: `host`, `rover`, `faults`, `devices`, `clock`, `truth`, `trace`."""

    is_rover = True
    LIVE = LiveDrive
    LEAVES = DriveOutcome
    NOTHING_TO_DO = "nothing is being driven: call host.drive(ROUTE) before hil.run()"

    def __init__(self, settings: CaseSettings) -> None:
        super().__init__(settings)
        if self.is_command:
            raise LiveRunError("a rover's host is a callable: as a command it would need wires of its own")
        self._view = RoverView(lambda: self.live)

    @property
    def rover(self) -> RoverView:
        """The rover."""
        return self._view

    def _scenario(self, scenario: Scenario) -> Scenario:
        return scenario if scenario.drive is not None else msgspec.structs.replace(scenario, drive=DriveSettings())

    def _host_view(self) -> HostView:
        return RoverHost(self)

    def _truth_view(self) -> Any:
        return DriveTruthView(lambda: self.live)

    def _places(self) -> tuple[list[str], dict[str, Device]]:
        self.scenario = self._scenario(self.scenario)
        points, names = places_of(DriveScenario.of(msgspec.structs.replace(self.scenario, random=None)).twin())
        return points, {name: Device(name, lambda: self.live) for name in names}

    @property
    def _job_path(self) -> Path:
        """The route; where none was named, the campaign's lane beside the run's folder."""
        if self._job is None:
            folder = self.run_dir.with_name(f"{self.run_dir.name}-route")
            folder.mkdir(parents=True)
            small_route(folder)
            self._job = (folder / ROUTE_NAME).resolve()
        return self._job
