"""Does a print come to a good end whatever an operator does to it, and when: pause, resume, cancel, stop, load it
again, press the board's reset, switch the machine off and on?

A walk is a whole print in virtual time. The host's own state machine is held against a small model of it at every
step, and the oracle judges the whole walk: never SILENT, HANG or UNSAFE.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from job_helpers import write_small_job

from control.host import Outcome, Status, print_host, resume_host
from control.machine import Machine
from control.operator import Intent, Operator
from control.states import RunEvent, RunState
from hil_sim.harness.live_run import LiveRun
from hil_sim.harness.scenario import Scenario
from hil_sim.world.build import World

pytestmark = pytest.mark.timeout(1200)

S = RunState
MAY_FOLLOW = {
    S.FAULT: {S.SAFE},
    S.SAFE: {S.READY, S.SAFE},
    S.READY: {S.ARMED, S.PAUSED, S.SAFE},
    S.ARMED: {S.EXPOSING, S.READY, S.PAUSED},
    S.EXPOSING: {S.ARMED, S.READY, S.PAUSED},
    S.PAUSED: {S.READY, S.SAFE},
}
"""What may come next in the model; FAULT may from anywhere."""
BEAM_MAY_BE_ON = {S.ARMED, S.EXPOSING}
STOP_S_MAX, BREAK_S_MAX, PRINT_S_MAX = 30.0, 120.0, 900.0


class Printing(RuleBasedStateMachine):
    """One walk: a print, an operator's hands, and what the model says of both."""

    layers = 1

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="moonkiln-operator-"))
        self.operator = Operator()
        self.outcome: Outcome | None = None  # of the session that has ended; None: one is at work
        self.word = asyncio.Event()
        self.leaves = False
        self.states: list[RunState] = [S.FAULT]
        self.pauses = self.was_disturbed = 0
        self.world: World | None = None
        self._patch = pytest.MonkeyPatch()

    @initialize()
    def begin(self) -> None:
        real = Machine._move  # the one place where a machine's state changes

        def moved(machine: Machine, event: RunEvent) -> None:
            before = machine.state
            real(machine, event)
            assert before is self.states[-1], f"{event} met a machine in {before}, last seen in {self.states[-1]}"
            self.states.append(machine.state)

        self._patch.setattr(Machine, "_move", moved)
        job = write_small_job(self.folder / "part.kiln", self.layers)
        scenario = Scenario(schema_version=1, name="operator", cell_xy_mm=20.0, sim_s_max=24 * 3600.0)

        def keep(world: World) -> None:
            self.world = world

        self.run = LiveRun(scenario, job, self.folder / "run", self.host, on_world=keep)
        self.run.begin_host()

    async def host(self, job: Path, machine_toml: Path, run_dir: Path) -> Outcome:
        """Our host, begun again in the same world as often as somebody loads the job again."""
        outcome = await print_host(job, machine_toml, run_dir, operator=self.operator)
        while True:
            self.outcome = outcome
            await self.word.wait()
            self.word.clear()
            if self.leaves:
                return outcome
            self.outcome = None
            self.states.append(S.FAULT)  # a machine boots in it
            outcome = await resume_host(run_dir, world_lives=True, operator=self.operator)

    # ---- what an operator does

    @rule(for_s=st.sampled_from([0.02, 0.3, 1.0, 3.0, 8.0]))
    def wait(self, for_s: float) -> None:
        self.run.pass_time(for_s)

    @precondition(lambda self: self.outcome is None)
    @rule()
    def pause(self) -> None:
        self.pauses += 1
        self.ask(Intent.PAUSE)
        self.until(lambda: self.state is S.PAUSED, BREAK_S_MAX)

    @precondition(lambda self: self.outcome is None)
    @rule()
    def resume(self) -> None:
        was_paused = self.state is S.PAUSED
        self.ask(Intent.RESUME)
        if was_paused:
            self.until(lambda: self.state is not S.PAUSED, STOP_S_MAX)

    @precondition(lambda self: self.outcome is None)
    @rule()
    def cancel(self) -> None:
        self.ask(Intent.CANCEL)
        self.until(lambda: False, BREAK_S_MAX)
        self.ended_as(Status.CANCELLED, Status.DONE)

    @precondition(lambda self: self.outcome is None)
    @rule()
    def stop(self) -> None:
        self.ask(Intent.STOP)
        self.until(lambda: False, STOP_S_MAX)
        self.ended_as(Status.STOPPED, Status.DONE)

    @precondition(lambda self: self.outcome is not None and self.outcome.status is not Status.DONE)
    @rule()
    def load_again(self) -> None:
        self.operator, self.was_disturbed = Operator(), 0
        self.word.set()
        self.run.pass_time(0.05)

    @rule()
    def reset_the_board(self) -> None:
        self.was_disturbed += 1
        self.run.ask(lambda world, _now_s: world.motion_board.reset())

    @rule()
    def switch_off_and_on(self) -> None:
        """Nothing that lives in a device's memory outlasts it."""
        self.was_disturbed += 1

        def cycle(world: World, now_s: float) -> None:
            world.optics.settle(now_s)
            world.gantry.cut(now_s)
            for model in world.models.values():
                if hasattr(model, "power_cycle"):
                    model.power_cycle(now_s)
            world.motion_board.reset()

        self.run.ask(cycle)

    # ---- what must hold

    @invariant()
    def the_states_follow_each_other_as_they_may(self) -> None:
        for before, after in zip(self.states, self.states[1:], strict=False):
            assert after is S.FAULT or after in MAY_FOLLOW[before], self.states
        assert self.states.count(S.PAUSED) <= self.pauses

    @invariant()
    def a_machine_that_is_not_armed_is_dark(self) -> None:
        if self.world is None or (self.outcome is None and self.state not in (S.PAUSED, S.SAFE)):
            return
        watts, head_w = self.run.ask(lambda w, t_s: (w.optics.emission_w(t_s), w.beam_head.capability_w))
        assert watts == head_w == 0.0, (watts, head_w, self.states[-3:])
        assert self.state not in BEAM_MAY_BE_ON

    def teardown(self) -> None:
        try:
            if hasattr(self, "run"):
                self._end()
        finally:
            if hasattr(self, "run"):
                self.run.close()
            self._patch.undo()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self) -> None:
        """Let it come to its end, and hear what the oracle says of it all."""
        if self.outcome is None and self.state is S.PAUSED:
            self.ask(Intent.RESUME)
        self.until(lambda: False, PRINT_S_MAX)
        self.leaves = True
        self.word.set()
        result = self.run.to_the_end(STOP_S_MAX)
        assert result.verdict.is_good, (result.verdict, result.judgement.reasons)
        assert self.state in (S.SAFE, S.FAULT), self.states[-3:]

    # ---- how it asks

    @property
    def state(self) -> RunState:
        return self.states[-1]

    def ask(self, intent: Intent) -> None:
        self.run.ask(lambda _world, _now_s: self.operator.ask(intent))

    def until(self, ready: Callable[[], bool], within_s: float) -> None:
        """Until `ready`, or until the session has ended; longer than `within_s` is a host that does not hear."""
        self.run.until(lambda: self.outcome is not None or ready(), within_s)

    def ended_as(self, *statuses: Status) -> None:
        assert self.outcome is not None
        if not self.was_disturbed:  # else what it met first decides
            assert self.outcome.status in statuses, self.outcome
        assert self.outcome.status in (*statuses, Status.STOPPED, Status.FAILED), self.outcome


class LongPrinting(Printing):
    layers = 2


HOW = {
    "derandomize": True,
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.generate],
}


def test_whatever_an_operator_does_the_print_ends_well() -> None:
    run_state_machine_as_test(Printing, settings=settings(max_examples=3, stateful_step_count=7, **HOW))  # type: ignore[arg-type]


@pytest.mark.soak
def test_whatever_an_operator_does_for_long_the_print_ends_well() -> None:
    run_state_machine_as_test(LongPrinting, settings=settings(max_examples=60, stateful_step_count=20, **HOW))  # type: ignore[arg-type]
