"""Work for the workers of `tests/test_shards*.py`: importable by name, in whatever process it lands."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

from control.errors import MoonkilnError
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop


def square(number: int) -> int:
    return number * number


def square_slower_first(number: int) -> int:
    """Early items take longest, so that later ones end before them."""
    time.sleep(max(0.0, 0.2 - 0.05 * number))
    return number * number


def where(number: int) -> tuple[int, int]:
    return number, os.getpid()


def refuse_seven(number: int) -> int:
    if number == 7:
        raise MoonkilnError("seven is refused", 4, {"number": 7})
    return number


class Odd(Exception):
    """An error that pickle writes and cannot read back."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(what)


def odd_error(number: int) -> int:
    raise Odd("something", "somewhere")


def die_once(item: tuple[int, str]) -> int:
    """Item 3 kills its worker the first time that it is tried; `folder` remembers."""
    number, folder = item
    mark = Path(folder) / f"tried-{number}"
    is_first = not mark.exists()
    with mark.open("a") as file:
        file.write("x")
    if number == 3 and is_first:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def told_to_end_once(item: tuple[int, str]) -> int:
    """The process of item 3 is told to end the first time that it is tried, in the middle of code that, as whoever
    judges somebody's host, takes a SystemExit for that code's own.
    """
    number, folder = item
    try:
        if number == 3 and not (mark := Path(folder) / "told").exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60.0)
    except SystemExit:
        return -1
    return number * number


def die_always(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def announce_and_wait(item: tuple[int, str]) -> int:
    """Says where it runs, and takes as long as it is told: room to kill its worker, or to press Ctrl-C."""
    number, folder = item
    (Path(folder) / f"{number}-{os.getpid()}").touch()
    time.sleep(0.3)
    return number * number


def wait_for_ever(number: int) -> int:
    time.sleep(0.0 if number < 3 else 3600.0)
    return number


def judge(seeds: list[int]) -> list[tuple[int, float, int]]:
    """A small run in virtual time for each seed, as a campaign makes them: what it drew and what it cost."""
    return [_judged(seed) for seed in seeds]


def _judged(seed: int) -> tuple[int, float, int]:
    async def main(loop: VirtualLoop) -> tuple[int, float, int]:
        draw = loop.rng("waits")
        await asyncio.gather(*(asyncio.sleep(draw.random()) for _ in range(50)))
        return seed, loop.time(), loop.fired

    return run_virtual(main, seed=seed, tie_shuffle=True)


def slow_zero(number: int) -> int:
    time.sleep(1.0 if number == 0 else 0.0)
    return number
