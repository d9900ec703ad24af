"""What went by on a Modbus link: counters, and which units have stopped answering."""

from __future__ import annotations

from dataclasses import dataclass, field

SILENT_AFTER = 2


@dataclass
class ModbusCounters:
    """What went by since the link was made. `exceptions`: by Modbus exception code.
    `probes`: asked of a unit that owed an answer; they are in `sent` and `ok` as well."""

    sent: int = 0
    ok: int = 0
    timeouts: int = 0
    gave_way: int = 0
    frame_errors: int = 0
    mismatches: int = 0
    late: int = 0
    unsolicited_bytes: int = 0
    noise_bytes: int = 0
    retries: int = 0
    cancelled: int = 0
    drains: int = 0
    probes: int = 0
    exceptions: dict[int, int] = field(default_factory=dict)


class SilentUnits:
    """Units whose last two requests or more met silence, until they are heard again."""

    def __init__(self) -> None:
        self._missed: dict[int, int] = {}  # at most one entry a unit

    def missed(self, unit: int) -> None:
        """A request to `unit` was not answered at all."""
        self._missed[unit] = self._missed.get(unit, 0) + 1

    def heard(self, unit: int) -> None:
        """`unit` answered, if only to refuse."""
        if self._missed:
            self._missed.pop(unit, None)

    def __contains__(self, unit: int) -> bool:
        return self._missed.get(unit, 0) >= SILENT_AFTER
