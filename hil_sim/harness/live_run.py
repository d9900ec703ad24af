"""A run that is led from outside: its loop turns in stretches, and between two of them everything stands still.

    run = LiveRun(scenario, job_path, run_dir, host, mode="virtual")
    run.begin_host()
    run.until(lambda: run.ask(lambda world, now_s: len(world.laid)) > 1, 3600.0)
    run.ask(lambda world, now_s: world.motion_board.reset())
    result = run.to_the_end(6 * 3600.0)
    run.close()

In virtual and paced time nothing passes between stretches. On the wire real time does, and the emulated devices are
deaf until the next stretch: do little there.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from hil_sim.harness.host_process import resume_here
from hil_sim.harness.hung import HostBound, given_up_when_still
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.runner import Host, RunResult, simulate
from hil_sim.harness.scenario import Mode, Scenario
from hil_sim.harness.wire_loop import WireLoop
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.build import World
from hil_sim.world.faults.schedule import Fault, Faults

T = TypeVar("T")

LOOK_EVERY_S = 0.02  # how often a condition is looked at, loop time
CLOSING_S_MAX = 600.0  # a host that was told to give up, and a world that is solved to its end


class LiveRunError(Exception):
    """What was asked of a run cannot be, or did not come; a sentence."""


class Judged(Protocol):
    """What an oracle says, whatever it judges."""

    @property
    def reasons(self) -> tuple[str, ...]: ...


class Result(Protocol):
    """What a run leaves, whatever ran."""

    @property
    def sim_s(self) -> float: ...
    @property
    def verdict(self) -> Verdict: ...
    @property
    def judgement(self) -> Judged: ...


class Struck(Protocol):
    """A world in which faults strike."""

    faults: Faults


W = TypeVar("W", bound=Struck)
R = TypeVar("R", bound=Result)


class LiveSim(ABC, Generic[W, R]):
    """One run of a host against a world. `result` is there when it has ended, `loop` from the beginning."""

    def __init__(
        self,
        scenario: Scenario,
        job_path: Path,
        run_dir: Path,
        host: Callable[[Path, Path, Path], Awaitable[Any]],
        *,
        mode: Mode = "virtual",
        pace: float = 1.0,
        on_world: Callable[[W], None] = lambda world: None,
        resume: Callable[[Path, Path, Path], Awaitable[Any]] | None = resume_here,
    ) -> None:
        """`on_world` is called once, when every wire is laid and before the host begins. `resume` goes on with a print
        whose host was killed; None: nobody can.
        """
        self.mode = mode
        self.result: R | None = None
        self.loop: VirtualLoop | WireLoop
        if mode == "wire":
            self.loop = WireLoop()
        else:
            self.loop = VirtualLoop(seed=scenario.seed, pace=pace if mode == "paced" else None, tie_shuffle=True)
        self._scenario, self._job_path, self._run_dir, self._host = scenario, job_path, run_dir, host
        self._on_world, self._resume = on_world, resume
        self._world: W | None = None
        self._laid, self._begun = asyncio.Event(), asyncio.Event()
        self._bound = HostBound()
        self._task: asyncio.Task[R] | None = None
        self._raised: list[BaseException] = []

    @property
    def now_s(self) -> float:
        """Loop time: seconds since the run's start."""
        return self.loop.time()

    @property
    def has_ended(self) -> bool:
        """Whether the host is through and the truth is closed."""
        return self._task is not None and self._task.done()

    @property
    def strikes(self) -> list[tuple[float, str, str]]:
        """Faults that struck so far: loop time, place, kind. It needs no loop, so that it can be told of any wreck."""
        return [] if self._world is None else [(t_s, at, fault.kind) for t_s, at, fault in self._world.faults.strikes]

    @property
    def struck(self) -> set[Fault]:
        """The faults of the schedule that struck so far."""
        return set() if self._world is None else {fault for _, _, fault in self._world.faults.strikes}

    def ended(self) -> R:
        """The result. Raises LiveRunError while the run goes on."""
        if self.result is None:
            raise LiveRunError("the run has not ended: hil.run() goes on until it has")
        return self.result

    def begin_host(self) -> None:
        """The host begins with the next stretch; before that the machine stands there alone."""
        self._begun.set()

    def ask(self, question: Callable[[W, float], T]) -> T:
        """`question(world, now_s)` on the loop, at this moment: to look, or to do something to the world.

        Raises:
            LiveRunError: the run has ended, and its world with it.
        """
        if self.loop.is_running():
            return question(self._standing(), self.loop.time())

        async def asked() -> T:
            return question(self._standing(), self.loop.time())

        self._lay()
        return self._stretch(asked())

    def pass_time(self, for_s: float) -> None:
        """Let that much loop time pass. Raises what broke in host or world meanwhile."""
        self._lay()
        self._stretch(asyncio.sleep(for_s))

    def until(self, ready: Callable[[], bool], within_s: float) -> None:
        """Run until `ready()`, looked at every 20 ms of loop time.

        Raises:
            LiveRunError: the run ended before, or it did not come within `within_s`.
            Exception: what broke in host or world.
        """
        self._lay()
        self._stretch(self._until(ready, within_s))

    def to_the_end(self, within_s: float) -> R:
        """Run until the host has ended, and judge. A host that takes longer than `within_s` is told to end: HANG.

        Raises:
            Exception: what the host raised, or what broke in the world.
        """
        self._lay()
        return self._stretch(self._to_the_end(within_s))

    def close(self) -> None:
        """End host and world, whatever they do. Raises what went wrong on the way and was not told before."""
        loop = self.loop
        if loop.is_closed():
            return
        known, loop.failures = [*self._raised, *loop.failures], []
        if isinstance(loop, WireLoop):
            loop.stops_on_failure = False
        if self._task is not None and not self._task.done():
            self._task.cancel()
        try:
            tasks = loop.living_tasks()
            for task in tasks:
                task.cancel()
            ended = loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True)) if tasks else []
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()
        for error in (*ended, *loop.failures):
            if isinstance(error, Exception) and error not in known:
                raise error

    # ---- inside

    def _standing(self) -> W:
        if self._world is None or self.has_ended:
            raise LiveRunError("the run has ended and its world is gone: look into `truth` and `trace` now")
        return self._world

    def _lay(self) -> None:
        """Build the world, if it does not stand yet."""
        if self._task is None:
            lay: Literal["virtual", "wire"] = "wire" if self.mode == "wire" else "virtual"
            self._task = self.loop.create_task(self._simulate(lay), name="run")
            self._stretch(self._until_laid())

    @abstractmethod
    async def _simulate(self, lay: Literal["virtual", "wire"]) -> R:
        """The whole run: world, `_gated` host, judgement; `_meet` is told of the world."""

    @property
    def _still_s_max(self) -> float | None:
        """How long the machine may do nothing before its host is given up; None: as long as that one likes."""
        return None

    def _doings(self) -> Any:
        """What is another whenever the machine has done something."""
        return None

    async def _until_laid(self) -> None:
        assert self._task is not None
        laid = asyncio.ensure_future(self._laid.wait())
        await asyncio.wait({self._task, laid}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            laid.cancel()
            self._task.result()  # why there is no world

    async def _meet(self, world: W) -> None:
        self._world = world
        self._on_world(world)
        self._laid.set()

    async def _gated(self, job: Path, machine_toml: Path, run_dir: Path) -> Any:
        await self._begun.wait()
        async with self._bound.around():
            return await self._host(job, machine_toml, run_dir)

    async def _until(self, ready: Callable[[], bool], within_s: float) -> None:
        assert self._task is not None
        ends_s = self.loop.time() + within_s
        while not ready():
            if self._task.done():
                result = self._conclude()
                raise LiveRunError(
                    f"the run ended after {result.sim_s:g} s and what was waited for had not come: "
                    f"{result.verdict.value}, {'; '.join(result.judgement.reasons[:3])}"
                )
            if self.loop.time() >= ends_s:
                raise LiveRunError(f"what was waited for had not come within {within_s:g} s of the run's time")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _to_the_end(self, within_s: float) -> R:
        assert self._task is not None
        with given_up_when_still(self._doings, self._bound.give_up, self._still_s_max):
            await asyncio.wait({self._task}, timeout=within_s)
        if not self._task.done():
            late = f"the host had not ended within {within_s:g} s"
            if not self._begun.is_set():
                raise LiveRunError("no host was begun, so that none can end: call host.print(JOB) first")
            self._bound.give_up(late)
            await asyncio.wait({self._task}, timeout=CLOSING_S_MAX)
            if not self._task.done():
                raise LiveRunError(f"{late}, and {CLOSING_S_MAX:g} s after it was cancelled it still runs")
        return self._conclude()

    def _conclude(self) -> R:
        assert self._task is not None
        self.result = self._task.result()
        return self.result

    def _stretch(self, work: Awaitable[T]) -> T:
        """Turn the loop until `work` is done. What broke in a callback ends it and is raised."""
        try:
            done = self.loop.run_until_complete(work)
            if self.has_ended and self.result is None:  # in whatever stretch it was
                self._conclude()
        except BaseException as error:
            failures = self.loop.failures
            cause = failures[0] if failures and self.mode == "wire" else error  # stopped by WireLoop
            self._raised.append(cause)
            if cause is not error:
                raise cause from None
            raise
        if self.loop.failures:
            self._raised.append(self.loop.failures[0])
            raise self.loop.failures[0]
        return done


class LiveRun(LiveSim[World, RunResult]):
    """A print that is led from outside."""

    async def _simulate(self, lay: Literal["virtual", "wire"]) -> RunResult:
        host: Host = self._gated
        return await simulate(
            self.loop,
            self._scenario,
            self._job_path,
            self._run_dir,
            host,
            lay=lay,
            meddle=self._meet,
            resume=self._resume,
        )

    @property
    def _still_s_max(self) -> float:
        """The scenario's."""
        return self._scenario.still_bound_s(self.mode)

    def _doings(self) -> Any:
        """See `LiveSim`."""
        return None if self._world is None else self._world.doings(self.loop.time())
