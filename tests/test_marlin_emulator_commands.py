"""Does the emulated Marlin board answer every command that hosts send, and call unknown what is not compiled in?"""

from __future__ import annotations

import asyncio
import re

import pytest
from marlin_helpers import Host, with_board, with_full_board

from hil_sim.world.emulators.marlin_commands import COMMANDS

OK = "ok P15 B3"

ANSWERS = [  # command, lines before its ok; from Marlin's sources where no "unverified" stands
    ("M20", ["Begin file list", "End file list"]),
    ("M21", ["echo:SD init fail"]),
    ("M22", []),
    ("M23 part.gco now", ["open failed, File: part.gco."]),
    ("M24", ["//action:resume"]),
    ("M25", ["//action:pause"]),
    ("M26 S10", []),
    ("M27", ["Not SD printing"]),
    ("M27 C", ["Current file: (no file)"]),
    ("M28 part.gco", ["open failed, File: part.gco."]),
    ("M29", []),
    ("M30 part.gco", []),
    ("M73 P25 R12", []),
    ("M75", []),
    ("M76", []),
    ("M77", []),
    ("M82", []),
    ("M83", []),
    ("M92", ["  M92 X80.00 Y80.00 Z400.00 E95.00"]),
    ("M108", []),
    ("M113", ["echo:M113 S2"]),
    ("M117 hello", []),
    ("M118 A1 said", ["//said"]),
    ("M119", ["Reporting endstop status", "x_min: TRIGGERED", "y_min: TRIGGERED", "z_min: TRIGGERED"]),
    ("M154 S0", []),
    ("M155 S0", []),
    ("M201", ["  M201 X500.00 Y500.00 Z500.00"]),
    ("M203", ["  M203 X100.00 Y100.00 Z20.00"]),
    ("M204", ["  M204 P500.00 R500.00 T500.00"]),
    ("M205", ["  M205 S0.00 T0.00 J0.01"]),
    ("M205 J0.5", ["Error:?J out of range (0.01 to 0.3)"]),
    ("M220", ["FR:100%"]),
    ("M221", ["echo:E0 Flow: 100%"]),
    ("M280 P0", ["echo: Servo 0: 90"]),
    ("M280 P3 S10", ["Error:Servo 3 out of range"]),
    ("M301", ["  M301 P22.20 I1.08 D114.00"]),
    ("M301 E1 P2", ["Error:Invalid extruder"]),
    ("M302", ["echo:Cold extrudes are disabled (min temp 170C)"]),  # unverified
    ("M303 E3", ["PID Autotune failed! Bad extruder number"]),
    ("M303 S999", ["PID Autotune failed! Temperature too high"]),
    ("M400", []),
    ("M412", ["echo:Filament runout ON"]),
    ("M413", ["  M413 S0 ; OFF"]),
    ("M501", ["echo:V88 stored settings retrieved (64 bytes; crc 0)"]),
    ("M502", ["echo:Hardcoded Default Settings Loaded"]),
    ("M524", []),
    ("M600", ["//action:paused", "//action:prompt_end", "//action:prompt_begin Pause", "//action:prompt_button Dismiss",
              "//action:prompt_show", "echo:Hotend too cold"]),
    ("M851", ["  M851 X10.00 Y10.00 Z0.00 ; (mm)"]),  # spacing unverified
    ("M851 Z99", ["?Z out of range (-20 to 20)"]),
    ("M876 S0", []),
    ("G2 X10", ["Error:G2/G3 bad parameters"]),
    ("G3 R5", ["Error:G2/G3 bad parameters"]),
    ("G10", ["echo: cold extrusion prevented"]),
    ("G11", []),
    ("G29", ["echo:Home XYZ First"]),
    ("G30", ["echo:Home XYZ First"]),
    ("G53", []),
    ("G55", ["Select workspace 1", "X:0.00 Y:0.00 Z:0.00 E:0.00 Count X:0 Y:0 Z:0"]),
    ("G59.3", ["Select workspace 8", "X:0.00 Y:0.00 Z:0.00 E:0.00 Count X:0 Y:0 Z:0"]),
    ("G1 E5", ["echo: cold extrusion prevented"]),
]  # fmt: skip


@pytest.mark.parametrize(("command", "lines"), ANSWERS)
def test_a_full_board_answers(command: str, lines: list[str]) -> None:
    assert with_full_board(lambda host: host.ask(command)) == [*lines, OK]


def test_every_command_of_the_lists_is_known() -> None:
    listed = """G2 G3 G4 G10 G11 G21 G28 G29 G30 G53 G54 G55 G56 G57 G58 G59 G90 G91 G92 M3 M4 M5 M17 M18 M20 M21 M22
        M23 M24 M25 M26 M27 M28 M29 M73 M75 M76 M77 M82 M83 M84 M92 M104 M105 M106 M107 M108 M109 M110 M112 M113 M114
        M115 M117 M118 M140 M154 M155 M190 M201 M203 M204 M205 M220 M221 M280 M301 M303 M400 M410 M412 M413 M500 M501
        M502 M503 M524 M600 M851 M876"""
    assert set(listed.split()) - set(COMMANDS) == set()


@pytest.mark.parametrize(
    "command", ["G10", "G29", "G30", "G54", "M20", "M27", "M73", "M154", "M280", "M412", "M413", "M524", "M600", "M851",
                "M876"],
)  # fmt: skip
def test_what_is_not_compiled_in_is_unknown(command: str) -> None:
    assert with_board(lambda host: host.ask(command)) == [f'echo:Unknown command: "{command}"', OK]


CAPABILITIES = [
    "SERIAL_XON_XOFF", "BINARY_FILE_TRANSFER", "EEPROM", "VOLUMETRIC", "AUTOREPORT_TEMP", "AUTOREPORT_POS",
    "AUTOREPORT_SD_STATUS", "PROGRESS", "PRINT_JOB", "AUTOLEVEL", "RUNOUT", "Z_PROBE", "LEVELING_DATA",
    "BUILD_PERCENT", "SOFTWARE_POWER", "TOGGLE_LIGHTS", "EMERGENCY_PARSER", "HOST_ACTION_COMMANDS", "PROMPT_SUPPORT",
    "SDCARD", "THERMAL_PROTECTION", "MOTION_MODES", "ARCS", "BABYSTEPPING", "CHAMBER_TEMPERATURE",
    "COOLER_TEMPERATURE", "MEATPACK",
]  # fmt: skip


@pytest.mark.parametrize(
    ("switch", "names"),
    [
        ("bed_probe", {"AUTOLEVEL", "Z_PROBE", "LEVELING_DATA"}), ("sd_slot", {"SDCARD"}), ("arcs", {"ARCS"}),
        ("position_reports", {"AUTOREPORT_POS"}), ("filament_sensor", {"RUNOUT"}), ("progress", {"BUILD_PERCENT"}),
        ("host_actions", {"HOST_ACTION_COMMANDS"}), ("host_prompts", {"PROMPT_SUPPORT"}),
        ("emergency_parser", {"EMERGENCY_PARSER"}),
    ],
)  # fmt: skip
def test_each_capability_is_told_once_and_says_what_is_compiled_in(switch: str, names: set[str]) -> None:
    def capabilities(value: bool) -> dict[str, str]:
        lines = with_board(lambda host: host.ask("M115"), **{switch: value})
        told = [line.split(":")[1:] for line in lines if line.startswith("Cap:")]
        assert {name for name, _ in told} >= set(CAPABILITIES) and len(told) == len({name for name, _ in told})
        return dict(told)

    on, off = capabilities(True), capabilities(False)
    assert {name for name in on if on[name] != off[name]} == names
    assert {on[name] for name in names} == {"1"}


def test_the_print_timer_counts_what_it_ran() -> None:
    async def story(host: Host) -> None:
        await host.ask("M75")
        await asyncio.sleep(65)
        await host.ask("M76")
        await asyncio.sleep(100)
        assert (await host.ask("M31"))[0] == "echo:Print time: 1m 5s"
        await host.stream(["M77", "M75"])
        assert (await host.ask("M31"))[0] == "echo:Print time: 0s"

    with_board(story)


def test_progress_is_told_where_there_is_no_card_slot() -> None:
    async def story(host: Host) -> None:
        assert (await host.ask("M73 P25 R12"))[0] == "echo: M73 Progress: 25%; Time left: 12m;"
        assert (await host.ask("M73 P30"))[0] == "echo: M73 Progress: 30%; Time left: 12m;"

    with_full_board(story, sd_slot=False)


def test_settings_keep_over_m500_and_a_reset() -> None:
    async def story(host: Host) -> None:
        await host.stream(
            ["M92 X160 E400", "M301 P10 I2 D30", "M851 Z-1.5", "M412 S0", "M413 S1", "M205 S2 T3", "M500"]
        )
        await host.stream(["M502", "M92 X5"])
        host.board.reset()
        await asyncio.sleep(1)
        report = "\n".join(await host.ask("M503"))
        for line in ("M92 X160.00 Y80.00 Z400.00 E400.00", "M301 P10.00 I2.00 D30.00", "M851 X10.00 Y10.00 Z-1.50",
                     "M412 S0 ; Sensor OFF", "M413 S1 ; ON", "M205 S2.00 T3.00 J0.01"):  # fmt: skip
            assert f"echo:  {line}" in report
        await host.stream(["G1 X10 F6000", "M400"])
        assert "Count X:1600" in (await host.ask("M114"))[0]

    with_full_board(story)


def test_workspaces_are_offsets_that_g92_sets_and_g53_leaves_for_one_move() -> None:
    async def story(host: Host) -> None:
        await host.stream(["G28", "G1 X20 Y10 F6000", "G54", "G92 X0 Y0", "G1 X5 Y5", "M400"])
        assert host.gantry.position_at(host.loop.time()) == (25.0, 15.0, 0.0)
        await host.stream(["G55", "G1 X1 Y1", "M400"])
        assert host.gantry.position_at(host.loop.time()) == (1.0, 1.0, 0.0)
        await host.stream(["G54", "G53 G1 X2 Y3", "M400"])
        assert host.gantry.position_at(host.loop.time()) == (2.0, 3.0, 0.0)
        assert (await host.ask("M114"))[0].startswith("X:-18.00 Y:-7.00")
        assert await host.ask("G54") == [OK], "the current one again is not worth a word"

    with_full_board(story)


@pytest.mark.parametrize("relative", [False, True])
def test_a_hot_nozzle_extrudes_and_a_cold_one_only_moves(relative: bool) -> None:
    async def story(host: Host) -> None:
        await host.ask("M83" if relative else "M82")
        assert await host.ask("G1 X10 E5 F6000") == ["echo: cold extrusion prevented", "ok P14 B3"]
        assert (await host.ask("M114"))[0].startswith("X:10.00 Y:0.00 Z:0.00 E:5.00"), "as if it had taken place"
        await host.ask("M400")
        await host.ask("M109 S200")
        t0 = host.loop.time()
        replies = await host.ask("G1 E55 F300")
        assert replies[-1] == OK and set(replies[:-1]) == {"echo:busy: processing"}
        assert host.loop.time() - t0 == pytest.approx((55 if relative else 50) / 5, abs=1e-3)
        assert (await host.ask("G1 E999 F300"))[0] == "echo: too long extrusion prevented"
        await host.stream(["G92 E0", "G91", "G1 X1 E1", "G1 X1 E1", "M400"])
        assert (await host.ask("M114"))[0].startswith("X:12.00 Y:0.00 Z:0.00 E:2.00")
        assert host.gantry.position_at(host.loop.time())[0] == 12.0

    with_board(story)


def test_probing_measures_the_plate_with_the_offset_it_was_told() -> None:
    async def story(host: Host) -> None:
        await host.stream(["G28", "M851 Z-0.25"])
        replies = await host.ask("G30 X60 Y50")
        assert replies[-3:] == [
            "Bed X: 60.00 Y: 50.00 Z: -0.25",
            "X:0.00 Y:0.00 Z:10.00 E:0.00 Count X:0 Y:0 Z:4000",
            OK,
        ]
        touched = [run.end_mm for run in host.gantry.history if getattr(run, "end_mm", (1, 1, 1))[2] == 0.0][-2:]
        assert touched == [(50.0, 40.0, 0.0)] * 2, "the nozzle stands beside the point by the probe's offset"
        assert (await host.ask("G30 X999"))[0] == "Z Probe Past Bed"
        grid = [line for line in await host.ask("G29") if re.match(r" \d [+-]", line)]
        assert grid == [f" {row} -0.250 -0.250 -0.250" for row in range(3)]

    with_full_board(story)


def test_autotune_heats_swings_and_reports() -> None:
    async def story(host: Host) -> None:
        lines = await host.ask("M303 E0 S200 C4 U1", within_s=3000)
        assert lines[0] == "PID Autotune start"
        assert sum(" bias:" in line for line in lines) == 4
        assert any(line.startswith("#define DEFAULT_Kp ") for line in lines)
        kp = next(line.split()[-1] for line in lines if "DEFAULT_Kp" in line)
        assert f"M301 P{kp} " in (await host.ask("M301"))[0]
        assert host.board.heaters.hotend.target_c == 0.0

    with_board(story)


def test_positions_come_by_themselves() -> None:
    async def story(host: Host) -> None:
        await host.stream(["M154 S1", "G1 X100 F600"])
        await asyncio.sleep(3.5)
        reports = [line for line in host.lines if line.startswith("X:100.00 ")]
        counts = [int(line.split("Count X:")[1].split()[0]) for line in reports]
        assert len(counts) == 3 and counts == sorted(counts) and counts[0] < counts[2] < 8000
        await host.ask("M154 S0")
        before = len(host.lines)
        await asyncio.sleep(5)
        assert len(host.lines) == before

    with_full_board(story)
