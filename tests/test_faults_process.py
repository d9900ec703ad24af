"""Faults of the host's computer: its disk is full, failing or slow; it dies, is held up, or is shown a wrong clock."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from crash_helpers import NEVER, blindfold, crash, run_faulty, small_job
from hypothesis import given, settings
from hypothesis import strategies as st

from control.clock import run_start_ns
from control.files import FileError, FolderBusy, sole_use, working_with, write_atomically
from control.host import Outcome, Status, print_host, read_outcome
from control.journal import Declaration, Journal
from hil_sim.harness.belief import telemetry
from hil_sim.harness.host_files import FaultyFiles
from hil_sim.harness.host_process import HostStory, resume_here, run_hosts
from hil_sim.harness.oracle import Verdict
from hil_sim.virtual_process import VirtualProcess
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import RUN_START_EPOCH_NS, VirtualLoop
from hil_sim.world.build import build_world
from hil_sim.world.faults import Fault, Faults, FaultSchedule
from hil_sim.world.wiring import WorldError

MIDDLE_S = 13.0  # the first layer is being exposed then


@pytest.fixture(autouse=True)
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are not the question."""
    blindfold(monkeypatch)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers."""
    return small_job(tmp_path_factory.mktemp("three"), 3)


def window(kind: str, point: str, at_s: float, for_s: float, **args: Any) -> dict[str, Any]:
    return {"kind": kind, "point": point, "at_s": at_s, "for_s": for_s, "args": args}


# ---- the disk


def test_a_full_disk_costs_the_record_and_not_the_part(job: Path, tmp_path: Path) -> None:
    """The journal has its room, and so has the outcome."""
    ended = run_faulty(job, tmp_path, window("enospc", "host.files", 3.0, 1e6))
    ended.assert_whole(deaths=0)
    assert ended.result.verdict is Verdict.EXACT, ended.told
    assert any("telemetry ends here" in text and "No space left" in text for text in ended.events())
    assert read_outcome(tmp_path).status is Status.DONE
    assert {strike.point for strike in ended.result.record.faults} == {"host.files"}


def test_a_record_that_cannot_even_be_begun_costs_only_itself(job: Path, tmp_path: Path) -> None:
    ended = run_faulty(job, tmp_path, window("eio", "host.telemetry", 0.0, 1e6))
    ended.assert_whole(deaths=0)
    assert any("telemetry ends here" in text for text in ended.events())


def test_a_disk_that_is_full_from_the_start_is_said_before_anything_moves(job: Path, tmp_path: Path) -> None:
    ended = run_faulty(job, tmp_path, window("enospc", "host.files", 0.0, 1e6))
    assert ended.result.outcome is None and not ended.result.record.blocks
    assert "free space" in ended.told, ended.told


@pytest.mark.parametrize(("kind", "says"), [("enospc", "the disk is full"), ("eio", "check the disk")])
@pytest.mark.parametrize("write", [14, 20, 33])
def test_a_journal_that_cannot_be_written_stops_the_run_safe_and_is_named(
    job: Path, tmp_path: Path, kind: str, says: str, write: int
) -> None:
    ended = run_faulty(job, tmp_path, {"kind": kind, "point": "host.journal", "at_event": write, "count": 10**6})
    outcome = ended.result.outcome
    assert outcome is not None and (outcome.status, outcome.exit_code) == (Status.FAILED, 2), ended.told
    assert f"the journal {tmp_path / 'run.sqlite'} failed" in outcome.reason and says in outcome.reason
    assert ended.result.verdict is Verdict.DETECTED, ended.told
    ended.assert_safe()


@pytest.mark.parametrize("kind", ["enospc", "eio"])
@pytest.mark.parametrize("write", range(10, 50, 4))
def test_a_run_whose_journal_failed_is_resumed_when_the_disk_is_well_again(
    job: Path, tmp_path: Path, kind: str, write: int
) -> None:
    async def host(job_path: Path, toml: Path, run_dir: Path) -> Outcome:
        outcome = await print_host(job_path, toml, run_dir)
        return outcome if outcome.status is Status.DONE else await resume_here(job_path, toml, run_dir)

    fault = {"kind": kind, "point": "host.journal", "at_event": write}
    ended = run_faulty(job, tmp_path, fault, host=host)
    ended.assert_whole()


def test_a_slow_disk_is_waited_for(job: Path, tmp_path: Path) -> None:
    """Every journal write takes 0.2 s: lines wait for their group, and a beam that stood is owned up to."""
    plain = run_faulty(job, tmp_path / "plain", NEVER)
    ended = run_faulty(job, tmp_path / "slow", window("slow_disk", "host.journal", 3.0, 1e6, delay_s=0.2))
    assert ended.result.sim_s > plain.result.sim_s + 2.0
    ended.assert_whole(deaths=0)


@pytest.mark.parametrize("delay_s", [0.05, 0.5, 3.0])
def test_a_disk_that_holds_up_the_record_holds_up_nothing_else(job: Path, tmp_path: Path, delay_s: float) -> None:
    """The record is written beside the loop: no line, no poll and no stop waits for it."""
    plain = run_faulty(job, tmp_path / "plain", NEVER)
    ended = run_faulty(job, tmp_path / "slow", window("slow_disk", "host.telemetry", 3.0, 1e6, delay_s=delay_s))
    ended.assert_whole(deaths=0)
    assert ended.result.sim_s == plain.result.sim_s
    assert (tmp_path / "slow" / "telemetry.mcap").read_bytes() == (tmp_path / "plain" / "telemetry.mcap").read_bytes()


def test_whole_files_are_whole_or_as_before(tmp_path: Path) -> None:
    async def main(loop: VirtualLoop, kind: str) -> bytes:
        (tmp_path / "f").write_bytes(b"before")
        faults = Faults(FaultSchedule((Fault(kind, "host.files", at_event=0, args={"bytes": 3}),)))
        process = VirtualProcess(loop, "host")
        disk = FaultyFiles(faults, process)

        async def host() -> None:
            with working_with(disk):
                write_atomically(tmp_path / "f", b"after, and longer")

        task = process.start(host(), "host")
        await asyncio.wait({task})
        if kind in ("enospc", "eio"):
            with pytest.raises(FileError, match=r"cannot write .*f:"):
                task.result()
        else:
            assert process.is_dead is (kind != "slow_disk")
        return (tmp_path / "f").read_bytes()

    for kind in ("enospc", "eio", "torn_write", "crash"):
        assert run_virtual(lambda loop, kind=kind: main(loop, kind)) == b"before", kind
    assert run_virtual(lambda loop: main(loop, "slow_disk")) == b"after, and longer"


def test_a_whole_file_on_a_slow_disk_holds_up_the_host_and_nobody_else(tmp_path: Path) -> None:
    """Nobody writes it beside the loop: the host goes on when it is written, and the world meanwhile."""

    async def main(loop: VirtualLoop) -> tuple[float, float]:
        fault = Fault("slow_disk", "host.files", at_event=0, args={"delay_s": 0.7})
        process = VirtualProcess(loop, "host")
        disk = FaultyFiles(Faults(FaultSchedule((fault,))), process)

        async def host() -> float:
            with working_with(disk):
                write_atomically(tmp_path / "first", b"slow")
                await asyncio.sleep(0.0)
                first_s = loop.time()
                write_atomically(tmp_path / "second", b"as fast as ever")
                await asyncio.sleep(0.0)
                assert loop.time() == first_s
                return first_s

        async def world() -> float:
            await asyncio.sleep(0.1)
            return loop.time()

        beside = loop.create_task(world())
        return await process.start(host(), "host"), await beside

    assert run_virtual(main) == (pytest.approx(0.7), pytest.approx(0.1))


@settings(max_examples=60)
@given(cut=st.integers(0, 20_000), commits=st.integers(0, 30))
def test_a_torn_write_is_as_if_it_had_never_been_begun(
    tmp_path_factory: pytest.TempPathFactory, cut: int, commits: int
) -> None:
    """A journal whose newest commit is on the disk in part holds all that was committed before, and nothing of it."""
    path = tmp_path_factory.mktemp("torn") / "run.sqlite"
    writes = 1 + 6 + commits  # the tables, the session with its room, the commits
    fault = Fault("torn_write", "host.journal", at_event=writes, args={"bytes": cut})

    async def main(loop: VirtualLoop) -> None:
        process = VirtualProcess(loop, "host")
        disk = FaultyFiles(Faults(FaultSchedule((fault,))), process)

        async def host() -> None:
            with working_with(disk):
                journal = Journal.create(path, {"job_sha256": "ab"})
                journal.begin_session()
                for number in range(commits + 10):
                    await journal.declare(Declaration("interrupted", number, number, 2 * number))

        process.start(host(), "host")
        await process.died
        after = Journal.open(path)
        assert [d.layer for d in after.declarations()] == list(range(commits))
        assert after.begin_session() == 2
        await after.declare(Declaration("recoated", 99, -1, -1))
        after.close()
        assert Journal.open(path).declarations()[-1].layer == 99

    run_virtual(main)


def test_the_lock_of_a_dead_host_is_let_go_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    async def main(loop: VirtualLoop) -> None:
        process = VirtualProcess(loop, "host")
        disk = FaultyFiles(Faults(), process)

        async def host() -> None:
            with working_with(disk), sole_use(tmp_path):
                await asyncio.sleep(1e6)

        process.start(host(), "host")
        await asyncio.sleep(1.0)
        with pytest.raises(FolderBusy, match="another moonkiln works"), sole_use(tmp_path):
            pass
        process.kill("kill -9")
        with sole_use(tmp_path):
            pass

    run_virtual(main)


# ---- the process


@pytest.mark.parametrize("write", [13, 30, 50])
def test_a_host_that_dies_at_a_write_is_followed_by_one_that_completes_the_part(
    job: Path, tmp_path: Path, write: int
) -> None:
    ended = run_faulty(job, tmp_path, crash(write, when="after", back_after_s=3.0))
    assert any("crash at write" in reason for reason in ended.result.judgement.reasons)
    ended.assert_whole()


def test_a_host_that_nobody_follows_leaves_a_safe_machine_and_no_word(job: Path, tmp_path: Path) -> None:
    ended = run_faulty(job, tmp_path, crash(20, back_after_s=-1.0))
    assert ended.result.outcome is None and ended.result.verdict is Verdict.DETECTED, ended.told
    assert not (tmp_path / "outcome.json").exists()
    ended.assert_safe()


@pytest.mark.parametrize("at_s", [0.05, 4.0, 8.0, 11.95, MIDDLE_S, 15.7, 20.0])
def test_a_host_may_be_killed_at_any_moment(job: Path, tmp_path: Path, at_s: float) -> None:
    ended = run_faulty(job, tmp_path, window("crash", "host", at_s, 0.05))
    assert any("died at" in reason for reason in ended.result.judgement.reasons)
    ended.assert_whole()


@pytest.mark.parametrize("for_s", [1.6, 2.0, 5.0, 60.0])
def test_a_host_that_is_held_up_finds_the_machine_made_safe(job: Path, tmp_path: Path, for_s: float) -> None:
    """The head's watchdog lives 1 s: the beam is dark long before the host wakes, and the host says what it found."""
    ended = run_faulty(job, tmp_path, window("loop_blocked", "host", MIDDLE_S, for_s))
    outcome = ended.result.outcome
    assert outcome is not None and outcome.status is not Status.DONE, ended.told
    assert ended.result.verdict is Verdict.DETECTED, ended.told
    ended.assert_safe()


@pytest.mark.parametrize("at_s", [0.5, 4.0, 11.9, MIDDLE_S, 15.0])
@pytest.mark.parametrize("for_s", [0.02, 0.2, 0.6, 1.1])
def test_a_host_that_is_held_up_for_a_moment_does_no_harm(job: Path, tmp_path: Path, at_s: float, for_s: float) -> None:
    ended = run_faulty(job, tmp_path, window("loop_blocked", "host", at_s, for_s))
    ended.assert_safe()
    if for_s < 0.1:
        ended.assert_whole(deaths=0)


@pytest.mark.parametrize("to_s", [0.0, 4e9])
def test_a_wall_clock_that_jumps_changes_nothing(job: Path, tmp_path: Path, to_s: float) -> None:
    plain = run_faulty(job, tmp_path / "plain", NEVER)
    ended = run_faulty(job, tmp_path / "jump", window("clock_jump", "host", 1.0, 7.0, to_s=to_s))
    assert [strike.kind for strike in ended.result.record.faults] == ["clock_jump"]
    assert ended.result.outcome == plain.result.outcome and ended.result.verdict is Verdict.EXACT
    assert ended.result.record.blocks == plain.result.record.blocks
    assert ended.result.record.end == plain.result.record.end


def test_a_host_that_resumes_under_a_wrong_clock_completes_the_part(job: Path, tmp_path: Path) -> None:
    faults = window("clock_jump", "host", 1.0, 1e6), crash(25)
    ended = run_faulty(job, tmp_path, *faults)
    ended.assert_whole()
    began = ended.result.starts.began
    assert len(began) == 2 and began[1][1] < began[0][1], "the second host saw no other clock than the first"
    told = telemetry(tmp_path, ended.result.starts, ["host.state"]).signals["host.state"]
    second_s = told.times_s[1:]  # of the first, what it told before its first chunk was full died with it
    assert len(second_s) > 5 and second_s[0] >= began[1][0] and second_s[-1] <= ended.result.sim_s


def test_a_host_is_killed_while_its_clock_is_wrong(job: Path, tmp_path: Path) -> None:
    faults = window("clock_jump", "host", 1.0, 1e6), window("crash", "host", MIDDLE_S, 0.05)
    ended = run_faulty(job, tmp_path, *faults)
    assert any("died at" in reason for reason in ended.result.judgement.reasons)
    ended.assert_whole()


def test_a_clock_that_jumps_shows_in_the_labels_of_its_window_alone(tmp_path: Path) -> None:
    fault = Fault("clock_jump", "host", at_s=10.0, for_s=20.0, args={"to_s": 1000.0})

    async def host(*_where: Path) -> list[int]:
        """What a wall clock shows at 5, 15, 25 and 35 s."""
        labels_ns = []
        for _ in range(4):
            await asyncio.sleep(5.0 if not labels_ns else 10.0)
            labels_ns.append(run_start_ns() + round(asyncio.get_running_loop().time() * 1e9))
        return labels_ns

    async def main(loop: VirtualLoop) -> list[int] | None:
        where = (tmp_path, tmp_path, tmp_path)
        return await run_hosts(loop, Faults(FaultSchedule((fault,))), host, None, where, story=HostStory())

    before_ns, jumped_ns, later_ns, after_ns = run_virtual(main) or []
    assert (before_ns, after_ns) == (RUN_START_EPOCH_NS + 5 * 10**9, RUN_START_EPOCH_NS + 35 * 10**9)
    assert (jumped_ns / 1e9, later_ns / 1e9) == (pytest.approx(1005.0, abs=0.02), pytest.approx(1015.0, abs=0.02))


def test_a_world_without_a_simulated_host_refuses_faults_of_one() -> None:
    """`sim serve` has a host of its own, whose disk is none of the world's."""

    async def main(_loop: VirtualLoop) -> None:
        with pytest.raises(WorldError, match="no point 'host"):
            await build_world("bench", faults=FaultSchedule((Fault("crash", "host.journal", at_event=3),)))

    run_virtual(main)
