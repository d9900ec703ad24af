"""How long a software stop may take from the call to its first byte on a device's wire: what may be ahead of it.

    serial G-code   what an adapter holds and nobody can take back (the rest is overtaken)
    Modbus RTU      the transaction in flight: its bytes, and what a unit that is well may think; then t3.5; and the
                    same for each neighbour on the wire that is told to stop before it
    Modbus TCP      nothing: the head's second connection is kept free for it

The beam has a head start over the others (`control.machine.HEAD_START_S`). On top of each comes how long a callback may
hold the loop. The device's own time to obey is not in it.
"""

from __future__ import annotations

from typing import NamedTuple

from control.config import BeamConfig, CameraConfig, MachineConfig, MotionConfig
from control.machine import HEAD_START_S
from control.machine_file import baud_of

LOOP_HOLD_S = 0.005
"""No callback is to hold the loop for longer: a rule of the house. The `stop` benchmark prints the longest hold of a
streaming print beside it."""

ADAPTER_BYTES = 32
"""What a serial adapter has taken and goes on to send: a UART's 16 bytes, and as many in its driver's hands."""

STOP_BYTES = 16
"""Of a write of one register and its echo."""


class StopBound(NamedTuple):
    """`seconds` from the call to the first byte of the stop on the wire; `words`: what it is made of."""

    seconds: float
    words: str


def stop_bounds(config: MachineConfig) -> dict[str, StopBound]:
    """The bound of each device that acts, by name. Devices that are only read have none."""
    from firmware_bridge.devices.motion import PLANNED_MOVES
    from firmware_bridge.links.modbus import STOPPED_PATIENCE_S, URGENT_PATIENCE_S
    from firmware_bridge.register_map import load_map

    slowest_s: dict[str, float] = {}  # of the transactions on an RTU wire, bytes both ways
    acting = []
    for name, device in config.every_device().items():
        url = config.urls[device.wire]
        table = None if getattr(device, "map", None) is None else load_map(device.map)
        if table is not None and not isinstance(device, BeamConfig) and not url.startswith(("tcp:", "tls:")):
            byte_s = 10.0 / baud_of(url)
            longest = max([16, *(8 + 5 + 2 * block.count + 3 for block in table.blocks(table.polled))])
            slowest_s[device.wire] = max(slowest_s.get(device.wire, 0.0), longest * byte_s)
        if table is None or any("w" in signal.access for signal in table.signals.values()):
            acting.append((name, device, url))

    bounds = {}
    for name, device, url in acting:
        if isinstance(device, CameraConfig):
            continue
        if isinstance(device, MotionConfig):
            ahead_s = ADAPTER_BYTES * 10.0 / baud_of(url)
            words = f"{ADAPTER_BYTES} bytes that an adapter holds {1e3 * ahead_s:.1f} ms"
            if device.kind == "reprap":
                words += ", obeyed when the line in work is done (a second, or the longest move)"
            elif not device.emergency_parser:
                words += f", heard when its queue frees (up to {PLANNED_MOVES} planned moves: no EMERGENCY_PARSER)"
        elif device.wire in slowest_s:
            byte_s = 10.0 / baud_of(url)
            silence_s = 3.5 * byte_s if baud_of(url) <= 19_200 else 0.00175
            ahead_s = slowest_s[device.wire] + URGENT_PATIENCE_S + silence_s
            neighbours = sum(other.wire == device.wire for _, other, _ in acting) - 1
            stop_s = STOP_BYTES * byte_s + STOPPED_PATIENCE_S + silence_s
            ahead_s += neighbours * stop_s
            words = (
                f"the longest question and answer {1e3 * slowest_s[device.wire]:.1f} ms, thinking"
                f" {1e3 * URGENT_PATIENCE_S:.0f} ms, silence {1e3 * silence_s:.1f} ms"
            )
            if neighbours:
                words += f", {neighbours} on the wire told before it {1e3 * neighbours * stop_s:.0f} ms if dead"
        else:
            ahead_s, words = 0.0, "a connection kept free for it"
        if not isinstance(device, BeamConfig):
            ahead_s, words = ahead_s + HEAD_START_S, f"{words}, behind the beam {1e3 * HEAD_START_S:.0f} ms"
        bounds[name] = StopBound(ahead_s + LOOP_HOLD_S, f"{words}, the loop {1e3 * LOOP_HOLD_S:.0f} ms")
    return bounds
