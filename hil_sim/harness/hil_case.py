"""One test's run: what it is made of, what the host is told, and what came of it. `pytest_plugin` hands out its parts.

case = HilCase(CaseSettings(run_dir=..., machine="bench"))
case.faults.at(layer=1).disconnect("motion.to_device", back_after_s=2.0)
case.host.print("part.kiln")
case.run(until=lambda: case.truth.layers_laid == 2)
case.devices["beam"].door(closed=False)
case.run(within="1 h")
assert case.verdict == "detected"
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from control.host import DriveOutcome, Outcome, print_host
from control.operator import Intent, Operator
from hil_sim.harness.drive_oracle import DriveJudgement
from hil_sim.harness.fault_builder import FaultBuilder
from hil_sim.harness.host_process import resume_here
from hil_sim.harness.live_devices import DEVICES, Device
from hil_sim.harness.live_run import LiveRun, LiveRunError, Mode
from hil_sim.harness.live_views import Clock, Trace, TruthView
from hil_sim.harness.machine_files import paths_in, sha256
from hil_sim.harness.oracle import Judgement
from hil_sim.harness.runner import Host, twin_of
from hil_sim.harness.scenario import Scenario, load_scenario
from hil_sim.harness.time_span import seconds_of
from hil_sim.harness.user_host import UserHost, no_word, user_host
from hil_sim.world.faults import Fault
from hil_sim.world.machine_spec import fault_points, load_machine_spec

RECORD_NAME = "hil-run.json"
RECORD_VERSION = 1
WIRE_LIMIT_S = 600.0  # on the wire a run takes real time: one that hangs is not waited for longer
LAST_FRAMES = 20


@dataclass(frozen=True)
class CaseSettings:
    """What a run is made of.

    machine: the host's machine file; world: the emulated twin's (None: of the same name); scenario: a file whose faults
    and bed are the base. host: None is ours, else as `user_host` takes it. mode None: virtual; on the wire for a
    command. limit: the run's longest duration. faults: these instead of those that the test writes down (a replay).
    folders: where relative files are looked for; a command is run in the last of them.
    """

    run_dir: Path
    machine: str | None = None
    world: str | None = None
    scenario: str | None = None
    job: str | None = None
    host: str | Sequence[str] | Callable[..., Any] | None = None
    seed: int = 0
    mode: Mode | None = None
    pace: float = 10.0
    limit: float | str | None = None
    cell_xy_mm: float | None = None
    folders: tuple[Path, ...] = ()
    faults: tuple[Fault, ...] | None = None

    def find(self, name: str) -> str:
        """A file's name, looked for in `folders`; a name that is there nowhere, or of a shipped thing, as it is."""
        for folder in self.folders:
            if (folder / name).is_file():
                return str(folder / name)
        return str(name)


class HostView:
    """The host: told to print, spoken to as an operator would, asked for its word."""

    def __init__(self, case: HilCase) -> None:
        self._case = case
        self._operator = Operator()
        self.said: list[str] = []
        """What our own host says that it is doing, whenever that changes."""

    def print(self, job: str | Path | None = None) -> None:
        """Print a job (None: the mark's), from the next `hil.run` or `clock.advance` on.

        A name is looked for beside the test.
        """
        self._case.begin(job)

    @property
    def outcome(self) -> Outcome | None:
        """Its `outcome.json`, once the run has ended; None: it left none."""
        return self._case.live.ended().outcome

    def pause(self) -> None:
        """Ask it to pause, at the next `hil.run`."""
        self._ask(Intent.PAUSE)

    def resume(self) -> None:
        """Ask it to go on after a pause."""
        self._ask(Intent.RESUME)

    def cancel(self) -> None:
        """Ask it to give the run up."""
        self._ask(Intent.CANCEL)

    def stop(self) -> None:
        """Press its stop."""
        self._ask(Intent.STOP)

    def _ask(self, intent: Intent) -> None:
        if self._case.settings.host is not None:
            raise LiveRunError("this host is your own: speak to it in your own way; only moonkiln's has this operator")

        def ask(_world: Any, _now_s: float) -> None:
            if not self._operator.ask(intent):
                raise LiveRunError(f"the host has too much to do already to hear of {intent.value}")

        self._case.live.ask(ask)

    async def ours(self, job: Path, machine_toml: Path, run_dir: Path) -> Outcome:
        """moonkiln's host, with this operator."""
        return await print_host(job, machine_toml, run_dir, operator=self._operator, progress=self._progress)

    def _progress(self, progress: Any) -> None:
        if not self.said or self.said[-1] != progress.doing:
            self.said.append(progress.doing)


class HilCase:
    """One run, led by a test. Its parts: `host`, `faults`, `devices`, `clock`, `truth`, `trace`."""

    def __init__(self, settings: CaseSettings) -> None:
        """Raises ScenarioError, MoonkilnError, WorldError or HostContractError for what cannot be used."""
        self.settings = settings
        scenario = Scenario(schema_version=1, name="test")  # a test expects what it asserts, and nothing else
        if settings.scenario is not None:
            scenario = load_scenario(settings.find(settings.scenario))
        changes: dict[str, Any] = {"seed": settings.seed}
        if settings.machine is not None:
            changes["machine"] = settings.find(settings.machine)
        if settings.world is not None:
            changes["world"] = settings.find(settings.world)
        if settings.cell_xy_mm is not None:
            changes["cell_xy_mm"] = settings.cell_xy_mm
        if settings.limit is not None:
            changes["sim_s_max"] = seconds_of(settings.limit)
        self.scenario: Scenario = msgspec.structs.replace(scenario, **changes)
        self.rng = random.Random(f"{settings.seed}:test")
        """Of the run's seed, for what a test draws itself."""
        self.host = self._host_view()
        self._user_host: UserHost | None = None
        if settings.host is not None:
            folder = settings.folders[-1] if settings.folders else Path.cwd()
            self._user_host = user_host(settings.host, folder, self.LEAVES)
        self.mode: Mode = settings.mode or ("wire" if self.is_command else "virtual")
        points, self.devices = self._places()
        given = self.scenario.schedule().faults if settings.faults is None else settings.faults
        self.faults = FaultBuilder(given, points)
        if settings.faults is not None:
            self.faults = _Replayed(given, points)
        self.clock = Clock(lambda: self.live, self._set_going)
        self.trace = Trace(settings.run_dir)
        self.truth: Any = self._truth_view()
        self._live: Any = None
        self._job: Path | None = None
        self._is_printing = False
        self._was_run = False
        if settings.job is not None:
            self._take(settings.job)

    # ---- what is another thing where a rover drives

    is_rover = False
    LIVE: type[Any] = LiveRun
    LEAVES: type[Outcome] | type[DriveOutcome] = Outcome
    NOTHING_TO_DO = "nothing is being printed: call host.print(JOB) before hil.run()"

    def _host_view(self) -> HostView:
        return HostView(self)

    def _truth_view(self) -> Any:
        return TruthView(lambda: self.live, lambda: self._job_path)

    def _places(self) -> tuple[list[str], dict[str, Device]]:
        """Where faults can strike, and the devices."""
        spec = load_machine_spec(twin_of(self.scenario.machine, self.scenario.world))
        added = [name for name in ("conveyor", "supply", "pyranometer") if getattr(spec.devices, name, None)]
        devices = {name: DEVICES.get(name, Device)(name, lambda: self.live) for name in (*DEVICES, *added)}
        return fault_points(spec), devices

    def _new_live(self, scenario: Scenario) -> Any:
        host: Host = self.host.ours if self._user_host is None else self._user_host.run
        return self.LIVE(
            scenario,
            self._job_path,
            self.run_dir,
            host,
            mode=self.mode,
            pace=self.settings.pace,
            on_world=self.trace.listen,
            resume=resume_here if self._user_host is None else None,
        )

    @property
    def rover(self) -> Any:
        """The rover, where one drives."""
        raise LiveRunError(f"{self.scenario.machine} is a printer: `rover` is for tests of a rover, machine='osr'")

    # ---- what a test does

    def run(self, until: str | Callable[[], bool] = "idle", *, within: float | str | None = None) -> Any:
        """Go on until the host has ended ("idle") and return the result, or until a condition is true.

        Args:
            until: "idle", or a condition that is looked at every 20 ms of the run's time.
            within: the longest that it may take, in the run's time; a host that takes longer is a HANG.

        Raises:
            LiveRunError: nothing is being printed, or the condition did not come.
            Exception: what the host raised, or what broke in the world.
        """
        if not self._is_printing:
            raise LiveRunError(self.NOTHING_TO_DO)
        self._set_going()
        within_s = self._limit_s if within is None else seconds_of(within)
        if callable(until):
            self.live.until(until, within_s)
            return None
        if until != "idle":
            raise LiveRunError(
                f"hil.run(until={until!r}): give 'idle' or a condition, as `lambda: truth.layers_laid > 3`"
            )
        return self.live.to_the_end(within_s)

    def _set_going(self) -> None:
        """The host begins, if it was told to print."""
        if self._is_printing:
            self._was_run = True
            self.live.begin_host()

    @property
    def verdict(self) -> str:
        """The oracle's word: exact, degraded, detected, SILENT, HANG or UNSAFE. Raises LiveRunError before the end."""
        return self.result.verdict.value

    @property
    def judgement(self) -> Judgement | DriveJudgement:
        """The verdict with its reasons and figures."""
        found: Judgement | DriveJudgement = self.result.judgement
        return found

    @property
    def result(self) -> Any:
        """Everything that the run left: a `RunResult`, of a drive a `DriveResult`."""
        return self.live.ended()

    @property
    def run_dir(self) -> Path:
        """The run's folder."""
        return self.settings.run_dir

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.settings.seed

    def device(self, name: str) -> Device:
        """A device of the emulated machine by its name."""
        return self.devices.get(name) or Device(name, lambda: self.live)

    # ---- what the plugin does

    @property
    def is_command(self) -> bool:
        """Whether the host is a process of its own."""
        return self._user_host is not None and self._user_host.is_command

    @property
    def was_forgotten(self) -> bool:
        """Whether a print was asked for that was never run."""
        return self._is_printing and not self._was_run

    @property
    def was_begun(self) -> bool:
        """Whether the host was told to work."""
        return self._is_printing

    @property
    def was_looked_into(self) -> bool:
        """Whether there is a run at all: the host at work, time that passed, or a look at a device."""
        return self._live is not None

    @property
    def ended_with(self) -> str | None:
        """The verdict; None: the run has not come to its end."""
        result = None if self._live is None else self._live.result
        return None if result is None else str(result.verdict.value)

    @property
    def was_left(self) -> bool:
        """Whether the host was set to work and the run never came to its end, so that nobody judged it."""
        return self._is_printing and self._was_run and self._live.result is None

    @property
    def no_word(self) -> str | None:
        """Of a host that ended without an outcome, though nothing that struck kills it or its disk, a sentence."""
        result = None if self._live is None else self._live.result
        if result is None:
            return None
        how = None if self._user_host is None else self._user_host.ended
        kinds = (fault.kind for _, fault in result.struck)
        sentence = no_word(result.outcome, kinds, how, is_heard=bool(self.trace.to_device_count))
        return None if sentence is None else f"the host {sentence}"

    @property
    def live(self) -> Any:
        """The run, a `LiveRun` or `LiveDrive`; it is made when it is first needed."""
        if self._live is None:
            self.faults.close("the run has begun: lay faults before, or strike the device itself (motion.reset())")
            scenario = msgspec.structs.replace(self.scenario, faults=[fault.to_dict() for fault in self.faults.laid])
            self._live = self._new_live(scenario)
        return self._live

    def begin(self, job: str | Path | None) -> None:
        """The host shall print."""
        if self._is_printing:
            raise LiveRunError("the host is at work already: a test has one run; write a second test for a second one")
        if job is not None:
            if self._live is not None:
                raise LiveRunError("the world stands already: name the job in the mark, then host.print() without one")
            self._take(str(job))
        self._is_printing = True

    def close(self) -> None:
        """End whatever still runs. Raises what went wrong and was not told before."""
        if self._live is not None:
            self._live.close()

    def record(self, test: str) -> dict[str, Any]:
        """The run as plain data: what repeats it, and what came of it so far."""
        result = self._live.result if self._live is not None else None
        return {
            "schema_version": RECORD_VERSION,
            "test": test,
            "seed": self.seed,
            "mode": self.mode,
            "machine": self.scenario.machine,
            "files": self.file_hashes(),
            "faults": [fault.to_dict() for fault in self.faults.laid],
            "verdict": None if result is None else result.verdict.value,
            "reasons": [] if result is None else list(result.judgement.reasons),
            "sim_s": 0.0 if self._live is None else self._live.now_s if result is None else result.sim_s,
            "wire_digest": self.trace.digest,
            "digest": self.whole_digest,
        }

    def file_hashes(self) -> dict[str, str]:
        """SHA-256 of the files that the run is made of, by what they are; what is shipped has none."""
        paths = paths_in({"machine": self.scenario.machine, "world": self.scenario.world})
        paths |= {"scenario": self.settings.find(self.settings.scenario)} if self.settings.scenario else {}
        paths |= {"job": str(self._job)} if self._job else {}
        return {what: sha256(Path(path).read_bytes()) for what, path in paths.items() if Path(path).is_file()}

    @property
    def whole_digest(self) -> str:
        """Of wires, truth, strikes and outcome; empty before the end of the run."""
        return "" if self._live is None or self._live.result is None else self._live.result.digest.whole

    @property
    def was_expected(self) -> bool:
        """Whether the scenario names the verdict that came, and all else that it expects held."""
        return self._live is not None and self._live.result is not None and self._live.result.passed

    @property
    def unmet(self) -> list[str]:
        """What the scenario expects and did not hold, in sentences; empty before the end."""
        return [] if self._live is None or self._live.result is None else self._live.result.failures

    def never_struck(self) -> list[Fault]:
        """Faults that were laid and, up to now, did nothing."""
        struck: set[Fault] = set() if self._live is None else self._live.struck
        return [fault for fault in self.faults.laid if fault not in struck]

    @property
    def must_strike(self) -> list[Fault]:
        """Those of them without which the run has proved less than it says."""
        return [fault for fault in self.never_struck() if not fault.may_idle]

    def write_record(self, test: str) -> None:
        """Leave the record in the run's folder, if there was a run."""
        if self._live is not None and self.run_dir.is_dir():
            text = json.dumps(self.record(test), indent=1)
            (self.run_dir / RECORD_NAME).write_text(text + "\n", encoding="utf-8")

    # ---- inside

    @property
    def _limit_s(self) -> float:
        if self.mode == "wire" and self.settings.limit is None:
            return WIRE_LIMIT_S
        return self.scenario.sim_s_max

    @property
    def _job_path(self) -> Path:
        if self._job is None:
            raise LiveRunError(
                "there is no world yet, it is made for a job: call host.print(JOB), or name it in the mark"
            )
        return self._job

    def _take(self, job: str) -> None:
        path = Path(self.settings.find(job))
        if not path.is_file():
            where = ", ".join(str(folder) for folder in self.settings.folders) or str(Path.cwd())
            raise LiveRunError(f"there is no job {job} (looked for in {where})")
        self._job = path.resolve()


class _Replayed(FaultBuilder):
    """A replay's faults stand; what the test writes down is checked and left aside."""

    def add(self, fault: Fault) -> Fault:
        laid = list(self.laid)
        try:
            return super().add(fault)
        finally:
            self.laid = laid
