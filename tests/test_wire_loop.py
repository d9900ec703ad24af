"""Does a run in real time end as one in virtual time does: cleaned up, and with what went wrong raised?"""

from __future__ import annotations

import asyncio
import time

import pytest

from hil_sim.harness.wire_loop import WireLoop, run_on_wire, standing


def test_what_main_returns_comes_back_and_its_clock_began_at_zero() -> None:
    async def main(loop: WireLoop) -> float:
        await asyncio.sleep(0.01)
        return loop.time()

    assert 0.01 <= run_on_wire(main) < 5.0


def test_a_task_that_is_left_over_may_clean_up() -> None:
    told: list[str] = []

    async def left_over() -> None:
        try:
            await asyncio.sleep(3600.0)
        finally:
            await asyncio.sleep(0)
            told.append("cleaned up")

    async def main(loop: WireLoop) -> None:
        loop.create_task(left_over())
        await asyncio.sleep(0)

    run_on_wire(main)
    assert told == ["cleaned up"]


def test_what_breaks_in_a_callback_ends_the_run_at_once_and_is_raised() -> None:
    told: list[str] = []

    def breaks() -> None:
        raise ValueError("a device broke")

    async def main(loop: WireLoop) -> None:
        loop.call_soon(breaks)
        try:
            await asyncio.sleep(3600.0)
        finally:
            told.append("main cleaned up")

    with pytest.raises(ValueError, match="a device broke"):
        run_on_wire(main)
    assert told == ["main cleaned up"]


def test_a_loop_that_is_held_up_says_by_how_much() -> None:
    async def main(loop: WireLoop) -> float:
        await asyncio.sleep(0.01)
        busy_until_s = loop.time() + 0.3
        while loop.time() < busy_until_s:
            pass
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return loop.late_s_max

    assert run_on_wire(main) > 0.2


def test_what_is_built_while_the_clock_stands_takes_no_time() -> None:
    async def main(loop: WireLoop) -> tuple[float, float, float]:
        await asyncio.sleep(0.01)
        before_s = loop.time()
        with standing(loop):
            until_s = time.monotonic() + 0.2
            while time.monotonic() < until_s:
                await asyncio.sleep(0)
            meanwhile_s = loop.time()
        await asyncio.sleep(0.02)
        return before_s, meanwhile_s, loop.time()

    before_s, meanwhile_s, after_s = run_on_wire(main)
    assert meanwhile_s - before_s < 0.1 and after_s >= meanwhile_s + 0.02


def test_what_main_raises_is_raised() -> None:
    async def main(loop: WireLoop) -> None:
        raise KeyError("no such job")

    with pytest.raises(KeyError, match="no such job"):
        run_on_wire(main)


def test_a_failure_while_cleaning_up_is_raised() -> None:
    async def left_over() -> None:
        try:
            await asyncio.sleep(3600.0)
        finally:
            raise OSError("the port would not close")

    async def main(loop: WireLoop) -> None:
        loop.create_task(left_over())
        await asyncio.sleep(0)

    with pytest.raises(OSError, match="the port would not close"):
        run_on_wire(main)
