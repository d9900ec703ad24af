"""Spans of time as people write them: 90, "90 s", "1.5min", "6h", "2 d"."""

from __future__ import annotations

import math
import re

PACE_MAX = 1e6
"""How many times real time a clock can be held to: beyond it nothing is held back."""

_UNITS_S = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min|h|d)?\s*")


def seconds_of(span: float | str) -> float:
    """The span in seconds; a bare number is seconds. Raises ValueError for what is none, negative or not finite."""
    if isinstance(span, str):
        found = _SPAN.fullmatch(span)
        if found is None:
            raise ValueError(f"{span!r} is no span of time: write 90, '90 s', '1.5 min', '6 h' or '2 d'")
        return float(found[1]) * _UNITS_S[found[2] or "s"]
    if not (math.isfinite(span) and span >= 0):
        raise ValueError(f"{span} is no span of time: give 0 or more seconds")
    return float(span)
