"""A process on a virtual loop: does it stop as a whole, at once, and does the world go on without it?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hil_sim.virtual_process import Killed, VirtualProcess, current_process
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop


async def every(period_s: float, ticks: list[float]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(period_s)
        ticks.append(round(loop.time(), 6))


def test_a_held_process_stands_still_while_the_world_goes_on() -> None:
    async def main(loop: VirtualLoop) -> tuple[list[float], list[float]]:
        inside: list[float] = []
        outside: list[float] = []
        process = VirtualProcess(loop, "host")
        mine = process.start(every(1.0, inside), "ticker")
        other = asyncio.ensure_future(every(1.0, outside))
        loop.call_at(2.5, process.hold, 5.25)
        await asyncio.sleep(7.6)
        mine.cancel()
        other.cancel()
        return inside, outside

    inside, outside = run_virtual(main)
    assert outside == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    assert inside == [1.0, 2.0, 5.25, 6.25, 7.25]


def test_on_waking_what_came_in_is_heard_before_overdue_timers() -> None:
    """As in a real loop, whose selector is asked first: bytes that came in time can still call a timeout off."""

    async def main(loop: VirtualLoop) -> list[str]:
        process = VirtualProcess(loop, "host")
        said: list[str] = []

        async def host() -> None:
            timer = loop.call_later(1.0, said.append, "timeout")
            loop.call_later(2.0, said.append, "another timer")
            process.outside(loop.call_at, 0.5, process.hear, lambda: (timer.cancel(), said.append("bytes")))
            await asyncio.sleep(4.0)

        task = process.start(host(), "host")
        await asyncio.sleep(0.1)
        process.hold(5.0)
        await task
        return said

    assert run_virtual(main) == ["bytes", "another timer"]


def test_a_hold_is_prolonged_and_never_shortened() -> None:
    async def main(loop: VirtualLoop) -> list[float]:
        ticks: list[float] = []
        process = VirtualProcess(loop, "host")
        mine = process.start(every(1.0, ticks), "ticker")
        await asyncio.sleep(0.5)
        process.hold(4.0)
        process.hold(2.0)
        process.hold(6.0)
        await asyncio.sleep(5.6)
        mine.cancel()
        return ticks

    assert run_virtual(main) == [6.0]


@pytest.mark.parametrize("where", ["task", "child", "timer", "outside"])
def test_a_dead_process_runs_nothing_more_not_even_a_finally(where: str) -> None:
    async def main(loop: VirtualLoop) -> list[str]:
        said: list[str] = []
        process = VirtualProcess(loop, "host")

        def die() -> None:
            process.kill("kill -9")
            raise Killed

        @asynccontextmanager
        async def held() -> AsyncIterator[None]:
            try:
                yield
            finally:
                await asyncio.sleep(0.1)
                said.append("generator")

        async def child() -> None:
            try:
                await asyncio.sleep(1.0)
                if where == "child":
                    die()
                await asyncio.sleep(100.0)
            except BaseException:
                if not process.is_dead:
                    said.append("child's except")
                raise
            finally:
                await asyncio.sleep(0.1)
                said.append("child's finally")

        async def host() -> None:
            if where == "timer":
                asyncio.get_running_loop().call_later(1.0, die)
            async with held():
                try:
                    work = asyncio.ensure_future(child())
                    await asyncio.sleep(1.0)
                    if where == "task":
                        die()
                    await work
                finally:
                    await asyncio.sleep(0.1)
                    said.append("host's finally")

        process.start(host(), "host")
        if where == "outside":
            loop.call_at(1.0, process.kill, "kill -9")
        why = await process.died
        assert (loop.time(), why) == (1.0, "kill -9")
        await asyncio.sleep(500.0)
        return said

    assert run_virtual(main) == []


def test_what_the_operating_system_does_is_done_at_the_death_and_outside() -> None:
    async def main(loop: VirtualLoop) -> list[Any]:
        process = VirtualProcess(loop, "host")
        done: list[Any] = []
        process.at_death(lambda: done.append((loop.time(), current_process())))
        process.start(asyncio.sleep(10.0), "host")
        await asyncio.sleep(2.0)
        process.kill("kill -9")
        process.kill("again")
        process.hear(done.append, "unheard")
        return done

    assert run_virtual(main) == [(2.0, None)]


def test_what_the_world_starts_when_it_is_called_outlives_the_process() -> None:
    async def main(loop: VirtualLoop) -> list[float]:
        ticks: list[float] = []
        process = VirtualProcess(loop, "host")

        async def host() -> None:
            assert current_process() is process
            process.outside(lambda: asyncio.ensure_future(every(1.0, ticks)))
            await asyncio.sleep(100.0)

        process.start(host(), "host")
        await asyncio.sleep(1.5)
        process.kill("kill -9")
        await asyncio.sleep(2.0)
        return ticks

    assert run_virtual(main) == [1.0, 2.0, 3.0]


def test_an_error_in_a_living_process_still_fails_the_run() -> None:
    async def host() -> None:
        asyncio.get_running_loop().call_later(1.0, lambda: 1 / 0)
        await asyncio.sleep(5.0)

    async def main(loop: VirtualLoop) -> None:
        await VirtualProcess(loop, "host").start(host(), "host")

    with pytest.raises(ZeroDivisionError):
        run_virtual(main)
