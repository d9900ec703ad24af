"""A rover's drive as a campaign's subject: a host drives a route over emulated ground, with an emulated rover.

The route travels packed with its map, so that a drive can be repeated elsewhere. The seed is the world's too: the soil
under the wheels and the noise of its sensors come from it.
"""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from control.host import DriveOutcome, drive_host, is_rover_file, rover_name
from hil_sim.harness.digest import RunDigest
from hil_sim.harness.drive_runner import DriveScenario, places_of, run_drive
from hil_sim.harness.scenario import DriveSettings, Scenario
from hil_sim.harness.small_route import (
    STORY_SPEED_M_S,
    STORY_STEPS,
    pack_route,
    packed_route,
    shortened,
    small_route,
    unpack_route,
)
from hil_sim.harness.subjects import (
    Run,
    SubjectError,
    counted_until,
    host_of,
    plain_of,
    scratch_folder,
    struck_by,
    until,
)
from hil_sim.harness.user_host import Kind, outliving_its_host
from hil_sim.world.faults import FaultSchedule
from hil_sim.world.plant.soil import draw_soil

SIM_S_MAX = 900.0
"""Of a campaign's drives; a clean one takes 20 s."""
HOLD_S = 20.0
"""How long a held rover of a campaign waits for its hold to end: a person who is there would not wait ten minutes."""


SOILS = 8
"""So many soils a campaign has, drawn once each: what wheels do on one takes a third of a second to work out."""


class DriveSubject(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="drive", tag_field="subject"):
    """A drive under a scenario: its faults come first, a campaign's behind them.

    job_path: the packed route. hold_s_max: how long a held rover waits for its hold to end; None: as long as a real
    one. host: of the user's, as `PrintSubject` has it; of those nobody knows how long they hold.
    """

    scenario: Scenario
    job_path: str
    hold_s_max: float | None = None
    host: str | None = None

    LEAVES: ClassVar[Kind] = DriveOutcome

    @property
    def name(self) -> str:
        """The scenario's."""
        return self.scenario.name

    @property
    def length(self) -> int:
        """Legs of the route."""
        return len(packed_route(Path(self.job_path)).waypoints) - 1

    @property
    def has_faults(self) -> bool:
        """Whether the scenario has any of its own."""
        return bool(self.scenario.faults)

    @property
    def own_seed(self) -> int:
        """The scenario's."""
        return self.scenario.seed

    def shorter(self, length: int) -> DriveSubject:
        """The same with the first `length` legs; its route is packed beside the whole one."""
        path = Path(self.job_path)
        short = shortened(path, length, path.with_name(f"{path.stem}-first-{length}.zip"))
        return msgspec.structs.replace(self, job_path=str(short))

    def points(self) -> list[str]:
        """Those of the scenario's rover."""
        return places_of(DriveScenario.of(self.scenario).twin())[0]

    def run(
        self,
        schedule: FaultSchedule,
        seed: int,
        *,
        heard: RunDigest | None = None,
        until_s: float | None = None,
        pace: float | None = None,
        folder: Path | None = None,
    ) -> Run:
        """See `Subject.run`; in the scenario's own mode, or paced if there is a pace."""
        heard = heard or RunDigest()
        mine = host_of(self)
        scenario = struck_by(self.scenario, schedule, seed)
        with contextlib.ExitStack() as stack:
            route = unpack_route(Path(self.job_path), stack.enter_context(scratch_folder()))
            stack.enter_context(outliving_its_host())
            result = run_drive(
                _on_a_soil(DriveScenario.of(scenario)),
                route,
                folder or stack.enter_context(scratch_folder()) / "run",
                host=until(self._host() if mine is None else mine.run, until_s),
                pace=pace,
                tie_shuffle=True,
                heard=heard,
            )
        return Run(
            result.verdict,
            result.judgement.reasons,
            result.digest,
            result.struck,
            result.ended_s,
            result.ended_s,
            result.timers,
            counted_until(result.ended_s, result.events, heard),
            0,
            result.log,
            expectations=tuple(result.expectations),
            late_s=result.late_s,
            held=tuple(
                (held.from_s, held.until_s)
                for held in (() if result.outcome is None else result.outcome.held)
                if held.action in ("HOLD", "BACK_OUT")
            ),
            shown=result.shown,
            has_outcome=result.outcome is not None,
        )

    def _host(self) -> Callable[..., Any]:
        return drive_host if self.hold_s_max is None else functools.partial(drive_host, hold_s_max=self.hold_s_max)

    def to_dict(self) -> dict[str, Any]:
        """See `Subject.to_dict`."""
        return plain_of(self)

    def job_bytes(self) -> bytes | None:
        """The packed route."""
        return Path(self.job_path).read_bytes()


def _on_a_soil(scenario: DriveScenario) -> DriveScenario:
    """A random soil is one of the campaign's."""
    if scenario.soil != "random":
        return scenario
    return replace(scenario, soil=draw_soil(random.Random(f"{scenario.seed % SOILS}:soil")))


def rover_subject(folder: Path, *, machine: str = "osr", route: Path | None = None) -> DriveSubject:
    """An emulated rover on the campaign's lane, or a route of the user's, on a soil of the seed.

    Raises:
        SubjectError: that machine is no rover, or the route's map is not at hand.
    """
    if not is_rover_file(machine):
        raise SubjectError(f"{machine} is a printer: `rover` takes a rover's machine file, as osr or polar")
    scenario = Scenario(
        schema_version=1,
        name=f"rover-{rover_name(machine)}",
        machine=machine,
        drive=DriveSettings(soil="random", details=False),
        sim_s_max=SIM_S_MAX,
    )
    return DriveSubject(scenario, str(small_route(folder) if route is None else packed(route, folder)), HOLD_S)


def driven_scenario(scenario: Scenario, route: Path | None, folder: Path) -> DriveSubject:
    """A rover's scenario on a route of the user's (None: a lane that takes a minute). SubjectError as above."""
    if route is not None:
        return DriveSubject(scenario, str(packed(route, folder)))
    return DriveSubject(scenario, str(small_route(folder, steps=STORY_STEPS, speed_m_s=STORY_SPEED_M_S)))


def packed(route: Path, folder: Path) -> Path:
    """A route of the user's with its map, in one file."""
    return pack_route(route, folder / "route.zip")
