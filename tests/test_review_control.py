"""What must not pass for a good print: a beam that went out unseen, a plane that moved, a stop that was half heard."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from print_helpers import Bystander, Printed, Script, print_virtual
from test_print_virtual import HALF_WAY, at_half_way, plate

from control.config import load_machine
from control.files import FileError
from control.host import JOURNAL_NAME, Outcome, Status, _host, print_host, resume_host
from control.journal import Journal, JournalError
from control.operator import Intent, Operator
from firmware_bridge.devices.beam import BeamHead
from firmware_bridge.errors import LinkTimeout
from hil_sim.harness.matching import ENERGY_SHARE
from hil_sim.harness.oracle import Verdict
from slicer.job import Job


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plate(tmp_path_factory.mktemp("one"), 1)


async def resume(run_dir: Path, operator: Operator) -> Outcome:
    """`resume_host`, but for its refusal of simulated wires: here the world outlives the host."""
    journal = Journal.open(run_dir / JOURNAL_NAME)
    try:
        return await _host(load_machine(run_dir / "machine.toml"), journal, run_dir, operator, False, None)
    finally:
        journal.close()


def resumed(job: Path, run_dir: Path, script: Script, between: Callable[[Bystander], None]) -> Printed:
    """A print that `script` breaks off, `between`, and its resume on the same machine."""
    seen: list[Bystander] = []

    async def acting(b: Bystander) -> None:
        seen.append(b)
        await script(b)

    async def host(job_path: Path, toml: Path, folder: Path, operator: Operator, progress: Any) -> Outcome:
        first = await print_host(job_path, toml, folder, operator=operator, progress=progress)
        assert first.status is not Status.DONE
        between(seen[0])
        return await resume(folder, Operator())

    return print_virtual(job, run_dir, acting, host=host)


def assert_whole(done: Printed, job: Path) -> None:
    plan, energies = done.matched(job)
    for number, times in enumerate(energies):
        assert any(abs(e - plan.energy_j[number]) <= ENERGY_SHARE * plan.energy_j[number] for e in times), number


def test_a_door_that_bounces_is_not_a_dark_layer(job: Path, tmp_path: Path) -> None:
    async def script(b: Bystander) -> None:
        await b.until_blocks(HALF_WAY)
        b.world.beam_head.set_interlock(b.loop.time(), False)
        b.world.beam_head.set_interlock(b.loop.time(), True)

    ended = print_virtual(job, tmp_path, script)
    assert ended.verdict is Verdict.DETECTED, ended.judgement
    assert ended.outcome is not None and ended.outcome.exit_code == 4, ended.outcome


@pytest.mark.parametrize("after_s", [0.02, 0.1, 0.2, 0.3, 0.35])
def test_a_beam_that_goes_out_at_the_end_of_a_layer_commits_nothing(job: Path, tmp_path: Path, after_s: float) -> None:
    """Between two looks at the head: only the look before the commit can tell."""
    with Job.open(job) as opened:
        blocks = len(opened.layer(0).path)

    async def script(b: Bystander) -> None:
        await b.until_blocks(blocks - 1)
        await asyncio.sleep(after_s)
        b.world.beam_head.set_interlock(b.loop.time(), False)

    ended = print_virtual(job, tmp_path, script)
    plan, energies = ended.matched(job)
    assert ended.outcome is not None
    dark = [n for n, times in enumerate(energies) if not any(times) or max(times) < 0.99 * plan.energy_j[n]]
    claimed = any(layer.committed for layer in ended.outcome.layers)
    assert not (dark and claimed), ended.outcome
    assert ended.verdict is not Verdict.SILENT, ended.judgement
    ended.assert_safe()


@pytest.mark.parametrize("bounce", [False, True])
def test_a_resume_exposes_what_ran_dark(job: Path, tmp_path: Path, bounce: bool) -> None:
    async def script(b: Bystander) -> None:
        await b.until_blocks(HALF_WAY)
        b.world.beam_head.set_interlock(b.loop.time(), False)
        if bounce:
            b.world.beam_head.set_interlock(b.loop.time(), True)

    done = resumed(job, tmp_path, script, lambda b: b.world.beam_head.set_interlock(b.loop.time(), True))
    assert done.outcome is not None and done.outcome.status is Status.DONE, done.outcome
    assert done.verdict is Verdict.DEGRADED, done.judgement
    assert_whole(done, job)


def test_a_resume_whose_drives_lost_their_place_exposes_at_the_layers_height(job: Path, tmp_path: Path) -> None:
    def power_cycle(b: Bystander) -> None:
        for name in ("piston", "recoater"):
            b.world.drives[name]._homed = False

    def stop(b: Bystander) -> None:
        b.operator.ask(Intent.STOP)

    done = resumed(job, tmp_path, at_half_way(stop), power_cycle)
    assert done.outcome is not None and done.outcome.status is Status.DONE, done.outcome
    assert b_depth(done) == pytest.approx(0.5), "the piston stood elsewhere"
    assert done.verdict is Verdict.DEGRADED, done.judgement


def b_depth(done: Printed) -> float:
    return done.bystander.world.recoater.plane_drop_mm(done.end.time_s)


def test_one_lost_frame_does_not_keep_the_beam_on(job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancel-like end of our own (no trip) in the middle of a layer, and the first write of making safe gets lost."""
    dark: list[float] = []

    async def script(b: Bystander) -> None:
        await b.until_blocks(HALF_WAY)
        sent = Journal.sent

        async def broken(self: Journal, *args: Any) -> None:
            raise JournalError("the disk is full")

        real_safe = BeamHead.safe

        async def lost(self: BeamHead) -> None:
            raise LinkTimeout("a frame was lost")

        monkeypatch.setattr(Journal, "sent", broken)
        monkeypatch.setattr(BeamHead, "safe", lost)
        began = b.loop.time()
        await b.until(lambda: b.beam_w == 0.0, every_s=0.005)
        dark.append(b.loop.time() - began)
        monkeypatch.setattr(Journal, "sent", sent)
        monkeypatch.setattr(BeamHead, "safe", real_safe)

    ended = print_virtual(job, tmp_path, script)
    assert ended.outcome is not None and ended.outcome.status is not Status.DONE
    ended.assert_safe()
    assert dark[0] < 2.0, "it was fed while it was made safe"


def test_what_could_not_be_made_safe_after_a_trip_is_in_the_outcome(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(b: Bystander) -> None:
        await b.until_blocks(HALF_WAY)
        b.world.wire("bus0").hang_up()

    ended = print_virtual(job, tmp_path, script)
    assert ended.outcome is not None and ended.outcome.status is Status.STOPPED
    assert "heater could not be made safe" in ended.outcome.reason, ended.outcome.reason


# ---- two hosts, and hosts that die at a bad moment


def test_a_second_host_on_the_same_run_is_refused_and_changes_nothing(job: Path, tmp_path: Path) -> None:
    async def script(b: Bystander) -> None:
        await b.until_blocks(HALF_WAY)
        before = sorted(path.name for path in tmp_path.iterdir())
        with pytest.raises(FileError, match="another moonkiln works"):
            await resume_host(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == before

    assert print_virtual(job, tmp_path, script).verdict is Verdict.EXACT


def test_a_host_that_died_while_it_took_its_room_on_the_disk_does_not_bar_the_next(tmp_path: Path) -> None:
    Journal.create(tmp_path / "run.sqlite", {}).close()
    db = sqlite3.connect(tmp_path / "run.sqlite")
    db.execute("create table reserve (room blob)")
    db.commit()
    db.close()

    async def main() -> int:
        journal = Journal.open(tmp_path / "run.sqlite")
        try:
            return journal.begin_session()
        finally:
            journal.close()

    assert asyncio.run(main()) == 1


def test_a_journal_that_takes_no_session_is_a_sentence_and_no_fault_of_ours(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: Journal) -> int:
        raise JournalError("the disk is full; free space")

    async def script(b: Bystander) -> None:
        monkeypatch.setattr(Journal, "begin_session", full)

    ended = print_virtual(job, tmp_path, script)
    assert ended.outcome is not None
    assert (ended.outcome.status, ended.outcome.exit_code) == (Status.FAILED, 2)
    assert ended.outcome.reason.startswith("the disk is full; free space, but what the meter says of it was lost")
    ended.assert_safe()


def test_a_terminal_that_has_gone_does_not_stop_a_print(job: Path, tmp_path: Path) -> None:
    async def host(job_path: Path, toml: Path, folder: Path, operator: Operator, progress: Any) -> Outcome:
        def gone(_progress: object) -> None:
            raise BrokenPipeError(32, "Broken pipe")

        return await print_host(job_path, toml, folder, operator=operator, progress=gone)

    assert print_virtual(job, tmp_path, host=host).verdict is Verdict.EXACT
