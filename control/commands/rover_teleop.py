"""`moonkiln rover teleop`: a rover, driven by hand from the keyboard."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import click

from control.errors import UsageError
from control.run_command import parse_urls, stop_on_signals

if TYPE_CHECKING:
    from control.rover.teleop import TeleopStep
    from firmware_bridge.signals import Reading

KEYS_WAITING_MAX = 64
HELP = "w a s d or arrows: drive while held.  space: stop.  r: release after a hold.  q: leave.  Ctrl-C: stop, leave."


@click.command(
    epilog="""\b
Examples:
  moonkiln rover teleop --machine my_rover.toml
  moonkiln sim serve --machine osr --route route.json --dir D &  moonkiln rover teleop --machine D/osr.toml
"""
)
@click.option("--machine", required=True, metavar="NAME|FILE.toml", help="The rover's machine file.")
@click.option("--url", "urls", multiple=True, metavar="NAME=URL", help="Another place for one of its wires.")
def teleop(machine: str, urls: tuple[str, ...]) -> int:
    """Drive a rover by hand: it moves while a key is held. It REALLY moves: be there, look where it goes.

    Tilt, currents, temperatures, battery and silent devices hold it as on a route; nobody but you watches for hazards.
    """
    from control.rover.config import load_rover

    overlay = parse_urls(urls)
    config = load_rover(machine).with_urls(overlay)
    if not sys.stdin.isatty():
        raise UsageError("driving by hand needs a terminal to take keys from, and standard input is none")
    return asyncio.run(_drive(config))


async def _drive(config: Any) -> int:
    from control.assembly import open_rover
    from control.operator import Operator
    from control.rover.teleop import Teleop
    from control.watch import MachineTripped

    operator = Operator()
    click.echo(HELP, err=True)
    with stop_on_signals(operator), raw_terminal(sys.stdin.fileno()):
        try:
            async with open_rover(config, _Said()) as rover:
                await Teleop(rover, typed(sys.stdin.fileno()), operator, _show).run()
        except MachineTripped as tripped:
            click.echo(f"\nstopped: {tripped}", err=True)
            return 130 if tripped.stopped else 4
    click.echo("\nleft; the wheels are stopped", err=True)
    return 0


@contextlib.contextmanager
def raw_terminal(descriptor: int) -> Iterator[None]:
    """Keys one by one and unechoed, Ctrl-C still a signal; the terminal is as it was on every way out."""
    try:
        import termios
        import tty
    except ImportError as error:  # Windows
        raise UsageError("driving by hand needs a terminal of Linux or macOS") from error
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        termios.tcflush(descriptor, termios.TCIFLUSH)  # what was typed before is no order
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)


async def typed(descriptor: int) -> AsyncIterator[str]:
    """Keys as they are typed, until the terminal is gone. More than the rover can heed at once are dropped."""
    import os

    from control.rover.teleop import keys_of

    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str | None] = asyncio.Queue(KEYS_WAITING_MAX)
    rest = b""

    def read() -> None:
        nonlocal rest
        try:
            data = os.read(descriptor, 256)
        except OSError:
            data = b""
        if not data:
            loop.remove_reader(descriptor)
        keys, rest = keys_of(rest + data)
        for key in [*keys, *([] if data else [None])]:
            if queue.full():
                queue.get_nowait()  # the oldest is the least wanted
            queue.put_nowait(key)

    loop.add_reader(descriptor, read)
    try:
        while (key := await queue.get()) is not None:
            yield key
    finally:
        loop.remove_reader(descriptor)


def _show(step: TeleopStep) -> None:
    """One line that is written over."""
    words = f"{round(step.speed_m_s, 2) + 0.0:+.2f} m/s, tilt {step.tilt_deg:.0f} deg, battery {step.charge:.0%}"
    click.echo(f"\r{(words + (f', {step.held}' if step.held else ''))[:118]:<118}", nl=False, err=True)


class _Said:
    """Tells warnings and errors on a line of their own."""

    def readings(self, device: str, readings: dict[str, Reading]) -> None:
        """Not shown: the line is made of the rover's newest."""

    def event(self, level: str, text: str) -> None:
        """A sentence, if it matters."""
        if level != "info":
            click.echo(f"\r{level}: {text:<110}", err=True)
