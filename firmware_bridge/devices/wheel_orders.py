"""What every kind of wheels refuses: orders for other wheels, beyond bounds, repeated, stale or good for too long."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from firmware_bridge.errors import Rejected

VALID_MAX_S = 2.0
"""No order is good for longer."""

ROUNDING = 1e-9


def check_values(
    name: str, what: str, given: Mapping[str, float], wanted: Iterable[str], limit: float, unit: str
) -> None:
    """One finite value for each of `wanted`, of at most `limit`. Raises Rejected, which names the wheel."""
    names = dict.fromkeys(wanted)
    if given.keys() != names.keys():
        odd = ", ".join(sorted(given.keys() ^ names.keys()))
        raise Rejected(f"{name}: one {what} for each of {', '.join(names)} is needed; look at {odd}.")
    for wheel, value in given.items():
        if not abs(value) <= limit * (1 + ROUNDING):  # NaN is refused here, too
            raise Rejected(f"{name}: {what} {value:g} {unit} of {wheel} is refused: at most {limit:g} {unit}.")


def check_fresh(name: str, last_seq: int | None, seq: int, valid_until_s: float, now_s: float) -> None:
    """An order of a higher number than the last one, good from now on and not for too long. Raises Rejected."""
    if last_seq is not None and seq <= last_seq:
        raise Rejected(f"{name}: command {seq} is a repetition: {last_seq} was the last one.")
    if not now_s < valid_until_s:
        raise Rejected(f"{name}: command {seq} is stale: it was good until {now_s - valid_until_s:.3g} s ago.")
    if valid_until_s - now_s > VALID_MAX_S:
        raise Rejected(f"{name}: command {seq} would be good for over {VALID_MAX_S:g} s: send shorter ones.")
