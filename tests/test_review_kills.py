"""Hosts that die without a word, again and again, in virtual time: is the part complete in the end, and all declared?

A death is a host whose tasks end where they are: nothing is made safe, no doubt is noted, its wires fall. What the
machine holds it carries out; the next host resumes at once or after a while.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from print_helpers import Printed, print_virtual
from test_print_virtual import plate
from test_review_control import assert_whole, resume

from control.exposing import Exposing
from control.host import Outcome, Status, print_host
from control.machine import Machine
from control.operator import Operator
from firmware_bridge.devices.motion import MotionController
from hil_sim.harness.oracle import Verdict


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plate(tmp_path_factory.mktemp("two"), 2)


def killed(
    job: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch, after_s: list[float], pause_s: list[float]
) -> Printed:
    """A print whose hosts die `after_s` their start, with `pause_s` before the next; the last one is left alone."""
    make_safe, settle_doubt = Machine.make_safe, Exposing.settle_doubt

    async def nothing(_self: Any) -> list[str]:
        return []

    async def host(job_path: Path, toml: Path, folder: Path, operator: Operator, progress: Any) -> Outcome:
        for number, (alive_s, dead_s) in enumerate(zip(after_s, pause_s, strict=True)):
            work = resume(folder, Operator()) if number else print_host(job_path, toml, folder)
            task = asyncio.ensure_future(work)
            await asyncio.wait({task}, timeout=alive_s)
            if task.done():
                return task.result()
            monkeypatch.setattr(Machine, "make_safe", nothing)
            monkeypatch.setattr(Exposing, "settle_doubt", nothing)
            task.cancel()
            await asyncio.wait({task})
            monkeypatch.setattr(Machine, "make_safe", make_safe)
            monkeypatch.setattr(Exposing, "settle_doubt", settle_doubt)
            await asyncio.sleep(dead_s)
        return await resume(folder, Operator())

    return print_virtual(job, run_dir, host=host)


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(n, marks=pytest.mark.soak) for n in range(6, 150))])
def test_hosts_that_die_leave_a_part_that_can_be_finished(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    moments = random.Random(seed)
    deaths = 1 + seed % 3
    after_s = [moments.uniform(0.0, 40.0) for _ in range(deaths)]
    pause_s = [moments.choice([0.0, 0.05, 0.3, 1.0, 8.0]) for _ in range(deaths)]
    done = killed(job, tmp_path, monkeypatch, after_s, pause_s)
    told = f"killed after {after_s} s, with {pause_s} s between: {done.outcome} {done.error} {done.judgement}"
    assert done.outcome is not None and done.outcome.status is Status.DONE, told
    assert done.verdict in (Verdict.EXACT, Verdict.DEGRADED), told
    assert_whole(done, job)


def test_a_power_left_standing_by_a_dead_host_is_put_out_before_the_head_fires(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The board keeps its last S for a second after it ran dry: a resume that is quicker must not burn a spot."""
    order: list[str] = []
    off, fire = MotionController.laser_off, Machine.arm_and_fire

    async def noted_off(self: MotionController) -> None:
        order.append("off")
        await off(self)

    async def noted_fire(self: Machine, power_w: float) -> None:
        order.append("fire")
        await fire(self, power_w)

    monkeypatch.setattr(MotionController, "laser_off", noted_off)
    monkeypatch.setattr(Machine, "arm_and_fire", noted_fire)
    done = killed(job, tmp_path, monkeypatch, [18.0], [1.0])
    assert done.outcome is not None and done.outcome.status is Status.DONE
    assert order[:3] == ["fire", "off", "fire"]
