"""An emulated Grbl 1.1h board: bytes in, bytes out, with the buffers, the deafness and the time a real one has.

The serial side: a 128-byte receive ring that the wire fills at its pace; real-time bytes that the receive interrupt
picks out of it; one line at a time, answered with one `ok` or `error:N` when it is executed or planned. A motion waits
for a free planner block, a hold stops the main program, an EEPROM write stops even the interrupts: what does not fit or
is not heard is lost without a word, as on the board. There is no checksum: a damaged line is executed or refused.
"""

from __future__ import annotations

import asyncio
from math import inf

from hil_sim.world.emulators import grbl_line as codes
from hil_sim.world.emulators import grbl_realtime as realtime
from hil_sim.world.emulators.grbl_board import Board
from hil_sim.world.emulators.grbl_commands import run_startup, system_line
from hil_sim.world.emulators.grbl_cycles import HOMING_DOOR, HOMING_RESET, HomingFailed, LimitWatch
from hil_sim.world.emulators.grbl_firmware import (
    ALARM_PAUSE_S,
    UNLOCK_HINT,
    GrblBuild,
    Inputs,
    Suspend,
    Wait,
    raise_alarm,
)
from hil_sim.world.emulators.grbl_gcode import execute
from hil_sim.world.emulators.grbl_line import Line, LineReader, pick_realtime
from hil_sim.world.emulators.grbl_report import BANNER, status
from hil_sim.world.emulators.grbl_settings import Eeprom, GrblError
from hil_sim.world.emulators.grbl_states import Event, State
from hil_sim.world.plant.gantry import Gantry

_LINE_OVERFLOW, _LOCKED, _EEPROM_FAILED = 11, 9, 7
_HARD_LIMIT, _ABORTED_IN_MOTION = 1, 3


class GrblEmulator(Board):
    """One board on one serial line, driving `gantry`.

    `attach` opens the line (one host at a time; the board lives on when the host leaves). With `reset_on_open` every
    open resets the board, as a DTR pulse does; `reset()` is the button. `inputs` are its switches: data of the world,
    with `door_moved()` to call when the door's pin changes.

    For the truth: `dropped_bytes` (ring overflow), `deaf_bytes` (lost during EEPROM writes), `boot_bytes` (lost while
    booting), `lines_done`, `errors`, `resets`, `planner.dry_runs`.
    """

    def __init__(self, gantry: Gantry, build: GrblBuild | None = None, inputs: Inputs | None = None) -> None:
        super().__init__(gantry, build or GrblBuild(), inputs or Inputs())
        self._reader = LineReader()
        self._limits = LimitWatch(self.firmware)
        self.firmware.abort = self._ask_abort
        self._forget()
        if self.eeprom.settings.flag(22):
            self.firmware.event(Event.POWER_UP_LOCKED)

    # ---- the button and the door ------------------------------------------------------------------------------------
    def reset(self) -> None:
        """DTR pulse or reset button: everything is forgotten but the EEPROM, position included."""
        if self._loop is None:  # power may go before any host has come
            self._loop = asyncio.get_running_loop()
        now_s = self._begin()
        self.resets += 1
        self.firmware.planner.kill(now_s)
        self.firmware.kill_outputs()
        self._cancel_timers()
        self._forget()
        self._booting = True
        self.gantry.datum((0.0, 0.0, 0.0))
        self._at(now_s + self.build.boot_s, self._power_up)

    def door_moved(self) -> None:
        """The door's pin has changed (after `inputs.door_open` was set); a board without that pin does not see it."""
        if self.build.door_pin and not self._booting:
            self._pick(codes.DOOR)

    def _forget(self) -> None:
        """What RAM holds of the main program."""
        self._ring.clear()
        self._reader.clear()
        self._booting = False
        self._resetting = False
        self._line: Line | None = None  # read, not yet executed
        self._work: Wait | None = None  # the line in execution
        self._look_s = -inf  # when it asked to be looked at
        self._owes_answer = False
        self._abort_asked = False
        self._report_asked = False
        self._deferred: list[int] = []  # real-time bytes that homing leaves for later
        self._sent_s = -inf

    # ---- receiving --------------------------------------------------------------------------------------------------
    def _receive(self, data: bytes) -> None:
        now_s = self._begin()
        if self._booting:
            self.boot_bytes += len(data)
            return
        kept, picked = pick_realtime(self._ears.heard(data, now_s))
        at = 0
        for until, code in picked:
            self._ring.put(kept[at:until])
            at = until
            self._pick(code)
        self._ring.put(kept[at:])
        self._pump()

    # ---- the main program -------------------------------------------------------------------------------------------
    def _pump(self) -> None:
        """Read the ring up to the end of a line; with nothing left to read, begin what is queued."""
        fw = self.firmware
        while self._is_free() and not fw.suspend.active:
            data = self._ring.take()
            if not data:
                fw.auto_start()
                break
            self._line, rest = self._reader.read(data)
            self._ring.give_back(rest)
            if self._line is not None:
                printed_s = self._sent_s - self.build.tx_buffer * self._byte_s  # a full send buffer holds it up
                self._at(max(fw.now_s, printed_s) + self.build.parse_s, self._begin_line)
        self._watch_motion()

    def _is_free(self) -> bool:
        return self._timer is None and self._work is None and self._line is None and not self._resetting

    def _begin_line(self) -> None:
        self._timer = None
        self._begin()
        fw, line = self.firmware, self._line
        if fw.suspend.active:
            return  # it is executed when the stop is over
        assert line is not None
        self._line = None
        self._owes_answer = True
        if line.too_long:
            self._answer(f"error:{_LINE_OVERFLOW}")
        elif not line.text:
            self._answer("ok")
        elif line.text[0] == "$":
            self._work_on(system_line(fw, line.text))
        elif fw.state in (State.ALARM, State.JOG):
            self._answer(f"error:{_LOCKED}")
        else:
            self._work_on(execute(fw, line.text))

    def _work_on(self, work: Wait) -> None:
        self._work = work
        self._go_on()

    def _go_on(self) -> None:
        """The work in hand, from where it waits."""
        self._timer = None
        now_s = self._begin()
        if now_s < self._look_s:  # a timer may come one clock tick early: what was awaited is taken as come
            self._latest_s = self.firmware.now_s = self._look_s
            self.firmware.settle(self._look_s)
        self._look_s = -inf
        if self._work is None or self.firmware.suspend.active:
            return
        try:
            until_s = next(self._work)
        except StopIteration:
            self._answer("ok")
        except GrblError as error:
            self._answer(str(error))
        except HomingFailed as failure:
            self._abort(failure.alarm)
        else:
            if until_s < inf and not self.firmware.suspend.active:
                self._timer_at(until_s)
        self._watch_motion()

    def _timer_at(self, until_s: float) -> None:
        self._look_s = until_s
        self._at(until_s, self._go_on)

    def _answer(self, text: str) -> None:
        """The line is done."""
        self._work = None
        if self._owes_answer:
            self._owes_answer = False
            self.lines_done += 1
            self.errors += text != "ok"
            self._say(text)
        deferred, self._deferred = self._deferred, []
        if self._abort_asked:
            self._abort(0)
            return
        if self.firmware.sleep_asked:
            self._fall_asleep()
        for code in deferred:
            self._pick(code)
        if self._report_asked and self._report_timer is None:
            self._report()
        self._pump()

    def _fall_asleep(self) -> None:
        """$SLP: everything off; only a reset wakes it."""
        fw = self.firmware
        fw.sleep_asked = False
        fw.event(Event.SLEEP)
        fw.suspend_at_rest()
        fw.say("[MSG:Sleeping]")

    # ---- real-time bytes --------------------------------------------------------------------------------------------
    def _pick(self, code: int) -> None:
        """A real-time byte from the receive interrupt."""
        fw = self.firmware
        self._begin()
        if self._resetting:
            return
        if code == codes.RESET:
            self._soft_reset()
        elif code == codes.STATUS:
            if not self._report_asked:
                self._report_asked = True
                assert self._loop is not None
                self._report_timer = self._loop.call_at(fw.now_s + self.build.report_s, self._report)
        elif fw.critical:
            return
        elif fw.state is State.HOME:
            if code == codes.DOOR and self._work is not None:
                self._abort(HOMING_DOOR)
            else:
                self._deferred = [*self._deferred, code][-16:]
        else:
            realtime.act(fw, code)
            self._stop_changed()

    def _stop_changed(self) -> None:
        """Something may have begun or ended a stop: the main program looks again."""
        fw = self.firmware
        if fw.suspend.restoring and fw.state is State.DOOR and self._motion_timer is None:
            realtime.restore_after_door(fw)
            assert self._loop is not None
            self._motion_timer = self._loop.call_at(fw.now_s + realtime.restoring_s(fw), self._restored)
            return
        if not fw.suspend.active:
            self._wake()
        self._watch_motion()

    def _wake(self) -> None:
        """Nothing holds the main program any more, or what it waits for may have changed."""
        if self._resetting or self._booting:
            return
        if self._work is not None:
            self._cancel_timer()
            self._timer_at(self.firmware.now_s)
        elif self._line is not None:
            if self._timer is None:
                self._at(self.firmware.now_s, self._begin_line)
        else:
            self._pump()

    def _restored(self) -> None:
        """Spindle and coolant are back after a door."""
        self._motion_timer = None
        self._begin()
        fw = self.firmware
        if fw.suspend.restoring and fw.state is State.DOOR:
            fw.cycle_start()
            self._stop_changed()

    def _report(self) -> None:
        self._report_timer = None
        self._begin()
        fw = self.firmware
        # Homing and a critical alarm do not come to it: it is answered afterwards, if at all.
        if self._resetting or fw.critical or (fw.state is State.HOME and self._work is not None):
            return
        self._report_asked = False
        self._say(status(fw))

    # ---- motion that ends or meets a switch by itself ---------------------------------------------------------------
    def _watch_motion(self) -> None:
        """A timer where something must happen without being asked: a stop that completes, a limit switch ahead."""
        fw = self.firmware
        if fw.suspend.restoring:
            return
        if self._motion_timer is not None:
            self._motion_timer.cancel()
            self._motion_timer = None
        planner = fw.planner
        if not planner.running or self._loop is None:
            return
        at_s = inf
        if fw.suspend.active:
            at_s = fw.next_s()
        if fw.settings.flag(21):
            at_s = min(at_s, self._limits.next_s(), max(planner.begins_s(), fw.now_s + 1e-9), fw.next_s())
        if at_s < inf:
            self._motion_timer = self._loop.call_at(at_s, self._moved)

    def _moved(self) -> None:
        self._motion_timer = None
        self._begin()
        fw = self.firmware
        if fw.settings.flag(21) and fw.state not in (State.ALARM, State.HOME) and self._limits.has_closed():
            self._hard_limit()
            return
        if not fw.suspend.active:
            self._wake()
        self._watch_motion()

    def _hard_limit(self) -> None:
        """A limit switch has closed in motion: steppers off, an alarm that only a reset ends."""
        fw = self.firmware
        fw.planner.kill(fw.now_s)
        fw.kill_outputs()
        fw.suspend = Suspend()
        self._cancel_timer()
        self._line = None
        self._work_on(raise_alarm(fw, _HARD_LIMIT))

    # ---- resets -----------------------------------------------------------------------------------------------------
    def _soft_reset(self) -> None:
        """0x18. Within the pause of a critical alarm it is forgotten."""
        fw = self.firmware
        if fw.critical:
            if fw.awaits_reset:
                self._abort(0)
        elif fw.state is State.HOME:
            self._abort(HOMING_RESET)
        elif fw.state in (State.RUN, State.JOG) or fw.planner.running:
            self._abort(_ABORTED_IN_MOTION)
        else:
            self._abort(0)

    def _ask_abort(self, alarm: int) -> None:
        self._abort_asked = True

    def _abort(self, alarm: int) -> None:
        """Steppers, beam and coolant off at once; then the alarm, the answer that is owed, and a new beginning."""
        fw = self.firmware
        now_s = fw.now_s
        self.resets += 1
        if fw.state is State.HOME:
            self.gantry.cut(now_s)
        fw.planner.kill(now_s)
        fw.kill_outputs()
        self._cancel_timers()
        if self._work is not None:
            self._work.close()
        self._work = None
        self._resetting = True
        pause_s = self.build.report_s
        if alarm:
            fw.event(Event.ALARM)
            self._say(f"ALARM:{alarm}")
            pause_s += ALARM_PAUSE_S
        self._at(now_s + pause_s, self._restart)

    def _restart(self) -> None:
        self._timer = None
        self._begin()
        if self._owes_answer:  # the line that was cut off returns to the main loop as if it were done
            self.lines_done += 1
            self._say("ok")
        self._forget()
        self.firmware.restart()
        self.firmware.event(Event.RESET)
        self._welcome()

    def _power_up(self) -> None:
        self._timer = None
        self._begin()
        self._booting = False
        fw = self.firmware
        fw.state = State.IDLE
        if self.eeprom.spoilt:
            self.eeprom = fw.eeprom = Eeprom(self.build.settings)
            self._say(f"error:{_EEPROM_FAILED}")
            for line in fw.settings.lines():
                self._say(line)
        fw.restart()
        if fw.settings.flag(22):
            fw.event(Event.POWER_UP_LOCKED)
        self._welcome()

    def _welcome(self) -> None:
        fw = self.firmware
        self._say(BANNER)
        if fw.settings.flag(21) and any(self.inputs.limits(self.gantry.position_at(fw.now_s))):
            fw.event(Event.ALARM)
            self._say("[MSG:Check Limits]")
        if fw.state is State.ALARM:
            self._say(UNLOCK_HINT)
            self._pump()
            return
        if fw.door_is_ajar():
            realtime.safety_door(fw)
        self._work_on(run_startup(fw))
