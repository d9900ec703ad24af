"""What a RepRapFirmware board knows between two commands: build, modes, coordinates, laser, heaters, object model."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from hil_sim.world.emulators.marlin_heaters import LumpedHeater
from hil_sim.world.emulators.reprap_planner import JerkPlanner
from hil_sim.world.plant.gantry import Gantry, Point

AXES = "XYZ"
WORKPLACES = 9  # G54 to G59.3
FFF, LASER, CNC = "FFF", "Laser", "CNC"
MARLIN, REPRAP = "Marlin", "RepRapFirmware"
NAME, ELECTRONICS = "RepRapFirmware for Duet 3 Mini 5+", "Duet 3 Mini5plus Ethernet"

Wait = Generator[float, None, str]


class Refused(Exception):
    """A command that is not carried out: `Error: <command>: <text>`, or `Warning: ...`."""

    def __init__(self, text: str, *, is_warning: bool = False) -> None:
        super().__init__(text)
        self.is_warning = is_warning


@dataclass(frozen=True)
class RepRapBuild:
    """Board and configuration.

    needs_check, needs_crc: what the channel demands of each line (M575 S). reports_checksum_errors: a release before
    3.4, without CRC. rx_buffer: bytes that wait while a command is in work (unverified); what comes on top is an
    overrun. loop_s: time from a line's end to its execution (unverified).
    """

    version: str = "3.5.4"
    date: str = "2024-11-24 10:47:24"
    size_mm: Point = (250.0, 150.0, 100.0)
    max_speed_mm_s: Point = (100.0, 100.0, 20.0)
    acceleration_mm_s2: Point = (500.0, 500.0, 100.0)
    jerk_mm_s: Point = (15.0, 15.0, 0.2)
    steps_per_mm: Point = (80.0, 80.0, 400.0)
    homing_speed_mm_s: Point = (50.0, 50.0, 10.0)
    rx_buffer: int = 512
    loop_s: float = 5e-4
    boot_s: float = 1.0
    needs_check: bool = False
    needs_crc: bool = False
    reports_checksum_errors: bool = False
    moves_before_homing: bool = False  # M564 H
    reset_on_open: bool = False


class Machine:
    """State since the last reset. `now_s` is set by whoever drives, before each call."""

    def __init__(self, build: RepRapBuild, gantry: Gantry, heaters: tuple[LumpedHeater, LumpedHeater]) -> None:
        self.build, self.gantry = build, gantry
        self.tool_heater, self.bed_heater = heaters
        self.now_s = 0.0
        self.booted_s = 0.0
        self.planner = JerkPlanner(gantry, jerk_mm_s=build.jerk_mm_s)
        self.max_speed_mm_s = build.max_speed_mm_s
        self.max_acceleration_mm_s2 = build.acceleration_mm_s2
        self.apply_limits()
        self.position: Point = (0.0, 0.0, 0.0)  # where the last accepted move ends
        self.workplaces: list[Point] = [(0.0, 0.0, 0.0)] * WORKPLACES  # their zeros, mm in the machine's frame
        self.workplace = 0
        self.relative = False
        self.homed = [False, False, False]
        self.moves_before_homing = build.moves_before_homing
        self.limits_axes = True  # M564 S
        self.feed_mm_s = 50.0
        self.rapid_mm_s = 300.0
        self.speed_factor = 1.0
        self.mode = FFF
        self.compatibility = MARLIN
        self.laser_max = 255.0
        self.laser_sticky = False
        self.laser_fraction = 0.0  # of the next move that does not say S, when sticky
        self.fan = 0.0
        self.message = ""
        self.is_stopped = False
        self.line_no: int | None = None  # of the line in work
        self.last_line_no = 0  # of the last line that ended, good or bad
        self.moves_done = 0

    def apply_limits(self) -> None:
        """Axis limits changed: tell the planner."""
        self.planner.limit_axes(self.max_speed_mm_s, self.max_acceleration_mm_s2)

    @property
    def is_moving(self) -> bool:
        """Whether a move is planned or running."""
        self.planner.advance(self.now_s)
        return not self.planner.idle

    def stop(self) -> None:
        """Emergency stop: motion cut, beam and heaters off, home forgotten, nothing executed until a reset."""
        self.planner.stop(self.now_s)
        self.position = self.planner.position
        self.laser_fraction = 0.0
        self.homed = [False, False, False]
        for heater in (self.tool_heater, self.bed_heater):
            heater.set_target(self.now_s, 0.0)
        self.is_stopped = True

    def synchronise(self) -> Generator[float, None, None]:
        """Wait for standstill."""
        self.planner.advance(self.now_s)
        while (until := self.planner.next_change_s()) is not None:
            yield until
            self.planner.advance(self.now_s)

    # ---- moves ------------------------------------------------------------------------------------------------------
    def target(self, values: dict[str, float | None]) -> Point:
        """End of a move. Refused: an axis is not homed or, in laser and CNC mode, the end is out of reach."""
        at = list(self.position)
        for i, axis in enumerate(AXES):
            value = values.get(axis)
            if value is None:
                continue
            if not self.homed[i] and not self.moves_before_homing:
                raise Refused("insufficient axes homed")
            at[i] = at[i] + value if self.relative else value + self.workplaces[self.workplace][i]
            inside = min(max(at[i], 0.0), self.build.size_mm[i])
            if self.limits_axes and self.homed[i] and inside != at[i]:
                if self.mode != FFF:
                    raise Refused("target position outside machine limits")
                at[i] = inside
        return (at[0], at[1], at[2])

    def beam(self, *, coordinated: bool, s: float | None) -> float:
        """Laser fraction of a move: its own S; without one the last S when M452 S1 made it sticky, else dark."""
        if self.mode != LASER:
            return 0.0
        if s is not None:
            self.laser_fraction = min(max(s / self.laser_max, 0.0), 1.0)
        elif not self.laser_sticky:
            self.laser_fraction = 0.0
        return self.laser_fraction if coordinated else 0.0

    # ---- texts ------------------------------------------------------------------------------------------------------
    def temperatures(self) -> str:
        """M105: the current tool, tool 0, the bed."""
        tool, bed = self.tool_heater, self.bed_heater
        t, b = tool.reading_c(self.now_s), bed.reading_c(self.now_s)
        return f"T:{t:.1f} /{tool.target_c:.1f} T0:{t:.1f} /{tool.target_c:.1f} B:{b:.1f} /{bed.target_c:.1f}"

    def coordinates(self) -> str:
        """M114: planned position in the workplace, live motor steps, the position in the machine's frame (its digits
        unverified)."""
        x, y, z = (at - zero for at, zero in zip(self.position, self.workplaces[self.workplace]))
        steps = " ".join(
            str(round(p * k)) for p, k in zip(self.gantry.controller_at(self.now_s), self.build.steps_per_mm)
        )
        at = " ".join(f"{value:.3f}" for value in self.position)
        return f"X:{x:.3f} Y:{y:.3f} Z:{z:.3f} E:0.000 E0:0.0 Count {steps} Machine {at} Bed comp 0.000"

    @property
    def status(self) -> str:
        """As the object model has it."""
        return "halted" if self.is_stopped else "busy" if self.is_moving else "idle"

    def model(self) -> dict[str, Any]:
        """The part of the object model that is emulated."""
        heaters = [
            {"active": heater.target_c, "current": round(heater.reading_c(self.now_s), 1),
             "state": "active" if heater.target_c else "off"}
            for heater in (self.bed_heater, self.tool_heater)
        ]  # fmt: skip
        axes = [
            {"letter": axis, "homed": homed, "min": 0.0, "max": high, "machinePosition": round(live, 3),
             "userPosition": round(at - zero, 3)}
            for axis, homed, high, live, at, zero in zip(
                AXES, self.homed, self.build.size_mm, self.gantry.controller_at(self.now_s), self.position,
                self.workplaces[self.workplace],
            )
        ]  # fmt: skip
        return {
            "boards": [{"firmwareName": NAME, "firmwareVersion": self.build.version}],
            "heat": {"heaters": heaters},
            "inputs": [{"name": "USB", "lineNumber": self.last_line_no, "compatibility": self.compatibility}],
            "move": {"axes": axes, "speedFactor": self.speed_factor,
                     "queue": [{"length": self.planner.usable}]},
            "state": {"status": self.status, "machineMode": self.mode, "upTime": int(self.now_s - self.booted_s),
                      "laserPwm": self.laser_fraction if self.mode == LASER else None},
        }  # fmt: skip


def look_up(model: Any, key: str) -> Any:
    """A value of the object model by a path such as `move.axes[0].homed`; None where there is none."""
    for name, index in re.findall(r"([A-Za-z]+)|\[(\d+)\]", key):
        if name:
            model = model.get(name) if isinstance(model, dict) else None
        else:
            model = model[int(index)] if isinstance(model, list) and int(index) < len(model) else None
        if model is None:
            return None
    return model
