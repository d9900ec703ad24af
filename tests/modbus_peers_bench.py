"""A process that serves the bench's Modbus devices on ptys and loopback TCP for masters that nobody here wrote.

`python modbus_peers_bench.py DIRECTORY`: prints one JSON line {bus0, bus1, beam, plain} and serves until its standard
input ends; then prints counters. Unit 3 of bus1 and of `plain` is a memory of 200 that knows every function code.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from hil_sim.world.emulators.beam_head import BeamHead
from hil_sim.world.emulators.eurotherm3200 import Eurotherm3200
from hil_sim.world.emulators.leadshine import LeadshineDrive
from hil_sim.world.emulators.modbus_pdu import ILLEGAL_ADDRESS, ModbusDevice, Refusal
from hil_sim.world.emulators.modbus_slave import RtuBus, TcpSlave
from hil_sim.world.emulators.sdm120 import Sdm120
from hil_sim.world.plant.heater import HeaterPlate
from hil_sim.world.plant.linear_axis import LinearAxis
from hil_sim.world.plant.power import Meter
from hil_sim.world.wire import lay_pty, lay_tcp

SIZE = 200


class PlainMemory(ModbusDevice):
    """Four tables of 200: coils and holding registers at 0, every third discrete input on, input n = n * n."""

    functions = frozenset({1, 2, 3, 4, 5, 6, 15, 16, 22, 23})

    def __init__(self) -> None:
        self.holding = [0] * SIZE
        self.coils = [False] * SIZE

    def read_holding(self, address: int, count: int, t_s: float) -> Sequence[int]:
        return self.holding[_here(address, count)]

    def write_holding(self, address: int, values: Sequence[int], t_s: float) -> None:
        self.holding[_here(address, len(values))] = values

    def read_coils(self, address: int, count: int, t_s: float) -> Sequence[bool]:
        return self.coils[_here(address, count)]

    def write_coils(self, address: int, values: Sequence[bool], t_s: float) -> None:
        self.coils[_here(address, len(values))] = values

    def read_input(self, address: int, count: int, t_s: float) -> Sequence[int]:
        return [n * n for n in range(SIZE)][_here(address, count)]

    def read_discretes(self, address: int, count: int, t_s: float) -> Sequence[bool]:
        return [n % 3 == 0 for n in range(SIZE)][_here(address, count)]


def _here(address: int, count: int) -> slice:
    if address + count > SIZE:
        raise Refusal(ILLEGAL_ADDRESS)
    return slice(address, address + count)


async def serve(directory: str) -> None:
    loop = asyncio.get_running_loop()
    now = loop.time()
    meter = Meter()
    meter.set_load("electronics", now, 60.0)
    heater = Eurotherm3200(
        HeaterPlate(t_s=now),
        t_s=now,
        on_power=lambda t_s, watts: meter.set_load("heater", t_s, watts),
    )
    meter.settle_before_read(heater.advance_to)
    blade = LinearAxis("blade", travel_mm=(-2.0, 302.0), position_mm=20.0, t_s=now)
    piston = LinearAxis("piston", travel_mm=(-1.0, 101.0), t_s=now)
    head = BeamHead(on_emission=lambda t_s, watts: None, emission_w=lambda t_s: head.capability_w, timers=loop)
    bus0 = RtuBus({1: heater, 2: Sdm120(meter)}, baud=9600, exact_timing=False)
    drives = {1: LeadshineDrive(blade, mm_per_rev=40.0), 2: LeadshineDrive(piston, mm_per_rev=5.0)}
    bus1 = RtuBus({**drives, 3: PlainMemory()}, baud=115200, exact_timing=False)
    beam = TcpSlave({1: head}, max_connections=2)
    plain = TcpSlave({3: PlainMemory()})
    wires = {
        "bus0": await lay_pty(directory, "bus0", bus0, baud=9600),
        "bus1": await lay_pty(directory, "bus1", bus1, baud=115200),
        "beam": await lay_tcp("beam", beam),
        "plain": await lay_tcp("plain", plain),
    }
    print(json.dumps({name: wire.url for name, wire in wires.items()}), flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    await ended.wait()
    loop.remove_reader(sys.stdin)
    slaves = {"bus0": bus0, "bus1": bus1, "beam": beam, "plain": plain}
    print(json.dumps({name: asdict(slave.counters) for name, slave in slaves.items()}), flush=True)
    for wire in wires.values():
        wire.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
