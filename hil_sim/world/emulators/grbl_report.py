"""What a Grbl board prints: status reports with their cadence, `$G`, `$#`, `$I`.

Formats from Grbl's `interface.md` and `report.c` (facts, page hosts 1b). Positions have three decimals in mm and four
in inches; WCO comes first and in every 30th report (10th when idle), Ov in the report after it and every 20th (10th),
A only together with Ov.
"""

from __future__ import annotations

from hil_sim.world.emulators.grbl_block import G0, G1, G2, G3, G80, MM_PER_INCH
from hil_sim.world.emulators.grbl_firmware import Firmware
from hil_sim.world.emulators.grbl_settings import COORDINATES, Point
from hil_sim.world.emulators.grbl_spindle import CONSTANT, DYNAMIC
from hil_sim.world.emulators.grbl_states import State

BANNER = "\r\nGrbl 1.1h ['$' for help]"
HELP = "[HLP:$$ $# $G $I $N $x=val $Nx=line $J=line $SLP $C $X $H ~ ! ? ctrl-x]"
VERSION = "1.1h.20190830"
_WCO_BUSY, _WCO_IDLE, _OVERRIDES_BUSY, _OVERRIDES_IDLE = 30, 10, 20, 10


def status(fw: Firmware) -> str:
    """One `<...>` report, without its line end. Counts the reports since the rare fields."""
    mask = int(fw.settings[10])
    at = fw.machine_mm()
    if not mask & 1:
        x, y, z = (p - o for p, o in zip(at, fw.offset_mm))
        at = (x, y, z)
    fields = [_state(fw), f"{'MPos' if mask & 1 else 'WPos'}:{_point(fw, at)}"]
    if mask & 2:
        fields.append(f"Bf:{fw.planner.free},{fw.ring_free()}")
    if fw.build.line_numbers and (line_no := fw.planner.line_no):
        fields.append(f"Ln:{line_no}")
    fields.append(f"FS:{_rate(fw, _feed_now(fw))},{_speed_made(fw):.0f}")
    if pins := _pins(fw):
        fields.append(f"Pn:{pins}")
    if fw.wco_in > 0:
        fw.wco_in -= 1
    else:
        fw.wco_in = (_WCO_BUSY if fw.busy else _WCO_IDLE) - 1
        fw.overrides_in = max(fw.overrides_in, 1)  # in the next report, this one is long enough
        fields.append(f"WCO:{_point(fw, fw.offset_mm)}")
    if fw.overrides_in > 0:
        fw.overrides_in -= 1
    else:
        fw.overrides_in = (_OVERRIDES_BUSY if fw.busy else _OVERRIDES_IDLE) - 1
        fields.append(f"Ov:{fw.planner.feed_percent},{fw.planner.rapid_percent},{fw.spindle.percent}")
        if accessories := _accessories(fw):
            fields.append(f"A:{accessories}")
    return f"<{'|'.join(fields)}>"


def speed_now(fw: Firmware) -> float:
    """S as it is put out at this moment."""
    moving = fw.planner.running_order(fw.now_s) if fw.planner.running else None
    if moving is None:
        return fw.spindle.speed
    order, share = moving
    return fw.spindle.limited(order.speed * (share if order.dynamic else 1.0), fw.settings)


def _speed_made(fw: Firmware) -> float:
    """S of the segment made last, as `FS:` says it: feed and S are of one instant, some 50 ms ahead of the motors.

    stepper.c, st_prep_buffer: both are noted where the segment is prepared; its pulse width goes out with its steps.
    """
    made = fw.planner.made_order(fw.now_s) if fw.planner.running else None
    if made is None:
        return fw.spindle.speed
    order, share = made
    return fw.spindle.limited(order.speed * (share if order.dynamic else 1.0), fw.settings)


def modes(fw: Firmware) -> str:
    """`$G`."""
    m = fw.modes
    coolant = " ".join(["M7"] * m.mist + ["M8"] * m.flood) or "M9"
    words = [
        m.motion if m.motion in (G0, G1, G2, G3, G80) or m.motion.startswith("G38.") else G80,
        f"G{54 + m.system}", f"G{m.plane}", "G20" if m.inches else "G21", "G91" if m.relative else "G90",
        "G93" if m.inverse_time else "G94", f"M{m.spindle}", coolant, f"T{fw.tool}", f"F{_rate(fw, fw.feed)}",
        f"S{fw.speed:.0f}",
    ]  # fmt: skip
    return f"[GC:{' '.join(words)}]"


def parameters(fw: Firmware) -> list[str]:
    """`$#`."""
    lines = [f"[{name}:{_point(fw, fw.eeprom.coordinates[name])}]" for name in COORDINATES]
    lines.append(f"[G92:{_point(fw, fw.g92_mm)}]")
    lines.append(f"[TLO:{_length(fw, fw.tool_mm)}]")
    return [*lines, probe(fw)]


def probe(fw: Firmware) -> str:
    """The last probing: where, and whether it touched."""
    return f"[PRB:{_point(fw, fw.probe_mm)}:{int(fw.probe_found)}]"


def build_info(fw: Firmware) -> list[str]:
    """`$I`."""
    build = fw.build
    options = "V" + "N" * build.line_numbers + "M" * build.mist_coolant + "Z" * build.origin_at_home
    options += "+" * build.door_pin
    return [f"[VER:{VERSION}:{fw.eeprom.build_info}]", f"[OPT:{options},{build.ring - 1},{build.rx_buffer}]"]


def _state(fw: Firmware) -> str:
    stop = fw.suspend
    if fw.state is State.HOLD:
        return f"Hold:{0 if stop.complete else 1}"
    if fw.state is State.DOOR:
        if stop.restoring:
            return "Door:3"
        if not stop.retracted:
            return "Door:2"
        return f"Door:{int(fw.door_is_ajar())}"
    return str(fw.state.value)


def _feed_now(fw: Firmware) -> float:
    """mm/min at the end of the segments made so far."""
    return fw.planner.speed_mm_s(fw.now_s) * 60.0 if fw.busy else 0.0


def _pins(fw: Firmware) -> str:
    at = fw.gantry.position_at(fw.now_s)
    pins = "P" * fw.inputs.touches(at)
    pins += "".join(axis for axis, closed in zip("XYZ", fw.inputs.limits(at)) if closed)
    return pins + "D" * fw.door_is_ajar()


def _accessories(fw: Firmware) -> str:
    """The pins as they are: a spindle at pulse width 0 counts as off."""
    moving = fw.planner.running_order(fw.now_s) if fw.planner.running else None
    mode = fw.spindle.mode if moving is None else moving[0].mode
    lit = speed_now(fw) > 0.0
    spindle = {CONSTANT: "S", DYNAMIC: "C"}.get(mode, "") if lit else ""
    return spindle + "F" * fw.flood + "M" * fw.mist


def _point(fw: Firmware, at_mm: Point) -> str:
    return ",".join(_length(fw, p) for p in at_mm)


def _length(fw: Firmware, mm: float) -> str:
    text = f"{mm / MM_PER_INCH:.4f}" if fw.settings.flag(13) else f"{mm:.3f}"
    return text if float(text) else text.lstrip("-")


def _rate(fw: Firmware, mm_min: float) -> str:
    return f"{mm_min / MM_PER_INCH:.1f}" if fw.settings.flag(13) else f"{mm_min:.0f}"
