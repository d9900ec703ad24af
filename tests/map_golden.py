"""What the manuals say of each shipped register map, independent of the TOML, and ways in which a map can be wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from firmware_bridge.register_map import RegisterMap, Signal

Golden = tuple[int, int, list[int], float]
"""(function, PDU address, registers as they go over the wire, value)."""

# Addresses, functions, types and scales as the manuals and the project's contract have them: independent of the TOML.
GOLDEN: dict[str, dict[str, Golden]] = {
    "moonkiln_beam_head": {
        "id": (3, 0, [0x4B48], 0x4B48), "power_w": (3, 1, [2000], 200.0), "shutter": (3, 2, [1], 1),
        "token": (3, 3, [77], 77), "fire": (3, 4, [1], 1), "emission_w": (3, 5, [1234], 123.4),
        "status": (3, 6, [0b10110], 22), "watchdog_ms": (3, 7, [1000], 1000), "stop": (3, 8, [1], 1),
        "energy_j": (3, 9, [0x0001, 0x86A0], 10000.0),
    },
    "eurotherm_3200": {
        "bed_temp_c": (3, 1, [0xFFF6], -1.0), "output_percent": (3, 4, [1000], 100.0),
        "working_setpoint_c": (3, 5, [1500], 150.0), "setpoint_select": (3, 15, [1], 1), "sp1_c": (3, 24, [200], 20.0),
        "remote_setpoint_c": (3, 26, [1505], 150.5), "status": (3, 75, [32], 32), "id": (3, 122, [0xE162], 0xE162),
        "remote": (3, 276, [1], 1), "mode": (3, 199, [1], 1),
    },
    "eastron_sdm120": {
        "voltage_v": (4, 0x0000, [0x4366, 0x0000], 230.0), "current_a": (4, 0x0006, [0x3FC0, 0x0000], 1.5),
        "power_w": (4, 0x000C, [0x43AC, 0x8000], 345.0), "frequency_hz": (4, 0x0046, [0x4248, 0x0000], 50.0),
        "import_energy_kwh": (4, 0x0048, [0x4120, 0x0000], 10.0),
    },
    "leadshine_cs2rs": {
        "pulses_per_rev": (3, 0x0001, [10000], 10000), "enable": (3, 0x000F, [1], 1),
        "motion_status": (3, 0x1003, [0x72], 0x72), "position_pulses": (3, 0x1014, [0xFFFF, 0xFFFE], -2),
        "control": (3, 0x1801, [0x1111], 0x1111), "trigger": (3, 0x6002, [0x20], 0x20),
        "homing_mode": (3, 0x600A, [0], 0), "pr0_mode": (3, 0x6200, [1], 1),
        "pr0_position": (3, 0x6201, [0x0001, 0x86A0], 100000), "pr0_velocity_rpm": (3, 0x6203, [90], 90),
        "pr0_acceleration": (3, 0x6204, [100], 100), "pr0_deceleration": (3, 0x6205, [100], 100),
        "pr0_pause": (3, 0x6206, [0], 0), "pr0_trigger": (3, 0x6207, [0x10], 0x10),
    },
    "leadshine_wheel": {
        "pulses_per_rev": (3, 0x0001, [10000], 10000), "enable": (3, 0x000F, [1], 1),
        "motion_status": (3, 0x1003, [0x72], 0x72), "position_pulses": (3, 0x1014, [0xFFFF, 0xFFFE], -2),
        "control": (3, 0x1801, [0x1111], 0x1111), "trigger": (3, 0x6002, [0x40], 0x40),
        "pr0_mode": (3, 0x6200, [1], 1), "pr0_position": (3, 0x6201, [0x3B9A, 0xCA00], 1000000000),
        "pr0_velocity_rpm": (3, 0x6203, [477], 477), "pr0_acceleration": (3, 0x6204, [100], 100),
        "pr0_deceleration": (3, 0x6205, [100], 100), "pr0_pause": (3, 0x6206, [0], 0),
        "pr0_trigger": (3, 0x6207, [0x10], 0x10),
    },
    "moonkiln_rover_power": {
        "id": (3, 0, [0x4D50], 0x4D50), "map_version": (3, 1, [1], 1), "battery_v": (3, 2, [2840], 28.4),
        "battery_a": (3, 3, [0xFF06], -2.5), "soc_fraction": (3, 4, [8000], 0.8), "capacity_wh": (3, 5, [10000], 1000),
        "battery_temp_c": (3, 6, [0xFF53], -17.3), "solar_v": (3, 7, [3200], 32.0), "solar_a": (3, 8, [25], 0.25),
        "solar_w": (3, 9, [80], 8.0), "heater_w": (3, 10, [60], 6.0), "status": (3, 11, [33], 33),
        "heater_set_w": (3, 12, [250], 25.0), "watchdog_ms": (3, 13, [5000], 5000),
        "wake_after_s": (3, 14, [22, 52928], 1494720), "load": (3, 16, [0], 0),
    },
    "omron_e5cc": {
        "bed_temp_c": (3, 0x0000, [0xFFFF, 0xFFF6], -1.0),
        "controller_status": (3, 0x0002, [0x0110, 0x0040], 0x1100040),
        "working_setpoint_c": (3, 0x0004, [0, 1000], 100.0), "heater_current_a": (3, 0x0006, [0, 55], 5.5),
        "output_percent": (3, 0x0008, [0, 0x041A], 105.0), "setpoint_c": (3, 0x0106, [0, 2500], 250.0),
        "alarm_1_c": (3, 0x0108, [0, 10], 1.0), "alarm_1_upper_c": (3, 0x010A, [0, 1000], 100.0),
        "alarm_1_lower_c": (3, 0x010C, [0xFFFF, 0xFC18], -100.0), "decimals": (3, 0x0420, [0, 1], 1),
        "command": (3, 0x0000, [0x0101], 0x0101),
    },
    "watlow_pm": {
        "bed_temp_c": (3, 360, [0x0000, 0x4296], 75.0), "input_error": (3, 362, [61], 61),
        "alarm_1_high_c": (3, 1480, [0x0000, 0x4348], 200.0), "alarm_1_low_c": (3, 1482, [0x0000, 0xC120], -10.0),
        "control_mode": (3, 1880, [62], 62), "output_percent": (3, 1904, [0x0000, 0x4248], 50.0),
        "setpoint_c": (3, 2160, [0x0000, 0x4296], 75.0), "working_setpoint_c": (3, 2172, [0x0000, 0x4296], 75.0),
        "units": (3, 2490, [15], 15), "saving": (3, 2494, [59], 59),
    },
    "delta_ms300": {
        "timeout_action": (3, 0x0902, [1], 1), "timeout_s": (3, 0x0903, [20], 2.0),
        "command": (3, 0x2000, [0x12], 0x12),
        "frequency_hz": (3, 0x2001, [6000], 60.0), "fault_command": (3, 0x2002, [2], 2),
        "fault_code": (3, 0x2100, [0x4A15], 0x15), "warning_code": (3, 0x2100, [0x4A15], 0x4A),
        "status": (3, 0x2101, [0x0518], 0x0518), "run_state": (3, 0x2101, [0xFFFE], 2),
        "direction": (3, 0x2101, [0xFFF7], 2), "commanded_hz": (3, 0x2102, [0x1770], 60.0),
        "output_hz": (3, 0x2103, [1234], 12.34), "current_a": (3, 0x2104, [150], 150.0),
        "dc_bus_v": (3, 0x2105, [3105], 310.5), "output_v": (3, 0x2106, [2200], 220.0),
        "torque_percent": (3, 0x210B, [0xFFF6], -1.0), "speed_rpm": (3, 0x210C, [1450], 1450),
        "power_w": (3, 0x210F, [750], 750), "current_decimals": (3, 0x211F, [0x0200], 2),
    },
    "riden_rd6006": {
        "model_id": (3, 0, [60062], 60062), "serial": (3, 1, [1, 2], 65538), "firmware": (3, 3, [128], 1.28),
        "internal_temp_sign": (3, 4, [1], 1), "internal_temp_size_c": (3, 5, [12], 12),
        "set_v": (3, 8, [1200], 12.0), "set_a": (3, 9, [1500], 1.5), "output_v": (3, 10, [1199], 11.99),
        "output_a": (3, 11, [1499], 1.499), "power_w": (3, 13, [1797], 17.97), "input_v": (3, 14, [6500], 65.0),
        "keypad_lock": (3, 15, [1], 1), "protection": (3, 16, [2], 2), "constant_current": (3, 17, [1], 1),
        "output": (3, 18, [1], 1), "charge_ah": (3, 38, [0, 1500], 1.5), "energy_wh": (3, 40, [1, 0], 65.536),
        "ovp_v": (3, 82, [6000], 60.0), "ocp_a": (3, 83, [6000], 6.0),
    },
    "kipp_smp11": {
        "device_type": (4, 0, [603], 603), "mode": (4, 2, [1], 1), "status": (4, 3, [4], 4),
        "scale_factor": (4, 4, [0xFFFF], -1), "irradiance_w_m2": (4, 5, [0xFFF6], -10.0),
        "raw_irradiance_w_m2": (4, 6, [997], 997.0), "deviation_w_m2": (4, 7, [3], 3.0),
        "body_temp_c": (4, 8, [248], 24.8), "supply_v": (4, 9, [234], 23.4),
    },
    "leadshine_iem_rs": {
        "pulses_per_rev": (3, 0x0001, [10000], 10000), "enable": (3, 0x000F, [1], 1),
        "peak_current_a": (3, 0x0191, [0x20], 3.2), "motion_status": (3, 0x1003, [0x72], 0x72),
        "position_pulses": (3, 0x1014, [0xFFFF, 0xFFFE], -2), "profile_velocity_rpm": (3, 0x1044, [0, 90], 90),
        "velocity_rpm": (3, 0x1046, [0xFFFF, 0xFFA6], -90), "control": (3, 0x1801, [0x1111], 0x1111),
        "alarm": (3, 0x2203, [1], 1), "trigger": (3, 0x6002, [0x20], 0x20), "homing_mode": (3, 0x600A, [0], 0),
        "pr0_mode": (3, 0x6200, [1], 1), "pr0_position": (3, 0x6201, [0x0001, 0x86A0], 100000),
        "pr0_velocity_rpm": (3, 0x6203, [90], 90), "pr0_acceleration": (3, 0x6204, [100], 100),
        "pr0_deceleration": (3, 0x6205, [100], 100), "pr0_pause": (3, 0x6206, [0], 0),
        "pr0_trigger": (3, 0x6207, [0x10], 0x10),
    },
}  # fmt: skip


def differences(table: RegisterMap, golden: Mapping[str, Golden]) -> list[str]:
    """What a map says otherwise than the manual: a signal's place, the value of its registers, or its encoding."""
    found = sorted(set(table.signals) ^ set(golden))
    for name, (fc, address, registers, value) in golden.items():
        signal = table.signals.get(name)
        if signal is None:
            continue
        is_there = (signal.fc, signal.address, signal.words) == (fc, address, len(registers))
        if not is_there or not math.isclose(signal.decode(registers), value, rel_tol=1e-6):
            found.append(name)
        elif "w" in signal.access and signal.encode(value) != registers:
            found.append(f"{name}, written")
    return found


def mutations(table: RegisterMap) -> dict[str, RegisterMap]:
    """Copies of a map that are wrong by one thing: addresses off by one, words in the other order."""

    def changed(**of: Signal) -> RegisterMap:
        return replace(table, signals={**table.signals, **of})

    wrong = {}
    for step in (-1, 1):
        moved = {name: replace(signal, address=signal.address + step) for name, signal in table.signals.items()}
        wrong[f"all {step:+d}"] = changed(**moved)
        wrong |= {f"{name} {step:+d}": changed(**{name: signal}) for name, signal in moved.items()}
    swapped = {
        name: replace(signal, word_order="little" if signal.word_order == "big" else "big")
        for name, signal in table.signals.items()
        if signal.words == 2
    }
    if swapped:
        wrong["all words swapped"] = changed(**swapped)
    wrong |= {f"{name} swapped": changed(**{name: signal}) for name, signal in swapped.items()}
    return wrong
