"""Does each device of a bus get its turn, whatever the others do?"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from control.polling import Poller, PollTurn
from firmware_bridge.errors import BridgeError, LinkTimeout
from firmware_bridge.signals import LimitState, Quality, Reading
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop


@dataclass
class Device:
    """Answers after `takes_s`, or fails then."""

    takes_s: float = 0.02
    fails: bool = False
    asked_s: list[float] = field(default_factory=list)

    async def poll(self) -> dict[str, Reading]:
        now_s = asyncio.get_running_loop().time()
        self.asked_s.append(now_s)
        await asyncio.sleep(self.takes_s)
        if self.fails:
            raise LinkTimeout("no answer")
        return {"x": Reading("x", 1.0, "", now_s, Quality.GOOD, LimitState.NORMAL)}


@dataclass
class Heard:
    published: list[str] = field(default_factory=list)
    failed: list[tuple[str, int]] = field(default_factory=list)

    def readings(self, name: str, _readings: dict[str, Reading]) -> None:
        self.published.append(name)

    def failure(self, name: str, error: BridgeError, in_a_row: int) -> None:
        assert isinstance(error, LinkTimeout)
        self.failed.append((name, in_a_row))


def turn(name: str, device: Device, period_s: float = 1.0, **more: object) -> PollTurn:
    return PollTurn(name, device, lambda: period_s, **more)  # type: ignore[arg-type]


def poll_for(
    seconds: float, turns: list[PollTurn], meanwhile: Callable[[Poller], Awaitable[None]] | None = None
) -> tuple[Heard, Poller]:
    """Run a poller for some virtual seconds, from a loop time that is not zero."""
    heard = Heard()

    async def main(_loop: VirtualLoop) -> Poller:
        poller = Poller("bus0", turns, heard.readings, heard.failure)
        task = asyncio.create_task(poller.run())
        if meanwhile is not None:
            await meanwhile(poller)
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return poller

    return heard, run_virtual(main, start_s=5000.0)


def test_each_device_is_asked_at_its_own_rate_without_drift() -> None:
    fast, slow = Device(), Device()
    _, poller = poll_for(10.5, [turn("fast", fast, 0.5), turn("slow", slow, 2.0)])
    assert len(fast.asked_s) == 21 and len(slow.asked_s) == 6
    gaps = [b - a for a, b in itertools.pairwise(fast.asked_s)]
    assert sum(gaps) / len(gaps) == pytest.approx(0.5, abs=0.01) and max(gaps) < 0.55
    assert poller.polls == len(fast.asked_s) + len(slow.asked_s)


def test_a_device_that_fails_is_told_of_each_time_and_does_not_slow_the_others() -> None:
    good, broken = Device(), Device(takes_s=0.3, fails=True)
    heard, _ = poll_for(40.0, [turn("broken", broken, 1.0), turn("good", good, 0.5)])
    assert heard.failed == [("broken", row) for row in range(1, len(broken.asked_s) + 1)]
    gaps = [b - a for a, b in itertools.pairwise(broken.asked_s)]
    assert gaps[:2] == [pytest.approx(1.0, abs=0.1)] * 2, "three failures in a row are known as fast as ever"
    assert all(gap >= 2 * 0.3 / 0.05 for gap in gaps[2:]) and len(gaps) >= 4, "then it is probed now and then"
    assert len(good.asked_s) >= 80 - 2, "the good device was asked less often"


def test_a_silent_device_is_not_refreshed_and_comes_back_at_its_own_rate() -> None:
    refreshed: list[float] = []

    async def refresh() -> None:
        refreshed.append(asyncio.get_running_loop().time())

    good, broken = Device(), Device(takes_s=0.3, fails=True)
    turns = [turn("good", good, 0.5), turn("heater", broken, 1.0, refresh=refresh, refresh_period_s=1.0)]

    async def meanwhile(_poller: Poller) -> None:
        await asyncio.sleep(30.0)
        broken.fails = False

    poll_for(20.0, turns, meanwhile)
    assert len([t for t in refreshed if 5004 < t < 5030]) == 0
    back_s = next(t for t in broken.asked_s if t >= 5030)
    assert back_s < 5030 + 13, "a probe comes at least that often"
    later = [t for t in broken.asked_s if t > back_s]
    assert len(later) >= 5049 - back_s and any(t > back_s for t in refreshed)


def test_a_bus_on_which_nobody_answers_is_asked_as_often_as_ever() -> None:
    first, second = Device(takes_s=0.1, fails=True), Device(takes_s=0.1, fails=True)
    heard, _ = poll_for(20.0, [turn("first", first, 1.0), turn("second", second, 1.0)])
    assert len(heard.failed) >= 36


def test_one_success_ends_a_row_of_failures() -> None:
    device = Device(fails=True)

    async def meanwhile(_poller: Poller) -> None:
        await asyncio.sleep(2.5)
        device.fails = False
        await asyncio.sleep(1.0)
        device.fails = True

    heard, _ = poll_for(2.0, [turn("x", device)], meanwhile)
    rows = [row for _, row in heard.failed]
    assert rows[:3] == [1, 2, 3] and rows[3] == 1


def test_a_set_point_is_refreshed_beside_the_polls() -> None:
    refreshed: list[float] = []

    async def refresh() -> None:
        refreshed.append(asyncio.get_running_loop().time())

    device = Device()
    poll_for(10.2, [turn("heater", device, 0.5, refresh=refresh, refresh_period_s=1.0)])
    assert len(refreshed) == 11 and len(device.asked_s) == 21
    assert max(b - a for a, b in itertools.pairwise(refreshed)) < 1.1


def test_a_refresh_that_always_fails_is_not_forgiven_for_polls_that_work() -> None:
    async def refresh() -> None:
        raise LinkTimeout("the set-point was not taken")

    heard, _ = poll_for(4.5, [turn("heater", Device(), 0.5, refresh=refresh, refresh_period_s=1.0)])
    assert [row for _, row in heard.failed] == [1, 2, 3, 4, 5]
    assert len(heard.published) >= 9


def test_hurry_asks_at_once_and_once() -> None:
    device, other = Device(), Device()

    async def meanwhile(poller: Poller) -> None:
        await asyncio.sleep(2.5)
        poller.hurry("x")

    poll_for(0.2, [turn("x", device, 10.0), turn("y", other, 10.0)], meanwhile)
    assert device.asked_s == [5000.0, 5002.5] and len(other.asked_s) == 1


def test_a_period_may_change_while_it_runs() -> None:
    device, period = Device(), [1.0]

    async def meanwhile(poller: Poller) -> None:
        await asyncio.sleep(1.5)
        period[0] = 0.1
        poller.hurry("x")

    poll_for(1.0, [PollTurn("x", device, lambda: period[0])], meanwhile)
    assert len([t for t in device.asked_s if t >= 5001.5]) in (10, 11)


def test_a_bus_that_cannot_keep_its_plan_still_gives_everyone_a_turn() -> None:
    first, second = Device(takes_s=0.4), Device(takes_s=0.4)
    poll_for(20.0, [turn("first", first, 0.1), turn("second", second, 0.1)])
    assert abs(len(first.asked_s) - len(second.asked_s)) <= 1 and len(first.asked_s) >= 24


def test_a_fault_of_our_own_ends_the_poller_with_its_error() -> None:
    class Broken(Device):
        async def poll(self) -> dict[str, Reading]:
            raise ZeroDivisionError("a bug")

    async def main(_loop: VirtualLoop) -> None:
        heard = Heard()
        await Poller("bus0", [turn("x", Broken())], heard.readings, heard.failure).run()

    with pytest.raises(ZeroDivisionError):
        run_virtual(main)
