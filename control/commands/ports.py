"""`moonkiln ports`: which serial ports there are, whether they are free, and, if asked, what answers on them."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from control.command_line import ExitCode, json_option, say_json
from control.errors import UsageError

if TYPE_CHECKING:
    from firmware_bridge.ports import Port
    from firmware_bridge.probing import Answer

SCHEMA_VERSION = 1
BAUD = click.IntRange(300, 4_000_000)
PROBE_LIMIT_S = 120.0


@click.command(
    epilog="""\b
Examples:
  moonkiln ports
  moonkiln ports --probe
  moonkiln ports /dev/ttyUSB0 --probe --baud 9600 --unit 1 --unit 17
  moonkiln sim serve --machine bench --dir D &  moonkiln ports D --probe

Without --probe no port is opened. With it each free port is opened, which resets many motion boards, and questions are
asked that change nothing: M115, $I, RoboClaw's version, Modbus reads of identities. A board at another baud rate hears
them as noise: probe no machine that is at work.
"""
)
@click.argument("paths", metavar="[PORT|DIR]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--probe", is_flag=True, help="Open each free port and ask what is there, by harmless questions.")
@click.option("--baud", "bauds", type=BAUD, multiple=True, help="Probe at this baud rate.  [default: the usual ones]")
@click.option("--unit", "units", type=click.IntRange(1, 247), multiple=True, help="Probe this Modbus unit.  [1 and 2]")
@json_option
def ports(paths: tuple[Path, ...], probe: bool, bauds: tuple[int, ...], units: tuple[int, ...], as_json: bool) -> int:
    """List the serial ports (or only those named, or linked in DIR) by their stable names."""
    from firmware_bridge.ports import list_ports

    if (bauds or units) and not probe:
        raise UsageError("--baud and --unit say how to probe: give --probe as well")
    try:
        found = list_ports(paths)
    except OSError as error:
        raise UsageError(str(error)) from error
    if paths:
        wanted = {str(path.resolve()) for path in paths} | {str(path.absolute()) for path in paths}
        found = [p for p in found if {p.device, p.name, str(Path(p.name).parent.resolve())} & wanted]
    said = asyncio.run(_probe_all(found, bauds, units)) if probe else {}
    if as_json:
        say_json({"schema_version": SCHEMA_VERSION, "ports": [_plain(port, said) for port in found]})
        return int(ExitCode.OK)
    for port in found:
        _show(port, said.get(port.device))
    if not found and paths:
        named, holds = " and ".join(map(str, paths)), "holds" if len(paths) == 1 else "hold"
        click.echo(f"{named} {holds} no serial port, nor a link to one")
    elif not found:
        click.echo("no serial port is plugged in: is the device connected, switched on, and its cable one with data?")
    return int(ExitCode.OK)


async def _probe_all(
    found: list[Port], bauds: tuple[int, ...], units: tuple[int, ...]
) -> dict[str, list[Answer] | str]:
    """Device -> who answered there, or why nobody could be asked. All ports at once: each has a line of its own."""
    from firmware_bridge.errors import TransportError
    from firmware_bridge.probing import BAUDS, UNITS, probe

    async def ask(port: Port) -> list[Answer] | str:
        if port.is_busy or not port.may_open:
            return "not asked"
        try:
            async with asyncio.timeout(PROBE_LIMIT_S):
                return await probe(
                    lambda baud: f"serial:{port.name}?baud={baud}", bauds=bauds or BAUDS, units=units or UNITS
                )
        except TransportError as error:
            return str(error)
        except TimeoutError:
            return f"given up after {PROBE_LIMIT_S:g} s: ask at fewer baud rates or units"

    answers = await asyncio.gather(*(ask(port) for port in found))
    return {port.device: answer for port, answer in zip(found, answers)}


def _show(port: Port, said: list[Answer] | str | None) -> None:
    about = ", ".join(filter(None, (port.description, port.manufacturer, port.usb, port.serial_number)))
    click.echo(port.name + (f" -> {port.device}" if port.name != port.device else ""))
    click.echo(f"  {about + '; ' if about else ''}{port.state}")
    if isinstance(said, str):
        click.echo(f"  {said}")
        return
    for answer in said or []:
        unit = f" unit {answer.unit}" if answer.unit is not None else ""
        table = f', map = "{answer.map}"' if answer.map is not None else ""
        click.echo(f"  {answer.protocol}{unit}: {answer.what}, at serial:{port.name}?baud={answer.baud}{table}")
    if said == []:
        click.echo("  nobody answers at the baud rates and units that were tried")


def _plain(port: Port, said: dict[str, list[Answer] | str]) -> dict[str, Any]:
    found: dict[str, Any] = {**asdict(port), "is_busy": port.is_busy, "state": port.state}
    if port.device in said:
        answers = said[port.device]
        found["answers"] = [] if isinstance(answers, str) else [asdict(answer) for answer in answers]
        found["probe_error"] = answers if isinstance(answers, str) else None
    return found
