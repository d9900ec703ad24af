"""What a Marlin board knows between two commands: build options, modal state, laser, heaters, settings.

Commands (`marlin_commands.py`) act on this; the serial side (`marlin.py`) drives them. Three coordinate frames meet
here: what the host says (G92 shifts it), the firmware's native frame (soft end stops, planner), and the gantry's truth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from math import inf
from typing import Any, NamedTuple

from hil_sim.world.emulators.klipper_planner import CornerVelocityPlanner
from hil_sim.world.emulators.marlin_heaters import BED, HOTEND, LumpedHeater
from hil_sim.world.emulators.marlin_planner import Planner
from hil_sim.world.plant.gantry import Gantry, Point, Stand

STANDARD, CONTINUOUS, DYNAMIC = "standard", "continuous", "dynamic"
AXES = "XYZ"
PROCESSING, PAUSED_FOR_USER = "echo:busy: processing", "echo:busy: paused for user"


@dataclass(frozen=True, slots=True)
class MarlinBuild:
    """What is compiled in. The defaults are the bench printer's board: laser build, S_max 1000, stock buffers;
    `full_build` has every feature.

    boot_s: bootloader and start-up; bytes that arrive meanwhile are lost. parse_s: time per command before its answer.
    reset_on_open: the adapter's DTR line resets the board whenever a host opens the port. no_timeouts_s: after so long
    without a command the board says `wait`, 0: never.

    square_corner_mm_s: corners as Klipper's planner takes them, by this velocity; 0: by junction deviation.

    Ways of older forks: `ok_after_resend` False, `short_resend` (`rs N9`), and `numbers_with_checksums` (a checksum
    without a line number is an error, and without a resend).
    """

    name: str = "moonkiln bench"
    size_mm: Point = (250.0, 150.0, 100.0)
    max_speed_mm_s: Point = (100.0, 100.0, 20.0)
    acceleration_mm_s2: float = 500.0
    junction_deviation_mm: float = 0.01
    square_corner_mm_s: float = 0.0
    steps_per_mm: Point = (80.0, 80.0, 400.0)
    homing_speed_mm_s: Point = (50.0, 50.0, 10.0)
    homing_bump_mm: Point = (5.0, 5.0, 2.0)
    s_max: float = 1000.0
    laser_timeout_s: float = 1.0
    ring: int = 16
    first_block_delay_s: float = 0.1
    command_buffer: int = 4
    rx_buffer: int = 128
    parse_s: float = 1e-4
    boot_s: float = 0.5
    reset_on_open: bool = True
    emergency_parser: bool = True
    advanced_ok: bool = True
    start_feed_mm_s: float = 25.0
    residency_s: float = 10.0
    no_timeouts_s: float = 0.0
    ok_after_resend: bool = True
    short_resend: bool = False
    numbers_with_checksums: bool = False
    extruders: int = 1  # 0 or 1
    extrude_min_c: float = 170.0
    steps_per_mm_e: float = 95.0
    servos: int = 0
    arcs: bool = True
    position_reports: bool = False
    coordinate_systems: bool = False
    firmware_retract: bool = False
    bed_probe: bool = False
    sd_slot: bool = False  # and no card in it
    progress: bool = False
    advanced_pause: bool = False
    filament_sensor: bool = False
    power_loss_recovery: bool = False
    host_actions: bool = False
    host_prompts: bool = False  # need host_actions
    debug_commands: bool = False  # OctoPrint's `!!DEBUG:` lines, which no real board knows


def full_build(**changes: Any) -> MarlinBuild:
    """A board with everything that this emulator knows compiled in, but for `changes`."""
    features: dict[str, Any] = dict.fromkeys(
        ("position_reports", "coordinate_systems", "firmware_retract", "bed_probe", "sd_slot", "progress",
         "advanced_pause", "filament_sensor", "power_loss_recovery", "host_actions", "host_prompts"), True,
    )  # fmt: skip
    return MarlinBuild(**{**features, "servos": 1, "no_timeouts_s": 1.0, **changes})


class Heaters(NamedTuple):
    """The heaters of a board: plant, so they live on when it is reset."""

    hotend: LumpedHeater
    plate: LumpedHeater


def new_heaters() -> Heaters:
    """Cold and in order."""
    return Heaters(
        LumpedHeater(ambient_c=21.0, full_c=320.0, tau_s=90.0, max_target_c=260.0, protection=HOTEND),
        LumpedHeater(ambient_c=20.0, full_c=140.0, tau_s=240.0, max_target_c=110.0, protection=BED),
    )


@dataclass
class Settings:
    """What M500 stores and M502 resets."""

    acceleration_mm_s2: float
    junction_deviation_mm: float
    max_speed_mm_s: Point
    max_acceleration_mm_s2: Point
    steps_per_mm: Point
    travel_acceleration_mm_s2: float
    retract_acceleration_mm_s2: float
    steps_per_mm_e: float = 95.0
    min_feed_mm_s: float = 0.0
    min_travel_feed_mm_s: float = 0.0
    probe_offset_mm: Point = (10.0, 10.0, 0.0)
    pid: tuple[float, float, float] = (22.2, 1.08, 114.0)
    runout: bool = True
    power_loss: bool = False
    extra: dict[str, float] = field(default_factory=dict)


class Firmware:
    """Modal state of the board since its last reset, and the motion and laser rules that need it. `say` sends one
    line.
    """

    # more than 30 attributes: without slots CPython would find none of them the quick way
    __slots__ = (
        "_ends_mm", "_soft_mm", "auto_report_s", "build", "busy", "cutter", "debug_flags", "defaults", "e_mm",
        "e_relative", "extrude_min_c", "fan", "feed_mm_s", "feed_percent", "flow_percent", "gantry", "heat_wait",
        "homed", "hotend", "inline_s", "job_s", "keepalive_s", "kill", "line_no", "now_s", "own_ok", "planner",
        "plate", "position", "position_report_s", "progress_percent", "prompt", "relative", "remaining_min",
        "request_resend", "reschedule_reports", "retracted", "say", "servo_deg", "set_current_line", "settings",
        "shift", "standard_s", "stored", "switches_watched", "user_wait", "workspace", "workspaces",
    )  # fmt: skip

    def __init__(
        self,
        build: MarlinBuild,
        gantry: Gantry,
        heaters: Heaters,
        stored: Settings | None,
        say: Callable[[str], None],
        now_s: float = 0.0,
    ) -> None:
        self.build, self.gantry, self.say = build, gantry, say
        self.now_s = now_s  # set by whoever drives, before each call
        self.defaults = Settings(
            build.acceleration_mm_s2,
            build.junction_deviation_mm,
            build.max_speed_mm_s,
            (build.acceleration_mm_s2,) * 3,
            build.steps_per_mm,
            build.acceleration_mm_s2,
            build.acceleration_mm_s2,
            build.steps_per_mm_e,
        )
        self.stored = stored
        self.settings = copy_settings(stored or self.defaults)
        self.planner = self._new_planner()
        self.position: Point = (0.0, 0.0, 0.0)  # native, where the last accepted command ends
        self.shift: list[float] = [0.0, 0.0, 0.0]  # host = native + shift (G92)
        self.relative = False
        self.homed = [False, False, False]
        self._ends_mm = ([-inf, -inf, -inf], [inf, inf, inf])  # low and high end of each axis
        self._soft_mm = self._ends_mm  # those that hold: M211 takes them away
        self.switches_watched = False  # M120: also by moves that do not home
        self.feed_mm_s = build.start_feed_mm_s
        self.feed_percent = 100.0
        self.cutter = STANDARD
        self.inline_s = 0.0
        self.standard_s = 0.0
        self.heat_wait = False  # M109/M190 in progress; M108 clears it
        self.user_wait = False  # M0/M600 in progress; M108 clears it, or M876
        self.busy = PROCESSING  # what is said at the keepalive interval
        self.keepalive_s = 2.0
        self.auto_report_s = 0
        self.position_report_s = 0
        self.debug_flags = 6  # ERRORS | INFO
        self.fan = 0
        self.hotend, self.plate = heaters
        self.line_no: int | None = None  # N of the command in work, set by whoever drives
        self.e_mm = 0.0
        self.e_relative = False
        self.flow_percent = 100.0
        self.extrude_min_c = build.extrude_min_c
        self.retracted = False
        self.workspace = -1  # -1: native, else index of G54..G59.3
        self.workspaces: dict[int, list[float]] = {}
        self.servo_deg = [90] * build.servos
        self.progress_percent = 0.0
        self.remaining_min = 0
        self.job_s: tuple[float, float | None] = (0.0, None)  # print timer: counted so far, running since
        self.own_ok = False  # the command in work printed its ok itself (M105)
        self.prompt = ""  # what an open prompt asks for: "user" or nothing that matters
        self.set_current_line: Callable[[int], None] = lambda n: None
        self.request_resend: Callable[[], None] = lambda: None
        self.reschedule_reports: Callable[[], None] = lambda: None
        self.kill: Callable[[], None] = lambda: None
        self.apply_settings()

    def _new_planner(self) -> Planner:
        build = self.build
        if build.square_corner_mm_s:
            return CornerVelocityPlanner(
                self.gantry,
                square_corner_mm_s=build.square_corner_mm_s,
                ring=build.ring,
                first_block_delay_s=build.first_block_delay_s,
                beam_timeout_s=build.laser_timeout_s,
            )
        return Planner(
            self.gantry,
            ring=build.ring,
            junction_deviation_mm=self.settings.junction_deviation_mm,
            first_block_delay_s=build.first_block_delay_s,
            beam_timeout_s=build.laser_timeout_s,
        )

    # ---- motion -----------------------------------------------------------------------------------------------------
    def apply_settings(self) -> None:
        """Settings changed: tell the planner."""
        s = self.settings
        self.planner.junction_deviation_mm = s.junction_deviation_mm
        self.planner.limit_axes(s.max_speed_mm_s, s.max_acceleration_mm_s2)

    def set_homed(self, axis: int) -> None:
        """The axis stands at its switch, native 0: G92 is forgotten and the soft end stops hold from now on."""
        self.shift[axis] = 0.0
        self.homed[axis] = True
        self._ends_mm[0][axis], self._ends_mm[1][axis] = 0.0, self.build.size_mm[axis]

    @property
    def soft_stops(self) -> bool:
        """Whether moves are kept within the ends of homed axes."""
        return self._soft_mm is self._ends_mm

    @soft_stops.setter
    def soft_stops(self, on: bool) -> None:
        self._soft_mm = self._ends_mm if on else ([-inf, -inf, -inf], [inf, inf, inf])

    def move(
        self,
        rapid: bool,
        x: float | None,
        y: float | None,
        z: float | None,
        s: float | None,
        line_no: int | None,
    ) -> None:
        """Plan a G0/G1 to the host's x, y, z (None: stays); the planner was advanced to now and has a free block.

        Soft end stops clamp homed axes, as in stock Marlin; an axis not homed may be moved, and is not clamped.
        """
        px, py, pz = self.position
        (dx, dy, dz), (low, high) = self.shift, self._soft_mm
        if x is not None:
            x = px + x if self.relative else x - dx
            px = low[0] if x < low[0] else high[0] if x > high[0] else x
        if y is not None:
            y = py + y if self.relative else y - dy
            py = low[1] if y < low[1] else high[1] if y > high[1] else y
        if z is not None:
            z = pz + z if self.relative else z - dz
            pz = low[2] if z < low[2] else high[2] if z > high[2] else z
        if self.cutter == STANDARD:
            fraction = self.standard_s
        else:
            if rapid:
                self.inline_s = 0.0  # a G0 is beam off, whatever its S; the next G1 must say S anew
            elif s is not None:
                fraction = s / self.build.s_max
                self.inline_s = 0.0 if fraction < 0.0 else 1.0 if fraction > 1.0 else fraction
            fraction = self.inline_s
        self.position = end = (px, py, pz)
        self.planner.add(
            self.now_s,
            end,
            self.feed_mm_s * self.feed_percent / 100.0,
            self.settings.acceleration_mm_s2,
            fraction,
            self.cutter == DYNAMIC,
            line_no,
        )

    def destination(self, x: float | None, y: float | None, z: float | None) -> Point:
        """Native position of a host's x, y, z (None: stays), not clamped. `move` has the same inline, for speed."""
        at = []
        for value, here, shift in zip((x, y, z), self.position, self.shift):
            at.append(here if value is None else here + value if self.relative else value - shift)
        return (at[0], at[1], at[2])

    def clamped(self, native_mm: Point) -> Point:
        """The nearest point that the soft end stops allow."""
        x, y, z = (min(max(v, low), high) for v, low, high in zip(native_mm, *self._soft_mm))
        return (x, y, z)

    def beam_fraction(self, *, rapid: bool, s: float | None) -> float:
        """S fraction of a move, by the cutter's mode. `move` has the same inline, for speed."""
        if self.cutter == STANDARD:
            return self.standard_s
        if rapid:
            self.inline_s = 0.0
        elif s is not None:
            self.inline_s = min(max(s / self.build.s_max, 0.0), 1.0)
        return self.inline_s

    def select_workspace(self, workspace: int) -> bool:
        """Take over the offset of a workspace (-1: native). False: it was the current one."""
        if workspace == self.workspace:
            return False
        self.workspace = workspace
        self.shift = list(self.workspaces.get(workspace, (0.0, 0.0, 0.0)))
        return True

    def host_position(self) -> Point:
        """Planned position in the host's frame (what M114 prints first)."""
        x, y, z = (p + s for p, s in zip(self.position, self.shift))
        return (x, y, z)

    def take_position_from_steppers(self) -> None:
        """After a stop in motion the step counters are all that is known."""
        self.position = self.planner.position = self.gantry.controller_at(self.now_s)

    # ---- laser ------------------------------------------------------------------------------------------------------
    def stand(self, fraction: float) -> None:
        """With everything at rest, put the beam's S fraction to `fraction` until something moves or the time-out."""
        if fraction > 0.0:
            self.gantry.stand(self.now_s, fraction, self.now_s + self.build.laser_timeout_s)
        elif isinstance(self.gantry.run_at(self.now_s), Stand):
            self.gantry.stand(self.now_s, 0.0, self.now_s)

    def quick_stop(self, *, beam_stays: bool) -> None:
        """Cut motion now and empty the ring. The last power stands on unless `beam_stays` is False (kill)."""
        fraction = self.planner.stop(self.now_s)
        self.take_position_from_steppers()
        if not beam_stays:
            self.stand(0.0)
        elif fraction > 0.0:
            self.stand(fraction)

    # ---- texts ------------------------------------------------------------------------------------------------------
    def temperatures(self) -> str:
        """` T:21.00 /0.00 B:20.00 /0.00 @:0 B@:0`, the form of M105 and M155."""
        t, hot, bed = self.now_s, self.hotend, self.plate
        return (
            f" T:{hot.reading_c(t):.2f} /{hot.target_c:.2f} B:{bed.reading_c(t):.2f} /{bed.target_c:.2f}"
            f" @:{hot.power(t)} B@:{bed.power(t)}"
        )

    def position_report(self) -> str:
        """M114: the planned position in the host's frame, then the step counters as they are now."""
        x, y, z = self.host_position()
        counts = [round(p * k) for p, k in zip(self.gantry.controller_at(self.now_s), self.settings.steps_per_mm)]
        return f"X:{x:.2f} Y:{y:.2f} Z:{z:.2f} E:{self.e_mm:.2f} Count X:{counts[0]} Y:{counts[1]} Z:{counts[2]}"

    def action(self, what: str) -> None:
        """`//action:` for the host, in a build that has them."""
        if self.build.host_actions:
            self.say("//action:" + what)

    def ask(self, question: str, button: str, prompt: str) -> None:
        """A prompt for the host's user, in a build that has them; `prompt` remembers what its answer decides."""
        if self.build.host_actions and self.build.host_prompts:
            self.prompt = prompt
            for what in ("end", f"begin {question}", f"button {button}", "show"):
                self.action("prompt_" + what)

    def answered(self) -> None:
        """M876 S: the open prompt was answered."""
        if self.prompt == "user":
            self.user_wait = False
        self.prompt = ""


def copy_settings(settings: Settings) -> Settings:
    """An independent copy."""
    return Settings(**asdict(settings))
