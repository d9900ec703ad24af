"""What a Marlin board knows between two commands: build options, modal state, laser, heaters, settings.

Commands (`marlin_commands.py`) act on this; the serial side (`marlin.py`) drives them. Three coordinate frames meet
here: what the host says (G92 shifts it), the firmware's native frame (soft end stops, planner), and the gantry's truth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from math import inf

from hil_sim.world.emulators.marlin_heaters import LumpedHeater
from hil_sim.world.emulators.marlin_planner import Planner
from hil_sim.world.plant.gantry import Gantry, Point, Stand

STANDARD, CONTINUOUS, DYNAMIC = "standard", "continuous", "dynamic"
AXES = "XYZ"


@dataclass(frozen=True)
class MarlinBuild:
    """What is compiled in. The defaults are the bench printer's board: laser build, S_max 1000, stock buffers.

    boot_s: bootloader and start-up; bytes that arrive meanwhile are lost. parse_s: time per command before its answer.
    reset_on_open: the adapter's DTR line resets the board whenever a host opens the port.
    """

    name: str = "moonkiln bench"
    size_mm: Point = (250.0, 150.0, 100.0)
    max_speed_mm_s: Point = (100.0, 100.0, 20.0)
    acceleration_mm_s2: float = 500.0
    junction_deviation_mm: float = 0.01
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


@dataclass
class Settings:
    """What M500 stores and M502 resets."""

    acceleration_mm_s2: float
    junction_deviation_mm: float
    max_speed_mm_s: Point
    max_acceleration_mm_s2: Point
    extra: dict[str, float] = field(default_factory=dict)


class Firmware:
    """Modal state of the board since its last reset, and the motion and laser rules that need it. `say` sends one
    line.
    """

    def __init__(
        self,
        build: MarlinBuild,
        gantry: Gantry,
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
        )
        self.stored = stored
        self.settings = copy_settings(stored or self.defaults)
        self.planner = Planner(
            gantry,
            ring=build.ring,
            junction_deviation_mm=self.settings.junction_deviation_mm,
            first_block_delay_s=build.first_block_delay_s,
            beam_timeout_s=build.laser_timeout_s,
        )
        self.position: Point = (0.0, 0.0, 0.0)  # native, where the last accepted command ends
        self.shift: list[float] = [0.0, 0.0, 0.0]  # host = native + shift (G92)
        self.relative = False
        self.homed = [False, False, False]
        self._soft_mm = ([-inf, -inf, -inf], [inf, inf, inf])  # low and high end of each axis
        self.feed_mm_s = build.start_feed_mm_s
        self.feed_percent = 100.0
        self.cutter = STANDARD
        self.inline_s = 0.0
        self.standard_s = 0.0
        self.heat_wait = False  # M109/M190 in progress; M108 clears it
        self.keepalive_s = 2.0
        self.auto_report_s = 0
        self.debug_flags = 6  # ERRORS | INFO
        self.fan = 0
        self.hotend = LumpedHeater(ambient_c=21.0, full_c=320.0, tau_s=90.0, max_target_c=260.0)
        self.plate = LumpedHeater(ambient_c=20.0, full_c=140.0, tau_s=240.0, max_target_c=110.0)
        self.own_ok = False  # the command in work printed its ok itself (M105)
        self.set_current_line: Callable[[int], None] = lambda n: None
        self.request_resend: Callable[[], None] = lambda: None
        self.reschedule_reports: Callable[[], None] = lambda: None
        self.kill: Callable[[], None] = lambda: None
        self.apply_settings()

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
        self._soft_mm[0][axis], self._soft_mm[1][axis] = 0.0, self.build.size_mm[axis]

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
            f" T:{hot.temperature_c(t):.2f} /{hot.target_c:.2f} B:{bed.temperature_c(t):.2f} /{bed.target_c:.2f}"
            f" @:{hot.power(t)} B@:{bed.power(t)}"
        )

    def position_report(self) -> str:
        """M114: the planned position in the host's frame, then the step counters as they are now."""
        x, y, z = self.host_position()
        counts = [round(p * k) for p, k in zip(self.gantry.controller_at(self.now_s), self.build.steps_per_mm)]
        return f"X:{x:.2f} Y:{y:.2f} Z:{z:.2f} E:0.00 Count X:{counts[0]} Y:{counts[1]} Z:{counts[2]}"


def copy_settings(settings: Settings) -> Settings:
    """An independent copy."""
    return Settings(**asdict(settings))
