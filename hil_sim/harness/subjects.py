"""What a campaign puts to the test: a subject runs a host against its world under a schedule, and is judged.

`PrintSubject` is a whole print on an emulated machine; `motion_subject.MotionSubject` a program of G-code lines to its
motion board alone; `drive_subject.DriveSubject` a rover's drive. Subjects are plain frozen data, so that a run can be
repeated in another process or another year.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import msgspec

from control.host import Outcome, Status, print_host
from hil_sim.harness.belief import left_work_s
from hil_sim.harness.digest import Chunk, Digest, RunDigest
from hil_sim.harness.expectations import Expectation
from hil_sim.harness.host_process import resume_here
from hil_sim.harness.job_truth import JobTruth, job_truth
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.runner import RunResult, run_scenario, twin_of
from hil_sim.harness.scenario import Mode, Scenario, time_of
from hil_sim.harness.trace import MCAP_NAME
from hil_sim.harness.user_host import (
    HostContractError,
    Kind,
    UserHost,
    check_program,
    no_word,
    outliving_its_host,
    user_host,
)
from hil_sim.virtual_run import run_virtual
from hil_sim.world.build import build_world
from hil_sim.world.faults import Fault, FaultSchedule
from slicer.job import Job, JobHead
from slicer.job_writing import write_job

MEMORY_DISK = Path("/dev/shm")


class SubjectError(ValueError):
    """A subject that cannot be put to the test."""


class Stopped(Exception):
    """A run was ended before its end, by whoever had asked for no more of it."""


@dataclass(frozen=True)
class Run:
    """A run under a schedule, judged.

    struck: (loop time, fault) in order; of a window its first moment. job_end_s: loop time up to which a fault could
    still matter: the last executed move of a job that came to its end, else the end of the run. events: how many events
    each point had up to then, of those that asked for faults. log: the delivered chunks, if they were to be kept; mcap:
    the truth as the run left it, read whole. expectations: how the scenario's own fared. job: what the run came to at
    the level of its job; None: it has none. late_s: by how much timers were late at most, in real time. held: (from,
    to) of each time in which the host let the machine wait for something to end, and then went on or gave up.
    noticed_s: of a print, loop time from which on its machine's state was FAULT or SAFE; None: not known, or the host
    has no such state. shown: faults of which it is certain already that the run would be another without them.
    has_outcome: whether the host left one; of a program's, which leaves none, it is not asked.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    digest: Digest
    struck: tuple[tuple[float, Fault], ...]
    sim_s: float
    job_end_s: float
    timers: int
    events: Mapping[str, int] = field(default_factory=dict)
    layers: int = 0
    log: tuple[Chunk, ...] = ()
    mcap: bytes | None = None
    expectations: tuple[Expectation, ...] = ()
    job: JobTruth | None = None
    late_s: float = 0.0
    held: tuple[tuple[float, float], ...] = ()
    noticed_s: float | None = None
    shown: frozenset[Fault] = frozenset()
    has_outcome: bool = True


class Subject(Protocol):
    """One thing that can be run under any schedule."""

    @property
    def name(self) -> str:
        """A word for reports."""

    @property
    def length(self) -> int:
        """Of its job: layers of a print, vectors of a program, legs of a route."""

    @property
    def own_seed(self) -> int:
        """Of a run for which nobody names one."""

    @property
    def has_faults(self) -> bool:
        """Whether something goes wrong in every run of it, whatever a seed draws."""

    def shorter(self, length: int) -> Subject:
        """The same with only the first `length` layers, vectors or legs."""

    def points(self) -> list[str]:
        """The places that faults can strike."""

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
        """Run it, timers of one instant in an order drawn from the seed.

        Args:
            heard: takes the chunks; one that keeps them makes the run keep its truth too.
            until_s: raise `Stopped` at that loop time instead of going on.
            folder: where the host's files stay; None: they are gone afterwards.

        Raises:
            Stopped: at `until_s`.
            Exception: whatever a host or a world raised: a fault of ours.
        """

    def to_dict(self) -> dict[str, Any]:
        """As plain data; `subject_of` takes it back."""

    def job_bytes(self) -> bytes | None:
        """The job file that the run needs, None where the plain data says all."""


class PrintSubject(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="print", tag_field="subject"):
    """A whole print of a job under a scenario: its faults come first, a campaign's behind them.

    host: of the user's, "package.module:name", or a command line, which lives in real time alone; None: moonkiln's.
    """

    scenario: Scenario
    job_path: str
    host: str | None = None

    LEAVES: ClassVar[Kind] = Outcome

    @property
    def name(self) -> str:
        """The scenario's."""
        return self.scenario.name

    @property
    def length(self) -> int:
        """Layers of the job."""
        with Job.open(self.job_path) as job:
            return job.manifest.layer_count

    @property
    def own_seed(self) -> int:
        """The scenario's."""
        return self.scenario.seed

    @property
    def has_faults(self) -> bool:
        """Whether the scenario has any of its own."""
        return bool(self.scenario.faults)

    def shorter(self, length: int) -> PrintSubject:
        """The same with the first `length` layers; its job is written beside the whole one."""
        path = Path(self.job_path)
        short = path.with_name(f"{path.stem}-first-{length}.kiln")
        with Job.open(path) as job:
            m = job.manifest
            head = JobHead(m.name, job.recipe, job.envelope, m.mesh_name, m.mesh_sha256, tuple(m.parts))
            write_job(short, head, (job.layer(index) for index in range(length)))
        return msgspec.structs.replace(self, job_path=str(short))

    def points(self) -> list[str]:
        """Those of the scenario's world."""

        async def ask(loop: Any) -> list[str]:
            world = await build_world(twin_of(self.scenario.machine, self.scenario.world))
            try:
                return world.points
            finally:
                world.close()

        return run_virtual(ask)

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
            run_dir = folder or stack.enter_context(scratch_folder()) / "run"
            stack.enter_context(outliving_its_host())
            result = run_scenario(
                scenario,
                Path(self.job_path),
                run_dir,
                host=until(print_host if mine is None else mine.run, until_s),
                pace=pace,
                resume=resume_here if mine is None else None,
                tie_shuffle=True,
                heard=heard,
            )
            refuse_wordless(mine, result, heard)
            is_stopped = result.verdict is Verdict.DETECTED
            noticed_s = left_work_s(run_dir, result.starts) if is_stopped else None
            mcap = (run_dir / MCAP_NAME).read_bytes() if heard.log is not None else None
        with Job.open(self.job_path) as job:
            came_to = job_truth(job, result)
        is_done = result.outcome is not None and result.outcome.status is Status.DONE
        blocks = result.record.blocks
        job_end_s = blocks[-1].t1_s if is_done and blocks else result.sim_s
        events = counted_until(job_end_s, result.events, heard)
        return Run(
            result.verdict,
            result.judgement.reasons,
            result.digest,
            result.struck,
            result.sim_s,
            job_end_s,
            result.timers,
            events,
            result.layers,
            result.log,
            mcap,
            tuple(result.expectations),
            came_to,
            result.late_s,
            noticed_s=noticed_s,
            shown=result.shown,
            has_outcome=result.outcome is not None,
        )

    def to_dict(self) -> dict[str, Any]:
        """See `Subject.to_dict`."""
        return plain_of(self)

    def job_bytes(self) -> bytes | None:
        """The job file whole."""
        return Path(self.job_path).read_bytes()


def struck_by(scenario: Scenario, schedule: FaultSchedule, seed: int) -> Scenario:
    """The scenario with a schedule's faults behind its own, and the seed."""
    faults = [*scenario.faults, *(fault.to_dict() for fault in schedule.faults)]
    return msgspec.structs.replace(scenario, faults=faults, seed=seed)


def counted_until(end_s: float, events: Mapping[str, int], heard: RunDigest) -> dict[str, int]:
    """How often something went by at each point; of a run that kept its chunks, those up to the job's end."""
    if heard.log is None:
        return dict(events)
    return {**events, **Counter(chunk.point for chunk in heard.log if chunk.t_s <= end_s)}


def lifted(subject: Subject, schedule: FaultSchedule) -> tuple[Subject, FaultSchedule]:
    """The same run with a scenario's own faults in the schedule, where they can be read and made fewer."""
    scenario = scenario_of(subject)
    if scenario is None:
        return subject, schedule
    return _with_scenario(subject, faults=[]), FaultSchedule((*scenario.schedule().faults, *schedule.faults))


def settled(subject: Subject) -> Subject:
    """The same without what its scenario would have drawn at random: the schedule that goes with it has that."""
    return subject if scenario_of(subject) is None else _with_scenario(subject, random=None)


def in_virtual_time(subject: Subject) -> Subject:
    """The same in virtual time, whatever its scenario says: what is repeated must come out the same."""
    return subject if scenario_of(subject) is None else _with_scenario(subject, mode="virtual", pace=None)


def in_time(subject: Subject, mode: Mode | None, pace: float | None) -> tuple[Subject, Mode, float | None]:
    """The subject in the mode that is asked for, else in its scenario's own; the mode, and the pace of a paced one.

    Raises:
        ScenarioError: these do not go together.
        SubjectError: a subject without a scenario has no wires to lay.
    """
    scenario = scenario_of(subject)
    if scenario is None and mode == "wire":
        raise SubjectError(f"{subject.name} has no wires outside virtual time: run a scenario with --mode wire")
    own, own_pace = ("virtual", None) if scenario is None else (scenario.mode, scenario.pace)
    mode, held_to = time_of(own, own_pace, mode, pace)
    return subject if scenario is None else _with_scenario(subject, mode=mode, pace=held_to), mode, held_to


def with_host(subject: Subject, host: str | None) -> Subject:
    """The same with a host of the user's; None: as it is.

    Raises:
        SubjectError: as `host_of`.
    """
    if host is None:
        return subject
    if scenario_of(subject) is None:
        raise SubjectError(f"{subject.name} streams a program by moonkiln's own host: leave --host")
    hosted: Any = msgspec.structs.replace(subject, host=host)  # type: ignore[type-var]
    host_of(hosted)
    return hosted


def plain_of(subject: Any) -> dict[str, Any]:
    """A subject as plain data; without the word for a host where it is moonkiln's, as runs were kept before there was
    another.
    """
    data: dict[str, Any] = msgspec.to_builtins(subject)
    if data["host"] is None:
        del data["host"]
    return data


def refuse_wordless(host: UserHost | None, result: RunResult, heard: RunDigest) -> None:
    """Raises HostContractError for a user's host that has ended by itself without an outcome, though nothing that
    struck kills it or its disk: one with a typo, or one that gives up without a word, must not pass for one that was
    stopped.
    """
    if host is None or result.verdict is not Verdict.DETECTED:  # what hung or harmed is told as that
        return
    kinds = (fault.kind for _, fault in result.struck)
    if sentence := no_word(result.outcome, kinds, host.ended, is_heard=heard.heard_host):
        raise HostContractError(f"the host {host.name} {sentence}")


def host_of(subject: Subject) -> UserHost | None:
    """The user's host that a subject runs; None: it runs moonkiln's.

    Raises:
        SubjectError: it cannot be had, or is a command that is no program, or in a time of which it would know nothing.
    """
    given = getattr(subject, "host", None)
    if given is None:
        return None
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does: our own command is not begun in the user's folder
    try:
        host = user_host(given, Path.cwd(), subject.LEAVES)  # type: ignore[attr-defined]
        scenario = scenario_of(subject)
        if host.is_command and scenario is not None and scenario.mode != "wire":
            raise SubjectError(
                f"the host {host.name!r} is a process of its own and lives in real time: "
                "`hil run --mode wire` runs it; a callable, package.module:name, runs in any time"
            )
        if host.is_command:
            check_program(host, Path.cwd())
    except HostContractError as error:
        raise SubjectError(str(error)) from error
    return host


def scenario_of(subject: Subject) -> Scenario | None:
    """What it runs, of a subject that runs a scenario."""
    scenario = getattr(subject, "scenario", None)
    return scenario if isinstance(scenario, Scenario) else None


def _with_scenario(subject: Any, **changes: Any) -> Subject:
    changed: Subject = msgspec.structs.replace(subject, scenario=msgspec.structs.replace(subject.scenario, **changes))
    return changed


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for a run that nobody wants to keep: in memory where the system has such a place."""
    where = str(MEMORY_DISK) if MEMORY_DISK.is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="moonkiln-", dir=where))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def until(host: Callable[..., Any], until_s: float | None) -> Callable[[Path, Path, Path], Any]:
    """A host whose run is ended with `Stopped` at that loop time; None: the host as it is."""
    if until_s is None:
        return host

    async def watched(job: Path, machine_toml: Path, run_dir: Path) -> Any:
        stop_at(until_s)
        return await host(job, machine_toml, run_dir)

    return watched


def stop_at(until_s: float) -> None:
    """End the running loop's run with `Stopped` at that loop time."""

    def stop() -> None:
        raise Stopped(f"stopped at {until_s:g} s")

    asyncio.get_running_loop().call_at(until_s, stop)


def end_now(why: str) -> None:
    """End the running loop's run with `Stopped` as soon as the present callback is through."""

    def stop() -> None:
        raise Stopped(why)

    asyncio.get_running_loop().call_soon(stop)
