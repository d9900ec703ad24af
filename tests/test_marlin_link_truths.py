"""What an answer of Marlin's proves whatever came before it: a line that was taken, or one that was none of ours."""

from __future__ import annotations

import asyncio

import pytest
from marlin_link_helpers import FakeMarlin, Notes, lines, talk

from firmware_bridge.errors import LinkError
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop

COUNT = 40


def streamed(replies: dict[str, list[str]], *, advanced: bool = True) -> tuple[FakeMarlin, Notes, LinkError | None]:
    """Forty lines to a board that answers the one that begins so with these replies instead; `{n}` is its number."""

    async def main(loop: VirtualLoop) -> tuple[FakeMarlin, Notes, LinkError | None]:
        link, peer = await talk(echo=True, advanced=advanced)

        def on_line(number: int, text: str) -> list[str] | None:
            scripted = replies.get(text.partition(" Y")[0])
            return scripted and [reply.format(n=number, before=number - 1, after=number + 1) for reply in scripted]

        peer.on_line = on_line
        notes = Notes()
        try:
            await link.stream(lines(COUNT), notes)
        except LinkError as error:
            return peer, notes, error
        return peer, notes, None

    return run_virtual(main)


LATE = ["Error:checksum mismatch, Last Line: {before}", "Resend: {n}", "ok"]
"""A Resend that was held up until the line that it asks for was taken."""


def test_a_line_whose_answer_names_it_is_not_repeated_for_a_late_request() -> None:
    peer, notes, error = streamed({"G1 X9.125": [*LATE, "ok N{n} P15 B3"]})
    assert error is None and notes.acks == list(range(COUNT))
    assert sum(b" G1 X9.125 " in line for line in peer.raw_lines) == 1


def test_a_marker_whose_token_came_back_is_not_repeated_for_a_late_request() -> None:
    async def main(loop: VirtualLoop) -> None:
        link, peer = await talk(echo=True)
        markers: list[int] = []

        def on_line(number: int, text: str) -> list[str] | None:
            if not text.startswith("M118 k"):
                return None
            markers.append(number)
            return [*(said.format(n=number, before=number - 1) for said in LATE), f"k{number}", "ok"]

        peer.on_line = on_line
        notes = Notes()
        await link.stream(lines(COUNT), notes)
        assert notes.acks == list(range(COUNT))
        for number in markers:
            assert sum(line.startswith(b"N%d " % number) for line in peer.raw_lines) == 1

    run_virtual(main)


@pytest.mark.parametrize("before", [[], ['echo:Unknown command: "%&"', "ok P15 B3"]])
def test_a_line_that_ran_without_its_number_stops_the_stream(before: list[str]) -> None:
    _, notes, error = streamed({"G1 X9.125": [*before, "ok P14 B3", "ok N{n} P13 B3"]})
    assert error is not None and "carried out a line without its number" in str(error)
    assert notes.acks == list(range(len(notes.acks))) and len(notes.acks) < COUNT


NOISE = ['echo:Unknown command: "%&"', "ok P14 B3"]


@pytest.mark.parametrize(
    "said", [NOISE, [*NOISE, "ok P14 B3"], ["ok 14 B3"], ["ok P14"], ["ok P14 B3 x"], ["ok nP14 B3"]]
)
def test_a_damaged_answer_and_noise_that_was_not_understood_stop_nothing(said: list[str]) -> None:
    peer, notes, error = streamed({"G1 X9.125": [*said, "ok N{n} P13 B3"]})
    assert error is None and notes.acks == list(range(COUNT))
    assert peer.moves() == [line.decode() for line in lines(COUNT)]


def test_a_stop_goes_without_a_number_and_is_answered_without_one() -> None:
    async def main(loop: VirtualLoop) -> None:
        link, peer = await talk(echo=True, advanced=True)
        peer.on_line = lambda number, text: ["ok P15 B3"] if text == "M410" else None
        stream = asyncio.ensure_future(link.stream(lines(COUNT), Notes()))
        await asyncio.sleep(0.004)
        link.quick_stop()
        assert await stream == COUNT

    run_virtual(main)


def test_an_older_board_s_answer_behind_a_request_needs_no_number() -> None:
    asked = ["Error:checksum mismatch, Last Line: {n}", "Resend: {after}", "ok P15 B3"]
    _, notes, error = streamed({"G1 X9.125": ["ok N{n} P15 B3", *asked]})
    assert error is None and notes.acks == list(range(COUNT))
