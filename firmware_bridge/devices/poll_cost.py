"""What a device's poll costs on its bus, from its map alone: so that a plan that cannot fit is refused beforehand."""

from __future__ import annotations

from typing import Any, NamedTuple

from firmware_bridge.links.modbus import SILENCE_MIN_S
from firmware_bridge.register_map import RegisterMap, load_map

RTU_READ_REQUEST_BYTES = 8
RTU_REPLY_OVERHEAD_BYTES = 5
RTU_WRITE_BYTES = 8  # one register: the request, and its echo


class PollCost(NamedTuple):
    """One poll on RTU: how many requests, bytes each way, and the device's own thinking time in all."""

    requests: int
    bytes_out: int
    bytes_in: int
    reply_delay_s: float


def poll_cost(device: Any, *, baud: int = 9600) -> PollCost:
    """The cost of `device.poll()`. `device`: anything with `.map`, a RegisterMap, or a map's name."""
    table = _table(device)
    blocks = table.blocks(table.polled)
    return PollCost(
        requests=len(blocks),
        bytes_out=RTU_READ_REQUEST_BYTES * len(blocks),
        bytes_in=sum(RTU_REPLY_OVERHEAD_BYTES + 2 * block.count for block in blocks),
        reply_delay_s=table.reply_delay_s(baud) * len(blocks),
    )


def poll_cost_s(device: Any, *, baud: int, writes: int = 0, reads: bool = True) -> float:
    """Seconds of bus time (8N1) for one poll and `writes` one-register writes: bytes, thinking, and the two silences
    around each exchange."""
    cost = poll_cost(device, baud=baud) if reads else PollCost(0, 0, 0, 0.0)
    byte_s = 10.0 / baud
    silence_s = 3.5 * byte_s if baud <= 19200 else SILENCE_MIN_S
    exchanges = cost.requests + writes
    size = cost.bytes_out + cost.bytes_in + 2 * RTU_WRITE_BYTES * writes
    delay_s = cost.reply_delay_s + writes * _table(device).reply_delay_s(baud)
    return size * byte_s + delay_s + 2 * silence_s * exchanges


def _table(device: Any) -> RegisterMap:
    if isinstance(device, RegisterMap):
        return device
    if isinstance(device, str):
        return load_map(device)
    return device.map
