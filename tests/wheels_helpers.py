"""Six wheels and four steered ones on five emulated RoboClaw boards, for the wheels' tests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from roboclaw_helpers import TICKS, linked, make_line, motor

from firmware_bridge.devices.wheels import RoboClawLayout, RoboClawWheels
from hil_sim.virtual_run import run_virtual
from hil_sim.world.emulators.roboclaw import RoboClawLine
from hil_sim.world.faults.schedule import FaultSchedule

WHEELS = {"fl": (128, 1), "ml": (128, 2), "rl": (129, 1), "rr": (129, 2), "mr": (130, 1), "fr": (130, 2)}
STEERS = {"fl": (131, 1), "rl": (131, 2), "rr": (132, 1), "fr": (132, 2)}
LAYOUT = RoboClawLayout(
    wheels=WHEELS, steers=STEERS, ticks_per_rad=TICKS, steer_ticks_per_rad=TICKS, qpps_max=1850, steer_max_rad=0.75
)
BOARDS = (128, 129, 130, 131, 132)
STRAIGHT = dict.fromkeys(STEERS, 0.0)


def speeds(value: float = 1.0, **others: float) -> dict[str, float]:
    return dict.fromkeys(WHEELS, value) | others


@contextlib.asynccontextmanager
async def rover(
    line: RoboClawLine | None = None,
    *,
    layout: RoboClawLayout = LAYOUT,
    faults: FaultSchedule | None = None,
    timeout_s: float | None = 0.5,
    **settings,
) -> AsyncIterator[tuple[RoboClawWheels, RoboClawLine]]:
    """Wheels on a line, configured unless `timeout_s` is None."""
    line = line if line is not None else make_line(*BOARDS)
    async with linked(line, faults=faults, **settings) as link:
        wheels = RoboClawWheels(link, layout)
        if timeout_s is not None:
            await wheels.configure(timeout_s)
        yield wheels, line


async def cycle(wheels: RoboClawWheels, seq: int, speed: float = 1.0, valid_s: float = 0.4, **steers: float):
    """One turn at 10 Hz: poll, then drive, then the rest of the 100 ms."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    readings = await wheels.poll()
    await wheels.drive(speeds(speed), STRAIGHT | steers, seq=seq, valid_until_s=loop.time() + valid_s)
    await asyncio.sleep(max(0.0, began_s + 0.1 - loop.time()))
    return readings


def wheel_speeds(line: RoboClawLine) -> list[float]:
    now_s = asyncio.get_running_loop().time()
    return [motor(line, *place).speed_rad_s(now_s) for place in WHEELS.values()]


def run(test) -> None:
    async def main(loop):
        await test()

    run_virtual(main)
