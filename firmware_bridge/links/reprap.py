"""A conversation with RepRapFirmware 3.4 and later: CRC-16 lines, stop and wait, several moves a line.

The firmware gives no line numbers back, asks for nothing again and compares no numbers. What keeps a plan exact here:

* a CRC-16 that the channel must demand, so that nothing damaged is carried out (`reprap_crc16`, `reprap_board`);
* one line in doubt at a time, said until its token comes back (`reprap_talk`);
* lines of moves that the board itself refuses a second time (`reprap_program`, `reprap_stream`);
* a look at the end of each stream: the place is the plan's, the axes are still homed.

Several moves to a line make up for the waiting: at 115,200 baud more moves a second go through than one to a line would
with a window (`tests/test_reprap_stream.py`).

Nothing overtakes a command that waits: a stop is heard when the line in work is done, at most `stop_bound_s` later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from firmware_bridge.errors import BridgeError, LinkError, LinkTimeout, NotReady, Rejected
from firmware_bridge.links.marlin_flight import StreamJournal
from firmware_bridge.links.reprap_board import TRIES, Board, Expected, get_to_know, model, place, switches
from firmware_bridge.links.reprap_crc16 import frame_line
from firmware_bridge.links.reprap_program import Step, duration_s, plain
from firmware_bridge.links.reprap_stream import LINE_WORTH_S, Queue, RepRapStream
from firmware_bridge.links.reprap_talk import RepRapCounters, Talk, Unanswered, restarted
from firmware_bridge.transport import Transport, open_transport

__all__ = ["Board", "Expected", "RepRapCounters", "RepRapLink"]

HOME_TIMEOUT_S = 120.0
HOME_TRIES = 3
ASK_IDLE_S = 2.0
"""A board that has nothing to do is asked so often whether it still knows its place."""
HALT_EVERY_S = 1.0
HALT_LIMIT_S = 20.0


class RepRapLink:
    """One RepRapFirmware board on one transport. Made by `open`; a fatal error leaves the link failed and says why.

    Places are in the machine's frame (G54), mm.
    """

    def __init__(self, expected: Expected | None = None) -> None:
        self.expected = expected or Expected()
        self.board = Board()
        self.is_homed = False
        self._talk = Talk()
        self._queue = Queue(self.board.ring_moves)
        self._is_streaming = False
        self._watch: asyncio.Task[None] | None = None

    # -- opening and closing ------------------------------------------------------------------------------------

    @classmethod
    async def open(cls, url: str, *, expected: Expected | None = None, boot_timeout_s: float = 10.0) -> RepRapLink:
        """Open `url`, wait for what still moves, read who answers and set what a stream relies on.

        Raises TransportError; LinkTimeout when nobody answers; WrongModel, Rejected or DeviceHalted for a board that
        must not be given a beam. A board that is not homed is opened: `home` it.
        """
        link = cls(expected)
        link.attach(await open_transport(url, link.receiver, timeout_s=boot_timeout_s))
        try:
            await link.handshake(boot_timeout_s)
        except BaseException:
            link.close()
            raise
        return link

    def attach(self, transport: Transport) -> None:
        """Speak over `transport`, whose receiver is `receiver`."""
        self._talk.attach(transport)

    @property
    def receiver(self) -> Talk:
        """Who listens to the transport."""
        return self._talk

    async def handshake(self, boot_timeout_s: float) -> None:
        """From an unknown state to a known one. See `open`."""
        self.board = await get_to_know(self._talk, self.expected, boot_timeout_s)
        self.is_homed = self.board.is_homed
        self._queue = Queue(self.board.ring_moves)
        self._watch = asyncio.get_running_loop().create_task(self._watch_idle())

    def close(self) -> None:
        """Give the port back. Whoever still waits gets a TransportError."""
        if self._watch is not None:
            self._watch.cancel()
        self._talk.close()

    async def _watch_idle(self) -> None:
        """A sign of life where nothing else is said; a board that has restarted meanwhile is found out."""
        talk = self._talk
        while talk.error is None:
            await asyncio.sleep(ASK_IDLE_S)
            if talk.error is not None or not talk.is_idle or talk.loop.time() - talk.heard_s < ASK_IDLE_S / 2:
                continue
            try:
                was_homed = self.is_homed
                if await model(talk, "move.axes[0].homed") is not True and was_homed and self.is_homed:
                    self.is_homed = False
                    talk.fail(restarted(talk.url, "its axes are not homed any more"))
            except BridgeError as error:
                talk.fail(error)

    @property
    def error(self) -> Exception | None:
        """Why this link is unusable, or None."""
        return self._talk.error

    @property
    def counters(self) -> RepRapCounters:
        """What went by since the link was opened."""
        return self._talk.counters

    @property
    def heard_s(self) -> float:
        """Loop time at which the board was last heard, or until which the line in work may rightly be silent."""
        talk = self._talk
        return max(talk.heard_s, min(talk.busy_until_s, talk.loop.time()))

    @property
    def stop_bound_s(self) -> float:
        """How long the board may take, at most, to hear a stop: the moves that the line in work waits for, or one."""
        return max(LINE_WORTH_S, 2.0 * self._queue.longest_s)

    # -- what callers ask ---------------------------------------------------------------------------------------

    async def home(self) -> None:
        """Home all axes (G28), and return when the machine stands there. LinkError where it does not come to it."""
        self.is_homed = False
        for _ in range(HOME_TRIES):
            try:
                answer = await self._talk.say(b"G28", takes_s=HOME_TIMEOUT_S + self._queue.whole_s, twice_is_fine=False)
            except Unanswered:
                continue
            self._queue.clear()
            homed = [await model(self._talk, f"move.axes[{i}].homed") for i in range(3)]
            if homed == [True, True, True]:
                self.is_homed = True
                return
            said = f" ('{answer.troubles[0]}')" if answer.troubles else ""
            raise LinkError(f"{self._talk.url} did not home all of its axes{said}. Look at the switches and homeall.g.")
        raise LinkTimeout(f"{self._talk.url} lost the command to home {HOME_TRIES} times: the line is too noisy.")

    async def position(self) -> tuple[float, float, float]:
        """X, Y, Z in mm where the last move taken ends (after `wait_idle`: where the machine stands)."""
        return await place(self._talk)

    async def wait_idle(self, *, timeout_s: float) -> None:
        """Return when every move has ended (M400). LinkTimeout when that takes longer than `timeout_s`."""
        await self._talk.say(b"M400", takes_s=min(timeout_s, self._queue.whole_s + LINE_WORTH_S))
        self._queue.clear()

    async def jog(self, target_mm: tuple[float, float, float], *, speed_mm_s: float) -> None:
        """Move to a place with the beam off, and wait until the machine stands. Rejected where the board refuses it."""
        if not self.is_homed:
            raise NotReady(f"{self._talk.url} does not know where it stands: home it before it moves.")
        await self.move(target_mm, speed_mm_s=speed_mm_s)

    async def move(self, target_mm: tuple[float, float, float], *, speed_mm_s: float) -> None:
        """As `jog`, by what the board counts, whether that is right or not."""
        await self._queue_up(target_mm, speed_mm_s)
        words = "".join(f"{axis}{plain(value)}" for axis, value in zip("XYZ", target_mm))
        # an absolute place, in a workplace that is named: carried out twice it does no harm
        answer = await self._talk.say(f"G54 G1 {words}F{plain(speed_mm_s * 60.0)}S0".encode())
        await self.wait_idle(timeout_s=self._queue.whole_s)
        if answer.troubles and max(abs(a - b) for a, b in zip(await place(self._talk), target_mm)) > 0.01:
            raise Rejected(f"{self._talk.url} refuses to move to {words}: {answer.troubles[0]}")

    async def move_to_switches(self, target_mm: tuple[float, float], *, speed_mm_s: float) -> None:
        """Move to x and y, mm, with the beam off; an axis whose end switch closes, or is closed, stops at once and is
        counted where it stopped (G1 H4). Returns when the machine stands. Limits do not bind such a move, and need not
        be taken away for it. Rejected where the board refuses it."""
        await self._queue_up(target_mm, speed_mm_s)
        words = f"X{plain(target_mm[0])}Y{plain(target_mm[1])}"
        # carried out twice it does no harm: what stands at its switch stays there
        line = f"G54 G1 H4 {words}F{plain(speed_mm_s * 60.0)}S0".encode()
        for _ in range(TRIES):  # a refusal may be that of a repeated line of a stream, whose late token was lost
            answer = await self._talk.say(line, takes_s=self._queue.whole_s)
            if not answer.troubles:
                break
        else:
            raise Rejected(f"{self._talk.url} refuses to move to its end switches ({words}): {answer.troubles[0]}")
        await self.wait_idle(timeout_s=self._queue.whole_s)

    async def switches(self) -> tuple[str, str]:
        """The end switches of X and Y as they are now: `at min stop`, `at max stop`, `not stopped`, `no endstop`."""
        return await switches(self._talk)

    async def _queue_up(self, target_mm: Sequence[float], speed_mm_s: float) -> None:
        """Note how long a move to there, X and Y at least, may take."""
        here = await place(self._talk)
        length_mm = sum((a - b) ** 2 for a, b in zip(here, target_mm)) ** 0.5
        step = Step(target_mm[0], target_mm[1], speed_mm_s * 60.0)
        self._queue.add([duration_s(step, length_mm, self.board.acceleration_mm_s2 / 10.0, speed_mm_s / 10.0)])

    async def beam_off(self) -> None:
        """No power for the moves to come (M5). Without a move this firmware gives none at all."""
        await self._talk.say(b"M5", takes_s=self._queue.longest_s)

    async def stream(
        self, lines: Sequence[bytes], journal: StreamJournal, *, cancelled: Callable[[], bool] | None = None
    ) -> int:
        """Say the slicer's lines, each after `journal` has noted it; returns how many the board has taken.

        NotReady if it is not homed; else see `RepRapStream.run`.
        """
        self._talk.raise_if_failed()
        if self._is_streaming:
            raise LinkError(f"{self._talk.url} is streaming already: one stream at a time.")
        if not self.is_homed:
            raise NotReady(f"{self._talk.url} does not know where it stands: home it before it moves.")
        self._is_streaming = True
        try:
            return await RepRapStream(
                self._talk, self.board, self.expected, self._queue, lines, journal, cancelled
            ).run()
        finally:
            self._is_streaming = False

    # -- stopping -----------------------------------------------------------------------------------------------

    def emergency_stop(self) -> None:
        """M112 at once, ahead of all that has not left. The board hears it at most `stop_bound_s` later."""
        self.is_homed = False
        self._talk.emergency_stop()

    async def halt(self) -> None:
        """M112 until the board says that it is in emergency stop, whatever became of the link.

        Raises TransportError where the line is gone; LinkTimeout after `stop_bound_s` and 20 s.
        """
        self.is_homed = False
        talk = self._talk
        ends_s = talk.loop.time() + HALT_LIMIT_S + self.stop_bound_s
        while not talk.is_stopped:
            if talk.loop.time() >= ends_s:
                raise LinkTimeout(
                    f"{talk.url} has not said that it stopped, {HALT_LIMIT_S + self.stop_bound_s:.0f} s after it was"
                    " told to (M112). Cut its power."
                )
            talk.emergency_stop()
            await talk.stopped(HALT_EVERY_S)

    async def restart(self) -> None:
        """M999 to a board in emergency stop: it boots, and is as after a power-up. The link stays failed.

        A board on USB takes its port away for a moment. Raises TransportError.
        """
        if not self._talk.is_stopped:
            raise NotReady(f"{self._talk.url} is not in emergency stop: it is not restarted.")
        self._talk.write(frame_line(1, b"M999", guard=False))
