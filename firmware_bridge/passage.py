"""What stands behind a door: the real device, with every byte recorded on its way, or a recording that plays it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from firmware_bridge.doors import Guest, Visitor
from firmware_bridge.errors import TransportError
from firmware_bridge.recorder import open_tapped
from firmware_bridge.recording import Recorder, Recording
from firmware_bridge.replay import Answer, Departure, Prompter, Script, dialect_of
from firmware_bridge.transport import Transport, open_transport

OPEN_TIMEOUT_S = 5.0


Say = Callable[[str], None]
"""Takes a sentence for the operator."""


async def check_can_be_opened(url: str) -> None:
    """Open the device at `url` and close it again: nothing is written, and what it says is not heard.

    Raises TransportError: absent, busy, forbidden, nobody there.
    """
    transport = await open_transport(url, _Deaf(), timeout_s=OPEN_TIMEOUT_S)
    transport.close()


class _Deaf:
    """Receiver of a line that is only looked at."""

    def data_received(self, data: bytes) -> None:
        """Whoever opens the line next asks for himself."""

    def connection_lost(self, error: TransportError | None) -> None:
        """A line that is lost in this moment is found lost when a host comes."""


class Passage:
    """Passes hosts on to the device at `url`, which is opened when a host comes and closed when it leaves."""

    def __init__(self, url: str, recorder: Recorder, say: Say, *, baud: int | None = None) -> None:
        """`baud`: at which the device's line is opened; a host that sets another is told of."""
        self.url = url
        self.recorder = recorder
        self.say = say
        self.baud = baud
        self._through: set[_Through] = set()

    def greet(self, guest: Guest) -> Visitor:
        """A host has come."""
        through = _Through(self, guest)
        self._through.add(through)
        return through

    async def ended(self) -> None:
        """Every device is closed again."""
        while self._through:
            await asyncio.gather(*(through.task for through in self._through), return_exceptions=True)

    def done(self, through: _Through) -> None:
        """A host and its device have parted."""
        self._through.discard(through)


class _Through:
    """One host, and the device opened for it: Visitor of the one, Receiver of the other."""

    def __init__(self, passage: Passage, guest: Guest) -> None:
        self._passage = passage
        self._guest = guest
        self._transport: Transport | None = None
        self._early = bytearray()  # what the host sent while the device was being opened; the door bounds it
        self._host_left = False
        self._baud_told = False
        self.task = asyncio.get_running_loop().create_task(self._open(), name="tap-open")

    async def _open(self) -> None:
        passage = self._passage
        try:
            transport = await open_tapped(passage.url, self, passage.recorder, timeout_s=OPEN_TIMEOUT_S)
        except TransportError as error:
            passage.say(str(error))
            self._guest.hang_up()
            passage.done(self)
            return
        self._transport = transport
        early, self._early = bytes(self._early), bytearray()
        if early and transport.is_open:
            self._pass_on(early)
        if self._host_left:
            transport.close()

    def received(self, data: bytes) -> None:
        """Bytes from the host."""
        passage = self._passage
        if not self._baud_told and passage.baud is not None and self._guest.baud not in (None, passage.baud):
            self._baud_told = True
            passage.say(
                f"the host has set {self._guest.baud} baud and the device's line runs at {passage.baud}: give the tap "
                "the host's baud rate if they do not understand each other"
            )
        if self._transport is None:
            self._early += data
        else:
            self._pass_on(data)

    def _pass_on(self, data: bytes) -> None:
        assert self._transport is not None
        try:
            self._transport.write(data)
        except TransportError as error:
            self._passage.say(str(error))
            self._guest.hang_up()

    @property
    def waiting_bytes(self) -> int:
        return len(self._early) + (self._transport.waiting_bytes if self._transport is not None else 0)

    def left(self) -> None:
        """The host has gone."""
        self._host_left = True
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Bytes from the device."""
        self._guest.send(data)

    def connection_lost(self, error: TransportError | None) -> None:
        """The device's line is closed."""
        self._passage.done(self)
        if error is not None:
            self._passage.say(str(error))
            self._guest.hang_up()


class Player:
    """Plays a recording to hosts, each the next connection of it. `over` is done when all are played, or one has
    departed (`departure` then says so)."""

    def __init__(self, recording: Recording, dialect: str | None, say: Say, *, again: bool = False) -> None:
        """`dialect`: None if each connection tells its own; `again`: begin anew after the last connection, for ever."""
        self.recording = recording
        self.dialect = dialect
        self.again = again
        self.say = say
        self.departure: Departure | None = None
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._next = 0
        self._playing = 0

    def greet(self, guest: Guest) -> Visitor:
        """A host has come."""
        connections = self.recording.connections
        if self._next >= len(connections) and self.again:
            self._next = 0
        if self._next >= len(connections):
            self.say(f"one host too many: the record holds {len(connections)}")
            return _Ignored(guest)
        connection = connections[self._next]
        self._next += 1
        self._playing += 1
        return _Played(self, guest, connection.number, Script(connection, self.dialect or dialect_of(connection)))

    def left(self, number: int, script: Script) -> None:
        """The host of a connection has gone."""
        self._playing -= 1
        if self.departure is None:
            if script.is_over:
                self.say(f"connection {number} was played whole: {script.bytes_heard} bytes heard")
            else:
                self.say(
                    f"connection {number}: the host left after {script.bytes_heard} of {script.bytes_expected} bytes"
                )
        ended = self._next >= len(self.recording.connections) and not self._playing and not self.again
        if (ended or self.departure is not None) and not self.over.done():
            self.over.set_result(None)


class _Played:
    """One host and the script that is played to it."""

    def __init__(self, player: Player, guest: Guest, number: int, script: Script) -> None:
        self._player = player
        self._guest = guest
        self._number = number
        self._script = script
        self._loop = asyncio.get_running_loop()
        self._prompter = Prompter(self._say)
        self._prompter.take(script.begin(self._loop.time()))

    waiting_bytes = 0

    def received(self, data: bytes) -> None:
        """Bytes from the host."""
        try:
            self._prompter.take(self._script.hear(data, self._loop.time()))
        except Departure as departure:
            self._player.departure = departure
            self._guest.hang_up()

    def _say(self, answer: Answer) -> None:
        if answer.data is None:
            self._player.say(f"connection {self._number}: the device is lost here, as it was")
            self._guest.hang_up()
        else:
            self._guest.send(answer.data)

    def left(self) -> None:
        """The host has gone."""
        self._prompter.stop()
        self._player.left(self._number, self._script)


class _Ignored:
    """A host for whom nothing is recorded: sent away once it has been greeted."""

    waiting_bytes = 0

    def __init__(self, guest: Guest) -> None:
        asyncio.get_running_loop().call_soon(guest.hang_up)

    def received(self, data: bytes) -> None:
        """It is not listened to."""

    def left(self) -> None:
        """It has gone."""
