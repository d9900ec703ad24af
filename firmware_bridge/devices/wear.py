"""Memory that wears out: how often a device's non-volatile registers were written in the last day."""

from __future__ import annotations

from collections import deque

from firmware_bridge.errors import Rejected
from firmware_bridge.register_signals import Signal

DAY_S = 86_400.0


class WearGuard:
    """Counts the writes of one device since this host runs. `name`: the device's, for sentences."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._times_s: dict[str, deque[float]] = {}

    def count(self, signal: Signal, value: float, now_s: float) -> None:
        """Take one write into account, before it is made. Rejected, and not counted, beyond the day's bound."""
        times_s = self._times_s.setdefault(signal.name, deque())
        while times_s and now_s - times_s[0] >= DAY_S:
            times_s.popleft()
        if len(times_s) >= signal.writes_per_day_max:
            raise Rejected(
                f"{self._name}: {signal.name} = {value:g} {signal.unit} is refused: it was written {len(times_s)} "
                f"times in 24 h, and its memory wears out ({signal.nonvolatile}). Stream to a volatile register."
            )
        times_s.append(now_s)
