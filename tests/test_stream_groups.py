"""Are lines noted before they go, group by group, with the next group noted meanwhile, and nothing left behind?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from firmware_bridge.errors import LinkError
from firmware_bridge.links.stream_groups import GROUP_LINES, StreamGroups
from hil_sim.virtual_run import run_virtual

LINES = [b"%d" % number for number in range(2 * GROUP_LINES + 3)]


class Journal:
    """Remembers what was noted; a note takes a second, and one of them may fail or last for ever."""

    def __init__(self, fails_at: int = -1, hangs_at: int = -1) -> None:
        self.fails_at, self.hangs_at = fails_at, hangs_at
        self.noted: list[tuple[int, int]] = []

    async def ahead(self, first: int, last: int) -> None:
        await asyncio.sleep(1e6 if first == self.hangs_at else 1.0)
        if first == self.fails_at:
            raise OSError("the disk is full")
        self.noted.append((first, last))

    def acked(self, index: int) -> None:
        raise AssertionError("nothing was sent")


def groups(journal: Journal, cancelled: Callable[[], bool] | None = None) -> StreamGroups[int]:
    return StreamGroups("sim:x", LINES, int, journal, cancelled)


def virtually(story: Callable[[], Awaitable[None]]) -> None:
    run_virtual(lambda loop: story())  # type: ignore[arg-type, return-value]


def test_every_line_comes_once_and_noted_and_the_next_group_is_noted_meanwhile() -> None:
    async def story() -> None:
        journal = Journal()
        ahead = groups(journal)
        loop = asyncio.get_running_loop()
        came: list[tuple[int, int]] = []
        while (group := await ahead.next()) is not None:
            came += group
            assert journal.noted[-1][1] >= group[-1][0], "noted before it goes"
            began_s = loop.time()
            await asyncio.sleep(1.0)
            assert loop.time() == began_s + 1.0
        await ahead.close()
        assert came == [(number, number) for number in range(len(LINES))]
        assert journal.noted == [(0, 15), (16, 31), (32, 34)] and loop.time() == pytest.approx(4.0)

    virtually(story)


def test_a_cancelled_stream_ends_with_what_was_begun_to_be_noted() -> None:
    async def story() -> None:
        journal, wanted = Journal(), [True]
        ahead = groups(journal, lambda: not wanted[0])
        assert await ahead.next() is not None
        wanted[0] = False
        assert ahead.is_cancelled and await ahead.next() is None
        assert journal.noted == [(0, 15), (16, 31)]

    virtually(story)


def test_a_line_that_may_not_be_sent_is_named_with_the_wire() -> None:
    async def story() -> None:
        ahead = StreamGroups("sim:x", [b"1", b"G9"], int, Journal(), None)
        with pytest.raises(LinkError, match=r"line b'G9' is not sent to sim:x"):
            await ahead.next()
        await ahead.close()

    virtually(story)


def test_what_the_journal_raises_reaches_the_stream_when_the_group_s_turn_comes() -> None:
    async def story() -> None:
        journal = Journal(fails_at=GROUP_LINES)
        ahead = groups(journal)
        assert await ahead.next() is not None
        await asyncio.sleep(5.0)
        with pytest.raises(OSError, match="the disk is full"):
            await ahead.next()
        await ahead.close()

    virtually(story)


def test_closing_leaves_no_note_under_way() -> None:
    async def story() -> None:
        ahead = groups(Journal(hangs_at=GROUP_LINES))
        assert await ahead.next() is not None
        await asyncio.sleep(5.0)
        await ahead.close()
        assert len(asyncio.all_tasks()) == 1

    virtually(story)
