"""Random faults on the bytes of a RoboClaw line against what the boards were told and what the host believes.

The truth is the emulated boards': which orders their motors got, and when; their settings; where their wheels stand.
The host must never take a wrong value for a true one, or an order for executed that is not, nor may a board get an
order that nobody gave, or an older one after a newer one. Every byte is a chunk of its own: a fault strikes one byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from functools import cache
from typing import Any

from roboclaw_helpers import TICKS, make_line, motor
from roboclaw_one_fault import BOARDS, well_again

from firmware_bridge.devices.wheels import RoboClawLayout, RoboClawWheels
from firmware_bridge.errors import BridgeError
from firmware_bridge.links.roboclaw import RoboClawLink
from firmware_bridge.signals import Quality
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.roboclaw import BoardSettings, RoboClawLine
from hil_sim.world.faults.schedule import Fault, FaultSchedule
from hil_sim.world.wire import Wire, lay_virtual

LAYOUT = RoboClawLayout(
    wheels={"a": (128, 1), "b": (128, 2), "c": (129, 1)},
    steers={"c": (129, 2)},
    ticks_per_rad=TICKS,
    steer_ticks_per_rad=TICKS,
    qpps_max=1800,
)
CYCLES, CYCLES_MAX = 24, 40  # 1800 counts/s are the most
STOP_AT = 14  # the cycle that stops instead of driving
KINDS = ("drop", "flip", "duplicate", "insert", "delay")
DELAYS_S = (0.004, 0.009, 0.02, 0.06, 0.2, 0.7)


@dataclass(frozen=True)
class Result:
    """How a schedule ended. `errors`: what the host was told of; `silent`: what it was not told of, in words."""

    seed: int
    errors: int
    silent: tuple[str, ...]
    faults: tuple[Fault, ...]


class Driver:
    """Drives the wheels at 10 Hz, another speed each time, and compares what it believes with the truth."""

    def __init__(self, link: RoboClawLink, line: RoboClawLine) -> None:
        self.wheels = RoboClawWheels(link, LAYOUT)
        self.line = line
        self.orders: list[int] = []  # counts/s, in the order in which they were given; 0 is a stop
        self.errors = 0
        self.silent: list[str] = []

    @contextlib.contextmanager
    def told(self) -> Any:
        """An error that says so is no wrong belief."""
        try:
            yield
        except BridgeError:
            self.errors += 1

    async def configure(self) -> bool:
        """Arm the dead-men; whether the host believes that they are."""
        for _ in range(3):
            try:
                await self.wheels.configure(0.5)
            except BridgeError:
                self.errors += 1
                continue
            if [board.settings.timeout_steps for board in self.line.boards.values()] != [5] * len(BOARDS):
                self.silent.append("a dead-man is believed to be armed and is not")
            return True
        return False

    async def cycle(self, n: int) -> None:
        """Poll, then drive."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        with self.told():
            await self._poll()
        if n == STOP_AT:
            self.orders.append(0)
            with self.told():
                await self.wheels.stop()
                await asyncio.sleep(0.12)
                if any(abs(motor(self.line, *place).speed_rad_s(loop.time())) > 0 for place in LAYOUT.wheels.values()):
                    self.silent.append("a stop is believed to be taken and a wheel turns")
        else:
            self.orders.append(200 + 35 * n)
            with self.told():
                await self._drive(n)
        await asyncio.sleep(max(0.0, began_s + 0.1 - loop.time()))

    async def _poll(self) -> None:
        loop = asyncio.get_running_loop()
        places = LAYOUT.wheels | {"c_steer": LAYOUT.steers["c"]}
        began_s = loop.time()
        before = {name: motor(self.line, *place).angle_rad(began_s) for name, place in places.items()}
        readings = await self.wheels.poll()
        for name, place in places.items():
            reading = readings[f"{name}_rad" if name == "c_steer" else f"{name}_angle_rad"]
            now_rad = motor(self.line, *place).angle_rad(loop.time())
            low, high = sorted((before[name], now_rad))
            is_new = reading.quality is Quality.GOOD and reading.time_s >= began_s
            if is_new and not low - 3 / TICKS <= reading.value <= high + 3 / TICKS:
                self.silent.append(f"{reading.name} reads {reading.value:.4f}, and was {low:.4f} to {high:.4f}")
        truth = {"volts_v": 12.0, "board_temp_c": 25.0, "status": 0.0, "a_current_a": 0.5, "c_steer_a": 0.5}
        for name, value in truth.items():
            if readings[name].quality is Quality.GOOD and readings[name].value != value:
                self.silent.append(f"{name} reads {readings[name].value:g}, and is {value:g}")

    async def _drive(self, n: int) -> None:
        loop, speed = asyncio.get_running_loop(), self.orders[-1] / TICKS
        steer = 0.02 * n - 0.3
        await self.wheels.drive(
            dict.fromkeys(LAYOUT.wheels, speed), {"c": steer}, seq=n, valid_until_s=loop.time() + 0.4
        )
        for name, place in LAYOUT.wheels.items():
            _, kind, values = motor(self.line, *place).calls[-1]
            if kind != "speed" or round(values[0] * TICKS) != self.orders[-1]:
                self.silent.append(f"order {self.orders[-1]} is believed to be executed by {name}: {kind} {values}")
        _, kind, values = motor(self.line, *LAYOUT.steers["c"]).calls[-1]
        if kind != "position" or abs(values[0] - steer) > 1 / TICKS:
            self.silent.append(f"steering to {steer:.3f} is believed to be executed: {kind} {values}")

    def judge_orders(self) -> None:
        """No motor got an order that nobody gave, nor an older one after a newer one."""
        for name, place in LAYOUT.wheels.items():
            newest = -1
            for t_s, kind, values in motor(self.line, *place).calls:
                if kind != "speed":
                    continue
                told = round(values[0] * TICKS)
                if told not in self.orders:
                    self.silent.append(f"{name} was told {told} counts/s at {t_s:.3f} s, and nobody said so")
                elif self.orders.index(told) < newest:
                    self.silent.append(f"{name} was told {told} counts/s at {t_s:.3f} s after a newer order")
                else:
                    newest = self.orders.index(told)
        for address, board in self.line.boards.items():
            settings = board.settings.copy()
            settings.timeout_steps = 0
            if settings != BoardSettings() or board.nvm_writes:
                self.silent.append(f"settings of board {address} were changed")


def driven(schedule: FaultSchedule) -> tuple[int, tuple[str, ...], list[Fault], tuple[int, int]]:
    """A drive under the schedule: errors told, wrong beliefs, the faults that struck, the chunks that passed."""

    async def main(loop: VirtualLoop) -> tuple[int, tuple[str, ...], list[Fault], tuple[int, int]]:
        line = make_line(*BOARDS, chunk_bytes=1)
        wire = await lay_virtual("wheels", line, baud=115200, faults=schedule)
        link = await RoboClawLink.open("sim:wheels")
        driver = Driver(link, line)
        try:
            async with asyncio.timeout(120):
                is_armed, n = await driver.configure(), 0
                while n < CYCLES or (n < CYCLES_MAX and not has_passed(wire, schedule)):
                    n += 1
                    is_armed = is_armed and driver.wheels.is_ready
                    if not is_armed:
                        is_armed = await driver.configure()
                    if is_armed:
                        await driver.cycle(n)
                chunks = wire.to_device.chunks, wire.to_host.chunks
                await asyncio.sleep(1.5)  # the longest delay is over, and the dead-men have struck
                if any(motor(line, *place).speed_rad_s(loop.time()) for place in LAYOUT.wheels.values()):
                    driver.silent.append("a wheel turns though nobody speaks to its board")
                await well_again(link, BOARDS)
                await driver.wheels.stop()
            driver.judge_orders()
            return driver.errors, tuple(driver.silent), [fault for _, _, fault in wire.strikes], chunks
        finally:
            link.close()
            wire.close()

    return run_virtual(main)


def has_passed(wire: Wire, schedule: FaultSchedule) -> bool:
    """Whether the bytes that the faults wait for have gone by."""
    seen = {"wheels.to_device": wire.to_device.chunks, "wheels.to_host": wire.to_host.chunks}
    return all(seen[fault.point] > (fault.at_chunk or 0) for fault in schedule.faults)


@cache
def chunks_of_a_drive() -> tuple[int, int]:
    """The bytes each way when nothing goes wrong."""
    errors, silent, _, chunks = driven(FaultSchedule())
    assert (errors, silent) == (0, ())
    return chunks


def judged(seed: int) -> Result:
    """One to four faults (or a burst of them) at random bytes of the drive, either way."""
    rng = random.Random(f"roboclaw campaign {seed}")
    chunks = dict(zip(("wheels.to_device", "wheels.to_host"), chunks_of_a_drive(), strict=True))
    near = rng.random() < 0.5  # faults that fall together do what one alone does not
    start = rng.random()
    faults = []
    for _ in range(rng.randint(1, 4)):
        kind = rng.choice(KINDS)
        point = rng.choice(tuple(chunks))
        share = start + rng.uniform(0.0, 0.004) if near else rng.random()
        args: dict[str, int | float | str] = {}
        if kind == "flip":
            args = {"bit": rng.randrange(8)}
        elif kind == "insert":
            args = {"hex": rng.choice(("ff", "00", "80", rng.randbytes(rng.randint(1, 4)).hex()))}
        elif kind == "delay":
            args = {"delay_s": rng.choice(DELAYS_S)}
        at_chunk = min(int(share * chunks[point]), chunks[point] - 1)
        faults.append(Fault(kind, point, at_chunk=at_chunk, args=tuple(sorted(args.items()))))
    errors, silent, struck, _ = driven(FaultSchedule(tuple(faults)))
    assert struck, (seed, faults)
    return Result(seed, errors, silent, tuple(faults))


# ---- the line goes dead ---------------------------------------------------------------------------------------------


@cache
def chunks_of_a_cycle(n: int) -> tuple[int, int]:
    """The bytes that the host sends in the n-th cycle of a drive: the first, and the first of the next."""
    starts: list[int] = []

    async def main(loop: VirtualLoop) -> None:
        line = make_line(*BOARDS, chunk_bytes=1)
        wire = await lay_virtual("wheels", line, baud=115200, faults=FaultSchedule())
        driver = Driver(await RoboClawLink.open("sim:wheels"), line)
        await driver.configure()
        for cycle in range(1, n + 2):
            starts.append(wire.to_device.chunks)
            await driver.cycle(cycle)

    run_virtual(main)
    return starts[n - 1], starts[n]


def cut_at(at_chunk: int) -> dict[int, tuple[float, float, bool]]:
    """The line is cut for good in front of a byte. By board: when it heard its last packet, when its dead-man struck
    (loop times of the emulated board), and whether its wheels stand ten seconds later."""
    cut = Fault("disconnect", "wheels.to_device", at_chunk=at_chunk, args=(("back_after_s", -1.0),))

    async def main(loop: VirtualLoop) -> dict[int, tuple[float, float, bool]]:
        line = make_line(*BOARDS, chunk_bytes=1)
        await lay_virtual("wheels", line, baud=115200, faults=FaultSchedule((cut,)))
        driver = Driver(await RoboClawLink.open("sim:wheels"), line)
        heard_s: dict[int, float] = {}
        for address, board in line.boards.items():
            board.execute = _noting(board.execute, heard_s, address)  # type: ignore[method-assign]
        await driver.configure()
        for n in range(1, 13):
            await driver.cycle(n)
        assert driver.errors > 0
        await asyncio.sleep(10.0)
        found = {}
        for address, board in line.boards.items():
            assert board.stopped_by_timeout == 1 and board.stopped_at_s is not None
            speeds = [channel.port.speed_rad_s(loop.time()) for channel in board.channels]
            found[address] = heard_s[address], board.stopped_at_s, not any(speeds)
        return found

    return run_virtual(main)


def _noting(execute: Any, heard_s: dict[int, float], address: int) -> Any:
    def noted(command: int, data: bytes, t_s: float) -> bytes | None:
        heard_s[address] = t_s
        return execute(command, data, t_s)

    return noted
