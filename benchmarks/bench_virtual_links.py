"""Simulated seconds per CPU second of the links alone: G-code and Modbus between their drivers and emulated firmware.

    python benchmarks/bench_virtual_links.py

The load of `bench_virtual_time` without a host around it: no interlocks, journal or telemetry, and of the devices only
what speaks: a Marlin board with its planner, five Modbus devices at 10 Hz each, on lines of the same pace. Polls and
lines are counted where they arrive; fewer than were asked for fail.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import dataclass
from typing import Any

from bench_virtual_time import DENSE, DEVICES, LINES_PER_S_MIN, POLLS_PER_S_MIN, zigzag

from firmware_bridge.links.marlin import MarlinLink
from firmware_bridge.links.modbus import ModbusLink
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.build import build_world

RUN_S = 150.0
ROUNDS = 3
BAR = 150.0
HZ = 10.0


@dataclass(frozen=True)
class Question:
    """What a device is asked ten times a second: a block of registers of its manual."""

    wire: str
    framing: str
    unit: int
    fc: int
    address: int
    count: int


QUESTIONS = {
    "beam": Question("beam", "tcp", 1, 3, 0, 9),
    "heater": Question("bus0", "rtu", 1, 3, 1, 4),  # process value, set-point, output
    "meter": Question("bus2", "rtu", 1, 4, 0x000C, 2),  # active power
    "recoater": Question("bus1", "rtu", 1, 3, 0x1003, 1),  # motion status
    "piston": Question("bus1", "rtu", 2, 3, 0x1003, 1),
}


class NoJournal:
    """What a link must tell of its lines, told to nobody."""

    async def ahead(self, first: int, last: int) -> None:
        """At once."""

    def acked(self, index: int) -> None:
        """Not noted."""


async def ask(link: ModbusLink, question: Question, counts: dict[str, int], name: str) -> None:
    """Ten times a second, at times of its own that do not drift."""
    loop = asyncio.get_running_loop()
    at_s = loop.time()
    while True:
        words = await link.read(question.unit, question.fc, question.address, question.count)
        assert len(words) == question.count
        counts[name] += 1
        at_s += 1.0 / HZ
        await asyncio.sleep(at_s - loop.time())


async def simulate(loop: VirtualLoop, run_s: float) -> dict[str, Any]:
    """Stream and poll for `run_s` seconds; what was counted and what it cost."""
    world = await build_world(DENSE / "world.toml")
    counts = dict.fromkeys(DEVICES, 0)
    try:
        motion = await MarlinLink.open(world.urls["motion"])
        await motion.command(b"G28", timeout_s=120.0)
        await motion.command(b"G1 X6 Y20 F3600", timeout_s=60.0)
        await motion.command(b"M400", timeout_s=60.0)
        buses = {
            wire: await ModbusLink.open(world.urls[wire], framing="tcp" if wire == "beam" else "rtu")
            for wire in sorted({question.wire for question in QUESTIONS.values()})
        }
        polls = [
            loop.create_task(ask(buses[question.wire], question, counts, name), name=f"poll {name}")
            for name, question in QUESTIONS.items()
        ]
        moves = [b"G1 X%.3f Y%.3f S500" % (x, y) for _, _, x, y in zigzag(round(run_s * 250.0))]
        stop_s = loop.time() + run_s
        begin_s, begin_cpu_s, begin_timers = loop.time(), time.process_time(), loop.fired
        lines = await motion.stream(moves, NoJournal(), cancelled=lambda: loop.time() >= stop_s)
        cpu_s, sim_s = time.process_time() - begin_cpu_s, loop.time() - begin_s
        for poll in polls:
            poll.cancel()
        await asyncio.gather(*polls, return_exceptions=True)
        resends = motion.counters.resends
        for link in (motion, *buses.values()):
            link.close()
    finally:
        world.close()
    assert resends == 0, f"{resends} lines were sent again on a line without faults"
    return {
        "sim_s_per_cpu_s": round(sim_s / cpu_s, 1),
        "sim_s": round(sim_s, 1),
        "cpu_s": round(cpu_s, 3),
        "lines_per_s": round(lines / sim_s, 1),
        "polls_per_s": {name: round(count / sim_s, 2) for name, count in counts.items()},
        "timers_per_s": round((loop.fired - begin_timers) / sim_s, 1),
        "lines": lines,
        "polls": sum(counts.values()),
    }


def run(run_s: float = RUN_S, rounds: int = ROUNDS) -> dict[str, Any]:
    """The figures of the middle one of `rounds` runs."""
    figures = sorted(
        (run_virtual(lambda loop: simulate(loop, run_s)) for _ in range(rounds)), key=lambda one: one["sim_s_per_cpu_s"]
    )
    middle = figures[len(figures) // 2]
    is_dense = all(
        one["lines_per_s"] >= LINES_PER_S_MIN and min(one["polls_per_s"].values()) >= POLLS_PER_S_MIN for one in figures
    )
    return {
        "bench": "virtual_links",
        **middle,
        "rounds_sim_s_per_cpu_s": [one["sim_s_per_cpu_s"] for one in figures],
        "load_average": round(os.getloadavg()[0], 2),
        "bar": f"sim_s_per_cpu_s >= {BAR:g} at {LINES_PER_S_MIN:g} lines/s and {POLLS_PER_S_MIN:g} polls/s a device",
        "passed": middle["sim_s_per_cpu_s"] >= BAR and is_dense,
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
