"""RoboClaw's commands as a table: name, number, what goes out or comes back, in which unit and within which bounds.

    COMMANDS["m1_speed"].encode({"speed_qpps": 500})      -> b"\\x00\\x00\\x01\\xf4"
    COMMANDS["currents"].decode(b"\\x00\\x96\\xff\\xe7")      -> {"m1_current_a": 1.5, "m2_current_a": -0.25}

Sources: RoboClaw user manual p. 66-74 (settings and status), 87-89 (encoders), 90-98 (motion). All numbers are
big-endian. `qpps` are counts of a quadrature encoder per second. A duty of 1 is the whole supply. Not settled by the
manual, and as the maker's libraries have it: four bytes of acceleration in 52 and 53 (p. 98 prints two, for numbers up
to 655,359), the key of 94 (p. 74 prints none). Left out: what mixes both motors to a direction (8 to 13), the set-up of
inputs and PIDs, and 95, which takes every setting back to the memory's, the dead-man's as well, and has no CRC.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from firmware_bridge.errors import FrameError, Rejected
from firmware_bridge.links.roboclaw_frames import RELATIVE

NVM_KEY = 0xE22EAB7A
SIMPLE_UNTIL = (4, 3, 5)  # users report that 4.3.6 acknowledges 0, 1, 4 and 5 no more; 4.2.8 does

_RANGES = {
    "B": (0, 0xFF),
    "H": (0, 0xFFFF),
    "h": (-0x7FFF, 0x7FFF),
    "I": (0, 0xFFFFFFFF),
    "i": (-0x7FFFFFFF, 0x7FFFFFFF),
}


class Kind(Enum):
    """READ brings data. SET changes a setting until the power goes. MOVE turns motors. STORE wears memory out."""

    READ = "read"
    SET = "set"
    MOVE = "move"
    STORE = "store"


@dataclass(frozen=True)
class Field:
    """One number of a packet. `code`: as struct has it; `per_unit`: counts that make one `unit`; `low`, `high`: the
    bounds of what is sent, in `unit`."""

    name: str
    code: str
    unit: str
    per_unit: float
    low: float
    high: float


@dataclass(frozen=True)
class Command:
    """One command. `is_simple`: newer firmware leaves it unanswered (SIMPLE_UNTIL)."""

    name: str
    number: int
    kind: Kind
    fields: tuple[Field, ...]
    is_simple: bool = False

    @cached_property
    def form(self) -> str:
        """The data as struct has it."""
        return ">" + "".join(field.code for field in self.fields)

    @property
    def size(self) -> int:
        """Bytes of data, without address, command and CRC."""
        return struct.calcsize(self.form)

    @property
    def is_relative(self) -> bool:
        """Whether it moves by a distance, and is therefore never sent twice."""
        return self.number in RELATIVE

    def encode(self, values: Mapping[str, float]) -> bytes:
        """The data of a write. Rejected for a name that is missing or unknown, no finite number, or out of bounds."""
        names = [field.name for field in self.fields]
        if values.keys() != set(names):
            odd = ", ".join(sorted(values.keys() ^ set(names)))
            raise Rejected(f"{self.name} takes {', '.join(names) or 'no values'}; look at {odd}.")
        return struct.pack(self.form, *(self._count(field, values[field.name]) for field in self.fields))

    def decode(self, data: bytes) -> dict[str, float]:
        """The values of a reply, by their names. FrameError for another number of bytes."""
        if len(data) != self.size:
            raise FrameError(f"{self.name} is {self.size} bytes, not {len(data)}")
        found = struct.unpack(self.form, data)
        return {field.name: raw / field.per_unit for field, raw in zip(self.fields, found, strict=True)}

    def _count(self, field: Field, value: float) -> int:
        if not field.low <= value <= field.high:  # NaN is refused here, too
            raise Rejected(
                f"{self.name}: {field.name} = {value:g} {field.unit} is refused: {field.low:g} to {field.high:g} "
                f"{field.unit} are possible."
            )
        return round(value * field.per_unit)


def _field(
    name: str, code: str, unit: str = "", per_unit: float = 1.0, low: float = -math.inf, high: float = math.inf
) -> Field:
    least, most = _RANGES[code]
    return Field(name, code, unit, per_unit, max(low, least / per_unit), min(high, most / per_unit))


def _power(name: str) -> tuple[Field, ...]:
    return (_field(name, "B", "", 127.0, 0.0, 1.0),)


def _duty(name: str) -> Field:
    return _field(name, "h", "", 32767.0)


def _duty_rate(name: str) -> Field:
    """From -1 to 1 in 0.1 s at the most."""
    return _field(name, "I", "1/s", 32767.0, 0.0, 655_359 / 32767)


def _speed(name: str) -> Field:
    return _field(name, "i", "qpps")


def _accel(name: str) -> Field:
    return _field(name, "I", "qpps/s")


def _distance(name: str) -> Field:
    return _field(name, "I", "counts")


def _position(motor: str) -> tuple[Field, ...]:
    accel, top, decel = (
        _accel(f"{motor}accel_qpps_s"),
        _field(f"{motor}speed_qpps", "I", "qpps"),
        f"{motor}decel_qpps_s",
    )
    return accel, top, _accel(decel), _field(f"{motor}position_counts", "i", "counts")


AT_ONCE = _field("at_once", "B", "", 1.0, 0, 1)
"""1: now, and what is buffered is forgotten; 0: when what is buffered is done."""


def _both(*names: str) -> list[str]:
    return [f"{motor}_{name}" for motor in ("m1", "m2") for name in names]


_READS: list[tuple[int, str, tuple[Field, ...]]] = [
    (15, "serial_timeout", (_field("timeout_s", "B", "s", 10.0),)),
    (16, "m1_encoder", (_field("m1_counts", "I", "counts"), _field("m1_flags", "B"))),
    (17, "m2_encoder", (_field("m2_counts", "I", "counts"), _field("m2_flags", "B"))),
    (18, "m1_encoder_speed", (_speed("m1_speed_qpps"), _field("m1_backwards", "B"))),
    (19, "m2_encoder_speed", (_speed("m2_speed_qpps"), _field("m2_backwards", "B"))),
    (24, "main_battery", (_field("main_v", "H", "V", 10.0),)),
    (25, "logic_battery", (_field("logic_v", "H", "V", 10.0),)),
    (30, "m1_raw_speed", (_speed("m1_speed_qpps"), _field("m1_backwards", "B"))),
    (31, "m2_raw_speed", (_speed("m2_speed_qpps"), _field("m2_backwards", "B"))),
    (47, "buffers", (_field("m1_buffered", "B"), _field("m2_buffered", "B"))),
    (48, "duties", (_duty("m1_duty"), _duty("m2_duty"))),
    (49, "currents", (_field("m1_current_a", "h", "A", 100.0), _field("m2_current_a", "h", "A", 100.0))),
    (59, "main_limits", (_field("main_min_v", "H", "V", 10.0), _field("main_max_v", "H", "V", 10.0))),
    (60, "logic_limits", (_field("logic_min_v", "H", "V", 10.0), _field("logic_max_v", "H", "V", 10.0))),
    (78, "encoders", (_field("m1_counts", "i", "counts"), _field("m2_counts", "i", "counts"))),
    (79, "encoder_speeds", (_speed("m1_speed_qpps"), _speed("m2_speed_qpps"))),
    (82, "temperature", (_field("temp_c", "h", "degC", 10.0),)),
    (83, "temperature_2", (_field("temp_2_c", "h", "degC", 10.0),)),
    (90, "status", (_field("status", "I"),)),
    (135, "m1_current_limit", (_field("max_a", "I", "A", 100.0), _field("min_a", "I", "A", 100.0))),
    (136, "m2_current_limit", (_field("max_a", "I", "A", 100.0), _field("min_a", "I", "A", 100.0))),
]

_SETS: list[tuple[int, str, tuple[Field, ...]]] = [
    (14, "set_serial_timeout", (_field("timeout_s", "B", "s", 10.0, 0.1),)),  # 0 would take the dead-man away
    (20, "reset_encoders", ()),
    (22, "set_m1_encoder", (_field("counts", "i", "counts"),)),
    (23, "set_m2_encoder", (_field("counts", "i", "counts"),)),
    (57, "set_main_limits", (_field("main_min_v", "H", "V", 10.0, 6.0), _field("main_max_v", "H", "V", 10.0, 6.0))),
    (58, "set_logic_limits", (_field("logic_min_v", "H", "V", 10.0, 3.0), _field("logic_max_v", "H", "V", 10.0, 3.0))),
    (133, "set_m1_current_limit", (_field("max_a", "I", "A", 100.0, 0.1), _field("min_a", "I", "A", 100.0, 0.0, 0.0))),
    (134, "set_m2_current_limit", (_field("max_a", "I", "A", 100.0, 0.1), _field("min_a", "I", "A", 100.0, 0.0, 0.0))),
]

_MOVES: list[tuple[int, str, tuple[Field, ...]]] = [
    (0, "m1_forward", _power("power")),
    (1, "m1_backward", _power("power")),
    (4, "m2_forward", _power("power")),
    (5, "m2_backward", _power("power")),
    (32, "m1_duty", (_duty("duty"),)),
    (33, "m2_duty", (_duty("duty"),)),
    (34, "both_duty", tuple(_duty(name) for name in _both("duty"))),
    (35, "m1_speed", (_speed("speed_qpps"),)),
    (36, "m2_speed", (_speed("speed_qpps"),)),
    (37, "both_speed", tuple(_speed(name) for name in _both("speed_qpps"))),
    (38, "m1_speed_accel", (_accel("accel_qpps_s"), _speed("speed_qpps"))),
    (39, "m2_speed_accel", (_accel("accel_qpps_s"), _speed("speed_qpps"))),
    (40, "both_speed_accel", (_accel("accel_qpps_s"), *(_speed(name) for name in _both("speed_qpps")))),
    (41, "m1_distance", (_speed("speed_qpps"), _distance("distance_counts"), AT_ONCE)),
    (42, "m2_distance", (_speed("speed_qpps"), _distance("distance_counts"), AT_ONCE)),
    (43, "both_distance", (_speed("m1_speed_qpps"), _distance("m1_distance_counts"), _speed("m2_speed_qpps"),
                           _distance("m2_distance_counts"), AT_ONCE)),
    (44, "m1_distance_accel", (_accel("accel_qpps_s"), _speed("speed_qpps"), _distance("distance_counts"), AT_ONCE)),
    (45, "m2_distance_accel", (_accel("accel_qpps_s"), _speed("speed_qpps"), _distance("distance_counts"), AT_ONCE)),
    (46, "both_distance_accel", (_accel("accel_qpps_s"), _speed("m1_speed_qpps"), _distance("m1_distance_counts"),
                                 _speed("m2_speed_qpps"), _distance("m2_distance_counts"), AT_ONCE)),
    (50, "both_speed_accels", (_accel("m1_accel_qpps_s"), _speed("m1_speed_qpps"), _accel("m2_accel_qpps_s"),
                               _speed("m2_speed_qpps"))),
    (51, "both_distance_accels", (_accel("m1_accel_qpps_s"), _speed("m1_speed_qpps"), _distance("m1_distance_counts"),
                                  _accel("m2_accel_qpps_s"), _speed("m2_speed_qpps"), _distance("m2_distance_counts"),
                                  AT_ONCE)),
    (52, "m1_duty_ramp", (_duty("duty"), _duty_rate("rate_1_s"))),
    (53, "m2_duty_ramp", (_duty("duty"), _duty_rate("rate_1_s"))),
    (54, "both_duty_ramp", (_duty("m1_duty"), _duty_rate("m1_rate_1_s"), _duty("m2_duty"), _duty_rate("m2_rate_1_s"))),
    (65, "m1_position", (*_position(""), AT_ONCE)),
    (66, "m2_position", (*_position(""), AT_ONCE)),
    (67, "both_position", (*_position("m1_"), *_position("m2_"), AT_ONCE)),
]  # fmt: skip

COMMANDS: dict[str, Command] = {
    name: Command(name, number, kind, fields, is_simple=number < 8)
    for kind, rows in ((Kind.READ, _READS), (Kind.SET, _SETS), (Kind.MOVE, _MOVES))
    for number, name, fields in rows
} | {"store_settings": Command("store_settings", 94, Kind.STORE, (_field("key", "I"),))}
"""Every command by its name. The firmware's version (21), a text, is read by RoboClawLink.read_text."""
