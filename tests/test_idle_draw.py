"""Is a machine whose load does not obey told from one that is off, by its energy meter?"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from crash_helpers import run_faulty, small_job

from control.assembly import open_machine
from control.config import load_machine
from control.idle_draw import ANSWER_S, SETTLE_S, still_draws
from control.machine_file import ConfigError
from control.outcome import Status
from firmware_bridge.errors import LinkTimeout
from firmware_bridge.signals import LimitState, Quality, Reading
from hil_sim.harness.oracle import Verdict
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop


class FakeMeter:
    """Tells what `watts` makes of the loop's time."""

    def __init__(self, watts: Callable[[float], float], quality: Quality = Quality.GOOD) -> None:
        self.watts, self.quality = watts, quality
        self.asked = 0

    async def read(self, signal: str) -> Reading:
        now_s = asyncio.get_running_loop().time()
        self.asked += 1
        return Reading(signal, self.watts(now_s), "W", now_s, self.quality, LimitState.NORMAL)


class DeafMeter(FakeMeter):
    async def read(self, signal: str) -> Reading:
        raise LinkTimeout("unit 2 did not answer.")


class ForgetfulMeter(FakeMeter):
    """Every other answer is lost, the first one, too."""

    async def read(self, signal: str) -> Reading:
        reading = await super().read(signal)
        if self.asked % 2:
            raise LinkTimeout("unit 2 did not answer.")
        return reading


class SlowMeter(FakeMeter):
    async def read(self, signal: str) -> Reading:
        await asyncio.sleep(1e6)
        raise AssertionError("nobody waits so long")


def asked(meter: Any, idle_w_max: float | None = 100.0, idle_w_min: float = 0.0) -> tuple[str, float]:
    """What is said, and after how long."""

    async def ask(loop: VirtualLoop) -> tuple[str, float]:
        return await still_draws(meter, idle_w_max, idle_w_min), loop.time()

    return run_virtual(ask)


def test_a_machine_that_is_off_is_left_in_peace_at_once() -> None:
    assert asked(FakeMeter(lambda _: 45.0)) == ("", 0.0)


@pytest.mark.parametrize("shown_w", [0.0, 19.0, -19.0])
def test_a_meter_that_shows_less_than_the_machine_draws_at_rest_is_not_believed(shown_w: float) -> None:
    said, *well = (asked(FakeMeter(lambda _, w=watts: w), idle_w_min=20.0)[0] for watts in (shown_w, 45.0, -45.0))
    assert f"its power is {shown_w:g} W, good, and the machine draws 20 W with all off" in said
    assert "is not sure" in said and well == ["", ""]


def test_a_meter_that_lags_is_waited_for() -> None:
    said, took_s = asked(FakeMeter(lambda t_s: 845.0 if t_s < 2.0 else 45.0))
    assert said == "" and 2.0 <= took_s <= SETTLE_S


def test_an_answer_that_is_lost_is_asked_for_again() -> None:
    said, took_s = asked(ForgetfulMeter(lambda _: 45.0))
    assert said == "" and 0.0 < took_s < 1.0
    assert asked(ForgetfulMeter(lambda _: 845.0))[0] != ""


@pytest.mark.parametrize("watts", [845.0, -845.0])
def test_a_load_that_does_not_obey_is_named(watts: float) -> None:
    said, took_s = asked(FakeMeter(lambda _: watts))
    assert f"{watts:.0f} W are drawn" in said and "relay" in said and took_s <= SETTLE_S + ANSWER_S


@pytest.mark.parametrize(
    "meter",
    [
        DeafMeter(lambda _: 45.0),
        SlowMeter(lambda _: 45.0),
        FakeMeter(lambda _: 45.0, Quality.BAD),
        FakeMeter(lambda _: math.nan),
    ],
    ids=["deaf", "slow", "bad", "nan"],
)
def test_a_meter_that_does_not_tell_is_told_of(meter: FakeMeter) -> None:
    said, took_s = asked(meter)
    assert "is not sure" in said and took_s <= SETTLE_S + ANSWER_S


class HeldMeter(FakeMeter):
    """Its first answers are read so much later than they were made: whoever asked was held meanwhile."""

    def __init__(self, watts: Callable[[float], float], held_s: float, times: int) -> None:
        super().__init__(watts)
        self.held_s, self.times = held_s, times

    async def read(self, signal: str) -> Reading:
        reading = await super().read(signal)
        if self.asked <= self.times:
            await asyncio.sleep(self.held_s)
        return reading


@pytest.mark.parametrize("held_s", [0.6, 4.0, 5.5])
def test_an_answer_that_was_long_under_way_is_asked_for_again(held_s: float) -> None:
    welds_while_held = HeldMeter(lambda t_s: 45.0 if t_s < 0.1 else 845.0, held_s, times=1)
    assert "845 W are drawn" in asked(welds_while_held)[0]
    assert asked(HeldMeter(lambda _: 45.0, held_s, times=1))[0] == ""


def test_a_meter_whose_answers_are_all_late_does_not_tell() -> None:
    said, took_s = asked(HeldMeter(lambda _: 45.0, 1.0, times=99))
    assert "is not sure" in said and "took 1.0 s" in said and took_s <= SETTLE_S + ANSWER_S


def test_where_no_limit_is_set_nobody_asks() -> None:
    meter = FakeMeter(lambda _: 845.0)
    assert asked(meter, None)[0] == "" and meter.asked == 0


def test_a_map_that_polls_no_power_is_refused_before_anything_is_opened() -> None:
    machine = load_machine("bench")
    meter = msgspec.structs.replace(machine.devices.meter, map="leadshine_cs2rs")
    devices = msgspec.structs.replace(machine.devices, meter=meter)

    async def open_it(_loop: VirtualLoop) -> None:
        from hil_sim.world.build import build_world

        world = await build_world("bench")
        try:
            config = msgspec.structs.replace(machine, devices=devices).with_urls(world.urls)
            async with open_machine(config, Nobody()):
                raise AssertionError("it was opened")
        finally:
            world.close()

    with pytest.raises(ConfigError, match="idle_w_max"):
        run_virtual(open_it)


class Nobody:
    def event(self, level: str, text: str) -> None:
        pass

    def readings(self, device: str, readings: dict[str, Reading]) -> None:
        pass


WELDED = {"kind": "heater_stuck_on", "point": "heater.output", "at_s": 18.0, "for_s": 1000.0}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_job(tmp_path_factory.mktemp("job"), 1)


def test_a_part_that_is_done_beside_a_welded_relay_is_not_done(job: Path, tmp_path: Path) -> None:
    """The bed has not warmed by 15 degC yet when the last layer is committed: the temperature alone tells nothing."""
    ended = run_faulty(job, tmp_path / "run", WELDED)
    outcome = ended.result.outcome
    assert ended.result.verdict is Verdict.DETECTED, ended.told
    assert outcome is not None and outcome.status is Status.STOPPED and outcome.exit_code == 4
    assert outcome.reason.startswith("every layer is committed, but 845 W are drawn"), outcome.reason
