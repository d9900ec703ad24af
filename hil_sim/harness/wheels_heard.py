"""When did the boards of a rover's wheels hear anything? A tap on their wire that keeps the silences alone.

What is delivered counts, not what was sent: a board whose line is cut, or deaf, must stop its motors by itself.
"""

from __future__ import annotations

from hil_sim.harness.drive_oracle import BRAKING_S
from hil_sim.world.wire import Tap

SILENCES_MAX = 10_000


class WheelsHeard:
    """Hears a rover's wires beside `then`. `wire`: that of its wheels."""

    def __init__(self, wire: str, then: Tap) -> None:
        self._point = f"{wire}.to_device"
        self._then = then
        self._last_s: float | None = None
        self._silences: list[tuple[float, float]] = []

    def tap(self, t_s: float, point: str, data: bytes) -> None:
        """Every delivered chunk, with its loop time."""
        if point == self._point:
            if self._last_s is None or t_s - self._last_s > BRAKING_S:
                self._silent_until(t_s)
            self._last_s = t_s
        self._then(t_s, point, data)

    def unheard_s(self, end_s: float) -> list[tuple[float, float]]:
        """(from, to) of each silence that was longer than a rover may take to stand, up to `end_s`; bounded."""
        self._silent_until(end_s)
        return list(self._silences)

    def _silent_until(self, t_s: float) -> None:
        if self._last_s is not None and t_s - self._last_s > BRAKING_S and len(self._silences) < SILENCES_MAX:
            self._silences.append((self._last_s, t_s))
