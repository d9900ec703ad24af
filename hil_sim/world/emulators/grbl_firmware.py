"""What a Grbl board knows between two lines: build, EEPROM, modal state, spindle, coolant, stops, and its inputs.

Lines (`grbl_commands.py`, `grbl_gcode.py`) and real-time bytes (`grbl_realtime.py`) act on this; the serial side
(`grbl.py`) drives them. Machine coordinates are the controller's; `Inputs` speak of the gantry's truth.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from math import inf

from hil_sim.world.emulators.grbl_block import Frame, Modes
from hil_sim.world.emulators.grbl_planner import GrblPlanner, Limits
from hil_sim.world.emulators.grbl_settings import Eeprom, Point, Settings
from hil_sim.world.emulators.grbl_spindle import DYNAMIC, OFF, Spindle
from hil_sim.world.emulators.grbl_states import Event, State, next_state
from hil_sim.world.plant.gantry import Gantry

Wait = Generator[float, None, None]

ALARM_PAUSE_S = 0.5  # after an alarm's number nothing is done, so that the message can leave
CRITICAL = (1, 2)  # alarms that only a reset ends
UNLOCK_HINT = "[MSG:'$H'|'$X' to unlock]"


@dataclass(frozen=True)
class GrblBuild:
    """What is compiled in. The defaults are the stock build for an Uno.

    settings: `$` defaults over the stock ones. work_offset_mm: G54 as somebody has stored it.
    line_numbers: `Ln:` in reports, at the price of one planner block.
    parse_s: time per line before its answer (0.9 ms from the end of a line to its ok, facts page). boot_s: bootloader
    and start-up; bytes that arrive meanwhile are lost (u: the bootloader's own time differs).
    max_step_rate_hz: None, as in stock, lets any step rate be set.
    """

    settings: Mapping[int, float] = field(default_factory=dict)
    work_offset_mm: Point = (0.0, 0.0, 0.0)
    line_numbers: bool = False
    mist_coolant: bool = False
    door_pin: bool = False
    origin_at_home: bool = False  # HOMING_FORCE_SET_ORIGIN: machine zero is at the home switches
    max_step_rate_hz: float | None = None
    baud: int = 115200
    rx_buffer: int = 128
    tx_buffer: int = 104
    parse_s: float = 9e-4
    report_s: float = 5e-4
    boot_s: float = 1.5
    reset_on_open: bool = True

    @property
    def ring(self) -> int:
        """Planner blocks, of which one is never used."""
        return 15 if self.line_numbers else 16


@dataclass
class Inputs:
    """What is wired to the board's pins, in true machine coordinates (mm); the world sets it.

    limit_low_mm, limit_high_mm: where the limit switches close at the ends of each axis; None: none is there.
    release_mm: how far a closed limit switch must be left to open. stuck, broken: axes (x y z) whose switches are
    always closed, or never close. probe_z_mm: a probe that points down touches there.
    """

    limit_low_mm: Point | None = None
    limit_high_mm: Point | None = None
    release_mm: float = 0.0
    stuck: str = ""
    broken: str = ""
    probe_z_mm: float | None = None
    door_open: bool = False

    def limits(self, at_mm: Point) -> list[bool]:
        """Which limit switches are closed with the gantry at `at_mm`."""
        return [self._closed(i, at_mm[i]) for i in range(3)]

    def _closed(self, axis: int, at_mm: float) -> bool:
        if "xyz"[axis] in self.stuck:
            return True
        if "xyz"[axis] in self.broken:
            return False
        low = self.limit_low_mm is not None and at_mm <= self.limit_low_mm[axis]
        return low or (self.limit_high_mm is not None and at_mm >= self.limit_high_mm[axis])

    def touches(self, at_mm: Point) -> bool:
        """Whether the probe's contact is closed."""
        return self.probe_z_mm is not None and at_mm[2] <= self.probe_z_mm


@dataclass
class Suspend:
    """How far a stop has come."""

    active: bool = False  # the main program waits
    since_s: float = 0.0
    complete: bool = False  # nothing moves any more
    jog_cancel: bool = False
    motion_cancel: bool = False  # a probe has touched
    soft_limit: bool = False
    door_ajar: bool = False
    retracted: bool = False
    restoring: bool = False
    spindle_stopped: bool = False


class Firmware:
    """State since the last reset. `say` sends one line; `now_s` is set by whoever drives, before each call."""

    def __init__(
        self, build: GrblBuild, gantry: Gantry, eeprom: Eeprom, inputs: Inputs, say: Callable[[str], None]
    ) -> None:
        self.build, self.gantry, self.eeprom, self.inputs, self.say = build, gantry, eeprom, inputs, say
        self.now_s = 0.0
        self.state = State.IDLE
        self.ring_free: Callable[[], int] = lambda: build.rx_buffer
        self.deafen: Callable[[float, float], None] = lambda now_s, seconds: None
        self.abort: Callable[[int], None] = lambda alarm: None
        self.probe_mm: Point = (0.0, 0.0, 0.0)
        self.probe_found = False
        self.suspended_s = 0.0  # seconds of all suspensions, so that a dwell does not count them
        self.restart()

    def restart(self) -> None:
        """What a soft reset does: all but position, state, EEPROM and probing."""
        self.planner = GrblPlanner(self.gantry, self._limits(), ring=self.build.ring)
        self.planner.place(self.gantry.controller_at(self.now_s))
        self.spindle = Spindle(self.gantry)
        self.planner.beam_of = lambda speed: self.spindle.fraction(speed, self.settings)
        self.modes = Modes()
        self.feed = 0.0
        self.speed = 0.0
        self.tool = 0
        self.tool_mm = 0.0
        self.g92_mm: Point = (0.0, 0.0, 0.0)
        self.system_mm = self.eeprom.coordinates["G54"]
        self.position_mm = self.planner.position_mm
        self.suspend = Suspend()
        self.flood = self.mist = False
        self.wco_in = 0  # reports until the next WCO and the next Ov
        self.overrides_in = 0
        self.critical = False  # an alarm that only a reset ends
        self.awaits_reset = False  # and its pause is over
        self.sleep_asked = False
        self.probe_mm, self.probe_found = (0.0, 0.0, 0.0), False

    # ---- settings ---------------------------------------------------------------------------------------------------
    @property
    def settings(self) -> Settings:
        """The `$` values in force."""
        return self.eeprom.settings

    @property
    def laser(self) -> bool:
        """$32."""
        return self.settings.flag(32)

    def _limits(self) -> Limits:
        s = self.settings
        x, y, z = s.axes(110)
        return Limits((x / 60.0, y / 60.0, z / 60.0), s.axes(120), s.axes(100), s[11])

    def apply_settings(self) -> None:
        """Settings changed: the planner learns it, and the position counters keep their steps."""
        before = self.planner.limits.steps_per_mm
        self.planner.limits = limits = self._limits()
        if limits.steps_per_mm != before:
            at = self.gantry.controller_at(self.now_s)
            x, y, z = (p * a / b if b else p for p, a, b in zip(at, before, limits.steps_per_mm))
            self.gantry.datum((x, y, z))
            self.planner.place((x, y, z))
        self.overrides_in = 0
        self.wco_in = 0

    # ---- state ------------------------------------------------------------------------------------------------------
    def event(self, event: Event) -> None:
        """Move the machine state on."""
        self.state = next_state(self.state, event)

    @property
    def busy(self) -> bool:
        """A state in which reports refresh their rare fields seldom."""
        return self.state in (State.HOME, State.RUN, State.HOLD, State.JOG, State.DOOR)

    def frame(self) -> Frame:
        """What the parser must know of positions."""
        return Frame(self.position_mm, self.system_mm, self.g92_mm, self.tool_mm, self.eeprom.coordinates)

    @property
    def offset_mm(self) -> Point:
        """Work coordinates' zero in machine coordinates: WCO."""
        x, y, z = (a + b for a, b in zip(self.system_mm, self.g92_mm))
        return (x, y, z + self.tool_mm)

    def machine_mm(self) -> Point:
        """Machine position now, in whole steps."""
        at = self.gantry.controller_at(self.now_s)
        x, y, z = (round(p * k) / k if k else 0.0 for p, k in zip(at, self.settings.axes(100)))
        return (x, y, z)

    def sync_position(self) -> None:
        """Parser and planner take the position from the step counters."""
        at = self.gantry.controller_at(self.now_s)
        self.planner.place(at)
        self.position_mm = self.planner.position_mm

    def out_of_travel(self, target_mm: Point) -> bool:
        """Whether a target lies beyond the soft limits ($130 to $132)."""
        mask = int(self.settings[23])
        for axis, (p, travel) in enumerate(zip(target_mm, self.settings.axes(130))):
            towards_plus = self.build.origin_at_home and mask >> axis & 1
            low, high = (0.0, travel) if towards_plus else (-travel, 0.0)
            if not low <= p <= high:
                return True
        return False

    # ---- motion -----------------------------------------------------------------------------------------------------
    def settle(self, t_s: float) -> None:
        """Everything that happened by itself up to `t_s`: motion that went on, and motion that ended."""
        planner = self.planner
        if not planner.running:
            return
        planner.advance(t_s)
        if not planner.running:
            self._motion_ended(planner.end_s)

    def _motion_ended(self, at_s: float) -> None:
        """The stepper interrupt has found no more segments."""
        stop, planner = self.suspend, self.planner
        if (last := planner.last_order) is not None:
            self.spindle.left_on(last.mode, last.speed, last.dynamic, self.settings)
        if stop.jog_cancel or stop.motion_cancel:
            planner.flush()
            self.position_mm = planner.position_mm
            if stop.door_ajar:
                self.event(Event.JOG_STOPPED_BY_DOOR)
                self.suspend = Suspend(active=True, since_s=stop.since_s, complete=True)
                self._reached_rest(at_s)
            else:
                self.suspend = Suspend()
                self.event(Event.MOTION_END)
        elif stop.soft_limit:
            self.suspend = Suspend()
            self.state = State.IDLE
        elif stop.active:
            planner.replan_from_rest()
            stop.complete = True
            self._reached_rest(at_s)
        else:
            self.event(Event.MOTION_END)

    def _reached_rest(self, at_s: float) -> None:
        """A stop is complete: a laser goes off, an open door switches everything off."""
        stop = self.suspend
        if self.state is State.HOLD:
            if self.laser:
                self.stop_spindle(at_s)
        elif self.state in (State.DOOR, State.SLEEP):
            self.spindle.off(at_s)
            self.flood = self.mist = False
            self.overrides_in = 0
            stop.retracted = True
            stop.door_ajar = self.door_is_ajar()

    def stop_spindle(self, at_s: float) -> None:
        """Spindle off for the time of a hold, to be restored when it ends."""
        if self.modes.spindle != OFF:
            self.spindle.off(at_s)
            self.suspend.spindle_stopped = True
            self.overrides_in = 0

    def suspend_main(self) -> None:
        """The main program does nothing from now on but wait for the stop and what ends it."""
        if not self.suspend.active:
            self.suspend.active, self.suspend.since_s = True, self.now_s

    def suspend_at_rest(self) -> None:
        """A stop that finds nothing in motion is complete at once."""
        self.suspend_main()
        self.suspend.complete = True
        self._reached_rest(self.now_s)

    def door_is_ajar(self) -> bool:
        """Whether the door's pin says that it is open; a board without that pin takes it for closed."""
        return self.build.door_pin and self.inputs.door_open

    def cycle_start(self) -> None:
        """Begin or go on with the blocks that are queued."""
        if self.suspend.active:
            self.suspended_s += self.now_s - self.suspend.since_s
        self.suspend = Suspend()
        if self.planner.queued:
            self.event(Event.CYCLE_START)
            self.planner.start(self.now_s)
        else:
            self.planner.holding = False
            self.event(Event.NOTHING_LEFT)

    def auto_start(self) -> None:
        """What the main loop does when it has nothing to read, or finds the ring full."""
        if self.planner.queued and self.state is State.IDLE:
            self.cycle_start()

    def kill_outputs(self) -> None:
        """Beam and coolant off, now."""
        self.spindle.off(self.now_s)
        self.flood = self.mist = False

    def synchronise(self) -> Wait:
        """Wait until every planned move has ended."""
        self.auto_start()
        while self.planner.queued or self.state is State.RUN:
            yield self.next_s()
            self.auto_start()

    def next_s(self) -> float:
        """When motion next changes by itself, but always a little later than now."""
        return max(self.planner.changes_s(), self.now_s + 1e-9)

    def write(self, seconds: float) -> Wait:
        """An EEPROM write: interrupts are off, nothing is heard, nothing else is done."""
        if seconds > 0.0:
            self.deafen(self.now_s, seconds)
            yield from wait_until(self, self.now_s + seconds)

    def is_dynamic(self, spindle: int) -> bool:
        """Whether the beam of a block follows its speed."""
        return self.laser and spindle == DYNAMIC


def wait_until(fw: Firmware, t_s: float) -> Wait:
    """Wait, whatever wakes the waiting one in between."""
    while fw.now_s < t_s:
        yield t_s


def raise_alarm(fw: Firmware, number: int) -> Wait:
    """`ALARM:number`; the two that must not be overlooked wait for a reset, deaf to everything else."""
    fw.event(Event.ALARM)
    fw.say(f"ALARM:{number}")
    fw.critical = number in CRITICAL
    yield from wait_until(fw, fw.now_s + ALARM_PAUSE_S)
    if fw.critical:
        fw.say("[MSG:Reset to continue]")
        fw.awaits_reset = True
        while True:
            yield inf
