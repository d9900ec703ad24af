"""A process that serves the bench's Modbus devices on ptys and loopback TCP for masters that nobody here wrote.

`python modbus_peers_bench.py DIRECTORY`: prints one JSON line {bus0, bus1, beam} and serves until its standard
input ends; then prints counters.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict

from hil_sim.world.emulators.beam_head import BeamHead
from hil_sim.world.emulators.eurotherm3200 import Eurotherm3200
from hil_sim.world.emulators.leadshine import LeadshineDrive
from hil_sim.world.emulators.modbus_slave import RtuBus, TcpSlave
from hil_sim.world.emulators.sdm120 import Sdm120
from hil_sim.world.plant.heater import HeaterPlate
from hil_sim.world.plant.linear_axis import LinearAxis
from hil_sim.world.plant.power import Meter
from hil_sim.world.wire import lay_pty, lay_tcp


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
    bus1 = RtuBus(drives, baud=115200, exact_timing=False)
    beam = TcpSlave({1: head}, max_connections=2)
    wires = {
        "bus0": await lay_pty(directory, "bus0", bus0, baud=9600),
        "bus1": await lay_pty(directory, "bus1", bus1, baud=115200),
        "beam": await lay_tcp("beam", beam),
    }
    print(json.dumps({name: wire.url for name, wire in wires.items()}), flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    await ended.wait()
    loop.remove_reader(sys.stdin)
    counters = {"bus0": asdict(bus0.counters), "bus1": asdict(bus1.counters), "beam": asdict(beam.counters)}
    print(json.dumps(counters), flush=True)
    for wire in wires.values():
        wire.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
