"""The host's share of a core while it exposes for real: five Modbus devices at 10 Hz each and 200 lines/s.

    python benchmarks/bench_load.py

The same machine and job as `bench_virtual_time`, on ptys and loopback TCP; the emulated devices are a process of their
own. The host is the whole of it: interlocks after every poll, the journal with full sync, telemetry. Measured is its
process alone, during the exposure; and how long its loop was held at most (`loop_hold`).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench_virtual_time import (
    DENSE,
    DEVICES,
    LINES_PER_S_MIN,
    POLLS_PER_S_MIN,
    journal_commits,
    telemetry_counts,
    write_inputs,
)
from loop_hold import longest, run_watched

from control.host import JOURNAL_NAME, TELEMETRY_NAME, Status, print_host

EXPOSURE_S = 20.0
GROUP_LINES = 16
BAR = 0.12


def serve(machine: str, folder: str) -> None:
    """The emulated devices, until a signal; called in a process of its own."""
    from hil_sim.harness.serve import serve as serve_world

    def announce(line: str) -> None:
        print(line, flush=True)

    asyncio.run(serve_world(machine, Path(folder), world_machine=str(DENSE / "world.toml"), announce=announce))


async def sample(samples: list[tuple[float, float]]) -> None:
    """Four times a second: loop time, and CPU seconds so far."""
    while True:
        samples.append((asyncio.get_running_loop().time(), time.process_time()))
        await asyncio.sleep(0.25)


async def expose(job: Path, machine: Path, run_dir: Path) -> list[tuple[float, float]]:
    """One print on the wire, sampled."""
    samples: list[tuple[float, float]] = []
    sampler = asyncio.ensure_future(sample(samples))
    outcome = await print_host(job, machine, run_dir)
    sampler.cancel()
    assert outcome.status is Status.DONE, outcome.reason
    return samples


def busiest(samples: list[tuple[float, float]], path: Path) -> tuple[tuple[float, float], tuple[float, float]]:
    """The first and last sample within the exposure: where lines were committed ahead, a second off both ends."""
    import sqlite3

    with sqlite3.connect(path) as database:
        begin_s, end_s = database.execute("select min(at_s), max(at_s) from sent").fetchone()
    inside = [each for each in samples if begin_s + 1.0 <= each[0] <= end_s - 1.0]
    return inside[0], inside[-1]


def run(exposure_s: float = EXPOSURE_S) -> dict[str, Any]:
    """The figures, and whether they keep the bar at the rates that are asked for."""
    with tempfile.TemporaryDirectory(prefix="moonkiln-bench-") as name:
        folder = Path(name)
        job, machine = write_inputs(folder, exposure_s)
        words = [sys.executable, __file__, "--serve", str(machine), str(folder / "world")]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as world:
            try:
                assert world.stdout is not None
                told: dict[str, Any] = {}
                while "machine" not in told:
                    told = json.loads(world.stdout.readline())
                samples, holds = run_watched(expose(job, Path(told["machine"]), folder / "run"))
            finally:
                world.send_signal(signal.SIGINT)
                world.communicate(timeout=60)
        journal = folder / "run" / JOURNAL_NAME
        (begin_s, begin_cpu_s), (end_s, end_cpu_s) = busiest(samples, journal)
        messages = telemetry_counts(folder / "run" / TELEMETRY_NAME, begin_s, end_s)
        groups = journal_commits(journal, begin_s, end_s)
    took_s = end_s - begin_s
    polls = {device: round(messages[f"/printer/{device}"] / took_s, 2) for device in DEVICES}
    share, lines_per_s = (end_cpu_s - begin_cpu_s) / took_s, groups * GROUP_LINES / took_s
    is_dense = lines_per_s >= LINES_PER_S_MIN and min(polls.values()) >= POLLS_PER_S_MIN
    return {
        "bench": "load",
        "cpu_share": round(share, 4),
        "lines_per_s": round(lines_per_s, 1),
        "polls_per_s": polls,
        "measured_s": round(took_s, 1),
        **longest(holds, begin_s, end_s),
        "load_average": round(os.getloadavg()[0], 2),
        "bar": f"cpu_share <= {BAR} at {LINES_PER_S_MIN:g} lines/s and {POLLS_PER_S_MIN:g} polls/s a device",
        "passed": share <= BAR and is_dense,
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], sys.argv[3])
    else:
        print(json.dumps(run(), indent=2))
