"""Random schedules of up to four faults on the wire of a streamed layer: exact, or stopped with the right reason?"""

from __future__ import annotations

from collections import Counter

import pytest
from stream_boards import grbl, marlin, reprap
from stream_campaign import BREAKS, KINDS, Broken, Result, broken_off, judged, stream_chunks, streamed

from hil_sim.world.emulators.marlin_firmware import MarlinBuild
from hil_sim.world.faults.schedule import Fault, FaultSchedule

BOARDS = {
    "marlin with ADVANCED_OK": marlin(MarlinBuild(advanced_ok=True)),
    "marlin": marlin(MarlinBuild(advanced_ok=False)),
    "grbl with line numbers": grbl(line_numbers=True),
    "grbl": grbl(line_numbers=False),
    "reprap": reprap(),
}
EXACT_PART = {
    "marlin with ADVANCED_OK": 0.85,
    "marlin": 0.85,
    "grbl with line numbers": 0.5,
    "grbl": 0.5,
    "reprap": 0.95,
}
SILENT_PART = {  # what an 8-bit XOR may let through; Grbl has no checksum, and what is not proven is not claimed
    "marlin with ADVANCED_OK": 1 / 20_000,
    "marlin": 1 / 20_000,
    "grbl with line numbers": 0.0,
    "grbl": 0.0,
    "reprap": 0.0,
}

boards = pytest.mark.parametrize("board", BOARDS)
mending = pytest.mark.parametrize("board", [board for board in BOARDS if not board.startswith("grbl")])
without_checksum = pytest.mark.parametrize("board", [board for board in BOARDS if board.startswith("grbl")])


def run_seeds(board: str, seeds: range) -> list[Result]:
    return [judged(seed, BOARDS[board]) for seed in seeds]


@boards
def test_random_faults_leave_a_layer_exact_or_stopped(board: str) -> None:
    results = run_seeds(board, range(20 if board.startswith("grbl") else 150))
    assert [result for result in results if result.verdict not in ("exact", "detected")] == []
    assert Counter(result.verdict for result in results)["exact"] >= EXACT_PART[board] * len(results)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@boards
def test_random_faults_thousands_of_times(board: str, request: pytest.FixtureRequest) -> None:
    count = int(request.config.getoption("--schedules"))
    results = run_seeds(board, range(count))
    verdicts = Counter(result.verdict for result in results)
    print(f"{board}: {dict(verdicts)} of {count}")
    silent = [result for result in results if result.verdict == "SILENT"]
    assert len(silent) <= SILENT_PART[board] * count, silent
    assert verdicts["moves on"] == 0
    assert verdicts["exact"] >= EXACT_PART[board] * count


@mending
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


@without_checksum
@pytest.mark.parametrize("kind", [kind for kind in KINDS if " " not in kind])
def test_one_fault_at_any_chunk_is_never_silent(board: str, kind: str) -> None:
    """Every 61st chunk each way. Without a checksum a damaged line stops the stream; a lost answer does not."""
    first_in, last_in, first_out, last_out = stream_chunks(BOARDS[board])
    args = {"flip": {"byte": 9, "bit": 3}, "delay": {"delay_s": 3.0}}.get(kind, {})
    for point, first, last in (("motion.to_device", first_in, last_in), ("motion.to_host", first_out, last_out)):
        for at_chunk in range(first, last, 61):
            fault = Fault(kind, point, at_chunk=at_chunk, args=tuple(sorted(args.items())))
            verdict, reason, struck, _ = streamed(BOARDS[board], FaultSchedule((fault,)))
            assert struck == [fault] and verdict in ("exact", "detected"), (fault, verdict, reason)
            assert kind != "delay" or verdict == "exact", (fault, reason)  # nothing is lost, so nothing is in doubt


LOST = ("was lost: the device has hung up",)
REASONS = {
    "reset": ("has restarted in the middle",),
    "reset, banner lost": ("its line counter was changed by a restart",),
    "unplugged": LOST,
    "unplugged and back": LOST,
    "back under another number": LOST,
}
GRBL_REASONS = {
    "reset, banner lost": ("is in state Alarm, and nobody asked for that", "has restarted since, or has stopped itself")
}
RARE_BREAKS = (316,)  # Grbl restarts between two lines of the stream's beginning, and its banner is lost
REPRAP_REASONS = {"reset, banner lost": ("has restarted in the middle of the conversation (",)}


def is_right(broken: Broken, board: str) -> bool:
    """Whether the host stopped, named what had happened, and nothing but the plan's beginning was executed."""
    reasons = REASONS | {"grbl": GRBL_REASONS, "reprap": REPRAP_REASONS}.get(board.split()[0], {})
    return any(reason in broken.ended for reason in reasons[broken.what]) and broken.is_prefix


@boards
def test_a_board_that_is_reset_or_unplugged_stops_the_stream_for_that_reason(board: str) -> None:
    for seed in (*range((3 if board.startswith("grbl") else 12) * len(BREAKS)), *RARE_BREAKS):
        broken = broken_off(seed, BOARDS[board])
        assert is_right(broken, board), broken


@pytest.mark.soak
@pytest.mark.timeout(3600)
@boards
def test_a_board_is_reset_or_unplugged_a_thousand_times(board: str, request: pytest.FixtureRequest) -> None:
    """Counted apart from the schedules of noise: nothing can mend these."""
    count = int(request.config.getoption("--breaks"))
    broken = [broken_off(seed, BOARDS[board]) for seed in range(count)]
    right = Counter(each.what for each in broken if is_right(each, board))
    print(f"{board}: right reason {dict(right)} of {count}")
    assert [each for each in broken if not is_right(each, board)] == []
