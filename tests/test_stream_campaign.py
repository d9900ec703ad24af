"""Random schedules of up to four faults on the wire of a streamed layer: exact, or stopped with the right reason?"""

from __future__ import annotations

from collections import Counter

import pytest
from stream_campaign import BREAKS, KINDS, Result, broken_off, judged, stream_chunks, streamed

from hil_sim.world.emulators.marlin_firmware import MarlinBuild
from hil_sim.world.faults.schedule import Fault, FaultSchedule

BOARDS = {"marlin with ADVANCED_OK": MarlinBuild(advanced_ok=True), "marlin": MarlinBuild(advanced_ok=False)}
EXACT_PART = {"marlin with ADVANCED_OK": 0.85, "marlin": 0.85}
SILENT_PART = {"marlin with ADVANCED_OK": 1 / 20_000, "marlin": 1 / 20_000}  # what an 8-bit XOR may let through

boards = pytest.mark.parametrize("board", BOARDS)


def run_seeds(board: str, seeds: range) -> list[Result]:
    return [judged(seed, BOARDS[board]) for seed in seeds]


@boards
def test_random_faults_leave_a_layer_exact_or_stopped(board: str) -> None:
    results = run_seeds(board, range(150))
    assert [result for result in results if result.verdict == "SILENT"] == []
    assert Counter(result.verdict for result in results)["exact"] >= EXACT_PART[board] * len(results)


@pytest.mark.soak
@boards
def test_random_faults_thousands_of_times(board: str, request: pytest.FixtureRequest) -> None:
    count = int(request.config.getoption("--schedules"))
    results = run_seeds(board, range(count))
    verdicts = Counter(result.verdict for result in results)
    print(f"{board}: {dict(verdicts)} of {count}")
    silent = [result for result in results if result.verdict == "SILENT"]
    assert len(silent) <= SILENT_PART[board] * count, silent
    assert verdicts["exact"] >= EXACT_PART[board] * count


@boards
@pytest.mark.parametrize("kind", [kind for kind in KINDS if " " not in kind])
def test_one_fault_at_any_chunk_is_mended(board: str, kind: str) -> None:
    """Every seventh chunk each way: a line that was struck once is repeated, and nothing is done twice."""
    first_in, last_in, first_out, last_out = stream_chunks(BOARDS[board])
    args = {"flip": {"byte": 9, "bit": 3}, "delay": {"delay_s": 3.0}}.get(kind, {})
    for point, first, last in (("motion.to_device", first_in, last_in), ("motion.to_host", first_out, last_out)):
        for at_chunk in range(first, last, 7):
            fault = Fault(kind, point, at_chunk=at_chunk, args=tuple(sorted(args.items())))
            verdict, reason, struck, _ = streamed(BOARDS[board], FaultSchedule((fault,)))
            assert struck == [fault] and verdict == "exact", (fault, verdict, reason)


REASONS = {
    "reset": "has restarted in the middle",
    "reset, banner lost": "its line counter was changed by a restart",
    "unplugged": "was lost: the device has hung up",
    "unplugged and back": "was lost: the device has hung up",
}


@boards
def test_a_board_that_is_reset_or_unplugged_stops_the_stream_for_that_reason(board: str) -> None:
    for seed in range(12 * len(BREAKS)):
        what, ended = broken_off(seed, BOARDS[board])
        assert REASONS[what] in ended, (seed, what)
