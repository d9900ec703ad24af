"""Is a host given up when its machine stands still for too long, not before, and told with the place where it waits?"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_helpers import write_small_job
from rover_drive_helpers import HILLS, lane

from hil_sim.harness.drive_runner import DriveScenario, run_drive
from hil_sim.harness.hung import LOOKS, HostBound, given_up_when_still
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.runner import run_scenario
from hil_sim.harness.scenario import Scenario
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.build import build_world
from hil_sim.world.machine_spec import BedSettings

STILL_S = 80.0


@given(st.lists(st.floats(1.0, 60.0), max_size=6))
def test_a_machine_is_given_up_once_and_only_behind_its_last_deed(pauses_s: list[float]) -> None:
    async def main(loop: VirtualLoop) -> tuple[float, list[float]]:
        deeds, given_up = [0], []

        def give_up(sentence: str) -> bool:
            given_up.append(loop.time())
            return True

        with given_up_when_still(lambda: deeds[0], give_up, STILL_S):
            for pause_s in pauses_s:
                await asyncio.sleep(pause_s)
                deeds[0] += 1
            last_s = loop.time()
            await asyncio.sleep(10 * STILL_S)
        await asyncio.sleep(10 * STILL_S)
        return last_s, given_up

    last_s, given_up = run_virtual(main)
    assert len(given_up) == 1
    assert last_s + STILL_S <= given_up[0] <= last_s + STILL_S + 2 * STILL_S / LOOKS + 1e-6


def test_a_host_is_given_up_once_while_it_works_and_never_before_or_behind() -> None:
    async def main(loop: VirtualLoop) -> str:
        bound = HostBound()
        assert not bound.give_up("it has not begun")
        try:
            async with bound.around(50.0, "late"):
                assert bound.give_up("first") and not bound.give_up("second")
                try:
                    await asyncio.sleep(10.0)
                finally:
                    assert not bound.give_up("it is making safe")
                    await asyncio.sleep(10.0)
        except TimeoutError as error:
            assert not bound.give_up("it has ended")
            return str(error)
        return ""

    assert re.match(r"first; it waited at main \(", run_virtual(main))


def test_a_hosts_own_timeout_goes_through_as_it_is() -> None:
    async def main(loop: VirtualLoop) -> None:
        async with HostBound().around(50.0, "late"):
            raise TimeoutError("the door did not close")

    with pytest.raises(TimeoutError, match=r"^the door did not close$"):
        run_virtual(main)


async def dreamer(*_where: Path) -> Any:
    """A host that never does anything."""
    while True:
        await asyncio.sleep(60.0)


def test_a_printers_host_under_which_nothing_happens_is_told_with_its_place(tmp_path: Path) -> None:
    write_small_job(tmp_path / "part.kiln", 1)
    scenario = Scenario(schema_version=1, name="still", cell_xy_mm=20.0, still_s_max=3600.0)
    result = run_scenario(scenario, tmp_path / "part.kiln", tmp_path / "run", host=dreamer)
    assert result.verdict is Verdict.HANG and result.sim_s < 2 * 3600.0
    said = r"the printer had neither moved .* for 3600 s, and the host had not ended; it waited at dreamer \(\S+:\d+\)$"
    assert re.match(said, result.judgement.reasons[0])


@pytest.mark.parametrize(
    ("said_s", "mode", "bound_s"),
    [
        (None, "virtual", 86400.0),
        (None, "paced", 86400.0),
        (None, "wire", 3600.0),
        (60.0, "virtual", 60.0),
        (7200.0, "wire", 7200.0),
    ],
)
def test_nobody_waits_a_day_on_the_wire_for_a_machine_that_stands(
    said_s: float | None, mode: Any, bound_s: float
) -> None:
    assert Scenario(schema_version=1, name="still", still_s_max=said_s).still_bound_s(mode) == bound_s


@pytest.mark.parametrize(
    ("sim_s_max", "works_s", "ends_s", "verdict"),
    [(50.0, 100.0, 30.0, Verdict.HANG), (1000.0, 58.0, 0.0, Verdict.DETECTED)],
)
def test_a_host_that_ends_or_makes_safe_when_its_machine_has_stood_still_is_judged(
    tmp_path: Path, sim_s_max: float, works_s: float, ends_s: float, verdict: Verdict
) -> None:
    async def host(*_where: Path) -> None:
        try:
            await asyncio.sleep(works_s)
        finally:
            await asyncio.sleep(ends_s)

    write_small_job(tmp_path / "part.kiln", 1)
    scenario = Scenario(schema_version=1, name="still", cell_xy_mm=20.0, still_s_max=60.0, sim_s_max=sim_s_max)
    assert run_scenario(scenario, tmp_path / "part.kiln", tmp_path / "run", host=host).verdict is verdict


def test_a_machine_that_moves_and_comes_back_does_not_stand_still(tmp_path: Path) -> None:
    async def to_and_fro(loop: VirtualLoop) -> list[bool]:
        world = await build_world("bench", settings=BedSettings(cell_xy_mm=20.0))
        same = []
        try:
            for axis in (world.blade, world.piston):
                before = world.doings(loop.time())
                for place_mm in (axis.position_at(loop.time()) + 2.0, axis.position_at(loop.time())):
                    axis.move(loop.time(), place_mm, 5.0, 100.0, 100.0)
                    await asyncio.sleep(10.0)
                same.append(world.doings(loop.time()) == before)
            before = world.doings(loop.time())
            await asyncio.sleep(3600.0)
            same.append(world.doings(loop.time()) == before)
        finally:
            world.close()
        return same

    assert run_virtual(to_and_fro) == [False, False, True]


def test_a_rovers_host_that_does_not_end_is_told_with_its_place(tmp_path: Path) -> None:
    scenario = DriveScenario(sim_s_max=600.0, details=False)
    result = run_drive(scenario, lane(tmp_path / "r.json", 4.0), tmp_path / "run", ground=HILLS, host=dreamer)
    assert result.verdict is Verdict.HANG
    said = r"the host had not ended after 600 simulated seconds; it waited at dreamer \(\S+:\d+\)$"
    assert re.match(said, result.judgement.reasons[0])
