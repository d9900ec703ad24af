"""Making Marlin's acquaintance: line numbers from 0, and what kind of answers this build can prove things with."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from firmware_bridge.errors import BridgeError, LinkTimeout
from firmware_bridge.links.line_framing import frame_line, parse_ok
from firmware_bridge.links.marlin_flight import MARKER_ECHO, MARKER_TEMPERATURE

HELLO_EVERY_S = 1.0
ANSWER_S = 2.0
SETTLE_S = 0.05  # late oks of earlier hellos


class Boot:
    """Hears the reply lines while the link is being opened. Afterwards: `has_advanced_ok`, `marker`, `next_number`."""

    def __init__(self) -> None:
        self.has_advanced_ok = False
        self.marker = ""
        self.next_number = 3
        self._loop = asyncio.get_running_loop()
        self._words: deque[str] = deque(maxlen=64)
        self._wake: asyncio.Future[None] | None = None
        self._error: BridgeError | None = None

    def hear(self, text: str) -> None:
        """One clean reply line."""
        ok = parse_ok(text)
        if ok is not None:
            self.has_advanced_ok = self.has_advanced_ok or ok.number is not None
            self._words.append("temperature" if ok.has_temperature else "ok")
        elif text in ("k1", "echo:k1", "start"):
            self._words.append(text.removeprefix("echo:"))
        self._wake_up()

    def fail(self, error: BridgeError) -> None:
        """The link is gone."""
        self._error = error
        self._wake_up()

    async def shake_hands(self, write: Callable[[bytes], None], url: Callable[[], str], timeout_s: float) -> None:
        """M110 until it is answered, then one line of each marker kind. LinkTimeout if nobody answers."""
        deadline_s = self._loop.time() + timeout_s
        while True:
            write(b"\n" + frame_line(0, b"M110 N0"))
            if "ok" in await self._until(("ok", "start"), min(HELLO_EVERY_S, timeout_s)):
                break
            if self._loop.time() >= deadline_s:
                raise LinkTimeout(
                    f"{url()} does not answer M110 within {timeout_s:g} s. Check power, cable and baud rate; firmware "
                    "that has halted answers nothing until it is reset."
                )
        await asyncio.sleep(SETTLE_S)
        self._words.clear()
        write(frame_line(1, b"M118 k1"))
        heard = await self._until(("ok", "temperature"), ANSWER_S)
        write(frame_line(2, b"M105"))
        heard += await self._until(("ok", "temperature"), ANSWER_S)
        if "ok" not in heard and "temperature" not in heard:
            raise LinkTimeout(
                f"{url()} answered M110 but neither M118 nor M105 within {2 * ANSWER_S:g} s: does another program use "
                "the port?"
            )
        if "k1" in heard:
            self.marker = MARKER_ECHO
        elif "temperature" in heard:
            self.marker = MARKER_TEMPERATURE

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
