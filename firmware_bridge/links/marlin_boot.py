"""Making Marlin's acquaintance: line numbers from 0, and what kind of answers this build can prove things with."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from firmware_bridge.errors import BridgeError, LinkTimeout
from firmware_bridge.links.line_framing import frame_line, parse_ok, parse_resend
from firmware_bridge.links.marlin_flight import MARKER_ECHO, MARKER_TEMPERATURE

HELLO_EVERY_S = 1.0
ANSWER_S = 2.0
PATIENCE_S = 2.5  # firmware that works says so every 2 s
BUSY_LIMIT_S = 3600.0  # what an earlier host left in the board may take this long to be carried out
SETTLE_S = 0.05  # late oks of earlier hellos
TRIES_MAX = 100
REFUSALS_MAX = 10  # of one hello: a torn line of an earlier host's costs one


class Boot:
    """Hears the reply lines while the link is being opened. Afterwards: `has_advanced_ok`, `marker`, `next_number`.

    A board may still be busy with lines of a host that died. Their oks are no answers to us, and a hello that waits
    behind them sets the line number back when its turn comes. So a hello counts only once the token sent behind it has
    come back with no other ok before it. A board that asks for a line again has thrown away what waited behind the torn
    line that it complains of, and may have thrown away a hello.
    """

    def __init__(self) -> None:
        self.has_advanced_ok = False
        self.marker = ""
        self.next_number = 3
        self._loop = asyncio.get_running_loop()
        self._words: deque[str] = deque(maxlen=64)
        self._wake: asyncio.Future[None] | None = None
        self._error: BridgeError | None = None
        self._token = int(self._loop.time() * 1000) % 1_000_000  # another one than an earlier host's
        self._alive_s = self._loop.time()

    def hear(self, text: str) -> None:
        """One clean reply line."""
        ok = parse_ok(text)
        if ok is not None:
            self.has_advanced_ok = self.has_advanced_ok or ok.number is not None
            self._words.append("temperature" if ok.has_temperature else "ok")
            self._alive_s = self._loop.time()
        elif text.removeprefix("echo:") == f"k{self._token}":
            self._words.append("token")
        elif text.startswith('echo:Unknown command: "M118'):
            self._words.append("unknown")
        elif text.startswith("echo:busy:"):
            self._words.append("busy")
            self._alive_s = self._loop.time()
        elif text == "start":
            self._words.append(text)
        elif parse_resend(text) is not None:
            self._words.append("resend")
        self._wake_up()

    def fail(self, error: BridgeError) -> None:
        """The link is gone."""
        self._error = error
        self._wake_up()

    async def shake_hands(self, write: Callable[[bytes], None], url: Callable[[], str], timeout_s: float) -> None:
        """M110 until it is answered for certain, then one line of each marker kind.

        LinkTimeout if nobody answers within `timeout_s`; a board that says it is busy is waited for, up to an hour.
        """
        ends_s = self._loop.time() + BUSY_LIMIT_S
        heard = ["stale"]
        for _ in range(TRIES_MAX):
            await self._hello(write, url, timeout_s, ends_s)
            heard = await self._ask_token(write, ends_s)
            if "stale" not in heard:
                write(frame_line(2, b"M105"))
                heard += await self._until(("ok", "temperature", "resend"), ANSWER_S)
            if not {"stale", "resend"} & set(heard):
                break
        if "ok" not in heard and "temperature" not in heard:
            raise LinkTimeout(
                f"{url()} answered M110 but neither M118 nor M105 within {2 * ANSWER_S:g} s: does another program use "
                "the port?"
            )
        if "token" in heard:
            self.marker = MARKER_ECHO
        elif "temperature" in heard:
            self.marker = MARKER_TEMPERATURE

    async def _hello(
        self, write: Callable[[bytes], None], url: Callable[[], str], timeout_s: float, ends_s: float
    ) -> None:
        """M110, again and again while nobody says anything, until an ok comes that is not a refusal's."""
        began_s = self._loop.time()
        words = ("ok", "start", "busy", "resend")
        refusals = 0
        while True:
            write(b"\n" + frame_line(0, b"M110 N0"))
            heard = await self._until(words, min(HELLO_EVERY_S, timeout_s))
            while heard and heard[-1] == "busy" and self._loop.time() < ends_s:  # it has our hello, and works
                heard = await self._until(words, PATIENCE_S)
            if "ok" in heard:
                break
            if "resend" in heard:
                await self._until(("ok",), SETTLE_S)
                refusals += 1
                if refusals >= REFUSALS_MAX:
                    raise LinkTimeout(
                        f"{url()} has refused M110 {REFUSALS_MAX} times and asked for another line: another program "
                        "uses the port, or the line is too noisy. Check who else has it open, cable and baud rate."
                    )
            if self._loop.time() >= min(max(began_s, self._alive_s) + timeout_s, ends_s):
                raise LinkTimeout(
                    f"{url()} does not answer M110 within {timeout_s:g} s. Check power, cable and baud rate; firmware "
                    "that has halted answers nothing until it is reset."
                )
        await asyncio.sleep(SETTLE_S)
        self._words.clear()

    async def _ask_token(self, write: Callable[[bytes], None], ends_s: float) -> list[str]:
        """M118 with our token: what was heard up to its ok, or ["stale"] when the board had other things to answer."""
        self._token = self._token % 1_000_000 + 1
        write(frame_line(1, b"M118 k%d" % self._token))
        answers = ("token", "unknown")
        heard = await self._until(("ok", "resend", *answers), ANSWER_S)
        if heard and heard[-1] in answers:
            heard += await self._until(("ok",), ANSWER_S)
            return heard
        while not any(word in heard for word in (*answers, "resend")) and self._loop.time() < ends_s:
            more = await self._until(("ok", "busy", "resend", *answers), PATIENCE_S)
            if not more:
                return heard  # one ok and then silence: firmware that knows no M118 and does not say so
            heard += more
        await self._until(("ok",), ANSWER_S)  # the token's own, or the refusal's
        await asyncio.sleep(SETTLE_S)
        return ["stale"]

    async def _until(self, wanted: tuple[str, ...], timeout_s: float) -> list[str]:
        """The words heard until one of `wanted` was among them, or the time was up."""
        heard: list[str] = []
        deadline_s = self._loop.time() + timeout_s
        while True:
            if self._error is not None:
                raise type(self._error)(str(self._error))
            while self._words:
                heard.append(self._words.popleft())
                if heard[-1] in wanted:
                    return heard
            if self._loop.time() >= deadline_s:
                return heard
            self._wake = self._loop.create_future()
            timer = self._loop.call_at(deadline_s, self._wake_up)
            try:
                await self._wake
            finally:
                timer.cancel()

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
