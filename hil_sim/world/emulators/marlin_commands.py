"""Marlin's commands but G0/G1: one function each, on the state of `marlin_firmware.Firmware`.

A function that must wait is a generator: it yields the time (s) at which to look again; it may be woken earlier, so
every wait is a loop around its condition. When it ends, the serial side sends `ok`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from math import sqrt

from hil_sim.world.emulators.marlin_firmware import AXES, CONTINUOUS, DYNAMIC, STANDARD, Firmware, copy_settings
from hil_sim.world.emulators.marlin_heaters import LumpedHeater
from hil_sim.world.emulators.marlin_protocol import Words
from hil_sim.world.plant.gantry import Move

Wait = Generator[float, None, None]
Handler = Callable[[Firmware, Words], Wait | None]

_STARTUP_S = 0.8  # SPEED_POWER_STARTUP: an M3 without S in standard mode is not a beam of zero
_HEAT_REPORT_S = 1.0


def synchronise(fw: Firmware) -> Wait:
    """Wait until every planned move has ended."""
    planner = fw.planner
    planner.advance(fw.now_s)
    while (until := planner.next_change_s()) is not None:
        yield until
        planner.advance(fw.now_s)


def _wait_until(fw: Firmware, t_s: float) -> Wait:
    while fw.now_s < t_s:
        yield t_s


# ---- G codes --------------------------------------------------------------------------------------------------------
def g4(fw: Firmware, words: Words) -> Wait:
    """Dwell after the moves before it: P milliseconds or S seconds."""
    dwell_s = (words.number("P", 0.0) or 0.0) / 1000.0
    if words.seen("S"):
        dwell_s = words.number("S", 0.0) or 0.0
    yield from synchronise(fw)
    yield from _wait_until(fw, fw.now_s + dwell_s)


def g21(fw: Firmware, words: Words) -> None:
    """Millimetres: the only unit of this build."""


def g28(fw: Firmware, words: Words) -> Wait:
    """Home the named axes (all when none is named): fast to the switch, back off, slowly to the switch; beam off."""
    yield from synchronise(fw)
    build, gantry = fw.build, fw.gantry
    named = [i for i, axis in enumerate(AXES) if words.seen(axis)] or [0, 1, 2]
    for i in named:
        speed, bump = build.homing_speed_mm_s[i], build.homing_bump_mm[i]
        legs = [(-gantry.position_at(fw.now_s)[i], speed), (bump, speed), (-bump, speed / 2)]
        for way_mm, speed_mm_s in legs:
            if way_mm == 0.0:
                continue
            start = gantry.controller_at(fw.now_s)
            end = (
                start[0] + way_mm * (i == 0),
                start[1] + way_mm * (i == 1),
                start[2] + way_mm * (i == 2),
            )
            a = fw.settings.acceleration_mm_s2
            cruise = min(speed_mm_s, sqrt(a * abs(way_mm)))
            ends_s = gantry.run(fw.now_s, Move(start, end, 0.0, cruise, 0.0, a, speed_mm_s))
            yield from _wait_until(fw, ends_s)
        here = list(gantry.controller_at(fw.now_s))
        here[i] = 0.0
        gantry.datum((here[0], here[1], here[2]))
        fw.position = fw.planner.position = (here[0], here[1], here[2])
        fw.set_homed(i)
    fw.say(fw.position_report())


def g90(fw: Firmware, words: Words) -> None:
    """Absolute coordinates."""
    fw.relative = False


def g91(fw: Firmware, words: Words) -> None:
    """Relative coordinates."""
    fw.relative = True


def g92(fw: Firmware, words: Words) -> None:
    """Call the present position by other numbers; without axis words, all become 0 (as in Marlin)."""
    named = [axis for axis in AXES if words.seen(axis)]
    for i, axis in enumerate(AXES):
        if axis in named or (not named and not words.values):
            fw.shift[i] = (words.number(axis, 0.0) or 0.0) - fw.position[i]


# ---- laser ----------------------------------------------------------------------------------------------------------
def _m3_m4(fw: Firmware, words: Words, mode: str) -> Wait:
    if fw.cutter == STANDARD:
        yield from synchronise(fw)
    if words.seen("I"):
        fw.cutter = mode
        fw.inline_s = 0.0
    s = words.number("S")
    fraction = None if s is None else min(max(s / fw.build.s_max, 0.0), 1.0)
    if fw.cutter != STANDARD:
        yield from synchronise(fw)  # LASER_POWER_SYNC is off in stock
        if fraction is not None:
            fw.inline_s = fraction
        return
    fw.standard_s = _STARTUP_S if fraction is None else fraction
    fw.stand(fw.standard_s)


def m3(fw: Firmware, words: Words) -> Wait:
    """Laser on: at once (standard), or with `I` continuous inline, the S of each block."""
    return _m3_m4(fw, words, CONTINUOUS)


def m4(fw: Firmware, words: Words) -> Wait:
    """As M3; with `I` dynamic inline: power follows the speed."""
    return _m3_m4(fw, words, DYNAMIC)


def m5(fw: Firmware, words: Words) -> Wait:
    """Laser off once the moves before it have ended; with `I` also leave inline mode."""
    yield from synchronise(fw)
    fw.standard_s = 0.0
    fw.stand(0.0)
    if words.seen("I"):
        fw.inline_s = 0.0
        fw.cutter = STANDARD


# ---- heaters, fan ---------------------------------------------------------------------------------------------------
def _set_target(fw: Firmware, words: Words, heater: LumpedHeater) -> bool:
    target = words.number("S", words.number("R"))
    if target is None:
        return False
    heater.set_target(fw.now_s, target)
    return True


def _heat_and_wait(fw: Firmware, words: Words, heater: LumpedHeater) -> Wait:
    if not _set_target(fw, words, heater):
        return
    if heater.temperature_c(fw.now_s) > heater.target_c and not words.seen("R"):
        return  # S waits for heating only
    fw.heat_wait = True
    reached_s = heater.reached_s()
    done_s = reached_s + fw.build.residency_s
    report_s = fw.now_s + _HEAT_REPORT_S
    while fw.heat_wait and fw.now_s < done_s:
        if fw.now_s >= report_s:
            left = "?" if fw.now_s < reached_s else str(int(done_s - fw.now_s))
            fw.say(f"{fw.temperatures()} W:{left}")
            report_s += _HEAT_REPORT_S
        yield min(done_s, report_s)
    fw.heat_wait = False


def m104(fw: Firmware, words: Words) -> None:
    """Hot end set-point."""
    _set_target(fw, words, fw.hotend)


def m109(fw: Firmware, words: Words) -> Wait:
    """Hot end set-point, and wait until it holds."""
    return _heat_and_wait(fw, words, fw.hotend)


def m140(fw: Firmware, words: Words) -> None:
    """Plate set-point."""
    _set_target(fw, words, fw.plate)


def m190(fw: Firmware, words: Words) -> Wait:
    """Plate set-point, and wait until it holds."""
    return _heat_and_wait(fw, words, fw.plate)


def m105(fw: Firmware, words: Words) -> None:
    """Temperatures, behind the ok."""
    fw.own_ok = True
    fw.say("ok" + fw.temperatures())


def m106(fw: Firmware, words: Words) -> None:
    """Fan on."""
    fw.fan = int(min(max(words.number("S", 255.0) or 0.0, 0.0), 255.0))


def m107(fw: Firmware, words: Words) -> None:
    """Fan off."""
    fw.fan = 0


def m155(fw: Firmware, words: Words) -> None:
    """Send temperatures every S seconds (0: never)."""
    seconds = words.number("S")
    if seconds is not None:
        fw.auto_report_s = int(min(max(seconds, 0.0), 60.0))
        fw.reschedule_reports()


# ---- motion and stops -----------------------------------------------------------------------------------------------
def m17(fw: Firmware, words: Words) -> None:
    """Motors on: they are."""


def m18(fw: Firmware, words: Words) -> Wait:
    """Motors off after the moves (M18, M84). Stock firmware goes on believing its position, and so does this one."""
    yield from synchronise(fw)


def m400(fw: Firmware, words: Words) -> Wait:
    """Wait for the moves."""
    return synchronise(fw)


def m114(fw: Firmware, words: Words) -> None:
    """Position: the planned one, before motion has ended."""
    fw.say(fw.position_report())


def m108(fw: Firmware, words: Words) -> None:
    """Stop waiting for a heater (with EMERGENCY_PARSER it worked when its bytes came in)."""
    if not fw.build.emergency_parser:
        fw.heat_wait = False


def m112(fw: Firmware, words: Words) -> None:
    """Emergency stop."""
    fw.kill()


def m410(fw: Firmware, words: Words) -> Wait:
    """Quick stop, then a second in which no move is taken (with EMERGENCY_PARSER it happened when its bytes came
    in).
    """
    if not fw.build.emergency_parser:
        fw.quick_stop(beam_stays=True)
        yield from _wait_until(fw, fw.now_s + 1.0)


def m220(fw: Firmware, words: Words) -> None:
    """Feed-rate percentage."""
    percent = words.number("S")
    if percent is None:
        fw.say(f"FR:{fw.feed_percent:.0f}%")
    else:
        fw.feed_percent = min(max(percent, 10.0), 999.0)


# ---- settings -------------------------------------------------------------------------------------------------------
def m201(fw: Firmware, words: Words) -> None:
    """Largest acceleration per axis."""
    x, y, z = (_positive(words, axis, old) for axis, old in zip(AXES, fw.settings.max_acceleration_mm_s2))
    fw.settings.max_acceleration_mm_s2 = (x, y, z)
    fw.apply_settings()


def m203(fw: Firmware, words: Words) -> None:
    """Largest speed per axis."""
    x, y, z = (_positive(words, axis, old) for axis, old in zip(AXES, fw.settings.max_speed_mm_s))
    fw.settings.max_speed_mm_s = (x, y, z)
    fw.apply_settings()


def m204(fw: Firmware, words: Words) -> None:
    """Acceleration of moves: S or P (this board has one for all)."""
    a = fw.settings.acceleration_mm_s2
    if not words.values:
        fw.say(f"echo:  M204 P{a:.2f} T{a:.2f}")
        return
    fw.settings.acceleration_mm_s2 = _positive(words, "S", _positive(words, "P", a))
    fw.apply_settings()


def m205(fw: Firmware, words: Words) -> None:
    """Junction deviation J, mm (0.01 to 0.3 as in Marlin)."""
    deviation = words.number("J")
    if deviation is None:
        return
    if not 0.01 <= deviation <= 0.3:
        fw.say("Error:?J out of range (0.01 to 0.3)")
        return
    fw.settings.junction_deviation_mm = deviation
    fw.apply_settings()


def _positive(words: Words, letter: str, default: float) -> float:
    value = words.number(letter)
    return default if value is None or value <= 0.0 else value


def m500(fw: Firmware, words: Words) -> None:
    """Store settings."""
    fw.stored = copy_settings(fw.settings)
    fw.say("echo:Settings Stored (64 bytes; crc 0)")


def m501(fw: Firmware, words: Words) -> None:
    """Load stored settings."""
    fw.settings = copy_settings(fw.stored or fw.defaults)
    fw.apply_settings()
    fw.say("echo:V88 stored settings retrieved (64 bytes; crc 0)")


def m502(fw: Firmware, words: Words) -> None:
    """Compiled-in settings."""
    fw.settings = copy_settings(fw.defaults)
    fw.apply_settings()
    fw.say("echo:Hardcoded Default Settings Loaded")


def m503(fw: Firmware, words: Words) -> None:
    """Print settings."""
    s, k = fw.settings, fw.build.steps_per_mm
    fw.say("echo:; Linear Units:\necho:  G21 ; (mm)")
    fw.say(f"echo:; Steps per unit:\necho:  M92 X{k[0]:.2f} Y{k[1]:.2f} Z{k[2]:.2f}")
    v, a = s.max_speed_mm_s, s.max_acceleration_mm_s2
    fw.say(f"echo:; Max feedrates (units/s):\necho:  M203 X{v[0]:.2f} Y{v[1]:.2f} Z{v[2]:.2f}")
    fw.say(f"echo:; Max Acceleration (units/s2):\necho:  M201 X{a[0]:.2f} Y{a[1]:.2f} Z{a[2]:.2f}")
    fw.say(f"echo:; Acceleration (units/s2):\necho:  M204 P{s.acceleration_mm_s2:.2f} T{s.acceleration_mm_s2:.2f}")
    fw.say(f"echo:; Advanced:\necho:  M205 J{s.junction_deviation_mm:.2f}")


# ---- serial and host ------------------------------------------------------------------------------------------------
def m110(fw: Firmware, words: Words) -> None:
    """Set the current line number (again: the check of the line itself did it already when it carried one)."""
    n = words.number("N")
    if n is not None:
        fw.set_current_line(int(n))


def m111(fw: Firmware, words: Words) -> None:
    """Debug flags."""
    flags = words.number("S")
    if flags is not None:
        fw.debug_flags = int(flags) & 0x3F
    names = ("ECHO", "INFO", "ERRORS", "DRYRUN", "COMMUNICATION")
    on = [name for bit, name in enumerate(names) if fw.debug_flags >> bit & 1]
    fw.say("echo:DEBUG:" + (",".join(on) or "Off"))


def m113(fw: Firmware, words: Words) -> None:
    """Seconds between busy messages (0: none)."""
    seconds = words.number("S")
    if seconds is None:
        fw.say(f"echo:M113 S{fw.keepalive_s:.0f}")
    else:
        fw.keepalive_s = min(max(seconds, 0.0), 60.0)


_CAPABILITIES = (
    "SERIAL_XON_XOFF:0", "BINARY_FILE_TRANSFER:0", "EEPROM:1", "VOLUMETRIC:0", "AUTOREPORT_POS:0", "AUTOREPORT_TEMP:1",
    "PROGRESS:0", "PRINT_JOB:0", "AUTOLEVEL:0", "RUNOUT:0", "Z_PROBE:0", "LEVELING_DATA:0", "BUILD_PERCENT:0",
    "SOFTWARE_POWER:0", "TOGGLE_LIGHTS:0", "CASE_LIGHT_BRIGHTNESS:0", "EMERGENCY_PARSER:{emergency}",
    "HOST_ACTION_COMMANDS:0", "PROMPT_SUPPORT:0", "SDCARD:0", "AUTOREPORT_SD_STATUS:0", "THERMAL_PROTECTION:1",
    "MOTION_MODES:0", "ARCS:0", "BABYSTEPPING:0", "CHAMBER_TEMPERATURE:0", "COOLER_TEMPERATURE:0", "MEATPACK:0",
)  # fmt: skip


def m115(fw: Firmware, words: Words) -> None:
    """Who am I, and what can I do."""
    fw.say(
        "FIRMWARE_NAME:Marlin 2.1.2.5 (emulated) SOURCE_CODE_URL:github.com/MarlinFirmware/Marlin PROTOCOL_VERSION:1.0"
        f" MACHINE_TYPE:{fw.build.name} EXTRUDER_COUNT:1 UUID:cede2a2f-41a2-4748-9b12-c55c62f367ff"
    )
    for capability in _CAPABILITIES:
        fw.say("Cap:" + capability.format(emergency=int(fw.build.emergency_parser)))


def m117(fw: Firmware, words: Words) -> None:
    """A message for a display that is not there."""


def m118(fw: Firmware, words: Words) -> None:
    """Say something: `E1` puts echo: before it, `A1` puts //."""
    text, before = words.tail, ""
    for _ in range(2):
        if text[:2] in ("E1", "A1", "E0", "A0"):
            before += {"E1": "echo:", "A1": "//"}.get(text[:2], "")
            text = text[2:].lstrip(" ")
    fw.say(before + text)


def m999(fw: Firmware, words: Words) -> None:
    """Go on after an error that did not kill: the input is flushed and asked for again, unless S1."""
    if not words.number("S"):
        fw.request_resend()


def nothing(fw: Firmware, words: Words) -> None:
    """Accepted and without effect on a board without extruder (M82, M83)."""


COMMANDS: dict[str, Handler] = {
    "G4": g4, "G21": g21, "G28": g28, "G90": g90, "G91": g91, "G92": g92,
    "M3": m3, "M4": m4, "M5": m5, "M17": m17, "M18": m18, "M82": nothing, "M83": nothing, "M84": m18,
    "M104": m104, "M105": m105, "M106": m106, "M107": m107, "M108": m108, "M109": m109, "M110": m110, "M111": m111,
    "M112": m112, "M113": m113, "M114": m114, "M115": m115, "M117": m117, "M118": m118, "M140": m140, "M155": m155,
    "M190": m190, "M201": m201, "M203": m203, "M204": m204, "M205": m205, "M220": m220, "M400": m400, "M410": m410,
    "M500": m500, "M501": m501, "M502": m502, "M503": m503, "M999": m999,
}  # fmt: skip
