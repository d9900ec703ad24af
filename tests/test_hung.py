"""Is a host given up when its machine stands still for too long, not before, and told with the place where it waits?"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from job_helpers import write_small_job
from rover_drive_helpers import HILLS, lane

from hil_sim.harness.drive_runner import DriveScenario, run_drive
from hil_sim.harness.hung import LOOKS, given_up_when_still
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.runner import run_scenario
from hil_sim.harness.scenario import Scenario
from hil_sim.virtual_time import VirtualLoop, run_virtual

STILL_S = 80.0


@given(st.lists(st.floats(1.0, 60.0), max_size=6))
def test_a_machine_is_given_up_once_and_only_behind_its_last_deed(pauses_s: list[float]) -> None:
    async def main(loop: VirtualLoop) -> tuple[float, list[float]]:
        deeds, given_up = [0], []
        with given_up_when_still(lambda: deeds[0], lambda sentence: given_up.append(loop.time()), STILL_S):
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


async def dreamer(*_where: Path) -> Any:
    """A host that never does anything."""
    while True:
        await asyncio.sleep(60.0)


def test_a_printers_host_under_which_nothing_happens_is_told_with_its_place(tmp_path: Path) -> None:
    write_small_job(tmp_path / "part.kiln", 1)
    scenario = Scenario(schema_version=1, name="still", cell_xy_mm=20.0, still_s_max=3600.0)
    result = run_scenario(scenario, tmp_path / "part.kiln", tmp_path / "run", host=dreamer)
    assert result.verdict is Verdict.HANG and result.sim_s < 2 * 3600.0
    said = r"the machine had done nothing for 3600 s, and the host had not ended; it waited at dreamer \(\S+:\d+\)$"
    assert re.match(said, result.judgement.reasons[0])


def test_a_rovers_host_that_does_not_end_is_told_with_its_place(tmp_path: Path) -> None:
    scenario = DriveScenario(sim_s_max=600.0, details=False)
    result = run_drive(scenario, lane(tmp_path / "r.json", 4.0), tmp_path / "run", ground=HILLS, host=dreamer)
    assert result.verdict is Verdict.HANG
    said = r"the host had not ended after 600 simulated seconds; it waited at dreamer \(\S+:\d+\)$"
    assert re.match(said, result.judgement.reasons[0])
