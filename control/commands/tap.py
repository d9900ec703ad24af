"""`moonkiln tap` records a live line; `moonkiln replay` plays a recording back as a device."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from control.command_line import ExitCode
from control.errors import MoonkilnError, UsageError

if TYPE_CHECKING:
    from firmware_bridge.doors import Door, Greet
    from firmware_bridge.recording import Recording

FILE = click.Path(path_type=Path)
PORT = click.IntRange(0, 65535)
PARTING_S = 5.0  # what a device that is being closed may take


@click.command(
    epilog="""\b
Examples:
  moonkiln tap serial:/dev/ttyUSB0?baud=115200 -o wire.mcap
  moonkiln tap tcp:192.168.70.10:502 -o beam.mcap --port 1502
  moonkiln tap serial:/dev/ttyUSB0?baud=9600 -o bus.mcap --as /tmp/bus0

The device is opened once at the start, to see that it is there: one that is absent, busy or forbidden is exit code 3.
Then it is opened when a host opens its stand-in, and closed when the host leaves. Bytes pass unchanged; DTR and a
change of baud rate do not pass. The stand-in of a tls: device is plain TCP, on this computer alone. One JSON line on
stdout names the stand-in. Ctrl-C ends it and leaves the file whole.
"""
)
@click.argument("url")
@click.option("-o", "--output", type=FILE, required=True, help="The recording; never written over one that is there.")
@click.option("--as", "path", type=FILE, help="The pty that a host opens instead.  [default: the recording's name.tty]")
@click.option("--port", type=PORT, help="A TCP port that a host opens instead.  [default of tcp, tls: any free one]")
def tap(url: str, output: Path, path: Path | None, port: int | None) -> int:
    """Record what passes on the wire at URL, both ways, while a host uses it through a stand-in."""
    return asyncio.run(_tap(url, output, path, port))


async def _tap(url: str, output: Path, path: Path | None, port: int | None) -> int:
    from control.clock import run_start_ns
    from firmware_bridge.passage import Passage, check_can_be_opened
    from firmware_bridge.recording import Recorder, RecordingError, Way

    byte_time_s, baud = _line_of(url)
    try:
        recorder = Recorder(output, url, byte_time_s, start_ns=run_start_ns())
    except RecordingError as error:
        raise UsageError(str(error)) from error
    passage = Passage(url, recorder, _say, baud=baud)
    try:
        await check_can_be_opened(url)
        door = await _open_door(passage.greet, path or output.with_suffix(".tty"), port, baud)
    except BaseException:
        recorder.close()
        output.unlink()  # nothing has passed yet
        raise
    try:
        with until_interrupted() as interrupted:
            click.echo(f"hosts use {door.url} instead of {url}; Ctrl-C ends the recording", err=True)
            say_line({"url": door.url, "device": url, "recording": str(output)})
            await interrupted
    finally:
        door.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PARTING_S):
                await passage.ended()
        recorder.close()
    if recorder.failure:
        raise MoonkilnError(recorder.failure, ExitCode.BAD_INPUT)
    out, back = recorder.bytes_passed[Way.TO_DEVICE], recorder.bytes_passed[Way.TO_HOST]
    click.echo(f"{output}: {_count(recorder.connections)}, {out} bytes to the device, {back} to the host", err=True)
    return int(ExitCode.OK)


@click.command(
    epilog="""\b
Examples:
  moonkiln replay wire.mcap
  moonkiln replay beam.mcap --port 1502
  moonkiln replay motion.mcap --as /tmp/motion --dialect reprap
  moonkiln replay wire.mcap --list

One JSON line on stdout names what a host opens. It ends once each recorded connection has been played: exit code 0; or
where the host departs from the record, at a byte that it names: exit code 1. In virtual time a machine file's URL does
the same: replay:wire.mcap.
"""
)
@click.argument("recording_path", metavar="FILE", type=FILE)
@click.option("--as", "path", type=FILE, help="The pty that a host opens.  [default: the recording's name.tty]")
@click.option("--port", type=PORT, help="A TCP port that a host opens.  [default of a recorded tcp: any free one]")
@click.option(
    "--dialect",
    type=click.Choice(["bytes", "reprap"]),
    help="How the host is held to the record: byte by byte, or G-code line by line.  [default: the record tells]",
)
@click.option("--again", is_flag=True, help="Begin anew after the last connection, until Ctrl-C.")
@click.option("--list", "only_list", is_flag=True, help="Write what was recorded, and play nothing.")
def replay(
    recording_path: Path, path: Path | None, port: int | None, dialect: str | None, again: bool, only_list: bool
) -> int:
    """Play FILE back as the device: it answers what it answered, when the host sends what it sent."""
    from firmware_bridge.recording import RecordingError, read_recording

    try:
        recording = read_recording(recording_path)
    except RecordingError as error:
        raise UsageError(str(error)) from error
    for note in recording.notes:
        click.echo(f"note: {note}", err=True)
    if only_list:
        _list(recording)
        return int(ExitCode.OK)
    if not recording.connections:
        raise UsageError(f"{recording_path} holds no connection: there is nothing to play")
    return asyncio.run(_replay(recording, path or recording_path.with_suffix(".tty"), port, dialect, again))


async def _replay(recording: Recording, path: Path, port: int | None, dialect: str | None, again: bool) -> int:
    from firmware_bridge.passage import Player

    player = Player(recording, dialect, _say, again=again)
    baud = round(10 / recording.byte_time_s) if recording.byte_time_s else None
    door = await _open_door(player.greet, path, port, baud)
    try:
        with until_interrupted() as interrupted:
            click.echo(f"{recording.path}, as recorded from {recording.url}: hosts use {door.url}", err=True)
            say_line({"url": door.url, "recording": str(recording.path), "connections": len(recording.connections)})
            await asyncio.wait({interrupted, player.over}, return_when=asyncio.FIRST_COMPLETED)
            if interrupted.done():
                interrupted.result()
    finally:
        door.close()
    if player.departure is not None:
        raise MoonkilnError(f"{recording.path}: {player.departure}", ExitCode.REFUSED)
    return int(ExitCode.OK)


def _list(recording: Recording) -> None:
    """Every piece: seconds since its connection was opened, the way, the first byte's number in that way, the bytes."""
    for connection in recording.connections:
        click.echo(f"connection {connection.number} of {recording.url}")
        at = {piece.way: 0 for piece in connection.pieces}
        for piece in connection.pieces:
            is_text = all(32 <= byte < 127 or byte in b"\r\n\t" for byte in piece.data)
            shown = repr(piece.data)[1:] if is_text else piece.data.hex(" ")
            arrow = "->" if piece.way.value == "to_device" else "<-"
            click.echo(f"{piece.time_s - connection.opened_s:12.6f} s {arrow} {at[piece.way]:8d}  {shown}")
            at[piece.way] += len(piece.data)
        why = f": {connection.reason}" if connection.reason else ""
        click.echo(
            f"{connection.ended_s - connection.opened_s:12.6f} s {connection.ending.value.replace('_', ' ')}{why}"
        )


# ---- what both share


async def _open_door(greet: Greet, path: Path, port: int | None, baud: int | None) -> Door:
    """A pty for a line with a baud rate, a TCP port where one is asked for or the device is on TCP."""
    if port is not None or baud is None:
        from firmware_bridge.doors import TcpDoor

        return await TcpDoor.open(greet, port or 0)
    from firmware_bridge.doors import PtyDoor

    return PtyDoor(path, greet, baud=baud)


def _line_of(url: str) -> tuple[float, int | None]:
    """The time of one byte and the baud rate of a serial URL; 0 and None of a TCP or TLS one, which has neither."""
    scheme = url.partition(":")[0]
    if scheme == "serial":
        from firmware_bridge.transport_serial import parse_serial

        line = parse_serial(url)
        return line.byte_time_s, line.baud
    if scheme == "tcp":
        from firmware_bridge.transport_tcp import parse_address

        parse_address(url)
        return 0.0, None
    if scheme == "tls":
        return 0.0, None  # it is opened before a host may come, and a URL that cannot be is refused there
    raise UsageError(f"{url!r} cannot be tapped: give a serial:, tcp: or tls: URL, as a machine file's [urls] do")


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)


def say_line(value: dict[str, object]) -> None:
    """One JSON object on a line of its own, at once: a program waits for it."""
    import json

    click.echo(json.dumps(value))


def _count(connections: int) -> str:
    return f"{connections} connection{'' if connections == 1 else 's'}"


@contextlib.contextmanager
def until_interrupted() -> Iterator[asyncio.Future[None]]:
    """A future that is done at SIGINT, SIGTERM or SIGHUP, or fails with what broke in a callback of the loop."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def end() -> None:
        if not ended.done():
            ended.set_result(None)

    def break_off(_loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")  # asyncio would only log it, and the door would stand there dead
        if not ended.done():
            ended.set_exception(error if isinstance(error, Exception) else RuntimeError(str(context["message"])))

    before = loop.get_exception_handler()
    loop.set_exception_handler(break_off)
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, end)
    try:
        yield ended
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
        loop.set_exception_handler(before)
