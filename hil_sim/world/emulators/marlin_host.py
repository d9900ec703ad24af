"""Marlin's commands for the host and its user: identity, line numbers, messages, job timer, an empty card slot."""

from __future__ import annotations

from hil_sim.world.emulators.marlin_firmware import PAUSED_FOR_USER, PROCESSING, Firmware
from hil_sim.world.emulators.marlin_moves import Handler, Wait, synchronise
from hil_sim.world.emulators.marlin_protocol import Words

USER_LOOK_S = 60.0  # how often a wait without end looks again by itself


# ---- identity -------------------------------------------------------------------------------------------------------
_CAPABILITIES = (  # in the order of M115.cpp; the build's switch, or a constant
    ("SERIAL_XON_XOFF", False), ("BINARY_FILE_TRANSFER", False), ("EEPROM", True), ("VOLUMETRIC", False),
    ("AUTOREPORT_POS", "position_reports"), ("AUTOREPORT_TEMP", True), ("PROGRESS", False), ("PRINT_JOB", True),
    ("AUTOLEVEL", "bed_probe"), ("RUNOUT", "filament_sensor"), ("Z_PROBE", "bed_probe"), ("LEVELING_DATA", "bed_probe"),
    ("BUILD_PERCENT", "progress"), ("SOFTWARE_POWER", False), ("TOGGLE_LIGHTS", False),
    ("CASE_LIGHT_BRIGHTNESS", False), ("EMERGENCY_PARSER", "emergency_parser"),
    ("HOST_ACTION_COMMANDS", "host_actions"), ("PROMPT_SUPPORT", "host_prompts"), ("SDCARD", "sd_slot"),
    ("REPEAT", False), ("AUTOREPORT_SD_STATUS", False), ("LONG_FILENAME", False), ("THERMAL_PROTECTION", True),
    ("MOTION_MODES", False), ("ARCS", "arcs"), ("BABYSTEPPING", False), ("CHAMBER_TEMPERATURE", False),
    ("COOLER_TEMPERATURE", False), ("MEATPACK", False),
)  # fmt: skip


def m115(fw: Firmware, words: Words) -> None:
    """Who am I, and what can I do."""
    fw.say(
        "FIRMWARE_NAME:Marlin 2.1.2.5 (emulated) SOURCE_CODE_URL:github.com/MarlinFirmware/Marlin PROTOCOL_VERSION:1.0"
        f" MACHINE_TYPE:{fw.build.name} EXTRUDER_COUNT:{fw.build.extruders} UUID:cede2a2f-41a2-4748-9b12-c55c62f367ff"
    )
    for name, switch in _CAPABILITIES:
        is_on = getattr(fw.build, switch) if isinstance(switch, str) else switch
        fw.say(f"Cap:{name}:{int(is_on)}")


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


def m112(fw: Firmware, words: Words) -> None:
    """Emergency stop."""
    fw.kill()


def m113(fw: Firmware, words: Words) -> None:
    """Seconds between busy messages (0: none)."""
    seconds = words.number("S")
    if seconds is None:
        fw.say(f"echo:M113 S{fw.keepalive_s:.0f}")
    else:
        fw.keepalive_s = min(max(seconds, 0.0), 60.0)


def m154(fw: Firmware, words: Words) -> None:
    """Send the position every S seconds (0: never)."""
    seconds = words.number("S")
    if seconds is not None:
        fw.position_report_s = int(min(max(seconds, 0.0), 255.0))
        fw.reschedule_reports()


def m999(fw: Firmware, words: Words) -> None:
    """Go on after an error that did not kill: the input is flushed and asked for again, unless S1."""
    if not words.number("S"):
        fw.request_resend()


# ---- messages and the user ------------------------------------------------------------------------------------------
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


def wait_for_user(fw: Firmware, until_s: float) -> Wait:
    """`busy: paused for user` until M108, an answered prompt, or `until_s`."""
    fw.user_wait = True
    fw.busy = PAUSED_FOR_USER
    try:
        while fw.user_wait and fw.now_s < until_s:
            yield min(until_s, fw.now_s + USER_LOOK_S)
    finally:  # a quick stop may end the wait from outside
        fw.user_wait = False
        fw.busy = PROCESSING


def m0(fw: Firmware, words: Words) -> Wait:
    """M0, M1: after the moves, wait for the user, at most P ms or S seconds when one of them is above 0."""
    yield from synchronise(fw)
    limit_s = (words.number("P", 0.0) or 0.0) / 1000.0
    if words.seen("S"):
        limit_s = words.number("S", 0.0) or 0.0
    if limit_s <= 0.0:
        fw.ask("M0/M1 Break Called", "Continue", "user")
    yield from wait_for_user(fw, fw.now_s + limit_s if limit_s > 0.0 else float("inf"))


def m876(fw: Firmware, words: Words) -> None:
    """The host's user has pressed a button (with EMERGENCY_PARSER its effect came with its bytes)."""
    if words.number("S") is not None and not fw.build.emergency_parser:
        fw.answered()


def m280(fw: Firmware, words: Words) -> None:
    """Servo P to angle S, or its angle."""
    index = words.number("P")
    if index is None:
        return
    if not 0 <= index < len(fw.servo_deg):
        fw.say(f"Error:Servo {index:.0f} out of range")
        return
    angle = words.number("S")
    if angle is None:
        fw.say(f"echo: Servo {index:.0f}: {fw.servo_deg[int(index)]}")
    elif angle >= 0:
        fw.servo_deg[int(index)] = round(min(angle, 180.0))


# ---- the job --------------------------------------------------------------------------------------------------------
def job_seconds(fw: Firmware) -> float:
    """What the print timer has counted."""
    counted_s, since_s = fw.job_s
    return counted_s if since_s is None else counted_s + fw.now_s - since_s


def m31(fw: Firmware, words: Words) -> None:
    """Print time. Text unverified."""
    minutes, seconds = divmod(int(job_seconds(fw)), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours}h"] * bool(hours) + [f"{minutes}m"] * bool(hours or minutes) + [f"{seconds}s"]
    fw.say("echo:Print time: " + " ".join(parts))


def m73(fw: Firmware, words: Words) -> None:
    """Progress P percent, R minutes left; reported, but with a card slot only in a print from it. Text unverified."""
    fw.progress_percent = min(max(words.number("P", fw.progress_percent) or 0.0, 0.0), 100.0)
    fw.remaining_min = int(max(words.number("R", float(fw.remaining_min)) or 0.0, 0.0))
    if not fw.build.sd_slot:
        fw.say(f"echo: M73 Progress: {fw.progress_percent:.0f}%; Time left: {fw.remaining_min}m;")


def m75(fw: Firmware, words: Words) -> None:
    """Start or resume the print timer."""
    if fw.job_s[1] is None:
        fw.job_s = (fw.job_s[0], fw.now_s)


def m76(fw: Firmware, words: Words) -> None:
    """Pause the print timer."""
    fw.job_s = (job_seconds(fw), None)


def m77(fw: Firmware, words: Words) -> None:
    """Stop the print timer: the next start begins at 0."""
    fw.job_s = (0.0, None)


# ---- a card slot without a card -------------------------------------------------------------------------------------
def m20(fw: Firmware, words: Words) -> None:
    """List files: none."""
    fw.say("Begin file list\nEnd file list")


def m21(fw: Firmware, words: Words) -> None:
    """Mount: there is nothing to mount."""
    fw.say("echo:SD init fail")


def m23(fw: Firmware, words: Words) -> None:
    """Select (M23) or write (M28) a file: cannot."""
    fw.say(f"open failed, File: {words.tail.split(' ')[0]}.")


def m24(fw: Firmware, words: Words) -> None:
    """Start or resume a print from the card: nothing is selected, but hosts are told."""
    fw.action("resume")


def m25(fw: Firmware, words: Words) -> None:
    """Pause the print from the card: the timer, and hosts are told."""
    m76(fw, words)
    fw.action("pause")


def m27(fw: Firmware, words: Words) -> None:
    """State of the print from the card."""
    fw.say("Current file: (no file)" if words.seen("C") else "Not SD printing")


def card_nothing(fw: Firmware, words: Words) -> None:
    """M22, M26, M29, M30, M524: without a card, an open file or a print they do nothing."""


COMMANDS: dict[str, Handler] = {
    "M0": m0, "M1": m0, "M20": m20, "M21": m21, "M22": card_nothing, "M23": m23, "M24": m24, "M25": m25,
    "M26": card_nothing, "M27": m27, "M28": m23, "M29": card_nothing, "M30": card_nothing, "M31": m31, "M73": m73,
    "M75": m75, "M76": m76, "M77": m77, "M110": m110, "M111": m111, "M112": m112, "M113": m113, "M115": m115,
    "M117": m117, "M118": m118, "M154": m154, "M280": m280, "M524": card_nothing, "M876": m876, "M999": m999,
}  # fmt: skip
