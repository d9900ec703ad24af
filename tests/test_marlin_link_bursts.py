"""Does a stream outlive what a bad line does to it for more than a frame: ends torn off, noise between lines, bursts?

Each case here was found by random schedules: a line merged with its neighbour unseen, or a wait of fifteen minutes.
"""

from __future__ import annotations

from typing import Any

import pytest
from stream_boards import marlin
from stream_campaign import stream_chunks, streamed

from firmware_bridge.links.line_framing import frame_line
from firmware_bridge.links.marlin_flight import MARKER_ECHO, Flight
from hil_sim.world.emulators.marlin_firmware import MarlinBuild
from hil_sim.world.faults.schedule import Fault, FaultSchedule

BOARDS = {
    "with ADVANCED_OK": marlin(MarlinBuild(advanced_ok=True)),
    "without": marlin(MarlinBuild(advanced_ok=False)),
}
boards = pytest.mark.parametrize("board", BOARDS)


def ended(board: str, *faults: Fault) -> tuple[str, str]:
    """How the layer ended under these faults, all of which must have struck, and why."""
    verdict, reason, struck, _ = streamed(BOARDS[board], FaultSchedule(faults))
    assert {fault.kind for fault in struck} == {fault.kind for fault in faults}
    return verdict, reason


def to_device(kind: str, **settings: Any) -> Fault:
    return Fault(kind, "motion.to_device", **settings)


@boards
@pytest.mark.parametrize("lost", [2, 5, 20, 30])
def test_a_line_whose_end_is_torn_off_never_runs_into_the_next(board: str, lost: int) -> None:
    """Its number and the rest would pass the 8-bit XOR once in ten: the newline in front of the next line ends it."""
    first, last = stream_chunks(BOARDS[board])[:2]
    for at_chunk in range(first, last, 9):
        fault = to_device("truncate", at_chunk=at_chunk, args={"bytes": lost})
        assert ended(board, fault) == ("exact", ""), at_chunk


@boards
@pytest.mark.parametrize("kind", ["garbage", "insert", "noise"])
def test_noise_between_lines_does_not_end_the_stream(board: str, kind: str) -> None:
    args = {"garbage": {"bytes": 8}, "insert": {"hex": "0aff20ff0a"}, "noise": {"rate": 0.02}}[kind]
    first, last = stream_chunks(BOARDS[board])[:2]
    ends = [ended(board, to_device(kind, at_chunk=n, args=args)) for n in range(first, last, 13)]
    assert [end for end in ends if end[0] not in ("exact", "detected")] == []
    assert sum(end[0] == "exact" for end in ends) >= 0.9 * len(ends)


@boards
@pytest.mark.parametrize("kind", ["merge", "drop"])
@pytest.mark.parametrize("count", [5, 7])
def test_a_burst_that_eats_the_questions_too_is_asked_behind(board: str, kind: str, count: int) -> None:
    """In the middle of the layer, and at the question whether the machine stands."""
    first, last = stream_chunks(BOARDS[board])[:2]
    for at_chunk in ((first + last) // 2, last - 2):
        assert ended(board, to_device(kind, at_chunk=at_chunk, count=count)) == ("exact", "")


@boards
def test_lines_that_are_asked_for_and_lost_again_are_asked_for_again(board: str) -> None:
    faults = (to_device("drop", at_chunk=20, count=5), to_device("drop", at_chunk=26, count=5))
    assert ended(board, *faults) == ("exact", "")


def test_what_is_ours_is_told_from_noise() -> None:
    flight = Flight(1, MARKER_ECHO, needs_markers=False, is_blind=False)
    for n in range(20):
        flight.number(b"G1 X%d.125 Y7.5 F1200 S500" % n)
    ours = ["G1X", "500", "00 S500", "W1 X7.125 Y7.5 F1200 S500", "N5 G1 X4", "1 X12.125 Y"]
    noise = ["", "\xfe\x00z!", "ok N17 P8 B3", "0", "X1", "501"]
    assert [flight.resembles_ours(text) for text in (*ours, *noise)] == [True] * len(ours) + [False] * len(noise)


def test_every_line_begins_and_ends_with_a_newline() -> None:
    assert frame_line(3, b"T0") == b"\nN3 T0*57\n"
