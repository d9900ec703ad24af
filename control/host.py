"""One whole host in one call, on any loop: `await print_host(job, machine_toml, run_dir) -> Outcome`.

This is the contract between a host and whoever runs one: the command line on a bench, the simulator in virtual time, a
laboratory's own test. The run folder holds everything afterwards, and `outcome.json` is written last.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from control.assembly import open_machine, open_rover
from control.clock import run_start_ns
from control.config import MachineConfig, envelope_from, load_envelope, load_machine
from control.errors import MoonkilnError
from control.files import (
    Files,
    copy_atomically,
    give_room,
    sole_use,
    take_away,
    take_room,
    working_with,
    write_atomically,
)
from control.inspection import Inspector
from control.journal import Journal
from control.journal_file import JournalFile
from control.journal_outcome import outcome_of_journal, outcome_of_nothing
from control.log_file import WAITING_BYTES_MAX, too_slow
from control.machine import Machine
from control.machine_file import machine_path, machine_text_with_urls, read_document
from control.offload import offload
from control.operator import Operator
from control.outcome import NAME as OUTCOME_NAME
from control.outcome import Outcome, Status, read_outcome
from control.print_run import PrintRun
from control.rover.config import RoverConfig, load_rover
from control.rover.drive_record import not_driven
from control.rover.drive_run import HOLD_S_MAX, DriveRun
from control.rover.ground.dem import Crs, Dem, DemError, write_npz
from control.rover.mission import Doing, Mission
from control.rover.outcome import DriveOutcome, read_drive_outcome
from control.rover.planning import PlanRequest, plan_request, plan_settings, route_along, size_of
from control.rover.route.route_file import Route, read_route, route_sha256
from control.rover.surroundings import Surroundings, extent_m, map_of, surroundings_of
from control.run_teller import Progress
from control.states import RunState
from control.stream_host import StreamEnd, stream_host
from control.telemetry import Telemetry
from firmware_bridge.errors import BridgeError
from slicer.envelope import Envelope
from slicer.exporters.gcode import warm_up
from slicer.job import Job

JOB_NAME, MACHINE_NAME, JOURNAL_NAME, TELEMETRY_NAME = "part.kiln", "machine.toml", "run.sqlite", "telemetry.mcap"
ROUTE_NAME = "route.json"
GROUND_MARGIN_M = 60.0
NOT_REACHED = "the machine was not reached: what was on before may be on still"
NOT_SEEN = "that all is off was not seen: look at the machine"
NOT_METERED = "what the meter says of it was lost: look at the machine"

__all__ = [
    "WAITING_BYTES_MAX",
    "Doing",
    "DriveOutcome",
    "Files",
    "GroundMap",
    "JournalFile",
    "Mission",
    "Outcome",
    "PlanRequest",
    "Route",
    "RunState",
    "Status",
    "StreamEnd",
    "drive_host",
    "envelope_of",
    "ground_of",
    "machine_file",
    "machine_name",
    "plan_request",
    "print_host",
    "read_drive_outcome",
    "read_outcome",
    "read_route",
    "resume_host",
    "route_along",
    "rover_file",
    "stream_host",
    "too_slow",
    "working_with",
    "write_map",
]


def machine_name(machine: str | Path) -> str:
    """What a machine file calls its machine: its twin in a simulated world goes by the same name."""
    return load_machine(machine).name


def machine_file(machine: str | Path, urls: dict[str, str] | None = None) -> str:
    """The text of a machine file, with every wire at the place that `urls` names (all of them, or none for as it is).

    Raises:
        ConfigError: no such machine, not usable, or a URL for a wire that it does not have.
    """
    return _machine_of(machine, urls)[1]


def _machine_of(machine: str | Path, urls: dict[str, str] | None) -> tuple[MachineConfig, str]:
    """A machine file, read and checked, and its text; both with the wires at the places that `urls` names."""
    config = load_machine(machine).with_urls(urls or {})
    text = machine_path(machine).read_text(encoding="utf-8")
    return config, text if urls is None else machine_text_with_urls(text, config.urls)


async def print_host(
    job: str | Path,
    machine_toml: str | Path,
    run_dir: str | Path,
    *,
    urls: dict[str, str] | None = None,
    dry_run: bool = False,
    operator: Operator | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Print a job from its first layer. `run_dir` is made, or is empty of runs.

    Raises:
        MoonkilnError: the job or the machine file cannot be used, or the machine does not cover the job's envelope;
            nothing was opened then. What the world does during the run is told in the outcome instead.
    """
    run_dir = Path(run_dir)
    config, machine_text = _machine_of(machine_toml, urls)
    with Job.open(job) as opened:
        opened.verify()
        check_covers(config, opened)
        digest = hashlib.sha256(Path(job).read_bytes()).hexdigest()
    run_dir.mkdir(parents=True, exist_ok=True)
    with sole_use(run_dir):
        journal = Journal.create(
            run_dir / JOURNAL_NAME, {"job_sha256": digest, "start_ns": str(run_start_ns()), "dry_run": str(dry_run)}
        )
        try:
            write_atomically(run_dir / MACHINE_NAME, machine_text.encode())
            if Path(job).resolve() != (run_dir / JOB_NAME).resolve():
                copy_atomically(Path(job), run_dir / JOB_NAME)
            return await _host(config, journal, run_dir, operator or Operator(), dry_run, progress)
        finally:
            journal.close()


async def drive_host(
    route: str | Path,
    machine_toml: str | Path,
    run_dir: str | Path,
    *,
    urls: dict[str, str] | None = None,
    operator: Operator | None = None,
    progress: Callable[[Any], None] | None = None,
    hold_s_max: float = HOLD_S_MAX,
) -> DriveOutcome:
    """Drive a route with a rover. `run_dir` is made, or is empty of runs.

    hold_s_max: a hold that nothing ends ends the drive after that time.

    Raises:
        MoonkilnError: the route or the machine file cannot be used; nothing was opened then. What the world does during
            the drive is told in the outcome instead.
    """
    run_dir = Path(run_dir)
    machine_text = rover_file(machine_toml, urls)
    config = load_rover(machine_toml).with_urls(urls or {})
    planned = read_route(route)
    run_dir.mkdir(parents=True, exist_ok=True)
    with sole_use(run_dir):
        if (run_dir / OUTCOME_NAME).exists():
            raise MoonkilnError(f"{run_dir} holds a run already: give each drive a folder of its own", 2)
        write_atomically(run_dir / MACHINE_NAME, machine_text.encode())
        if Path(route).resolve() != (run_dir / ROUTE_NAME).resolve():
            copy_atomically(Path(route), run_dir / ROUTE_NAME)
        digest = route_sha256(run_dir / ROUTE_NAME)
        take_room(run_dir)
        with Telemetry.open(run_dir / TELEMETRY_NAME, run_start_ns(), progress, subject="rover") as telemetry:
            simulated = any(url.startswith("sim:") for url in config.urls.values())
            telemetry.about({"machine": config.name, "route": planned.name, "simulated": str(simulated)})
            try:
                around = await _surroundings(planned, config, Path(route).parent, telemetry)
                async with open_rover(config, telemetry, looks=bool(planned.tags)) as rover:
                    run = DriveRun(
                        planned, digest, rover, operator or Operator(), telemetry, around, hold_s_max=hold_s_max
                    )
                    outcome = await run.run()
            except (BridgeError, MoonkilnError) as error:
                outcome = not_driven(planned, digest, Status.FAILED, str(error), getattr(error, "exit_code", 3))
            except Exception as error:
                reason = f"a fault of moonkiln itself: {type(error).__name__}: {error}"
                telemetry.event("error", reason)
                give_room(run_dir)
                not_driven(planned, digest, Status.FAILED, reason, 1).write(run_dir)
                raise
            level = "info" if outcome.status is Status.DONE else "error"
            telemetry.event(level, f"drive {outcome.status.value}: {outcome.reason}")
        give_room(run_dir)
        outcome.write(run_dir)
        return outcome


async def _surroundings(route: Route, config: RoverConfig, beside: Path, telemetry: Telemetry) -> Surroundings | None:
    """What the map says around the route; None, and told, if it is not at hand."""
    try:
        return await offload(lambda: surroundings_of(route, plan_settings(config), size_of(config), beside))
    except MoonkilnError as error:
        telemetry.event("warning", f"hazards, fence and havens are not watched, the map is not at hand: {error}")
        return None


def ground_of(route: Route, beside: str | Path = ".") -> GroundMap:
    """The heights around a route, for whoever makes a world of them; nothing beyond 60 m of the way and its
    near havens.

    `beside`: the route's folder; a map that is not where the route says is looked for there.

    Raises:
        DemError: the map is gone, or is another one than the route was planned on, or has gaps along the way.
    """
    dem = map_of(route, beside)
    around = dem.crop(*extent_m(route, GROUND_MARGIN_M))
    if around.has_gaps:
        raise DemError(
            f"the map {dem.name} has gaps within {GROUND_MARGIN_M:g} m of the route: nobody knows that ground"
        )
    return GroundMap(around.heights_m, around.x_m, around.y_m, around.cell_m)


def write_map(heights_m: Any, cell_m: float, name: str, path: Path) -> None:
    """Write heights (rows, columns) of a local frame as a map that `rover plan` takes: cell (0, 0) is at 0, 0."""
    write_npz(Dem(heights_m, 0.0, 0.0, cell_m, Crs("local"), name), path)


class GroundMap(NamedTuple):
    """Heights (rows, columns) f4 in m; cell (i, j) has its centre at (x_m + j cell_m, y_m + i cell_m)."""

    heights_m: Any
    x_m: float
    y_m: float
    cell_m: float


def rover_name(machine: str | Path) -> str:
    """What a rover's machine file calls its rover: its twin in a simulated world goes by the same name."""
    return load_rover(machine).name


def is_rover_file(machine: str | Path) -> bool:
    """Whether a machine file is a rover's and not a printer's. Raises ConfigError where there is none to read."""
    return read_document(machine_path(machine)).get("kind") == "rover"


def rover_file(machine: str | Path, urls: dict[str, str] | None = None) -> str:
    """The text of a rover's machine file, with every wire at the place that `urls` names."""
    config = load_rover(machine)
    text = machine_path(machine).read_text(encoding="utf-8")
    return text if urls is None else machine_text_with_urls(text, config.with_urls(urls).urls)


async def resume_host(
    run_dir: str | Path,
    *,
    urls: dict[str, str] | None = None,
    operator: Operator | None = None,
    progress: Callable[[Progress], None] | None = None,
    world_lives: bool = False,
) -> Outcome:
    """Go on with an interrupted run, from what its journal and the machine together say.

    `world_lives`: the run was made in simulated time, and whoever calls this keeps its world running on this very loop.

    Raises:
        MoonkilnError: no run there, its files were changed, it is complete, or its world died with it (`sim:` URLs).
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise MoonkilnError(f"{run_dir} does not exist: it holds no run to resume", 2)
    with sole_use(run_dir):
        journal = Journal.open(run_dir / JOURNAL_NAME)
        try:
            for name in (MACHINE_NAME, JOB_NAME):
                if not (run_dir / name).is_file():
                    raise MoonkilnError(f"{run_dir / name} is missing: the run died before it began; print again", 2)
            if (run_dir / OUTCOME_NAME).is_file() and read_outcome(run_dir).status is Status.DONE:
                raise MoonkilnError(f"the run in {run_dir} is done: there is nothing to resume", 2)
            config = load_machine(run_dir / MACHINE_NAME).with_urls(urls or {})
            simulated = sorted(name for name, url in config.urls.items() if url.startswith("sim:"))
            if simulated and not world_lives:
                raise MoonkilnError(
                    f"the run in {run_dir} was made in simulated time ({', '.join(simulated)} are sim: wires) and its"
                    " world died with it: there is no machine left to resume on. Print it again.",
                    2,
                )
            job = run_dir / JOB_NAME
            if hashlib.sha256(job.read_bytes()).hexdigest() != journal.fact("job_sha256"):
                raise MoonkilnError(
                    f"{job} is not the job that this run was begun with: put the original back, then resume", 2
                )
            # The last session's word is no longer true, and if this one dies there must be none.
            take_away(run_dir / OUTCOME_NAME)
            return await _host(
                config, journal, run_dir, operator or Operator(), journal.fact("dry_run") == "True", progress
            )
        finally:
            journal.close()


def envelope_of(machine: str | Path) -> Envelope:
    """What a machine can reach and bear, as the planner takes it."""
    return load_envelope(machine)


def check_covers(config: MachineConfig, job: Job) -> None:
    """Refuse a job that was planned for more than this machine can do; every reason is named."""
    reasons = envelope_from(config).covers(job.envelope)
    if reasons:
        raise MoonkilnError(f"machine {config.name} cannot print {job.path}: {'; '.join(reasons)}", 1)


async def _host(
    config: MachineConfig,
    journal: Journal,
    run_dir: Path,
    operator: Operator,
    dry_run: bool,
    progress: Callable[[Progress], None] | None,
) -> Outcome:
    """Run, write the telemetry's end, close the journal, and only then leave the outcome."""
    warm_up()  # before a wire is opened: none may wait for a compiler
    take_room(run_dir)
    machine: Machine | None = None
    with (
        Job.open(run_dir / JOB_NAME) as job,
        Telemetry.open(run_dir / TELEMETRY_NAME, run_start_ns(), progress) as telemetry,
    ):
        telemetry.attach_run(config, job)
        try:
            async with open_machine(config, telemetry) as machine:
                run = PrintRun(job, machine, journal, Inspector(config), operator, telemetry, dry_run=dry_run)
                outcome = await run.run()
            outcome = outcome.owning_up(machine.not_safe or ())  # on the way out it was made safe once more
        except (BridgeError, MoonkilnError) as error:
            # A port that cannot be opened, a journal that takes no session or is gone at the end.
            code = getattr(error, "exit_code", 3)
            outcome = _failed(journal, str(error), code, dry_run).owning_up(*_left_behind(machine))
        except Exception as error:
            # A fault of our own. The machine was made safe on the way here; the folder says so, the caller hears of it.
            reason = f"a fault of moonkiln itself: {type(error).__name__}: {error}"
            telemetry.event("error", reason)
            give_room(run_dir)
            _failed(journal, reason, 1, dry_run).owning_up(*_left_behind(machine)).write(run_dir)
            raise
        telemetry.event(
            "info" if outcome.status is Status.DONE else "error", f"run {outcome.status.value}: {outcome.reason}"
        )
    if telemetry.failure is not None:
        with contextlib.suppress(MoonkilnError):  # it was said already; here it is for the report, if there is room
            await journal.event("warning", telemetry.failure)
    journal.close()
    give_room(run_dir)
    outcome.write(run_dir)
    return outcome


def _failed(journal: Journal, reason: str, exit_code: int, dry_run: bool) -> Outcome:
    """The outcome of a run that could not tell its own; one whose journal cannot be read claims nothing."""
    try:
        return outcome_of_journal(journal, Status.FAILED, reason, exit_code, dry_run)
    except MoonkilnError:
        return outcome_of_nothing(reason, exit_code, dry_run)


def _left_behind(machine: Machine | None) -> tuple[Sequence[str], str]:
    """What a run that lost its own word leaves on, or may, as `Outcome.owning_up` takes it."""
    if machine is None:
        return (), NOT_REACHED
    if machine.not_safe is None:
        return (), NOT_SEEN
    return machine.not_safe, NOT_METERED if machine.config.devices.meter.idle_w_max is not None else ""
