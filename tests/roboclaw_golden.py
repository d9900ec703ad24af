"""Packets of a RoboClaw board at address 0x80, written out from its manual's pages, byte by byte, without their CRCs.

Two came with their CRCs and are checked as they are: M1 forward 64 is `80 00 40 73 9E`, and the answer to a question
for the supply, 24.0 V, is `00 F0 D8 E5`. For the others the CRC is that of the manual's loop (`roboclaw_helpers.crc`).
"""

from __future__ import annotations

WHOLE = 32767.0

# name, values, data, what each motor is told last: (call, counts or share), None for nothing
MOVES: list[tuple[str, dict[str, float], str, tuple[tuple[str, float] | None, tuple[str, float] | None]]] = [
    ("m1_forward", {"power": 64 / 127}, "40", (("duty", 64 / 127), None)),
    ("m1_backward", {"power": 1.0}, "7F", (("duty", -1.0), None)),
    ("m2_forward", {"power": 0.0}, "00", (None, ("duty", 0.0))),
    ("m2_backward", {"power": 10 / 127}, "0A", (None, ("duty", -10 / 127))),
    ("m1_duty", {"duty": -1.0}, "80 01", (("duty", -1.0), None)),
    ("m2_duty", {"duty": 0.5}, "40 00", (None, ("duty", 16384 / WHOLE))),
    ("both_duty", {"m1_duty": 1.0, "m2_duty": -0.25}, "7F FF E0 00", (("duty", 1.0), ("duty", -8192 / WHOLE))),
    ("m1_speed", {"speed_qpps": 500}, "00 00 01 F4", (("speed", 500), None)),
    ("m2_speed", {"speed_qpps": -500}, "FF FF FE 0C", (None, ("speed", -500))),
    ("both_speed", {"m1_speed_qpps": 258, "m2_speed_qpps": -2}, "00 00 01 02 FF FF FF FE",
     (("speed", 258), ("speed", -2))),
    ("m1_speed_accel", {"accel_qpps_s": 1000, "speed_qpps": 500}, "00 00 03 E8 00 00 01 F4", (("speed", 500), None)),
    ("m2_speed_accel", {"accel_qpps_s": 1000, "speed_qpps": -1}, "00 00 03 E8 FF FF FF FF", (None, ("speed", -1))),
    ("both_speed_accel", {"accel_qpps_s": 66051, "m1_speed_qpps": 3, "m2_speed_qpps": 4},
     "00 01 02 03 00 00 00 03 00 00 00 04", (("speed", 3), ("speed", 4))),
    ("m1_distance", {"speed_qpps": 300, "distance_counts": 4000, "at_once": 1}, "00 00 01 2C 00 00 0F A0 01",
     (("speed", 300), None)),
    ("m2_distance", {"speed_qpps": -300, "distance_counts": 4000, "at_once": 0}, "FF FF FE D4 00 00 0F A0 00",
     (None, ("speed", -300))),
    ("both_distance", {"m1_speed_qpps": 1, "m1_distance_counts": 2, "m2_speed_qpps": 3, "m2_distance_counts": 4,
                       "at_once": 1},
     "00 00 00 01 00 00 00 02 00 00 00 03 00 00 00 04 01", (("speed", 1), ("speed", 3))),
    ("m1_distance_accel", {"accel_qpps_s": 5, "speed_qpps": 6, "distance_counts": 7, "at_once": 1},
     "00 00 00 05 00 00 00 06 00 00 00 07 01", (("speed", 6), None)),
    ("m2_distance_accel", {"accel_qpps_s": 5, "speed_qpps": 6, "distance_counts": 7, "at_once": 0},
     "00 00 00 05 00 00 00 06 00 00 00 07 00", (None, ("speed", 6))),
    ("both_distance_accel", {"accel_qpps_s": 1, "m1_speed_qpps": 2, "m1_distance_counts": 3, "m2_speed_qpps": 4,
                             "m2_distance_counts": 5, "at_once": 1},
     "00 00 00 01 00 00 00 02 00 00 00 03 00 00 00 04 00 00 00 05 01", (("speed", 2), ("speed", 4))),
    ("both_speed_accels", {"m1_accel_qpps_s": 1, "m1_speed_qpps": 2, "m2_accel_qpps_s": 3, "m2_speed_qpps": 4},
     "00 00 00 01 00 00 00 02 00 00 00 03 00 00 00 04", (("speed", 2), ("speed", 4))),
    ("both_distance_accels", {"m1_accel_qpps_s": 1, "m1_speed_qpps": 2, "m1_distance_counts": 3, "m2_accel_qpps_s": 4,
                              "m2_speed_qpps": 5, "m2_distance_counts": 6, "at_once": 1},
     "00 00 00 01 00 00 00 02 00 00 00 03 00 00 00 04 00 00 00 05 00 00 00 06 01", (("speed", 2), ("speed", 5))),
    ("m1_duty_ramp", {"duty": 1.0, "rate_1_s": 655_359 / WHOLE}, "7F FF 00 09 FF FF", (("duty", 1.0), None)),
    ("m2_duty_ramp", {"duty": -1.0, "rate_1_s": 10.0}, "80 01 00 04 FF F6", (None, ("duty", -1.0))),
    ("both_duty_ramp", {"m1_duty": 1.0, "m1_rate_1_s": 10.0, "m2_duty": -1.0, "m2_rate_1_s": 20.0},
     "7F FF 00 04 FF F6 80 01 00 09 FF EC", (("duty", 1.0), ("duty", -1.0))),
    ("m1_position", {"accel_qpps_s": 1, "speed_qpps": 2, "decel_qpps_s": 3, "position_counts": -4, "at_once": 1},
     "00 00 00 01 00 00 00 02 00 00 00 03 FF FF FF FC 01", (("position", -4), None)),
    ("m2_position", {"accel_qpps_s": 1, "speed_qpps": 2, "decel_qpps_s": 3, "position_counts": 400, "at_once": 0},
     "00 00 00 01 00 00 00 02 00 00 00 03 00 00 01 90 00", (None, ("position", 400))),
    ("both_position", {"m1_accel_qpps_s": 1, "m1_speed_qpps": 2, "m1_decel_qpps_s": 3, "m1_position_counts": 40,
                       "m2_accel_qpps_s": 5, "m2_speed_qpps": 6, "m2_decel_qpps_s": 7, "m2_position_counts": -80,
                       "at_once": 1},
     "00 00 00 01 00 00 00 02 00 00 00 03 00 00 00 28 00 00 00 05 00 00 00 06 00 00 00 07 FF FF FF B0 01",
     (("position", 40), ("position", -80))),
]  # fmt: skip

# name, values, data, the question that reads it back, its answer
SETS: list[tuple[str, dict[str, float], str, str, dict[str, float]]] = [
    ("set_serial_timeout", {"timeout_s": 25.5}, "FF", "serial_timeout", {"timeout_s": 25.5}),
    ("reset_encoders", {}, "", "encoders", {"m1_counts": 0, "m2_counts": 0}),
    ("set_m1_encoder", {"counts": -5000}, "FF FF EC 78", "encoders", {"m1_counts": -5000, "m2_counts": -2}),
    ("set_m2_encoder", {"counts": 70000}, "00 01 11 70", "encoders", {"m1_counts": 1000, "m2_counts": 70000}),
    ("set_main_limits", {"main_min_v": 11.0, "main_max_v": 30.0}, "00 6E 01 2C", "main_limits",
     {"main_min_v": 11.0, "main_max_v": 30.0}),
    ("set_logic_limits", {"logic_min_v": 4.5, "logic_max_v": 14.0}, "00 2D 00 8C", "logic_limits",
     {"logic_min_v": 4.5, "logic_max_v": 14.0}),
    ("set_m1_current_limit", {"max_a": 2.5, "min_a": 0.0}, "00 00 00 FA 00 00 00 00", "m1_current_limit",
     {"max_a": 2.5, "min_a": 0.0}),
    ("set_m2_current_limit", {"max_a": 15.0, "min_a": 0.0}, "00 00 05 DC 00 00 00 00", "m2_current_limit",
     {"max_a": 15.0, "min_a": 0.0}),
]  # fmt: skip

# name, data of the answer, its values. The board: 24.0 V, logic 5.1 V, 31.4 and -5.0 degC, 1.5 A and -0.25 A, counters
# at 1000 and -2, motor 1 at 500 counts/s, motor 2 at a duty of -0.25 and so at -472 counts/s, a serial timeout of 0.7 s
# and a temperature warning of the second sensor; nothing is buffered.
READS: list[tuple[str, int, str, dict[str, float]]] = [
    ("serial_timeout", 15, "07", {"timeout_s": 0.7}),
    ("m1_encoder", 16, "00 00 03 E8 00", {"m1_counts": 1000, "m1_flags": 0}),
    ("m2_encoder", 17, "FF FF FF FE 02", {"m2_counts": 0xFFFFFFFE, "m2_flags": 2}),
    ("m1_encoder_speed", 18, "00 00 01 F4 00", {"m1_speed_qpps": 500, "m1_backwards": 0}),
    ("m2_encoder_speed", 19, "FF FF FE 28 01", {"m2_speed_qpps": -472, "m2_backwards": 1}),
    ("main_battery", 24, "00 F0", {"main_v": 24.0}),
    ("logic_battery", 25, "00 33", {"logic_v": 5.1}),
    ("m1_raw_speed", 30, "00 00 01 F4 00", {"m1_speed_qpps": 500, "m1_backwards": 0}),
    ("m2_raw_speed", 31, "FF FF FE 28 01", {"m2_speed_qpps": -472, "m2_backwards": 1}),
    ("buffers", 47, "80 80", {"m1_buffered": 0x80, "m2_buffered": 0x80}),
    ("duties", 48, "00 00 E0 00", {"m1_duty": 0.0, "m2_duty": -8192 / WHOLE}),
    ("currents", 49, "00 96 FF E7", {"m1_current_a": 1.5, "m2_current_a": -0.25}),
    ("main_limits", 59, "00 64 01 54", {"main_min_v": 10.0, "main_max_v": 34.0}),
    ("logic_limits", 60, "00 2D 01 54", {"logic_min_v": 4.5, "logic_max_v": 34.0}),
    ("encoders", 78, "00 00 03 E8 FF FF FF FE", {"m1_counts": 1000, "m2_counts": -2}),
    ("encoder_speeds", 79, "00 00 01 F4 FF FF FE 28", {"m1_speed_qpps": 500, "m2_speed_qpps": -472}),
    ("temperature", 82, "01 3A", {"temp_c": 31.4}),
    ("temperature_2", 83, "FF CE", {"temp_2_c": -5.0}),
    ("status", 90, "00 20 00 00", {"status": 1 << 21}),
    ("m1_current_limit", 135, "00 00 03 E8 00 00 00 00", {"max_a": 10.0, "min_a": 0.0}),
    ("m2_current_limit", 136, "00 00 03 E8 00 00 00 00", {"max_a": 10.0, "min_a": 0.0}),
]

TABLE = {
    0, 1, 4, 5, 14, 15, 16, 17, 18, 19, 20, 21, 24, 25, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 48, 49,
    52, 53, 54, 65, 66, 67, 82, 83, 90, 94,
}  # fmt: skip
"""The commands that a RoboClaw host and a RoboClaw board have to know here (21, the version, is a text)."""
