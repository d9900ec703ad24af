"""A host that is killed at any write of its journal, and followed by another: is anything lost, or repeated unowned?

The death is `kill -9` at that very write: no except and no finally of the host runs, its wires fall, what the system
had not taken from it is gone. The machine lives on: it carries out what it holds, and its watchdogs trip.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from crash_helpers import NEVER, Ended, blindfold, crash, run_faulty, small_job

from control.outcome import Status
from hil_sim.harness.oracle import Verdict

LAYERS = 50
STRIDE = 7  # every so many-th write of the short job in the fast tests; soak takes them all
SAMPLE = 80  # every so many-th write of the long job in the fast tests; soak takes them all
TEARS = (0, 1, 23, 24, 25, 300, 4095, 4119, 4120, 5000)  # in and around a frame's header, its page, and the next frame


@pytest.fixture(autouse=True)
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are not the question."""
    blindfold(monkeypatch)


@pytest.fixture(scope="module")
def short_job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers: a first, one between, a last."""
    return small_job(tmp_path_factory.mktemp("short"), 3)


@pytest.fixture(scope="module")
def long_job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty layers."""
    return small_job(tmp_path_factory.mktemp("long"), LAYERS, sparse=True)


def writes_of(job: Path, folder: Path) -> int:
    """How many writes its journal takes in a run in which nothing happens."""
    ended = run_faulty(job, folder / "plain", NEVER)
    ended.assert_whole(deaths=0)
    assert ended.result.verdict is Verdict.EXACT, ended.told
    return ended.result.host_writes["host.journal"]


def assert_followed(ended: Ended, write: int) -> None:
    """Either the next host completed the part, or there was no run yet and it said so."""
    assert any("died at" in reason for reason in ended.result.judgement.reasons), f"write {write}: nobody died"
    if write == 0:  # the journal's first transaction: the job is not in the folder yet, there is nothing to resume
        assert ended.result.outcome is None and ended.result.record.blocks == [], ended.told
        assert "print again" in ended.told, ended.told
    else:
        ended.assert_whole()
    ended.assert_safe()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("first", [0, *(pytest.param(n, marks=pytest.mark.soak) for n in range(1, STRIDE))])
def test_a_host_is_killed_at_every_journal_write_of_a_short_job(
    short_job: Path, tmp_path: Path, when: str, first: int
) -> None:
    count = writes_of(short_job, tmp_path)
    assert count > 30
    for write in range(first, count, STRIDE):
        assert_followed(run_faulty(short_job, tmp_path / f"{write}", crash(write, when=when)), write)


@pytest.mark.parametrize("first", [0, *(pytest.param(n, marks=pytest.mark.soak) for n in range(1, STRIDE))])
def test_every_journal_write_of_a_short_job_is_torn(short_job: Path, tmp_path: Path, first: int) -> None:
    count = writes_of(short_job, tmp_path)
    for write in range(first, count, STRIDE):
        torn = {"kind": "torn_write", "point": "host.journal", "at_event": write}
        torn["args"] = {"bytes": TEARS[write % len(TEARS)]}
        assert_followed(run_faulty(short_job, tmp_path / f"{write}", torn), write)


def test_every_other_write_of_a_short_job_may_be_the_last(short_job: Path, tmp_path: Path) -> None:
    """Machine file, job, room on the disk, telemetry, outcome: whatever the host writes beside its journal."""
    ended = run_faulty(short_job, tmp_path / "plain", NEVER)
    count = ended.result.host_writes["host.files"]
    journals = ended.result.host_writes["host.journal"]
    assert count > journals
    for write in [*range(6), *range(count - 8, count)]:
        for kind in ("crash", "torn_write"):
            fault = {"kind": kind, "point": "host.files", "at_event": write, "args": {"back_after_s": 0.0}}
            ended = run_faulty(short_job, tmp_path / f"{kind}{write}", fault)
            ended.assert_safe()
            if ended.result.outcome is None:
                assert "print again" in ended.told and not ended.result.record.blocks, ended.told
            elif ended.result.outcome.status is not Status.DONE:
                raise AssertionError(ended.told)
            else:
                ended.assert_whole()


@pytest.mark.parametrize(
    "first", [pytest.param(0), *(pytest.param(n, marks=pytest.mark.soak) for n in range(1, SAMPLE))]
)
@pytest.mark.timeout(900)
def test_a_long_job_survives_a_death_at_every_journal_write(long_job: Path, tmp_path: Path, first: int) -> None:
    count = writes_of(long_job, tmp_path)
    assert count > 300
    for write in range(first, count, SAMPLE):
        when = "before" if write % 2 else "after"
        ended = run_faulty(long_job, tmp_path / f"{write}", crash(write, when=when, back_after_s=(write % 5) * 0.4))
        assert_followed(ended, write)


def test_hosts_that_die_again_and_again_get_the_part_done(short_job: Path, tmp_path: Path) -> None:
    """Each host is killed some writes after the last one was: bring-up and reconciliation are no havens."""
    count = writes_of(short_job, tmp_path)
    deaths = tuple(crash(write, back_after_s=0.3) for write in range(9, 3 * count, 17))
    ended = run_faulty(short_job, tmp_path / "run", *deaths)
    died = sum("died at" in reason for reason in ended.result.judgement.reasons)
    assert died >= 3
    ended.assert_whole(deaths=died)
