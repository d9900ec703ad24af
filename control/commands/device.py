"""`moonkiln device`: one device of a machine by hand, without the rest of it."""

from __future__ import annotations

import asyncio
import json
import math
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import click

from control.command_line import ExitCode, json_option, say_json
from control.errors import UsageError

if TYPE_CHECKING:
    from control.bench_device import BenchDevice
    from control.config import MachineConfig
    from control.rover.config import RoverConfig
    from firmware_bridge.register_map import RegisterMap
    from firmware_bridge.signals import Reading

FAILURES_MAX = 10  # in a row; then watching ends


@click.command(
    epilog="""\b
Examples:
  moonkiln device heater read --machine my_bench.toml
  moonkiln device heater read bed_temp_c status --machine my_bench.toml
  moonkiln device beam watch emission_w --every 0.5 --machine my_bench.toml
  moonkiln device beam write shutter=0 --machine my_bench.toml
  moonkiln device heater write "remote_setpoint_c=60 degC" --arm --machine my_bench.toml

Which device it is is asked first. Each value is checked against its map's range and the machine file's limits, all
before any is written, and read back. A value that the map does not call safe is written only with --arm. The device's
port must be free: end the program that uses it.
"""
)
@click.argument("name")
@click.argument("action", type=click.Choice(["read", "write", "watch"]))
@click.argument("words", metavar="[SIGNAL|SIGNAL=VALUE]...", nargs=-1)
@click.option("--machine", required=True, metavar="NAME|FILE.toml", help="The machine file that the device stands in.")
@click.option("--url", "urls", multiple=True, metavar="NAME=URL", help="Another place for one of its wires.")
@click.option("--arm", is_flag=True, help="Write values that may do harm, too. Be there, and keep others away.")
@click.option(
    "--every", "every_s", type=click.FloatRange(0.05, 3600), default=1.0, show_default=True, help="Watch: seconds."
)
@click.option(
    "--count", type=click.IntRange(1, 1_000_000), help="Watch: end after so many readings.  [default: Ctrl-C]"
)
@json_option
def device(
    name: str,
    action: str,
    words: tuple[str, ...],
    machine: str,
    urls: tuple[str, ...],
    arm: bool,
    every_s: float,
    count: int | None,
    as_json: bool,
) -> int:
    """Read, write or watch the device NAME of a machine, by its signals' names."""
    from control.rover.config import load_any
    from control.run_command import parse_urls

    config = load_any(machine).with_urls(parse_urls(urls))
    if action == "write":
        return asyncio.run(_write(config, name, words, arm, as_json))
    if arm:
        raise UsageError("--arm is for writing; reading and watching change nothing")
    if action == "read":
        return asyncio.run(_read(config, name, words, as_json))
    return asyncio.run(_watch(config, name, words, every_s, count, as_json))


async def _read(config: MachineConfig | RoverConfig, name: str, words: tuple[str, ...], as_json: bool) -> int:
    async with _opened(config, name) as opened:
        await opened.identify()
        readings = await opened.read(words)
    if as_json:
        say_json({"device": name, "readings": [_plain(reading) for reading in readings.values()]})
    else:
        table = _table_of(config, name)
        for reading in readings.values():
            click.echo(f"{reading.name:<24} {_shown(reading, table)}")
    return int(ExitCode.OK)


async def _write(
    config: MachineConfig | RoverConfig, name: str, words: tuple[str, ...], arm: bool, as_json: bool
) -> int:
    from control.bench_device import bounds_of, check_armed, parse_writes

    table = _table_of(config, name)
    if table is None:
        raise UsageError(f"{name} has no register map, so nothing of it is written by hand{_by_hand(config, name)}")
    if not words:
        raise UsageError(f"give SIGNAL=VALUE; {name} takes {', '.join(_written(table))}")
    writes = parse_writes(name, table, bounds_of(config, name), words)
    check_armed(name, writes, arm)
    done: list[dict[str, Any]] = []
    async with _opened(config, name) as opened:
        await opened.identify()
        opened.check(writes)
        for write in writes:
            reading = await opened.write(write)
            done.append({"signal": write.signal.name, "wrote": write.value, "reads": _plain(reading)})
            if not as_json:
                reads = (
                    "is written; it cannot be read back" if reading is None else f"reads back {_shown(reading, table)}"
                )
                click.echo(f"{write}: {reads}")
    if as_json:
        say_json({"device": name, "writes": done})
    return int(ExitCode.OK)


async def _watch(
    config: MachineConfig | RoverConfig,
    name: str,
    words: tuple[str, ...],
    every_s: float,
    count: int | None,
    as_json: bool,
) -> int:
    from control.commands.tap import until_interrupted
    from firmware_bridge.errors import LinkError

    loop = asyncio.get_running_loop()
    table = _table_of(config, name)
    async with _opened(config, name) as opened:
        await opened.identify()
        began_s = due_s = loop.time()
        seen = failures = 0
        with until_interrupted() as interrupted:
            while seen != count and not interrupted.done():
                try:
                    readings = await opened.read(words)
                    seen, failures = seen + 1, 0
                    _tell(readings, loop.time() - began_s, table, as_json)
                except LinkError as error:
                    failures += 1
                    if failures >= FAILURES_MAX:
                        raise
                    click.echo(f"{error}", err=True)
                due_s = max(due_s + every_s, loop.time())
                if seen != count:
                    await asyncio.wait({interrupted}, timeout=due_s - loop.time())
            if interrupted.done():
                interrupted.result()
    return int(ExitCode.OK)


def _tell(readings: dict[str, Reading], at_s: float, table: RegisterMap | None, as_json: bool) -> None:
    """One line of a watch."""
    if as_json:
        click.echo(json.dumps({"t_s": round(at_s, 3), "readings": [_plain(r) for r in readings.values()]}))
    else:
        click.echo(f"{at_s:9.2f} s  " + "  ".join(f"{r.name} {_shown(r, table)}" for r in readings.values()))


def _opened(config: MachineConfig | RoverConfig, name: str) -> AbstractAsyncContextManager[BenchDevice]:
    from control.assembly import open_device

    return open_device(config, name)


def _table_of(config: MachineConfig | RoverConfig, name: str) -> RegisterMap | None:
    from control.assembly import map_of

    return map_of(config, name)


def _by_hand(config: MachineConfig | RoverConfig, name: str) -> str:
    """What moves a device that has no register map, for sentences."""
    from control.rover.config import RoverConfig

    is_rover = isinstance(config, RoverConfig)
    if is_rover and name == "wheels":
        return ": drive the rover with `moonkiln rover teleop`"
    if not is_rover and name == "motion":
        return ": move the gantry with `moonkiln home` and `moonkiln jog`"
    return ": it can be read and watched"


def _written(table: RegisterMap) -> list[str]:
    return [signal.name for signal in table.signals.values() if "w" in signal.access]


def _shown(reading: Reading, table: RegisterMap | None) -> str:
    """A reading in words: value and unit, the names of set bits, and what is not well about it."""
    words = f"{reading.value:g} {reading.unit}".rstrip()
    signal = table.signals.get(reading.name) if table is not None else None
    if signal is not None and signal.bits and math.isfinite(reading.value):
        words += f" ({', '.join(bit for bit in signal.bits if signal.has(reading.value, bit)) or 'nothing set'})"
    flaws = [flaw for flaw in (reading.quality.value, reading.limit.value) if flaw not in ("good", "normal")]
    return words + (f"  [{', '.join(flaws)}]" if flaws else "")


def _plain(reading: Reading | None) -> dict[str, Any] | None:
    """A reading as JSON takes it; a value that is no number is null."""
    if reading is None:
        return None
    return {
        "signal": reading.name,
        "value": reading.value if math.isfinite(reading.value) else None,
        "unit": reading.unit,
        "quality": reading.quality.value,
        "limit": reading.limit.value,
    }
