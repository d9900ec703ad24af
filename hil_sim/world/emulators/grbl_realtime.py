"""What Grbl's real-time bytes do: hold, cycle start, door, jog cancel, overrides. Reset and `?` are the serial side's.

Facts: Grbl `protocol.c`, `serial.c`, `realtime_cmds.md` (page hosts 1b). None of them has an answer.
"""

from __future__ import annotations

from dataclasses import replace

from hil_sim.world.emulators import grbl_line as codes
from hil_sim.world.emulators.grbl_firmware import Firmware
from hil_sim.world.emulators.grbl_spindle import OFF
from hil_sim.world.emulators.grbl_states import Event, State

LEAST_PERCENT, MOST_PERCENT = 10, 200
SPIN_UP_S, COOLANT_S = 4.0, 1.0  # SAFETY_DOOR_SPINDLE_DELAY and SAFETY_DOOR_COOLANT_DELAY
_ACCESSORIES_LIVE = (State.IDLE, State.RUN, State.HOLD, State.JOG)


def act(fw: Firmware, code: int) -> None:
    """One real-time byte, at `fw.now_s`; codes that Grbl does not know do nothing."""
    if code == codes.HOLD:
        feed_hold(fw)
    elif code == codes.START:
        cycle_start(fw)
    elif code == codes.DOOR:
        safety_door(fw)
    elif code == codes.JOG_CANCEL:
        if fw.state is State.JOG:
            _stop_motion(fw)
    elif code in codes.FEED_OVERRIDES:
        feed = _stepped(fw.planner.feed_percent, codes.FEED_OVERRIDES[code])
        _override_motion(fw, feed, fw.planner.rapid_percent)
    elif code in codes.RAPID_OVERRIDES:
        _override_motion(fw, fw.planner.feed_percent, codes.RAPID_OVERRIDES[code])
    elif code in codes.SPINDLE_OVERRIDES:
        _override_spindle(fw, _stepped(fw.spindle.percent, codes.SPINDLE_OVERRIDES[code]))
    elif code == codes.SPINDLE_STOP:
        _toggle_spindle(fw)
    elif code == codes.FLOOD_TOGGLE or (code == codes.MIST_TOGGLE and fw.build.mist_coolant):
        _toggle_coolant(fw, code)


def feed_hold(fw: Firmware) -> None:
    """`!`: brake along the path and wait; a jog is cancelled instead. Alarm and check mode know no hold."""
    if fw.state in (State.ALARM, State.CHECK):
        return
    if fw.state is State.IDLE:
        fw.event(Event.FEED_HOLD)
        fw.suspend_at_rest()
    else:
        _stop_motion(fw)
        fw.event(Event.FEED_HOLD)


def safety_door(fw: Firmware) -> None:
    """0x84, or the door's pin: stop, and everything off until the door is closed and a cycle start comes."""
    if fw.state in (State.ALARM, State.CHECK):
        return
    fw.say("[MSG:Check Door]")
    if fw.state is State.SLEEP:
        return
    jogging = fw.state is State.JOG
    at_rest = fw.state is State.IDLE or (fw.suspend.active and fw.suspend.complete)
    _stop_motion(fw)
    if jogging:
        fw.suspend.door_ajar = True  # the jog ends first
        return
    fw.suspend.restoring = False
    fw.event(Event.DOOR_OPENED)
    if at_rest:
        fw.suspend_at_rest()


def cycle_start(fw: Firmware) -> None:
    """`~`: go on after a stop that is complete, or begin what is queued."""
    stop = fw.suspend
    if fw.state is State.IDLE:
        fw.auto_start()
    elif fw.state is State.HOLD and stop.complete:
        if stop.spindle_stopped:
            restore_spindle(fw)
        fw.cycle_start()
    elif fw.state is State.DOOR and stop.retracted and not stop.restoring and not fw.door_is_ajar():
        stop.restoring = True


def restoring_s(fw: Firmware) -> float:
    """How long spindle and coolant take to come back after a door; a laser comes back with the motion."""
    seconds = 0.0
    if fw.modes.spindle != OFF and not fw.laser:
        seconds += SPIN_UP_S
    if fw.modes.flood or fw.modes.mist:
        seconds += COOLANT_S
    return seconds


def restore_after_door(fw: Firmware) -> None:
    """Switch on again what the door has switched off."""
    if fw.modes.spindle != OFF and not fw.laser:
        _spindle_as_programmed(fw)
    fw.flood, fw.mist = fw.modes.flood, fw.modes.mist
    fw.overrides_in = 0


def restore_spindle(fw: Firmware) -> None:
    """After a spindle stop: at once, or for a laser with the next motion."""
    fw.suspend.spindle_stopped = False
    if fw.modes.spindle == OFF:
        return
    fw.say("[MSG:Restoring spindle]")
    if not fw.laser:
        _spindle_as_programmed(fw)


def _spindle_as_programmed(fw: Firmware) -> None:
    """The S of the block that is held, or of the parser."""
    order = fw.planner.first_order()
    speed = fw.speed if order is None else order.speed
    fw.spindle.put(fw.now_s, fw.modes.spindle, speed, fw.settings)
    fw.overrides_in = 0


def _stop_motion(fw: Firmware) -> None:
    """Begin to brake where something moves and does not brake already."""
    if fw.state not in (State.RUN, State.JOG) or fw.suspend.active:
        return
    fw.suspend_main()
    fw.suspend.jog_cancel = fw.state is State.JOG
    fw.planner.hold(fw.now_s)


def _stepped(percent: int, step: int | None) -> int:
    """An override one step on, or back at 100 %."""
    return 100 if step is None else max(LEAST_PERCENT, min(MOST_PERCENT, percent + step))


def _override_motion(fw: Firmware, feed: int, rapid: int) -> None:
    planner = fw.planner
    if (feed, rapid) != (planner.feed_percent, planner.rapid_percent):
        planner.set_overrides(fw.now_s, feed, rapid)
        fw.overrides_in = 0


def _override_spindle(fw: Firmware, percent: int) -> None:
    if percent == fw.spindle.percent:
        return
    fw.spindle.percent = percent
    fw.overrides_in = 0
    if fw.state is State.IDLE:
        if fw.modes.spindle != OFF:
            fw.spindle.put(fw.now_s, fw.modes.spindle, fw.speed, fw.settings)
    elif fw.planner.running:
        fw.planner.beam_changed(fw.now_s)
    elif fw.state is State.HOLD and not fw.suspend.spindle_stopped and fw.modes.spindle != OFF:
        _spindle_as_programmed(fw)


def _toggle_spindle(fw: Firmware) -> None:
    """0x9E: only in a hold, off and on again."""
    if fw.state is not State.HOLD or not fw.suspend.complete:
        return
    if fw.suspend.spindle_stopped:
        restore_spindle(fw)
    else:
        fw.stop_spindle(fw.now_s)


def _toggle_coolant(fw: Firmware, code: int) -> None:
    if fw.state not in _ACCESSORIES_LIVE:
        return
    if code == codes.FLOOD_TOGGLE:
        fw.flood = not fw.modes.flood
        fw.modes = replace(fw.modes, flood=fw.flood)
    else:
        fw.mist = not fw.modes.mist
        fw.modes = replace(fw.modes, mist=fw.mist)
    fw.overrides_in = 0
