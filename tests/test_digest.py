"""Is a run's digest the same wherever it is made, and another one when anything of it is another?"""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from bench_helpers import REPOSITORY
from hil_helpers import SHORT

from hil_sim.harness.digest import DIGEST_BYTES, RunDigest
from hil_sim.harness.small_job import bench_subject
from hil_sim.world.faults import Fault, FaultSchedule

FLIPPED = FaultSchedule((Fault("flip", "motion.to_device", at_chunk=9, args={"byte": 3, "bit": 1}),))

ELSEWHERE = """
import sys
from pathlib import Path
from hil_sim.harness.motion_subject import MotionSubject
from hil_sim.harness.small_job import bench_subject
from hil_sim.world.faults import Fault, FaultSchedule

folder, what = Path(sys.argv[1]), sys.argv[2]
subject = MotionSubject(vectors=12) if what == "motion" else bench_subject(folder, layers=1)
flipped = FaultSchedule((Fault("flip", "motion.to_device", at_chunk=9, args={"byte": 3, "bit": 1}),))
print(subject.run(flipped, 5).digest.whole)
"""


@pytest.mark.parametrize(("what", "hash_seeds"), [("motion", ["0", "4242"]), ("bench", ["4242"])])
def test_the_same_run_has_one_digest_in_any_process_and_folder(
    what: str, hash_seeds: list[str], tmp_path: Path
) -> None:
    subject = SHORT if what == "motion" else bench_subject(tmp_path, layers=1)
    here = subject.run(FLIPPED, 5).digest.whole
    for hash_seed in hash_seeds:
        folder = tmp_path / hash_seed
        folder.mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-c", ELSEWHERE, str(folder), what]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=100)
        assert done.stdout.strip() == here


def test_a_fault_changes_what_was_heard_and_what_struck() -> None:
    clean, struck = SHORT.run(FaultSchedule(), 0).digest, SHORT.run(FLIPPED, 0).digest
    assert clean.wires != struck.wires and clean.strikes != struck.strikes and clean.whole != struck.whole


def test_a_fault_that_never_strikes_leaves_no_trace() -> None:
    idle = FaultSchedule((Fault("drop", "motion.to_host", at_chunk=10**9),))
    assert SHORT.run(idle, 0).digest == SHORT.run(FaultSchedule(), 0).digest


def test_the_list_of_strikes_is_no_deed() -> None:
    first, second = (RunDigest().close("truth", strikes, "done") for strikes in ([], ["drop"]))
    assert first.deeds == second.deeds and first.whole != second.whole


@pytest.mark.parametrize("other", [(0.2, "a", b"x"), (0.1, "b", b"x"), (0.1, "a", b"y")])
def test_time_place_and_bytes_of_a_chunk_count(other: tuple[float, str, bytes]) -> None:
    first, second = RunDigest(), RunDigest()
    first.tap(0.1, "a", b"x")
    second.tap(*other)
    assert first.close(0, 0, 0).wires != second.close(0, 0, 0).wires


def test_chunks_do_not_run_into_each_other() -> None:
    one, two = RunDigest(), RunDigest()
    one.tap(0.0, "a", b"xy")
    for part in (b"x", b"y"):
        two.tap(0.0, "a", part)
    assert one.close(0, 0, 0).wires != two.close(0, 0, 0).wires


def test_every_chunk_counts_however_many_there_are() -> None:
    """They are hashed many at a time: none may be left behind, neither in the middle nor at the end."""
    chunks = [(0.001 * n, f"wire{n % 3}.to_host", b"%d" % n) for n in range(2500)]
    plain = hashlib.blake2b(digest_size=DIGEST_BYTES)
    heard = RunDigest()
    for t_s, point, data in chunks:
        plain.update(struct.pack("<dHI", t_s, len(point), len(data)) + point.encode() + data)
        heard.tap(t_s, point, data)
        if heard.chunks in (1, 1700):
            assert heard.so_far() == plain.digest()
    assert heard.close(0, 0, 0).wires == plain.hexdigest()


def test_the_place_of_a_run_on_disk_does_not_count() -> None:
    outcomes = [{"reason": f"the disk is full: {place}/run.sqlite"} for place in ("/tmp/a", '/tmp/"b"')]
    places = ["/tmp/a", '/tmp/"b"']
    digests = [RunDigest().close(0, 0, said, hidden=(place,)) for said, place in zip(outcomes, places)]
    assert digests[0] == digests[1]
    assert digests[0] != RunDigest().close(0, 0, {"reason": "the disk is full"}, hidden=("/tmp/a",))


def test_chunks_are_kept_only_if_asked_for() -> None:
    kept = RunDigest(keep=True)
    kept.tap(0.5, "a", b"x")
    assert kept.log == [(0.5, "a", b"x")] and RunDigest().log is None
