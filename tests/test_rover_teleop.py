"""Does a rover that is driven by hand move while a key is held, stand when it is not, and heed its guard?"""

from __future__ import annotations

import asyncio
import os
import pty
import termios
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from rover_drive_helpers import HILLS

from control.assembly import open_rover
from control.cli import cli
from control.commands.rover_teleop import raw_terminal
from control.errors import MoonkilnError
from control.host import GroundMap
from control.interlock import Trip
from control.rover.config import load_rover
from control.rover.machine import Rover
from control.rover.teleop import Teleop, TeleopStep, keys_of
from hil_sim.harness.drive_runner import DriveScenario, made_ground
from hil_sim.virtual_run import run_virtual
from hil_sim.world.build_rover import RoverWorld, build_rover_world

START = (60.0, 100.0, 0.0)
REPEAT_S = 0.03


class Hears:
    def readings(self, device, readings) -> None: ...

    def event(self, level: str, text: str) -> None: ...


def typing(*spells: tuple[str, float], lead_s: float = 3.0) -> AsyncIterator[str]:
    """Keys held down, one after the other: ("w", 2.0) repeats w for 2 s; ("", 2.0) is hands off."""

    async def keys() -> AsyncIterator[str]:
        await asyncio.sleep(lead_s)
        for key, for_s in spells:
            if not key:
                await asyncio.sleep(for_s)
                continue
            for _ in range(round(for_s / REPEAT_S)):
                yield key
                await asyncio.sleep(REPEAT_S)
        yield "q"

    return keys()


def session(
    keys: AsyncIterator[str],
    machine: str = "osr",
    beside: Callable[[RoverWorld, Rover], Awaitable[None]] | None = None,
    ended: list[Exception] | None = None,
    ground: GroundMap = HILLS,
    guard: dict[str, float] | None = None,
):
    """Drive by hand in a world: the true track, and each step with its time. `ended` takes what broke it off."""
    ended = [] if ended is None else ended
    steps: list[tuple[float, TeleopStep]] = []

    async def main(loop):
        world = await build_rover_world(machine, made_ground(ground, DriveScenario(details=False)), pose=START, seed=1)
        try:
            config = load_rover(machine).with_urls(world.urls)
            config = replace(config, drive=replace(config.drive, guard={**config.drive.guard, **(guard or {})}))
            async with open_rover(config, Hears()) as rover:
                work = None if beside is None else loop.create_task(beside(world, rover))
                try:
                    await Teleop(rover, keys, show=lambda s: steps.append((loop.time(), s))).run()
                except MoonkilnError as error:
                    ended.append(error)
                if work is not None:
                    await work
            await asyncio.sleep(2.0)
            return world.finish().track
        finally:
            world.close()

    return run_virtual(main, seed=1), steps


def moving_s(track) -> np.ndarray:
    """Times at which it truly moved or turned."""
    changed = np.abs(np.diff(track.x_m)) + np.abs(np.diff(track.y_m)) + np.abs(np.diff(track.yaw_rad)) > 1e-6
    return track.t_s[1:][changed]


def asked_s(steps) -> np.ndarray:
    return np.array([t for t, s in steps if s.moving])


@pytest.mark.parametrize("machine", ["osr", "polar"])
def test_holding_w_moves_it_forward_and_it_stands_within_a_second_of_letting_go(machine: str) -> None:
    track, steps = session(typing(("w", 2.0), ("", 3.0)), machine)
    assert 0.03 < track.x_m[-1] - START[0] < 0.5 and abs(track.y_m[-1] - START[1]) < 0.05
    let_go_s = asked_s(steps)[0] + 2.0
    assert moving_s(track).max() < let_go_s + 1.0


@pytest.mark.parametrize(("key", "sign"), [("a", 1), ("right", -1)])
def test_left_and_right_turn_it(key: str, sign: int) -> None:
    track, _ = session(typing((key, 4.0), ("", 1.0)))
    assert sign * (track.yaw_rad[-1] - START[2]) > 0.02


def test_space_stops_it_at_once_and_it_goes_again_on_a_new_key() -> None:
    track, steps = session(typing(("w", 2.0), (" ", 0.03), ("", 2.0), ("s", 2.0)))
    asked = asked_s(steps)
    gap = int(np.argmax(np.diff(asked)))
    assert asked[gap] - asked[0] < 2.0 + 0.11 and asked[gap + 1] - asked[gap] > 1.5
    assert track.x_m.max() - track.x_m[-1] > 0.03


def test_what_was_pressed_during_a_hold_moves_nothing_afterwards() -> None:
    until_s = 0.0

    async def silence(world: RoverWorld, rover: Rover) -> None:
        nonlocal until_s
        real = rover.silences
        while not rover.commands:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        rover.silences = lambda: [Trip("imu", "is silent")]  # type: ignore[method-assign]
        await asyncio.sleep(2.0)
        until_s = asyncio.get_running_loop().time()
        rover.silences = real  # type: ignore[method-assign]

    track, steps = session(typing(("w", 2.4), ("", 4.0)), beside=silence)
    assert moving_s(track).max() < until_s - 1.0
    assert any("imu" in s.held for _, s in steps)


def test_a_cut_wire_of_the_imu_stands_it_still_while_the_key_is_held() -> None:
    cut_s = 0.0

    async def cut(world: RoverWorld, rover: Rover) -> None:
        nonlocal cut_s
        while not rover.commands:
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)
        cut_s = asyncio.get_running_loop().time()
        world.wire("imu").hang_up()

    ended: list[Exception] = []
    track, _ = session(typing(("w", 8.0)), beside=cut, ended=ended)
    assert moving_s(track).max() < cut_s + 1.5
    assert len(ended) == 1 and "imu" in str(ended[0])


def test_a_nearly_empty_battery_is_not_driven_on() -> None:
    async def drain(world: RoverWorld, rover: Rover) -> None:
        while not rover.commands:
            await asyncio.sleep(0.05)
        world.battery.charge_wh = 0.22 * world.battery.config.capacity_wh

    track, steps = session(typing(("w", 8.0)), beside=drain)
    assert moving_s(track).max() < asked_s(steps)[0] + 5.0
    assert "not driven on by hand" in steps[-1][1].held or "hibernate" in steps[-1][1].held.lower()


def test_too_steep_ground_lets_it_only_back_the_way_it_came() -> None:
    heights = np.zeros((100, 100), np.float32)
    heights[:, 30:] = 0.2 * np.arange(70)  # from x = 60 m on, 1 in 10
    limits = {"tilt_slow_deg": 2.5, "tilt_back_deg": 4.0, "tilt_hysteresis_deg": 0.5}
    keys = typing(("w", 12.0), ("", 1.0), ("a", 1.0), ("s", 6.0))
    track, steps = session(keys, ground=GroundMap(heights, 0.0, 0.0, 2.0), guard=limits)
    assert any("only straight back" in s.held for _, s in steps)
    back_s = steps[-1][0] - 6.5
    stood = (track.t_s > back_s - 1.5) & (track.t_s < back_s)
    assert np.ptp(track.x_m[stood]) < 0.01 and np.ptp(track.yaw_rad[stood]) < 0.01
    assert track.x_m.max() - track.x_m[-1] > 0.2


def test_arrows_and_letters_are_keys_and_half_a_key_waits() -> None:
    assert keys_of(b"wW \x1b[A\x1bOD\x1b[1;5Aq") == (["w", "w", " ", "up", "left", "q"], b"")
    assert keys_of(b"s\x1b[") == (["s"], b"\x1b[")


def test_the_terminal_is_as_it_was_after_an_error() -> None:
    main, side = pty.openpty()
    try:
        before = termios.tcgetattr(side)
        with pytest.raises(RuntimeError), raw_terminal(side):
            assert termios.tcgetattr(side)[3] & (termios.ECHO | termios.ICANON) == 0
            raise RuntimeError
        assert termios.tcgetattr(side) == before
    finally:
        os.close(main)
        os.close(side)


def test_without_a_terminal_it_says_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["rover", "teleop", "--machine", "osr"])
    assert result.exit_code == 2 and "needs a terminal" in result.output
