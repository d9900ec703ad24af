"""What a Marlin board does by the clock and unasked: automatic reports, `wait`, and the thermal protection's strike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hil_sim.world.emulators.marlin_firmware import Firmware

CallAt = Callable[[float, Callable[[], None]], asyncio.TimerHandle]


class Timers:
    """The timers of one boot of a board. `call_at` is the loop's, `now` the board's; `halt` kills with an error text.

    Reports stop while no host listens (`listening`); protection never does.
    """

    def __init__(
        self,
        firmware: Firmware,
        *,
        now: Callable[[], float],
        call_at: CallAt,
        say: Callable[[str], None],
        halt: Callable[[str], None],
    ) -> None:
        self._firmware, self._now, self._call_at, self._say, self._halt = firmware, now, call_at, say, halt
        self._temperature: asyncio.TimerHandle | None = None
        self._position: asyncio.TimerHandle | None = None
        self._wait: asyncio.TimerHandle | None = None
        self._protection: asyncio.TimerHandle | None = None
        self._listening = False
        firmware.hotend.on_change = firmware.plate.on_change = self.watch_heaters

    def listen(self, listening: bool) -> None:
        """A host has come or gone."""
        self._listening = listening
        self.reschedule_reports()
        if listening:
            self.idle()
        else:
            self.busy()

    def cancel(self) -> None:
        """The board is reset or dead."""
        self._listening = False
        for timer in (self._temperature, self._position, self._wait, self._protection):
            if timer is not None:
                timer.cancel()
        self._temperature = self._position = self._wait = self._protection = None

    # ---- reports ----------------------------------------------------------------------------------------------------
    def reschedule_reports(self) -> None:
        """M154, M155, or a host has come or gone: the intervals begin anew."""
        for timer in (self._temperature, self._position):
            if timer is not None:
                timer.cancel()
        self._temperature = self._position = None
        if not self._listening:
            return
        if self._firmware.auto_report_s:
            self._temperature = self._call_at(self._now() + self._firmware.auto_report_s, self._report_temperature)
        if self._firmware.position_report_s:
            self._position = self._call_at(self._now() + self._firmware.position_report_s, self._report_position)

    def _report_temperature(self) -> None:
        self._tell(self._firmware.temperatures)
        self._temperature = self._call_at(self._now() + self._firmware.auto_report_s, self._report_temperature)

    def _report_position(self) -> None:
        self._tell(self._firmware.position_report)
        self._position = self._call_at(self._now() + self._firmware.position_report_s, self._report_position)

    def _tell(self, text: Callable[[], str]) -> None:
        """A report of the present amid a command that may have been told a later time."""
        before_s, self._firmware.now_s = self._firmware.now_s, self._now()
        self._say(text())
        self._firmware.now_s = max(before_s, self._firmware.now_s)

    # ---- wait -------------------------------------------------------------------------------------------------------
    def idle(self) -> None:
        """The command queue is empty: from now on the board counts the time to its next `wait`."""
        self.busy()
        if self._firmware.build.no_timeouts_s and self._listening:
            self._wait = self._call_at(self._now() + self._firmware.build.no_timeouts_s, self._say_wait)

    def busy(self) -> None:
        """A command is there."""
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None

    def _say_wait(self) -> None:
        self._wait = None
        self._say("wait")
        self.idle()

    # ---- thermal protection -----------------------------------------------------------------------------------------
    def watch_heaters(self) -> None:
        """A set-point or the plant has changed: when will the protection strike, if at all?"""
        if self._protection is not None:
            self._protection.cancel()
            self._protection = None
        strikes = [
            (*trip, heater.protection.heater_id)
            for heater in (self._firmware.hotend, self._firmware.plate)
            if (trip := heater.trip(self._now())) is not None
        ]
        if strikes:
            at_s, why, heater_id = min(strikes)
            self._protection = self._call_at(at_s, lambda: self._halt(f"{why}, system stopped! Heater_ID: {heater_id}"))
